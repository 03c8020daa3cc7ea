"""Peak memory of one of the aggregators of backend ``additive`` in a whole round, in a fresh process.

The process first runs a small round, so that everything is compiled. Messages come as copies, so what is kept of them
counts. The aggregator is the median one: some clients send it long shares, others keys.
"""

from __future__ import annotations

from typing import Final

from benchmarks.measure.memory import in_fresh_process
from benchmarks.measure.round import drawn, measure
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.round import federation_for
from benchmarks.results import Row
from mpc.ring import ELEMENT_BYTES

_WARM_PARAMS: Final = 10_000
_MB: Final = 1_000_000


def _peak(options: MpcOptions) -> int:
    for params in (_WARM_PARAMS, options.params):
        measured = measure(federation_for(options, params), drawn(options.clients, params), memory=True)
    return round(max(measured.memory(measured.operators).values()))


def rows(options: MpcOptions) -> list[Row]:
    """One row."""
    grown, size = in_fresh_process(_peak, options), ELEMENT_BYTES * options.params / _MB
    return [
        Row(
            key="memory.holder",
            name="aggregator: the most memory it holds in a round",
            unit="MB",
            median=grown,
            derived=_MB * grown / options.params,
            derived_unit="B/param",
            peer="one vector",
            peer_median=size,
            ratio=grown / size,
            note=f"{options.clients} clients; long shares are kept sealed until the set is signed",
        )
    ]
