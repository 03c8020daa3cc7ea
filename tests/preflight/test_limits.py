"""A limit that is broken says which changes would do: they do, and smaller ones would not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from secure_agg import Policy, Privacy
from secure_agg.preflight.limits import ABSENT, BEYOND, Way
from secure_agg.preflight.report import Report, check
from secure_agg.preflight.subject import Subject
from secure_agg.protocol.config import Option
from secure_agg.protocol.config.norm import NORM_STEPS
from secure_agg.protocol.config.norm import steps_of as norm_steps

PRIVATE = Privacy(epsilon=4, delta=1e-5, norm=1.0, rounds=8)


def changed(subject: Subject, changes: Mapping[str, Any]) -> Subject:
    """The subject after a change as it is said: fields of it, of its policy, and options."""
    policy = subject.policy
    own = {name: value for name, value in changes.items() if name in Policy.__struct_fields__}
    options = {option.name: option.value for option in policy.options}
    more = {name: value for name, value in changes.items() if name in ("parameters", "rounds")}
    if "clients" in changes:
        own["cohort_size"] = changes["clients"] if policy.cohort_size else 0
        more["clients"] = subject.clients if policy.cohort_size else changes["clients"]
    if "noise_ratio" in changes:
        options["privacy_ratio"] = changes["noise_ratio"]
    if "epsilon" in changes:
        options["privacy_epsilon"] = round(changes["epsilon"] * 10**6)
    if "delta" in changes:
        options["privacy_delta"] = round(changes["delta"] * 10**12)
    made = msgspec.structs.replace(policy, **own)
    if policy.norm is not None and "bits" in changes:
        options[NORM_STEPS] = norm_steps(policy.norm_limit, made.clip, made.bits, made.max_clients)
    made = msgspec.structs.replace(made, options=Option.list(options))
    return replace(subject, policy=made, **more)


def one_less(way: Way, subject: Subject) -> dict[str, Any]:
    """The change that is named first, one step back towards what is; what goes with it stays."""
    name, value = next(iter(way.changes.items()))
    now = getattr(subject, name, None) or getattr(subject.policy, name)
    assert isinstance(value, int)
    return {**way.changes, name: value + (1 if value < now else -1)}


def subject_of(policy: Policy, clients: int, parameters: int = 1000, rounds: int | None = None) -> Subject:
    return Subject(policy=policy, clients=clients, parameters=parameters, rounds=rounds)


@pytest.mark.parametrize(
    ("subject", "name", "limit", "settings"),
    [
        (subject_of(Policy.default(12), 12), "quorum", 9, {"min_clients"}),
        (subject_of(Policy.default(12), 12), "dropouts", 3, {"min_advertised", "clients"}),
        (subject_of(Policy.default(12, dropout=0.4), 12), "corrupt", 3, {"max_corrupt", "clients"}),
        (subject_of(Policy.default(12, dropout=0.4), 12), "corrupt_share", 0.2, {"min_advertised"}),
        (subject_of(Policy.default(12), 12), "honest", 7, {"max_corrupt", "min_clients", "clients"}),
        (subject_of(Policy.default(9, bits=8, max_weight=10), 9), "error", 0.01, {"bits"}),
        (subject_of(Policy.default(9, bits=12, max_weight=100), 9), "error", 0.1, {"bits", "max_weight"}),
        (subject_of(Policy.default(12), 12, 10_000), "client.sent", 50_000, {"parameters", "bits"}),
        (subject_of(Policy.default(12), 12, 10_000), "aggregator.sent", 1e6, {"clients"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_said_to_do_does_and_one_step_less_does_not(
    subject: Subject, name: str, limit: float, settings: set[str]
) -> None:
    report = check(subject, limits={name: limit})
    (one,) = report.broken
    assert (one.reason, one.figure, one.limit) == (BEYOND, name, limit)
    assert one.value == report.figures[name].value
    assert settings <= {next(iter(way.changes)) for way in one.ways}
    for way in one.ways:
        assert way.text in one.text
        assert check(changed(subject, way.changes), limits={name: limit}).fits, way.text
        first = next(iter(way.changes))
        if first != "clients":  # with which much else changes
            assert not _holds(subject, one_less(way, subject), name, limit), way.text


def _holds(subject: Subject, changes: Mapping[str, Any], name: str, limit: float) -> bool:
    try:
        return check(changed(subject, changes), limits={name: limit}).fits
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("name", "limit", "settings"), [("epsilon", 2.0, ["rounds", "epsilon"]), ("rounds", 11.5, None)]
)
def test_a_budget_that_is_too_large_can_be_smaller_or_for_fewer_rounds(
    name: str, limit: float, settings: list[str] | None
) -> None:
    subject = subject_of(Policy.default(8, privacy=PRIVATE), 8, 62)
    (one,) = check(subject, limits={name: limit}).broken
    assert [next(iter(way.changes)) for way in one.ways] == (settings or ["noise_ratio"])
    for way in one.ways:
        assert check(changed(subject, way.changes), limits={name: limit}).fits
    if name == "epsilon":
        rounds = one.ways[0].changes["rounds"]
        assert not check(replace(subject, rounds=int(rounds) + 1), limits={name: limit}).fits


def test_a_protection_that_is_not_there_breaks_its_limit() -> None:
    report = check(Policy.default(9), clients=9, parameters=1000, limits={"norm": 4.0, "epsilon": 2.0})
    assert [(one.reason, one.figure) for one in report.broken] == [(ABSENT, "norm"), (ABSENT, "epsilon")]
    assert report.broken[0].ways[0].changes["norm_bound"] == pytest.approx(4.0, rel=1e-3)
    assert report.broken[0].ways[0].changes["screening"] == 1
    assert check(Policy.default(9, norm_bound=3.9), clients=9, parameters=1000, limits={"norm": 4.0}).fits


def test_no_change_is_proposed_that_breaks_what_holds() -> None:
    subject = subject_of(Policy.default(12), 12)
    free = check(subject, limits={"dropouts": 3})
    assert any("min_advertised" in way.changes for way in free.broken[0].ways)
    bound = check(subject, limits={"dropouts": 3, "corrupt": 3})
    assert bound.broken[0].figure == "dropouts"
    for way in bound.broken[0].ways:
        after = check(changed(subject, way.changes), limits={"dropouts": 3, "corrupt": 3})
        assert after.fits
    assert not any(next(iter(way.changes)) == "min_advertised" for way in bound.broken[0].ways)


def test_where_no_change_of_one_setting_would_do_that_is_said() -> None:
    report: Report = check(Policy.default(12), clients=12, parameters=1000, limits={"seconds": 0.0})
    assert report.broken[0].ways == ()
    assert "no change of one setting would do" in report.broken[0].text
