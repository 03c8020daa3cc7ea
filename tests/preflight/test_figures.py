"""Figures are those of the rounds, the plans and the accounts that they are of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

import secure_agg
from secure_agg import Group, Policy, Privacy
from secure_agg.errors import ConfigError, LimitBroken, TooFewClients
from secure_agg.planning.coefficients import shipped
from secure_agg.planning.prediction import predict
from secure_agg.planning.setting import Setting
from secure_agg.preflight.figures import KINDS
from secure_agg.preflight.report import Report, check
from secure_agg.preflight.subject import Subject
from secure_agg.protocol.config import Option
from secure_agg.protocol.config.presets import buffered_policy
from secure_agg.protocol.messages import ADVERTISE

PARAMS = 1000


def value(report: Report, name: str) -> float:
    found = report.figures[name].value
    assert found is not None
    return found


@pytest.mark.parametrize("backend", ["masking", "additive", "plain"])
def test_so_many_dropouts_are_borne_and_no_more(backend: str) -> None:
    policy = Policy.default(6, backend=backend, dropout=0.3)
    borne = int(value(check(policy, clients=6), "dropouts"))
    assert borne == 2
    updates = {f"c{i}": [np.full(3, i / 8)] for i in range(6)}
    for lost in (borne, borne + 1):
        silent = {f"c{i}": ADVERTISE for i in range(lost)}
        if lost == borne:
            result = secure_agg.aggregate(updates, backend=backend, dropout=0.3, dropouts=silent)
            assert len(result.participants) == 6 - borne
        else:
            with pytest.raises(TooFewClients):
                secure_agg.aggregate(updates, backend=backend, dropout=0.3, dropouts=silent)


def test_costs_are_what_a_plan_says_of_the_same_round() -> None:
    report = check(Policy.default(20), clients=20, parameters=PARAMS, lost=0.1)
    plan = predict(Setting("masking", PARAMS, 20, Policy.default(20).bits, dropout=0.1), shipped())
    assert value(report, "seconds") == plan.seconds
    for role in ("client", "aggregator"):
        assert value(report, f"{role}.sent") == plan.sent(role)
        assert value(report, f"{role}.seconds") == plan.processor(role)
    assert "keyholder.sent" not in report.figures


def test_a_policy_of_its_own_is_what_is_planned() -> None:
    groups = (Group(name="update", bits=8, clip=1.0), Group(name="marks", bits=4, clip=1.0, weighted=False))
    less = check(Policy.default(20, groups=groups), clients=20, parameters=100_000)
    more = check(Policy.default(20), clients=20, parameters=100_000)
    assert value(less, "client.sent") < value(more, "client.sent")
    drawn = Policy.default(5000, cohort_size=300, dropout=0.4, corruption_rate=0.05)
    assert check(drawn, clients=5000, parameters=PARAMS).fits
    bounded = Policy.default(9, norm_bound=2.0, norm_outside=2)
    assert value(check(bounded, clients=9, parameters=PARAMS), "norm") == pytest.approx(2.0, rel=1e-3)


def test_every_kind_of_task_is_looked_at(tmp_path: Path) -> None:
    """Also those of ledgers that name no largest weight, and whose rounds each have a limit of their own."""
    updates = {f"c{i:02d}": [np.full(3, i / 100)] for i in range(12)}
    secure_agg.aggregate(updates, edges=2, ledger=tmp_path / "tree.db")
    trust = secure_agg.Trust.load(tmp_path / "tree.db.trust.json")
    assert len(trust.tasks) == 3
    for task in trust.tasks:
        report = check(trust, task=task, parameters=PARAMS)
        assert report.fits, report.broken
        assert any("weighs more than" in remark for remark in report.measured.remarks)
    assert check(buffered_policy(12), clients=12, parameters=PARAMS).fits
    for backend in ("bfv", "paillier"):
        assert check(Policy.default(9, backend=backend), clients=9, parameters=PARAMS).fits
    # A norm bound leaves room for some weights only.
    wide = Policy.default(9, norm_bound=2.0, max_weight=(1 << 32) - 1)
    assert value(check(wide, clients=9, parameters=PARAMS), "norm") == pytest.approx(2.0, rel=1e-3)


def test_an_error_is_no_smaller_than_what_a_record_states() -> None:
    updates = {f"c{i}": [np.full(3, i / 8)] for i in range(4)}
    record = secure_agg.aggregate(updates, bits=8).record
    assert record.error_bound <= value(check(Policy.default(4, bits=8), clients=4), "error")


def test_honest_clients_are_those_of_the_smallest_sum_less_the_corrupt() -> None:
    report = check(Policy.default(12, min_clients=10), clients=12)
    assert value(report, "quorum") == 10
    assert value(report, "honest") == 10 - value(report, "corrupt") == 7
    # Where operators sign nobody but n_min vouches for the size of a sum.
    named = check(Policy.default(12, backend="additive", min_clients=3), clients=12)
    assert value(named, "honest") == 0


def test_a_budget_is_counted_from_what_was_signed() -> None:
    policy = Policy.default(8, privacy=Privacy(epsilon=4, delta=1e-5, norm=1.0, rounds=10))
    rule = policy.privacy
    assert rule is not None
    fresh = check(policy, clients=8, parameters=62)
    assert value(fresh, "epsilon") <= 4
    assert (value(fresh, "rounds"), fresh.measured.epsilon_now) == (rule.rounds, 0)
    used = check(Subject(policy=policy, clients=8, spent={rule.ratio: 4}), parameters=62)
    assert value(used, "rounds") == rule.rounds - 4
    assert used.measured.epsilon_now == rule.spent(4)
    # Rounds of another noise, before an epoch, count for what they were.
    loud = check(Subject(policy=policy, clients=8, spent={rule.ratio // 4: 1}), parameters=62)
    assert 0 < value(loud, "rounds") < rule.rounds - 1
    assert not check(policy, clients=8, parameters=62, rounds=rule.rounds + 1).fits
    assert check(policy, clients=8, parameters=62, rounds=rule.rounds).fits


@pytest.mark.parametrize(
    ("policy", "clients", "said"),
    [
        (Policy.default(12), 8, "outside [10, 12]"),
        (msgspec.structs.replace(Policy.default(13), max_corrupt=3, min_advertised=10, min_clients=3), 20, "outside"),
        (msgspec.structs.replace(Policy.default(20), min_advertised=13, max_corrupt=4, max_clients=40), 30, "end it"),
        (Policy.default(12, options=(Option("no_such", 1),)), 12, "no_such"),
        (Policy.default(5000, cohort_size=300, corruption_rate=0.05), 200, "can't be drawn"),
        (Policy.default(12, max_parameters=10), 12, "max_parameters"),
    ],
)
def test_what_the_parties_would_refuse_is_said_beforehand(policy: Policy, clients: int, said: str) -> None:
    report = check(policy, clients=clients, parameters=PARAMS)
    assert not report.fits
    assert said in " ".join(one.text for one in report.broken)
    assert {one.reason for one in report.broken} == {"refused"}
    assert report.figures["seconds"].value is None
    with pytest.raises(LimitBroken):
        report.require()


def test_without_parameters_nothing_is_said_of_costs_and_no_limit_of_them_holds() -> None:
    report = check(Policy.default(5), clients=5, limits={"seconds": 1e9})
    assert [one.reason for one in report.broken] == ["absent"]
    assert "how many parameters" in report.broken[0].text
    assert check(Policy.default(5), clients=5, parameters=10, limits={"seconds": 1e9}).fits


def test_every_figure_has_a_unit_and_a_sentence() -> None:
    report = check(Policy.default(5, norm_bound=1.0), clients=5, parameters=PARAMS)
    document = report.document()
    assert set(document["figures"]) <= set(KINDS)
    assert all(figure["text"] for figure in document["figures"].values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "say clients="),
        ({"clients": 5, "lost": 1.0}, "lost is 1.0"),
        ({"clients": 0}, "clients"),
        ({"clients": 5, "parameters": 0}, "parameters"),
        ({"clients": 5, "rounds": 0}, "rounds"),
        ({"clients": 5, "limits": {"second": 1.0}}, "no limit 'second'"),
        ({"clients": 5, "limits": {"seconds": float("nan")}}, "not a finite number"),
        ({"clients": 5, "limits": {"keyholder.sent": 1.0}}, "has no keyholder"),
    ],
)
def test_what_is_asked_for_has_to_be_something(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(Policy.default(5), **settings)  # type: ignore[arg-type]
