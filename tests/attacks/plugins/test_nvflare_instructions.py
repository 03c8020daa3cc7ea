"""What a server may tell one NVFlare site and not the others: without a digest over it, nobody notices."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import FilterKey, FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.private.privacy_manager import Scope
from support.frameworks.nvflare_network import Network, carried

from secure_agg.errors import MalformedMessage, PolicyViolation, SecureAggError, UpdateError
from secure_agg.fl.layers import Layers
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.core.parcels import JOIN
from secure_agg.plugins.homes import federation
from secure_agg.plugins.nvflare import given, models, wire
from secure_agg.protocol.config import Policy

NAMES = ("north", "east", "south", "west")
PARAMS = {
    "w": np.linspace(-0.5, 0.5, 12, dtype=np.float32).reshape(3, 4),
    "n": np.array([7]),
    "mask": np.array([True, False]),
    "b": np.array(0.5),
}
META = {"lr": 0.5, "on": True, "steps": [1, 2], "more": {"x": 1}}


def model(**changes: Any) -> FLModel:
    settings: dict[str, Any] = {"params": dict(PARAMS), "current_round": 3, "total_rounds": 10, "meta": dict(META)}
    return FLModel(**settings | changes)


def own(name: str) -> np.ndarray:
    return np.random.default_rng(len(name) + ord(name[0])).uniform(-0.5, 0.5, (3, 4))


def train(name: str, asked: FLModel) -> FLModel:
    """By a rate that falls with the number of the round, and is the server's to set."""
    rate = asked.meta["lr"] * 0.1 ** (asked.current_round - 3)
    params = {**asked.params, "w": (asked.params["w"] + rate * own(name)).astype(np.float32)}
    return FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": 4, "others": 1}, metrics={"loss": 0.5})


class World:
    """A federation of four; what each site's executor was called with."""

    def __init__(self, folder: Path, weight_key: str | None = None) -> None:
        self.folder = folder / "federation"
        policy = Policy.default(4, clip=1.0, bits=20, max_weight=16)
        federation.make(self.folder, NAMES, policy, task="task", weight_key=weight_key)
        self.called: list[str] = []
        self.network = Network(folder / "sites", self.folder, self._train)

    def _train(self, name: str, asked: FLModel) -> FLModel:
        self.called.append(name)
        return train(name, asked)

    def add(self, *, but: str | None = None, job: Callable[[str, Path], None] | None = None) -> None:
        for name in NAMES:
            if name != but:
                if job is not None:
                    job(name, self.network._root / name / "job" / f"app_{name}")
                self.network.add(name)

    def told(self, name: str, change: Callable[[Shareable], Shareable]) -> None:
        """What one site gets in place of what the others do."""
        site = self.network.engine.sites[name]
        honest = site.do
        site.do = lambda task, data: honest(task, carried(change(data)))  # type: ignore[method-assign]

    def round(self, asked: FLModel) -> FLModel:
        self.network.controller.send_model(data=asked, targets=list(self.network.engine.sites))
        result: FLModel = self.network.controller._get_aggregated_result()
        return result

    def participants(self) -> list[tuple[str, ...]]:
        with Ledger(self.folder / "server" / "rounds.db") as ledger:
            return [ledger.evidence(entry).participants for entry in ledger.records()]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with contextlib.closing(made.network):
        yield made


@pytest.fixture
def world(empty: World) -> World:
    empty.add()
    return empty


def edited(edit: Callable[[FLModel], None]) -> Callable[[Shareable], Shareable]:
    def change(data: Shareable) -> Shareable:
        asked = FLModelUtils.from_shareable(data)
        asked.params = dict(asked.params)
        edit(asked)
        changed: Shareable = FLModelUtils.to_shareable(asked)
        return changed

    return change


def kind(data: Shareable) -> Shareable:
    changed: Shareable = DXO(DataKind.WEIGHT_DIFF, **_parts(data)).to_shareable()
    for key in (AppConstants.START_ROUND, AppConstants.CURRENT_ROUND, AppConstants.NUM_ROUNDS):
        changed.set_header(key, data.get_header(key))
    return changed


