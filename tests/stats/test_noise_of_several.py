"""Correlation, regression and survival with noise: as far off as is stated, and nothing where too little is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_rossi
from lifelines.statistics import logrank_test
from support.tabular.noise import NoisyFederation
from support.tabular.sums import OpenFederation

from secure_agg import Privacy, stats
from secure_agg.errors import ConfigError
from secure_agg.stats.analyses import blurred, moments, survival
from secure_agg.stats.analysis import Analysis
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Column, Question

FRAME: Any = load_rossi()
RANGES = {"age": (16.0, 48.0), "prio": (0.0, 20.0), "week": (0.0, 52.0)}
WORDS: Any = {"missing": "drop", "outside": "drop", "records": 12}
SEED = 31
DRAWS = 400


def federation(epsilon: float) -> NoisyFederation:
    budget = Privacy(epsilon=epsilon, delta=1e-5, norm=1.0)
    return NoisyFederation({f"s{place:03}": FRAME.iloc[place::40] for place in range(40)}, budget, SEED)


def total(values: np.ndarray[Any, Any], noise: float, rng: np.random.Generator, before: int = 0) -> Total:
    """What a round hands over: sums, of which the first is that of weights, each with noise of its own."""
    drawn = values + rng.normal(0, noise, values.size) if noise else values
    weight, body = (drawn[0], drawn[1:]) if not before else (drawn.sum(), np.concatenate([np.zeros(before), drawn]))
    return Total((weight, weight, *[0.0] * (COMMON - 2), *body.tolist()), ("a", "b", "c"), (), noise)


def answered(analysis: Analysis[Any], given: Total) -> Any:
    next(analysis)
    with pytest.raises(StopIteration) as done:
        analysis.send(given)
    return done.value.value


COLUMNS = tuple(Column(name=name, lower=low, upper=high) for name, (low, high) in RANGES.items())
POOLED = FRAME[(FRAME["prio"] <= 20)]


def products() -> np.ndarray[Any, Any]:
    """Σw, Σu, Σu·u' of all records."""
    u = np.stack([(POOLED[c.name] - (c.lower + c.upper) / 2) / ((c.upper - c.lower) / 2) for c in COLUMNS])
    pairs = np.triu_indices(len(COLUMNS))
    return np.concatenate([[u.shape[1]], u.sum(1), (u @ u.T)[pairs]])


def test_coefficients_are_as_far_off_as_is_stated_of_each() -> None:
    rng, exact = np.random.default_rng(SEED), np.corrcoef(POOLED[list(RANGES)].to_numpy().T)
    line = sm.OLS(POOLED["age"], sm.add_constant(POOLED[["prio", "week"]])).fit().params.to_numpy()
    asked = [Question(function=name, columns=COLUMNS) for name in ("correlation", "linear_regression")]
    off: list[list[float]] = [[], []]
    for _ in range(DRAWS):
        given = total(products(), 2.0, rng)
        found = answered(moments.correlating(asked[0]), given)
        pairs = np.triu_indices(3, 1)
        off[0].append(((found.matrix - exact)[pairs] / found.noises[pairs]).tolist())
        assert found.noise == found.noises.max()
        fit = answered(moments.fitting(asked[1]), given)
        noises = np.array(list(fit.noises.values()))
        off[1].append(((np.array(list(fit.coefficients.values())) - line) / noises).tolist())
        assert fit.noise == noises.max()
        assert (np.array(list(fit.standard_errors.values())) > noises).all()
    for each in off:
        assert np.sqrt(np.mean(np.square(each), 0)) == pytest.approx(1.0, abs=0.15)


def test_without_noise_the_same_formulas_give_the_exact_coefficients() -> None:
    """Of noise next to nothing: so the formulas are those of numpy and statsmodels, standard errors too."""
    given = total(products(), 1e-9, np.random.default_rng(SEED))
    found = answered(moments.correlating(Question(function="correlation", columns=COLUMNS)), given)
    assert np.allclose(found.matrix, np.corrcoef(POOLED[list(RANGES)].to_numpy().T), atol=1e-7)
    fit = answered(moments.fitting(Question(function="linear_regression", columns=COLUMNS)), given)
    wanted = sm.OLS(POOLED["age"], sm.add_constant(POOLED[["prio", "week"]])).fit()
    assert np.allclose(list(fit.coefficients.values()), wanted.params, rtol=1e-6)
    assert np.allclose(list(fit.standard_errors.values()), wanted.bse, rtol=1e-6)
    assert fit.r_squared == pytest.approx(wanted.rsquared, rel=1e-5)


