"""``aggregate`` with many clients, in a process of its own: what one process takes that plays all of them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

import numpy as np

from benchmarks.results import Row, Target
from secure_agg.local.aggregate import aggregate

CELLS: Final = ((1_000, 10_000),)
"""Clients and parameters."""
_MOST_MS: Final = 120_000.0
_MOST_MB: Final = 2_000.0


def run(clients: int, params: int) -> Mapping[str, float]:
    """One round by ``masking``, here.

    Returns:
        ``cpu`` and ``wall``, seconds of the call; ``memory``, bytes that this process held at most since it began
        (Linux); ``verify`` and ``protect``, seconds of one client.
    """
    rng = np.random.default_rng(1)
    updates = {f"client-{i:05d}": [rng.standard_normal(params, dtype=np.float32)] for i in range(clients)}
    processor, wall = time.process_time(), time.perf_counter()
    stats = aggregate(updates).stats
    return {
        "cpu": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
        "memory": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    } | {name: stats[f"client.{name}_s"] for name in ("verify", "protect")}


def rows(clients: int, params: int) -> tuple[Row, Row]:
    """Processor seconds and memory of a round in a process that does nothing else.

    Raises:
        subprocess.CalledProcessError: it came to nothing.
    """
    command = [sys.executable, "-m", "benchmarks.scale.simulated", str(clients), str(params)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    found = json.loads(done.stdout)
    key, name = f"scale.simulated.{clients}x{params}", f"simulation of {clients:,} × {params:,}"
    large = clients >= CELLS[0][0]
    return (
        Row(
            key=f"{key}.cpu",
            name=f"{name}: processor time, all parties",
            unit="ms",
            median=1e3 * found["cpu"],
            derived=1e3 * found["cpu"] / clients,
            derived_unit="ms/client",
            targets=(Target("median", _MOST_MS),) if large else (),
            note=f"{found['wall']:.0f} s by the clock; a client's check of the result, one for all, "
            f"{1e3 * found['verify']:.1f} ms of its own",
        ),
        Row(
            key=f"{key}.memory",
            name=f"{name}: memory at most",
            unit="MB",
            median=found["memory"] / 1e6,
            targets=(Target("median", _MOST_MB),) if large else (),
        ),
    )


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