def _parts(data: Shareable) -> dict[str, Any]:
    asked = FLModelUtils.from_shareable(data)
    return {"data": asked.params, "meta": asked.meta}


def header(key: str, value: Any) -> Callable[[Shareable], Shareable]:
    def change(data: Shareable) -> Shareable:
        data.set_header(key, value)
        return data

    return change


CHANGES: dict[str, Callable[[Shareable], Shareable]] = {
    "number of the round": edited(lambda asked: setattr(asked, "current_round", 9)),
    "number of rounds": edited(lambda asked: setattr(asked, "total_rounds", 11)),
    "first round": edited(lambda asked: setattr(asked, "start_round", 1)),
    "a rate in the meta data": edited(lambda asked: asked.meta.update(lr=0.0)),
    "integer for boolean": edited(lambda asked: asked.meta.update(on=1)),
    "integer for float": edited(lambda asked: asked.meta.update(lr=1)),
    "nested": edited(lambda asked: asked.meta.update(more={"x": 1.0})),
    "tuple for list": edited(lambda asked: asked.meta.update(steps=(1, 2))),
    "one more": edited(lambda asked: asked.meta.update(extra=None)),
    "order": edited(lambda asked: setattr(asked, "meta", dict(reversed(list(asked.meta.items()))))),
    "metrics": edited(lambda asked: setattr(asked, "metrics", {"loss": 1.0})),
    "a counter": edited(lambda asked: asked.params.update(n=np.array([8]))),
    "a mask": edited(lambda asked: asked.params.update(mask=np.array([True, True]))),
    "type of a counter": edited(lambda asked: asked.params.update(n=np.array([7], np.int32))),
    "type of a layer": edited(lambda asked: asked.params.update(w=asked.params["w"].astype(np.float64))),
    "order of layers": edited(lambda asked: setattr(asked, "params", dict(reversed(list(asked.params.items()))))),
    "a name": edited(lambda asked: asked.params.update(m=asked.params.pop("n"))),
    "kind of parameters": kind,
    "validation type": header(AppConstants.VALIDATE_TYPE, "before_train_validate"),
    "a site's name": header("site_name", "other"),
}


# --- one update out of a mean ---------------------------------------------------------------------------------


def test_a_later_round_to_all_but_one_reads_that_sites_update_off_the_mean(world: World) -> None:
    """A decaying rate is enough: what a server would see of a plain mean is one site's update."""
    late = edited(lambda asked: setattr(asked, "current_round", 9))
    naive = [train(name, model(current_round=3 if name == "north" else 9)).params["w"] for name in NAMES]
    step = (np.mean(naive, axis=0) - PARAMS["w"]).ravel()
    update = own("north").ravel()
    assert step @ update / np.linalg.norm(step) / np.linalg.norm(update) == pytest.approx(1.0, abs=1e-4)

    for name in NAMES[1:]:
        world.told(name, late)
    assert np.array_equal(world.round(model()).params["w"], PARAMS["w"])
    assert world.participants() == []
    assert world.called == ["north"]


@pytest.mark.parametrize("what", CHANGES)
def test_a_site_that_is_told_something_else_is_in_no_round_with_the_others(world: World, what: str) -> None:
    world.told("west", CHANGES[what])
    world.round(model())
    assert world.participants() == [("east", "north", "south")]
    assert "west" not in world.called
    (error,) = world.network.engine.sites["west"].errors
    assert isinstance(error, SecureAggError)


def test_sites_that_are_told_the_same_are_in_one_round(world: World) -> None:
    world.round(model(metrics={"loss": 0.25}))
    assert world.participants() == [tuple(sorted(NAMES))]


# --- what the executor gets -----------------------------------------------------------------------------------


