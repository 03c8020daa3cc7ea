"""Says what numba compiles, where that takes long enough to be noticed.

A kernel is compiled when it is first called, and kept in numba's cache. On a slow machine whose cache is empty that
is many seconds in which nothing seems to happen.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from mpc.optional import Optional

event: Any = Optional("numba.core.event", "fast")

PATIENCE_S: Final = 1.5
"""A compilation that takes longer is announced, while it lasts."""
_OURS: Final = ("mpc.", "zk.", "secure_agg.")

_log = logging.getLogger(__name__)


class _Announcer(event.Listener):  # type: ignore[misc]  # numba carries no types
    """Times the outermost compilation of each thread; a kernel compiles those that it calls."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def on_start(self, event: Any) -> None:
        depth = self._thread.depth = getattr(self._thread, "depth", 0) + 1
        function = event.data["dispatcher"].py_func
        name = f"{function.__module__}.{function.__name__}"
        if depth == 1 and name.startswith(_OURS):
            self._thread.timer = timer = threading.Timer(PATIENCE_S, _announce, (name,))
            timer.daemon = True
            timer.start()

    def on_end(self, event: Any) -> None:
        self._thread.depth -= 1
        timer = self._thread.__dict__.pop("timer", None) if not self._thread.depth else None
        if timer is not None:
            timer.cancel()


def _announce(name: str) -> None:
    _log.warning("compiling %s for this machine: it takes some seconds, once, and is kept in numba's cache", name)


event.register("numba:compile", _Announcer())
