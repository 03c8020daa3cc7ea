"""Rounds with differential privacy, whole: through several backends, into a ledger, up to their budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg import Ledger, Privacy
from secure_agg.errors import ConfigError
from secure_agg.protocol.evidence import PrivateRecord, RoundRecord

BUDGET = Privacy(epsilon=6.0, delta=1e-5, norm=1.0, rounds=2)
SHAPES = ((100, 20), (15,))
"""So many that the deviation of their noise is off by more than a tenth in no run."""


def updates(n: int = 8) -> dict[str, list[Any]]:
    rng = np.random.default_rng(4)
    return {f"c{i}": [rng.normal(size=shape) for shape in SHAPES] for i in range(n)}


def clipped_mean(given: dict[str, list[Any]]) -> Any:
    flat = [np.concatenate([array.ravel() for array in arrays]) for arrays in given.values()]
    return np.mean([values * min(1.0, 1.0 / np.linalg.norm(values)) for values in flat], axis=0)


@pytest.mark.parametrize("backend", ["plain", "masking", "additive"])
def test_a_round_gives_the_mean_with_noise_and_says_what_it_has_spent(backend: str) -> None:
    given = updates()
    result = secure_agg.aggregate(given, backend=backend, privacy=BUDGET, bits=14, min_clients=7)
    record, config = result.record, result.evidence.config
    assert isinstance(record, PrivateRecord)
    assert (record.claim, record.mechanism, record.epsilon, record.delta) == (
        "dp-sum",
        "skellam",
        6_000_000,
        10_000_000,
    )
    rule, made = config.policy.privacy, config.mechanism
    assert rule is not None
    assert made is not None
    assert record.spent == rule.spent(1) < record.epsilon
    error = np.concatenate([array.ravel() for array in result.average]) - clipped_mean(given)
    deviation = made.deviation / made.length / np.sqrt(8)
    assert 0.88 < np.sqrt(np.mean(error**2)) / deviation < 1.12
    assert result.stats["scaled_clients"] == 8
    verified = secure_agg.verify(result.evidence)
    assert verified.record == record
    assert "that any client has added its noise" in verified.finding.not_proved
    assert RoundRecord.from_bytes(record.to_bytes()) == record


def test_whoever_drops_out_takes_its_noise_along_and_enough_is_left() -> None:
    result = secure_agg.aggregate(updates(12), privacy=BUDGET, dropouts={"c3": "masked-input"})
    rule = result.evidence.config.policy.privacy
    assert rule is not None
    assert len(result.participants) == 11 >= rule.honest + result.evidence.config.policy.max_corrupt


def test_the_task_ends_with_its_budget_and_the_audit_adds_it_up_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = secure_agg.aggregate(updates(), ledger=path, privacy=BUDGET, min_clients=7)
    second = secure_agg.aggregate(updates(), ledger=path, min_clients=7)  # as is pinned
    assert isinstance(first.record, PrivateRecord)
    assert isinstance(second.record, PrivateRecord)
    assert first.record.spent < second.record.spent <= 6_000_000
    with pytest.raises(ConfigError, match="the privacy budget is spent: epsilon = 6 is for 2 rounds"):
        secure_agg.aggregate(updates(), ledger=path, min_clients=7)
    with pytest.raises(
        ConfigError, match="pinned with another options"
    ):  # nor with a larger one: members have pinned this
        secure_agg.aggregate(updates(), ledger=path, privacy=Privacy(epsilon=9, delta=1e-5, norm=1.0), min_clients=7)
    with Ledger(path) as ledger:
        found = ledger.audit()
    spending = found.privacy["default"]
    assert (spending.rounds, spending.spent) == (2, second.record.spent)
    assert (found.verified, dict(found.claims)) == (2, {"dp-sum": 2})
    assert "epsilon = " in spending.text


def test_rounds_without_privacy_say_nothing_of_it() -> None:
    result = secure_agg.aggregate(updates(), backend="plain")
    assert type(result.record) is RoundRecord
    assert result.evidence.config.policy.privacy is None
    assert result.evidence.config.mechanism is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"weights": {"c1": 2}}, "privacy counts every client alike"),
        ({"max_weight": 5}, "privacy counts every client alike"),
        ({"norm_bound": 1.0}, "a norm bound and privacy exclude each other"),
        ({"edges": 2}, "a tree has no differential privacy"),
        ({"backend": "crypten", "min_clients": 7}, "backend 'crypten' has no differential privacy"),
        ({"bits": 6}, "bits = 9 would do|bits = 1. would do"),
    ],
)
def test_what_privacy_can_not_be_had_with_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        secure_agg.aggregate(updates(), **({"privacy": BUDGET, "min_clients": 7} | asked))


def test_the_same_call_has_other_noise() -> None:
    one, other = (secure_agg.aggregate(updates(), backend="plain", privacy=BUDGET) for _ in range(2))
    assert not np.array_equal(one.average[0], other.average[0])
