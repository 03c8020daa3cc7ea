"""An analyst who wants one record: by differences of questions, by what owners have not allowed, by cells."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tabular.sums import OpenFederation

from secure_agg import stats
from secure_agg.errors import ConfigError, QueryRefused, StoreError, VerificationError
from secure_agg.stats import QueryLog, Rules, Site, Table, site_of
from secure_agg.stats.answers.digits import Digits
from secure_agg.stats.answers.exact import Coordinates
from secure_agg.stats.question import Column, Field, Question
from secure_agg.stats.site import answer, release

AGES = np.concatenate([np.repeat(np.arange(20, 80), 2), [97]])
INCOMES = np.concatenate([np.linspace(10, 90, AGES.size - 1), [77.25]])


def note(text: str) -> None:
    """What pytest shows of a test that fails."""
    sys.stdout.write(text + "\n")


def federation(min_count: int) -> OpenFederation:
    """Three sites; one of them has a single record of somebody of 97, who earns 77.25."""
    table = {"age": AGES, "income": INCOMES}
    rest = {"age": AGES[:-1], "income": INCOMES[:-1]}
    return OpenFederation({"a": table, "b": rest, "c": rest}, min_count)


def difference(sites: OpenFederation) -> float:
    """What the oldest earns: the sum of all, less that of all who are younger."""
    whole = stats.sum(sites, "income", 0, 128)
    return whole.value - stats.sum(sites, "income", 0, 128, where=[("age", "<", 97)]).value


def test_two_sums_that_differ_by_one_record_tell_it_and_a_site_gives_only_one_of_them() -> None:
    assert difference(federation(1)) == pytest.approx(77.25)
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        difference(federation(5))


def test_edges_that_differ_by_one_record_are_the_same_attack() -> None:
    naive = federation(1)
    one, other = (stats.histogram(naive, "age", [0, cut, 128]).counts for cut in (97, 98))
    assert other[0] - one[0] == 1
    sites = federation(5)
    stats.histogram(sites, "age", [0, 60, 128])
    stats.histogram(sites, "age", [0, 50, 128])
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        stats.histogram(sites, "age", [0, 60.5, 128])


def test_bounds_that_differ_by_one_record_are_the_same_attack() -> None:
    def attack(sites: OpenFederation) -> float:
        high, low = (stats.mean(sites, "age", 0, upper, outside="drop").records for upper in (97, 96))
        return high - low

    assert attack(federation(1)) == 1
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        attack(federation(5))


def test_a_record_that_comes_or_goes_is_not_told_by_asking_again(tmp_path: Path) -> None:
    question = Question(function="sum", columns=(Column(name="income", upper=128.0),))
    before, after = ({"age": AGES[:stop], "income": INCOMES[:stop]} for stop in (-1, None))
    naive = [answer(question, Table(table), Rules(min_count=1)).values for table in (before, after)]
    assert (naive[1][5] - naive[0][5]) * question.columns[0].unit == pytest.approx(77.25)
    log = tmp_path / "log"
    first = Site(Table(before), Rules(), QueryLog(log)).answer(question)
    assert Site(Table(before), Rules(), QueryLog(log)).answer(question) == first  # as it was asked before
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        Site(Table(after), Rules(), QueryLog(log)).answer(question)
    assert os.stat(log).st_mode & 0o777 == 0o600
    log.write_bytes(log.read_bytes()[:-3])
    with pytest.raises(StoreError, match="no log of questions"):
        QueryLog(log)


def test_what_was_refused_is_not_remembered_and_equal_records_are_told_apart() -> None:
    log, table = QueryLog(), Table({"x": [1.0] * 20})
    some = np.arange(20) < 10
    log.admit(table, [some], 5)
    with pytest.raises(QueryRefused):
        log.admit(table, [np.arange(20) >= 0, np.arange(20) < 8], 5)
    assert len(log) == 1
    log.admit(table, [np.arange(20) >= 10], 5)


def test_small_cells_are_held_back_or_moved_and_the_result_says_by_how_much_it_is_off() -> None:
    sites = federation(5)
    found = stats.histogram(sites, "age", np.arange(0, 101, 1))
    assert found.counts[found.counts > 0].min() >= 5
    for site in sites.sites.values():
        values = site.answer(sites.asked[-1])
        assert all(count == 0 or count >= 5 for count in values[5:])
    assert found.uncertain == 12
    exact = np.cumsum(np.histogram(np.concatenate([AGES, AGES[:-1], AGES[:-1]]), np.arange(0, 101, 1))[0])
    assert np.abs(np.cumsum(found.counts) - exact).max() <= found.uncertain
    assert found.counts.sum() == exact[-1]
    levels = {"age": [str(age) for age in (*range(20, 80), 97)], "income": ["77.25"]}
    table = stats.contingency(federation(5), "age", "income", levels, outside="drop")
    assert (table.counts.sum(), table.records) == (0, 0)
    assert stats.mean(federation(5), "income", 0, 128, where=[("age", "==", 97)]).records == 0
    assert stats.mean(federation(1), "income", 0, 128, where=[("age", "==", 97)]).value == pytest.approx(77.25)


def test_moving_never_moves_a_cumulative_count_by_the_minimum() -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    note(f"seed {seed}")
    generator = np.random.default_rng(seed)
    for _ in range(200):
        counts, least = generator.poisson(generator.uniform(0.1, 6), 24), int(generator.integers(1, 9))
        landing = release(counts, least, 12)
        moved = np.bincount(landing[landing >= 0], counts[landing >= 0], 24)
        assert all(count == 0 or count >= least for count in moved)
        for run in (slice(0, 12), slice(12, 24)):
            assert np.abs(np.cumsum(moved[run]) - np.cumsum(counts[run])).max() < least


RULES = """
min_count = 3
functions = ["count", "mean", "histogram", "quantile"]
[columns.age]
lower = 0
upper = 120
step = 10
filter = true
[columns.sex]
levels = ["f", "m"]
functions = ["count"]
"""


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda f: stats.sum(f, "age", 0, 120), "does not allow sum"),
        (lambda f: stats.mean(f, "income", 0, 120), "does not allow column 'income'"),
        (lambda f: stats.mean(f, "age", 0, 110), "another range"),
        (lambda f: stats.mean(f, "age", 0, 120, weights="income"), "does not allow column 'income'"),
        (lambda f: stats.mean(f, "age", 0, 120, where=[("income", ">", 5)]), "does not allow column 'income'"),
        (lambda f: stats.mean(f, "age", 0, 120, where=[("sex", "==", "f")]), "conditions on column 'sex'"),
        (lambda f: stats.mean(f, "age", 0, 120, where=[("age", ">", 55)]), "multiples of 10"),
        (lambda f: stats.histogram(f, "age", [0, 45, 120]), "multiples of 10"),
        (lambda f: stats.histogram(f, "age", [0, 60, 130]), "another range"),
    ],
)
def test_a_site_refuses_what_its_owner_has_not_allowed(tmp_path: Path, ask: Any, words: str) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    table = {"age": AGES, "income": np.rint(INCOMES), "sex": ["f", "m"] * (AGES.size // 2) + ["f"]}
    ask(OpenFederation({"a": table}, 1))  # a site without rules tells
    site = site_of(table, tmp_path / "rules.toml")
    with pytest.raises(QueryRefused, match=words):
        ask(OpenFederation({"a": site}))
    assert stats.mean(OpenFederation({"a": site}), "age", 0, 120, where=[("age", ">=", 50)]).records == 61
    assert stats.quantile(OpenFederation({"a": site}), "age", 0.5, 0, 120, bins=4, step=10).error == 5


@pytest.mark.parametrize(
    "text", ["min_count = 0", "columns = 3", "[columns.a]\nstep = 1", 'functions = ["all"]', "x=1", "["]
)
def test_rules_that_say_something_else_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(ConfigError):
        Rules.load(tmp_path / "rules.toml")


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, 129])
def test_a_value_out_of_range_never_counts_for_more_than_the_range(value: float) -> None:
    sites = OpenFederation({"a": {"x": [1.0, 2.0, value]}, "b": {"x": [3.0] * 3}, "c": {"x": [4.0] * 3}})
    with pytest.raises(QueryRefused, match="out of the announced range"):
        stats.mean(sites, "x", 0, 128)
    assert stats.mean(sites, "x", 0, 128, outside="drop").value == 3
    clipped = stats.mean(sites, "x", 0, 128, outside="clip")
    assert clipped.value == (24 + min(max(value, 0), 128)) / 9
    assert clipped.outside == 1


@pytest.mark.parametrize("weight", [-1, 0.5, 4, np.nan])
def test_weights_are_whole_numbers_of_their_range(weight: float) -> None:
    sites = OpenFederation({"a": {"x": [1.0, 2.0], "w": [1, weight]}})
    with pytest.raises(QueryRefused):
        stats.mean(sites, "x", 0, 128, weights="w", max_weight=3)


def test_sites_that_were_asked_different_questions_make_no_sum() -> None:
    """A coordinator, or an honest mistake, has one site answer another question of the same length."""
    sites = federation(1)
    questions = [Question(function="sum", columns=(Column(name=name, upper=128.0),)) for name in ("age", "income")]
    forms = [Coordinates(questions[place == 2], sites.policy) for place in range(3)]
    answers = [site.answer(form.question) for site, form in zip(sites.sites.values(), forms, strict=True)]
    updates = [form.update_of(values) for form, values in zip(forms, answers, strict=True)]
    with pytest.raises(VerificationError, match="not all asked the same question"):
        forms[0].total_of(np.mean(updates, axis=0), 3)


def test_digits_sum_exactly_and_a_sum_beyond_their_bound_is_refused() -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    note(f"seed {seed}")
    generator = np.random.default_rng(seed)
    fields = [Field("small", 100), Field("large", 1 << 100), Field("middle", 1 << 16)]
    for room in (1 << 12, 1 << 16, (1 << 23) - 1):
        digits = Digits(fields, room)
        sides = [[-1, 1, 0][int(generator.integers(3))] for _ in range(5)]
        values = [[field.most * side - side * int(generator.integers(100)) for field in fields] for side in sides]
        encoded = [digits.encode(each, os.urandom(32)) for each in values]
        assert max(np.abs(each).max() for each in encoded) <= room
        sums = np.sum(encoded, axis=0).tolist()
        assert digits.decode(sums, 5) == tuple(map(sum, zip(*values, strict=True)))
        sums[0] = 501
        with pytest.raises(VerificationError, match="larger than they can have answered"):
            digits.decode(sums, 5)


def test_carries_hide_whose_digits_a_sum_has() -> None:
    """Plain digits of a sum tell how often a digit was carried at a site; ours are the same by distribution."""
    fields, room = [Field("large", 1 << 60)], (1 << 23) - 1
    digits = Digits(fields, room)
    lowest = {
        pair: np.array([sum(digits.encode([v], os.urandom(32))[0] for v in pair) for _ in range(4000)])
        for pair in ((7, 9), (0, 16))
    }
    naive = {pair: sum(value % 16 for value in pair) for pair in lowest}
    assert len(set(naive.values())) == 2
    means = [float(np.abs(found).mean()) / room for found in lowest.values()]
    assert abs(means[0] - means[1]) < 0.1  # ten deviations
    assert min(np.unique(found).size for found in lowest.values()) > 3900
