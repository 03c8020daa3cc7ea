"""What a server may tell one Flower node and not the others: without a digest over it, nobody notices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import Fleet, app_of, flower_log, members, model_of, record, start

from benchmarks.plugins.nodes import App
from secure_agg.errors import ConfigError, PolicyViolation, RunStopped
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.core.parcels import HELLO, Parcel
from secure_agg.plugins.flower import given, secure_mod, wire

RATE = {"lr": 0.5, "steps": 3, "names": ["a", "b"], "none": [], "flags": [True, False], "raw": b"\0", "on": True}
Change = Callable[[Message, Context], None]


def learner(mods: tuple[Any, ...], seen: list[tuple[Message, Context]] | None = None) -> ClientApp:
    """Training by a rate that the server sets: towards the node's own numbers, which nobody else should learn."""
    app = ClientApp()

    def train(message: Message, context: Context) -> Message:
        if seen is not None:
            seen.append((message, context))
        model = model_of(message.content["arrays"])
        rate = float(message.content["config"]["lr"])
        number = int(context.node_config["partition-id"])
        model["layer"] = (model["layer"] + rate * own(number)).astype(np.float32)
        metrics = MetricRecord({"num-examples": 10, "loss": 1.0})
        return Message(RecordDict({"arrays": record(model), "metrics": metrics}), reply_to=message)

    def evaluate(message: Message, context: Context) -> Message:
        if seen is not None:
            seen.append((message, context))
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 10, "accuracy": 0.5})}), reply_to=message)

    for action in ("default", "other"):
        app.train(action, mods=list(mods))(train)
        app.evaluate(action, mods=list(mods))(evaluate)
    return app


def own(number: int) -> np.ndarray:
    return np.random.default_rng(100 + number).uniform(-1, 1, (2, 32))


def told(app: App, change: Change) -> App:
    """A node that is told something else, by whoever carries its messages."""

    def changed(message: Message, context: Context) -> Message | None:
        if "arrays" in message.content:  # which hands over a model
            change(message, context)
        return app(message, context)

    return changed


def set_record(name: str, make: Callable[[RecordDict], Any]) -> Change:
    def change(message: Message, context: Context) -> None:
        message.content = RecordDict(
            {key: make(message.content) if key == name else item for key, item in message.content.items()}
        )

    return change


def settings(**values: Any) -> Change:
    return set_record("config", lambda content: ConfigRecord({**content["config"], **values}))


