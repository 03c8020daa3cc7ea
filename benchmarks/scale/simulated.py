"""Rounds of many clients in a process of its own: what one process takes that plays all of them.

Three ways to have very many: all in one round on a sparse graph, a drawn cohort of them, and two levels of which the
edges are drawn. In each everybody who takes part plays its whole part; of what all of them are shown alike one checks
it for all.
"""

from __future__ import annotations

import hashlib
import json
import math
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from benchmarks.results import Row, Target
from benchmarks.trees.whole import play
from secure_agg.beacon.recorded import record
from secure_agg.local.aggregate import aggregate

FLAT: Final = "flat"
SAMPLED: Final = "sampled"
TREE: Final = "tree"
CELLS: Final = ((FLAT, 1_000, 10_000), (SAMPLED, 10_000, 10_000), (TREE, 10_000, 10_000))
"""In which way, clients and parameters."""
QUICK: Final = (SAMPLED,)
"""What takes seconds, however many clients there are."""
SAMPLE: Final = 200
CORRUPT: Final = 0.05
"""Of all clients, at most."""
_MOST_MS: Final = {FLAT: 120_000.0}
_MOST_MB: Final = {FLAT: 2_000.0}
_MOST_KB: Final = 160.0
"""That one of 1,000 clients of a flat round receives before the result."""


def run(way: str, clients: int, params: int) -> Mapping[str, float]:
    """One round by ``masking``, here.

    Returns:
        ``cpu`` and ``wall``, seconds of the call; ``memory``, bytes that this process held at most since it began
        (Linux); of a flat round ``verify`` and ``protect``, seconds of one client, and ``received``, bytes before the
        result.
    """
    rng, names = np.random.default_rng(1), [f"client-{i:05d}" for i in range(clients)]
    processor, wall = time.process_time(), time.perf_counter()
    more: Mapping[str, float] = {}
    if way == FLAT:
        stats = aggregate({name: [rng.standard_normal(params, dtype=np.float32)] for name in names}).stats
        more = {name: stats[f"client.{name}_s"] for name in ("verify", "protect")}
        more |= {"received": stats["client.download_bytes"]}
    elif way == SAMPLED:
        update = rng.standard_normal(params, dtype=np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a chain of one's own keeps no time
            result = aggregate(
                {name: [update] for name in names},
                sample=min(SAMPLE, clients * 4 // 5),
                corruption_rate=CORRUPT if clients > SAMPLE else 0.0,
                beacon=record(range(1, 65), step=1, secret=hashlib.sha256(b"benchmark chain").digest()),
            )
        more = {"drawn": float(result.record.cohort_size)}
    else:
        edges = max(2, round(math.sqrt(clients)))
        verified = play(names, rng.standard_normal(params, dtype=np.float32), edges)
        more = {"edges": float(len(verified.edges))}
    return {
        "cpu": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
        "memory": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    } | more


def name_of(way: str, clients: int, params: int) -> str:
    """A cell, in words."""
    how = {FLAT: "in one round", SAMPLED: "of whom a beacon draws some", TREE: "in two levels"}
    return f"simulation of {clients:,} × {params:,} {how[way]}"


def rows(way: str, clients: int, params: int) -> Iterator[Row]:
    """Processor seconds and memory of a round in a process that does nothing else.

    Raises:
        subprocess.CalledProcessError: it came to nothing.
    """
    command = [sys.executable, "-m", "benchmarks.scale.simulated", way, str(clients), str(params)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    found = json.loads(done.stdout)
    key = f"scale.simulated.{'' if way == FLAT else way + '.'}{clients}x{params}"
    name, large = name_of(way, clients, params), (way, clients, params) in CELLS
    note = f"{found['wall']:.0f} s by the clock"
    if way == FLAT:
        note += f"; a client's check of the result, one for all, {1e3 * found['verify']:.1f} ms of its own"
    elif way == SAMPLED:
        note += f"; {found['drawn']:.0f} are drawn"
    else:
        note += f"; {found['edges']:.0f} edges"
    yield Row(
        key=f"{key}.cpu",
        name=f"{name}: processor time, all parties",
        unit="ms",
        median=1e3 * found["cpu"],
        derived=1e3 * found["cpu"] / clients,
        derived_unit="ms/client",
        targets=(Target("median", _MOST_MS[way]),) if large and way in _MOST_MS else (),
        note=note,
    )
    yield Row(
        key=f"{key}.memory",
        name=f"{name}: memory at most",
        unit="MB",
        median=found["memory"] / 1e6,
        targets=(Target("median", _MOST_MB[way]),) if large and way in _MOST_MB else (),
    )
    if way == FLAT:
        yield Row(
            key=f"{key}.received",
            name=f"{name}: one client receives before the result",
            unit="kB",
            median=found["received"] / 1e3,
            targets=(Target("median", _MOST_KB),) if large else (),
        )


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], *map(int, sys.argv[2:]))))
