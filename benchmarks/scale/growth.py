"""The aggregator in whole rounds with a tenth of the clients lost, over four sizes of models and four of cohorts.

Its work falls into parts that each grow with one amount: taking inputs (with coordinates that arrive), removing masks
(with coordinates of streams), the check of the result (with the model's coordinates, and its signatures with the
clients), and what is relayed and signed (with the cohort). A law for each, fitted to processor seconds, says what a
larger round takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.federation import OPERATOR, Federation, update
from benchmarks.measure.cells import AGGREGATOR, CLIENT, VERIFY
from benchmarks.measure.round import Measured, measure
from benchmarks.results import Row
from benchmarks.scale.laws import Law, Terms
from mpc import graph
from secure_agg.backends.masking.rules import MASKED_INPUT, UNMASK
from secure_agg.executing import Executor
from secure_agg.planning.coefficients import shipped
from secure_agg.planning.prediction import predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Policy

TARGET: Final = (10_000, 1_000_000)
"""Clients and parameters of the round that is predicted."""
BITS: Final = 13
"""Per value: the most that so many clients' sums leave. All rounds have them, and room for as many clients, so that
their vectors have the same form.
"""


@dataclass(frozen=True)
class Point:
    """One round.

    Attributes:
        clients, params: its size.
        lost: clients that fell silent before their input.
        seconds: of the aggregator's processor, by part.
        received: bytes that one client receives before the result.
    """

    clients: int
    params: int
    lost: int
    seconds: dict[str, float]
    received: float = 0.0

    @property
    def survivors(self) -> int:
        """Whose inputs are in the sum."""
        return self.clients - self.lost

    @property
    def streams(self) -> int:
        """Mask streams that the aggregator removes."""
        return streams(self.clients, self.lost)


def lost_of(clients: int) -> int:
    """A tenth, rounded down, but one at least."""
    return max(1, math.floor(clients * graph.EXPECTED_DROPOUT))


def streams(clients: int, lost: int) -> int:
    """One for each survivor, and one for each edge between a survivor and a client that is lost. On a sparse graph each
    client chooses so many and is chosen by as many.
    """
    survivors = clients - lost
    if clients <= graph.COMPLETE_UP_TO:
        return survivors * (1 + lost)
    found = graph.degree(clients, Policy.default(clients).max_corrupt, lost)
    edges = min(clients - 1, 2 * found.neighbours) if found else clients - 1
    return round(survivors + lost * edges * survivors / clients)


def parts_of(measured: Measured) -> dict[str, float]:
    """The aggregator's processor seconds: ``ingest``, ``unmask``, ``verify`` and ``relay``, the rest."""
    calls = measured.of(AGGREGATOR)
    total = sum(call.processor for call in calls if call.phase != "result")
    ingest = sum(call.processor for call in calls if (call.phase, call.method) == (MASKED_INPUT, "receive"))
    last = sum(call.processor for call in calls if (call.phase, call.method) == (UNMASK, "advance"))
    wall = sum(call.wall for call in calls if (call.phase, call.method) == (UNMASK, "advance"))
    # The check is a part of the last call, by the role's own clock; its processor time in the same proportion.
    check = min(last, measured.timings[OPERATOR][VERIFY] * last / wall) if wall else 0.0
    return {"ingest": ingest, "unmask": last - check, "verify": check, "relay": total - ingest - last}


def point(clients: int, params: int, executor: Executor, repeat: int) -> Point:
    """Run it; the least of each part, which others' work on the machine has touched least."""
    lost, values, seen = lost_of(clients), update(params), list[dict[str, float]]()
    for _ in range(repeat):
        federation = Federation.of(clients, params, BITS, headroom=TARGET[0])
        silent = dict.fromkeys(federation.names[:lost], MASKED_INPUT)
        measured = measure(federation, [values] * clients, silent=silent, executor=executor)
        seen.append(parts_of(measured))
    received = sum(measured.received(CLIENT, phase) for phase in measured.phases)
    return Point(clients, params, lost, {part: min(one[part] for one in seen) for part in seen[0]}, received)


@dataclass(frozen=True)
class Part:
    """How one part of the work grows.

    Attributes:
        law: where it was measured.
        terms: for beyond.
        largest: the size that was measured last, and its seconds.
    """

    law: Law
    terms: Terms
    largest: tuple[float, float]

    @staticmethod
    def of(
        points: Sequence[Point], size: Callable[[Point], float], value: Callable[[Point], float], *powers: int
    ) -> Part:
        """Fit to points in the order of their sizes."""
        sizes, values = [float(size(one)) for one in points], [max(value(one), 1e-6) for one in points]
        return Part(Law.of(sizes, values), Terms.of(sizes, values, powers), (sizes[-1], values[-1]))

    def __str__(self) -> str:
        return f"{self.law}; {self.terms}"


