"""Bytes of lattice ciphertexts: our framing of a vector's chunks, SEAL's streams, and TenSEAL's envelopes.

A *vector* is a header and its chunks in order::

    "SALT" ‖ version 1 ‖ digest of the parameters (32) ‖ digest of the public key (32) ‖ clients (u32) ‖ chunks (u32)
    chunk: index (u32) ‖ length (u32) ‖ SEAL ciphertext stream

all little endian; ``clients`` is the number of vectors summed in it, 1 for a client's. TenSEAL's own
serialisation is a protobuf around the same stream. Protobuf readers are lenient (repeated and unknown fields),
so the envelope is never taken from a peer: only streams travel, and the envelope is put around them here.

**Nothing is handed to SEAL that could expand.** SEAL inflates a stream completely before it looks at it, and
65 kB of zstd may hold a gigabyte. ``check_stream`` walks the blocks of the frame (RFC 8878, section 3.1.1), each of
which yields at most 128 KiB, and refuses a frame with more of them than the declared content needs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from secure_agg.backends.homomorphic.lattice_parameters import CKKS, LatticeParameters
from secure_agg.errors import MalformedMessage, WrongContext

MAGIC: Final = b"SALT\x01"
HEADER: Final = struct.Struct("<5s32s32sII")
CHUNK: Final = struct.Struct("<II")

_SEAL_HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, header size, version major and minor, compression, 0, length
_SEAL_MAGIC: Final = 0xA15E
_SEAL_ZSTD: Final = 2
_SEAL_FIELDS: Final = 256  # room for what SEAL stores beside the polynomials, 97 bytes in version 4.3
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK: Final = 1 << 17
_VARINT_LIMIT: Final = 10


def header(parameters: LatticeParameters, key_digest: bytes, clients: int) -> bytes:
    """The header of a vector in which ``clients`` vectors are summed."""
    return HEADER.pack(MAGIC, parameters.digest, key_digest, clients, parameters.chunks)


def chunk(index: int, stream: bytes | memoryview) -> bytes:
    """One framed chunk."""
    return CHUNK.pack(index, len(stream)) + stream


def largest_vector(parameters: LatticeParameters) -> int:
    """Most bytes of a vector: a limit for whoever receives one."""
    return HEADER.size + parameters.chunks * (CHUNK.size + _largest_stream(parameters.residue_bytes))


def split(
    data: bytes | memoryview, parameters: LatticeParameters, key_digest: bytes
) -> tuple[int, Sequence[memoryview]]:
    """Take a vector apart without decoding or copying a ciphertext.

    Returns:
        The number of vectors summed in it, in [1, n_max], and a SEAL stream per chunk, whose size and
        compression are sound.

    Raises:
        WrongContext: for other parameters or under another key.
        MalformedMessage: truncated, oversized, trailing bytes, a chunk missing, repeated or out of order, or
            a stream that is not SEAL's or expands beyond a ciphertext.
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
        check_stream(streams[-1], parameters.residue_bytes)
        at += length
    if at != len(view):
        raise MalformedMessage(f"{len(view) - at} bytes follow the last chunk")
    return clients, streams


def check_stream(stream: memoryview, residue_bytes: int) -> None:
    """Check that a SEAL stream is one zstd frame that expands to ``residue_bytes`` and SEAL's few fields.

    Raises:
        MalformedMessage: it is not.
    """
    if not _SEAL_HEADER.size < len(stream) <= _largest_stream(residue_bytes):
        raise MalformedMessage(
            f"a stream of {len(stream)} bytes is outside ({_SEAL_HEADER.size}, {_largest_stream(residue_bytes)}]"
        )
    magic, size, major, _, compression, reserved, length = _SEAL_HEADER.unpack_from(stream)
    if (magic, size, major, compression, reserved) != (_SEAL_MAGIC, _SEAL_HEADER.size, 4, _SEAL_ZSTD, 0):
        raise MalformedMessage("a chunk is no zstd-compressed stream of SEAL 4")
    if length != len(stream):
        raise MalformedMessage(f"a stream of {len(stream)} bytes declares {length}")
    _check_frame(stream[_SEAL_HEADER.size :], residue_bytes)


