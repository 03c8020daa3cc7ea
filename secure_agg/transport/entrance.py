"""The door of an operator's port: strangers can't take the places of peers.

gRPC gives every connection that is opened a descriptor and two minutes for its handshake, so whoever opens a thousand
and says nothing locks everybody out. Its limit on connections refuses the next one, which is the peer. So they come in
here first. Bytes are passed on to gRPC, over a socket in a folder of this process's own, and back: TLS stays between
the peer and gRPC, and nothing here reads it. A connection is a stranger's until a call has come over it, which gRPC
lets in only with a pinned certificate. Strangers share a fixed number of places, see ``Admission``, and have
``HANDSHAKE_S`` seconds; peers have places of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, cast

from secure_agg.admission import Admission
from secure_agg.errors import ConfigError

STRANGERS: Final = 128
"""Connections that no call has come over yet, at a time."""
OF_ONE_PEER: Final = 8
"""Connections of one peer at a time; the oldest goes for the next. A peer has one, and for a while those that it has
lost without a goodbye.
"""
HANDSHAKE_S: Final = 10.0
"""From opening a connection to the beginning of its first call."""

_DESCRIPTORS: Final = 3  # of a connection: here, towards gRPC, and gRPC's
_OTHERS: Final = 128  # descriptors that the process has for everything else
_LEAST_STRANGERS: Final = 16
_LEAST_OF_PEER: Final = 2  # that it has, and one that it has lost
_BACKLOG: Final = 1024
_AT_ONCE: Final = 16  # connections accepted in a turn of the event loop
_BUFFER: Final = 1 << 20
_REST_S: Final = 0.5  # after a connection that could not be accepted
_DRAIN_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0
_SHORT: Final = "/tmp"  # noqa: S108 - a folder with a name that nobody can guess is made in it
_LONGEST_PATH: Final = 90  # a socket's name has 108 bytes at most, on some systems 104

_log = logging.getLogger("secure_agg.transport")


def _places(peers: int, wished: int = STRANGERS) -> tuple[int, int]:
    """For how many strangers, and connections of peers, there is room under the limit on open files, which is raised
    where that is allowed. Where it does not do for ``OF_ONE_PEER`` each, peers share what there is.
    """
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:
        raise ConfigError("this system has no limits on open files (getrlimit): operators run on Linux") from None
    most = OF_ONE_PEER * peers
    wanted = _OTHERS + _DESCRIPTORS * (most + wished)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wished, most
    room, least = int(soft - _OTHERS) // _DESCRIPTORS, _LEAST_OF_PEER * peers
    if room < least + _LEAST_STRANGERS:
        needed = _OTHERS + _DESCRIPTORS * (least + _LEAST_STRANGERS)
        raise ConfigError(f"this process may have {soft} open files, an operator of {peers} peers needs {needed}")
    known = min(most, max(least, room - wished))
    return room - known, known


class _Inside(asyncio.Protocol):
    """Towards gRPC."""

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._outside.transport.write(data)

    def pause_writing(self) -> None:
        self._outside.pause()

    def resume_writing(self) -> None:
        self._outside.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outside.transport.close()  # what gRPC has said last still goes out


class _Outside(asyncio.Protocol):
    """Towards whoever has come."""

    transport: asyncio.Transport

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._inside: _Inside | None = None
        self.name = ""  # as gRPC knows it, once it does
        self.peer: str | None = None
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_BUFFER)
        self._entrance.came(self)

    def data_received(self, data: bytes) -> None:
        if self._inside is not None and self._inside.transport is not None:
            self._inside.transport.write(data)
        else:  # gRPC hears of a connection when it says something: a silent one costs one descriptor
            self.transport.pause_reading()
            self._entrance.introduce(self, data)

    def introduced(self, inside: _Inside, data: bytes) -> None:
        """gRPC has taken the connection; ``data`` is what has come first."""
        self._inside = inside
        if inside.transport is None:
            return
        if self.gone:
            inside.transport.abort()
            return
        inside.transport.write(data)
        self.resume()

    def pause(self) -> None:
        if not self.gone:
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.gone:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self._inside is not None and self._inside.transport is not None:
            self._inside.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._inside is not None and self._inside.transport is not None:
            self._inside.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._entrance.left(self)
        if self._inside is not None and self._inside.transport is not None:
            self._inside.transport.close()


def _folder_for_sockets() -> Path:
    """A private folder, mode 0700, whose path leaves room for a socket's name: in ``/tmp`` where TMPDIR's is too long.

    Raises:
        ConfigError: neither serves.
    """
    for parent in (None, _SHORT):
        try:
            folder = Path(tempfile.mkdtemp(prefix="secure-agg-", dir=parent))
        except OSError:
            continue
        if len(os.fsencode(folder)) <= _LONGEST_PATH:
            return folder
        folder.rmdir()
    raise ConfigError(f"{tempfile.gettempdir()} is too long a path for sockets: set TMPDIR to a shorter one")


class Entrance:
    """What listens on an operator's port. All methods belong to one event loop."""

    def __init__(self, peers: int, *, patience: float = HANDSHAKE_S, strangers: int = STRANGERS) -> None:
        """
        Args:
            peers: how many may call.
            strangers: see ``STRANGERS``; fewer where the process may open too few files.
            patience: see ``HANDSHAKE_S``.

        Raises:
            ConfigError: the process may open too few files, or no socket has room in the folder for temporary files.
        """
        for_strangers, for_peers = _places(peers, strangers)
        self._strangers: Admission[_Outside] = Admission(for_strangers)
        self._peers: Admission[_Outside] = Admission(max(1, for_peers))
        self._patience = patience
        self._folder = _folder_for_sockets()
        self._listeners: list[socket.socket] = []
        self._known: dict[str, list[_Outside]] = {}
        self._open: dict[str, _Outside] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[_Outside, asyncio.TimerHandle] = {}
        self._count = self._pushed_out = 0
        self._said_at = -_SAY_AGAIN_S
        self._said_of: dict[str, float] = {}  # of peers, who are pinned

    @property
    def inner(self) -> str:
        """Where gRPC has to listen."""
        return f"unix:{self._folder}/grpc"

    async def open(self, host: str, port: int) -> int:
        """Listen.

        Args:
            host: name or address, without brackets.
            port: 0 for a free one.

        Returns:
            The port.

        Raises:
            OSError: no such address of this machine, or its port is in use.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((info[0], info[4]) for info in found):
            listener = socket.socket(family, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(_BACKLOG)
            port = listener.getsockname()[1]
        for listener in self._listeners:
            loop.add_reader(listener, self._accept, listener)
        return port

    def recognise(self, connection: str, peer: str) -> None:
        """A call has come over this connection, from this peer: it is no stranger's.

        Args:
            connection: as gRPC names it.
            peer: whose certificate it has.
        """
        found = self._open.get(connection.rpartition("/")[2])
        if found is None or found.peer is not None or found.gone:
            return
        found.peer = peer
        self._forget(found)
        known = self._known.setdefault(peer, [])
        known.append(found)
        if len(known) > OF_ONE_PEER:
            if (now := asyncio.get_running_loop().time()) > self._said_of.get(peer, -math.inf) + _SAY_AGAIN_S:
                self._said_of[peer] = now
                _log.warning("%s has more than %d connections: the oldest is closed", peer, OF_ONE_PEER)
            known.pop(0).transport.abort()
        if (pushed := self._peers.admit(found, f"peer {peer}")) is not None:
            pushed.transport.abort()  # of the peer with most of them

    def whence(self, connection: str) -> str:
        """The address that a connection comes from, which is named as for ``recognise``; empty where it has ended."""
        found = self._open.get(connection.rpartition("/")[2])
        address = found.transport.get_extra_info("peername") if found is not None else None
        return str(address[0]) if address else ""

    def shut(self) -> None:
        """Take no more connections; those that are there stay."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()

    async def close(self) -> None:
        """End all connections, once what is on its way out of them is out, and remove the folder."""
        self.shut()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), _DRAIN_S)
        for connection in [*self._timers, *(one for known in self._known.values() for one in known)]:
            connection.transport.abort()
        for task in self._tasks:
            task.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _drained(self) -> None:
        """gRPC, which has stopped, has closed its ends: wait for ours to follow."""
        for silent in [one for one in self._timers if not one.name]:
            silent.transport.abort()
        while self._timers or self._known:
            await asyncio.sleep(0.01)

    # --- what connections say ---------------------------------------------------------------------------------

    def came(self, connection: _Outside) -> None:
        """A connection was opened."""
        address = connection.transport.get_extra_info("peername")
        loop = asyncio.get_running_loop()
        self._timers[connection] = loop.call_later(self._patience, connection.transport.abort)
        pushed = self._strangers.admit(connection, str(address[0]) if address else "")
        if pushed is not None:
            pushed.transport.abort()
            self._pushed_out += 1
            if loop.time() > self._said_at + _SAY_AGAIN_S:
                self._said_at = loop.time()
                _log.warning(
                    "all %d places for connections that have not shown a pinned certificate are taken, %d were closed "
                    "for others so far; the last came from %s",
                    self._strangers.places, self._pushed_out, address[0] if address else "somewhere",
                )  # fmt: skip

    def _accept(self, listener: socket.socket) -> None:
        """Take in a few of those that wait: asyncio's own server takes all, before any that has to go is closed."""
        for _ in range(_AT_ONCE):
            try:
                taken, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no descriptors, no memory: those who wait do so a little longer
                _log.error("a connection could not be accepted: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_REST_S, self._go_on, listener)
                return
            self._start(self._take_in(taken))

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def _take_in(self, taken: socket.socket) -> None:
        try:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Outside(self), taken)
        except OSError:  # it is gone already
            taken.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def introduce(self, connection: _Outside, data: bytes) -> None:
        """Open a connection's way to gRPC; ``data`` is what it has said first."""
        self._start(self._introduce(connection, data))

    def left(self, connection: _Outside) -> None:
        """A connection has ended."""
        self._forget(connection)
        self._peers.leave(connection)
        if connection.peer is not None:
            known = self._known.get(connection.peer, [])
            if connection in known:
                known.remove(connection)
            if not known:
                self._known.pop(connection.peer, None)
        self._open.pop(connection.name, None)

    async def _introduce(self, connection: _Outside, data: bytes) -> None:
        self._count += 1
        name = connection.name = str(self._count)  # of the socket: what gRPC calls the connection
        end = socket.socket(socket.AF_UNIX)
        loop = asyncio.get_running_loop()
        try:
            end.setblocking(False)
            end.bind(str(self._folder / name))
            await loop.sock_connect(end, self.inner.removeprefix("unix:"))
            (self._folder / name).unlink(missing_ok=True)
            if connection.gone:
                end.close()
                return
            self._open[name] = connection  # before gRPC can name it; ``left`` takes it out
            _, inside = await loop.create_unix_connection(lambda: _Inside(connection), sock=end)
        except OSError as error:
            end.close()
            _log.error("a connection could not be passed on: %s", error)
            connection.transport.abort()
            return
        connection.introduced(inside, data)

    def _forget(self, connection: _Outside) -> None:
        self._strangers.leave(connection)
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
