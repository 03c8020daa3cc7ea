"""Ports that a process of a test is told to listen on, by a number that has to be known before it does."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_000
_USUAL: Final = 32_768
_held: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody has and that nobody gets until this process ends, but whom it is told.

    One that the system has just given away and taken back is soon anybody's: of a connection that another process
    opens, or of another test. This one is below those that the system gives away, and a name that one process at a
    time can have says that it is taken.

    Raises:
        AssertionError: all are taken.
    """
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else _USUAL
    count = highest - _LOWEST
    first = os.getpid() * 101 + len(_held)
    for place in range(count):
        port = _LOWEST + (first + place) % count
        name = socket.socket(socket.AF_UNIX)
        with contextlib.ExitStack() as stack:
            stack.callback(name.close)
            with contextlib.suppress(OSError), socket.socket() as probe:
                name.bind(f"\0secure-agg-test-port-{port}")
                probe.bind(("127.0.0.1", port))
                stack.pop_all()
                _held.append(name)
                return port
    raise AssertionError(f"no port from {_LOWEST} to {highest} is free")


@contextlib.contextmanager
def held(address: str) -> Iterator[None]:
    """Keep the port of a process that has ended for who listens on it next, as ``HOST:PORT``: the system has chosen it,
    and would give it to anybody.
    """
    host, _, port = address.rpartition(":")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # and never listens: who does so may have it too
        holder.bind((host, int(port)))
        yield
