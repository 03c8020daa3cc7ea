"""The aggregator in real rounds in which a tenth of the clients fall silent before their masked input.

The first round compiles and takes its pages from the system; none of its seconds count. What is kept of a masked input
is metered in a process of its own.
"""

from __future__ import annotations

import functools
import hashlib
import math
import statistics
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import OPERATOR, Federation, Options, update
from benchmarks.limits import Limits
from benchmarks.measure.cells import AGGREGATOR, VERIFY
from benchmarks.measure.memory import in_fresh_process
from benchmarks.measure.meter import Beside, Call
from benchmarks.measure.round import Measured, measure
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved, timed
from mpc import graph
from secure_agg.backends.masking.rules import MASKED_INPUT, UNMASK
from secure_agg.backends.packed import carrier

_MOST_ROUNDS: Final = 3
"""Rounds that count, or fewer where fewer repetitions are wanted: each has all of its clients' work in it."""
_ROUND_MS: Final = 1_000.0
_WARM_PARAMS: Final = 1_000
_MEANT: Final = (1_000_000, 100)
"""Parameters and clients that the target is for."""


def _dropouts(federation: Federation) -> int:
    """A tenth of the clients, at least one if the policy lets the round go on without it."""
    n, policy = len(federation.names), federation.config.policy
    spare = n - max(policy.min_clients, policy.quorum(n))
    return min(spare, max(1, math.floor(n * graph.EXPECTED_DROPOUT)))


class Hashing:
    """One SHA-256 over every masked input, taken just before the aggregator takes it.

    Attributes:
        seconds: of each.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def beside(self, role: str, party: str, phase: str, message: bytes) -> None:
        """See ``meter.Beside``."""
        if (role, phase) == (AGGREGATOR, MASKED_INPUT):
            self.seconds.append(timed(lambda: hashlib.sha256(message).digest()))


def _round(
    federation: Federation, values: npt.NDArray[np.float32], *, memory: bool = False, beside: Beside | None = None
) -> Measured:
    silent = dict.fromkeys(federation.names[: _dropouts(federation)], MASKED_INPUT)
    updates = [values for _ in federation.names]
    return measure(federation, updates, silent=silent, memory=memory, beside=beside)


def inputs(measured: Measured) -> tuple[Call, ...]:
    """The calls in which the aggregator took a masked input."""
    return tuple(call for call in measured.of(AGGREGATOR, MASKED_INPUT) if call.method == "receive")


def kept(measured: Measured) -> float:
    """Bytes that are still there for a masked input once the message itself has gone, mean; without the first input,
    for which the sum is made.
    """
    return max(0.0, statistics.fmean(call.kept for call in inputs(measured)[1:]))


def _kept(options: Options) -> int:
    for params in (min(_WARM_PARAMS, options.params), options.params):
        federation = Federation.of(options.clients, params, options.bits)
        measured = _round(federation, update(params), memory=True)
    return round(kept(measured))


def rows(options: Options) -> list[Row]:
    """Whole rounds with ``options.clients`` clients.

    Every client's part runs in this process too, one after the other; only the aggregator's seconds count.
    """
    values = update(options.params)
    federation = Federation.of(options.clients, options.params, options.bits)
    left = in_fresh_process(_kept, options) * 1e6
    _round(federation, values)  # compiles, and takes its pages from the system
    hashing = Hashing()
    rounds = [_round(federation, values, beside=hashing.beside) for _ in range(min(options.repeat, _MOST_ROUNDS))]

    def seconds(phase: str) -> Samples:
        return Samples(tuple(one.seconds(AGGREGATOR, phase) or 0.0 for one in rounds))

    checks = Samples(tuple(one.timings[OPERATOR][VERIFY] for one in rounds))
    lost = _dropouts(federation)
    survivors = options.clients - lost
    ingest = Samples(tuple(call.wall for one in rounds for call in inputs(one)))
    unmask = Samples(tuple(whole - check for whole, check in zip(seconds(UNMASK).seconds, checks.seconds, strict=True)))
    vector_bytes = carrier(federation.config).size
    cohort = f"{options.clients} clients, {lost} lost before the masked input"
    return [
        Row.timed(
            "aggregator.ingest",
            "aggregator: take one masked input",
            ingest,
            derived=1e9 * ingest.median / options.params,
            derived_unit="ns/param",
            peer=("SHA-256 of the message", Samples(tuple(hashing.seconds))),
        ),
        Row(
            key="aggregator.kept",
            name="aggregator: memory kept for a masked input",
            unit="bytes",
            median=left,
            samples=survivors,
            peer="the masked vector",
            peer_median=vector_bytes,
            ratio=left / vector_bytes,
            targets=(Target("ratio", 0.1),),
        ),
        Row.timed(
            "aggregator.ingest_total",
            "aggregator: take all masked inputs",
            seconds(MASKED_INPUT),
            note=f"{survivors} of {cohort}, after a round that warms up",
        ),
        _unmask(options, survivors * (1 + lost), unmask, Limits(values), cohort),
        Row.timed("aggregator.verify", "aggregator: final check, signatures included", checks),
        Row.timed(
            "aggregator.total",
            "aggregator: whole round",
            Samples(tuple(one.total(AGGREGATOR) for one in rounds)),
            targets=(Target("median", _ROUND_MS),) if (options.params, options.clients) == _MEANT else (),
            note=cohort,
        ),
    ]


def _unmask(options: Options, streams: int, seconds: Samples, machine: Limits, note: str) -> Row:
    """``streams``: of each survivor its own mask, and on a complete graph its mask with each client that is lost."""
    key, name = "aggregator.unmask", "aggregator: unmask"
    if options.clients > graph.COMPLETE_UP_TO:
        return Row.timed(key, name, seconds, note=note)
    masking = {name: functools.partial(machine.masking, streams)}
    floor = interleaved(masking, len(seconds.seconds))[name]
    return Row.timed(
        key,
        name,
        seconds,
        derived=1e9 * seconds.median / (options.params * streams),
        derived_unit="ns/param/stream",
        peer=(f"{streams} × (keystream + addition), all cores", floor),
        note=note,
    )
