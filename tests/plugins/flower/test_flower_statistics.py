"""A ServerApp asks questions of statistics, and nodes answer them by their owners' rules in secure rounds."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from lifelines.datasets import load_waltons
from support.frameworks.flower_nodes import Fleet, app_of
from support.source_tree import ROOT

from benchmarks.plugins.nodes import Apart
from secure_agg import Privacy, Trust, stats, verify
from secure_agg.errors import ConfigError, TooFewClients
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.flower import GridFederation, answer_question, secure_mod
from secure_agg.plugins.flower.channel import CHANNEL
from secure_agg.plugins.homes import federation

AGES = {f"m{place}": np.random.default_rng(place).integers(20, 100, 40 + place) for place in range(3)}
POOLED = np.concatenate(list(AGES.values()))
RULES = 'min_count = 5\nfunctions = ["count", "mean", "quantile"]\n[columns.age]\nlower = 0\nupper = 128\n'


def answering(table: Any = None) -> ClientApp:
    """What a node runs: a table of its own, or the one that its operator has named."""
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        return answer_question(message, context, table)

    return app


def fleet_of(
    folder: Path,
    *,
    rules: str | None = RULES,
    any_model: bool = True,
    parameters: int | None = None,
    **policy: Any,
) -> Fleet:
    apps = {name: answering({"age": ages}) for name, ages in AGES.items()}
    settings = {"bits": 24, "max_weight": 1, "clip": 1.0, "min_clients": 3} | policy
    fleet = Fleet.make(folder, apps, rules={"checks_model": not any_model}, parameters=parameters, **settings)
    for name in fleet.names if rules is not None else ():
        (fleet.folder / "clients" / name / "statistics.toml").write_text(rules or "")
    return fleet


def federation_of(fleet: Fleet, **options: Any) -> GridFederation:
    return GridFederation(fleet.grid, fleet.folder / "server", phase_s=30.0, timeout=60.0, **options)


def test_a_server_app_has_what_numpy_has_of_all_records_with_evidence_and_receipts(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    nodes = federation_of(fleet)
    mean = stats.mean(nodes, "age", 0, 128)
    assert abs(mean.value - POOLED.mean()) <= mean.error
    assert mean.participants == tuple(AGES)
    middle = stats.quantile(nodes, "age", 0.5, 0, 128, bins=4, rounds=1)
    assert abs(middle.value - np.quantile(POOLED, 0.5, method="inverted_cdf")) <= middle.error
    trust = Trust.load(fleet.folder / "trust.json")
    for number, proof in enumerate((*mean.rounds, *middle.rounds)):
        assert verify(proof.evidence, trust).record == proof.record
        assert proof.record.round == number
        assert proof.receipt is not None
    with Ledger(fleet.folder / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=trust).size == 2
    assert fleet.aborts() == []
    for name in fleet.names:
        assert (fleet.folder / "clients" / name / "statistics.log").exists()


def test_a_question_that_owners_do_not_allow_comes_to_nothing_and_the_next_one_to_its_sum(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(tmp_path)
    nodes = federation_of(fleet)
    with pytest.raises(TooFewClients):
        stats.variance(nodes, "age", 0, 128)
    assert "QueryRefused: this site's owner does not allow variance" in caplog.text
    # Equal questions are rounds of their own, whatever they come to.
    for _ in range(2):
        assert stats.count(nodes, records=4096).value == POOLED.size
    # Now by the log of what a node has answered: its set is one of few records more.
    for name in fleet.names:
        (fleet.folder / "clients" / name / "statistics.toml").write_text(RULES + "filter = true\n")
    with pytest.raises(TooFewClients):
        stats.count(nodes, where=[("age", "<", int(POOLED.max()))], records=4096)


def test_a_node_answers_from_the_table_that_its_operator_has_named(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    for number, (name, ages) in enumerate(AGES.items()):
        file = tmp_path / f"{name}.csv"
        file.write_text("age\n" + "\n".join(map(str, ages)) + "\n")
        node = fleet.grid.nodes[100 + number]
        node.app, node.context.node_config["secure-agg-table"] = answering(), str(file)
    assert stats.count(federation_of(fleet, values=128)).value == POOLED.size


@pytest.mark.long
@pytest.mark.usefixtures("quick_operators")
def test_a_backend_with_a_key_for_one_size_is_asked_in_vectors_of_that_size(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, backend="bfv", parameters=128)
    with federation.operators(fleet.folder):
        nodes = federation_of(fleet, values=128)
        assert stats.count(nodes).value == POOLED.size
        assert stats.mean(nodes, "age", 0, 128).value == pytest.approx(POOLED.mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("table", "rules", "said"),
    [({"age": AGES["m0"]}, None, "its owner has written no rules"), (None, RULES, "this node has no table")],
)
def test_a_node_without_rules_or_without_a_table_answers_nothing(
    table: Any, rules: str | None, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(tmp_path, rules=rules)
    for node in fleet.grid.nodes.values():
        node.app = answering(table)
    with pytest.raises(TooFewClients):
        stats.count(federation_of(fleet))
    assert said in caplog.text


def test_an_app_that_asks_no_question_gets_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fleet = fleet_of(tmp_path)
    fleet.stops()
    assert "asks no question of statistics" in caplog.text
    for name in fleet.names:
        assert not (fleet.folder / "clients" / name / "statistics.log").exists()


def test_nodes_that_train_are_not_taken_for_nodes_that_answer(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    for node in fleet.grid.nodes.values():
        node.app = app_of()
    with pytest.raises(TooFewClients):
        stats.count(federation_of(fleet))


def test_homes_that_are_not_made_for_statistics_are_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="homes that take any model"):
        federation_of(fleet_of(tmp_path / "checks", any_model=False))
    weighs = fleet_of(tmp_path / "weighs", max_weight=8)
    with pytest.raises(ConfigError, match="of max_weight 1"):
        stats.count(federation_of(weighs))
    fixed = federation_of(fleet_of(tmp_path / "fixed"), values=64)
    with pytest.raises(ConfigError, match="above 64: ask for fewer cells"):
        stats.quantile(fixed, "age", 0.5, 0, 128)


BUDGET = Privacy(epsilon=24.0, delta=1e-5, norm=1.0, rounds=2)
NOISY: Any = {"missing": "drop", "outside": "clip", "records": 64}


def test_with_a_budget_answers_have_noise_that_is_stated_and_the_budget_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleet_of(tmp_path, privacy=BUDGET)
    nodes = federation_of(fleet)
    with pytest.raises(ConfigError, match="logistic_regression has no form with differential privacy"):
        stats.logistic_regression(nodes, "died", ["bmi"], {"bmi": (0, 80)})
    with pytest.raises(ConfigError, match="say missing='drop'"):
        stats.mean(nodes, "age", 0, 128, records=64)
    mean = stats.mean(nodes, "age", 0, 128, **NOISY)
    assert mean.noise > 0  # infinite, where the count is within its own noise
    assert abs(mean.value - POOLED.mean()) <= 8 * mean.noise
    (proof,) = mean.rounds
    assert verify(proof.evidence, Trust.load(fleet.folder / "trust.json")).record == proof.record
    assert (proof.record.claim, proof.record.round) == ("dp-sum", 0)
    count = stats.count(nodes, records=64)
    assert 0 < count.noise < 64
    assert abs(count.value - POOLED.size) < 8 * count.noise
    with pytest.raises(ConfigError, match="budget is spent"):
        stats.count(nodes, records=64)
    assert fleet.aborts() == []
    for name in fleet.names:  # nothing was told that a log would compare
        assert not (fleet.folder / "clients" / name / "statistics.log").exists()


def test_nodes_with_a_channel_answer_a_question_within_one_message(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    apart = Apart({name: (node.app, node.context.node_config) for name, node in fleet.grid.nodes.items()})
    nodes = GridFederation(apart, fleet.folder / "server", phase_s=60.0, timeout=120.0, channel="127.0.0.1:0")
    with closing(nodes):
        for node in apart.nodes.values():
            node.context.node_config[CHANNEL] = f"https://{nodes.channel}"
        assert stats.mean(nodes, "age", 0, 128).value == pytest.approx(POOLED.mean(), rel=1e-9)
        assert stats.count(nodes, records=4096).value == POOLED.size
        assert apart.settle(120), "a node holds a message that nobody will answer"


def example(module: str) -> Any:
    """A module of the example's app."""
    path = ROOT / "examples" / "flower-statistics" / "flies" / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"flies_{module}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_example_finds_what_pandas_has_of_all_flies(tmp_path: Path) -> None:
    fleet, flies = fleet_of(tmp_path, rules="min_count = 3\n"), load_waltons()
    for number, node in enumerate(fleet.grid.nodes.values()):
        node.app = example("client_app").app
        node.context.node_config |= {"partition-id": number, "num-partitions": 3}
    found = example("server_app").ask(federation_of(fleet))
    assert found["flies"] == len(flies)
    assert found["mean_days"] == pytest.approx(flies["T"].mean(), abs=1e-9)
    assert found["median_survival"]["control"] > found["median_survival"]["miR-137"]
