"""FedBuff over secure rounds, against the paper's algorithm in plain numpy."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import assert_is_mean

from secure_agg import AttemptStore, BufferedTask
from secure_agg.errors import AlreadyReleased, AnotherModel, ConfigError, LedgerError, TrustError
from secure_agg.fl.algorithms.algorithm import State
from secure_agg.fl.algorithms.buffered import (
    Followed,
    Handed,
    Models,
    Worker,
    discount,
    replay_buffered,
    train_buffered,
)
from secure_agg.fl.algorithms.descent import Descent
from secure_agg.fl.server_optimizers import CONTROLLED, ServerOptimizer
from secure_agg.local.aggregate import Result
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config.presets import buffered_policy
from secure_agg.protocol.evidence import RoundRecord

NAMES = [f"c{i}" for i in range(6)]
POLICY = buffered_policy(len(NAMES), honest=2, staleness=2, clip=1.0, options={"aggregators": 2})
RATE, STEPS, K = 0.1, 2, POLICY.min_clients
SERVER = ServerOptimizer.create("FedAvgM", learning_rate=0.7)
START = np.array([1.0, -2.0, 0.5])
TARGETS = {name: np.random.default_rng(i).uniform(-1, 1, 3) for i, name in enumerate(NAMES)}
PACES = {name: 1.0 + 0.37 * i for i, name in enumerate(NAMES)}


def pace(name: str, count: int) -> float:
    """Some are slow, and some get slower: updates are of every age."""
    return PACES[name] * (1 + (count % 3 == 1) * (NAMES.index(name) % 2))


WORKERS = {
    name: Worker(lambda at, name=name: [at[0] - TARGETS[name]], STEPS, lambda k, name=name: pace(name, k))  # type: ignore[misc]
    for name in NAMES
}


def fedbuff(results: int) -> tuple[npt.NDArray[np.float64], list[dict[str, int]]]:
    """Algorithm 1 of the paper with quadratic losses, and the rule that a base is used once. Returns the model, and of
    each step who was in it from which model."""
    models, buffers = [START], []
    events = [(pace(name, 0), i, name, 0) for i, name in enumerate(NAMES)]
    heapq.heapify(events)
    counts, order, now = dict.fromkeys(NAMES, 1), len(NAMES), 0.0
    buffer: dict[str, int] = {}
    late: dict[str, int] = {}
    waiting: list[str] = []

    def local(name: str, start: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        at = start
        for _ in range(STEPS):
            at = at - RATE * (at - TARGETS[name])
        moved: npt.NDArray[np.float64] = at - start
        return moved

    def send(name: str) -> None:
        nonlocal order
        heapq.heappush(events, (now + pace(name, counts[name]), order, name, len(models) - 1))
        counts[name] += 1
        order += 1

    while len(buffers) < results:
        while len(buffer) < K:
            now, _, name, base = heapq.heappop(events)
            t = len(models) - 1
            if t - base <= 2:
                (late if name in buffer else buffer)[name] = base
            if name not in late and t > base:
                send(name)
            else:
                waiting.append(name)
        t = len(models) - 1
        total = sum(local(name, models[base]) / math.sqrt(1 + t - base) for name, base in buffer.items())
        models.append(models[-1] + 0.7 * total / K)
        buffers.append(buffer)
        buffer, late = {name: base for name, base in late.items() if t + 1 - base <= 2}, {}
        again, waiting = waiting, []
        for name in again:
            send(name)
    return models[-1], buffers


@dataclass
class Seen:
    """What a training has gone through."""

    task: BufferedTask
    results: list[Result] = field(default_factory=list)
    buffers: list[dict[str, int]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    error: float = 0.0

    def watch(self, record: RoundRecord, handed: Mapping[str, Handed], state: State) -> None:
        self.buffers.append({name: item.base for name, item in handed.items()})
        self.states.append(state)
        self.error += record.error_bound


@pytest.fixture(scope="module")
def seen() -> Seen:
    task = BufferedTask(NAMES, model_digest([START]), POLICY)
    found = Seen(task)
    honest = task.aggregate

    def aggregate(updates: Any, bases: Any, **rest: Any) -> Result:
        result = honest(updates, bases, **rest)
        # The oracle: the sum is that of integers, each its update's but for rounding.
        assert_is_mean(result.average, updates, rest["weights"], result.participants, result.evidence.config)
        found.results.append(result)
        return result

    task.aggregate = aggregate  # type: ignore[method-assign]
    train_buffered(task, [START], WORKERS, 6, Descent(RATE), SERVER, watch=found.watch)
    return found


def test_secure_fedbuff_is_the_papers_with_the_same_buffers_and_models(seen: Seen) -> None:
    expected, buffers = fedbuff(6)
    assert [dict(sorted(buffer.items())) for buffer in buffers] == [dict(sorted(b.items())) for b in seen.buffers]
    ages = {t - base for t, buffer in enumerate(buffers) for base in buffer.values()}
    assert ages == {0, 1, 2}  # or the test shows nothing of staleness
    gap = float(np.abs(seen.states[-1].shared[0] - expected).max())
    assert gap <= 0.7 * seen.error + 6 / POLICY.max_weight  # rounding of values, and of weights
    assert float(np.abs(START - expected).max()) > 100 * gap


def test_whoever_has_the_results_computes_the_same_models_to_the_bit(seen: Seen) -> None:
    rounds = [result.evidence for result in seen.results]
    digests = [state.digest for state in seen.states]
    assert [state.digest for state in replay_buffered([START], rounds, seen.task.trust, SERVER)] == digests
    with pytest.raises(AnotherModel, match="base 1 of round 1"):
        list(replay_buffered([START], rounds, seen.task.trust))
    with pytest.raises(LedgerError, match="does not follow"):
        list(replay_buffered([START], rounds[1:], seen.task.trust, SERVER))


def test_a_client_follows_results_in_order_and_over_restarts(seen: Seen) -> None:
    store, rounds = AttemptStore(), [result.evidence for result in seen.results]

    def follow() -> Followed:
        return Followed([START], seen.task.trust, "default", "c0", store, SERVER)

    models = follow()
    for evidence in rounds[:3]:
        models.take(evidence)
    assert models.state.digest == seen.states[2].digest
    with pytest.raises(LedgerError):
        models.take(rounds[4])
    again = follow()
    for evidence in rounds[:4]:
        again.take(evidence)
    assert again.bases[-1].number == 4
    assert np.array_equal(again[2][0], seen.states[1].shared[0])
    with pytest.raises(ConfigError, match="no base 1, 2 to 4 would do"):
        again[1]
    with pytest.raises(AlreadyReleased):
        Followed([START + 1], seen.task.trust, "default", "c0", store, SERVER)
    models._task = "other"
    with pytest.raises(TrustError, match="not 'other'"):
        models.take(rounds[3])


def test_the_papers_discount_is_an_integer_weight_and_never_none() -> None:
    assert [discount(k, 1000) for k in (0, 1, 3, 8)] == [1000, 707, 500, 333]
    assert discount(255, 1) == 1
    for age, largest in ((-1, 5), (0, 0)):
        with pytest.raises(ConfigError):
            discount(age, largest)


def test_what_moves_more_than_a_model_and_buffers_that_never_fill_are_refused() -> None:
    rule = POLICY.buffer
    assert rule is not None
    with pytest.raises(ConfigError, match="SCAFFOLD moves more"):
        Models([START], rule, CONTROLLED)
    task = BufferedTask(NAMES, model_digest([START]), POLICY)
    with pytest.raises(ConfigError, match="a buffer of 9 updates, not 3 to 6"):
        train_buffered(task, [START], WORKERS, 1, Descent(RATE), size=9)
    with pytest.raises(ConfigError, match="another model"):
        train_buffered(task, [START + 1], WORKERS, 1, Descent(RATE))
    stuck = WORKERS | {"c0": Worker(WORKERS["c0"].gradient, 1, lambda _: 0.0)}
    with pytest.raises(ConfigError, match=r"takes 0\.0, not more than 0"):
        train_buffered(task, [START], stuck, 1, Descent(RATE))
