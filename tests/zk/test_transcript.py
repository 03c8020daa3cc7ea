"""Frames and digests: different statements are different bytes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.framing import PROTOCOL, frame, integer
from zk.transcript import DIGEST_BYTES, Transcript, digest

LABELS = st.text(st.characters(codec="utf-8"))
PARTS = st.lists(st.binary())


def parse(data: bytes) -> list[bytes]:
    """Take a frame apart again."""
    parts = []
    while data:
        size = int.from_bytes(data[:8], "little")
        assert len(data) >= 8 + size
        parts.append(data[8 : 8 + size])
        data = data[8 + size :]
    return parts


@given(LABELS, PARTS)
def test_a_frame_can_be_taken_apart_so_no_two_statements_share_one(label: str, parts: list[bytes]) -> None:
    assert parse(frame(label, *parts)) == [PROTOCOL, label.encode(), *parts]


@given(LABELS, PARTS)
def test_a_digest_is_sha_256_of_the_frame(label: str, parts: list[bytes]) -> None:
    assert digest(label, *parts) == hashlib.sha256(frame(label, *parts)).digest()


@given(LABELS, PARTS, LABELS, PARTS)
def test_digests_are_equal_only_for_equal_statements(
    label: str, parts: list[bytes], other_label: str, other_parts: list[bytes]
) -> None:
    same = (label, parts) == (other_label, other_parts)
    assert (digest(label, *parts) == digest(other_label, *other_parts)) == same


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("label", (b"a", b"bc")),
        ("label", (b"abc",)),
        ("label", (b"ab", b"c", b"")),
        ("label", (b"", b"ab", b"c")),
        ("label", (b"c", b"ab")),
        ("labela", (b"b", b"c")),
        ("", (b"label", b"ab", b"c")),
        ("Label", (b"ab", b"c")),
    ],
)
def test_moving_a_byte_changes_the_digest(label: str, parts: tuple[bytes, ...]) -> None:
    assert digest(label, *parts) != digest("label", b"ab", b"c")


def test_a_view_of_bytes_hashes_like_the_bytes() -> None:
    assert digest("label", memoryview(b"xabc")[1:]) == digest("label", b"abc")


@given(LABELS, st.lists(st.tuples(LABELS, st.binary())))
def test_a_transcript_is_the_digest_of_its_names_and_values(label: str, fields: list[tuple[str, bytes]]) -> None:
    transcript = Transcript(label)
    for name, value in fields:
        transcript.absorb(name, value)
    assert transcript.digest() == digest(label, *(part for name, value in fields for part in (name.encode(), value)))


def test_the_order_of_fields_matters() -> None:
    one = Transcript("label").absorb("a", b"1").absorb("b", b"2")
    other = Transcript("label").absorb("b", b"2").absorb("a", b"1")
    assert one.digest() != other.digest()


def test_a_field_more_changes_the_digest() -> None:
    transcript = Transcript("label").absorb("a", b"1")
    before = transcript.digest()
    assert transcript.absorb("", b"").digest() != before


def test_digests_have_32_bytes() -> None:
    assert len(digest("label")) == DIGEST_BYTES == 32


@pytest.mark.parametrize("value", [0, 1, 255, 256, 2**64 - 1])
def test_integers_are_eight_bytes_little_endian(value: int) -> None:
    assert int.from_bytes(integer(value), "little") == value
    assert len(integer(value)) == 8


@pytest.mark.parametrize("value", [-1, 2**64])
def test_integers_out_of_range_have_no_encoding(value: int) -> None:
    with pytest.raises(OverflowError):
        integer(value)
