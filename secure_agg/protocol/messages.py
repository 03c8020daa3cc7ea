"""Wire messages: typed, versioned, signed, size-limited, with one byte string for each message.

A message on the wire is ``length ‖ header ‖ bulk``: 4 bytes little endian, the header as MessagePack, and
raw vector bytes whose SHA-256 is in the header. Every party signs what it sends. Decoding is strict: sizes
are checked before anything is decoded, and a header that would not be encoded to the very same bytes is
refused, so there is no second spelling.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from mpc.framing import frame
from secure_agg.errors import MalformedMessage, UnknownSender, WrongContext, WrongPhase
from secure_agg.protocol.identity import Identity, verify_signature
from secure_agg.protocol.ready import ready

VERSION: Final = 1
_LENGTH_BYTES: Final = 4

_BATCH: Final = 1024  # entries of a list that are encoded again at a time

_T = TypeVar("_T")
_S = TypeVar("_S", bound=msgspec.Struct)
_encoder = msgspec.msgpack.Encoder()


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of everything that is encoded: a MessagePack array of the fields in order."""

    def __repr__(self) -> str:
        """The fields, bytes by their number only: some are shares or seeds on their way to whom they are for."""
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        texts = (
            f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}" for name, value in shown
        )
        return f"{type(self).__name__}({', '.join(texts)})"

    @classmethod
    def form(cls, data: bytes | memoryview) -> type[Wire]:
        """The type that bytes which ought to be one of these are read as: for a kind that has forms with more fields
        than it, by their number.
        """
        return cls


def array_header(kind: type[Wire]) -> bytes:
    """How the encoding of one of a kind with 16 fields or more begins."""
    return b"\xdc" + len(kind.__struct_fields__).to_bytes(2, "big")


def encode(value: msgspec.Struct) -> bytes:
    """The one encoding of a wire struct."""
    return _encoder.encode(value)


def decode(kind: type[_T], data: bytes | memoryview, limit: int, *, phase: str = "", culprit: str = "") -> _T:
    """Decode strictly.

    Raises:
        MalformedMessage: longer than ``limit``, not of this type, trailing bytes, or not in canonical form.
    """
    if len(data) > limit:
        raise MalformedMessage(f"{kind.__name__} has {len(data)} bytes, above {limit}", phase=phase, culprit=culprit)
    try:
        form: Any = kind.form(data) if isinstance(kind, type) and issubclass(kind, Wire) else kind
        value: _T = msgspec.msgpack.decode(data, type=ready(form))
    except (msgspec.DecodeError, ValueError, MemoryError, RecursionError) as error:
        raise MalformedMessage(f"no {kind.__name__}: {error}", phase=phase, culprit=culprit) from error
    if _encoder.encode(value) != data:
        raise MalformedMessage(f"{kind.__name__} is not in canonical form", phase=phase, culprit=culprit)
    return value


def decode_list(kind: type[_S], data: bytes | memoryview, most: int, least_bytes: int) -> tuple[_S, ...]:
    """Decode a list strictly, once it is known that it can't become many times its size in memory.

    An object takes some hundred bytes of memory however few it has on the wire. So the number of entries, which a list
    begins with, is compared with how many there may be, and with the bytes that are there for them.

    Args:
        kind: of the entries.
        data: the encoding of the list, and nothing else.
        most: how many entries there may be.
        least_bytes: that an entry which means anything has.

    Raises:
        MalformedMessage: more entries, or so many that some mean nothing; another type; not in canonical form.
    """
    view = memoryview(data)
    first, wide = (view[0], int.from_bytes(view[1:5], "big")) if len(view) else (0, 0)
    count = {0xDC: wide >> 16 if len(view) >= 5 else 0, 0xDD: wide}.get(first, first - 0x90 if first >> 4 == 9 else -1)
    if not 0 <= count <= most or count * least_bytes > len(view):
        raise MalformedMessage(f"{len(view)} bytes are no list of at most {most} entries of {kind.__name__}")
    try:
        entries = msgspec.msgpack.decode(view, type=tuple[kind, ...])  # type: ignore[valid-type]
    except (msgspec.DecodeError, ValueError, MemoryError, RecursionError) as error:
        raise MalformedMessage(f"no list of {kind.__name__}: {error}") from error
    place = _list_header(count)
    canonical = first == {1: 0x90 | (count & 0xF), 3: 0xDC, 5: 0xDD}[place]
    for start in range(0, count, _BATCH):
        batch = entries[start : start + _BATCH]
        again = memoryview(_encoder.encode(batch))[_list_header(len(batch)) :]
        canonical = canonical and view[place : place + len(again)] == again
        place += len(again)
    if not canonical or place != len(view):
        raise MalformedMessage(f"a list of {kind.__name__} is not in canonical form")
    return entries


