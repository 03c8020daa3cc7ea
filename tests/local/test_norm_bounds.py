"""Norm bounds in one call: whose update is longer is scaled or stays out, whatever it weighs; numbers are stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg import Ledger
from secure_agg.errors import ConfigError, LedgerDamaged, TooFewClients
from secure_agg.ledger.audit import audit
from secure_agg.ledger.publish.fetch import open_prefix
from secure_agg.ledger.publish.published import PublishedSource
from secure_agg.protocol.config import Option, Policy
from secure_agg.protocol.config.norm import factor

SHAPE = (300,)
BOUND = 2.0


def updates(long: dict[str, float], n: int = 5) -> dict[str, list[Any]]:
    """Of norm 1, or of what is said."""
    rng = np.random.default_rng(5)
    found = {}
    for i in range(n):
        name, values = f"c{i}", rng.normal(size=SHAPE)
        found[name] = [long.get(name, 1.0) * values / np.linalg.norm(values)]
    return found


def mean(given: dict[str, list[Any]], weights: dict[str, int]) -> Any:
    total = sum(weights.values())
    return sum(weights[name] * given[name][0] for name in given) / total


@pytest.mark.parametrize("backend", ["plain", "masking"])
@pytest.mark.parametrize("heavy", [10, 1000])
def test_a_longer_update_is_scaled_to_the_bound_whatever_its_weight(backend: str, heavy: int) -> None:
    given, weights = updates({"c1": 20.0, "c2": 1.9}), {"c0": 30, "c1": heavy, "c2": 7, "c3": 500, "c4": 1000}
    result = secure_agg.aggregate(given, weights=weights, backend=backend, norm_bound=BOUND)
    scaled = given | {"c1": [given["c1"][0] * BOUND / 20]}
    assert np.abs(result.average[0] - mean(scaled, weights)).max() < 2e-3 * BOUND * heavy / sum(weights.values())
    assert (result.stats["scaled_clients"], result.stats["refused_clients"]) == (1, 0)
    assert 0 < BOUND - result.record.norm_bound < 1e-5
    assert result.record.norm_factor == 224
    verified = secure_agg.verify(result.evidence)
    assert verified.proofs == 5
    assert "2.24 times" in verified.norm_text


def test_updates_within_the_bound_are_summed_as_without_one() -> None:
    given, weights = updates({}), dict.fromkeys([f"c{i}" for i in range(5)], 3)
    result = secure_agg.aggregate(given, weights=weights, norm_bound=BOUND)
    assert result.stats["scaled_clients"] == 0
    assert np.abs(result.average[0] - mean(given, weights)).max() <= result.record.error_bound


def test_a_client_may_stay_out_instead_and_is_counted() -> None:
    given = updates({"c1": 50.0})
    result = secure_agg.aggregate(given, norm_bound=BOUND, norm_excess="refuse")
    assert result.participants == ("c0", "c2", "c3", "c4")
    assert (result.stats["scaled_clients"], result.stats["refused_clients"]) == (0, 1)
    with pytest.raises(TooFewClients):
        secure_agg.aggregate(updates({"c1": 50.0, "c2": 3.0}), norm_bound=BOUND, norm_excess="refuse")


def test_where_rounding_is_most_of_the_norm_an_update_is_scaled_further() -> None:
    """300 values of less than a step: their rounding alone is longer than they are."""
    given = updates({}) | {"c0": [np.full(SHAPE, 0.3)]}
    result = secure_agg.aggregate(given, backend="plain", clip=8.0, bits=5, norm_bound=4.0, max_error=1e6)
    assert result.stats["scaled_clients"] >= 1


def test_a_task_with_a_bound_that_is_not_to_be_screened_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    first = secure_agg.aggregate(updates({}), ledger=path, norm_bound=BOUND, options={"screening": 0})
    again = secure_agg.aggregate(updates({}), ledger=path, norm_bound=BOUND, options={"screening": 0})
    pinned = secure_agg.aggregate(updates({}), ledger=path)
    plain = secure_agg.aggregate(updates({}), backend="plain", norm_bound=BOUND)
    named = [item.evidence.config.policy.option("screening", 0) for item in (first, again, pinned, plain)]
    assert named == [0, 0, 0, 0]
    assert secure_agg.aggregate(updates({})).evidence.config.policy.options == ()


def test_a_ledger_pins_the_bound_and_its_audit_sees_all_proofs_also_as_static_files(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    first = secure_agg.aggregate(updates({"c1": 9.0}), ledger=path, norm_bound=BOUND)
    second = secure_agg.aggregate(updates({}), ledger=path)  # as it is pinned
    assert first.record.norm_bound == second.record.norm_bound
    options = [item.evidence.config.policy.option("screening", 0) for item in (first, second)]
    assert options == [1, 1]  # unless it is told otherwise
    with pytest.raises(ConfigError, match="options"):
        secure_agg.aggregate(updates({}), ledger=path, norm_bound=1.0)
    with Ledger(path, read_only=True) as ledger:
        report = ledger.audit()
        assert (report.verified, report.norm_proofs) == (2, 10)
        ledger.export(tmp_path / "public")
        trust = ledger.trust
        proof = ledger._evidence.locate(first.evidence.proof_hashes[2])
    assert audit(PublishedSource(open_prefix((tmp_path / "public").as_uri())), trust).norm_proofs == 10
    proof.unlink()
    with Ledger(path, read_only=True) as ledger, pytest.raises(LedgerDamaged, match="norm proof"):
        ledger.audit()


def test_what_can_not_be_bounded_is_refused_with_the_numbers_and_a_way_out() -> None:
    given = updates({})
    for backend, why in (("additive", "speak once"), ("crypten", "norm_bound_milli")):
        with pytest.raises(ConfigError, match=why):
            secure_agg.aggregate(given, backend=backend, norm_bound=BOUND)
    with pytest.raises(ConfigError, match=r"bits = 20 or 0\.\d+ of that norm_bound would do"):
        secure_agg.aggregate(given, bits=24, norm_bound=200.0)
    with pytest.raises(ConfigError, match="less than a step"):
        secure_agg.aggregate(given, bits=8, norm_bound=1e-3)
    with pytest.raises(ConfigError, match="norm_excess goes with a norm_bound"):
        secure_agg.aggregate(given, norm_excess="refuse")
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="norm_bound is"):
            secure_agg.aggregate(given, norm_bound=bad)
    with pytest.raises(ConfigError, match="neither 'scale' nor 'refuse'"):
        secure_agg.aggregate(given, norm_bound=BOUND, norm_excess="wait")
    with pytest.raises(ConfigError, match="use a smaller max_weight"):
        secure_agg.aggregate(given, norm_bound=BOUND, max_weight=1 << 28)


def test_bits_are_the_most_under_which_so_many_sketches_can_be_summed() -> None:
    found = {n: Policy.default(n, norm_bound=5.0, clip=1.0).bits for n in (3, 10, 100, 1000)}
    assert found == {3: 24, 10: 22, 100: 19, 1000: 16}
    for n, bits in found.items():
        if bits < 24:
            with pytest.raises(ConfigError):
                Policy.default(n, norm_bound=5.0, clip=1.0, bits=bits + 1)


def test_the_factor_grows_with_those_who_may_be_corrupt_and_is_none_for_very_many() -> None:
    factors = []
    for clients in (10, 100, 500, 1000, 10000):
        policy = Policy.default(clients, norm_bound=1.0, clip=1.0)
        bound = policy.norm_bound(1)
        assert bound is not None
        factors.append(factor(bound, policy.max_corrupt))
    assert factors == [224, 224, 306, 729, 0]


def test_a_bounded_policy_of_masking_screens_unless_its_maker_says_otherwise() -> None:
    def screening(backend: str, **settings: Any) -> int | None:
        policy = Policy.default(5, backend=backend, clip=1.0, **settings)
        return {option.name: option.value for option in policy.options}.get("screening")

    assert screening("masking", norm_bound=5.0) == 1
    assert screening("masking", norm_bound=5.0, options=(Option("screening", 0),)) == 0
    assert screening("masking") is screening("plain", norm_bound=5.0) is screening("bfv", norm_bound=5.0) is None
