"""Settings that protect nobody, or leave no result: each is refused with the reason and what would do, which does."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import secure_agg
from secure_agg import Group, Privacy
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster

GOOD: dict[str, Any] = {"epsilon": 4.0, "delta": 1e-5, "norm": 1.0}


def policy(members: int = 10, bits: int | None = None, **changes: Any) -> Policy:
    budget = Privacy(**(GOOD | changes))
    return Policy.default(members, privacy=budget, bits=bits, min_clients=members * 9 // 10)


def with_options(made: Policy, **values: int) -> Policy:
    options = {option.name: option.value for option in made.options} | values
    return msgspec.structs.replace(made, options=Option.list(options))


@pytest.mark.parametrize(
    ("bad", "good", "said"),
    [
        ({"epsilon": 0.0}, {"epsilon": 1.0}, r"epsilon is 0\.0, not a number above 0: take 1 to 4"),
        ({"epsilon": -2.0}, {"epsilon": 4.0}, r"epsilon is -2\.0, not a number above 0: take 1 to 4"),
        ({"epsilon": 33.0}, {"epsilon": 8.0}, r"epsilon is 33, outside \[1e-06, 32\].*take 8 at most"),
        ({"norm": 0.0}, {"norm": 0.1}, r"norm is 0\.0, not a number above 0: take about the L2 norm"),
        ({"delta": 0.0}, {"delta": 1e-5}, r"delta is 0\.0, not a number above 0: take 1e-05"),
        ({"rounds": 0}, {"rounds": 1}, "rounds is 0, not a number of rounds from 1 to 1048576"),
        ({"honest": 0.0}, {"honest": 1.0}, r"honest is 0\.0, not a number above 0: take 1"),
        ({"epsilon": 25.0, "rounds": 1 << 20, "delta": 1e-9}, {"rounds": 2}, "take fewer rounds or a smaller epsilon"),
        ({"epsilon": 0.01}, {"epsilon": 1.0}, "take fewer rounds or a larger epsilon"),
    ],
)
def test_what_is_asked_for(bad: dict[str, float], good: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        policy(**bad)
    assert policy(**good).privacy is not None


def test_a_delta_of_one_in_the_clients() -> None:
    """Publishing one client's whole update would be as private."""
    with pytest.raises(
        ConfigError, match=r"delta = 0\.001 is no less than one in 1000 clients: .* take 0\.0001 or less"
    ):
        policy(1000, delta=1e-3)
    assert policy(1000, delta=1e-4).privacy is not None


def test_noise_that_is_lost_in_rounding() -> None:
    with pytest.raises(ConfigError, match="privacy_ratio is 0: the noise would be lost in rounding; take a smaller"):
        with_options(policy(), privacy_ratio=0)
    with pytest.raises(ConfigError, match=r"above the budget of 4: privacy_ratio = (\d+) would do") as refused:
        with_options(policy(), privacy_ratio=5)
    enough = int(str(refused.value.args[0]).split("privacy_ratio = ")[2].split()[0])
    assert with_options(policy(), privacy_ratio=enough).privacy is not None
    with pytest.raises(ConfigError, match="above the budget"):
        with_options(policy(), privacy_ratio=enough - 1)


def test_noise_of_more_clients_than_are_known_to_be_honest() -> None:
    made = policy()
    assert made.privacy is not None
    with pytest.raises(ConfigError, match=f"no more than {made.privacy.honest} clients are known to be honest"):
        with_options(made, privacy_honest=made.privacy.honest + 1)
    with pytest.raises(ConfigError, match="may hold nobody's noise: min_clients = 6 would do"):
        Policy.default(20, backend="additive", privacy=Privacy(**GOOD), min_clients=3)
    assert Policy.default(20, backend="additive", privacy=Privacy(**GOOD), min_clients=6).privacy is not None


def test_bits_that_have_no_room_for_the_noise_of_the_cohort() -> None:
    updates = {f"c{i}": [np.ones(500)] for i in range(10)}
    call: dict[str, Any] = {"backend": "plain", "privacy": Privacy(**GOOD), "min_clients": 9}
    with pytest.raises(ConfigError, match=r"6 bits have no room for noise .*: bits = \d+ would do") as refused:
        secure_agg.aggregate(updates, bits=6, **call)
    enough = int(str(refused.value.args[0]).split("bits = ")[1].split()[0])
    assert secure_agg.aggregate(updates, bits=enough, **call).participants
    with pytest.raises(ConfigError, match=f"bits = {enough} would do"):
        secure_agg.aggregate(updates, bits=enough - 1, **call)


def test_a_budget_that_is_spent() -> None:
    roster = Roster({f"c{i}": Identity.generate(f"c{i}").public for i in range(10)})
    call: dict[str, Any] = {"task": "t", "policy": policy(rounds=3), "cohort": roster, "shapes": ((9,),)}
    RoundConfig.create(round=2, **call)
    with pytest.raises(ConfigError, match="is for 3 rounds, and this would be number 4: only a new budget"):
        RoundConfig.create(round=3, **call)


def test_a_clip_of_nothing() -> None:
    with pytest.raises(ConfigError, match=r"clip is 0\.0, not a float between 1e-30 and 1e30"):
        Policy.default(4, clip=0.0)
    with pytest.raises(ConfigError, match=r"clip of group 'model' is 0\.0, not between 1e-30 and 1e30"):
        Group(name="model", clip=0.0)
