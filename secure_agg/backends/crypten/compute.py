"""From each party's shares to the common result: where this process's parties meet for one job.

A party hands in its own shares and waits; when all have, the engine's processes compute, and every party gets what was
revealed. One pool of processes serves all rounds of this process, one job at a time; it starts with the first job.
So all parties of a round have to be in one process, which holds all shares.
"""

from __future__ import annotations

import atexit
import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from mpc.ring import Vector
from mpc.words import Words
from secure_agg.backends.crypten import rules
from secure_agg.backends.crypten.engine.jobs import Layout, NormBound, Range, Result
from secure_agg.backends.crypten.engine.launcher import Parties
from secure_agg.errors import DuplicateMessage, PolicyViolation, RoundAborted
from secure_agg.protocol import config as vectors
from secure_agg.protocol.config import RoundConfig
from zk import parameters

WAIT_SECONDS: Final = 60.0
"""How long a party waits for the others to hand in their shares."""


@dataclass
class _Job:
    """A job that parties are handing in their shares for.

    Attributes:
        clients: whose shares, in order: the same at every party.
        shares: by party.
        done: set once there is a result or an error.
        error: what every party raises; None once there is a result.
    """

    clients: tuple[str, ...]
    shares: dict[int, Words] = field(default_factory=dict, repr=False)
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: Exception | None = field(default_factory=lambda: RoundAborted("the computation was interrupted"))


@dataclass(frozen=True)
class Place:
    """Which party of which round asks.

    Attributes:
        config: the round's.
        session: sid.
        parties: ids of all parties, in order.
        party: this one's place among them.
    """

    config: RoundConfig
    session: bytes
    parties: tuple[str, ...]
    party: int