def _check_frame(frame: memoryview, residue_bytes: int) -> None:
    content, at = _content_size(frame)
    if not residue_bytes < content <= residue_bytes + _SEAL_FIELDS:
        raise MalformedMessage(f"a stream expands to {content} bytes, not to a ciphertext's {residue_bytes}")
    for _ in range(-(-content // _ZSTD_BLOCK) + 1):
        if len(frame) - at < 3:
            break
        block = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == 3 or size > _ZSTD_BLOCK:
            break
        at += 3 + (1 if kind == 1 else size)  # a run is stored as one byte
        if last:
            if at == len(frame):
                return
            break
    raise MalformedMessage("a stream is no single zstd frame of its declared content")


def _content_size(frame: memoryview) -> tuple[int, int]:
    """The declared content of a zstd frame in one segment, as SEAL writes it, and where its blocks begin."""
    if len(frame) < 9 or bytes(frame[:4]) != _ZSTD_MAGIC:
        raise MalformedMessage("a stream holds no zstd frame")
    descriptor = frame[4]
    if descriptor & 0b00111111 != 0b00100000:  # one segment; no checksum, no dictionary
        raise MalformedMessage("a zstd frame is not of the kind that SEAL writes")
    width = (1, 2, 4, 8)[descriptor >> 6]
    if len(frame) < 5 + width:
        raise MalformedMessage("a zstd frame is cut off")
    return int.from_bytes(frame[5 : 5 + width], "little") + (256 if width == 2 else 0), 5 + width


def _largest_stream(residue_bytes: int) -> int:
    """What SEAL can make of a ciphertext: incompressible data grows by a few bytes per block."""
    return residue_bytes + residue_bytes // 128 + 1024


def envelope(stream: bytes | memoryview, parameters: LatticeParameters) -> bytes:
    """TenSEAL's serialisation of a vector of one ciphertext: ``BFVVectorProto`` or ``CKKSVectorProto``."""
    before, after = _envelope(len(stream), parameters)
    return b"".join((before, stream, after))


def open_envelope(data: bytes, parameters: LatticeParameters) -> bytes:
    """The SEAL stream in what TenSEAL's ``serialize`` made of a vector that fills one ciphertext.

    Raises:
        MalformedMessage: not such an envelope, byte for byte, or for another number of slots or scale.
    """
    stream = dict(_fields(data)).get(2, b"")
    if envelope(stream, parameters) != data:
        raise MalformedMessage(f"not a TenSEAL vector of one ciphertext with {parameters.slots} slots")
    check_stream(memoryview(stream), parameters.residue_bytes)
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


def context_fields(data: bytes) -> dict[tuple[int, ...], bytes]:
    """The length-delimited fields of a serialised TenSEAL context by their path, without decoding any.

    Paths: (1,) encryption parameters, (2, 1) public key, (2, 4) relinearisation and (2, 5) Galois keys,
    (3,) the private part. Numbers and scales are at their paths too, as they are encoded.

    Raises:
        MalformedMessage: no such protobuf, or a field that is there twice.
    """
    fields = {(number,): value for number, value in _fields(data)}
    public = fields.pop((2,), b"")
    return fields | {(2, number): value for number, value in _fields(public)}


def _fields(data: bytes) -> list[tuple[int, bytes]]:
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
    return list(found.items())


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(_VARINT_LIMIT):
        if at + shift >= len(data):
            break
        number |= (data[at + shift] & 0x7F) << 7 * shift
        if data[at + shift] < 0x80:
            return number, at + shift + 1
    raise MalformedMessage("a protobuf is cut off")
