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
    Once,
    Phase,
    PhaseKind,
    Session,
    TrustStatement,
)
from secure_agg.backends.packed import carrier
from secure_agg.errors import MalformedMessage
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, Message

MASKED_INPUT = "masked-input"


def _empty(part: bytes, phase: str, name: str) -> None:
    if part:
        raise MalformedMessage("backend 'plain' sends nothing of its own", phase=phase, culprit=name)


class _Client(ClientSide):
    def __init__(self, config: RoundConfig) -> None:
        self._form = carrier(config)

    def advertise(self) -> bytes:
        return b""

    def begin(self, session: Session) -> None:
        pass

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        return lambda vector: (b"", self._form.to_bytes(self._form.load(vector)))

    def agree(self, survivors: tuple[str, ...]) -> None:
        pass


class _Aggregator(AggregatorSide):
    def __init__(self, config: RoundConfig) -> None:
        self._form = carrier(config)
        self._sum = self._form.zero()

    def receive_advertisement(self, name: str, part: bytes) -> None:
        _empty(part, ADVERTISE, name)

    def begin(self, session: Session) -> None:
        pass

    def receive_input(self, name: str, part: bytes, message: Message, nonce: bytes) -> None:
        _empty(part, MASKED_INPUT, name)
        self._form.add(self._sum, message.bulk, phase=MASKED_INPUT, culprit=name)

    def agree(self, survivors: tuple[str, ...]) -> None:
        pass

    def total(self) -> Vector:
        return self._form.unload(self._sum, phase=MASKED_INPUT)


class PlainBackend(Backend):
    """No hiding at all: the aggregator reads every update."""

    name = "plain"
    hides = False
    trust = TrustStatement(
        summary="no hiding: oracle and baseline",
        trusted="the aggregator sees every update",
        dropouts="tolerated in every phase",
        post_quantum="nothing to break",
        limits="for tests and benchmarks; the result is verified as with every backend",
    )

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Masking's rules without its key exchange and unmasking."""
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(MASKED_INPUT, PhaseKind.INPUT),
            Phase(CONSISTENCY, PhaseKind.AGREE),
        )

    def check_advertisement(self, name: str, part: bytes) -> None:
        """There is no public part."""
        _empty(part, ADVERTISE, name)

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
