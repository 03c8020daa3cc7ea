"""The static form of a log (C2SP tlog-tiles): which files a tree of a size consists of, and what each holds.

A tile is 256 consecutive hashes of one level: level 0 has the leaf hashes, each level above the roots of whole tiles
of the level below. An entry bundle holds the records under a tile of level 0. The rightmost ones are partial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError, VerificationError
from zk.merkle import HASH_BYTES

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
"""Hashes of a full tile, entries of a full bundle."""
MAX_ENTRY: Final = (1 << 16) - 1
"""Most bytes of one entry: its length is a uint16."""
MAX_BUNDLE: Final = WIDTH * (2 + MAX_ENTRY)

CHECKPOINT: Final = "checkpoint"
"""Path of the newest checkpoint, the one file that changes."""

_ENTRIES: Final = "entries"


@dataclass(frozen=True)
class Tile:
    """A tile, or with it, for level 0, its bundle of entries.

    Attributes:
        level: 0 for leaf hashes; a hash of level l covers 256^l leaves.
        index: place within the level, from 0.
        width: hashes in it, 1 to 256; below 256 it is partial.
    """

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """Of the tile's hashes, below the log's URL prefix."""
        return _path(str(self.level), self.index, self.width)

    @property
    def entries_path(self) -> str:
        """Of the entries under a tile of level 0."""
        return _path(_ENTRIES, self.index, self.width)


def tiles(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree, level by level from the leaves up; empty ones are no tiles.

    Args:
        size: of the tree, in leaves.
        since: leave out what the tree of this size, at most ``size``, has in the same form.

    Raises:
        ConfigError: not 0 ≤ since ≤ size.
    """
    if not 0 <= since <= size:
        raise ConfigError(f"a tree of {since} leaves does not grow to {size}")
    level = 0
    while size:
        for index in range(since >> HEIGHT, size >> HEIGHT):
            yield Tile(level, index, WIDTH)
        if size % WIDTH and size != since:
            yield Tile(level, size >> HEIGHT, size % WIDTH)
        size, since, level = size >> HEIGHT, since >> HEIGHT, level + 1


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each after its length as a big-endian uint16.

    Raises:
        ConfigError: more than 256, or one above 65535 bytes.
    """
    longest = max(map(len, entries), default=0)
    if len(entries) > WIDTH or longest > MAX_ENTRY:
        raise ConfigError(f"{len(entries)} entries of up to {longest} bytes, not {WIDTH} of up to {MAX_ENTRY}")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """The first ``width`` entries of a bundle.

    A longer bundle is one that has grown since. All of it must be well-formed.

    Raises:
        VerificationError: fewer entries, more than 256, or one that is cut off.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        begin = place + 2
        place = begin + int.from_bytes(data[place:begin], "big")
        if begin > len(data) or place > len(data):
            raise VerificationError(f"entry {len(entries)} of the bundle is cut off")
        if len(entries) == WIDTH:
            raise VerificationError(f"the bundle has more than {WIDTH} entries")
        entries.append(data[begin:place])
    if len(entries) < width:
        raise VerificationError(f"the bundle has {len(entries)} entries, not {width}")
    return tuple(entries[:width])


def decode_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """The first ``width`` hashes of a tile; a longer one has grown since.

    Raises:
        VerificationError: fewer hashes, more than 256, or one that is cut off.
    """
    if len(data) % HASH_BYTES or not width * HASH_BYTES <= len(data) <= WIDTH * HASH_BYTES:
        raise VerificationError(f"a tile of width {width} has {width * HASH_BYTES} bytes, not {len(data)}")
    return tuple(data[begin : begin + HASH_BYTES] for begin in range(0, width * HASH_BYTES, HASH_BYTES))


def evidence_path(digest: bytes) -> str:
    """Where a log's publication has the evidence with this SHA-256 (32 bytes); a path of this package's own."""
    name = digest.hex()
    return f"evidence/{name[:2]}/{name}.evidence"


def _path(kind: str, index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= WIDTH:
        raise ConfigError(f"there is no tile {index} of width {width}")
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"
