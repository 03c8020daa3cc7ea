"""Whole rounds of one cell of the matrix: seconds and bytes by role and phase, memory, and how exact the mean is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import Federation
from benchmarks.measure.cells import (
    AGGREGATOR,
    CLIENT,
    COMMIT,
    ENCODE,
    NORMS,
    RESULT,
    SCREENED,
    VERIFY,
    Cell,
    Cost,
    Setting,
)
from benchmarks.measure.memory import MEASURABLE
from benchmarks.measure.round import Measured, drawn, measure
from benchmarks.rounds.fedavg import FedAvg
from benchmarks.rounds.training import Training
from benchmarks.timing import timed
from secure_agg import backends
from secure_agg.backends.crypten import rules as crypten
from secure_agg.backends.masking.rules import MASKED_INPUT, SCREENING
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.messages import ADVERTISE, SHARE

_WARM_PARAMS: Final = 1_000
_ROOM: Final = 2.0
"""Norm bounds, in norms of the updates: all are judged, nobody is refused or scaled."""
_CLIP: Final = 8.0
_LONGEST: Final = float(1 << 26)
"""Steps that all clients' norm bounds together have at most: sums of sketches have room for so many."""
_WITHIN: Final = {(CLIENT, ADVERTISE): (ENCODE, COMMIT)}
"""Steps that the roles time within a call, and that are shown apart from the rest of it."""

Step = tuple[str, str]
"""A role and a phase."""


def options(setting: Setting) -> dict[str, int]:
    """The backend's."""
    if setting.backend == "crypten":
        return {crypten.NORM_BOUND: round(1000 * _ROOM * math.sqrt(setting.params))}
    if setting.norms and setting.backend == "masking":
        return {SCREENING.name: int(setting.norms == SCREENED)}
    return {}


def norm_bound(setting: Setting) -> float | None:
    """Of every update, where one is proved: that of standard normal values, or as much as so many can have."""
    if not setting.norms:
        return None
    steps = ((1 << setting.bits - 1) - 1) / _CLIP
    return min(_ROOM * math.sqrt(setting.params), _LONGEST / steps / setting.clients)


def updates(setting: Setting) -> npt.NDArray[np.float32]:
    """One a row; as long as can be proved, where that is."""
    found, bound = drawn(setting.clients, setting.params), norm_bound(setting)
    if bound is not None:
        found *= np.float32(bound / _ROOM / math.sqrt(setting.params))
    return found


def federation(setting: Setting) -> Federation:
    """Who takes part, with fresh keys.

    Raises:
        ValueError: no norms are bounded in such rounds.
    """
    if setting.norms not in NORMS or (setting.norms == SCREENED and setting.backend != "masking"):
        raise ValueError(f"{setting}: there are no such rounds")
    return Federation.of(
        setting.clients,
        setting.params,
        setting.bits,
        backend=setting.backend,
        options=options(setting),
        norm_bound=norm_bound(setting),
    )


def lost_at(setting: Setting) -> str:
    """The phase at which clients are lost: before their input, which is all they ever say to some backends."""
    return ADVERTISE if backends.load(setting.backend).shares else MASKED_INPUT