def test_where_noise_is_what_columns_vary_by_it_is_stated_as_infinite() -> None:
    rng = np.random.default_rng(SEED)
    for noise in (60.0, 3000.0):
        given = total(products(), noise, rng)
        assert answered(moments.correlating(Question(function="correlation", columns=COLUMNS)), given).noise == np.inf
        fit = answered(moments.fitting(Question(function="linear_regression", columns=COLUMNS)), given)
        assert fit.noise == np.inf
        assert all(np.isnan(value) for value in fit.coefficients.values()) == (not fit.converged)


def test_columns_that_determine_each_other_have_no_coefficients_where_noise_happens_to_be_nothing() -> None:
    """Sums are integers with noise that is one: where it is 0 in each, a matrix may have no inverse at all."""
    sums = [1.0, -3.0, -3.0, 2.0, 1.0, 1.0, 3.0, 3.0, 3.0]  # the smallest eigenvalue is 5e-16, and not 0
    given = Total((4.0, 4.0, *[0.0] * (COMMON - 2), *sums), ("a", "b", "c"), (), 0.1)
    fit = answered(moments.fitting(Question(function="linear_regression", columns=COLUMNS)), given)
    assert not fit.converged
    assert np.isnan(list(fit.coefficients.values())).all()
    assert set(fit.noises.values()) == {np.inf}


TIMES = np.arange(4.0, 53.0, 8.0)
ALIVE = FRAME.assign(week=np.ceil((FRAME["week"] - 4).clip(0, None) / 8) * 8 + 4, arm=FRAME["fin"].astype(str))


def cells(frame: Any, groups: tuple[str, ...]) -> np.ndarray[Any, Any]:
    found = [((frame["arm"] == g) & (frame["arrest"] == e) & (frame["week"] == t)).sum()
             for g in groups for e in (1, 0) for t in TIMES]  # fmt: skip
    return np.array(found, dtype=np.float64)


def timed(function: str, groups: tuple[str, ...] = ()) -> Question:
    columns = [Column(name="week", upper=52.0), Column(name="arrest")]
    if groups:
        columns.append(Column(name="arm", levels=groups))
    return Question(function=function, columns=tuple(columns), edges=tuple(TIMES))


def test_curves_are_as_far_off_as_is_stated_and_their_intervals_hold_noise_too() -> None:
    rng, frame = np.random.default_rng(SEED), ALIVE.assign(arm="all")
    exact = KaplanMeierFitter().fit(frame["week"], frame["arrest"], timeline=TIMES)
    wanted = exact.survival_function_.iloc[:, 0].to_numpy()
    off = []
    for _ in range(DRAWS):
        found = answered(survival.living(timed("kaplan_meier")), total(cells(frame, ("all",)), 3.0, rng, 1))
        (curve,) = found.curves.values()
        assert np.isfinite(curve.noise[:-1]).all()
        off.append((curve.survival - wanted)[:-1] / curve.noise[:-1])
        assert (curve.lower[:-1] < curve.survival[:-1] - 1.9 * curve.noise[:-1]).all() or curve.lower.min() == 0
        assert (np.diff(curve.survival) <= 0).all()
        assert found.off_grid is None
    assert np.sqrt(np.mean(np.square(off), 0)) == pytest.approx(1.0, abs=0.2)


def test_nothing_is_known_from_where_too_few_are_at_risk_on() -> None:
    given = total(np.array([50.0, 1, 1, 50, 1, 1]), 4.0, np.random.default_rng(SEED), 1)
    question = Question(function="kaplan_meier", columns=timed("kaplan_meier").columns, edges=(4.0, 12.0, 20.0))
    (curve,) = answered(survival.living(question), given).curves.values()
    assert curve.noise[1:].tolist() == [np.inf, np.inf]
    assert curve.survival[1] == curve.survival[2]
    assert np.isnan(curve.upper[1:]).all()


def test_the_tests_p_is_right_where_groups_are_alike_and_small_where_they_differ() -> None:
    """Naively counts with noise are taken for exact: of groups that are alike one in three is found to differ."""
    rng, groups = np.random.default_rng(SEED), ("0", "1")
    naive, found = [], []
    for _ in range(DRAWS):
        mixed = ALIVE.assign(arm=rng.permutation(ALIVE["arm"].to_numpy()))
        given = total(cells(mixed, groups), 6.0, rng, 1)
        found.append(answered(survival.comparing(timed("log_rank", groups)), given).p)
        exact = Total(given.values, given.participants, (), 0.0)
        naive.append(answered(survival.comparing(timed("log_rank", groups)), exact).p)
    assert 0.015 < np.mean(np.array(found) < 0.05) < 0.1
    assert np.mean(np.array(naive) < 0.05) > 0.15
    apart = cells(ALIVE, groups) + np.array([*np.full(7, 25.0), *np.zeros(7), *np.zeros(7), *np.full(7, 25.0)])
    assert answered(survival.comparing(timed("log_rank", groups)), total(apart, 3.0, rng, 1)).p < 1e-3


