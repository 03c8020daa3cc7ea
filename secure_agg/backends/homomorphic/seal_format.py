"""What Microsoft SEAL 4.3 writes, read completely before SEAL may see it.

SEAL's own loader believes what a stream says of itself: it inflates first and looks afterwards, a nested header may
announce a compression or a size of its own, and a wrong one ends the process or takes gigabytes. So a peer's bytes
never reach it. ``open_stream`` expands a stream within a bound that the round's parameters give, compares every field
with the only value that it may have, checks every residue, and makes an *uncompressed* stream of the same content
for SEAL to load: a copy of so many bytes, in which nothing is left to decide.

The format, all little endian (SEAL's ``native/src/seal``: ``serialization.h``, ``ciphertext.cpp``, ``plaintext.cpp``,
``publickey.h``, ``secretkey.h``, ``dynarray.h``, ``encryptionparams.cpp``, ``modulus.cpp``)::

    stream:     magic 0xA15E (u16) ‖ header size 16 (u8) ‖ version 4, 3 (u8, u8) ‖ compression (u8) ‖ 0 (u16)
                ‖ length of the stream (u64) ‖ content, compressed as the header says
    ciphertext: parms_id (32 bytes) ‖ NTT form (u8) ‖ polynomials (u64) ‖ degree (u64) ‖ primes (u64)
                ‖ scale (f64) ‖ correction factor 1 (u64) ‖ residues
    public key: a ciphertext of zero, in NTT form, modulo all primes of the key
    secret key: parms_id (32 bytes) ‖ coefficients (u64) ‖ scale 1 (f64) ‖ residues
    residues:   an uncompressed stream of their own: header (16 bytes) ‖ count (u64) ‖ u64 each, by polynomial,
                prime and coefficient
    parameters: scheme (u8) ‖ degree (u64) ‖ primes (u64) ‖ each prime, and the plaintext modulus, as an uncompressed
                stream of one u64

A ciphertext whose second polynomial is a seed (SEAL's symmetric ``Serializable``) says so where residues begin, has
another size, and is refused like everything else that ``encrypt`` does not make. Compressed content is one zstd frame
(RFC 8878, section 3.1.1) as SEAL writes it: a single segment with its content's size, no dictionary, no checksum.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mpc.optional import Optional
from secure_agg.errors import MalformedMessage

if TYPE_CHECKING:
    import zstandard
else:
    zstandard = Optional("zstandard", "he")

HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, header size, version major and minor, compression, 0, length
_MAGIC: Final = 0xA15E
_VERSION: Final = (4, 3)
_UNCOMPRESSED: Final = 0
_ZSTD: Final = 2
_CIPHERTEXT: Final = struct.Struct("<32sBQQQdQ")
_SECRET_KEY: Final = struct.Struct("<32sQd")
_PARAMETERS: Final = struct.Struct("<BQQ")
_WORD: Final = struct.Struct("<Q")

_MOST_PRIMES: Final = 62  # SEAL's limit

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK: Final = 1 << 17
_ZSTD_SPLITS: Final = 16
_ZSTD_RESERVED: Final = 3


@dataclass(frozen=True)
class Shape:
    """The one form that an object may have: everything but its residues.

    Attributes:
        fields: what comes before the residues, byte for byte.
        polynomials: 2 for ciphertexts and public keys, 1 for secret keys.
        primes: a residue is below the prime of its place.
        degree: coefficients of a polynomial.
    """

    fields: bytes
    polynomials: int
    primes: tuple[int, ...]
    degree: int

    @property
    def content_bytes(self) -> int:
        """Bytes of the content, uncompressed."""
        return len(self.fields) + 8 * self.polynomials * len(self.primes) * self.degree

    @property
    def largest_stream(self) -> int:
        """Most bytes of a compressed stream: incompressible data grows by a few bytes per block."""
        return largest_stream(self.content_bytes)


def ciphertext_shape(parms_id: bytes, primes: tuple[int, ...], degree: int, *, ntt: bool, scale: float) -> Shape:
    """A fresh ciphertext, or a sum of such, at the level that ``parms_id`` names; also a public key."""
    fields = _CIPHERTEXT.pack(parms_id, ntt, 2, degree, len(primes), scale, 1)
    return Shape(fields + _residues_header(2 * len(primes) * degree), 2, primes, degree)


def secret_key_shape(parms_id: bytes, primes: tuple[int, ...], degree: int) -> Shape:
    """A secret key in NTT form, modulo all primes."""
    count = len(primes) * degree
    return Shape(_SECRET_KEY.pack(parms_id, count, 1.0) + _residues_header(count), 1, primes, degree)


def ciphertext_bytes(primes: int, degree: int) -> int:
    """Bytes of a ciphertext's content, uncompressed."""
    return _CIPHERTEXT.size + HEADER.size + _WORD.size + 2 * primes * degree * 8


def largest_stream(content_bytes: int) -> int:
    """What SEAL can make of so much content."""
    return content_bytes + content_bytes // 128 + 1024