def layers(edit: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Change:
    return set_record("arrays", lambda content: record(edit(model_of(content["arrays"]))))


def add(**records: Any) -> Change:
    def change(message: Message, context: Context) -> None:
        message.content = RecordDict({**message.content, **records})

    return change


def kind(of: str) -> Change:
    def change(message: Message, context: Context) -> None:
        message.metadata.message_type = message.metadata.message_type.partition(".")[0] + of

    return change


def group(name: str) -> Change:
    def change(message: Message, context: Context) -> None:
        message.metadata.group_id = name

    return change


def run(**values: Any) -> Change:
    def change(message: Message, context: Context) -> None:
        for name, value in values.items():
            setattr(context, name, value)

    return change


def reordered(content: RecordDict) -> ConfigRecord:
    return ConfigRecord(dict(reversed(list(content["config"].items()))))


CHANGES: dict[str, Change] = {
    "learning rate": settings(lr=0.0),
    "negative zero": settings(zero=-0.0),
    "integer for float": settings(lr=1),
    "integer for boolean": settings(on=1),
    "text for integer": settings(steps="3"),
    "text for bytes": settings(raw="\0"),
    "nested otherwise": settings(names=["ab"]),
    "booleans": settings(flags=[True, True]),
    "one more setting": settings(more=1),
    "order of settings": set_record("config", reordered),
    "another kind of record": set_record("extra", lambda content: MetricRecord({"lr": 1})),
    "one more record": add(more=ConfigRecord()),
    "metrics": set_record("figures", lambda content: MetricRecord({"lr": 0.25})),
    "a counter": layers(lambda model: {**model, "batches": model["batches"] + 1}),
    "a mask": layers(lambda model: {**model, "mask": ~model["mask"]}),
    "order of layers": layers(lambda model: dict(reversed(list(model.items())))),
    "names of layers": layers(lambda model: {name.replace("layer", "l"): array for name, array in model.items()}),
    "type of a layer": layers(lambda model: {**model, "layer": model["layer"].astype(np.float64)}),
    "shape of a mask": layers(lambda model: {**model, "mask": model["mask"].reshape(2, 2)}),
    "message type": kind(".other"),
    "group": group("another"),
    "run configuration": run(run_config={"lr": 0.0}),
    "type in the run configuration": run(run_config={"rate": 1}),
    "run": run(run_id=2),
    "series of runs": run(series_id=7),
}
SAID = {"extra": ConfigRecord({"lr": 1}), "figures": MetricRecord({"lr": 0.5})}


class Telling(FedAvg):
    """With more to say than settings."""

    def configure_train(self, *arguments: Any) -> Any:
        return self._more(super().configure_train(*arguments))

    def configure_evaluate(self, *arguments: Any) -> Any:
        return self._more(super().configure_evaluate(*arguments))

    @staticmethod
    def _more(messages: Any) -> list[Message]:
        batch = list(messages)
        for message in batch:
            for name, item in SAID.items():
                message.content[name] = item
        return batch


def model() -> dict[str, np.ndarray]:
    return {**start(), "mask": np.array([True, False, True, True])}


def configured(fleet: Fleet) -> Fleet:
    for node in fleet.grid.nodes.values():
        node.context.run_config = {"rate": 1.0, "verbose": True}
    return fleet


def rounds(fleet: Fleet, strategy: FedAvg | None = None, **options: Any) -> Any:
    strategy = strategy or Telling(fraction_evaluate=0.0)
    grid = fleet.secure(strategy, **options)
    config = ConfigRecord({**RATE, "zero": 0.0})
    return strategy.start(grid, record(model()), num_rounds=1, timeout=2.0, train_config=config, evaluate_config=config)


def participants(fleet: Fleet) -> list[int]:
    with Ledger(fleet.folder / "server" / "rounds.db") as ledger:
        return [len(ledger.evidence(entry).participants) for entry in ledger.records()]


# --- one update out of a mean ---------------------------------------------------------------------------------


def test_a_rate_of_nothing_to_all_but_one_reads_that_nodes_update_off_the_mean(tmp_path: Path) -> None:
    still = settings(lr=0.0)
    plain = learner(())
    naive = Fleet.nodes(tmp_path, {"m0": plain} | {f"m{i}": told(plain, still) for i in range(1, 5)})
    result = FedAvg(fraction_evaluate=0.0).start(naive, record(model()), num_rounds=1, train_config=ConfigRecord(RATE))
    mean, update = model_of(result.arrays)["layer"].ravel(), own(0).ravel()
    assert mean @ update / np.linalg.norm(mean) / np.linalg.norm(update) == pytest.approx(1.0, abs=1e-6)

    app = learner((secure_mod,))
    fleet = Fleet.make(tmp_path, {"m0": app} | {f"m{i}": told(app, still) for i in range(1, 5)})
    with flower_log() as log, pytest.raises(RunStopped, match="TooFewClients: 1 clients advertised, 4 are needed"):
        rounds(fleet)
    assert participants(fleet) == []
    refused = [line for line in log if "out of the round in phase advertise" in line and "WrongContext" in line]
    for name in ("m1", "m2", "m3", "m4"):
        assert sum(f"{name} is out" in line for line in refused) == 2, "the run's first round is tried twice"
    assert len(refused) == 8


@pytest.mark.parametrize("what", CHANGES)
def test_a_node_that_is_told_something_else_is_in_no_round_with_the_others(what: str, tmp_path: Path) -> None:
    seen: list[tuple[Message, Context]] = []
    app, other = learner((secure_mod,)), learner((secure_mod,), seen)
    fleet = configured(Fleet.make(tmp_path, members(3, app) | {"m3": told(other, CHANGES[what])}))
    with flower_log() as log:
        assert rounds(fleet).arrays
    assert participants(fleet) == [3]
    refused = [line for line in log if "m3 is out of the round in phase advertise" in line]
    assert len(refused) == 1
    assert seen == [], "its app has been given nothing"


def test_the_same_nodes_told_the_same_are_in_one_round(tmp_path: Path) -> None:
    """Whatever order the run's settings come in: Flower keeps none."""
    fleet = configured(Fleet.make(tmp_path, members(4, learner((secure_mod,)))))
    fleet.grid.nodes[103].context.run_config = {"verbose": True, "rate": 1.0}
    assert rounds(fleet, Telling()).arrays
    assert participants(fleet) == [4, 4]


@pytest.mark.parametrize("what", ["learning rate", "a mask", "message type", "run configuration"])
def test_evaluations_are_of_the_same_inputs(what: str, tmp_path: Path) -> None:
    change, seen = CHANGES[what], list[tuple[Message, Context]]()
    app = learner((secure_mod,))
    other = learner((secure_mod,), seen)

    def evaluates_otherwise(message: Message, context: Context) -> Message | None:
        if message.metadata.message_type.startswith("evaluate") and "arrays" in message.content:
            change(message, context)
        return other(message, context)

    fleet = configured(Fleet.make(tmp_path, members(3, app) | {"m3": evaluates_otherwise}))
    result = rounds(fleet, Telling())
    assert result.evaluate_metrics_clientapp
    assert participants(fleet) == [4, 3]
    assert [message.metadata.message_type for message, _ in seen] == ["train"]


def test_another_app_is_another_thing_to_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a mod can see it: the files that Flower has installed for this run."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    folder = tmp_path / "apps" / "we.app.1.0.0.01234567"
    (folder / "app").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    context = Context(1, 100, {}, RecordDict(), {})
    seen = set()
    for text in ("rate = 0.1", "rate = 0.0"):
        (folder / "app" / "client.py").write_text(text)
        (folder / "app" / "data.bin").write_text(text)  # written at a node, not brought by the run
        seen.add(given.surroundings(context))
        (folder / "app" / "data.bin").write_text("other")
        seen.add(given.surroundings(context))
    assert len(seen) == 2


# --- what the app gets ----------------------------------------------------------------------------------------


def test_an_app_is_given_what_was_digested_and_nothing_else(tmp_path: Path) -> None:
    """What a server chooses for each node, times and numbers, is replaced by what says nothing."""
    seen: list[tuple[Message, Context]] = []
    app = learner((secure_mod,), seen)
    fleet = configured(Fleet.make(tmp_path, members(4, app)))

    def steer(message: Message, context: Context) -> None:
        fields = {"_ttl": 4321.0 + context.node_id, "_created_at": message.metadata.created_at - 1.0}
        fields |= {"_src_node_id": 7, "_reply_to_message_id": "lr=0", "_src_task_id": 3, "_dst_task_id": 9}
        message.metadata.__dict__.update(fields)

    for node in fleet.grid.nodes.values():
        node.app = told(app, steer)
    assert rounds(fleet).arrays
    assert participants(fleet) == [4]
    for message, context in seen:
        about = message.metadata
        assert set(message.content) == {"arrays", "config", *SAID}
        assert (about.message_id, about.reply_to_message_id, about.src_task_id, about.dst_task_id) == (
            "",
            "",
            None,
            None,
        )
        assert (about.ttl, about.src_node_id, about.run_id) == (43200, 1, 1)
        assert about.dst_node_id == context.node_id
        assert list(context.run_config) == ["rate", "verbose"]
    assert not {context.node_id for _, context in seen} & set(fleet.grid.nodes)
    assert len({context.node_id for _, context in seen}) == 4


def test_what_an_app_keeps_in_its_state_is_kept(tmp_path: Path) -> None:
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        context.state = RecordDict({"mine": ConfigRecord({"seen": 1})})
        content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 3})})
        return Message(content, reply_to=message)

    fleet = Fleet.make(tmp_path, members(3, app))
    assert fleet.run().arrays
    assert all(node.context.state["mine"]["seen"] == 1 for node in fleet.grid.nodes.values())


