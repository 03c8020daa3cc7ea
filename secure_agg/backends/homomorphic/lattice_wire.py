"""Bytes of lattice ciphertexts: our framing of a vector's chunks, SEAL's streams, and TenSEAL's envelopes.

A *vector* is a header and its chunks in order::

    "SALT" ‖ version 1 ‖ digest of the parameters (32) ‖ digest of the public key (32) ‖ clients (u32) ‖ chunks (u32)
    chunk: index (u32) ‖ length (u32) ‖ SEAL ciphertext stream

all little endian; ``clients`` is the number of vectors summed in it, 1 for a client's. TenSEAL's own
serialisation is a protobuf around the same stream. Protobuf readers are lenient (repeated and unknown fields),
so the envelope is never taken from a peer: only streams travel, and the envelope is put around them here.

**Nothing here reaches SEAL.** ``split`` takes a vector apart and checks how each stream is compressed;
``seal_format.open_stream`` reads one completely, and what it makes of it is all that SEAL is given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from secure_agg.backends.homomorphic import seal_format
from secure_agg.backends.homomorphic.lattice_parameters import CKKS, LatticeParameters
from secure_agg.errors import BadKey, MalformedMessage, WrongContext

MAGIC: Final = b"SALT\x01"
HEADER: Final = struct.Struct("<5s32s32sII")
CHUNK: Final = struct.Struct("<II")

_VARINT_LIMIT: Final = 10
_RELIN_KEYS: Final = 4  # field numbers in TenSEAL's public context
_GALOIS_KEYS: Final = 5
_SETTINGS: Final = ((2, 0), (3, 1))  # flags and scale: number and kind


def header(parameters: LatticeParameters, key_digest: bytes, clients: int) -> bytes:
    """The header of a vector in which ``clients`` vectors are summed."""
    return HEADER.pack(MAGIC, parameters.digest, key_digest, clients, parameters.chunks)


def chunk(index: int, stream: bytes | memoryview) -> bytes:
    """One framed chunk."""
    return CHUNK.pack(index, len(stream)) + stream


def largest_vector(parameters: LatticeParameters) -> int:
    """Most bytes of a vector: a limit for whoever receives one."""
    return HEADER.size + parameters.chunks * (CHUNK.size + seal_format.largest_stream(ciphertext_bytes(parameters)))


def split(
    data: bytes | memoryview, parameters: LatticeParameters, key_digest: bytes
) -> tuple[int, Sequence[memoryview]]:
    """Take a vector apart without decoding or copying a ciphertext.

    Returns:
        The number of vectors summed in it, in [1, n_max], and a stream per chunk, whose size and compression are
        sound; what it expands to has still to be read.

    Raises:
        WrongContext: for other parameters or under another key.
        MalformedMessage: truncated, oversized, trailing bytes, a chunk missing, repeated or out of order, or
            a stream that is not SEAL's or does not expand to a ciphertext.
    """
    view = memoryview(data).cast("B")
    if not HEADER.size <= len(view) <= largest_vector(parameters):
        raise MalformedMessage(
            f"{len(view)} bytes are no ciphertext vector: it has {HEADER.size} to {largest_vector(parameters)}"
        )
    magic, setting, key, clients, chunks = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise MalformedMessage(f"a ciphertext vector begins with {magic!r}, not {MAGIC!r}")
    if setting != parameters.digest or key != key_digest:
        what = "parameters" if setting != parameters.digest else "key"
        raise WrongContext(f"the ciphertext vector is for another {what} than this round's")
    if chunks != parameters.chunks:
        raise MalformedMessage(f"a ciphertext vector of {chunks} chunks, not {parameters.chunks}")
    if not 1 <= clients <= parameters.clients:
        raise MalformedMessage(f"a sum of {clients} vectors is outside [1, {parameters.clients}]")
    streams, at = [], HEADER.size
    for expected in range(chunks):
        if len(view) - at < CHUNK.size:
            raise MalformedMessage(f"a ciphertext vector ends before chunk {expected} of {chunks}")
        index, length = CHUNK.unpack_from(view, at)
        at += CHUNK.size
        if index != expected:
            raise MalformedMessage(f"chunk {index} where chunk {expected} belongs")
        if len(view) - at < length:
            raise MalformedMessage(f"chunk {index} of {length} bytes is cut off")
        streams.append(view[at : at + length])
        try:
            seal_format.check_stream(streams[-1], ciphertext_bytes(parameters))
        except MalformedMessage as error:
            raise MalformedMessage(f"chunk {index} is no ciphertext of these parameters: {error}") from error
        at += length
    if at != len(view):
        raise MalformedMessage(f"{len(view) - at} bytes follow the last chunk")
    return clients, streams


def ciphertext_bytes(parameters: LatticeParameters) -> int:
    """Bytes of a ciphertext before compression: its residues, and what SEAL stores beside them."""
    return seal_format.ciphertext_bytes(parameters.data_primes, parameters.degree)


def envelope(stream: bytes | memoryview, parameters: LatticeParameters) -> bytes:
    """TenSEAL's serialisation of a vector of one ciphertext: ``BFVVectorProto`` or ``CKKSVectorProto``."""
    before, after = _envelope(len(stream), parameters)
    return b"".join((before, stream, after))


