"""An analyst who wants one record and names no set that differs by few: by oracles, flags, bounds and steep curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.tabular.sums import OpenFederation

from secure_agg import stats
from secure_agg.errors import ConfigError, QueryRefused
from secure_agg.stats import QueryLog, Rules, Site, Table
from secure_agg.stats.question import Column, Condition, Question
from secure_agg.stats.rules import ColumnRule

SIZE = 120
AGES = np.arange(SIZE) % 60 + 20.0
INCOMES = np.linspace(10.0, 90.0, SIZE)
SECRET = 77.25
NAIVE, OURS = 1, 5


def table(secret: float = SECRET, **more: Any) -> dict[str, Any]:
    """The last record is of the one who is 97; ``rich`` and ``ill`` are true of nobody else."""
    alone = np.arange(SIZE) == SIZE - 1
    columns = {"age": np.where(alone, 97.0, AGES), "income": np.where(alone, secret, INCOMES)}
    return columns | {"ill": alone.astype(float), "sex": np.array(["f", "m"] * (SIZE // 2))} | more


def federation(min_count: int, **more: Any) -> OpenFederation:
    return OpenFederation({"a": table(**more), "b": {"age": AGES, "income": INCOMES, "ill": np.zeros(SIZE)}}, min_count)


def income(upper: float = 128.0) -> Column:
    return Column(name="income", upper=upper)


def question(function: str, *columns: Column, **more: Any) -> Question:
    return Question(function=function, columns=columns, **more)


ALONE = (Condition("age", "==", 97.0),)
YOUNGER = (Condition("age", "<", 97.0),)
BELOW = (*ALONE, Condition("income", "<=", 50.0))
ORACLES = {
    "whether there is such a record": question("count", where=BELOW),
    "whether it is above a bound": question("mean", income(50.0), where=ALONE, outside="drop"),
    "whether it is limited": question("histogram", income(50.0), edges=(0.0, 50.0), where=ALONE, outside="clip"),
    "whether to refuse": question("sum", income(50.0), where=ALONE),
    "whether a value of it is missing": question("count", Column(name="gap"), where=ALONE, missing="refuse"),
}


def told(asked: Question, min_count: int, columns: dict[str, Any]) -> tuple[int, ...] | None:
    try:
        return Site(Table(columns), Rules(min_count=min_count)).answer(asked)
    except QueryRefused:
        return None


@pytest.mark.parametrize("name", ORACLES)
def test_an_answer_says_nothing_of_whether_there_are_any_where_there_are_few(name: str) -> None:
    poor, rich = table(30.0, gap=np.zeros(SIZE)), table(90.0, gap=np.full(SIZE, np.nan))
    asked = ORACLES[name]
    assert told(asked, NAIVE, poor) != told(asked, NAIVE, rich)
    assert told(asked, OURS, poor) == told(asked, OURS, rich) is not None


def test_how_many_were_dropped_is_said_of_no_few() -> None:
    gap = np.where(np.arange(SIZE) < 4, np.nan, 0.0)
    asked = question("sum", Column(name="gap"), missing="drop")
    assert [told(asked, least, table(gap=gap)) for least in (NAIVE, OURS)] == [
        (SIZE - 4, SIZE - 4, 0, 4, 0, 0),
        (SIZE - 4, SIZE - 4, 4, 0, 0, 0),
    ]


def clipped(sites: OpenFederation) -> float:
    """What the one who earns most earns, by two bounds."""
    low, high = (stats.sum(sites, "income", 0, upper, outside="clip").value for upper in (100, 512))
    return high - low + 100


def flagged(sites: OpenFederation) -> float:
    """What the only one who is ill earns, by a table of products."""
    asked = question("correlation", income(), Column(name="ill"))
    total = sites.total(asked)
    place = [field.name for field in asked.fields].index("sum income ill")
    return float(total.values[place]) * income().unit * Column(name="ill").unit


def weights_apart(sites: OpenFederation) -> float:
    """What a record adds that counts twice, where others count once."""
    return stats.sum(sites, "income", 0, 128, weights="twice").value - stats.sum(sites, "income", 0, 128).value


def steep(sites: OpenFederation) -> float:
    """The same by two points of a logistic regression, each of which cuts the records in two."""
    columns = (Column(name="sick"), Column(name="age", upper=128.0), income())
    found = []
    for cut in (85.5, 99.5):
        asked = question("logistic_regression", *columns, point=(-1000.0 * cut, 1000.0, 0.0))
        place = [field.name for field in asked.fields].index("slope income")
        found.append(float(sites.total(asked).values[place]) * income().unit * 2.0**-40)
    return found[1] - found[0]


TWICE = {"twice": 1.0 + (np.arange(SIZE) == SIZE - 1)}
ATTACKS: dict[str, tuple[Callable[[OpenFederation], float], dict[str, Any], float]] = {
    "a bound that limits one record": (clipped, {"secret": 300.0}, 300.0),
    "a flag that one record has": (flagged, {}, SECRET),
    "weights that one record has more of": (weights_apart, TWICE, SECRET),
    "a steep curve": (steep, {"sick": np.arange(SIZE) % 2.0}, SECRET),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_sum_that_singles_a_record_out_is_not_given(name: str) -> None:
    attack, more, wanted = ATTACKS[name]

    def sites(min_count: int) -> OpenFederation:
        other = Table({"age": AGES, "income": INCOMES, "ill": np.zeros(SIZE), "twice": np.ones(SIZE)})
        other.columns["sick"] = np.arange(SIZE) % 2.0
        return OpenFederation({"a": table(**more), "b": other}, min_count)

    baseline = attack(OpenFederation({"b": sites(1).sites["b"]}, 1)) if attack is not clipped else 100.0
    naive = attack(sites(NAIVE))
    assert naive - baseline + (100.0 if attack is clipped else 0.0) == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(QueryRefused, match=r"fewer than 5"):
        attack(sites(OURS))


def test_what_counts_no_time_makes_no_set_larger() -> None:
    found = [
        stats.sum(OpenFederation({"a": table()}, least), "income", 0, 128, weights="ill", max_weight=1)
        for least in (NAIVE, OURS)
    ]
    assert [(each.value, each.records) for each in found] == [(SECRET, 1), (0, 0)]


EDGES = ([0, 30, 50, 65, 128], [0, 41, 51, 70, 128])


def test_cumulative_counts_are_compared_though_no_two_cells_are_alike() -> None:
    def cumulative(sites: OpenFederation) -> float:
        one, other = (stats.histogram(sites, "age", edges).counts for edges in EDGES)
        return float(other[:2].sum() - one[:2].sum())

    ages = np.concatenate([AGES[AGES != 50], [50.0]])
    assert cumulative(OpenFederation({"a": {"age": ages}})) == 1  # somebody is 50
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        cumulative(OpenFederation({"a": {"age": ages}}, OURS))


def test_margins_are_compared_though_no_two_cells_are_alike() -> None:
    def margins(sites: OpenFederation) -> float:
        levels = {"sex": ["f", "m"], "kind": ["p", "q"], "other": ["r", "s"]}
        one = stats.contingency(sites, "sex", "kind", levels, outside="drop").counts
        other = stats.contingency(sites, "sex", "other", levels, outside="drop").counts
        return float(other[0].sum() - one[0].sum())

    # Ten records, one of them of a woman, are in no cell of the first table, and ten others in none of the second.
    sex = np.array((["f"] * 30 + ["m"] * 30) * 2)
    kind, other = np.array(["p", "q"] * 60), np.array(["r", "r", "s", "s"] * 30)
    kind[[0, *range(31, 40)]] = "none"
    other[41:51] = "none"
    frame = {"sex": sex, "kind": kind, "other": other}
    assert margins(OpenFederation({"a": frame})) == 1
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        margins(OpenFederation({"a": frame}, OURS))


def test_columns_that_are_added_make_no_record_new_and_none_may_go(tmp_path: Any) -> None:
    path, asked = tmp_path / "log", question("sum", income())
    Site(Table(table()), Rules(), QueryLog(path)).answer(asked)
    fewer = {name: column[:-1] for name, column in table(new=np.zeros(SIZE)).items()}
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        Site(Table(fewer), Rules(), QueryLog(path)).answer(asked)
    with pytest.raises(QueryRefused, match="column 'age' is gone"):
        Site(Table({name: fewer[name] for name in ("ill", "income", "sex")}), Rules(), QueryLog(path)).answer(asked)


def test_two_processes_that_answer_by_one_log_know_of_each_other(tmp_path: Any) -> None:
    path, whole, fewer = tmp_path / "log", question("sum", income()), question("sum", income(), where=YOUNGER)
    one, other = (Site(Table(table()), Rules(), QueryLog(path)) for _ in range(2))  # both began when there was none
    one.answer(whole)
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        other.answer(fewer)
    other.answer(question("count", where=(Condition("sex", "==", "f"),)))
    one.answer(question("count", where=(Condition("sex", "==", "m"),)))
    assert len(QueryLog(path)) == 3


def largest(rules: Rules, log: QueryLog | None = None) -> float:
    """What the one earns who earns most, by whether a site refuses to say how many earn up to a bound."""
    low, high = 0.0, 128.0
    site = Site(Table(table(101.5)), rules, log or QueryLog())
    while high - low > 0.25:
        bound = (low + high) / 2
        try:
            site.answer(question("mean", income(bound), outside="refuse"))
        except QueryRefused as refused:
            if "its owner has to look" in str(refused):
                raise
            low = bound
        else:
            high = bound
    return high


def test_refusals_tell_something_and_an_owner_bounds_their_number(tmp_path: Any) -> None:
    assert largest(Rules()) == pytest.approx(101.5, abs=0.25)
    few = Rules(max_refusals=3)
    for _ in range(2):
        with pytest.raises(QueryRefused, match="refused 3 questions"):
            largest(few, QueryLog(tmp_path / "log"))
    with pytest.raises(QueryRefused, match="does not allow"):  # which tells nothing, and is not counted
        Site(Table(table()), Rules(max_refusals=1, functions=("count",))).answer(question("mean", income()))
    with pytest.raises(ConfigError):
        Rules(max_refusals=0)


def test_points_are_remembered_on_disk(tmp_path: Any) -> None:
    columns = (Column(name="sick"), Column(name="age", upper=128.0), income())

    def ask(cut: float) -> None:
        site = Site(Table(table(sick=np.arange(SIZE) % 2.0)), Rules(), QueryLog(tmp_path / "log"))
        site.answer(question("logistic_regression", *columns, point=(-1000.0 * cut, 1000.0, 0.0)))

    ask(60.5)
    ask(60.5)
    ask(40.5)
    with pytest.raises(QueryRefused, match="beside an earlier answer"):
        ask(61.5)


@pytest.mark.parametrize("first", ["curve", "condition"])
@pytest.mark.parametrize("change", ["none", "one record goes"])
def test_a_steep_curve_and_a_condition_are_compared(tmp_path: Any, first: str, change: str) -> None:
    """The curve parts those below 60.5 from the others, the condition those below 61, where one is 60 and a half."""
    ages = np.where(np.arange(SIZE) == 7, 60.75, np.where(AGES == 60, 59.0, AGES))
    columns = (Column(name="sick"), Column(name="years", upper=128.0), income())
    curve = question("logistic_regression", *columns, point=(1000.0 * 60.5, -1000.0, 0.0))
    condition = question("sum", income(), where=(Condition("years", "<", 61.0 if change == "none" else 60.5),))
    asked = [curve, condition] if first == "curve" else [condition, curve]
    for number, each in enumerate(asked):
        columns_of = table(sick=np.arange(SIZE) % 2.0, years=ages)
        if number and change != "none":
            columns_of = {name: np.delete(column, 3) for name, column in columns_of.items()}
        site = Site(Table(columns_of), Rules(), QueryLog(tmp_path / "log"))
        if number:
            with pytest.raises(QueryRefused, match="beside an earlier answer"):
                site.answer(each)
        else:
            site.answer(each)


def test_numbers_that_an_owner_has_announced_are_not_asked_for_as_levels() -> None:
    owner = Rules(columns={"age": ColumnRule(lower=0, upper=120, step=10, filter=True), "sex": ColumnRule()})
    sexes = Column(name="sex", levels=("f", "m"))
    with pytest.raises(QueryRefused, match="other levels"):
        owner.check(question("contingency", Column(name="age", levels=("37", "38")), sexes))
    with pytest.raises(QueryRefused, match="a level that is not announced"):
        owner.check(question("count", where=(Condition("age", "==", "37"),)))
    owner.check(question("count", where=(Condition("age", ">=", 40.0),)))
