"""Which node uses a home, so that two with one home are noticed.

Two would take turns as one member: what one has joined, the other goes on with or ends, and the server asks whichever
it takes for the member. A node that lives as long as a job holds the home meanwhile. Where a new process answers every
message, the home remembers which node the last one worked for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secure_agg import files, locks
from secure_agg.errors import ConfigError, StoreError
from secure_agg.local import keystore
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.folder import Home

_HELD: Final = "held"
_NODE: Final = "node"
_MAX: Final = 4096
_PATIENCE_S: Final = 2.0
"""A job's process may end a little later than the next one begins."""
_POLL_S: Final = 0.05


def held_file(home: Path) -> Path:
    """The file that is locked while a home has a node or server that uses it."""
    return home / _HELD


def hold(home: Home) -> Callable[[], None]:
    """Be the one node, or server, that uses this home, until what this returns is called or the process ends.

    Raises:
        ConfigError: another node uses it; names its process.
    """
    path = held_file(home.path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} can't be opened: {error.strerror}") from error
    try:
        end = time.monotonic() + _PATIENCE_S
        while not locks.hold_at_once(descriptor):
            if time.monotonic() > end:
                whose = os.read(descriptor, _MAX).decode("ascii", "replace").strip() or "another"
                raise ConfigError(
                    f"home {home.path} is in use by process {whose}: two can't have one home. Give each its own, "
                    "or end what an earlier job has left behind"
                )
            time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    left = [descriptor]

    def leave() -> None:
        while left:
            os.close(left.pop())

    return leave


def use(home: ClientHome, run: int, node: int) -> int | None:
    """Note that a node of a run uses this home.

    Returns:
        The other node that has used it last in the same run, if there is one: this one was restarted, and has another
        number since, or there are two.

    Raises:
        StoreError: the disk is full or fails.
    """
    path = home.path / _NODE
    with home.locked():
        last = _read(home)
        if last == (run, node):
            return None
        with files.failing(path, StoreError), files.whole(path, mode=0o600) as file:
            file.write(json.dumps([run, node]).encode())
    return last[1] if last is not None and last[0] == run else None


def _read(home: ClientHome) -> tuple[int, int] | None:
    """Run and node; None where nothing, or nothing sensible, stands there: it is a hint and no more."""
    path = home.path / _NODE
    if not path.exists():
        return None
    try:
        match json.loads(keystore.read_private(path, _MAX)):
            case [int() as run, int() as node]:
                return run, node
    except ValueError:  # of which a ConfigError is one
        pass
    return None
