"""The digest of what an app is given: one for each thing that can be told apart, the same wherever it is computed."""

from __future__ import annotations

import hashlib
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.framing import PROTOCOL
from secure_agg.errors import MalformedMessage
from secure_agg.plugins.core.instructions import MAX_DEPTH, Instructions, files, ordered

NAN, OTHER_NAN = struct.unpack("<2d", bytes.fromhex("000000000000f87f010000000000f87f"))

DIFFERENT: list[Any] = [
    None, True, False, 1, 1.0, "1", b"1", 0, 0.0, -0.0, -1, "", b"", [], (), {}, [[]], [()], [1], (1,), [True], [1.0],
    ["ab", "c"], ["a", "bc"], ["abc"], [["a"], "b"], ["a", ["b"]], {"a": 1}, {"a": 1.0}, {"a": 1, "b": 2},
    {"b": 2, "a": 1}, {1: "a"}, [["a", 1]], [("a", 1)], {"a": {"b": 1}}, 127, 128, 255, 256, -128, -129, 2**63, 2**64,
    -(2**63), float("inf"), NAN, OTHER_NAN, "é", "e\u0301", "é".encode(), np.float64(1), np.int64(1), np.int32(1),
    np.array(1), np.array([1]), np.array([1], np.int32), np.array([1], ">i8"), np.array([[1]]), np.array([1.0]),
    np.array([True]), np.array([0.0]), np.array([-0.0]), np.array([NAN]), np.array([OTHER_NAN]), np.zeros((0, 2)),
    np.zeros((2, 0)), np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(6), np.zeros(6, np.uint8), np.zeros(6, np.bool_),
]  # fmt: skip


def told(value: Any) -> bytes:
    return Instructions.of(it=value).digest


def test_whatever_an_app_can_tell_apart_has_another_digest() -> None:
    digests = [told(value) for value in DIFFERENT]
    same = [
        (a, b) for (a, x), (b, y) in itertools.combinations(zip(DIFFERENT, digests, strict=True), 2) if x == y
    ]  # a naive digest, of repr or JSON, has many of these
    assert same == []
    assert digests == [told(value) for value in DIFFERENT]


def test_how_bytes_and_arrays_lie_in_memory_does_not_count() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert told(array) == told(np.asfortranarray(array)) == told(np.repeat(array, 2, axis=1)[:, ::2])
    assert told(b"abc") == told(bytearray(b"abc")) == told(memoryview(b"abc"))


def test_parts_are_bound_by_name_and_order() -> None:
    assert Instructions.of(a=1, b=2).digest != Instructions.of(b=2, a=1).digest
    assert Instructions.of(a=1, b=2).digest != Instructions.of(a=2, b=1).digest
    assert Instructions.of(a=1).digest != Instructions.of(b=1).digest


def test_where_no_order_is_kept_one_is_made() -> None:
    assert told(ordered({"b": 1, "a": 2})) == told(ordered({"a": 2, "b": 1})) == told({"a": 2, "b": 1})


def test_who_compares_two_nodes_sees_which_part_differs() -> None:
    one, other = Instructions.of(message="train", weighted_by="a"), Instructions.of(message="train", weighted_by="b")
    (first, second), (third, fourth) = (str(it).split(", ") for it in (one, other))
    assert first == third
    assert second.startswith("weighted by ")
    assert second != fourth
    assert "train" not in str(one)


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), "\ud800", [object()], {"a": {1}}, np.array(["text"]), np.array([object()]), 1j, deep(100_000)],
)
def test_what_has_no_encoding_is_refused_by_name(value: Any) -> None:
    with pytest.raises(MalformedMessage, match="the part can't be bound"):
        Instructions.of(the_part=value)


def test_nesting_has_a_limit() -> None:
    told(deep(MAX_DEPTH))
    with pytest.raises(MalformedMessage, match="levels"):
        told(deep(MAX_DEPTH + 1))


def test_an_encoding_written_by_hand() -> None:
    """As the specification says it, section 15."""
    size = (2).to_bytes(8, "little")
    encoding = b"m" + size
    for key, value in ((b"lr", b"f" + struct.pack("<d", 0.5)), (b"on", b"b\1")):
        encoding += b"s" + size + key + value
    part = hashlib.sha256(encoding).digest()

    def framed(*items: bytes) -> bytes:
        return b"".join(len(item).to_bytes(8, "little") + item for item in items)

    expected = hashlib.sha256(framed(PROTOCOL, b"instructions", b"config", part)).digest()
    assert Instructions.of(config={"lr": 0.5, "on": True}).digest == expected


def test_files_count_by_path_and_content(tmp_path: Path) -> None:
    def made(**content: str) -> bytes:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in content.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return told(files(folder, lambda path: path.suffix == ".py"))

    assert made(a_py="1", b_txt="2") == made(b_txt="3", a_py="1")
    assert len({made(a_py="1"), made(a_py="2"), made(b_py="1"), made(c__a_py="1"), made(a_py="1", b_py="")}) == 5
    assert files(tmp_path / "nowhere", lambda path: True) == {}
