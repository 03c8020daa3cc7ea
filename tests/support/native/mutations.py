"""Samples that a parser was not made for: damaged bytes, and well-packed streams of SEAL with other contents."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

import zstandard

from secure_agg.backends.homomorphic import lattice_wire, seal_format

INTERESTING: Final = (0, 1, 2, 3, 4, 5, 16, 63, 64, 127, 128, 255, 4095, 4096, 8192, 65535, 1 << 16, 1 << 20)
WIDE: Final = (1 << 27, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 61, (1 << 63) - 1, (1 << 64) - 1)

Change = Callable[[random.Random, bytes], bytes]


# --- any bytes ------------------------------------------------------------------------------------------------


def flip(rng: random.Random, data: bytes) -> bytes:
    """One to eight bits, half of the time near the beginning, where headers are."""
    changed = bytearray(data)
    reach = min(len(changed), 200) if rng.random() < 0.5 else len(changed)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def extend(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice((b"\0", b"\xff" * 8, data, data[: rng.randrange(1, len(data))]))


def remove(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 64) :]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """A number of one of the usual widths by one that breaks things."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(INTERESTING + WIDE) % (1 << 8 * width)
    reach = min(len(data), 200) if rng.random() < 0.7 else len(data)
    at = rng.randrange(max(1, reach - width))
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def noise(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(min(rng.choice((4, 64, 4096)), len(data) - at)) + data[at + 4096 :]


ANY: Final[tuple[Change, ...]] = (flip, truncate, extend, remove, overwrite, noise)


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = rng.randrange(min(len(data), len(other)))
    return data[:at] + other[at:]


# --- streams of SEAL ------------------------------------------------------------------------------------------


def content(stream: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(stream[seal_format.HEADER.size :])


def stream(
    frame: bytes, *, version: tuple[int, int] = (4, 3), compression: int = 2, length: int | None = None
) -> bytes:
    """SEAL's header and what is said to be compressed."""
    length = seal_format.HEADER.size + len(frame) if length is None else length
    return seal_format.HEADER.pack(0xA15E, 16, *version, compression, 0, length) + frame


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_content_size=True, write_checksum=False).compress(data)


def another_field(rng: random.Random, old: bytes) -> bytes:
    """A field before the residues, nested headers included, by another value, packed as it should be."""
    before = content(old)
    inside = bytearray(before)
    while inside == before:
        width = rng.choice((1, 1, 2, 4, 8))
        at = rng.randrange(72 if len(before) % 4096 == 72 else 97)  # of a secret key, or of anything else
        inside[at : at + width] = (rng.choice(INTERESTING + WIDE) % (1 << 8 * width)).to_bytes(width, "little")
    return stream(compressed(bytes(inside)))


def another_nested_header(rng: random.Random, old: bytes) -> bytes:
    """What ends the process, or takes gigabytes, where SEAL is let loose on it: residues said to be compressed or of
    another size, mostly in content that is as long as it should be.
    """
    before = content(old)
    at = before.index(struct.pack("<HBBB", 0xA15E, 16, 4, 3))
    count = rng.choice((0, 1, 4096, 8192, 8193, 1 << 20, 1 << 28, 1 << 29, *WIDE))
    rest = struct.pack("<Q", count) + before[at + 24 :]
    bomb = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 1 << 31) + b"\x02\x00\x10\x00" * 9000
    compression, body = rng.choice(((0, rest), (1, rest), (2, rest), (2, compressed(rest)), (2, bomb), (255, rest)))
    length = rng.choice((16 + len(body), 16 + len(body), 0, 15, 16, 17, 24, *WIDE))
    inside = before[:at] + struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, compression, 0, length) + body
    if rng.random() < 0.8:
        inside = (inside + bytes(len(before)))[: len(before)]
    return stream(compressed(inside)) if inside != before else another_nested_header(rng, old)


