"""What a disk may hold after the power goes: what was synced, and of the rest any part.

Works on the shim's log of calls. Strict where file systems are kind: a file's name is durable only when its directory
has been synced, a synced file does not have a name by that, names of one directory may become durable in any order, and
of what was written since the last sync any sectors may be there.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<IIIIQ")
_SECTOR = 512


class Call(NamedTuple):
    """One call, or a note. ``kind`` is a letter of shim.c."""

    kind: str
    path: str
    other: str
    offset: int
    data: bytes


def read_calls(log: Path) -> list[Call]:
    """The shim's log."""
    content, calls, at = log.read_bytes(), [], 0
    while at < len(content):
        kind, path, other, size, offset = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        parts = []
        for length in (path, other, size):
            parts.append(content[at : at + length])
            at += length
        calls.append(Call(chr(kind), parts[0].decode(), parts[1].decode(), offset, parts[2]))
    return calls


@dataclass
class Inode:
    """A file's content on the disk, and what was written since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)

    def content(self, keep: Choice) -> bytes:
        """What may be there: ``keep`` decides for every write."""
        result = bytearray(self.durable)
        for call in self.pending:
            if call.kind == "T":
                if keep():
                    _resize(result, call.offset)
                continue
            for begin in range(0, len(call.data), _SECTOR):
                if keep():
                    piece = call.data[begin : begin + _SECTOR]
                    _resize(result, max(len(result), call.offset + begin + len(piece)))
                    result[call.offset + begin : call.offset + begin + len(piece)] = piece
        return bytes(result)


class Choice:
    """Keep everything that was not synced, nothing of it, or any part."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self._share = {"nothing": 0.0, "everything": 1.0}.get(str(seed), self._random.choice((0.1, 0.5, 0.9)))

    def __call__(self) -> bool:
        return self._random.random() < self._share


class Disk:
    """A directory that calls are played on."""

    def __init__(self, root: Path) -> None:
        """Everything below ``root`` is durable."""
        self.root = root
        self.names: dict[str, Inode | None] = {}  # None for a directory
        self.pending: list[Call] = []  # of names
        self._now: dict[str, Inode | None] = {}
        for path in root.rglob("*"):
            self.names[str(path)] = Inode(bytearray(path.read_bytes())) if path.is_file() else None
        self._now = dict(self.names)
        self._inodes: dict[int, Inode | None] = {}

    def play(self, call: Call) -> None:
        """One call that has succeeded."""
        if call.path.endswith("-shm"):
            return  # an index in memory that SQLite makes anew
        if call.kind in "WT":
            inode = self._now[call.path]
            assert inode is not None
            inode.pending.append(call)
        elif call.kind == "S":
            inode = self._now.get(call.path)
            if inode is not None:
                inode.durable = bytearray(inode.content(Choice("everything")))
                inode.pending.clear()
            else:
                mine = [name for name in self.pending if str(Path(name.other or name.path).parent) == call.path]
                for name in mine:
                    self._apply(self.names, name)
                self.pending = [name for name in self.pending if name not in mine]
        elif call.kind in "CDRLU":
            number = len(self._inodes)
            numbered = call._replace(offset=number)
            self._inodes[number] = Inode() if call.kind == "C" else self._now.get(call.path)
            self._apply(self._now, numbered)
            self.pending.append(numbered)

    def cut(self, seed: int | str, target: Path) -> None:
        """Write what may be left into a new directory."""
        keep = Choice(seed)
        names = dict(self.names)
        for call in self.pending:
            if keep():
                self._apply(names, call)
        target.mkdir()
        for path, inode in sorted(names.items()):  # parents first
            place = target / Path(path).relative_to(self.root)
            if path.endswith("-shm") or not place.parent.is_dir():
                continue  # what lies in a directory without a name is lost
            if inode is None:
                place.mkdir(mode=0o700)
            else:
                place.write_bytes(inode.content(keep))
                place.chmod(0o600)

    def _apply(self, names: dict[str, Inode | None], call: Call) -> None:
        inode = self._inodes[call.offset]
        if call.kind in "CD":
            names[call.path] = inode
        elif call.kind == "U":
            names.pop(call.path, None)
        else:
            if call.kind == "R":
                names.pop(call.path, None)
            names[call.other] = inode


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
