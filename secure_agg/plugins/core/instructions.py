"""One digest over all that a node's app is given in a round: what the round's configuration names as ``instructions``.

A model is one thing that steers training. A learning rate, a mask of integers, the number of the round, the run's own
settings are others: whoever sets them to nothing at all nodes but one reads that node's update off the mean. So each
node digests what it has received itself, and gives its app that and nothing else; nodes that were told different things
are in no round together. What a node takes from its own configuration is its own and stays out.

The encoding is injective, and knows 1 from 1.0, True and "1", a list from a tuple, 0.0 from −0.0, one NaN from
another. The order of a mapping counts, since an app can see it; where a framework does not keep an order, ``ordered``
makes one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mpc.framing import frame, integer
from secure_agg.errors import MalformedMessage
from zk.transcript import digest

MAX_DEPTH: Final = 32
"""Most mappings and sequences inside each other."""
_SHOWN: Final = 4
"""Bytes of a digest in a log."""

_Write = Callable[[bytes | memoryview], None]


@dataclass(frozen=True)
class Instructions:
    """What an app is given, in parts: so that whoever finds that two nodes were given different things sees which.

    Attributes:
        parts: digest of each, 32 bytes, by name, in a fixed order.
    """

    parts: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, **parts: Any) -> Self:
        """
        Args:
            **parts: None, booleans, integers, floats, text, bytes, numpy arrays and scalars, and lists, tuples and
                mappings of those.

        Raises:
            MalformedMessage: a part holds something else, or is nested deeper than ``MAX_DEPTH``; names it.
        """
        return cls(tuple((name, _digest(name, value)) for name, value in parts.items()))

    @property
    def digest(self) -> bytes:
        """32 bytes that bind the names and digests of all parts."""
        return digest("instructions", *(item for name, part in self.parts for item in (name.encode(), part)))

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {part[:_SHOWN].hex()}" for name, part in self.parts)


def ordered(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping in the order of its keys."""
    return {key: mapping[key] for key in sorted(mapping)}


def files(folder: Path, wanted: Callable[[Path], bool]) -> dict[str, bytes]:
    """Digests of the files in a folder and below, by their paths in it, in order.

    Args:
        folder: with no files in it where it is not there.
        wanted: whether a file, by its path in the folder, counts.

    Raises:
        MalformedMessage: a file can't be read.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and wanted(name):
            try:
                with path.open("rb") as file:
                    found[name.as_posix()] = hashlib.file_digest(file, "sha256").digest()
            except OSError as error:
                raise MalformedMessage(f"{path} can't be read: {error.strerror}") from error
    return found


def _digest(name: str, value: Any) -> bytes:
    data = hashlib.sha256()
    try:
        _encode(value, data.update, 0)
    except (TypeError, UnicodeEncodeError) as error:
        raise MalformedMessage(f"{name.replace('_', ' ')} can't be bound: {error}") from None
    return data.digest()


def _encode(value: Any, write: _Write, depth: int) -> None:
    """Write the encoding of one value: a letter for its type, then what makes it up, each with its length.

    Raises:
        TypeError: it is of another type, or nested too deep.
        UnicodeEncodeError: text that UTF-8 can't write.
    """
    if depth > MAX_DEPTH:
        raise TypeError(f"more than {MAX_DEPTH} levels inside each other")
    kind = type(value)
    if value is None:
        write(b"n")
    elif kind is bool:
        write(b"b\1" if value else b"b\0")
    elif kind is int:
        _sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), write)
    elif kind is float:
        write(b"f" + struct.pack("<d", value))
    elif kind is str:
        _sized(b"s", value.encode(), write)
    elif kind in (bytes, bytearray, memoryview):
        _sized(b"y", value, write)
    elif isinstance(value, (np.ndarray, np.generic)):
        _array(value, write)
    elif kind in (list, tuple):
        write((b"l" if kind is list else b"t") + integer(len(value)))
        for item in value:
            _encode(item, write, depth + 1)
    elif isinstance(value, Mapping):
        write(b"m" + integer(len(value)))
        for key, item in value.items():
            _encode(key, write, depth + 1)
            _encode(item, write, depth + 1)
    else:
        raise TypeError(f"a {kind.__name__} is none of the types that have an encoding")


def _array(value: np.ndarray[Any, Any] | np.generic, write: _Write) -> None:
    """Type, byte order and shape, then the elements in C order: as they are, not as what they are worth."""
    if value.dtype.kind not in "biufc":
        raise TypeError(f"an array of {value.dtype}, which is no number")
    write(b"a" if isinstance(value, np.ndarray) else b"g")
    write(frame("array", value.dtype.str.encode(), *map(integer, value.shape)))
    elements = np.ascontiguousarray(value)
    write(integer(elements.nbytes))
    write(elements.reshape(-1).view(np.uint8).data)


def _sized(letter: bytes, data: bytes | memoryview, write: _Write) -> None:
    write(letter + integer(len(data)))
    write(data)