def another_residue(rng: random.Random, old: bytes) -> bytes:
    inside = bytearray(content(old))
    at = len(inside) - 8 * rng.randint(1, 8000)
    inside[at : at + 8] = rng.choice((1 << 61, 1 << 63, (1 << 64) - 1)).to_bytes(8, "little")  # above any prime
    return stream(compressed(bytes(inside)))


def another_size(rng: random.Random, old: bytes) -> bytes:
    inside = content(old)
    return stream(compressed(rng.choice((inside[:-8], inside[:97], inside[:1], inside + bytes(8), inside * 2))))


def second_polynomial_of_zeros(rng: random.Random, old: bytes) -> bytes:
    inside = content(old)
    half = len(inside) // 8192 * 4096  # of a secret key, all but what is neither
    return stream(compressed(inside[:-half] + bytes(half)))


def another_frame(rng: random.Random, old: bytes) -> bytes:
    """The right content, compressed in a form that SEAL doesn't write, or twice."""
    inside, frame = content(old), old[seal_format.HEADER.size :]
    skippable = struct.pack("<II", 0x184D2A50, 4) + bytes(4)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(inside)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(inside)
    small_window = zstandard.ZstdCompressionParameters.from_level(3, window_log=10, write_content_size=True)
    windowed = zstandard.ZstdCompressor(compression_params=small_window).compress(inside)
    bomb = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", rng.choice((1 << 31, len(inside)))) + b"\x02\x00\x10\x00" * 9000
    forms = (
        unsized,
        checked,
        windowed,
        frame + frame,
        skippable + frame,
        frame + skippable,
        frame + b"\0",
        bomb,
        inside,
    )
    return stream(rng.choice(forms), compression=rng.choice((2, 2, 2, 0, 1)))


def another_header(rng: random.Random, old: bytes) -> bytes:
    frame = old[seal_format.HEADER.size :]
    version = rng.choice(((4, 3), (4, 2), (3, 6), (255, 255)))
    return stream(frame, version=version, compression=rng.choice((0, 1, 2, 3)), length=rng.choice((*WIDE, 0, len(old))))


def damaged_blocks(rng: random.Random, old: bytes) -> bytes:
    """Inside the frame, behind what is checked of it without expanding it."""
    changed = bytearray(old)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(seal_format.HEADER.size + 10, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


STREAM: Final[tuple[Change, ...]] = (
    another_field,
    another_nested_header,
    another_residue,
    another_size,
    second_polynomial_of_zeros,
    another_frame,
    another_header,
    damaged_blocks,
)


def streams_of(target: str, data: bytes) -> list[bytes]:
    """The streams in a sample."""
    if target.endswith("key"):
        fields = lattice_wire.context_fields(data)
        return [found for found in (fields.public_key, fields.secret_key) if found]
    found, at = [], lattice_wire.HEADER.size
    while at < len(data):
        _, length = lattice_wire.CHUNK.unpack_from(data, at)
        at += lattice_wire.CHUNK.size + length
        found.append(data[at - length : at])
    return found


def with_streams(target: str, data: bytes, streams: Sequence[bytes]) -> bytes:
    """The same sample around other streams, with all lengths right."""
    if target.endswith("key"):
        fields = lattice_wire.context_fields(data)
        secret = streams[1] if fields.secret_key else b""
        return fields._replace(public_key=streams[0], secret_key=secret).to_bytes()
    chunks = (lattice_wire.chunk(index, inside) for index, inside in enumerate(streams))
    return data[: lattice_wire.HEADER.size] + b"".join(chunks)


def mutate(rng: random.Random, target: str, seeds: Sequence[bytes]) -> bytes:
    """One sample for a target, from its honest ones."""
    data, other = rng.sample(list(seeds), 2)
    kind = rng.random()
    if target.startswith(("bfv", "ckks")) and kind < 0.7:
        streams = streams_of(target, data)
        place = rng.randrange(len(streams))
        streams[place] = rng.choice(STREAM)(rng, streams[place])
        return with_streams(target, data, streams)
    if kind < 0.8:
        return splice(rng, data, other)
    return rng.choice(ANY)(rng, data)
