"""What a round is measured with, a setting, and what a round with it costs each role in each phase."""

from __future__ import annotations

import functools
import operator
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.load import Load
from benchmarks.timing import Samples

CLIENT: Final = "client"
AGGREGATOR: Final = "aggregator"
ENCODE: Final = "encode"
COMMIT: Final = "commit"
VERIFY: Final = "verify"
RESULT: Final = "result"
"""The aggregator hands the result out."""
VERIFICATION: Final = (COMMIT, VERIFY)
"""Phases that a round without verification would not have."""
PROVED: Final = "proved"
SCREENED: Final = "screened"
NORMS: Final = ("", PROVED, SCREENED)
"""What clients show of their norms: nothing, a proof, or a proof whose input is screened as well."""


@dataclass(frozen=True, order=True)
class Setting:
    """One cell of the matrix.

    Attributes:
        backend: its name.
        params: model parameters.
        clients: in the cohort.
        bits: per value.
        lost: percent of the clients that fall silent, rounded down to whole clients.
        norms: one of ``NORMS``.
    """

    backend: str
    params: int
    clients: int
    bits: int
    lost: int
    norms: str = ""

    @property
    def key(self) -> str:
        """Its name in files."""
        shown = f".{self.norms}" if self.norms else ""
        return f"{self.backend}.d{self.params}.n{self.clients}.q{self.bits}.l{self.lost}{shown}"

    @property
    def silent(self) -> int:
        """How many clients fall silent."""
        return self.clients * self.lost // 100

    @property
    def survivors(self) -> int:
        """How many clients stay until the end."""
        return self.clients - self.silent

    @property
    def point(self) -> str:
        """All but the backend, for people."""
        gone = f", {self.silent} lost" if self.silent else ""
        shown = f", norms {self.norms}" if self.norms else ""
        return f"{self.params:,} parameters, {self.clients} clients, {self.bits} bits{gone}{shown}"

    def __str__(self) -> str:
        return f"{self.backend}: {self.point}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one party of a role does in one phase: means over the parties of that role that took part.

    Attributes:
        role: ``client``, ``aggregator``, ``keyholder`` or ``shareholder``.
        phase: of the backend; or ``encode``, ``commit``, ``verify`` and ``result``, which are apart from the phases.
        seconds: one for each round, by the clock.
        sent: bytes.
        received: bytes.
        memory: bytes of resident memory that the party held at most, above what was there before the round; None where
            it was not metered.
        processor: seconds of processor time, one for each round; empty in files that do not have them.
    """

    role: str
    phase: str
    seconds: tuple[float, ...]
    sent: float = 0.0
    received: float = 0.0
    memory: float | None = None
    processor: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting's costs.

    Attributes:
        setting: what was run.
        parties: how many of each role there are.
        costs: role by role, phase by phase in their order.
        rounds: seconds of whole rounds, all parties one after another, as the timing library has them.
        plain: what FedAvg without any protection takes for the same updates, after each round.
        error: largest difference of the average from numpy's in float64.
        bound: what the codec promises that it is at most.
        training: seconds of one client's local training of a model of this size, after each round; empty in files of
            the first format, which do not have it.
        load: of the machine while the rounds ran; None where it is not known.

    Raises:
        ValueError: there is no round, or something was not measured in every round.
    """

    setting: Setting
    parties: Mapping[str, int]
    costs: tuple[Cost, ...]
    rounds: tuple[float, ...]
    plain: tuple[Cost, ...]
    error: float
    bound: float
    training: tuple[float, ...] = ()
    load: Load | None = None

    def __post_init__(self) -> None:
        rounds = len(self.rounds)
        counts = {len(cost.seconds) for cost in (*self.costs, *self.plain)} | {len(self.training) or rounds}
        if not rounds or counts != {rounds}:
            raise ValueError(f"cell {self.setting.key}: {rounds} rounds, but its parts have {sorted(counts)} samples")

    @property
    def roles(self) -> tuple[str, ...]:
        """In the order of the costs."""
        return tuple(dict.fromkeys(cost.role for cost in self.costs))

    def of(self, role: str) -> tuple[Cost, ...]:
        """One role's costs."""
        return tuple(cost for cost in self.costs if cost.role == role)

    def samples(self, role: str, *, verified: bool = True) -> tuple[float, ...]:
        """Seconds of one party of a role, round by round; without commitments and checks if not ``verified``."""
        return added(cost for cost in self.of(role) if verified or cost.phase not in VERIFICATION)

    def seconds(self, role: str, *, verified: bool = True) -> float:
        """The median of ``samples``."""
        return statistics.median(self.samples(role, verified=verified))

    def plain_seconds(self, role: str) -> float:
        """Of one party in plain FedAvg."""
        return statistics.median(added(cost for cost in self.plain if cost.role == role))

    def memory(self, role: str) -> float | None:
        """The most of all its phases, in bytes."""
        return max((cost.memory for cost in self.of(role) if cost.memory is not None), default=None)

    @property
    def work(self) -> Samples:
        """Seconds of all parties together, round by round."""
        return _sum(Samples(self.samples(role)).scaled(self.parties[role]) for role in self.roles)

    @property
    def beside_plain(self) -> Samples:
        """The work of all parties as a multiple of plain FedAvg's, round by round."""
        client, aggregator = (
            Samples(added(cost for cost in self.plain if cost.role == role)) for role in (CLIENT, AGGREGATOR)
        )
        return self.work.over(client.scaled(self.setting.survivors) + aggregator)

    @property
    def overhead(self) -> float:
        """Times the work of plain FedAvg: the median of ``beside_plain``."""
        return self.beside_plain.median

    @property
    def beside_training(self) -> Samples | None:
        """The same as a multiple of what local training takes all clients that stay; None where it was not measured."""
        if not self.training:
            return None
        return self.work.over(Samples(self.training).scaled(self.setting.survivors))

    @property
    def sent(self) -> float:
        """Bytes that a client sends which stays until the end."""
        return sum(cost.sent for cost in self.of(CLIENT))

    @property
    def received(self) -> float:
        """Bytes that a client receives which stays until the end, the result among them."""
        return sum(cost.received for cost in self.of(CLIENT))


def _sum(samples: Iterable[Samples]) -> Samples:
    return functools.reduce(operator.add, samples)


def added(costs: Iterable[Cost]) -> tuple[float, ...]:
    """Seconds of several costs together, round by round."""
    return tuple(map(sum, zip(*(cost.seconds for cost in costs), strict=True)))
