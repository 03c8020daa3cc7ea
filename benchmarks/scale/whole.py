"""Single large rounds: everything of all parties in this process, as far as its memory goes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.federation import Federation, update
from benchmarks.measure.cells import AGGREGATOR, CLIENT
from benchmarks.measure.round import measure
from benchmarks.results import Row
from benchmarks.scale.growth import parts_of
from secure_agg.executing import Executor
from secure_agg.protocol.codec import FixedPoint

CELLS: Final = ((100, 10_000_000), (10, 100_000_000), (1_000, 1_000_000))
"""Clients and parameters."""
_PART: Final = 0.7
"""Of the memory that is free: what a round may take."""


def needed(clients: int, params: int) -> int:
    """Bytes: each client's vector until it is hidden, and some 15 more vectors of update, messages, sum and result."""
    return 4 * params * (clients + 15) + 4 * params * 4


def free() -> int:
    """Bytes of memory that can be had without swapping (Linux)."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def rows(cells: Sequence[tuple[int, int]], executor: Executor) -> Iterator[Row | str]:
    """One round of each; what does not fit is said."""
    for clients, params in cells:
        if needed(clients, params) > _PART * free():
            yield (
                f"{clients:,} × {params:,}: takes some {needed(clients, params) / 1e9:.0f} GB, "
                f"{free() / 1e9:.0f} GB are free"
            )
            continue
        yield from _round(clients, params, executor)


def _round(clients: int, params: int, executor: Executor) -> Iterator[Row]:
    values = update(params)
    federation = Federation.of(clients, params)
    measured = measure(federation, [values] * clients, executor=executor)
    mean, config = measured.verified.average[0], federation.config
    bound = FixedPoint.of(config).error_bound(clients, clients)
    limited = np.clip(values.astype(np.float64), -config.policy.clip, config.policy.clip)
    if float(np.abs(mean - limited).max()) > bound:
        raise ValueError(f"the mean of {clients} × {params} is off by more than {bound}")
    parts = parts_of(measured)
    key, name = f"scale.{clients}x{params}", f"{clients:,} × {params:,}"
    yield Row(
        key=key,
        name=f"{name}: the aggregator, whole round, {executor!r}",
        unit="ms",
        median=1e3 * measured.total(AGGREGATOR),
        derived=1e9 * measured.total(AGGREGATOR) / (clients * params),
        derived_unit="ns/value",
        peer="one client",
        peer_median=1e3 * measured.total(CLIENT),
        note="processor seconds: "
        + ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())
        + f"; all parties one after another {measured.wall:.0f} s",
    )