def _list_header(count: int) -> int:
    """Bytes before the first entry of a list."""
    return 1 if count < 1 << 4 else 3 if count < 1 << 16 else 5


def pack(header: bytes, bulk: bytes | memoryview = b"") -> bytes:
    """``length ‖ header ‖ bulk``."""
    return b"".join((len(header).to_bytes(_LENGTH_BYTES, "little"), header, bulk))


def unpack(data: bytes | memoryview, limit: int) -> tuple[memoryview, memoryview]:
    """Split what ``pack`` joined into header and bulk, without copying.

    Raises:
        MalformedMessage: too short for its own header, or a header above ``limit`` bytes.
    """
    view = memoryview(data)
    size = int.from_bytes(view[:_LENGTH_BYTES], "little")
    if len(view) < _LENGTH_BYTES or size > len(view) - _LENGTH_BYTES:
        raise MalformedMessage(f"{len(view)} bytes are too few for a message with a header of {size}")
    if size > limit:
        raise MalformedMessage(f"a header has {size} bytes, above {limit}")
    return view[_LENGTH_BYTES : _LENGTH_BYTES + size], view[_LENGTH_BYTES + size :]


class Envelope(NamedTuple):
    """A message and the party it is for."""

    recipient: str
    data: bytes


class Header(Wire, frozen=True):
    """What every message carries and its sender signs.

    Attributes:
        version: of the wire format, 1.
        session: the round context's digest in the first phase, the session id afterwards; 32 bytes.
        phase: the protocol phase.
        sender: id of the party that signs.
        recipient: id of the party it is for; empty for statements that are relayed to everybody.
        body: the phase's own content, encoded.
        bulk_digest: SHA-256 of the bulk; empty where there is none.
        signature: Ed25519 by the sender.
    """

    version: int
    session: bytes
    phase: str
    sender: str
    recipient: str
    body: bytes
    bulk_digest: bytes
    signature: bytes


class Received:
    """A message as it came, parsed once: whoever takes it in makes this of it, and hands it on to whoever checks it.

    Nothing in it is believed before ``read``.

    Attributes:
        data: as received.
        header: decoded strictly.
        bulk: a view of ``data``.
    """

    __slots__ = ("bulk", "data", "header")

    def __init__(self, data: bytes | memoryview, header: Header, bulk: memoryview) -> None:
        """Use ``of``."""
        self.data, self.header, self.bulk = data, header, bulk

    def __repr__(self) -> str:
        header = self.header
        return f"Received({header.phase!r} of {header.sender!r} for {header.recipient!r}, {len(self.data)} bytes)"

    @staticmethod
    def of(data: Incoming, limit: int, *, phase: str = "") -> Received:
        """Parse a message, or take one that was parsed already.

        Args:
            limit: most bytes of a header.
            phase: awaited, for errors.

        Raises:
            MalformedMessage: too short for its own header, a header above ``limit`` bytes, or none.
        """
        if isinstance(data, Received):
            if (size := len(data.data) - len(data.bulk) - _LENGTH_BYTES) > limit:
                raise MalformedMessage(f"a header has {size} bytes, above {limit}")
            return data
        header, bulk = unpack(data, limit)
        return Received(data, decode(Header, header, limit, phase=phase), bulk)


