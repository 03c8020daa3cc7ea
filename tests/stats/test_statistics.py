"""Statistics over sites are those of all records in one place, within the error that they state themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_rossi, load_waltons
from lifelines.statistics import multivariate_logrank_test
from sklearn.datasets import load_breast_cancer, load_diabetes
from support.tabular.sums import OpenFederation, parts

from secure_agg import stats
from secure_agg.errors import ConfigError, QueryRefused
from secure_agg.stats.analysis import chi2_sf

BREAST: Any = load_breast_cancer(as_frame=True).frame
DIABETES: Any = load_diabetes(as_frame=True, scaled=False).frame
ROSSI: Any = load_rossi()
WALTONS: Any = load_waltons()


def close(found: float, wanted: float, error: float) -> bool:
    """Within a stated error, and what the other computation loses itself."""
    return abs(found - wanted) <= error + 1e-12 * abs(wanted)


@pytest.mark.parametrize("kind", ["pandas", "polars", "numpy"])
def test_moments_are_those_of_the_pooled_table(kind: str) -> None:
    makers: dict[str, Callable[[Any], Any]] = {
        "pandas": lambda frame: frame,
        "polars": pl.from_pandas,
        "numpy": lambda frame: {name: frame[name].to_numpy() for name in frame},
    }
    sites = OpenFederation({name: makers[kind](part) for name, part in parts(DIABETES).items()})
    assert stats.count(sites).value == len(DIABETES)
    for name, lower, upper in (("age", 0, 120), ("bmi", 0, 100), ("s5", -20, 20)):
        column = DIABETES[name]
        total, mean = stats.sum(sites, name, lower, upper), stats.mean(sites, name, lower, upper)
        assert close(total.value, column.sum(), total.error)
        assert close(mean.value, column.mean(), mean.error)
        for ddof in (0, 1):
            variance = stats.variance(sites, name, lower, upper, ddof=ddof)
            assert close(variance.value, column.var(ddof=ddof), variance.error)
            assert variance.error < 1e-7


def test_whole_numbers_are_summed_without_any_error() -> None:
    sites = OpenFederation(parts(DIABETES))
    assert stats.sum(sites, "s1", 0, 1 << 12).value == DIABETES["s1"].sum()


def test_a_variance_far_from_zero_does_not_cancel() -> None:
    column = 1e9 + np.arange(300) / 64
    sites = OpenFederation({f"s{place}": {"x": column[place::3]} for place in range(3)})
    found = stats.variance(sites, "x", 0, 2e9)
    assert close(found.value, column.var(ddof=1), found.error)
    assert found.error < 1e-2


def test_correlations_are_those_of_numpy() -> None:
    ranges = {"mean radius": (0.0, 64.0), "mean texture": (0.0, 64.0), "mean area": (0.0, 4096.0)}
    found = stats.correlation(OpenFederation(parts(BREAST)), ranges)
    assert np.abs(found.matrix - np.corrcoef(BREAST[list(ranges)].T)).max() <= found.error < 1e-9


def test_least_squares_are_those_of_statsmodels() -> None:
    ranges = {"age": (0.0, 128.0), "bmi": (0.0, 64.0), "bp": (0.0, 256.0), "s5": (0.0, 16.0), "target": (0.0, 512.0)}
    inputs = list(ranges)[:-1]
    found = stats.linear_regression(OpenFederation(parts(DIABETES)), "target", inputs, ranges)
    fitted = sm.OLS(DIABETES["target"], sm.add_constant(DIABETES[inputs])).fit()
    for name, wanted in fitted.params.items():
        key = "intercept" if name == "const" else name
        assert close(found.coefficients[key], wanted, found.error)
        assert found.standard_errors[key] == pytest.approx(fitted.bse[name], rel=1e-9)
    assert found.r_squared == pytest.approx(fitted.rsquared, abs=1e-10)
    assert found.error < 1e-5


def test_columns_that_determine_each_other_have_no_coefficients() -> None:
    frame = pd.DataFrame({"y": np.arange(30.0), "a": np.arange(30) % 7, "b": 2.0 * (np.arange(30) % 7)})
    ranges = {"y": (0.0, 32.0), "a": (0.0, 8.0), "b": (0.0, 16.0)}
    found = stats.linear_regression(OpenFederation(parts(frame)), "y", ["a", "b"], ranges)
    assert not found.converged
    assert math.isnan(found.coefficients["a"])


def test_a_logistic_regression_is_that_of_statsmodels() -> None:
    ranges = {"mean radius": (0.0, 64.0), "mean texture": (0.0, 64.0)}
    found = stats.logistic_regression(OpenFederation(parts(BREAST)), "target", list(ranges), ranges)
    fitted = sm.Logit(BREAST["target"], sm.add_constant(BREAST[list(ranges)])).fit(disp=0, tol=1e-13, maxiter=100)
    assert found.converged
    assert found.error < 1e-7
    for name, wanted in fitted.params.items():
        key = "intercept" if name == "const" else name
        assert close(found.coefficients[key], wanted, found.error + 1e-9)
        assert found.standard_errors[key] == pytest.approx(fitted.bse[name], rel=1e-6)
    assert found.log_likelihood == pytest.approx(fitted.llf, abs=1e-5)


def test_outcomes_that_a_plane_parts_have_no_maximum() -> None:
    frame = pd.DataFrame({"y": [0.0] * 20 + [1.0] * 20, "x": np.arange(40.0)})
    found = stats.logistic_regression(OpenFederation(parts(frame)), "y", ["x"], {"x": (0.0, 64.0)}, rounds=12)
    assert not found.converged


def test_histograms_are_numpys_to_the_record() -> None:
    edges = np.linspace(0, 40, 21)
    found = stats.histogram(OpenFederation(parts(BREAST)), "mean radius", edges)
    assert (found.counts == np.histogram(BREAST["mean radius"], edges)[0]).all()


@pytest.mark.parametrize("q", [0, 0.1, 0.25, 0.5, 0.9, 1])
def test_quantiles_are_within_half_a_bin(q: float) -> None:
    sites = OpenFederation(parts(BREAST))
    found = stats.quantile(sites, "mean area", q, 0, 4096, bins=64, rounds=3)
    wanted = np.quantile(BREAST["mean area"], q, method="inverted_cdf")
    assert abs(found.value - wanted) <= found.error <= 4096 / 64**3
    assert len(sites.asked) == 3


@pytest.mark.parametrize("outside", ["clip", "drop"])
@pytest.mark.parametrize("q", [0.01, 0.5, 0.99])
def test_quantiles_of_values_out_of_range_are_as_the_question_says(outside: Any, q: float) -> None:
    column = BREAST["mean area"]
    wanted = column.clip(300, 900) if outside == "clip" else column[column.between(300, 900)]
    found = stats.quantile(OpenFederation(parts(BREAST)), "mean area", q, 300, 900, bins=32, rounds=3, outside=outside)
    assert abs(found.value - np.quantile(wanted, q, method="inverted_cdf")) <= found.error
    assert found.outside == (~column.between(300, 900)).sum()


def test_a_contingency_table_is_pandas_and_its_test_scipys() -> None:
    levels = {"race": ["0", "1"], "arrest": ["0", "1", "never seen"]}
    found = stats.contingency(OpenFederation(parts(ROSSI)), "race", "arrest", levels)
    assert (found.counts[:, :2] == pd.crosstab(ROSSI["race"], ROSSI["arrest"]).to_numpy()).all()
    assert found.counts[:, 2].sum() == 0
    chi2, p, degrees, _ = scipy.stats.chi2_contingency(found.counts[:, :2], correction=False)
    assert (found.chi2, found.p, found.degrees) == (pytest.approx(chi2), pytest.approx(p), degrees)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10])
def test_the_tail_of_chi_squared_is_scipys(degrees: int) -> None:
    for value in (0.0, 0.01, 1.0, 3.84, 20.0, 200.0):
        assert chi2_sf(value, degrees) == pytest.approx(scipy.stats.chi2.sf(value, degrees), rel=1e-10, abs=1e-300)


def test_survival_with_ties_and_censoring_is_that_of_lifelines() -> None:
    sites = OpenFederation(parts(WALTONS))
    times = np.arange(1, 77)
    found = stats.kaplan_meier(sites, "T", "E", times, group="group", levels=["control", "miR-137", "nobody"])
    assert found.off_grid == 0
    for group in ("control", "miR-137"):
        some = WALTONS[WALTONS["group"] == group]
        fitter = KaplanMeierFitter().fit(some["T"], some["E"], timeline=times)
        curve = found.curves[group]
        assert np.allclose(curve.survival, fitter.survival_function_.iloc[:, 0], atol=1e-12)
        interval = fitter.confidence_interval_.to_numpy()
        known = (curve.survival > 0) & (curve.survival < 1)
        assert np.allclose(np.stack([curve.lower, curve.upper], 1)[known], interval[known], atol=1e-9)
        assert curve.median == fitter.median_survival_time_
        assert curve.censored.sum() == (some["E"] == 0).sum()
    assert np.isnan(found.curves["nobody"].survival).all()


def test_the_log_rank_test_is_that_of_lifelines() -> None:
    frame = ROSSI.assign(group=ROSSI["prio"].clip(0, 3).astype(int).astype(str))
    levels = ["0", "1", "2", "3", "9"]
    found = stats.log_rank(OpenFederation(parts(frame)), "week", "arrest", "group", levels, np.arange(1, 53))
    wanted = multivariate_logrank_test(frame["week"], frame["group"], frame["arrest"])
    assert (found.chi2, found.p) == (pytest.approx(wanted.test_statistic), pytest.approx(wanted.p_value))
    assert found.degrees == 3
    assert sum(found.observed.values()) == frame["arrest"].sum()
    assert sum(found.expected.values()) == pytest.approx(frame["arrest"].sum())


def test_durations_that_are_none_of_the_times_are_counted_and_said() -> None:
    found = stats.kaplan_meier(OpenFederation(parts(WALTONS)), "T", "E", np.arange(5, 80, 5))
    assert found.off_grid == (WALTONS["T"] % 5 != 0).sum()
    assert found.curves["all"].events.sum() == WALTONS["E"].sum()


def test_whoever_lives_beyond_the_last_time_is_censored_there() -> None:
    """Naively a duration that is limited to the last time counts as an event of that time."""
    times, frame = np.arange(1, 51), WALTONS.assign(group="all")
    found = stats.kaplan_meier(OpenFederation(parts(frame)), "T", "E", times, outside="clip")
    fitter = KaplanMeierFitter().fit(WALTONS["T"], WALTONS["E"], timeline=times)
    assert np.allclose(found.curves["all"].survival, fitter.survival_function_.iloc[:, 0], atol=1e-12)
    assert found.outside == (WALTONS["T"] > 50).sum() > 0


def test_weights_count_a_record_so_often() -> None:
    frame = DIABETES.assign(often=np.arange(len(DIABETES)) % 4)
    again = frame.loc[frame.index.repeat(frame["often"])]
    sites = OpenFederation(parts(frame))
    words: Any = {"weights": "often", "max_weight": 3}
    assert stats.count(sites, **words).value == len(again)
    assert stats.count(sites, **words).records == (frame["often"] > 0).sum()
    variance = stats.variance(sites, "bmi", 0, 64, **words)
    assert close(variance.value, again["bmi"].var(), variance.error)
    edges = np.arange(0, 65, 8)
    assert (stats.histogram(sites, "bmi", edges, **words).counts == np.histogram(again["bmi"], edges)[0]).all()
    ranges = {"bmi": (0.0, 64.0), "target": (0.0, 512.0)}
    fitted = sm.OLS(again["target"], sm.add_constant(again[["bmi"]])).fit()
    found = stats.linear_regression(sites, "target", ["bmi"], ranges, **words)
    assert close(found.coefficients["bmi"], fitted.params["bmi"], found.error)
    assert found.standard_errors["bmi"] == pytest.approx(fitted.bse["bmi"], rel=1e-9)


def test_missing_values_are_refused_or_dropped_as_the_question_says() -> None:
    frame = DIABETES.assign(bmi=DIABETES["bmi"].where(np.arange(len(DIABETES)) % 9 > 0))
    for sites in (
        OpenFederation(parts(frame)),
        OpenFederation({n: pl.from_pandas(f) for n, f in parts(frame).items()}),
    ):
        with pytest.raises(QueryRefused, match="missing"):
            stats.mean(sites, "bmi", 0, 64)
        found = stats.mean(sites, "bmi", 0, 64, missing="drop")
        assert close(found.value, frame["bmi"].mean(), found.error)
        assert (found.records, found.missing) == (frame["bmi"].notna().sum(), frame["bmi"].isna().sum())


def test_conditions_choose_records_and_a_missing_value_fulfils_none() -> None:
    frame = WALTONS.assign(T=WALTONS["T"].where(WALTONS.index % 5 > 0))
    sites = OpenFederation(parts(frame))
    for operation, chosen in (
        (">=", frame["T"] >= 50),
        ("!=", frame["T"].notna() & (frame["T"] != 50)),
        ("<", frame["T"] < 50),
    ):
        assert stats.count(sites, where=[("T", operation, 50)]).value == chosen.sum()
    both = (frame["T"] >= 50) & (frame["group"] == "control")
    assert stats.count(sites, where=[("T", ">=", 50), ("group", "==", "control")]).value == both.sum()


def test_where_nothing_is_in_scope_there_is_no_mean() -> None:
    sites = OpenFederation(parts(WALTONS))
    where = [("T", ">", 1e6)]
    assert stats.count(sites, where=where).value == 0
    for found in (stats.mean(sites, "T", 0, 100, where=where), stats.variance(sites, "T", 0, 100, where=where)):
        assert math.isnan(found.value)
    assert math.isnan(stats.quantile(sites, "T", 0.5, 0, 100, where=where).value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda f: stats.mean(f, "T", 5, 5),
        lambda f: stats.mean(f, "T", 0, math.inf),
        lambda f: stats.mean(f, "T", 0, 1, missing="guess"),
        lambda f: stats.mean(f, "T", 0, 1, where=[("T", "~", 1)]),
        lambda f: stats.mean(f, "T", 0, 1, weigths="w"),
        lambda f: stats.mean(f, "nothing", 0, 1),
        lambda f: stats.mean(f, "group", 0, 1),
        lambda f: stats.histogram(f, "T", [3, 2, 1]),
        lambda f: stats.histogram(f, "T", [1]),
        lambda f: stats.quantile(f, "T", 2, 0, 1),
        lambda f: stats.contingency(f, "T", "group", {"T": ["1"]}),
        lambda f: stats.kaplan_meier(f, "T", "E", []),
        lambda f: stats.log_rank(f, "T", "E", "group", [], [1, 2]),
        lambda f: stats.linear_regression(f, "T", ["T"], {"T": (0.0, 1.0)}),
    ],
)
def test_what_is_no_question_is_refused(wrong: Callable[[OpenFederation], object]) -> None:
    with pytest.raises(ConfigError):
        wrong(OpenFederation(parts(WALTONS)))
