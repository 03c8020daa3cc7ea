"""Whole rounds of one cell of the matrix: seconds and bytes by role and phase, memory, and how exact the mean is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.core.memory import MEASURABLE
from benchmarks.federation import Federation
from benchmarks.metering import CountedRound, MeteredRound
from benchmarks.mpc.round import drawn
from benchmarks.rounds.cells import AGGREGATOR, CLIENT, COMMIT, ENCODE, VERIFY, Cell, Cost, Setting
from benchmarks.rounds.fedavg import FedAvg
from benchmarks.rounds.training import Training
from benchmarks.timing import timed
from secure_agg import backends
from secure_agg.backends.crypten import rules as crypten
from secure_agg.backends.masking.rules import MASKED_INPUT
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.messages import ADVERTISE, RESULT, SHARE

_WARM_PARAMS: Final = 1_000
_ROOM: Final = 2.0
"""The norm bound of backend ``crypten``, in norms of the updates: all are judged, nobody is refused."""


def federation(setting: Setting) -> Federation:
    """Who takes part, with fresh keys."""
    options = {}
    if setting.backend == "crypten":
        options[crypten.NORM_BOUND] = round(1000 * _ROOM * math.sqrt(setting.params))
    return Federation.of(setting.clients, setting.params, setting.bits, backend=setting.backend, options=options)


def lost_at(setting: Setting) -> str:
    """The phase at which clients are lost: before their input, which is all they ever say to some backends."""
    return ADVERTISE if backends.load(setting.backend).shares else MASKED_INPUT


class Rounds:
    """Rounds of one cell, one after another, each with new keys; after each what it is compared with."""

    def __init__(self, setting: Setting) -> None:
        """Runs a short round, which compiles everything."""
        self.setting = setting
        self._updates = drawn(setting.clients, setting.params)
        self._seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._last: CountedRound | None = None
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
        local = CountedRound(members, drawn(short.clients, short.params), self._silent(members))
        local.run()
        local.deliver()

    def _silent(self, members: Federation) -> Mapping[str, str]:
        return dict.fromkeys(members.names[: self.setting.silent], lost_at(self.setting))

    def time(self, loops: int) -> float:
        """Seconds of so many whole rounds, from the first request to the checked evidence; keys are made before."""
        total = 0.0
        for _ in range(loops):
            members = federation(self.setting)
            local = CountedRound(members, self._updates, self._silent(members))
            total += timed(local.run)
            verified = next(iter(local.deliver().values()))
            self._note(local, members, verified.average[0])
            self._compare()
        return total

    def _compare(self) -> None:
        """Right after a round, so that other load on the machine slows both."""
        self._plain.append(self._fedavg.sample())
        self._trained.append(timed(self._training.epoch))

    def _note(self, local: CountedRound, members: Federation, average: npt.NDArray[np.float64]) -> None:
        for key, seconds in _seconds(local).items():
            self._seconds[key].append(seconds)
        survivors = self._updates[self.setting.silent :]
        exact = survivors.mean(axis=0, dtype=np.float64)
        self._error = max(self._error, float(np.abs(average - exact).max()))
        self._bound = FixedPoint(members.config.policy).error_bound(len(survivors), len(survivors))
        self._last = local

    def cell(self, rounds: Sequence[float]) -> Cell:
        """What the rounds gave, with the memory of one more.

        Args:
            rounds: seconds of those that count: the last ones.

        Raises:
            ValueError: no round has been timed.
        """
        if self._last is None:
            raise ValueError("no round has been timed")
        local, self._last = self._last, None
        sent, received = _traffic(local)
        parties = {CLIENT: self.setting.clients, AGGREGATOR: 1} | Counter(h.role for h in local.holders.values())
        del local
        peaks = self._peaks() if MEASURABLE else {}
        costs = tuple(
            Cost(
                role=role,
                phase=phase,
                seconds=tuple(seconds[-len(rounds) :]),
                sent=sent[role, phase] / parties[role],
                received=received[role, phase] / parties[role],
                memory=peaks.get((role, phase)),
            )
            for (role, phase), seconds in self._seconds.items()
        )
        return Cell(
            setting=self.setting,
            parties=parties,
            costs=costs,
            rounds=tuple(rounds),
            plain=self._fedavg.costs(self._plain[-len(rounds) :]),
            error=self._error,
            bound=self._bound,
            training=tuple(self._trained[-len(rounds) :]),
        )

    def _peaks(self) -> dict[tuple[str, str], float]:
        members = federation(self.setting)
        local = MeteredRound(members, self._updates, self._silent(members))
        local.run()
        local.deliver()
        return local.peaks


def _seconds(local: CountedRound) -> dict[tuple[str, str], float]:
    """Of one party of each role in each phase, in their order; means over those that took part."""
    phases = [phase.name for phase in local.aggregator.phases]
    spent: dict[tuple[str, str], float] = {}
    joined = [client.timings.seconds for client in local.clients.values() if ENCODE in client.timings.seconds]
    for phase in (ENCODE, COMMIT):
        spent[CLIENT, phase] = sum(seconds[phase] for seconds in joined) / len(joined)
    for phase in (*phases, VERIFY):
        own = [seconds for (_, at), seconds in local.answered.items() if at == phase]
        if own:
            spent[CLIENT, phase] = sum(own) / len(own)
    spent[CLIENT, ADVERTISE] -= spent[CLIENT, ENCODE] + spent[CLIENT, COMMIT]  # both are part of joining
    coordinating = dict(local.aggregator.timings.seconds)
    coordinating[phases[-1]] -= coordinating[VERIFY]  # the check is part of the last phase
    spent |= {(AGGREGATOR, phase): coordinating.get(phase, 0.0) for phase in (*phases, VERIFY)}
    for role in sorted({holder.role for holder in local.holders.values()}):
        timings = [holder.timings.seconds for holder in local.holders.values() if holder.role == role]
        for phase in (*phases, SHARE):
            if any(phase in seconds for seconds in timings):
                spent[role, phase] = sum(seconds.get(phase, 0.0) for seconds in timings) / len(timings)
    return spent


def _traffic(local: CountedRound) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Bytes sent and received by role and phase, of all parties of the role together.

    A client that is lost is counted as if it had gone on: a mean over those that took part, times all.
    """
    sent: Counter[tuple[str, str]] = Counter()
    received: Counter[tuple[str, str]] = Counter()
    everybody = len(local.clients)
    for amounts, there, back in (
        (local.traffic.upload, sent, received),
        (local.traffic.download, received, sent),
        (local.traffic.result, received, sent),
    ):
        for phase in {phase for _, phase in amounts}:
            here = [amount for (_, at), amount in amounts.items() if at == phase]
            shown = VERIFY if phase == RESULT else phase
            there[CLIENT, shown] += round(sum(here) * everybody / len(here))
            back[AGGREGATOR, shown] += sum(here) * (everybody if phase == RESULT else 1)
    role = next((holder.role for holder in local.holders.values()), "")
    for (phase, direction), amount in local.operated.items():
        own, others = (sent, received) if direction == "sent" else (received, sent)
        own[role, phase] += amount
        if phase != SHARE:
            others[AGGREGATOR, phase] += amount
        elif direction == "received":  # from the clients, past the aggregator
            received[AGGREGATOR, ADVERTISE] -= amount
    return sent, received
