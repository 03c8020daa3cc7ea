"""The aggregator in a real round in which a tenth of the clients fall silent before their masked input."""

from __future__ import annotations

import functools
import hashlib
import math
import time
import tracemalloc
from typing import Final

from benchmarks.federation import Federation, Options, update
from benchmarks.limits import Limits
from benchmarks.report.report import Row, Target
from benchmarks.timing import Samples, timed
from mpc import graph
from secure_agg.backends.masking.rules import MASKED_INPUT, UNMASK
from secure_agg.backends.packed import carrier
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.messages import Envelope
from secure_agg.roles.aggregator import Aggregator

_MEMORY_EVERY: Final = 8
_ROUND_MS: Final = 1_000.0
_MEANT: Final = (1_000_000, 100)
"""Parameters and clients that the target is for."""


class MeteredAggregator(Aggregator):
    """The aggregator, with a meter on each masked input that it takes.

    The first of every eight is metered for memory, which slows it, the others for time.

    Attributes:
        ingest: seconds of each.
        hashing: seconds of one SHA-256 over the same message, taken just before.
        kept: bytes that were allocated for one and are still held once the message itself has gone.
    """

    def __init__(self, federation: Federation) -> None:
        super().__init__(federation.operator, federation.config, federation.cohort)
        self.ingest: list[float] = []
        self.hashing: list[float] = []
        self.kept: list[int] = []

    def receive(self, data: bytes | memoryview) -> list[Envelope]:
        """As any aggregator."""
        if self.state != MASKED_INPUT:
            return super().receive(data)
        if (len(self.kept) + len(self.ingest)) % _MEMORY_EVERY == 0:
            return self._receive_traced(data)
        self.hashing.append(timed(lambda: hashlib.sha256(data).digest()))
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


def rows(options: Options) -> list[Row]:
    """One whole round with ``options.clients`` clients.

    Every client's part runs in this process too, one after the other; only the aggregator's seconds count.
    """
    values = update(options.params)
    federation = Federation.of(options.clients, options.params, options.bits)
    lost = _dropouts(federation)
    silent = dict.fromkeys(federation.names[:lost], MASKED_INPUT)
    aggregator = MeteredAggregator(federation)
    local = LocalRound(aggregator, federation.clients(), federation.updates(values), silent=silent)
    local.run()
    stats = local.stats()
    unmask = Samples((stats[f"aggregator.{UNMASK}_s"] - stats["verify_s"],))
    survivors = options.clients - lost
    ingest = Samples(tuple(aggregator.ingest))
    vector_bytes = carrier(federation.config).size
    kept = sorted(aggregator.kept)
    cohort = f"{options.clients} clients, {lost} lost before the masked input"
    return [
        Row.timed(
            "aggregator.ingest",
            "aggregator: take one masked input",
            ingest,
            derived=1e9 * ingest.median / options.params,
            derived_unit="ns/param",
            peer=("SHA-256 of the message", Samples(tuple(aggregator.hashing))),
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
            Samples((stats[f"aggregator.{MASKED_INPUT}_s"],)),
            note=f"{survivors} of {cohort}",
        ),
        _unmask(options, survivors * (1 + lost), unmask, Limits(values), cohort),
        Row.timed("aggregator.verify", "aggregator: final check, signatures included", Samples((stats["verify_s"],))),
        Row.timed(
            "aggregator.total",
            "aggregator: whole round",
            Samples((stats["aggregator.total_s"],)),
            targets=(Target("median", _ROUND_MS),) if (options.params, options.clients) == _MEANT else (),
            note=cohort,
        ),
    ]


def _unmask(options: Options, streams: int, seconds: Samples, machine: Limits, note: str) -> Row:
    """``streams``: of each survivor its own mask, and on a complete graph its mask with each client that is lost."""
    key, name = "aggregator.unmask", "aggregator: unmask"
    if options.clients > graph.COMPLETE_UP_TO:
        return Row.timed(key, name, seconds, note=note)
    floor = Samples((timed(functools.partial(machine.masking, streams)),))
    return Row.timed(
        key,
        name,
        seconds,
        derived=1e9 * seconds.median / (options.params * streams),
        derived_unit="ns/param/stream",
        peer=(f"{streams} × (keystream + addition), all cores", floor),
        note=note,
    )
