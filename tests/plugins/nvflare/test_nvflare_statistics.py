"""A job of NVFlare asks questions of statistics, and sites answer them by their owners' rules in secure rounds."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifelines.datasets import load_waltons
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.recipe import SimEnv
from support.frameworks.nvflare_network import Network, Straight
from support.source_tree import ROOT

from secure_agg import Privacy, Trust, stats, verify
from secure_agg.errors import ConfigError, TooFewClients
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.plugins.nvflare import configure
from secure_agg.plugins.nvflare.site import configured_home
from secure_agg.plugins.nvflare.statistics import AnswerQuestions, AskQuestions, StatisticsRecipe
from secure_agg.plugins.nvflare.statistics.controller import check_questions
from secure_agg.protocol.config import Policy

AGES = {
    name: np.random.default_rng(place).integers(20, 100, 40 + place)
    for place, name in enumerate(("north", "south", "west"))
}
POOLED = np.concatenate(list(AGES.values()))
RULES = 'min_count = 5\nfunctions = ["mean", "quantile"]\n[columns.age]\nlower = 0\nupper = 128\n'
MEAN = {"function": "mean", "column": "age", "lower": 0, "upper": 128}
MEDIAN = {"function": "quantile", "column": "age", "q": 0.5, "lower": 0, "upper": 128, "bins": 4, "rounds": 1}


class Asking(Straight, AskQuestions):
    """Ours, over the network of the tests."""


class World:
    """Three sites with tables, rules and executors of their own."""

    def __init__(
        self, folder: Path, questions: Mapping[str, Any], *, rules: str | None = RULES, **changes: Any
    ) -> None:
        self.folder = folder / "federation"
        policy = Policy.default(3, **{"bits": 24, "max_weight": 1, "clip": 1.0, "min_clients": 3} | changes)
        federation.make(self.folder, list(AGES), policy, task="statistics", checks_model=False)
        self.controller = Asking(questions, train_timeout=60.0, phase_timeout=60.0)
        self.network = Network(folder / "sites", self.folder, self.answer, self.controller)
        self.codes: list[str] = []
        for name, ages in AGES.items():
            home, table = self.folder / "clients" / name, folder / f"{name}.csv"
            table.write_text("age\n" + "\n".join(map(str, ages)) + "\n")
            if rules is not None:
                (home / "statistics.toml").write_text(rules)
            self.network.add(name)
            configure(folder / "sites" / name / "local", home, table)

    def answer(self, name: str, model: FLModel) -> Shareable:
        """The executor, as NVFlare calls it."""
        context = self.network.engine.sites[name].engine.new_context()
        result = AnswerQuestions().execute("train", FLModelUtils.to_shareable(model), context, Signal())
        self.codes.append(result.get_return_code())
        return result

    def run(self) -> dict[str, Any]:
        self.controller.run()
        (found,) = (self.folder.parent / "sites" / "server").rglob("statistics.json")
        document: dict[str, Any] = json.loads(found.read_text())
        return document


@contextlib.contextmanager
def running(folder: Path, questions: Mapping[str, Any], **options: Any) -> Iterator[World]:
    world = World(folder, questions, **options)
    with contextlib.closing(world.network):
        yield world


def test_a_job_writes_down_what_numpy_has_of_all_records(tmp_path: Path) -> None:
    with running(tmp_path, {"average": MEAN, "median": MEDIAN}) as world:
        found = world.run()
    assert abs(found["average"]["value"] - POOLED.mean()) <= found["average"]["error"]
    median = np.quantile(POOLED, 0.5, method="inverted_cdf")
    assert abs(found["median"]["value"] - median) <= found["median"]["error"]
    assert found["median"]["participants"] == list(AGES)
    with Ledger(world.folder / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(world.folder / "trust.json")).size == 2


def test_a_controller_of_the_jobs_own_asks_what_depends_on_earlier_results(tmp_path: Path) -> None:
    with running(tmp_path, {}) as world:
        mean = stats.mean(world.controller.federation, "age", 0, 128)
        spread = stats.quantile(world.controller.federation, "age", 0.9, 0, 128, bins=8, rounds=1)
    (proof,) = mean.rounds
    assert verify(proof.evidence, Trust.load(world.folder / "trust.json")).record == proof.record
    assert spread.value > mean.value


def test_with_a_budget_answers_have_noise_and_a_question_beyond_it_ends_before_a_site_is_asked(tmp_path: Path) -> None:
    noisy = {"missing": "drop", "outside": "clip", "records": 64}
    budget = Privacy(epsilon=24.0, delta=1e-5, norm=1.0, rounds=2)
    with running(tmp_path, {"average": MEAN | noisy, "again": MEAN | noisy}, privacy=budget) as world:
        found = world.run()
        for result in found.values():
            noise = result["noise"]  # none, where the count is within its own noise
            assert noise is None or abs(result["value"] - POOLED.mean()) <= 8 * noise
        assert found["average"]["spent"] < found["again"]["spent"] <= found["again"]["budget"] == 24.0
        with pytest.raises(ConfigError, match="budget is spent"):
            stats.mean(world.controller.federation, "age", 0, 128, **noisy)
    assert world.codes == [ReturnCode.OK] * 6


def test_a_question_that_owners_do_not_allow_has_no_result_and_the_next_one_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, {"spread": MEAN | {"function": "variance"}, "average": MEAN}) as world:
        found = world.run()
    assert list(found) == ["average"]
    assert world.codes == [ReturnCode.EXECUTION_EXCEPTION] * 3 + [ReturnCode.OK] * 3
    assert "QueryRefused: this site's owner does not allow variance" in caplog.text
    assert "question 'spread' has come to nothing" in caplog.text


def test_a_job_whose_questions_all_come_to_nothing_fails_and_sites_without_rules_answer_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, {"average": MEAN}, rules=None) as world, pytest.raises(TooFewClients):
        world.run()
    assert "its owner has written no rules" in caplog.text


def test_a_site_without_a_table_answers_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, {"average": MEAN}) as world:
        for name in AGES:
            configure(tmp_path / "sites" / name / "local", world.folder / "clients" / name)
        with pytest.raises(TooFewClients):
            world.run()
    assert "this site has no table" in caplog.text


def test_questions_that_are_none_are_refused_before_a_job_is_made_and_before_a_site_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="question 'all' asks for 'select': one of count"):
        StatisticsRecipe("job", {"all": {"function": "select"}})
    with pytest.raises(ConfigError, match=r"question 'all' is not in the words of mean: .*'lower'"):
        StatisticsRecipe("job", {"all": {"function": "mean", "column": "age"}})
    with running(tmp_path, {"all": MEAN | {"lower": 200}}) as world:
        with pytest.raises(ConfigError, match=r"the range of column 'age' is \[200, 128\]"):
            world.run()
        assert world.network.engine.threads == []


def test_homes_whose_sites_check_models_are_refused_when_the_job_starts(tmp_path: Path) -> None:
    federation.make(tmp_path / "homes", list(AGES), Policy.default(3, bits=24, max_weight=1), task="statistics")
    with pytest.raises(ConfigError, match="homes that take any model"):
        Network(tmp_path / "sites", tmp_path / "homes", lambda name, model: model, Asking({}))


def test_the_simulator_is_given_homes_and_a_table_for_each_site(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    recipe = StatisticsRecipe("ages", {"average": MEAN}, tables=tables)
    recipe.process_env(SimEnv(num_clients=3, workspace_root=str(tmp_path)))
    local = tmp_path / "ages" / "local"
    folder = configured_home(local)
    assert folder is not None
    with ServerHome.open(folder / "server") as home:
        assert (home.checks_model, home.trust.task(home.task).policy.max_weight) == (False, 1)
    assert json.loads((local / "secure-agg.json").read_text())["table"] == str(tables.resolve())


def test_the_example_asks_for_what_pandas_has_of_all_flies(tmp_path: Path) -> None:
    path = ROOT / "examples" / "nvflare-statistics" / "job.py"
    spec = importlib.util.spec_from_file_location("job_of_statistics", path)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    lived = load_waltons()["T"]
    job.write_tables(tmp_path / "tables")
    with running(tmp_path, job.QUESTIONS, rules="min_count = 3\n") as world:
        for name, table in zip(AGES, sorted((tmp_path / "tables").iterdir()), strict=True):
            shutil.copy(table, tmp_path / f"{name}.csv")
        found = world.run()
    assert abs(found["mean"]["value"] - lived.mean()) <= found["mean"]["error"]
    assert abs(found["median"]["value"] - lived.median()) <= found["median"]["uncertain"]
    check_questions(job.NOISY)