class Rounds:
    """Rounds of one cell, one after another, each with new keys; after each what it is compared with."""

    def __init__(self, setting: Setting) -> None:
        """Runs a short round, which compiles everything."""
        self.setting = setting
        self._updates = updates(setting)
        self._spent: dict[Step, list[tuple[float, float]]] = defaultdict(list)
        self._last: Measured | None = None
        self._error = self._bound = 0.0
        self._fedavg = FedAvg(self._updates[setting.silent :])
        self._training = Training(setting.params)
        self._plain: list[dict[str, float]] = []
        self._trained: list[float] = []
        self._compare()
        self._plain.clear()
        self._trained.clear()
        short = replace(setting, params=min(_WARM_PARAMS, setting.params))
        members = federation(short)
        measure(members, updates(short), silent=self._silent(members))

    def _silent(self, members: Federation) -> Mapping[str, str]:
        return dict.fromkeys(members.names[: self.setting.silent], lost_at(self.setting))

    def time(self, loops: int) -> float:
        """Seconds of so many whole rounds, from the first request to the checked evidence; keys are made before."""
        total = 0.0
        for _ in range(loops):
            members = federation(self.setting)
            self._last = measure(members, self._updates, silent=self._silent(members))
            total += self._last.wall
            self._note(self._last, members)
            self._compare()
        return total

    def _compare(self) -> None:
        """Right after a round, so that other load on the machine slows both."""
        self._plain.append(self._fedavg.sample())
        self._trained.append(timed(self._training.epoch))

    def _note(self, measured: Measured, members: Federation) -> None:
        for step, spent in _steps(measured):
            self._spent[step].append(spent)
        survivors = self._updates[self.setting.silent :]
        exact = survivors.mean(axis=0, dtype=np.float64)
        self._error = max(self._error, float(np.abs(measured.verified.average[0] - exact).max()))
        self._bound = FixedPoint(members.config.policy).error_bound(len(survivors), len(survivors))

    def cell(self, rounds: Sequence[float]) -> Cell:
        """What the rounds gave, with the memory of one more.

        Args:
            rounds: seconds of those that count: the last ones.

        Raises:
            ValueError: no round has been timed.
        """
        if self._last is None:
            raise ValueError("no round has been timed")
        last, self._last, count = self._last, None, len(rounds)
        parties = {role: len(names) for role, names in last.parties.items()} | {CLIENT: self.setting.clients}
        sent = {step: last.sent(step[0], _sent_in(step)) for step in self._spent}
        received = {step: last.received(step[0], _received_in(step)) for step in self._spent}
        del last
        peaks = self._peaks() if MEASURABLE else {}
        costs = tuple(
            Cost(
                role=role,
                phase=phase,
                seconds=tuple(wall for wall, _ in spent[-count:]),
                sent=sent[role, phase],
                received=received[role, phase],
                memory=peaks.get((role, phase)),
                processor=tuple(processor for _, processor in spent[-count:]),
            )
            for (role, phase), spent in self._spent.items()
        )
        return Cell(
            setting=self.setting,
            parties=parties,
            costs=costs,
            rounds=tuple(rounds),
            plain=self._fedavg.costs(self._plain[-count:]),
            error=self._error,
            bound=self._bound,
            training=tuple(self._trained[-count:]),
        )

    def _peaks(self) -> dict[Step, float]:
        members = federation(self.setting)
        measured = measure(members, self._updates, silent=self._silent(members), memory=True)
        found = {(role, phase): most for role in measured.parties for phase, most in measured.memory(role).items()}
        return found | {(CLIENT, VERIFY): found[CLIENT, RESULT]}


def _sent_in(step: Step) -> str:
    return "" if step[1] in (ENCODE, COMMIT, VERIFY) else step[1]


def _received_in(step: Step) -> str:
    role, phase = step
    return RESULT if (role, phase) == (CLIENT, VERIFY) else _sent_in(step)


def _steps(measured: Measured) -> Iterator[tuple[Step, tuple[float, float]]]:
    """Seconds by the clock and of the processor, of one party in each step, in their order.

    Processor time of what a role times within a call is that call's, in proportion.
    """
    phases = measured.phases
    for phase in (*phases, RESULT):
        if (wall := measured.seconds(CLIENT, phase)) is None:
            continue
        processor = measured.seconds(CLIENT, phase, processor=True) or 0.0
        for part in _WITHIN.get((CLIENT, phase), ()):
            share = _mean([one[part] for one in _timings(measured, CLIENT) if part in one]) / wall
            yield (CLIENT, part), (share * wall, share * processor)
            wall, processor = wall - share * wall, processor - share * processor
        yield (CLIENT, VERIFY if phase == RESULT else phase), (wall, processor)
    checked = next(iter(_timings(measured, AGGREGATOR))).get(VERIFY, 0.0)
    ran = [phase for phase in phases if measured.seconds(AGGREGATOR, phase)]  # excisions mostly do not
    for phase in ran:
        spent = measured.seconds(AGGREGATOR, phase) or 0.0
        processor = measured.seconds(AGGREGATOR, phase, processor=True) or 0.0
        share = checked / spent if phase == ran[-1] else 0.0
        yield (AGGREGATOR, phase), ((1 - share) * spent, (1 - share) * processor)
        if phase == ran[-1]:
            yield (AGGREGATOR, VERIFY), (share * spent, share * processor)
    for role, phase in [(AGGREGATOR, RESULT), *((measured.operators, phase) for phase in (*phases, SHARE))]:
        if role and (found := measured.seconds(role, phase)) is not None:
            yield (role, phase), (found, measured.seconds(role, phase, processor=True) or 0.0)


def _timings(measured: Measured, role: str) -> list[Mapping[str, float]]:
    return [measured.timings[party] for party in measured.parties[role]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
