"""Values on their way to a worker process and back: pickled, with long arrays in memory that both sides map.

The memory is a file without a name (memfd), which the receiver opens through the sender's entry in /proc. It never
touches a disk, nobody but the same user can open it, and it is gone with the last process that has it, however that
ends. Where a system has no such files, or forbids to open them, arrays go through the pipe.

This pickles between a process and workers that it has started itself. Nothing from anybody else is unpickled: bytes of
a message stay bytes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import struct
from typing import IO, Any, Final

_HEAD: Final = struct.Struct("<QIq")  # bytes of the pickle, arrays beside it, and the file that they are in or −1
_LENGTH: Final = struct.Struct("<Q")
_SHARED_FROM: Final = 1 << 16
_ALIGNED: Final = 64


class Line:
    """One end of a line to another process.

    A sent memory file stays open until the other side has answered, or asked again: it has mapped it by then.
    """

    def __init__(self, source: IO[bytes], sink: IO[bytes], peer: int) -> None:
        """
        Args:
            source, sink: of bytes from and to the other side.
            peer: its process.
        """
        self._source, self._sink, self._peer = source, sink, peer
        self._held = -1
        self.shares = hasattr(os, "memfd_create")

    def send(self, value: Any) -> None:
        """Hand over a value.

        Raises:
            OSError: the other side is gone.
            Exception: the value can't be pickled; nothing was sent.
        """
        buffers: list[memoryview] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            if view.nbytes < _SHARED_FROM:
                return True  # in the pickle itself
            buffers.append(view)
            return False

        data = pickle.dumps(value, protocol=5, buffer_callback=keep if self.shares else None)
        places, size = _places([view.nbytes for view in buffers])
        self._release()
        if size:
            self._held = os.memfd_create("secure-agg", os.MFD_CLOEXEC)
            os.ftruncate(self._held, size)
            with mmap.mmap(self._held, size) as memory:
                for (start, length), view in zip(places, buffers, strict=True):
                    memory[start : start + length] = view
        self._sink.write(_HEAD.pack(len(data), len(places), self._held))
        for _, length in places:
            self._sink.write(_LENGTH.pack(length))
        self._sink.write(data)
        self._sink.flush()

    def receive(self) -> Any:
        """Take the next value. Its arrays are views of the shared memory, and writable.

        Raises:
            EOFError: the other side is gone.
            OSError: its memory can't be opened.
        """
        length, count, file = _HEAD.unpack(self._exactly(_HEAD.size))
        places, size = _places([_LENGTH.unpack(self._exactly(_LENGTH.size))[0] for _ in range(count)])
        data = self._exactly(length)
        self._release()
        buffers: list[memoryview] = []
        if size:
            opened = os.open(f"/proc/{self._peer}/fd/{file}", os.O_RDWR | os.O_CLOEXEC)
            try:
                memory = memoryview(mmap.mmap(opened, size))
            finally:
                os.close(opened)
            buffers = [memory[start : start + length] for start, length in places]
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - our own worker, or who has started us

    def _exactly(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) != count:
            raise EOFError("the other side of a line is gone")
        return data

    def _release(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def close(self) -> None:
        """Close this end."""
        self._release()
        for file in (self._sink, self._source):
            with contextlib.suppress(OSError):
                file.close()


def _places(lengths: list[int]) -> tuple[list[tuple[int, int]], int]:
    """Where buffers lie in the memory, aligned, and its size."""
    places, at = [], 0
    for length in lengths:
        places.append((at, length))
        at += -(-length // _ALIGNED) * _ALIGNED
    return places, at
