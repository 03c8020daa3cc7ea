"""What numba compiles is cheap enough to wait for, and is announced where it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from mpc.kernels import compiling
from mpc.paillier import montgomery

COLD = """
import numba.core.event as event
from mpc.kernels import kernel_files
from mpc.paillier import montgomery

class Names(event.Listener):
    def on_start(self, happened):
        function = happened.data["dispatcher"].py_func
        print(function.__module__, function.__name__)
    def on_end(self, happened):
        pass

event.register("numba:compile", Names())
kernel_files._folders = lambda source, make=False: iter(())  # no file of an earlier process is read
montgomery.FixedBase(5, (1 << 127) + 45, 1)
"""


class Clock:
    """Stands in for ``threading.Timer``: the time that was to pass has passed at once, or never does."""

    elapses = True

    def __init__(self, interval: float, function: Callable[..., None], args: tuple[str, ...]) -> None:
        self._call = partial(function, *args)
        self.cancelled = False

    def start(self) -> None:
        if self.elapses:
            self._call()

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(compiling, "_announce", said.append)
    monkeypatch.setattr(compiling.threading, "Timer", Clock)
    return said


def compile_something(module: str) -> None:
    """Compile a new kernel that says it is of this module, and calls another of its own."""

    def inner(x: int) -> int:
        return x + 1

    called = njit(inner)

    def outer(x: int) -> int:
        return int(called(x) * 2)

    inner.__module__ = outer.__module__ = module
    assert njit(outer)(np.int64(20)) == 42


def test_a_long_compilation_is_announced_once_by_its_outermost_kernel(announced: list[str]) -> None:
    compile_something("mpc.made_up")
    assert announced == ["mpc.made_up.outer"]


def test_short_ones_and_other_peoples_are_not(announced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    compile_something("somebody_elses.module")
    monkeypatch.setattr(Clock, "elapses", False)
    compile_something("mpc.made_up")
    assert announced == []


def test_the_text_names_the_kernel(caplog: pytest.LogCaptureFixture) -> None:
    compiling._announce("mpc.paillier.montgomery._multiply")
    assert caplog.messages == [
        "compiling mpc.paillier.montgomery._multiply for this machine: it takes some seconds, once, and is kept in "
        "numba's cache"
    ]


@pytest.mark.slow
def test_no_strings_are_compiled_for_paillier() -> None:
    """An assignment of arrays compiles the text of its error: four fifths of a minute and a half on a slow machine."""
    environment = os.environ | {"PYTHONPATH": str(Path(montgomery.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", COLD], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert re.search(r"^mpc\.paillier\.montgomery _multiply$", done.stdout, re.MULTILINE)
    assert "unicode" not in done.stdout