def test_an_executor_is_given_what_was_digested_and_nothing_else(world: World) -> None:
    """What a server may put beside the model for one site is left out, but for what NVFlare itself sends back."""
    site = world.network.engine.sites["north"]
    seen: list[Shareable] = []
    honest = site.filtered

    def filtered(chain: str, direction: str, task: str, data: Shareable) -> Shareable:
        passed = honest(chain, direction, task, data)
        if "data" in chain:
            seen.append(passed)
        return passed

    def steer(data: Shareable) -> Shareable:
        data["lr"] = 0.0
        for key in ("lr", ReservedHeaderKey.PEER_PROPS, ReservedHeaderKey.WORKFLOW, ReservedHeaderKey.AUDIT_EVENT_ID):
            data.set_header(key, "0")
        data.set_header(ReservedHeaderKey.TASK_ID, "task 1")
        for name in ("lr", FLContextKey.TASK_ID, ReservedHeaderKey.WORKFLOW, AppConstants.CONTRIBUTION_ROUND):
            data.add_cookie(name, "0")
        return data

    site.filtered = filtered  # type: ignore[method-assign]
    world.told("north", steer)
    world.round(model())
    assert world.participants() == [tuple(sorted(NAMES))]
    data = seen[0]
    content = {key for key in data if key != ReservedHeaderKey.HEADERS}
    assert content == {key for key in FLModelUtils.to_shareable(model()) if key != ReservedHeaderKey.HEADERS}
    assert set(data[ReservedHeaderKey.HEADERS]) == {
        ReservedHeaderKey.CONTENT_TYPE, ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID,
        ReservedHeaderKey.COOKIE_JAR, AppConstants.START_ROUND, AppConstants.CURRENT_ROUND, AppConstants.NUM_ROUNDS,
    }  # fmt: skip
    assert data.get_cookie_jar() == {
        FLContextKey.TASK_ID: "0", ReservedHeaderKey.WORKFLOW: "0", AppConstants.CONTRIBUTION_ROUND: 3,
    }  # fmt: skip


def test_the_servers_context_is_not_the_executors() -> None:
    peer, fl_ctx = FLContext(), FLContext()
    peer.put("lr", 0.0, private=False, sticky=False)
    peer.put(FLContextKey.CURRENT_RUN, "job", private=False, sticky=False)
    fl_ctx.set_peer_context(peer)
    given.handed_over(model(), Shareable(), fl_ctx)
    assert fl_ctx.get_peer_context().get_all_public_props() == {FLContextKey.CURRENT_RUN: "job"}
    came = Shareable()
    came.add_cookie(FLContextKey.TASK_ID, {"lr": 0.0})
    with pytest.raises(MalformedMessage, match="identifies a task"):
        given.handed_over(model(), came, fl_ctx)


@pytest.mark.parametrize(
    ("said", "leaves"), [("patient 4711", "EXECUTION_EXCEPTION"), (["x"], "EXECUTION_EXCEPTION"), ("EMPTY_RESULT",) * 2]
)
def test_a_failure_leaves_a_site_as_one_of_nvflares_codes(world: World, said: Any, leaves: str) -> None:
    world.network.controller._peers.identify(list(NAMES))
    site = world.network.engine.sites["north"]
    reply = site.filtered(Scope.TASK_RESULT_FILTERS_NAME, FilterKey.OUT, "train", make_reply(said, {"why": "4711"}))
    assert reply.get_return_code() == leaves
    assert set(reply[ReservedHeaderKey.HEADERS]) == {ReservedHeaderKey.RC}


def test_how_arrays_lie_in_memory_is_not_the_servers_to_choose(world: World) -> None:
    """Elements are digested in C order: an app that looks at memory would be told something that nobody else is."""
    orders: list[bool] = []

    def look(name: str, asked: FLModel) -> FLModel:
        orders.append(asked.params["w"].flags.c_contiguous)
        return train(name, asked)

    world.network.engine.sites["west"].train = look
    world.told("west", edited(lambda asked: asked.params.update(w=np.asfortranarray(asked.params["w"]))))
    world.round(model())
    assert orders == [True]
    assert world.participants() == [tuple(sorted(NAMES))]


