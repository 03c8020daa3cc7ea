"""One cell of the matrix in processes of its own, which ``pyperf`` starts, warms up and times.

``python -m benchmarks.rounds.cell_process`` is the script that pyperf's runner runs in: it starts a worker, the worker
runs the rounds, pyperf keeps the seconds of the whole rounds, and the worker writes the cell beside them. ``measure``
starts the script. Rounds use all cores, as in use, so the worker is pinned to none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pyperf

from benchmarks.load import Watch
from benchmarks.measure.cells import Cell, Setting

_MODULE: Final = "benchmarks.rounds.cell_process"
_ONE_CORE: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""For local training: on a loaded machine threads of OpenBLAS wait for one another, and it takes 50 times as long."""
_EFFORT: Final = ("--processes=1", "--warmups=1", "--loops=1", "--timeout=3600")
"""A worker is given an hour: rounds of many clients on a loaded machine take longer than pyperf's minute."""
_HANDED_ON: Final = ("NUMBA_CACHE_DIR", "PYTHONPATH", "TMPDIR", *_ONE_CORE)


class CellFailed(RuntimeError):
    """A cell's process has ended without a result; with what it wrote last."""


def run_pyperf(module: str, arguments: Sequence[str]) -> None:
    """Run a pyperf script in a process of its own and wait for it.

    Args:
        module: with a ``pyperf.Runner`` in it.
        arguments: the runner's and its own.

    Raises:
        CellFailed: it ended with an error.
    """
    command = [sys.executable, "-m", module, "--quiet", f"--inherit-environ={','.join(_HANDED_ON)}", *arguments]
    surroundings = os.environ | _ONE_CORE
    done = subprocess.run(  # noqa: S603 - our own module
        command, capture_output=True, text=True, check=False, env=surroundings
    )
    if done.returncode:
        raise CellFailed(f"{module}: {(done.stderr or done.stdout).strip()[-400:]}")


def measure(setting: Setting, repeat: int) -> Cell:
    """A cell, from a fresh process.

    Args:
        setting: what is run.
        repeat: rounds that count; one more warms up.

    Raises:
        CellFailed: it can't be run, for instance because the setting would not be secure.
    """
    with tempfile.TemporaryDirectory(prefix="secure-agg-bench-") as folder:
        found, timings = Path(folder, "cell.json"), Path(folder, "pyperf.json")
        given = ["--setting", msgspec.json.encode(setting).decode(), "--cell", str(found), "--output", str(timings)]
        try:
            run_pyperf(_MODULE, [*given, *_EFFORT, f"--values={repeat}"])
        except CellFailed:
            if found.exists():  # the worker's reason says more than the runner's
                raise CellFailed(found.read_text(encoding="utf-8")) from None
            raise
        return msgspec.json.decode(found.read_bytes(), type=Cell)


def _hand_on(command: list[str], arguments: Any) -> None:
    """What the worker gets of this script's own options."""
    command.extend(["--setting", arguments.setting, "--cell", arguments.cell])


def main() -> None:
    """pyperf's runner, and in its worker the rounds."""
    runner = pyperf.Runner(program_args=("-m", _MODULE), add_cmdline_args=_hand_on)
    runner.argparser.add_argument("--setting", required=True)
    runner.argparser.add_argument("--cell", required=True)
    arguments = runner.parse_args()
    setting = msgspec.json.decode(arguments.setting, type=Setting)
    if not arguments.worker:
        runner.bench_time_func(setting.key, float)  # the worker has the function
        return
    from benchmarks.rounds.cell_rounds import Rounds  # only the worker needs all that this imports

    found = Path(arguments.cell)
    try:
        rounds = Rounds(setting)
        with Watch() as watch:
            timed = runner.bench_time_func(setting.key, rounds.time)
        cell = replace(rounds.cell(timed.get_values()), load=watch.load)
        found.write_bytes(msgspec.json.encode(cell))
    except Exception as error:
        found.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        raise


if __name__ == "__main__":
    main()