@pytest.mark.parametrize("of", ["query", "query.other"])
def test_only_training_and_evaluation_is_answered(of: str, tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    message = Message(wire.put(RecordDict(), hello()), dst_node_id=100, message_type=of)
    with pytest.raises(PolicyViolation):
        secure_mod(message, fleet.grid.nodes[100].context, lambda message, context: message)


def hello() -> bytes:
    return Parcel(HELLO, (b"",)).to_bytes()


# --- the weight -----------------------------------------------------------------------------------------------


def test_the_key_of_the_weight_is_the_nodes_own_and_no_message_says_it(tmp_path: Path) -> None:
    """With another key of the server's choice one node would weigh 64 and the others 1."""
    app = app_of()

    def lie(message: Message, context: Context) -> Message | None:
        if "arrays" in message.content:
            message.content = RecordDict(
                {**message.content, "secure-agg-settings": ConfigRecord({"weighted-by": "count"})}
            )
        return app(message, context)

    fleet = Fleet.make(tmp_path, members(3, app) | {"m3": lie})
    fleet.run()
    assert participants(fleet) == [3]


def test_a_strategy_that_weighs_by_another_key_is_told_at_the_start(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with pytest.raises(ConfigError, match="weighs replies by 'images', and what is pinned is 'num-examples'"):
        fleet.secure(FedAvg(weighted_by_key="images"))


def test_nodes_that_have_pinned_different_keys_are_in_no_round_together(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()))
    path = fleet.folder / "clients" / "m3" / "home.json"
    path.write_text(path.read_text().replace('"weight_key": null', '"weight_key": "count"'))
    with flower_log() as log:
        assert fleet.run().arrays
    assert participants(fleet) == [3]
    assert any("m3 was given: " in line and "weighted by" in line for line in log), "and its log shows what differs"


# --- what an error says ---------------------------------------------------------------------------------------


def replies_of(app: App, heard: list[str]) -> App:
    """All that a server is told of errors."""

    def listen(message: Message, context: Context) -> Message | None:
        try:
            return app(message, context)
        except Exception as error:
            heard.append(f"{type(error)}:<'{error}'>")  # what Flower sends
            raise

    return listen


@pytest.mark.parametrize(
    ("weight", "value", "secret"),
    [
        (987654321, 0.0, "987654321"),
        (3, np.nan, "NaN|index|layer"),
        (2.5, 0.0, "whole number"),
        (0, 0.0, "weight|whole"),
    ],
)
def test_what_is_wrong_with_an_update_stays_on_the_node(weight: Any, value: float, secret: str, tmp_path: Path) -> None:
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        trained = model_of(message.content["arrays"])
        trained["layer"] = trained["layer"] + np.float32(value)
        content = RecordDict({"arrays": record(trained), "metrics": MetricRecord({"num-examples": weight})})
        return Message(content, reply_to=message)

    heard: list[str] = []
    fleet = Fleet.make(tmp_path, members(3, replies_of(app, heard)))
    with flower_log() as log:
        assert not re.search(secret, fleet.stops())
    assert len(heard) == 2 * 3  # a run's first round is tried twice
    assert all("UpdateError" in said and not re.search(secret, said) for said in heard)
    assert sum(bool(re.search(secret, line)) for line in log if "this node refuses" in line) == 2 * 3
    assert not any(re.search(secret, str(entry)) for entry in fleet.aborts())


def test_what_fails_outside_the_protocol_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> ArrayRecord:
        raise MemoryError("patient 4711")

    monkeypatch.setattr(given, "instructions", fail)
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    message = Message(RecordDict({"arrays": record(start())}), dst_node_id=100, message_type="train")
    message.content = wire.put(message.content, hello())
    with pytest.raises(Exception, match=r"^an error outside the protocol: see this node's log$"):
        secure_mod(message, fleet.grid.nodes[100].context, lambda message, context: message)
