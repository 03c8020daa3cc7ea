"""Processes that tests start: none outlasts the process of the tests, however that ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from typing import Final

import pytest
from support.operating import leftovers

STARTS: Final = """
import os, subprocess, sys
from support.operating import leftovers
{marked}
subprocess.run(["sh", "-c", "setsid sleep 600 > {null} & echo $!; sleep 600 > {null} & echo $!"])
sys.stdout.write(os.environ.get(leftovers.NAME, "") + "\\n")
sys.stdout.flush()
sys.stdin.read()
"""
HANG_S: Final = 60.0


def started(marked: bool) -> tuple[subprocess.Popen[str], list[int], str]:
    """A process, two that it has left without a parent, one of them in a session of its own, and the mark."""
    program = STARTS.format(marked="leftovers.end_with_this_process()" if marked else "", null=os.devnull)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout
    *orphans, mark = (process.stdout.readline().strip() for _ in range(3))
    return process, [int(each) for each in orphans], mark


def ended(process: int, within_s: float) -> bool:
    return bool(select.select([process], [], [], within_s)[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_what_a_killed_process_has_left_ends_and_nobody_elses(how: signal.Signals) -> None:
    mine, others = started(marked=True), started(marked=False)
    watched = [os.pidfd_open(each) for each in (*mine[1], *others[1])]
    try:
        for process, _, _ in (mine, others):
            process.send_signal(how)
            process.communicate(timeout=HANG_S)
        assert all(ended(each, HANG_S) for each in watched[:2])
        assert not any(ended(each, 0.0) for each in watched[2:])
    finally:
        for orphan, each in zip(others[1], watched[2:], strict=True):
            os.kill(orphan, signal.SIGKILL)
            assert ended(each, HANG_S)
        for each in watched:
            os.close(each)


def test_all_that_these_tests_start_is_marked_by_them_alone() -> None:
    process, orphans, mark = started(marked=False)
    process.communicate(timeout=HANG_S)
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)
    assert len(mark) == 32
    assert mark == os.environ[leftovers.NAME]