def open_stream(stream: bytes | memoryview, shape: Shape) -> bytes:
    """Read a compressed stream completely.

    Args:
        stream: as SEAL writes it, from anybody.
        shape: what it must hold.

    Returns:
        An uncompressed stream of the same content, which SEAL loads without a decision of its own.

    Raises:
        MalformedMessage: anything but the compressed form of such an object.
    """
    content = _expand(check_stream(stream, shape.content_bytes), shape.content_bytes)
    if content[: len(shape.fields)] != shape.fields:
        raise MalformedMessage("a stream holds no object of these parameters: a field before its residues is wrong")
    residues = np.frombuffer(content, dtype="<u8", offset=len(shape.fields))
    residues = residues.reshape(shape.polynomials, len(shape.primes), shape.degree)
    if (residues >= np.array(shape.primes, dtype=np.uint64)[:, np.newaxis]).any():
        raise MalformedMessage("a stream holds a residue that is not below its prime")
    if not residues[-1].any():
        raise MalformedMessage("a stream holds a transparent ciphertext, or a key of zeros")
    return _header(_UNCOMPRESSED, len(content)) + content


def check_stream(stream: bytes | memoryview, content_bytes: int) -> memoryview:
    """Check that a stream is compressed as SEAL does, to exactly so much content, without expanding it.

    Returns:
        Its zstd frame.

    Raises:
        MalformedMessage: it is not.
    """
    view, largest = memoryview(stream).cast("B"), largest_stream(content_bytes)
    if not HEADER.size < len(view) <= largest:
        raise MalformedMessage(f"a stream of {len(view)} bytes is outside ({HEADER.size}, {largest}]")
    if view[: HEADER.size] != _header(_ZSTD, len(view) - HEADER.size):
        raise MalformedMessage(f"no stream of SEAL {_VERSION[0]}.{_VERSION[1]}, of {len(view)} bytes and zstd")
    frame = view[HEADER.size :]
    _check_frame(frame, content_bytes)
    return frame


def read_parameters(stream: bytes) -> tuple[int, ...]:
    """The primes in encryption parameters that this process's SEAL has written: no peer's."""
    frame = memoryview(stream)[HEADER.size :]
    content = _expand(frame, zstandard.frame_content_size(frame))
    _, _, count = _PARAMETERS.unpack_from(content)
    step = HEADER.size + _WORD.size
    starts = range(_PARAMETERS.size + HEADER.size, _PARAMETERS.size + count * step, step)
    return tuple(_WORD.unpack_from(content, start)[0] for start in starts)


def read_brought_parameters(stream: bytes) -> tuple[int, int, tuple[int, ...], int]:
    """The encryption parameters in a stream that another process' SEAL has written.

    Returns:
        SEAL's number of the scheme, the degree, all primes, and the plaintext modulus, 0 where there is none.

    Raises:
        MalformedMessage: it is no such stream of this version of SEAL, compressed as SEAL does.
    """
    try:
        size = zstandard.frame_content_size(stream[HEADER.size :])
    except zstandard.ZstdError as error:
        raise MalformedMessage("encryption parameters are no zstd stream of SEAL") from error
    step = HEADER.size + _WORD.size
    count, rest = divmod(size - _PARAMETERS.size - step, step)
    if rest or not 1 <= count <= _MOST_PRIMES:
        raise MalformedMessage(f"encryption parameters of {size} bytes")
    content = _expand(check_stream(stream, size), size)
    scheme, degree, declared = _PARAMETERS.unpack_from(content)
    words = []
    for start in range(_PARAMETERS.size, size, step):
        if content[start : start + HEADER.size] != _header(_UNCOMPRESSED, _WORD.size):
            raise MalformedMessage("a prime of encryption parameters is not as SEAL writes it")
        words.append(_WORD.unpack_from(content, start + HEADER.size)[0])
    if declared != count:
        raise MalformedMessage(f"encryption parameters of {declared} primes, and {count} are there")
    return scheme, degree, tuple(words[:-1]), words[-1]


def _header(compression: int, length: int) -> bytes:
    return HEADER.pack(_MAGIC, HEADER.size, *_VERSION, compression, 0, HEADER.size + length)


def _residues_header(count: int) -> bytes:
    return _header(_UNCOMPRESSED, _WORD.size * (1 + count)) + _WORD.pack(count)


def _expand(frame: memoryview, size: int) -> bytes:
    """The content of a frame that declares ``size`` bytes of it."""
    try:
        content: bytes = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise MalformedMessage("a zstd frame does not expand to what it declares") from error
    if len(content) != size:
        raise MalformedMessage(f"a zstd frame expands to {len(content)} bytes, not to {size}")
    return content


def _check_frame(frame: memoryview, content_bytes: int) -> None:
    """Walk the blocks of a frame: one segment of exactly this content, which ends where the stream does.

    Each block yields at most 128 KiB, and of so much content zstd makes at most 16 blocks, where residues of long and
    of short primes take turns: it looks at 8 KiB at a time.
    """
    width = 1 if content_bytes < 256 else 2 if content_bytes < 65536 + 256 else 4
    descriptor = (width.bit_length() - 1) << 6 | 0b00100000  # one segment; no checksum, no dictionary
    declared = (content_bytes - (256 if width == 2 else 0)).to_bytes(width, "little")
    head = _ZSTD_MAGIC + bytes([descriptor]) + declared
    if frame[: len(head)] != head:
        raise MalformedMessage(f"a stream is no zstd frame as SEAL writes it, of {content_bytes} bytes of content")
    at = len(head)
    for _ in range(_ZSTD_SPLITS * -(-content_bytes // _ZSTD_BLOCK) + 1):
        if len(frame) - at < 3:
            break
        block = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == _ZSTD_RESERVED or size > _ZSTD_BLOCK:
            break
        at += 3 + (1 if kind == 1 else size)  # a run is stored as one byte
        if last:
            if at == len(frame):
                return
            break
    raise MalformedMessage("a stream is no single zstd frame of its declared content")
