"""The library's log on stderr, for as long as a command asks for it. The library itself installs no handlers."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Final

LIBRARIES: Final = ("secure_agg", "mpc")
"""Parents of all our loggers."""


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show what the library logs from INFO on, one line each with its time; once, however often it is asked for."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    if any(isinstance(handler, _Handler) for handler in loggers[0].handlers):
        yield
        return
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    levels = [log.level for log in loggers]
    for log in loggers:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
            log.removeHandler(handler)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Ours among others."""
