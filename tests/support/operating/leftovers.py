"""Ends what tests have started once their process has ended: killed, it can end nothing itself.

What a test starts inherits a mark in its environment, and keeps it where it begins a session of its own or has lost its
parent. A process beside the tests waits for their end, whatever it is, and kills all that bear the mark. As a program
this file is that process; it takes the descriptor of who is waited for, and the mark.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

NAME: Final = "SECURE_AGG_TESTED_BY"
_PROCESSES: Final = Path("/proc")
_PAUSE_S: Final = 0.05
_TRIES: Final = 200


def end_with_this_process() -> None:
    """Mark all that this process starts from now on, and have it killed once this process has ended; where the system
    has a process's descriptor, and the environment of others: on Linux.
    """
    if not hasattr(os, "pidfd_open") or not _PROCESSES.is_dir():
        return
    mark = secrets.token_hex(16)
    me = os.pidfd_open(os.getpid())
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", __file__, str(me), mark], pass_fds=(me,), check=True, cwd="/",
            env={name: value for name, value in os.environ.items() if name != NAME},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        os.close(me)
    os.environ[NAME] = mark


def _watch(process: int, mark: str) -> None:
    select.select([process], [], [])
    wanted = f"{NAME}={mark}".encode()
    for _ in range(_TRIES):  # what is killed may have started others
        found = [number for number in _numbers() if wanted in _environment(number)]
        if not found:
            return
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def _numbers() -> list[int]:
    return [int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdigit()]


def _environment(number: int) -> list[bytes]:
    try:
        return (_PROCESSES / str(number) / "environ").read_bytes().split(b"\0")
    except OSError:  # has ended, or is another user's
        return []


if __name__ == "__main__":
    if os.fork() == 0:  # a child of nobody: tests count those of their process
        os.setsid()
        _watch(int(sys.argv[1]), sys.argv[2])
