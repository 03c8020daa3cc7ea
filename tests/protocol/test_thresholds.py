"""What dropouts and draws cost in trust: the thresholds of policies, and the sizes that are safe."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from mpc import graph
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.presets import PRESETS, preset
from secure_agg.protocol.config.thresholds import DROPOUTS, MOST_DROPOUT, least_advertised, most_corrupt, safe_size


@pytest.mark.parametrize(
    ("dropout", "least", "corrupt", "quorum"),
    [(0.1, 90, 29, 65), (0.2, 80, 26, 64), (0.3, 70, 23, 62), (0.4, 60, 19, 60), (0.5, 51, 1, 51)],
)
def test_the_price_of_dropouts_in_a_roster_of_a_hundred(dropout: float, least: int, corrupt: int, quorum: int) -> None:
    """The figures of the documents."""
    policy = Policy.default(100, dropout=dropout)
    assert (policy.min_advertised, policy.max_corrupt, policy.quorum(100)) == (least, corrupt, quorum)
    assert policy.bearable(100) == Fraction(corrupt, 100)


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_whoever_stays_is_a_quorum_and_has_an_honest_majority_of_two_thirds(dropout: float) -> None:
    for clients in range(3, 400):
        policy = Policy.default(clients, dropout=dropout)
        left = least_advertised(clients, 3, dropout)
        assert policy.min_advertised == left > 3 * policy.max_corrupt
        assert policy.quorum(clients) <= left
        assert 2 * policy.quorum(clients) - clients > policy.max_corrupt


def test_one_more_corrupt_client_could_not_be_borne() -> None:
    for clients in range(3, 200):
        for dropout in DROPOUTS:
            left = least_advertised(clients, 3, dropout)
            more = most_corrupt(clients, left) + 1
            assert 3 * more >= left or (clients + more) // 2 + 1 > left


@pytest.mark.parametrize("dropout", [0.0, -0.1, MOST_DROPOUT + 0.01, 1.0, float("nan"), "many"])
def test_a_dropout_beyond_a_half_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigError, match="dropout"):
        Policy.default(100, dropout=dropout)


def test_a_cohort_of_200_of_10000() -> None:
    policy = Policy.default(10_000, cohort_size=200, corruption_rate=0.05)
    assert (policy.max_corrupt, policy.quorum(200), policy.min_advertised) == (45, 123, 180)
    assert 136 == 3 * policy.max_corrupt + 1 <= policy.min_advertised
    assert policy.bearable(10_000) == Fraction(855, 10_000)


@pytest.mark.parametrize("dropout", DROPOUTS[:4])
@pytest.mark.parametrize(("clients", "rate"), [(100, 0.05), (1000, 0.05), (10_000, 0.066), (10_000, 0.1)])
def test_the_size_that_is_named_is_safe_and_the_smallest(clients: int, rate: float, dropout: float) -> None:
    safe = safe_size(clients, rate, dropout=dropout)
    assert safe is not None
    Policy.default(clients, cohort_size=safe, corruption_rate=rate, dropout=dropout)
    for size in range(3, safe):
        with pytest.raises(ConfigError, match=rf"\b{safe} is the smallest safe size"):
            Policy.default(clients, cohort_size=size, corruption_rate=rate, dropout=dropout)


def test_the_bearable_share_is_the_largest() -> None:
    policy = Policy.default(1000, cohort_size=200, corruption_rate=0.05)
    most = int(policy.bearable(1000) * 1000)
    borne = most_corrupt(200, policy.min_advertised)
    assert graph.corrupt_in_sample(1000, most, 200) <= borne < graph.corrupt_in_sample(1000, most + 1, 200)


def test_a_rate_without_a_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="cohort_size"):
        Policy.default(100, corruption_rate=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_of_policies(name: str) -> None:
    policy = Policy.default(10_000, **preset(name).settings)
    assert policy.bearable(10_000) >= Fraction(1, 20)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="hospitals"):
        preset("clinics")


def rows(first: str) -> list[list[str]]:
    """Of the document's table that begins with this head, without it."""
    lines = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| dropout |") and first in line)
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_the_document_s_safe_sizes_are_the_computed_ones() -> None:
    found = [
        [f"{dropout:g}", *(str(safe_size(10_000, rate, dropout=dropout) or "none") for rate in (0.01, 0.05, 0.1, 0.2))]
        for dropout in DROPOUTS
    ]
    assert rows("1% corrupt") == found


def test_the_document_s_price_of_dropouts_is_the_computed_one() -> None:
    policies = [(dropout, Policy.default(100, dropout=dropout)) for dropout in DROPOUTS]
    found = [
        [f"{dropout:g}", str(policy.min_advertised), str(policy.max_corrupt), str(policy.quorum(100))]
        for dropout, policy in policies
    ]
    assert rows("at least join") == found
