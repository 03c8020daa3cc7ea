"""The processes that this one has started are found, whichever thread has, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.measure import memory

pytestmark = pytest.mark.skipif(not memory.MEASURABLE, reason="this system does not say what processes hold")


@pytest.mark.parametrize("listed", [True, False], ids=["by the system's list", "among all processes"])
def test_children_are_those_of_every_thread_and_nobody_elses(
    listed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not listed:
        (tmp_path / "1").mkdir()
        monkeypatch.setattr(memory, "_TASKS", tmp_path)
    known = memory.children()
    started: list[subprocess.Popen[bytes]] = []
    done = threading.Event()

    def start() -> None:
        command = [sys.executable, "-IS", "-c", "input()"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        begun.set()
        done.wait()

    begun = threading.Event()
    thread = threading.Thread(target=start)
    thread.start()
    try:
        begun.wait()
        assert memory.children() - known == {Path(f"/proc/{started[0].pid}")}
        assert Path(f"/proc/{os.getpid()}") not in memory.children()
    finally:
        done.set()
        thread.join()
        with started[0] as process:
            process.kill()
    assert memory.children() == known