@dataclass(frozen=True)
class Growth:
    """The parts of an aggregator's work.

    Attributes:
        input: seconds of one input, by parameters.
        stream: seconds of removing masks, by streams × parameters.
        check: of the result, by parameters.
        member: the same, by clients.
        relay: the rest, by clients; everybody is sent a quorum of signatures, so a part of it is a square.
    """

    input: Part
    stream: Part
    check: Part
    member: Part
    relay: Part

    @staticmethod
    def of(models: Sequence[Point], cohorts: Sequence[Point]) -> Growth:
        """Fit: ``models`` differ in parameters, ``cohorts`` in clients."""
        return Growth(
            input=Part.of(models, lambda one: one.params, lambda one: one.seconds["ingest"] / one.survivors, 0, 1),
            stream=Part.of(models, lambda one: one.streams * one.params, lambda one: one.seconds["unmask"], 0, 1),
            check=Part.of(models, lambda one: one.params, lambda one: one.seconds["verify"], 0, 1),
            member=Part.of(cohorts, lambda one: one.clients, lambda one: one.seconds["verify"], 0, 1),
            relay=Part.of(cohorts, lambda one: one.clients, lambda one: one.seconds["relay"], 1, 2),
        )

    def predict(self, clients: int, params: int) -> dict[str, float]:
        """Processor seconds of each part of a round with a tenth of the clients lost, by terms."""
        lost = lost_of(clients)
        return {
            "ingest": (clients - lost) * self.input.terms.at(params),
            "unmask": self.stream.terms.at(streams(clients, lost) * params),
            "verify": self.check.terms.at(params) + self.member.terms.at(clients),
            "relay": self.relay.terms.at(clients),
        }


def rows(
    params: Sequence[int], few: int, clients: Sequence[int], short: int, executor: Executor, repeat: int
) -> Iterator[Row]:
    """The laws, and the round that they predict.

    Args:
        params: four sizes of models, of rounds with ``few`` clients.
        clients: four sizes of cohorts, of rounds with models of ``short`` parameters.
    """
    point(few, params[0], executor, 1)  # compiles
    models = [point(few, each, executor, repeat) for each in params]
    cohorts = [point(each, short, executor, 1) for each in clients]
    growth = Growth.of(models, cohorts)
    sizes = f"{few} clients × {', '.join(f'{each:,}' for each in params)}"
    many = f"{', '.join(map(str, clients))} clients × {short:,}"
    wanted, long = TARGET
    for key, name, part, setting in (
        ("input", "aggregator: one input, at the largest model", growth.input, sizes),
        ("stream", "aggregator: removing all masks, at the largest model", growth.stream, sizes),
        ("check", "aggregator: check of the result, at the largest model", growth.check, sizes),
        ("member", "aggregator: the same, in the largest cohort", growth.member, many),
        ("relay", "aggregator: relaying and signatures, in the largest cohort", growth.relay, many),
    ):
        yield Row(
            key=f"scale.law.{key}",
            name=name,
            unit="ms",
            median=1e3 * part.largest[1],
            derived=part.law.power,
            derived_unit="power",
            note=f"{setting}: {part}",
        )
    law = Law.of(clients, [one.received for one in cohorts])
    yield Row(
        key="scale.law.received",
        name="one client receives before the result, in the largest cohort",
        unit="kB",
        median=cohorts[-1].received / 1e3,
        derived=law.power,
        derived_unit="power",
        note=f"{many}: {law}; of {wanted:,} clients {law.at(wanted) / 1e3:.0f} kB",
    )
    found = growth.predict(wanted, long)
    plan = predict(Setting("masking", long, wanted, BITS, graph.EXPECTED_DROPOUT), shipped())
    planned = sum(share.seconds for share in plan.shares if share.role == AGGREGATOR and share.phase != "result")
    for step, seconds in found.items():
        yield Row(key=f"scale.predicted.{step}", name=f"{wanted:,} × {long:,}, predicted: {step}", unit="ms",
                  median=1e3 * seconds)  # fmt: skip
    number = streams(wanted, lost_of(wanted))
    yield Row(
        key="scale.predicted",
        name=f"{wanted:,} × {long:,}, predicted: the aggregator's processor seconds",
        unit="ms",
        median=1e3 * sum(found.values()),
        peer="secure-agg plan",
        peer_median=1e3 * planned,
        ratio=sum(found.values()) / planned,
        note=f"{number:,} streams; extrapolated {wanted / growth.relay.largest[0]:.0f} × in clients, "
        f"{number * long / growth.stream.largest[0]:.0f} × in coordinates of streams",
    )
