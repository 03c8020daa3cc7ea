"""Wire messages: one spelling, checked sizes, and a typed error for everything that is not as awaited."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg.backends.masking.wire import OpenedMask, Released, ReleasedShare
from secure_agg.errors import (
    BadSignature,
    MalformedMessage,
    RemoteProtocolError,
    UnknownSender,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol import messages
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import (
    ADVERTISE,
    Advertisement,
    AdvertisementList,
    Agreed,
    Header,
    HiddenInput,
    Message,
    SignedAdvertisement,
    Statement,
    StatementEntry,
    Wire,
    decode,
    encode,
    pack,
    peek,
    signed_bytes,
    unpack,
    write,
)

ALICE, BOB = Identity("alice", b"\x01" * 32), Identity("bob", b"\x02" * 32)
SESSION = b"\x07" * 32
LIMIT = 1 << 16
BULK = bytes(range(40))


def message(bulk: bytes = BULK, **changes: Any) -> bytes:
    settings: dict[str, Any] = {"session": SESSION, "phase": "p", "recipient": "server", "body": b"body", **changes}
    return write(ALICE, bulk=bulk, **settings)


def read(data: bytes | memoryview, **changes: Any) -> Message:
    awaited: dict[str, Any] = {
        "limit": LIMIT,
        "bulk_sizes": None,
        "session": SESSION,
        "phase": "p",
        "recipients": ("server", ""),
        "keys": {"alice": ALICE.public, "bob": BOB.public},
    }
    return messages.read(data, **{**awaited, **changes})


def forged(**changes: Any) -> bytes:
    """Alice's message with fields of its header replaced, but signed as it was."""
    header, bulk = unpack(message(), LIMIT)
    return pack(encode(msgspec.structs.replace(decode(Header, header, LIMIT), **changes)), bulk)


# --- messages that are as awaited ---------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_written() -> None:
    arrived = read(message())
    assert (arrived.header.sender, arrived.body, bytes(arrived.bulk)) == ("alice", b"body", BULK)


def test_a_message_without_bulk_arrives() -> None:
    arrived = read(message(bulk=b""), bulk_sizes=messages.NO_BULK)
    assert (arrived.header.bulk_digest, len(arrived.bulk)) == (b"", 0)


def test_a_statement_to_everybody_arrives() -> None:
    assert read(message(recipient="")).header.recipient == ""


def test_the_bulk_is_a_view_of_what_was_received() -> None:
    data = bytearray(message())
    arrived = read(memoryview(data))
    data[-1] ^= 1
    assert arrived.bulk[-1] == BULK[-1] ^ 1


def test_writing_is_deterministic() -> None:
    assert message() == message()


def test_peeking_believes_nothing_and_shows_the_header() -> None:
    assert peek(forged(signature=bytes(64)), LIMIT).sender == "alice"


@given(st.binary(max_size=300), st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=300))
def test_any_body_phase_and_bulk_arrive(body: bytes, phase: str, bulk: bytes) -> None:
    arrived = read(message(bulk=bulk, phase=phase, body=body), phase=phase)
    assert (arrived.body, bytes(arrived.bulk)) == (body, bulk)


# --- messages that are not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "awaited", "error"),
    [
        (lambda: forged(version=2), {}, MalformedMessage),
        (lambda: forged(version=0), {}, MalformedMessage),
        (message, {"keys": {"bob": BOB.public}}, UnknownSender),
        (message, {"recipients": ("other", "")}, UnknownSender),
        (message, {"phase": "q"}, WrongPhase),
        (message, {"session": b"\x08" * 32}, WrongContext),
        (message, {"keys": {"alice": BOB.public}}, BadSignature),
        (lambda: message(bulk=b""), {"bulk_sizes": range(40, 41)}, MalformedMessage),
        (message, {"bulk_sizes": range(41, 42)}, MalformedMessage),
        (message, {"bulk_sizes": messages.NO_BULK}, MalformedMessage),
        (lambda: message() + b"\0", {}, MalformedMessage),
        (lambda: message()[:-1], {}, MalformedMessage),
        (lambda: message()[:-1] + b"\0", {}, MalformedMessage),
        (lambda: message(bulk=b"") + b"\0", {}, MalformedMessage),
        (lambda: forged(bulk_digest=b""), {}, MalformedMessage),
    ],
    ids=[
        "newer-version",
        "older-version",
        "sender",
        "recipient",
        "phase",
        "session",
        "key",
        "no-bulk",
        "short-bulk",
        "unawaited-bulk",
        "longer-bulk",
        "truncated-bulk",
        "altered-bulk",
        "appended-bulk",
        "unannounced-bulk",
    ],
)
def test_what_is_not_as_awaited_is_refused_with_its_type_and_sender(
    data: Callable[[], bytes], awaited: dict[str, Any], error: type[RemoteProtocolError]
) -> None:
    with pytest.raises(error) as caught:
        read(data(), **awaited)
    assert type(caught.value) is error
    assert caught.value.culprit == "alice"
    assert caught.value.phase == awaited.get("phase", "p")


