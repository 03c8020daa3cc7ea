"""What leaves a Flower node, what it refuses, and where its pins come from."""

from __future__ import annotations

import logging
import sys
import threading
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from support.federation import bulk_of
from support.frameworks.flower_nodes import Fleet, Seen, app_of, flower_log, meddle, members, record, start

from benchmarks.plugins.nodes import App, Nodes
from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.plugins.core import parcels, versions
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.flower import given, secure_mod, wire
from secure_agg.plugins.flower.exchange import exchange

PATIENT = "patient 4711"


def listening(app: App, heard: list[RecordDict]) -> App:
    """A server that keeps what it is sent."""

    def listen(message: Message, context: Context) -> Message | None:
        reply = app(message, context)
        if reply is not None and reply.has_content():
            heard.append(reply.content)
        return reply

    return listen


def train_message(content: RecordDict | None = None, kind: str = "train") -> Message:
    filled = content or RecordDict({"arrays": record(start()), "config": ConfigRecord()})
    return Message(filled, dst_node_id=100, message_type=kind)


def refusal(app: App, kind: str = "train") -> str:
    """What a node answers to a message of stock Flower."""
    grid = Nodes({100: (app, {"partition-id": 0})})
    (reply,) = grid.send_and_receive([train_message(kind=kind)])
    return reply.error.reason if reply.has_error() else ""


