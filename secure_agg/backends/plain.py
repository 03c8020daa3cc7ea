"""Backend ``plain``: hides nothing. The oracle of the tests and the baseline of the benchmarks.

Commitments, agreement, the aggregate check and the ledger are those of every backend, so what it costs
beside a bare sum is the price of verification, and what the others cost beside it is the price of hiding. Vectors
are packed as those of ``masking``.
"""

from __future__ import annotations

from collections.abc import Callable

from mpc.ring import Vector
from secure_agg.backends.contract import (
    AggregatorSide,
    Backend,
    ClientSide,
    Hidden,
    Joining,
    Once,
    Outcome,
    Phase,
    PhaseKind,
    Said,
    TrustStatement,
)
from secure_agg.backends.packed import carrier
from secure_agg.errors import MalformedMessage
from secure_agg.executing.vectors import Sum
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import EDGE, TOP
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY
from zk.commitment import Commitment

MASKED_INPUT = "masked-input"


class _Client(ClientSide):
    def __init__(self, config: RoundConfig) -> None:
        self._form = carrier(config)

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        return Joining(nonce)

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        return lambda vector: (b"", self._form.to_bytes(self._form.load(vector)))


class _Aggregator(AggregatorSide):
    def __init__(self, config: RoundConfig) -> None:
        self._context, self._form = config.context, carrier(config)
        self._sum = Sum(self._form.zero())

    def take(self, phase: str, said: Said) -> None:
        if said.part:
            raise MalformedMessage("backend 'plain' sends nothing of its own", phase=phase, culprit=said.name)
        if phase == MASKED_INPUT:
            vector = self._form.read(said.message.bulk, phase=phase, culprit=said.name)
            self._sum.add(self.executor, self._context, vector)

    def summed(self) -> Hidden:
        return bytes(self._form.to_bytes(self._sum.total))

    def restore(self, summed: bytes) -> None:
        self._sum = Sum(self._form.from_bytes(summed, phase=MASKED_INPUT))

    def outcome(self) -> Outcome:
        return Outcome(self._form.unload(self._sum.total, phase=MASKED_INPUT))


class PlainBackend(Backend):
    """No hiding at all: the aggregator reads every update."""

    name = "plain"
    trust = TrustStatement(
        summary="no hiding: oracle and baseline",
        trusted="the aggregator sees every update",
        dropouts="tolerated in every phase",
        post_quantum="nothing to break",
        limits="for tests and benchmarks; the result is verified as with every backend",
        hides=False,
    )
    levels = frozenset({EDGE, TOP})
    halves = True

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Masking's rules without its key exchange and unmasking."""
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(MASKED_INPUT, PhaseKind.INPUT),
            Phase(CONSISTENCY, PhaseKind.AGREE),
        )

    def hidden_sizes(self, config: RoundConfig) -> range:
        """One size, of the packed vector."""
        size = carrier(config).size
        return range(size, size + 1)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """Passes the vector through."""
        return _Client(config)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """Adds the vectors up."""
        return _Aggregator(config)
