"""Nodes' homes between two messages that come to one process, as in a simulation: open, with who lives there.

A node that is met by a new process for every message, as Flower's SuperNodes do it, opens its home each time and is
taken through what the round has brought before. Where the process goes on, its home stays open and its participant
alive, unless something has changed that they were made of: every file that opening reads is read again and compared by
its bytes, and what another process has answered meanwhile shows in the journal, see ``Participant``. Nothing is shared
between homes, and what a node may sign is decided by its attempt store, whether it stands here or not.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from mpc.framing import frame, integer
from secure_agg.plugins.homes.client import TRUST_FILE, ClientHome
from secure_agg.plugins.homes.folder import IDENTITY_FILE, SETTINGS_FILE, STORE_FILE

_MOST: Final = 64
"""Homes that stay open."""
_MOST_BYTES: Final = 1 << 28
"""Of updates that they hold; whose would be more takes its own from its disk again."""
_READ: Final = (SETTINGS_FILE, IDENTITY_FILE, TRUST_FILE)


class Lodger(Protocol):
    """Who lives in a home: its participant."""

    @property
    def held_bytes(self) -> int:
        """Of updates, in memory."""

    def step_out(self) -> None:
        """Forget what is in memory of the attempt under way."""

    def rest(self) -> None:
        """Forget what nobody asks for again."""


_L = TypeVar("_L", bound=Lodger)


class _Node(NamedTuple):
    """One that stands.

    Attributes:
        process: that it was opened in; its connection to the store is no other's.
        made_of: digest of what it was made of.
    """

    process: int
    made_of: bytes
    home: ClientHome
    lodger: Any


_nodes: dict[Path, _Node] = {}
_lock: Final = threading.Lock()


@contextmanager
def at_home(path: Path, said: bytes, lodger: Callable[[ClientHome], _L]) -> Iterator[tuple[ClientHome, _L]]:
    """A home and who lives there, for one message. Whoever comes to the same home meanwhile has a pair of its own.

    Args:
        path: of the home.
        said: all that ``lodger`` depends on beside the home.
        lodger: makes who lives there; always of one kind.

    Raises:
        ConfigError, StoreError: see ``ClientHome.open``.
    """
    named, path = path, path.absolute()
    made_of = _made_of(path, said)
    node = _taken(path, made_of)
    if node is None:
        # An error is to say where a relative path begins; a home that stands is to outlive a change of folder.
        home = ClientHome.open(path if path.exists() else named)
        try:
            node = _Node(os.getpid(), made_of, home, lodger(home))
        except BaseException:
            home.close()
            raise
    try:
        yield node.home, node.lodger
    except BaseException:  # whatever it has come to, the next message begins with what is on the disk
        node.home.close()
        raise
    _leave(path, node)


def forget() -> None:
    """Close all that stand: what comes next finds them as a new process would."""
    with _lock:
        for node in _nodes.values():
            _close(node)
        _nodes.clear()


def _taken(path: Path, made_of: bytes) -> _Node | None:
    with _lock:
        node = _nodes.pop(path, None)
    if node is not None and (node.process, node.made_of) != (os.getpid(), made_of):
        _close(node)
        return None
    return node


def _leave(path: Path, node: _Node) -> None:
    node.lodger.rest()
    with _lock:
        if path in _nodes:  # another message has come to this home meanwhile
            _close(node)
            return
        if sum(other.lodger.held_bytes for other in (node, *_nodes.values())) > _MOST_BYTES:
            node.lodger.step_out()
        while len(_nodes) >= _MOST:
            _close(_nodes.pop(next(iter(_nodes))))
        _nodes[path] = node


def _close(node: _Node) -> None:
    if node.process == os.getpid():
        node.home.close()


def _made_of(path: Path, said: bytes) -> bytes:
    """Digest of all that a home is made of in memory, with the modes that opening looks at, and of which file its store
    is: the contents of that are asked for each time.
    """
    parts = [said, _stated(path), _stated(path / STORE_FILE)]
    for file in (*(path / name for name in _READ), *sorted((path / "epochs").glob("*.epoch"))):
        parts += (file.name.encode(), _stated(file), _content(file))
    return hashlib.sha256(frame("standing", *parts)).digest()


def _stated(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return b""
    return frame("file", *map(integer, (found.st_dev, found.st_ino, found.st_mode, found.st_uid)))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""  # opening says what is wrong