Incoming = bytes | memoryview | Received
"""A message as a party is handed it: raw, or parsed by who has looked at it before."""


class Message(NamedTuple):
    """A message whose form, addressee and signature have been checked. ``bulk`` is a view of what was received."""

    header: Header
    bulk: memoryview

    @property
    def body(self) -> bytes:
        """The phase's own content."""
        return self.header.body


def digest_of(bulk: bytes | memoryview) -> bytes:
    """What a header says of its bulk: SHA-256; empty where there is none."""
    return hashlib.sha256(bulk).digest() if len(bulk) else b""


def signed_bytes(
    session: bytes, phase: str, sender: str, recipient: str, body: bytes, bulk_digest: bytes = b""
) -> bytes:
    """What a message's signature is over."""
    return frame("message", session, phase.encode(), sender.encode(), recipient.encode(), body, bulk_digest)


def write(
    identity: Identity,
    session: bytes,
    phase: str,
    recipient: str,
    body: bytes,
    bulk: memoryview | bytes = b"",
    bulk_digest: bytes | None = None,
) -> bytes:
    """Sign and encode a message. ``bulk_digest`` is the bulk's SHA-256, where it has been computed already."""
    if bulk_digest is None:
        bulk_digest = digest_of(bulk)
    signature = identity.sign(signed_bytes(session, phase, identity.name, recipient, body, bulk_digest))
    header = Header(VERSION, session, phase, identity.name, recipient, body, bulk_digest, signature)
    return pack(encode(header), bulk)


def peek(data: bytes | memoryview, limit: int) -> Header:
    """A message's header, for those who only look: nothing in it is to be believed."""
    return Received.of(data, limit).header


def read(
    data: Incoming,
    *,
    limit: int,
    bulk_sizes: range | None,
    session: bytes,
    phase: str,
    recipients: tuple[str, ...],
    keys: dict[str, bytes],
) -> Message:
    """Check everything of a message that does not depend on its body.

    Args:
        data: as received; decoded here where nobody has before.
        limit: most bytes of a header.
        bulk_sizes: sizes that the bulk may have; None leaves it to the caller, who has bounded ``data``.
        session: awaited.
        phase: awaited.
        recipients: addressees that make this message ours.
        keys: identity keys of those who may send it.

    Raises:
        MalformedMessage, WrongPhase, WrongContext, UnknownSender, BadSignature: as they say. The culprit is the
            sender that the header claims; the signature is checked last, being the dearest check.
    """
    received = Received.of(data, limit, phase=phase)
    header, bulk = received.header, received.bulk
    culprit = header.sender
    if header.version != VERSION:
        raise MalformedMessage(f"message version {header.version}, not {VERSION}", phase=phase, culprit=culprit)
    key = keys.get(header.sender)
    if key is None:
        raise UnknownSender(f"no message is awaited from {culprit!r}", phase=phase, culprit=culprit)
    if header.recipient not in recipients:
        raise UnknownSender(f"a message for {header.recipient!r} came here", phase=phase, culprit=culprit)
    if header.phase != phase:
        raise WrongPhase(f"a message of phase {header.phase!r} came in phase {phase!r}", phase=phase, culprit=culprit)
    if header.session != session:
        raise WrongContext("a message is bound to another round or view of it", phase=phase, culprit=culprit)
    if bulk_sizes is not None and len(bulk) not in bulk_sizes:
        limits = f"[{bulk_sizes.start}, {bulk_sizes.stop})"
        raise MalformedMessage(f"{len(bulk)} bytes of bulk, outside {limits}", phase=phase, culprit=culprit)
    if header.bulk_digest != digest_of(bulk):
        raise MalformedMessage("the bulk is not the one announced", phase=phase, culprit=culprit)
    message = signed_bytes(
        header.session, header.phase, header.sender, header.recipient, header.body, header.bulk_digest
    )
    verify_signature(key, header.signature, message, phase=phase, culprit=culprit)
    return Message(header, bulk)


# --- what the roles themselves say, whatever the backend ----------------------------------------------------


