"""Locks between processes, on open files: POSIX's ``flock``, in this one place.

It is imported when a lock is taken, so that a system without it can still import the package, sum and verify.
"""

from __future__ import annotations

import importlib
from typing import Any

from secure_agg.errors import ConfigError


def hold(descriptor: int) -> None:
    """Wait until no other process has locked this file or folder, and lock it until the descriptor is closed.

    Raises:
        ConfigError: this system has no such locks, or this file system.
    """
    _flock(descriptor, "LOCK_EX")


def hold_at_once(descriptor: int) -> bool:
    """Lock this file or folder until the descriptor is closed, if nobody else has; whether it is locked now.

    Raises:
        ConfigError: see ``hold``.
    """
    try:
        _flock(descriptor, "LOCK_EX", "LOCK_NB")
    except BlockingIOError:
        return False
    return True


def _flock(descriptor: int, *flags: str) -> None:
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        raise ConfigError("this system has no locks on files (flock): Linux has, and is what is tested") from None
    try:
        fcntl.flock(descriptor, sum(getattr(fcntl, flag) for flag in flags))
    except BlockingIOError:
        raise
    except OSError as error:
        raise ConfigError(f"this file system has no locks on files (flock: {error.strerror})") from error
