"""Processes of operators and services as forks of one that has imported what they need.

A process of ``secure-agg … serve`` takes a second of a core to import all it needs, and its key file a third of one,
which here costs next to nothing. What is about rounds, and not about how a process starts and ends, need not pay for
that: ``quick_operators`` lets ``transport.processes`` begin operators here, and ``support.service`` its service.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NoReturn

_MODULES: Final = (
    "secure_agg.cli.app",
    "secure_agg.cli.operators.aggregator",
    "secure_agg.cli.operators.keyholder",
    "secure_agg.transport.server",
    "secure_agg.transport.channel",
    "secure_agg.backends.additive",
    "secure_agg.cli.service.serve",
    "secure_agg.service.server",
    "uvicorn",
    "grpc.aio",
    "grpc_health.v1.health",
    "numba",
    "scipy",
)
_PACKET: Final = 1 << 17
_STREAMS: Final = 3


class Nursery:
    """This process's end of one, and what `transport.processes` uses of ``subprocess``."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    def __init__(self) -> None:
        self._asking = threading.Lock()  # whoever asks takes the next answer
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # A process with threads is no good to fork, and OpenBLAS would start some.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def Popen(self, command: Sequence[str], *, stderr: IO[bytes], **_: int) -> Begun:  # noqa: N802 - subprocess's name
        """Begin an operator, with pipes as its other streams and in a group of its own."""
        return Begun(self, command[command.index("secure_agg") + 1 :], stderr)

    def begin(self, arguments: Sequence[str], streams: Sequence[int]) -> int:
        """Run ``secure-agg`` with these arguments and standard streams. Returns the process's id."""
        request = json.dumps([arguments, str(Path.cwd()), dict(os.environ)]).encode()
        with self._asking:
            socket.send_fds(self._socket, [request], list(streams))
            return int(self._socket.recv(_PACKET))

    def status(self, pid: int) -> int:
        """Exit code of a process that has ended, negative for a signal; it is reaped."""
        with self._asking:
            self._socket.send(str(pid).encode())
            return int(self._socket.recv(_PACKET))

    def close(self) -> None:
        """End it; what it has begun goes on."""
        self._socket.close()
        self._process.wait()


@functools.cache
def shared() -> Nursery:
    """This process's, begun where one is first wanted."""
    made = Nursery()
    atexit.register(made.close)
    return made


class Begun:
    """A process that the nursery has begun, as far as tests use what ``subprocess.Popen`` is."""

    def __init__(self, nursery: Nursery, arguments: Sequence[str], stderr: IO[bytes]) -> None:
        theirs, self.stdin = _pipe()
        self.stdout, mine = _pipe()
        self._nursery = nursery
        self.returncode: int | None = None
        with theirs, mine:
            self.pid = nursery.begin(arguments, [theirs.fileno(), mine.fileno(), stderr.fileno()])
        self._ending = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. subprocess.TimeoutExpired: that takes longer."""
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("an operator", timeout or 0.0)
            self.returncode = self._nursery.status(self.pid)
            os.close(self._ending)
            self.stdin.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """A pipe: where it is read, and where it is written to."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)


# --- in the nursery's own process -------------------------------------------------------------------------------


def _grow(request: bytes, streams: Sequence[int]) -> NoReturn:
    """In a fork: be the command."""
    from secure_agg.cli import main

    os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    arguments, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    main(arguments)
    sys.exit(0)


def _tend(connection: socket.socket) -> None:
    """Begin what is asked for, and say how it ended, until the other end is closed."""
    while True:
        request, streams, _, _ = socket.recv_fds(connection, _PACKET, _STREAMS)
        if not request:
            os._exit(0)
        if streams:
            if not (pid := os.fork()):
                connection.close()
                _grow(request, streams)
            for stream in streams:
                os.close(stream)
            connection.send(str(pid).encode())
        else:
            _, status = os.waitpid(int(request), 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    from secure_agg.local import keystore

    for module in _MODULES:
        importlib.import_module(module)
    keystore._COST, keystore._COSTS = 1 << 10, (1 << 10, *keystore._COSTS)
    _tend(socket.socket(fileno=int(sys.argv[1])))
