"""What one core and the disk can do, timed by ``pyperf`` in processes of its own that are pinned to that core.

``python -m benchmarks.rounds.limits_pinned`` is the script that pyperf's runner and its workers run; ``rows`` starts
it. Each operation is calibrated until a value takes long enough, and repeated in several processes.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyperf

from benchmarks.limits import Limits
from benchmarks.results import Row
from benchmarks.rounds.cell_process import run_pyperf
from benchmarks.timing import Samples
from mpc.keystream import CHUNK
from mpc.ring import ELEMENT_BYTES

MULTIEXP: Final = "py_arkworks_bls12381"
"""The library of the multi-scalar multiplication; optional."""
_MODULE: Final = "benchmarks.rounds.limits_pinned"
_ELEMENTS: Final = 4 * CHUNK
_PAGE: Final = bytes(4096)
_POINTS: Final = 1 << 10
_NAMES: Final = {
    "keystream": "AES-256 keystream",
    "add": "uint32 addition in place",
    "sha256": "SHA-256",
    "fsync": "one page written and synced",
    "multiexp": f"BLS12-381 multi-scalar multiplication, {_POINTS:,} points",
}
_STREAMED: Final = ("keystream", "add", "sha256")


def _multiexp() -> Callable[[], object]:
    import py_arkworks_bls12381 as bls

    points = [bls.G1Point.hash_to_curve(number.to_bytes(4, "big"), b"benchmark") for number in range(_POINTS)]
    scalars = [bls.Scalar.from_le_bytes_mod_order(secrets.token_bytes(32)) for _ in range(_POINTS)]
    return lambda: bls.G1Point.multiexp_unchecked(points, scalars)


def _fsync() -> Callable[[], object]:
    file = tempfile.TemporaryFile(dir=Path(), buffering=0)  # noqa: SIM115 - open as long as the process

    def write() -> None:
        file.write(_PAGE)
        os.fsync(file.fileno())

    return write


def _operation(name: str) -> Callable[[], object]:
    """Made in the worker that runs it, and there only."""
    if name == "fsync":
        return _fsync()
    if name == "multiexp":
        return _multiexp()
    made: Callable[[], object] = getattr(Limits(np.ones(_ELEMENTS, dtype=np.float32)), name)
    return made


def rows(core: int, *, quick: bool = False) -> list[Row]:
    """All operations; the multi-scalar multiplication only where its library is installed.

    Args:
        core: to which processes are pinned.
        quick: one value of each, which says little.

    Raises:
        CellFailed: the processes did not come to an end.
    """
    with tempfile.TemporaryDirectory(prefix="secure-agg-bench-") as folder:
        found = Path(folder, "pyperf.json")
        effort = ["--debug-single-value"] if quick else ["--processes=3", "--values=3", "--warmups=1"]
        run_pyperf(_MODULE, [f"--affinity={core}", f"--output={found}", *effort])
        suite: Any = pyperf.BenchmarkSuite.load(str(found))
    return [_row(benchmark, core) for benchmark in suite.get_benchmarks()]


def _row(benchmark: Any, core: int) -> Row:
    name = benchmark.get_name()
    samples = Samples(tuple(benchmark.get_values()))
    streamed = name in _STREAMED
    return Row.timed(
        f"machine.{name}",
        _NAMES[name],
        samples,
        derived=ELEMENT_BYTES * _ELEMENTS / 1e9 / samples.median if streamed else 1 / samples.median,
        derived_unit="GB/s" if streamed else "/s",
        note=f"core {core}",
    )


def main() -> None:
    """pyperf's runner or one of its workers."""
    runner = pyperf.Runner(program_args=("-m", _MODULE), min_time=0.02)
    arguments = runner.parse_args()
    for place, name in enumerate(item for item in _NAMES if item != "multiexp" or find_spec(MULTIEXP)):
        mine = arguments.worker and arguments.worker_task == place
        runner.bench_func(name, _operation(name) if mine else float)


if __name__ == "__main__":
    main()