def open_envelope(data: bytes, parameters: LatticeParameters) -> bytes:
    """The SEAL stream in what TenSEAL's ``serialize`` made of a vector that fills one ciphertext.

    Raises:
        MalformedMessage: not such an envelope, byte for byte, or for another number of slots or scale.
    """
    stream = _fields(data).get(2, b"")
    if envelope(stream, parameters) != data:
        raise MalformedMessage(f"not a TenSEAL vector of one ciphertext with {parameters.slots} slots")
    seal_format.check_stream(stream, ciphertext_bytes(parameters))
    return stream


def _envelope(length: int, parameters: LatticeParameters) -> tuple[bytes, bytes]:
    sizes = _varint(parameters.slots)
    scale = b"\x19" + struct.pack("<d", parameters.scale) if parameters.scheme == CKKS else b""
    return b"\x0a" + _varint(len(sizes)) + sizes + b"\x12" + _varint(length), scale


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


class ContextFields(NamedTuple):
    """What a serialised TenSEAL context (``TenSEALContextProto``) holds, undecoded.

    Attributes:
        parameters: encryption parameters, as SEAL's stream.
        public_key: SEAL's stream.
        settings: TenSEAL's own flags and scale, as they are encoded.
        secret_key: SEAL's stream; empty in a public context.
    """

    parameters: bytes
    public_key: bytes
    settings: bytes
    secret_key: bytes

    def to_bytes(self) -> bytes:
        """The one encoding."""
        public = _field(1, self.public_key) + self.settings
        private = _field(3, _field(1, self.secret_key)) if self.secret_key else b""
        return _field(1, self.parameters) + _field(2, public) + private


def context_fields(data: bytes) -> ContextFields:
    """Take a serialised context apart, strictly.

    Raises:
        BadKey: it holds relinearisation or Galois keys, which additions do not need.
        MalformedMessage: no such protobuf, or not in its one encoding.
    """
    fields = _fields(data)
    public, private = _fields(fields.get(2, b"")), _fields(fields.get(3, b""))
    if _RELIN_KEYS in public or _GALOIS_KEYS in public or set(private) - {1}:
        raise BadKey("the context carries relinearisation or Galois keys: additions need neither")
    settings = b"".join(
        bytes([number << 3 | kind]) + public.get(number, b"") for number, kind in _SETTINGS if number in public
    )
    found = ContextFields(fields.get(1, b""), public.get(1, b""), settings, private.get(1, b""))
    if found.to_bytes() != data:
        raise MalformedMessage("the context is not in the one encoding of its fields")
    return found


def brought_fields(data: bytes) -> ContextFields:
    """What is taken over of a context that the holder of its keys brings, with whatever else it was saved with.

    Raises:
        MalformedMessage: no such protobuf, or for symmetric encryption.
    """
    fields = _fields(data)
    if set(fields) - {1, 2, 3}:
        raise MalformedMessage("the context is for symmetric encryption, or no context of TenSEAL")
    public, private = _fields(fields.get(2, b"")), _fields(fields.get(3, b""))
    return ContextFields(fields.get(1, b""), public.get(1, b""), b"", private.get(1, b""))


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _fields(data: bytes) -> dict[int, bytes]:
    """Values by field number; of a length-delimited one without its length."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == 0:
            _, at = _read_varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, start = _read_varint(data, at)
            at = start + length
        else:
            raise MalformedMessage(f"a protobuf holds a field of kind {kind}")
        if at > len(data) or number in found:
            raise MalformedMessage("a protobuf is cut off, or holds a field twice")
        found[number] = data[start:at]
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(_VARINT_LIMIT):
        if at + shift >= len(data):
            break
        number |= (data[at + shift] & 0x7F) << 7 * shift
        if data[at + shift] < 0x80:
            return number, at + shift + 1
    raise MalformedMessage("a protobuf is cut off")