class Advertisement(Wire, frozen=True):
    """Phase *advertise*, client to everybody: the hash of a commitment, and the backend's public keys."""

    commitment_hash: bytes
    backend: bytes


class SignedAdvertisement(Wire, frozen=True, gc=False):
    """An advertisement as it is relayed, hashed into the session id, and kept in the evidence."""

    name: str
    body: bytes
    signature: bytes

    def verify(self, context: bytes, key: bytes) -> Advertisement:
        """Check the signature and decode.

        Raises:
            BadSignature, MalformedMessage: as they say.
        """
        message = signed_bytes(context, ADVERTISE, self.name, "", self.body)
        verify_signature(key, self.signature, message, phase=ADVERTISE, culprit=self.name)
        return decode(Advertisement, self.body, MAX_ADVERTISEMENT, phase=ADVERTISE, culprit=self.name)

    def message(self, context: bytes) -> bytes:
        """The message that it came in."""
        return pack(encode(Header(VERSION, context, ADVERTISE, self.name, "", self.body, b"", self.signature)))


class AdvertisementList(Wire, frozen=True):
    """First request after *advertise*: everybody's advertisements in id order, and the backend's own part."""

    advertisements: tuple[SignedAdvertisement, ...]
    backend: bytes


class Rooted(Wire, frozen=True):
    """Stands in ``AdvertisementList.backend`` in the round of an edge: the forest, and the backend's own part."""

    forest: bytes
    backend: bytes


class HiddenInput(Wire, frozen=True):
    """An input phase's response: the opening of the commitment hash, and the backend's part. The bulk is
    the hidden vector.
    """

    commitment: bytes
    nonce: bytes
    backend: bytes


class Opening(Wire, frozen=True, gc=False):
    """A participant's commitment, and the nonce that shows it was fixed from the start."""

    name: str
    commitment: bytes
    nonce: bytes


class Acceptance(Wire, frozen=True):
    """A receipt: its signer has accepted the input of this client, with this D_i and this hidden vector (or share)."""

    name: str
    commitment_hash: bytes
    vector_digest: bytes


def letter_digest(body: bytes, bulk_digest: bytes) -> bytes:
    """What an operator's receipt names a client's share by: parts of the header that the client has signed."""
    return hashlib.sha256(frame("letter", body, bulk_digest)).digest()


class StatementEntry(Wire, frozen=True, gc=False):
    """A member of the set, and what the backend's agreement rule says of its commitment."""

    name: str
    value: bytes


class Statement(Wire, frozen=True):
    """Phase *consistency*, request: the set as the aggregator sees it, in id order."""

    entries: tuple[StatementEntry, ...]


class Signature(Wire, frozen=True, gc=False):
    """A member's signature of the agreed statement."""

    name: str
    signature: bytes


class Excision(Wire, frozen=True):
    """Response where somebody is taken out of the agreed set: the signature of the smaller one, and the backend's
    part.
    """

    signature: bytes
    backend: bytes


class Agreed(Wire, frozen=True):
    """A request after the set was signed: the quorum of signatures, and the backend's part."""

    signatures: tuple[Signature, ...]
    backend: bytes


ADVERTISE: Final = "advertise"
CONSISTENCY: Final = "consistency"
SHARE: Final = "share"
RECEIPT: Final = "receipt"
RESULT: Final = "result"
NO_BULK: Final = range(1)
MAX_SETUP: Final = range((16 << 20) + 1)
"""Sizes of the public material that a first request may carry."""
MAX_ADVERTISEMENT: Final = 1024
MAX_CONFIG: Final = 1 << 20


MEMBER_BYTES: Final = 18 << 10
"""More than evidence holds of one member of the cohort: key, advertisement, opening with a sketch, signature."""


def public_limit(clients: int) -> int:
    """Most bytes of all that is public about a round of so many clients, but for vectors."""
    return MAX_CONFIG + MAX_SETUP.stop + (64 << 10) + clients * MEMBER_BYTES


def header_limit(clients: int) -> int:
    """Most bytes of any header in a round of so many clients: 64 kB, and 1 kB for each."""
    return (64 + clients) << 10