@pytest.mark.parametrize(
    ("changes", "awaited"),
    [
        ({"session": b"\x08" * 32}, {"session": b"\x08" * 32}),
        ({"phase": "q"}, {"phase": "q"}),
        ({"sender": "bob"}, {}),
        ({"recipient": ""}, {}),
        ({"body": b"Body"}, {}),
        ({"signature": bytes(64)}, {}),
        ({"signature": b""}, {}),
    ],
    ids=["session", "phase", "sender", "recipient", "body", "zero-signature", "no-signature"],
)
def test_the_signature_covers_every_field(changes: dict[str, Any], awaited: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        read(forged(**changes), **awaited)


def test_the_signature_covers_the_bulk() -> None:
    other = bytes(40)
    header, _ = unpack(forged(bulk_digest=hashlib.sha256(other).digest()), LIMIT)
    with pytest.raises(BadSignature):
        read(pack(bytes(header), other))


def test_what_is_signed_differs_in_every_field() -> None:
    base = (SESSION, "p", "alice", "server", b"body", b"digest")
    others = [(*base[:i], value[:-1], *base[i + 1 :]) for i, value in enumerate(base)]
    assert len({signed_bytes(*fields) for fields in (base, *others)}) == 7  # type: ignore[arg-type]


# --- form ---------------------------------------------------------------------------------------------------


def test_every_truncation_is_refused() -> None:
    data = message()
    for length in range(len(data)):
        with pytest.raises(MalformedMessage):
            read(data[:length])


def test_a_flipped_bit_anywhere_is_refused() -> None:
    data = message()
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << (position % 8)
        with pytest.raises(RemoteProtocolError):
            read(bytes(altered))


@pytest.mark.parametrize("claim", [0, 1, 100, 2**16, 2**16 + 1, 2**31, 2**32 - 1])
def test_a_header_length_that_lies_is_refused(claim: int) -> None:
    data = message()
    assert int.from_bytes(data[:4], "little") not in (claim,)
    with pytest.raises(MalformedMessage):
        read(claim.to_bytes(4, "little") + data[4:])


def test_a_header_above_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MalformedMessage, match="above 100"):
        read(message(), limit=100)


def test_the_limit_itself_is_allowed() -> None:
    data = message()
    assert read(data, limit=int.from_bytes(data[:4], "little")).header.sender == "alice"


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(data)


@given(st.binary(max_size=200))
def test_noise_as_a_header_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(pack(data))


def test_packing_and_unpacking_are_inverse() -> None:
    header, bulk = unpack(pack(b"header", b"bulk"), 6)
    assert (bytes(header), bytes(bulk)) == (b"header", b"bulk")


# --- strict decoding ----------------------------------------------------------------------------------------

SAMPLES: list[Wire] = [
    Advertisement(b"\x01" * 32, b"keys"),
    SignedAdvertisement("alice", b"body", b"\x02" * 64),
    AdvertisementList((SignedAdvertisement("alice", b"body", b"\x02" * 64),), b""),
    HiddenInput(b"\x01" * 64, b"\x02" * 32, b"backend"),
    Statement((StatementEntry("a", b"\x01" * 32), StatementEntry("b", b"\x02" * 32))),
    Agreed((messages.Signature("a", b"\x03" * 64),), b"backend"),
    messages.Acceptance("a", b"\x01" * 32, b"\x02" * 32),
]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_struct_survives_its_encoding_and_no_other_length_does(value: Wire) -> None:
    data = encode(value)
    assert decode(type(value), data, LIMIT) == value
    for other in [*(data[:length] for length in range(len(data))), data + b"\x00", data + b"\xc0"]:
        with pytest.raises(MalformedMessage):
            decode(type(value), other, LIMIT)


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_field_too_many_or_too_few_is_refused(value: Wire) -> None:
    fields = msgspec.msgpack.decode(encode(value))
    for other in ([*fields, b""], fields[:-1], [None] * len(fields), dict(enumerate(fields))):
        with pytest.raises(MalformedMessage):
            decode(type(value), msgspec.msgpack.encode(other), LIMIT)


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_longer_array_header_is_refused_as_not_canonical(value: Wire) -> None:
    data = encode(value)
    with pytest.raises(MalformedMessage, match="canonical"):
        decode(type(value), b"\xdc\x00" + bytes([data[0] & 0x0F]) + data[1:], LIMIT)


