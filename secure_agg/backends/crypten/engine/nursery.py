"""One process that has imported PyTorch and CrypTen, and begins parties as copies of itself.

Importing them takes seconds of a core and hundreds of megabytes, which k + 1 processes would each pay, and again after
every failure. A copy (``fork``) has them at once, and shares the memory. The process is begun when parties are first
wanted, belongs to the process that wanted them, and ends with it, or after a minute in which nobody wants any. It has
one thread and no secret: keys and shares come to a party after it has begun, over a channel that only the two ends of
it have.

Both talk over a socket of packets: a ``Begin`` comes with the descriptors of the party's channel and log, and each
request has one answer.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Final, NoReturn, Protocol

import msgspec

from secure_agg.errors import RoundAborted

START_SECONDS: Final = 120.0
"""Longest time for PyTorch and CrypTen to be imported."""
_IDLE_SECONDS: Final = 60.0
_PACKET: Final = 1 << 14
_POLL_SECONDS: Final = 0.01


class Begin(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Begin a party; its channel and its log come along. The answer is its ``Began``.

    Attributes:
        rank, parties, rendezvous, timeout: as ``party.serve`` takes them.
    """

    rank: int
    parties: int
    rendezvous: str
    timeout: float


class Ask(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask how a party has ended. The answer is its ``Ended``."""

    pid: int


class Began(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A party has begun."""

    pid: int


class Ended(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Its exit status, negative for a signal; None while it runs."""

    status: int | None


class Child(Protocol):
    """A process as its launcher has it: what ``subprocess.Popen`` is, as far as that goes."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, once ``wait`` has seen it end."""

    def kill(self) -> None:
        """End it."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end. subprocess.TimeoutExpired: that took longer."""


class Nursery:
    """This process's end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the nursery
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                # A process with threads can't be copied, and OpenBLAS would start some.
                env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # an interrupt from the terminal is the launcher's to handle
            )
        self._socket = ours
        ours.settimeout(START_SECONDS)

    def begin(self, order: Begin, channel: socket.socket, log: IO[bytes]) -> Child:
        """Begin a party.

        Raises:
            RoundAborted: CrypTen could not be imported, or not in time; the nursery is closed.
        """
        with self._lock:
            answer = self._exchange(order, [channel.fileno(), log.fileno()])
        if not isinstance(answer, Began):
            raise self._lost()
        return _Grown(self, answer.pid)

    def ended(self, pid: int) -> Ended | None:
        """How a party has ended; None if the nursery itself is gone."""
        with self._lock:
            answer = self._exchange(Ask(pid), [])
        return answer if isinstance(answer, Ended) else None

    @property
    def is_there(self) -> bool:
        """Whether it can begin more, as far as is known here."""
        return self._socket.fileno() >= 0 and self._process.poll() is None and self.owner == os.getpid()

    def close(self) -> None:
        """End it. Parties that run end when their channels do."""
        self._socket.close()
        self._log.close()
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def _exchange(self, request: Begin | Ask, descriptors: list[int]) -> Began | Ended | None:
        try:
            socket.send_fds(self._socket, [msgspec.msgpack.encode(request)], descriptors)
            packet = self._socket.recv(_PACKET)
            return msgspec.msgpack.decode(packet, type=Began | Ended)
        except (OSError, msgspec.MsgspecError):  # also of an empty packet: the other end is closed
            self._socket.close()  # whatever it still answers is no answer to the next request
            return None

    def _lost(self) -> RoundAborted:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        status = self._process.returncode
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self.close()
        why = f": {lines[-1][:300]}" if lines else ""
        return RoundAborted(f"the parties can't be started: exit status {status}{why}", phase="compute")


class _Grown:
    """A party that the nursery has begun."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self.returncode: int | None = None
        self._over = False

    def kill(self) -> None:
        # Its id is nobody else's until the nursery has been asked how it ended.
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._over:
            answer = self._nursery.ended(self.pid)
            self._over = answer is None or answer.status is not None
            self.returncode = answer.status if answer else None
            if self._over:
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a party", timeout or 0.0)
            select.select([], [], [], _POLL_SECONDS)
        return self.returncode


_shared: Nursery | None = None
_sharing = threading.Lock()


def shared() -> Nursery:
    """This process's nursery, begun where there is none."""
    global _shared
    with _sharing:
        if _shared is None or not _shared.is_there:
            end()
            _shared = Nursery()
        return _shared


@atexit.register
def end() -> None:
    """End this process's nursery, if there is one."""
    global _shared
    if _shared is not None:
        _shared.close()
        _shared = None


# --- in the nursery's own process -----------------------------------------------------------------------------


def _tend(connection: socket.socket) -> NoReturn:
    """Answer requests until the other end is closed, or nobody has wanted anything for a while."""
    alive: set[int] = set()
    while True:
        if not select.select([connection], [], [], _IDLE_SECONDS)[0]:
            if not alive:
                os._exit(0)
            continue
        packet, descriptors, _, _ = socket.recv_fds(connection, _PACKET, 2)
        if not packet:
            os._exit(0)
        request = msgspec.msgpack.decode(packet, type=Begin | Ask)
        if isinstance(request, Begin):
            channel, log = descriptors
            pid = os.fork()
            if pid == 0:
                connection.close()
                _grow(request, channel, log)
            os.close(channel)
            os.close(log)
            alive.add(pid)
            connection.send(msgspec.msgpack.encode(Began(pid)))
        else:
            status = None
            if request.pid in alive:
                ended, wait_status = os.waitpid(request.pid, os.WNOHANG)
                if ended:
                    alive.discard(request.pid)
                    status = os.waitstatus_to_exitcode(wait_status)
            connection.send(msgspec.msgpack.encode(Ended(status)))


def _grow(order: Begin, channel: int, log: int) -> NoReturn:
    """Be a party, in a copy of the nursery."""
    from secure_agg.backends.crypten.engine import party
    from secure_agg.backends.crypten.engine.channel import Channel

    try:
        os.setsid()
        os.dup2(log, sys.stderr.fileno())
        os.close(log)
        end = Channel(socket.socket(fileno=channel))
        party.serve(end, order.rank, order.parties, order.rendezvous, order.timeout)
    finally:
        os._exit(1)


def main() -> NoReturn:
    """Import everything, then tend to what is wanted; the argument is the descriptor of the socket."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    import torch

    torch.set_num_threads(1)
    from secure_agg.backends.crypten.engine import loader

    loader.load()  # before the modules that work on it: it says what is missing
    from secure_agg.backends.crypten.engine import functions, link, party, provider  # noqa: F401

    _tend(connection)


if __name__ == "__main__":
    main()