def test_an_entry_of_pythons_path_that_python_does_not_read_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps add folders as paths, and Python ignores what is no text."""
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    before = given.surroundings(context)
    monkeypatch.setattr(sys, "path", [*sys.path, Path("beside")])
    assert given.surroundings(context) == before


# --- what leaves a node -----------------------------------------------------------------------------------------


def test_nothing_of_one_client_leaves_in_clear(tmp_path: Path) -> None:
    naive: list[RecordDict] = []
    FedAvg().start(Fleet.nodes(tmp_path, members(3, listening(app_of(mods=()), naive))), record(start()), num_rounds=1)
    assert any("num-examples" in content["metrics"] for content in naive)
    assert any(content.array_records for content in naive)

    heard: list[RecordDict] = []
    fleet = Fleet.make(tmp_path, members(3, listening(app_of(), heard)))
    result = fleet.run(FedAvg(), rounds=1)
    assert result.train_metrics_clientapp
    assert result.evaluate_metrics_clientapp
    assert len(heard) == 3 * (2 + 2 * 6)
    for content in heard:
        assert list(content) == [wire.PAYLOAD]


def test_what_an_app_says_when_it_fails_stays_on_the_node(tmp_path: Path) -> None:
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        raise ValueError(PATIENT)

    fleet = Fleet.make(tmp_path, members(3, app))
    with flower_log() as log:
        assert PATIENT not in fleet.stops()
    server = [line for line in log if "out of the round" in line]
    assert len(server) == 2 * 3  # a run's first round is tried twice
    assert all("UpdateError" in line and "ValueError" not in line and PATIENT not in line for line in server)
    assert "the app has failed" in log  # on the node, with its traceback


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"metrics": MetricRecord({"num-examples": 3})}, "0 array records"),
        ({"arrays": record(start()), "metrics": MetricRecord({"loss": 1.0})}, "no whole number 'num-examples'"),
        ({"arrays": record(start()), "metrics": MetricRecord({"num-examples": 2.5})}, "no whole number"),
        ({"arrays": record(start(128)), "metrics": MetricRecord({"num-examples": 3})}, "UpdateError"),
        ({"arrays": record(start()), "metrics": MetricRecord({"num-examples": 10**6})}, "UpdateError"),
    ],
)
def test_an_update_that_is_unfit_is_refused_on_the_node(content: dict, why: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict(content), reply_to=message)

    fleet = Fleet.make(tmp_path, members(3, app))
    with flower_log() as log:
        fleet.stops()
    assert sum("UpdateError" in line for line in log if "out of the round" in line) == 2 * 3
    assert sum(why in line for line in log if "this node refuses" in line) == 2 * 3


def test_another_metric_may_be_the_weight(tmp_path: Path) -> None:
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        metrics = MetricRecord({"images": 10.0 * (number + 1), "loss": float(number)})
        return Message(RecordDict({"arrays": record(start()), "metrics": metrics}), reply_to=message)

    fleet = Fleet.make(tmp_path, members(3, app), weight_key="images")
    result = fleet.run(FedAvg(fraction_evaluate=0.0, weighted_by_key="images"))
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx((0 * 10 + 1 * 20 + 2 * 30) / 60)


# --- what a node refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_message_that_asks_for_a_reply_in_clear_is_refused(kind: str) -> None:
    assert refusal(app_of(mods=()), kind) == ""  # stock Flower answers
    seen = Seen()
    assert "PolicyViolation" in refusal(app_of(seen=seen), kind)
    assert seen == Seen()


def test_an_evaluation_without_the_mod_is_not_made(tmp_path: Path) -> None:
    """The app would answer in clear, so it is not given the model: the server asks first who is there."""
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(evaluate_mods=(), seen=seen)))
    with flower_log() as log:
        result = fleet.run(FedAvg(), rounds=2)
    assert result.arrays
    assert not result.evaluate_metrics_clientapp
    assert not seen.evaluated
    assert sum("is not in this round" in line for line in log) == 3
    assert sum("no node evaluates in secure rounds" in line for line in log) == 1


def test_the_home_is_named_by_the_node_and_by_nobody_else(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    for node in fleet.grid.nodes.values():
        node.context.run_config = {"secure-agg-home": node.context.node_config.pop("secure-agg-home")}
    with flower_log() as log:
        fleet.stops()
    assert sum("ConfigError" in line and "names no home" in line for line in log) == 2 * 3


def test_a_payload_that_is_no_payload_is_malformed() -> None:
    good = Array("bytes", (1,), "raw.v1", b"x")
    for bad in (Array(np.zeros(3)), Array("bytes", (1,), "raw.v2", b"x")):
        with pytest.raises(MalformedMessage):
            wire.take(RecordDict({wire.PAYLOAD: ArrayRecord({"head": good, "bulk": good, "tail": bad})}))
    with pytest.raises(MalformedMessage):
        wire.take(RecordDict({wire.PAYLOAD: ArrayRecord({"head": good})}))


def test_what_all_nodes_are_sent_is_held_once() -> None:
    """What is before and after it may differ, in its length too."""
    common = np.random.default_rng(0).bytes(24 << 20)
    sizes: dict[str, int] = {}
    for name in (b"a", b"a longer name"):
        payload = Parcel(parcels.RESULT, (name + common, b"receipt", name)).to_bytes()
        content = wire.put(RecordDict(), payload)
        assert wire.take(content)[0] == payload
        sizes |= {key: len(thing.deflate()) for key, thing in get_all_nested_objects(content).items()}
    assert sum(sizes.values()) < len(common) + 2 * (5 << 20)


def test_a_result_is_the_same_for_all_nodes_but_for_its_header(tmp_path: Path) -> None:
    results: list[bytes] = []

    def hear(parcel: Parcel) -> Parcel:
        if parcel.kind == parcels.RESULT:
            results.append(bytes(parcel.parts[0]))
        return parcel

    fleet = Fleet.make(tmp_path, members(3, meddle(app_of(), down=hear)))
    fleet.run()
    bulk = bulk_of(results[0])
    assert len(results) == 3
    assert all(result.endswith(bulk) for result in results)


def test_the_plug_ins_lines_are_in_flowers_log_once(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    fleet.secure(FedAvg())
    with flower_log() as log:
        logging.getLogger("secure_agg.plugins").info("a phase")
    assert log == ["a phase"]


# --- deadlines --------------------------------------------------------------------------------------------------


class Stuck(Nodes):
    """A SuperLink that never hands out the reply of one node: the pull hangs."""

    def __init__(self, apps: dict[int, App], stuck: set[int]) -> None:
        super().__init__({name: (app, {}) for name, app in apps.items()})
        self._stuck, self._of = stuck, dict[str, int]()
        self.released = threading.Event()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        batch = list(messages)
        pushed = list(super().push_messages(batch))
        self._of.update(zip(pushed, (message.metadata.dst_node_id for message in batch), strict=True))
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        names = list(message_ids)
        if any(self._of[name] in self._stuck for name in names):
            self.released.wait()
        return super().pull_messages(names)


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def test_a_deadline_holds_where_a_reply_hangs() -> None:
    grid = Stuck(dict.fromkeys(range(100, 106), echo), {100, 101})
    messages = [
        (str(node), lambda node=node: Message(RecordDict(), dst_node_id=node, message_type="train"))
        for node in range(100, 106)
    ]
    started = time.monotonic()
    replies = dict(exchange(grid, messages, 1.0))
    elapsed = time.monotonic() - started
    grid.released.set()
    assert set(replies) == {"102", "103", "104", "105"}
    assert elapsed < 60.0


def test_a_node_that_is_gone_is_told_apart() -> None:
    class Gone(Nodes):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            return [None for _ in messages]  # type: ignore[misc]

    grid = Gone({100: (echo, {})})
    message = ("a", lambda: Message(RecordDict(), dst_node_id=100, message_type="train"))
    ((name, reply),) = exchange(grid, [message], 1.0)
    assert name == "a"
    assert isinstance(reply, ConnectionError)


def test_a_message_that_can_not_be_sent_costs_its_node_and_no_other() -> None:
    """Flower raises where its SuperLink loses a part of a message that is on its way."""

    class Losing(Nodes):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            batch = list(messages)
            if batch[0].metadata.dst_node_id == 101:
                raise RuntimeError("an object is not stored")
            return super().push_messages(batch)

    grid = Losing({node: (echo, {}) for node in (100, 101, 102)})
    messages = [
        (str(node), lambda node=node: Message(RecordDict(), dst_node_id=node, message_type="train"))
        for node in (100, 101, 102)
    ]
    replies = dict(exchange(grid, messages, 60.0))
    assert isinstance(replies.pop("101"), RuntimeError)
    assert {name: isinstance(reply, Message) for name, reply in replies.items()} == {"100": True, "102": True}


# --- versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", ["1.41", "1.41.0", "1.41.7", "1.41.0rc1", "1.42.0"])
def test_a_supported_version_passes(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda name: found)
    versions.require("flwr", ">=1.41,<1.43", "flower")


@pytest.mark.parametrize("found", ["1.40.9", "1.43", "1.43.0.dev1", "1.5", "2.0", "nightly"])
def test_another_version_is_refused_with_what_to_do(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda name: found)
    with pytest.raises(ConfigError, match=rf"flwr {found} is not supported.*pip install 'flwr>=1.41,<1.43'"):
        versions.require("flwr", ">=1.41,<1.43", "flower")


def test_a_framework_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no-such-framework is not installed: run  pip install '\.\[flower\]'"):
        versions.require("no-such-framework", ">=1.0,<2.0", "flower")


def test_the_extra_installs_what_the_plug_in_requires() -> None:
    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = (line.removeprefix("flwr") for line in extras["flower"] if line.startswith("flwr"))
    assert f'require("flwr", "{wanted}", "flower")' in (root / "secure_agg/plugins/flower/__init__.py").read_text()
