"""From each party's shares to the common result: where this process's parties meet for one job.

A party hands in its own shares and waits; when all have, the engine's processes compute, and every party gets what was
revealed. One pool of processes serves all rounds of this process, one job at a time; it starts with the first job.
"""

from __future__ import annotations

import atexit
import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from mpc.ring import Vector
from mpc.words import Words
from secure_agg.backends.crypten import rules
from secure_agg.backends.crypten.engine.jobs import Layout, NormBound, Range, Result
from secure_agg.backends.crypten.engine.launcher import Parties
from secure_agg.config import RoundConfig
from secure_agg.errors import DuplicateMessage, OperatorLost, RoundAborted
from zk import parameters

WAIT_SECONDS: Final = 60.0
"""How long a party waits for the others to hand in their shares."""


@dataclass
class _Job:
    """A job that parties are handing in their shares for."""

    shares: dict[int, Words] = field(default_factory=dict, repr=False)
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: Exception | None = None


class _Pool:
    """The engine's processes, by number of parties."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._computing = threading.Lock()
        self._jobs: dict[bytes, _Job] = {}
        self._parties: dict[int, Parties] = {}

    def run(
        self, name: bytes, party: int, parties: int, shares: Words, work: Callable[[Parties, list[Words]], Any]
    ) -> Any:
        """Hand in one party's shares; what ``work`` makes of all, once the last has come.

        Raises:
            DuplicateMessage: this party has handed in before.
            OperatorLost: another has not.
            RoundAborted: a process has failed.
        """
        with self._lock:
            job = self._jobs.setdefault(name, _Job())
            if party in job.shares:
                raise DuplicateMessage(f"party {party} hands in its shares twice")
            job.shares[party] = shares
            complete = len(job.shares) == parties
        if complete:
            try:
                with self._computing:
                    job.result = work(self._running(parties), [job.shares[i] for i in range(parties)])
            except Exception as error:
                job.error = error
            finally:
                self._forget(name)
                job.done.set()
        elif not job.done.wait(WAIT_SECONDS) and not self._busy(name):
            self._forget(name)
            raise OperatorLost(f"{parties - len(job.shares)} of {parties} parties did not hand in their shares")
        job.done.wait()
        if job.error is not None:
            raise copy.copy(job.error)  # each party raises one of its own
        return job.result

    def _busy(self, name: bytes) -> bool:
        """Whether the job is being computed, which has time limits of its own."""
        return self._computing.locked() and name in self._jobs

    def _forget(self, name: bytes) -> None:
        with self._lock:
            self._jobs.pop(name, None)

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


def judge(config: RoundConfig, session: bytes, party: int, parties: int, shares: Words) -> tuple[bool, ...]:
    """Of each client, whether its vector is one that an honest client sends: every coordinate in range, the weight in
    [1, max_weight], the values' norm within the bound where there is one. Nothing else is revealed.

    Args:
        shares: this party's, (clients, layout.total).
    """
    policy, layout = config.policy, config.layout
    limits = policy.max_weight.bit_length()
    ranges = Layout(
        (
            Range(layout.values, policy.bits),
            Range(layout.limbs, policy.bits, normed=False),
            Range(layout.randomness, parameters.noise_bits(policy.bits), normed=False),
            Range(2, limits, normed=False),
        )
    )
    bound = None
    if rules.function(policy) == rules.NORM_BOUNDED_SUM:
        bound = NormBound(rules.squared_bound(config), rules.centre(config))
    extended = np.concatenate([shares, _weight_margins(config, party, shares)], axis=1)
    verdicts: tuple[bool, ...] = _pool.run(
        b"judge" + session, party, parties, extended, lambda pool, all_shares: pool.judge(all_shares, ranges, bound)
    )
    return verdicts


def _weight_margins(config: RoundConfig, party: int, shares: Words) -> Words:
    """Shares of weight − 1 and max_weight − weight: both fit into as many bits as max_weight has exactly if the weight
    is in [1, max_weight].
    """
    layout = config.layout
    weights = np.zeros(len(shares), dtype=np.uint64)
    for place in range(layout.limbs):
        weights += shares[:, layout.values + place] << np.uint64(config.policy.bits * place)
    margins = np.stack([weights, np.uint64(0) - weights], axis=1)
    if party == 0:
        margins -= np.array([1, 0], dtype=np.uint64)
        margins += np.array([0, config.policy.max_weight], dtype=np.uint64)
    return margins


def order_statistic(config: RoundConfig, session: bytes, party: int, parties: int, shares: Words) -> Vector:
    """The trimmed sum or the sum of the middle values, coordinate by coordinate, of clients who have been judged.

    Args:
        shares: this party's, (clients, layout.values).

    Raises:
        RoundAborted: the clients are not those who were accepted.
    """
    policy = config.policy
    ranges = Layout((Range(config.layout.values, policy.bits),))

    def work(pool: Parties, all_shares: list[Words]) -> Result:
        if rules.function(policy) == rules.MEDIAN:
            return pool.median(all_shares, ranges)
        return pool.trimmed_mean(all_shares, ranges, policy.option(rules.TRIM, 0))

    result: Result = _pool.run(b"order" + session, party, parties, shares, work)
    if not all(result.accepted) or result.addends != rules.addends(policy, len(shares)):
        raise RoundAborted("a client in the signed set was not accepted", phase=rules.COMPUTE)
    return result.values.astype(np.uint32)