@pytest.mark.parametrize(
    "claim",
    [
        b"\xdd\xff\xff\xff\xff",  # array32
        b"\x91\xdd\xff\xff\xff\xff",
        b"\x92\xdd\xff\xff\xff\xff",
        b"\x92\xdd\xff\xff\xff\xff" + b"\x92\xa1a\xc4\x00" * 100,
        b"\x91\xdf\xff\xff\xff\xff",  # map32
        b"\x92\xc6\xff\xff\xff\xff",  # bin32
        b"\x92\xdb\xff\xff\xff\xff",  # str32
        b"\x98\x01\xc6\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("kind", [Statement, AdvertisementList, Agreed, Advertisement, Header])
def test_a_huge_claim_allocates_nothing(kind: type[Wire], claim: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            decode(kind, claim, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode(Statement, b"\x91" * 60_000, LIMIT)


def test_more_bytes_than_the_limit_are_refused_undecoded() -> None:
    with pytest.raises(MalformedMessage, match="above 10") as caught:
        decode(Advertisement, bytes(11), 10, phase="p", culprit="alice")
    assert (caught.value.phase, caught.value.culprit) == ("p", "alice")


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode(SignedAdvertisement, b"\x93\xa1\xff\xc4\x00\xc4\x00", LIMIT)


# --- advertisements -----------------------------------------------------------------------------------------


def advertised(body: bytes, context: bytes = SESSION) -> SignedAdvertisement:
    return SignedAdvertisement("alice", body, ALICE.sign(signed_bytes(context, ADVERTISE, "alice", "", body)))


def test_a_relayed_advertisement_verifies_against_its_author() -> None:
    inner = Advertisement(b"\x01" * 32, b"keys")
    assert advertised(encode(inner)).verify(SESSION, ALICE.public) == inner


def test_an_advertisement_of_another_context_or_author_is_refused() -> None:
    item = advertised(encode(Advertisement(b"\x01" * 32, b"keys")))
    for context, key in ((b"\x08" * 32, ALICE.public), (SESSION, BOB.public)):
        with pytest.raises(BadSignature) as caught:
            item.verify(context, key)
        assert (caught.value.culprit, caught.value.phase) == ("alice", ADVERTISE)


def test_an_advertisement_is_the_message_of_its_phase() -> None:
    """What a client sends to everybody is what the others verify when it is relayed."""
    data = write(ALICE, SESSION, ADVERTISE, "", encode(Advertisement(b"\x01" * 32, b"keys")))
    header = read(data, phase=ADVERTISE).header
    SignedAdvertisement(header.sender, header.body, header.signature).verify(SESSION, ALICE.public)


@pytest.mark.parametrize("body", [b"", b"\x92\xc4\x00", bytes(messages.MAX_ADVERTISEMENT + 1)])
def test_an_advertisement_that_does_not_decode_names_its_author(body: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        advertised(body).verify(SESSION, ALICE.public)
    assert caught.value.culprit == "alice"


def test_the_header_limit_grows_with_the_round() -> None:
    assert (messages.header_limit(0), messages.header_limit(100)) == (64 << 10, 164 << 10)


# --- threads --------------------------------------------------------------------------------------------------

RACE = """
from __future__ import annotations
import sys, threading
from secure_agg.protocol.messages import Wire, decode, encode

def read_at_once(kind, data):
    start = threading.Barrier(4)
    def read():
        start.wait()
        decode(kind, data, 100)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

sys.setswitchinterval(1e-6)
for i in range(100):
    class Inner(Wire, frozen=True):
        names: tuple[str, ...]
        data: bytes
    class Outer(Wire, frozen=True):
        first: Inner
        number: int
        others: tuple[Inner, ...]
    inner = Inner(("a", "b"), b"x")
    read_at_once(Outer, encode(Outer(inner, 1, (inner,))))
"""


def test_threads_that_read_a_type_for_the_first_time_at_once_all_can() -> None:
    """In a process of its own, which msgspec alone would end: types are made ready by one thread."""
    assert subprocess.run([sys.executable, "-c", RACE], check=False).returncode == 0


def test_what_is_printed_of_a_message_holds_none_of_its_bytes() -> None:
    """Shares and seeds that are released travel in these; a debugger's line or a log is no place for them."""
    secret = bytes(range(32))
    body = Released((ReleasedShare(3, secret),))
    assert repr(body) == "Released(shares=(ReleasedShare(dealer=3, share=<32 bytes>),))"
    assert repr(OpenedMask(1, secret)) == "OpenedMask(peer=1, secret=<32 bytes>)"