def test_what_was_trained_as_one_task_says_is_not_the_result_of_another(world: World) -> None:
    """A server may have a second task done while an executor is at the first: the first one's result would come in the
    second one's round, whose instructions the others were given too.
    """
    site = world.network.engine.sites["north"]
    joins: list[Shareable] = []

    def note(name: str, message: Shareable) -> Shareable:
        if name == "north" and message.get("secure_agg.kind") == JOIN:
            joins.append(message)
        return message

    def train_meanwhile(name: str, asked: FLModel) -> FLModel:
        if "the first task" in world.called:
            return world._train(name, asked)
        site.receive(wire.TOPIC, carried(joins[0]))
        second = threading.Thread(target=site.do, args=("train", carried(FLModelUtils.to_shareable(model()))))
        world.called.append("the first task")
        second.start()
        second.join()
        return train(name, asked)

    world.network.engine.tamper_request = note
    site.train = train_meanwhile
    world.round(model())
    assert world.called.count("north") == 0, "an executor is at one task at a time"
    assert [type(error) for error in site.errors] == [PolicyViolation]
    assert world.participants() == [tuple(sorted(NAMES))]


# --- the job --------------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("file", ["config__config_fed_client.json", "config__lr.json", "custom__train.py"])
def test_a_job_that_is_another_at_one_site_does_not_run_there(
    empty: World, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    def job(name: str, app: Path) -> None:
        write(
            app, **{"config__config_fed_client.json": json.dumps({"args": "--lr 0.1"}), "custom__train.py": "rate = 1"}
        )
        write(app, **{"custom__notes": "x", "log": name, "config__client_api_config.json": name})
        if name == "west":
            write(app, **{file: "rate = 0"})

    empty.add(job=job)
    empty.round(model())
    assert empty.participants() == [("east", "north", "south")]
    assert "west" not in empty.called
    assert "west has other settings or another app of this run than most" in caplog.text


# --- the weight -----------------------------------------------------------------------------------------------


def test_the_key_of_the_weight_is_the_sites_own(tmp_path: Path) -> None:
    made = World(tmp_path, weight_key="others")
    with contextlib.closing(made.network):
        made.add()
        made.round(model())
        with Ledger(made.folder / "server" / "rounds.db") as ledger:
            (entry,) = ledger.records()
            assert entry.weight_sum == 4


def test_sites_that_have_pinned_different_keys_are_in_no_round_together(empty: World) -> None:
    path = empty.folder / "clients" / "west" / "home.json"
    path.write_text(path.read_text().replace('"weight_key": null', '"weight_key": "others"'))
    empty.add()
    empty.round(model())
    assert empty.participants() == [("east", "north", "south")]


@pytest.mark.parametrize(
    ("meta", "key", "weight"),
    [
        ({"a": 3}, "a", 3),
        ({"a": 3.0}, "a", 3),
        ({"NUM_STEPS_CURRENT_ROUND": 5, "a": 3}, None, 5),
        ({}, None, 1),
        ({"NUM_STEPS_CURRENT_ROUND": 5}, "a", None),
        ({"a": float("nan")}, "a", None),
        ({"a": float("inf")}, "a", None),
        ({"a": 2.5}, "a", None),
        ({"a": True}, "a", None),
        ({"a": "3"}, "a", None),
    ],
)
def test_a_weight_is_a_whole_number_under_its_key(meta: dict[str, Any], key: str | None, weight: int | None) -> None:
    arrays = {"w": np.zeros(2, np.float32)}
    layers = Layers.of(arrays)
    result = FLModel(params=arrays, meta=meta)
    if weight is None:
        with pytest.raises(UpdateError, match="not a whole number"):
            models.trained(result, layers, layers.floats(arrays), key)
    else:
        assert models.trained(result, layers, layers.floats(arrays), key).weight == weight
