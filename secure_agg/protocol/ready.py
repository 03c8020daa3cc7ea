"""Types to read, made ready by one thread.

msgspec works out how a struct is read when it is first asked for, in Python code that other threads may interrupt. One
that reads the same type meanwhile takes a table that is half filled in, and the process dies (seen with 0.22: operators
that are asked in threads, sites that share a process). So whoever names a type to msgspec takes it from here.
"""

from __future__ import annotations

import threading
from typing import Final, TypeVar

import msgspec

_T = TypeVar("_T")
_working: Final = threading.Lock()
_ready: Final[set[object]] = set()


def ready(kind: type[_T]) -> type[_T]:
    """The type itself, once all that msgspec keeps about it and its fields is complete."""
    if kind not in _ready:
        with _working:
            msgspec.msgpack.Decoder(kind)
            _ready.add(kind)
    return kind
