"""A plan says what privacy spends and leaves, by the numbers that rounds have, and says where it leaves nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg import Privacy
from secure_agg.errors import ConfigError
from secure_agg.planning.advice import Needs, advise
from secure_agg.planning.coefficients import shipped
from secure_agg.planning.limits import remarks
from secure_agg.planning.prediction import Network
from secure_agg.planning.privacy import PrivacyCost, fewest_bits
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Policy
from secure_agg.protocol.evidence import PrivateRecord


def cost(clients: int, values: int, epsilon: float, rounds: int, **more: Any) -> PrivacyCost:
    budget = Privacy(epsilon=epsilon, delta=1e-5, norm=2.0, rounds=rounds)
    policy = Policy.default(clients, privacy=budget, min_clients=clients * 9 // 10)
    return PrivacyCost.of(policy, values, clients, rounds=rounds, **more)


def test_what_is_spent_grows_to_the_budget_and_is_what_records_say() -> None:
    found = cost(100, 62, 4.0, 20, done=5)
    spent = [found.epsilon(count) for count in range(21)]
    assert spent[0] == 0 < spent[1] < spent[5] < spent[6] < spent[20] <= 4.0
    said = found.reasons[0]
    assert f"{spent[5]:.4g} is spent now, {spent[6]:.4g} after the next round, {spent[20]:.4g} after all 20" in said
    budget = Privacy(epsilon=4.0, delta=1e-5, norm=1.0, rounds=3)
    updates = {f"c{i}": [np.ones(9)] for i in range(6)}
    record = secure_agg.aggregate(updates, backend="plain", privacy=budget, min_clients=5).record
    assert isinstance(record, PrivateRecord)
    policy = Policy.default(6, backend="plain", privacy=budget, min_clients=5)
    assert PrivacyCost.of(policy, 9, 6).epsilon(1) == record.spent / 1e6


def test_noise_is_as_long_as_that_of_a_round() -> None:
    """Of means of nothing, whose values are noise alone."""
    budget = Privacy(epsilon=6.0, delta=1e-5, norm=2.0)
    updates = {f"c{i}": [np.zeros(20_000)] for i in range(8)}  # a deviation is off by a two-hundredth
    result = secure_agg.aggregate(updates, backend="plain", privacy=budget, min_clients=7)
    policy = Policy.default(8, backend="plain", privacy=budget, min_clients=7)
    found = PrivacyCost.of(policy, 20_000, 8)
    assert np.std(result.average[0]) == pytest.approx(2.0 * found.deviation, rel=0.05)
    assert np.linalg.norm(result.average[0]) == pytest.approx(2.0 * found.noise, rel=0.05)
    assert found.own == pytest.approx(np.sqrt(8) * found.noise)


@pytest.mark.parametrize(
    ("clients", "values", "epsilon", "rounds", "use"),
    [(100, 62, 4.0, 20, "usable"), (1000, 7850, 0.75, 20, "costly"), (100, 65_536, 4.0, 100, "useless")],
)
def test_it_is_said_where_noise_is_all_that_is_left_and_what_would_do(
    clients: int, values: int, epsilon: float, rounds: int, use: str
) -> None:
    found = cost(clients, values, epsilon, rounds)
    assert found.use == use
    said = " ".join(found.reasons)
    assert ("useless" in said) == (use == "useless")
    if use == "usable":
        assert "would do" not in said
        return
    assert f"about {found.enough_clients:,} clients" in said
    assert cost(found.enough_clients + 10, values, epsilon, rounds).use == "usable"
    assert cost(found.enough_clients * 9 // 10, values, epsilon, rounds).use == "costly"
    if found.enough_values:
        assert f"about {found.enough_values:,} values" in said
        assert cost(clients, found.enough_values, epsilon, rounds).use == "usable"
    else:
        assert "values, a larger" not in said
        assert cost(clients, 1, epsilon, rounds).use != "usable"


def test_the_design_s_example_is_39_clips_of_noise() -> None:
    found = cost(100, 65_536, 4.0, 100)
    assert round(found.noise) == 39
    assert (found.made.honest, found.fewest) == (61, 15)


def test_the_fewest_bits_have_room_and_one_fewer_have_not() -> None:
    rule = Policy.default(100, privacy=Privacy(epsilon=1.0, delta=1e-5, norm=1.0, rounds=10)).privacy
    assert rule is not None
    bits = fewest_bits(rule, 5000, 100)
    assert bits is not None
    rule.mechanism_of(5000, 100, (1 << bits - 1) - 1)
    with pytest.raises(ConfigError, match=f"bits = {bits} would do"):
        rule.mechanism_of(5000, 100, (1 << bits - 2) - 1)
    assert fewest_bits(rule, 5000, 100, bits - 1) is None


def test_rounds_beyond_the_budget_are_not_planned() -> None:
    policy = Policy.default(10, privacy=Privacy(epsilon=1.0, delta=1e-5, norm=1.0, rounds=2))
    with pytest.raises(ConfigError, match="plan for 2 rounds"):
        PrivacyCost.of(policy, 10, 10, rounds=3)
    with pytest.raises(ConfigError, match="outside"):
        PrivacyCost.of(policy, 10, 10, done=3)
    with pytest.raises(ConfigError, match="no privacy"):
        PrivacyCost.of(Policy.default(10), 10, 10)


def test_a_private_plan_takes_as_many_bits_as_its_noise_and_refuses_who_can_not_add_any() -> None:
    hard = Privacy(epsilon=0.5, delta=1e-6, norm=1.0, rounds=50)
    advice = advise(Needs(200_000, 1000, privacy=hard), shipped(), Network())
    found = next(one for one in advice.candidates if one.backend == "masking")
    assert found.prediction is not None
    policy = found.prediction.setting.policy
    assert policy.privacy is not None
    assert policy.bits >= (fewest_bits(policy.privacy, 200_000, 1000) or 99) > advice.bits
    assert any("rotation and noise" in said for said in remarks(found.prediction))
    three = advise(Needs(1000, 20, servers=3, privacy=hard, min_clients=18), shipped(), Network())
    refused = {one.backend: one.refused for one in three.candidates}
    assert "no differential privacy" in refused["crypten"]
    assert refused["masking"] == refused["additive"] == ""
    with pytest.raises(ConfigError, match=r"bits = \d+ would do"):
        Setting("masking", 1_000_000, 1000, 8, privacy=hard)