def test_the_tests_differences_vary_by_noise_as_much_as_is_stated() -> None:
    """By every count, moved a little up and down; so the name of no group, and not which is last, decides on ``p``."""
    rng = np.random.default_rng(SEED)
    sizes = np.array([[30.0], [8.0], [15.0]])
    counts = rng.uniform(0.3, 1.0, (2, 3, 5)) * sizes

    def excess(moved: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        observed, expected, _ = blurred.excess_of(moved[0], moved[1], 1e-9)
        return observed - expected

    slopes = []
    for place in np.ndindex(counts.shape):
        step = np.zeros(counts.shape)
        step[place] = 1e-4
        slopes.append((excess(counts + step) - excess(counts - step)) / 2e-4)
    exact, noisy = (blurred.excess_of(counts[0], counts[1], noise)[2] for noise in (1e-9, 0.5))
    assert np.allclose(noisy - exact, 0.25 * np.array(slopes).T @ np.array(slopes), atol=1e-6)
    groups, found = ("a", "b", "c"), []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        given = total(counts[:, order].transpose(1, 0, 2).reshape(-1), 0.0, rng, 1)
        blurry = Total(given.values, given.participants, (), 0.5)
        asked = Question(
            function="log_rank", columns=timed("log_rank", groups).columns, edges=(1.0, 2.0, 3.0, 4.0, 5.0)
        )
        found.append(answered(survival.comparing(asked), blurry).p)
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


def test_with_next_to_no_noise_the_test_is_that_of_lifelines() -> None:
    given = total(cells(ALIVE, ("0", "1")), 1e-9, np.random.default_rng(SEED), 1)
    found = answered(survival.comparing(timed("log_rank", ("0", "1"))), given)
    one, other = (ALIVE[ALIVE["arm"] == group] for group in ("0", "1"))
    wanted = logrank_test(one["week"], other["week"], one["arrest"], other["arrest"])
    assert found.p == pytest.approx(wanted.p_value, rel=1e-4)
    assert found.degrees == 1


WIDE = {"fin": (0.0, 1.0), "wexp": (0.0, 1.0), "week": (0.0, 52.0)}  # columns that fill their ranges
QUARTERS = np.arange(13, 53, 13)
ASKED: dict[str, Callable[[NoisyFederation], Any]] = {
    "correlation": lambda sites: stats.correlation(sites, WIDE, **WORDS),
    "linear_regression": lambda sites: stats.linear_regression(sites, "week", ["fin", "wexp"], WIDE, **WORDS),
    "kaplan_meier": lambda sites: stats.kaplan_meier(sites, "week", "arrest", np.arange(13, 53, 13), **WORDS),
    "log_rank": lambda sites: stats.log_rank(
        sites, "week", "arrest", "fin", ["0", "1"], np.arange(13, 53, 13), **WORDS
    ),
}


@pytest.mark.parametrize("function", ASKED)
def test_rounds_with_noise_come_near_to_all_records_in_one_place(function: str) -> None:
    found, exact = ASKED[function](federation(24.0)), ASKED[function](federation_of_all())
    assert found.noise > 0
    if function == "correlation":
        assert np.isfinite(found.noises).all()
        assert (np.abs(found.matrix - exact.matrix) <= 6 * found.noises + 1e-9).all()
    elif function == "linear_regression":
        for name, value in exact.coefficients.items():
            assert abs(found.coefficients[name] - value) <= 6 * found.noises[name] < np.inf
    elif function == "kaplan_meier":
        curve, known = found.curves["all"], np.isfinite(found.curves["all"].noise)
        assert known[0]
        assert (np.abs(curve.survival - exact.curves["all"].survival) <= 6 * curve.noise)[known].all()
    else:
        assert 0 <= found.p <= 1


def federation_of_all() -> stats.Federation:
    """The same sites, exactly."""
    return OpenFederation({f"s{place:03}": FRAME.iloc[place::40] for place in range(40)})


def test_a_logistic_regression_says_what_would_do_instead() -> None:
    with pytest.raises(ConfigError, match="linear_regression of an outcome of 0 and 1 tells in one round"):
        stats.logistic_regression(federation(24.0), "arrest", ["age"], RANGES, **WORDS)
