"""The aggregator in real rounds in which a tenth of the clients fall silent before their masked input.

The first round compiles, takes its pages from the system, and is metered for memory, which slows it; none of its
seconds count. In the rounds after it nothing but time is metered.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import Federation, Options, update
from benchmarks.limits import Limits
from benchmarks.report.report import Row, Target
from benchmarks.timing import Samples, interleaved, timed
from mpc import graph
from secure_agg.backends.masking.rules import MASKED_INPUT, UNMASK
from secure_agg.backends.packed import carrier
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.messages import Envelope, Incoming, Received
from secure_agg.roles.aggregator import Aggregator

_MEMORY_EVERY: Final = 8
_MOST_ROUNDS: Final = 3
"""Rounds that count, or fewer where fewer repetitions are wanted: each has all of its clients' work in it."""
_ROUND_MS: Final = 1_000.0
_MEANT: Final = (1_000_000, 100)
"""Parameters and clients that the target is for."""


class MeteredAggregator(Aggregator):
    """The aggregator, with a meter on the masked inputs that it takes.

    Attributes:
        ingest: seconds of each, where time is metered.
        hashing: seconds of one SHA-256 over the same message, taken just before.
        kept: where memory is metered, of the first of every eight: bytes that were allocated for it and are still held
            once the message itself has gone.
    """

    def __init__(self, federation: Federation, *, memory: bool) -> None:
        """``memory``: meter memory and not time."""
        super().__init__(federation.operator, federation.config, federation.cohort)
        self._memory, self._taken = memory, 0
        self.ingest: list[float] = []
        self.hashing: list[float] = []
        self.kept: list[int] = []

    def receive(self, data: Incoming) -> list[Envelope]:
        """As any aggregator."""
        if self.state != MASKED_INPUT:
            return super().receive(data)
        raw = data.data if isinstance(data, Received) else data
        if self._memory:
            self._taken += 1
            return super().receive(data) if self._taken % _MEMORY_EVERY != 1 else self._receive_traced(raw)
        self.hashing.append(timed(lambda: hashlib.sha256(raw).digest()))
        start = time.perf_counter()
        sent = super().receive(data)
        self.ingest.append(time.perf_counter() - start)
        return sent

    def _receive_traced(self, data: bytes | memoryview) -> list[Envelope]:
        tracemalloc.start()
        try:
            # A copy under the tracer stands for the transport's buffer: if a view of it is kept, all of it is.
            arrived = bytearray(data)
            sent = super().receive(memoryview(arrived))
            del arrived
            self.kept.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        return sent


def _dropouts(federation: Federation) -> int:
    """A tenth of the clients, at least one if the policy lets the round go on without it."""
    n, policy = len(federation.names), federation.config.policy
    spare = n - max(policy.min_clients, policy.quorum(n))
    return min(spare, max(1, math.floor(n * graph.EXPECTED_DROPOUT)))


@dataclass(frozen=True)
class _Round:
    """One whole round with a meter: the aggregator after it, and its own and others' figures."""

    aggregator: MeteredAggregator
    stats: Mapping[str, float]

    @property
    def unmask(self) -> float:
        """Seconds, without the final check, which is part of that phase."""
        return self.stats[f"aggregator.{UNMASK}_s"] - self.stats["verify_s"]


def _round(federation: Federation, values: npt.NDArray[np.float32], *, memory: bool) -> _Round:
    silent = dict.fromkeys(federation.names[: _dropouts(federation)], MASKED_INPUT)
    aggregator = MeteredAggregator(federation, memory=memory)
    local = LocalRound(aggregator, federation.clients(), federation.updates(values), silent=silent)
    local.run()
    return _Round(aggregator, local.stats())


def rows(options: Options) -> list[Row]:
    """Whole rounds with ``options.clients`` clients.

    Every client's part runs in this process too, one after the other; only the aggregator's seconds count.
    """
    values = update(options.params)
    federation = Federation.of(options.clients, options.params, options.bits)
    kept = sorted(_round(federation, values, memory=True).aggregator.kept)
    rounds = [_round(federation, values, memory=False) for _ in range(min(options.repeat, _MOST_ROUNDS))]

    def seconds(name: str) -> Samples:
        return Samples(tuple(each.stats[name] for each in rounds))

    lost = _dropouts(federation)
    survivors = options.clients - lost
    ingest = Samples(tuple(itertools.chain(*(each.aggregator.ingest for each in rounds))))
    hashing = Samples(tuple(itertools.chain(*(each.aggregator.hashing for each in rounds))))
    unmask = Samples(tuple(each.unmask for each in rounds))
    vector_bytes = carrier(federation.config).size
    cohort = f"{options.clients} clients, {lost} lost before the masked input"
    return [
        Row.timed(
            "aggregator.ingest",
            "aggregator: take one masked input",
            ingest,
            derived=1e9 * ingest.median / options.params,
            derived_unit="ns/param",
            peer=("SHA-256 of the message", hashing),
        ),
        Row(
            key="aggregator.kept",
            name="aggregator: memory kept for a masked input",
            unit="bytes",
            median=kept[len(kept) // 2],
            spread=(kept[len(kept) // 4], kept[3 * len(kept) // 4]),
            samples=len(kept),
            peer="the masked vector",
            peer_median=vector_bytes,
            ratio=kept[len(kept) // 2] / vector_bytes,
            targets=(Target("ratio", 0.1),),
        ),
        Row.timed(
            "aggregator.ingest_total",
            "aggregator: take all masked inputs",
            seconds(f"aggregator.{MASKED_INPUT}_s"),
            note=f"{survivors} of {cohort}, after a round that warms up",
        ),
        _unmask(options, survivors * (1 + lost), unmask, Limits(values), cohort),
        Row.timed("aggregator.verify", "aggregator: final check, signatures included", seconds("verify_s")),
        Row.timed(
            "aggregator.total",
            "aggregator: whole round",
            seconds("aggregator.total_s"),
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
