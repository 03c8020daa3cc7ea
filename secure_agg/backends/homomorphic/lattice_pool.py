"""Encrypts a vector's chunks on all cores.

TenSEAL never releases Python's global lock, so threads gain nothing: two take as long as one after the other. Helper
processes do: one per further core, started when a vector is long enough to pay for them and kept for the next
one. They are plain children that run ``lattice_worker``; ``multiprocessing`` would run the user's main module
again, or fork under other libraries' threads. Nor does a thread serve their pipes, since it would wait for the
lock: each is given its share, this process encrypts its own, and then collects.

Helpers see plaintext slots and the public key, over pipes. One that dies costs time only: its chunks are
encrypted here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.parallel import cores
from secure_agg.backends.homomorphic import lattice_worker as worker

WORTHWHILE: Final = 192
"""Fewer chunks are encrypted by the caller alone: that takes less than a third of a second."""

_SHARE: Final = 16  # chunks per process and turn: some 25 ms, and a bound on what is held

Slots = npt.NDArray[np.int64] | npt.NDArray[np.float64]


class _Helper:
    """One child process, and the key that it has."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own script under our own interpreter
            [sys.executable, "-P", worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt from the terminal is this process's to handle
        )
        self._ready = False
        self._key = b""

    def ready(self) -> bool:
        """Whether the child has started up; does not wait for it."""
        source = self._process.stdout
        if not self._ready and source is not None and select.select([source], [], [], 0)[0]:
            self._ready = source.read(1) == worker.READY
        return self._ready

    def send(self, key: bytes, scheme: int, batch: list[Slots]) -> None:
        """Give it plaintexts to encrypt.

        Raises:
            OSError: the child is gone.
        """
        sink = self._process.stdin
        if sink is None:
            raise BrokenPipeError("a helper without input")
        if self._key != key:
            sink.write(worker.REQUEST.pack(worker.KEY, scheme, len(key)) + key)
            self._key = key
        plaintexts = [slots.astype(worker.SLOT_TYPES[scheme], copy=False).tobytes() for slots in batch]
        sink.write(worker.REQUEST.pack(worker.CHUNKS, len(batch), len(plaintexts[0])) + b"".join(plaintexts))
        sink.flush()

    def collect(self, count: int) -> list[bytes]:
        """Serialised vectors of what was sent.

        Raises:
            OSError: the child is gone.
        """
        source = self._process.stdout
        answers = []
        for _ in range(count):
            head = source.read(worker.LENGTH.size) if source is not None else b""
            size = worker.LENGTH.unpack(head)[0] if len(head) == worker.LENGTH.size else 0
            data = source.read(size) if source is not None else b""
            if not size or len(data) != size:
                raise BrokenPipeError("a helper has ended")
            answers.append(data)
        return answers

    def close(self) -> None:
        """End the child, by closing its input."""
        with contextlib.suppress(OSError):
            self._process.communicate()


_busy = threading.Lock()
_helpers: list[_Helper] = []
_owner = 0  # a forked child must not write into its parent's pipes


@atexit.register
def close() -> None:
    """End the helpers; the next long vector starts new ones."""
    while _owner == os.getpid() and _helpers:
        _helpers.pop().close()


def encrypt_all(
    key: bytes, scheme: int, chunks: int, slots: Callable[[int], Slots], here: Callable[[Slots], bytes]
) -> Iterator[bytes]:
    """Serialised vectors of all chunks, in order.

    Args:
        key: the public context.
        scheme: place of the scheme in ``lattice_worker.SLOT_TYPES``.
        chunks: how many.
        slots: makes the plaintext of a chunk.
        here: encrypts and serialises one in this process.
    """
    if chunks < WORTHWHILE or not _busy.acquire(blocking=False):
        yield from (here(slots(index)) for index in range(chunks))
        return
    try:
        _start()
        at = 0
        while at < chunks:
            helpers = [helper for helper in _helpers if helper.ready()]
            stop = min(chunks, at + _SHARE * (len(helpers) + 1))
            yield from _turn(helpers, key, scheme, [slots(index) for index in range(at, stop)], here)
            at = stop
    finally:
        _busy.release()


def _start() -> None:
    global _owner
    if _owner != os.getpid():
        _helpers.clear()
        _owner = os.getpid()
    while sys.executable and len(_helpers) < cores() - 1:
        _helpers.append(_Helper())


def _turn(
    helpers: list[_Helper], key: bytes, scheme: int, plaintexts: list[Slots], here: Callable[[Slots], bytes]
) -> list[bytes]:
    share = -(-len(plaintexts) // (len(helpers) + 1))
    own, *batches = (plaintexts[start : start + share] for start in range(0, len(plaintexts), share))
    try:
        given = [_send(helper, key, scheme, batch) for helper, batch in zip(helpers, batches, strict=False)]
        serialised = [here(slots) for slots in own]
        for helper, batch, sent in zip(helpers, batches, given, strict=False):
            serialised += (_collect(helper, len(batch)) if sent else None) or map(here, batch)
    except BaseException:
        close()  # an answer that nobody collected would be taken for the next one
        raise
    return serialised


def _send(helper: _Helper, key: bytes, scheme: int, batch: list[Slots]) -> bool:
    try:
        helper.send(key, scheme, batch)
    except OSError:
        _drop(helper)
        return False
    return True


def _collect(helper: _Helper, count: int) -> list[bytes] | None:
    try:
        return helper.collect(count)
    except OSError:
        _drop(helper)
        return None


def _drop(helper: _Helper) -> None:
    _helpers.remove(helper)
    helper.close()