class _Pool:
    """The engine's processes, by number of parties."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._computing = threading.Lock()
        self._jobs: dict[tuple[str, bytes], _Job] = {}
        self._parties: dict[int, Parties] = {}

    def run(
        self,
        phase: str,
        place: Place,
        clients: tuple[str, ...],
        shares: Words,
        work: Callable[[Parties, list[Words]], Any],
    ) -> Any:
        """Hand in one party's shares; what ``work`` makes of all, once the last has come.

        Raises:
            DuplicateMessage: this party has handed in before.
            PolicyViolation: another was asked to compute on other clients.
            RoundAborted: another has not handed in, or a process has failed.
        """
        name = (phase, place.session)
        with self._lock:
            job = self._jobs.setdefault(name, _Job(clients))
            if place.party in job.shares:
                raise DuplicateMessage("a party hands in its shares twice", phase=phase)
            job.shares[place.party] = shares
            if job.clients != clients:  # rows of different clients would be added up
                del self._jobs[name]
                job.error = PolicyViolation("the parties are asked to compute on different clients", phase=phase)
                job.done.set()
            complete = len(job.shares) == len(place.parties) and not job.done.is_set()
        if complete:
            self._compute(name, place, job, work)
        elif not job.done.wait(WAIT_SECONDS):
            self._give_up(name, place, job)
        job.done.wait()  # once all have handed in, the engine has time limits of its own
        if job.error is not None:
            raise copy.copy(job.error)  # each party raises one of its own
        return job.result

    def _compute(
        self, name: tuple[str, bytes], place: Place, job: _Job, work: Callable[[Parties, list[Words]], Any]
    ) -> None:
        count = len(place.parties)
        try:
            with self._computing:
                job.result = work(self._running(count), [job.shares[i] for i in range(count)])
            job.error = None
        except RoundAborted as error:
            known = {f"party {i}": party for i, party in enumerate(place.parties)}
            error.phase, error.culprit = name[0], known.get(error.culprit or "", error.culprit)
            job.error = error
        except Exception as error:
            job.error = error
        finally:
            with self._lock:
                del self._jobs[name]
            job.shares.clear()
            job.done.set()

    def _give_up(self, name: tuple[str, bytes], place: Place, job: _Job) -> None:
        """Stop waiting, unless the last has come in the meantime."""
        with self._lock:
            late = [party for i, party in enumerate(place.parties) if i not in job.shares]
            if not late or self._jobs.get(name) is not job:
                return
            del self._jobs[name]
            job.error = RoundAborted(
                f"{late} did not hand in their shares: all parties have to be in one process",
                phase=name[0],
                culprit=late[0],
            )
            job.done.set()

    def _running(self, parties: int) -> Parties:
        """The processes; started anew after a failure, which has closed them."""
        pool = self._parties.get(parties)
        if pool is None or not pool.pids:
            pool = self._parties[parties] = Parties(parties).__enter__()
        return pool

    def close(self) -> None:
        """End all processes."""
        for pool in self._parties.values():
            pool.close()


_pool = _Pool()
atexit.register(_pool.close)


def judge(place: Place, clients: Sequence[str], shares: Words) -> tuple[bool, ...]:
    """Of each client, whether its vector is one that an honest client sends: every coordinate in range, the weight in
    [1, weight limit], the values' norm within the bound where there is one. Nothing else is revealed. A verdict depends
    on the client's vector and the policy alone, so judging again, among whomever, tells nothing new.

    Args:
        clients: their ids, in id order.
        shares: this party's, (clients, layout.total).

    Raises:
        PolicyViolation, RoundAborted: see ``_Pool.run``.
    """
    policy, layout = place.config.policy, place.config.layout
    limits = place.config.weight_limit.bit_length()
    ranges = Layout(
        (
            *_values(layout),
            Range(layout.limbs, policy.bits, normed=False),
            Range(layout.randomness, parameters.noise_bits(policy.bits, policy.max_clients), normed=False),
            Range(rules.WEIGHT_MARGINS, limits, normed=False),
        )
    )
    bound = None
    if rules.function(policy) == rules.NORM_BOUNDED_SUM:
        bound = NormBound(rules.squared_bound(policy), rules.centre(policy))
    extended = np.concatenate([shares, _weight_margins(place, shares)], axis=1)
    verdicts: tuple[bool, ...] = _pool.run(
        rules.FILTER, place, tuple(clients), extended, lambda pool, all_shares: pool.judge(all_shares, ranges, bound)
    )
    return verdicts


def _values(layout: vectors.Layout) -> tuple[Range, ...]:
    """The values of each group: those that are weighted come first, and are what a norm is of."""
    weighted = any(part.group.weighted for part in layout.parts)
    return tuple(
        Range(part.coordinates, part.group.top.bit_length(), normed=part.group.weighted or not weighted)
        for part in layout.parts
    )


def _weight_margins(place: Place, shares: Words) -> Words:
    """Shares of weight − 1 and M − weight, M the round's weight limit: both fit into as many bits as M has exactly if
    the weight is in [1, M].
    """
    policy, layout = place.config.policy, place.config.layout
    weights = np.zeros(len(shares), dtype=np.uint64)
    for limb in range(layout.limbs):
        weights += shares[:, layout.values + limb] << np.uint64(policy.limb_bits * limb)
    margins = np.stack([weights, np.uint64(0) - weights], axis=1)
    if place.party == 0:
        margins -= np.array([1, 0], dtype=np.uint64)
        margins += np.array([0, place.config.weight_limit], dtype=np.uint64)
    return margins


def order_statistic(place: Place, clients: Sequence[str], shares: Words) -> Vector:
    """The trimmed sum or the sum of the middle values, coordinate by coordinate, of clients who have been judged.

    Args:
        clients: their ids, in id order.
        shares: this party's, (clients, layout.values).

    Raises:
        PolicyViolation, RoundAborted: see ``_Pool.run``.
        RoundAborted: the clients are not those who were accepted.
    """
    policy = place.config.policy
    ranges = Layout(tuple(msgspec.structs.replace(part, normed=True) for part in _values(place.config.layout)))

    def work(pool: Parties, all_shares: list[Words]) -> Result:
        if rules.function(policy) == rules.MEDIAN:
            return pool.median(all_shares, ranges)
        return pool.trimmed_mean(all_shares, ranges, policy.option(rules.TRIM, 0))

    result: Result = _pool.run(rules.COMPUTE, place, tuple(clients), shares, work)
    if not all(result.accepted) or result.addends != rules.addends(policy, len(shares)):
        raise RoundAborted("a client in the signed set was not accepted", phase=rules.COMPUTE)
    return result.values.astype(np.uint32)
