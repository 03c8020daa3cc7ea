"""Answers with noise: bounded whatever the data are, refused by nothing in them, and as far off as is stated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifelines.datasets import load_rossi
from support.tabular.noise import NoisyFederation

from secure_agg import Policy, Privacy, stats
from secure_agg.errors import ConfigError, QueryRefused
from secure_agg.stats import PrivacyLimit, Rules, Site, Table
from secure_agg.stats.analyses import ranks
from secure_agg.stats.answers.exact import Coordinates
from secure_agg.stats.answers.noisy import Shares
from secure_agg.stats.question import SURVIVAL, Column, Condition, Question

FRAME: Any = load_rossi()  # 432 men after prison
BUDGET = Privacy(epsilon=8.0, delta=1e-5, norm=1.0)
WORDS: Any = {"missing": "drop", "outside": "clip", "records": 12}
AGE = Column(name="age", lower=16, upper=48)
POLICY = Policy.default(8, privacy=BUDGET, min_clients=8, bits=20)
SEED = 20


def federation(seed: int = SEED) -> NoisyFederation:
    return NoisyFederation({f"s{place:03}": FRAME.iloc[place::40] for place in range(40)}, BUDGET, seed)


def test_answers_are_as_far_from_the_plain_ones_as_their_noise_says() -> None:
    sites, age = federation(), FRAME["age"].to_numpy()
    count = stats.count(sites, where=[("fin", "==", 1)], records=12)
    total, mean = stats.sum(sites, "age", 16, 48, **WORDS), stats.mean(sites, "age", 16, 48, **WORDS)
    variance = stats.variance(sites, "age", 16, 48, **WORDS)
    middle = stats.quantile(sites, "age", 0.5, 16, 48, bins=16, rounds=1, **WORDS)
    plain = (FRAME["fin"].sum(), age.sum(), age.mean(), age.var(ddof=1), np.quantile(age, 0.5, method="inverted_cdf"))
    for found, exact in zip((count, total, mean, variance, middle), plain, strict=True):
        assert 0 < found.noise < np.inf
        assert abs(found.value - exact) <= found.error + 4 * found.noise, found
        assert (found.uncertain, found.missing, found.outside) == (None, None, None)
    assert mean.noise < 2
    assert count.noise < 12
    bins = stats.histogram(sites, "age", np.arange(16, 49, 4), **WORDS)
    assert np.abs(bins.counts - np.histogram(age, np.arange(16, 49, 4))[0]).max() <= 4 * bins.noise
    levels = {"fin": ["0", "1"], "arrest": ["0", "1"]}
    cells = stats.contingency(sites, "fin", "arrest", levels, **WORDS | {"outside": "drop"})
    together = FRAME.groupby(["fin", "arrest"]).size().to_numpy().reshape(2, 2)
    assert np.abs(cells.counts - together).max() <= 4 * cells.noise
    assert np.isnan(cells.p), "a test that takes noise for dependence has no p"


def test_the_noise_that_is_stated_is_the_noise_that_there_is() -> None:
    edges, off = np.arange(16, 49), list[float]()
    for seed in range(24):
        found = stats.histogram(federation(seed), "age", edges, **WORDS)
        off += ((found.counts - np.histogram(FRAME["age"], edges)[0]) / found.noise).tolist()
    assert 0.82 < np.sqrt(np.mean(np.square(off))) < 1.2  # of 768 numbers it is off by 2.5 %


def question(function: str, **changes: Any) -> Question:
    other, event = Column(name="w", lower=0, upper=4), Column(name="event")
    columns = {
        "count": (),
        "contingency": (Column(name="x", levels=("a",)), Column(name="y", levels=("b", "c"))),
        "correlation": (AGE, other),
        "linear_regression": (AGE, other),
        "kaplan_meier": (Column(name="age", upper=48), event),
        "log_rank": (Column(name="age", upper=48), event, Column(name="y", levels=("b", "c"))),
    }
    words = {"missing": "drop", "outside": "drop", "records": 12, "columns": columns.get(function, (AGE,))}
    if function in ("histogram", "quantile", "kaplan_meier", "log_rank"):
        words["edges"] = (16.0, 20.0, 48.0)
    return Question(**({"function": function} | words | changes))


FUNCTIONS = ("count", "sum", "mean", "variance", "histogram", "quantile", "contingency")
SEVERAL = ("correlation", "linear_regression", "kaplan_meier", "log_rank")


@pytest.mark.parametrize("function", [*FUNCTIONS, *SEVERAL])
def test_no_sites_vector_is_longer_than_the_norm_whatever_it_holds(function: str) -> None:
    """Naively an answer is divided by what the question says a site has at most: it says one record, and a site with
    many counts as that many sites, above noise that is made for one.
    """
    rng = np.random.default_rng(SEED)
    for case in range(60):
        size = int(rng.integers(0, 60))
        table = {
            "age": rng.choice([rng.uniform(-1e3, 1e3), 16.0, 48.0, 16.1, np.nan], size),
            "x": rng.choice(["a", "z"], size), "y": rng.choice(["b", "c"], size), "w": rng.integers(0, 9, size),
            "event": rng.choice([0.0, 1.0, 0.5, 7.0], size),
        }  # fmt: skip
        weighted = case % 2 and function not in SURVIVAL
        weights = Column(name="w", lower=0, upper=4) if weighted else None
        asked = question(function, weights=weights, records=int(rng.integers(1, 30)))
        vector = Shares(asked, POLICY, 8).answer(Site(Table.of(table), Rules(min_count=1)))
        assert np.linalg.norm(vector) <= POLICY.clip * (1 + 1e-12)


def test_the_norm_is_used_up_by_the_most_that_a_site_may_hold_and_no_answer_depends_on_its_unit() -> None:
    table = {"age": np.full(12, 48.0), "x": ["a"] * 12, "y": ["c"] * 12, "w": np.full(12, 4), "event": np.ones(12)}
    for function in (*FUNCTIONS, *SEVERAL):
        for norm in (0.01, 1.0, 50.0):
            policy = Policy.default(8, privacy=Privacy(epsilon=8.0, delta=1e-5, norm=norm), min_clients=8, bits=20)
            form = Shares(question(function), policy, 8)
            assert np.linalg.norm(form.answer(Site(Table.of(table)))) == pytest.approx(norm)
            assert form.noise == pytest.approx(Shares(question(function), POLICY, 8).noise, rel=1e-3)


def test_a_smaller_sensitivity_than_a_sites_records_have_buys_no_signal() -> None:
    """A server says one record, so that noise is that of one, and asks a site of forty. Naively the answer is forty
    standard deviations above the noise.
    """
    site = Site(Table.of({"age": np.full(40, 30.0)}), Rules(min_count=1))
    form = Shares(question("count", records=1, columns=()), POLICY, 8)
    naive = site.answer(question("count", columns=(), records=64))[1] / form.most
    made = form.rule.mechanism_of(form.size, 8, POLICY.top // 2)
    deviation = made.deviation * np.sqrt(8) / made.length * POLICY.clip
    assert naive * POLICY.clip / form.reach > 10 * deviation
    assert float(form.answer(site)[0]) <= POLICY.clip < 2 * deviation


def test_a_site_refuses_nothing_by_what_it_holds() -> None:
    """Exactly, each of these is a refusal, which tells of the records without noise."""
    ages = np.concatenate([np.arange(20.0, 60.0), [np.nan, 99.0, 16.5]])
    odd = np.where(ages == 16.5, 0.5, 1.0)  # an event that is neither
    site = Site(Table.of({"age": ages, "flag": ages == 16.5, "event": odd}), Rules(min_count=5))
    policy = Policy.default(3, bits=24)
    narrow = question("mean", records=8, outside="clip")
    single = question("sum", columns=(Column(name="flag"),), records=64)
    near = [question("count", where=(Condition("age", "<", edge),), records=64) for edge in (16.6, 60.0, 99.0, 100.0)]
    odd_event = question("kaplan_meier", records=64)
    refused = 0
    for asked in (narrow, single, odd_event, *near):
        try:
            Coordinates(asked, policy).answer(site)
        except QueryRefused:
            refused += 1
        Shares(asked, POLICY, 8).answer(site)
    assert refused >= 4
    noisy = Site(site.table, site.rules)
    Shares(near[0], POLICY, 8).answer(noisy)
    assert len(noisy.log) == 0


def test_one_record_of_text_does_not_decide_whether_a_column_of_numbers_is_answered(tmp_path: Path) -> None:
    """Naively its column is one of text: whether there is such a record shows, without noise, in who answers."""
    plain, odd = tmp_path / "plain.csv", tmp_path / "odd.csv"
    plain.write_text("age\n" + "30\n" * 9 + "20\n", "utf-8")
    odd.write_text("age\n" + "30\n" * 9 + "not said\n", "utf-8")
    old = (Condition("age", ">=", 25.0),)
    for asked in (question("mean"), question("histogram"), question("count", columns=(), where=old)):
        found = [Shares(asked, POLICY, 8).answer(Site(Table.read_csv(path))) for path in (plain, odd)]
        assert np.linalg.norm(found[0] - found[1]) <= POLICY.clip / 12 * 2
        with pytest.raises(ConfigError, match="column 'age' holds text"):
            Coordinates(asked, Policy.default(3, bits=24)).answer(Site(Table.read_csv(odd)))


def test_nor_does_the_number_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a question may ever allow for are summed at a time: naively a site with more refuses."""
    monkeypatch.setattr("secure_agg.stats.site.MAX_RECORDS", 7)
    ages = np.random.default_rng(SEED).uniform(16, 48, 40)
    values = Site(Table.of({"age": ages})).answer(question("variance"), POLICY.privacy)
    scaled = [int(value) for value in np.rint(ages / AGE.unit)]
    assert values[:2] == (40, 40)
    assert values[-2:] == (sum(scaled), sum(value**2 for value in scaled))


class Untouched(Table):
    """A table that says so when somebody looks at it."""

    def __init__(self) -> None:
        super().__init__({})

    def column(self, name: str) -> Any:
        raise AssertionError(f"column {name} was looked at")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (
            lambda: question("logistic_regression", columns=(Column(name="x"), AGE), point=(0.0, 0.0)),
            "one round which way",
        ),
        (lambda: question("mean", missing="refuse"), "say missing='drop'"),
        (lambda: question("mean", outside="refuse"), "say outside='clip' or outside='drop'"),
        (lambda: question("contingency", outside="clip"), "say outside='drop' where"),
        (lambda: question("mean", outside="clip", weights=Column(name="w", lower=0, upper=2)), "say outside='drop'"),
    ],
)
def test_what_noise_makes_impossible_is_refused_by_the_question_alone(ask: Callable[[], Question], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Shares(ask(), POLICY, 8)


def test_noise_above_all_that_there_can_be_and_a_budget_that_owners_do_not_allow_are_refused_before_data() -> None:
    weak = Policy.default(3, privacy=Privacy(epsilon=0.2, delta=1e-5, norm=1.0, rounds=50), min_clients=3, bits=24)
    with pytest.raises(ConfigError, match=r"noise of ±\d+.* records, and 3 sites have 36 at most"):
        Shares(question("count"), weak, 3)
    strict = Site(Untouched(), Rules(privacy=PrivacyLimit(epsilon=4.0)))
    with pytest.raises(QueryRefused, match=r"allows a budget of epsilon = 4, .* the task's is 8"):
        Shares(question("mean"), POLICY, 8).answer(strict)
    with pytest.raises(QueryRefused, match="with differential privacy only: these rounds have none"):
        Coordinates(question("mean"), Policy.default(3, bits=24)).answer(strict)


def test_an_answer_that_no_model_has_room_for_is_refused_before_it_is_computed() -> None:
    given = Shares(question("histogram"), POLICY, 8).given(np.zeros(2))
    with pytest.raises(ConfigError, match="goes in one round: this one is 2 values, and the model is 1"):
        given.steps([np.zeros(1)])
    with pytest.raises(ConfigError, match="in float64"):
        given.steps([np.zeros(4, np.float32)])


def test_counts_that_fall_by_noise_have_a_place_and_what_is_open_around_it() -> None:
    reached = np.array([10.0, 8.0, 30.0, 28.0, 60.0])
    assert ranks.place_of(reached, 20.0) == 2
    assert ranks.place_of(np.array([1.0, 2.0, 3.0]), 9.0) == 2
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert ranks.blur(edges, 0.0, np.array([10.0, 20.0, 30.0, 40.0, 50.0]), 25.0, 5.0) == pytest.approx(0.5)
    assert ranks.blur(edges, 0.0, np.array([10.0, 20.0, 20.0, 20.0, 50.0]), 20.0, 1.0) == pytest.approx(
        1.0667, abs=1e-4
    )
    assert ranks.blur(edges, 0.0, reached, 29.0, 500.0) == 2.5
    assert ranks.deviations(4, 1.0, 0.0).tolist() == pytest.approx(np.sqrt([1, 2, 3, 4]).tolist())


def test_rules_of_privacy_are_a_table_of_the_owners_file(tmp_path: Any) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("min_count = 5\n[privacy]\nepsilon = 4\ndelta = 1e-6\n")
    assert Rules.load(file).privacy == PrivacyLimit(epsilon=4.0, delta=1e-6)
    file.write_text("[privacy]\nepsilon = 0\n")
    with pytest.raises(ConfigError, match="both are above 0"):
        Rules.load(file)
