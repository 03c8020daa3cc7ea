"""The NVFlare plug-in between NVFlare's own filters, messages and controller."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import FilterKey, ReturnCode
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.private.privacy_manager import Scope
from support.frameworks.nvflare_network import Network

from secure_agg.errors import (
    AnotherModel,
    ConfigError,
    LocalProtocolError,
    MalformedMessage,
    PolicyViolation,
    RoundAborted,
    RunStopped,
    WrongContext,
)
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.model_files import start_digest
from secure_agg.fl.server_optimizers import ServerOptimizer
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.server.history import History, last_model
from secure_agg.plugins.homes import federation, tenants
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.plugins.nvflare import configure, controller, secure, wire
from secure_agg.plugins.nvflare.controller import SecureFedAvg
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Policy

NAMES = ("north", "east", "south", "west")
WEIGHTS = {"north": 7, "east": 3, "south": 1, "west": 10}
STEPS = {name: (i + 1) / 16 for i, name in enumerate(NAMES)}
POLICY = Policy.default(4, clip=1.0, bits=20, max_weight=16)
BOUND = FixedPoint(POLICY).error_bound(4, 21) + 1e-6  # training rounds to float32 too
PARAMS = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "n": np.array([7]), "b": np.array(0.5)}


def train(name: str, model: FLModel) -> FLModel:
    """Adds the site's step to every float."""
    floats = {key: value for key, value in model.params.items() if value.dtype.kind == "f"}
    return FLModel(
        params={**model.params, **{key: (value + STEPS[name]).astype(value.dtype) for key, value in floats.items()}},
        metrics={"accuracy": STEPS[name]},
        meta={"NUM_STEPS_CURRENT_ROUND": WEIGHTS[name], "site": name},
    )


def train_to_difference(name: str, model: FLModel) -> FLModel:
    """The same, reported as a difference."""
    result = train(name, model)
    result.params = {key: value - model.params[key] for key, value in result.params.items()}
    result.params_type = ParamsType.DIFF
    return result


def mean(names: tuple[str, ...]) -> float:
    return sum(WEIGHTS[name] * STEPS[name] for name in names) / sum(WEIGHTS[name] for name in names)


class World:
    """A federation of four, on disk and on the network."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...] = NAMES,
        training: Any = train,
        policy: Policy = POLICY,
        parameters: int | None = None,
        **rules: Any,
    ) -> None:
        self.folder = folder / "federation"
        federation.make(self.folder, NAMES, policy, task="task", parameters=parameters, **rules)
        self.network = Network(folder / "sites", self.folder, training)
        self.sites = {name: self.network.add(name) for name in names}

    def aborts(self) -> list[str]:
        path = self.folder / "server" / "aborts.jsonl"
        return [json.loads(line)["error"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with contextlib.closing(made.network):
        yield made


def check(result: FLModel, start: dict[str, np.ndarray], names: tuple[str, ...] = NAMES) -> None:
    assert result.params_type == ParamsType.FULL
    assert result.params.keys() == start.keys()
    for key, old in start.items():
        new = result.params[key]
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert np.abs(new - (old + mean(names) * (old.dtype.kind == "f"))).max() <= BOUND


# --- what comes out --------------------------------------------------------------------------------------------


def train_in_place(name: str, model: FLModel) -> FLModel:
    """The same, in the very arrays that were handed out, as NVFlare's own ``NPTrainer`` does."""
    for value in model.params.values():
        if value.dtype.kind == "f":
            value += STEPS[name]
    return FLModel(
        params=model.params,
        metrics={"accuracy": STEPS[name]},
        meta={"NUM_STEPS_CURRENT_ROUND": WEIGHTS[name], "site": name},
    )


@pytest.mark.parametrize("training", [train, train_to_difference, train_in_place])
def test_rounds_move_the_model_by_the_weighted_mean(tmp_path: Path, training: Any) -> None:
    made, at = World(tmp_path, training=training), PARAMS
    with contextlib.closing(made.network):
        for _ in range(2):
            result = made.network.round(at)
            check(result, at)
            assert result.metrics == pytest.approx({"accuracy": mean(NAMES)})
            assert result.meta["nr_aggregated"] == 4
            at = result.params
    assert made.aborts() == []


@pytest.mark.usefixtures("quick_operators")
def test_a_key_holder_is_a_process_of_its_own(tmp_path: Path) -> None:
    policy = Policy.default(4, backend="bfv", clip=1.0, bits=20, max_weight=16)
    made = World(tmp_path, names=(), policy=policy, parameters=13)
    with contextlib.closing(made.network), federation.operators(made.folder):
        for name in NAMES:
            made.network.add(name)
        check(made.network.round(PARAMS), PARAMS)


def test_payloads_go_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PIECE", 64)
    check(world.network.round(PARAMS), PARAMS)


def test_nothing_of_one_site_leaves_it_in_clear(world: World) -> None:
    world.network.round(PARAMS)
    for site in world.sites.values():
        (left,) = site.left
        dxo = from_shareable(left)
        ((key, sealed),) = dxo.data.items()
        assert (key, sealed.dtype) == ("secure_agg.sealed", np.uint8)
        assert dxo.meta == {}
        assert len(sealed) < 2000  # the phase that joins holds a commitment's hash and keys, not an update


# --- who is left out -------------------------------------------------------------------------------------------


def test_a_site_whose_training_fails_is_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str, model: FLModel) -> FLModel:
        raise ValueError("out of memory")

    world.sites["south"].train = fail
    rest = ("north", "east", "west")
    check(world.network.round(PARAMS), PARAMS, rest)
    assert "south is out of the round in phase advertise" in caplog.text
    assert world.aborts() == []


def test_a_site_that_is_gone_while_it_trains_is_not_waited_for(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()

    def die(name: str, model: FLModel) -> FLModel:
        world.network.engine.gone.add(name)
        back.wait()
        return train(name, model)

    monkeypatch.setattr(controller, "_PROBE_S", 0.05)
    world.sites["south"].train = die
    try:
        check(world.network.round(PARAMS), PARAMS, ("north", "east", "west"))
        assert "south is out of the round in phase advertise: 'south' is gone" in caplog.text
    finally:
        back.set()


def test_a_job_that_is_aborted_ends_in_the_middle_of_a_round(world: World) -> None:
    def abort(name: str, model: FLModel) -> FLModel:
        world.network.controller.abort_signal.trigger("by an operator")
        return train(name, model)

    for site in world.sites.values():
        site.train = abort
    with pytest.raises(RoundAborted, match="the job was aborted"):
        world.network.round(PARAMS)


def test_too_few_sites_leave_the_model_as_it_was(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("south", "west"):
        world.sites[name].strip(job=True, site=True)  # nothing that comes from there is taken
    result = world.network.round(PARAMS)
    assert all(np.array_equal(result.params[key], value) for key, value in PARAMS.items())
    assert result.metrics is None
    assert "the model stays as it was: TooFewClients" in caplog.text
    assert world.aborts() == ["TooFewClients"]


def test_a_job_without_a_verified_round_fails_and_saves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[FLModel] = []
    controller = world.network.controller
    monkeypatch.setattr(FedAvg, "save_model", lambda self, model: saved.append(model))
    monkeypatch.setattr(controller, "num_rounds", 2)
    for name in ("south", "west"):
        world.sites[name].strip(job=True, site=True)
    controller.save_model(world.network.round(PARAMS))
    assert saved == []
    controller.current_round = 1
    with pytest.raises(RunStopped, match="no round of this run is verified"):
        world.network.round(PARAMS)


def test_a_job_that_loses_its_sites_ends_with_the_last_verified_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[FLModel] = []
    controller = world.network.controller
    monkeypatch.setattr(FedAvg, "save_model", lambda self, model: saved.append(model))
    monkeypatch.setattr(controller, "num_rounds", 2)
    first = world.network.round(PARAMS)
    controller.save_model(first)
    for name in ("south", "west"):
        world.sites[name].strip(job=True, site=True)
    controller.current_round = 1
    controller.save_model(world.network.round(first.params))
    for model in saved:
        assert all(np.array_equal(model.params[key], value) for key, value in first.params.items())
    with ServerHome.open(world.folder / "server") as home:
        record, kept = last_model(home) or pytest.fail("nothing is kept")
    assert record.round == 0
    assert all(np.array_equal(kept[key], value) for key, value in first.params.items())


def test_a_job_from_another_model_fails_in_its_first_round_with_the_cure(world: World) -> None:
    world.network.round(world.network.round(PARAMS).params)
    before = (world.folder / "server" / "model.npz").read_bytes()
    with pytest.raises(RunStopped, match=r"2 verified results .* federation model .*server --out FILE"):
        world.network.round(PARAMS)
    assert (world.folder / "server" / "model.npz").read_bytes() == before
    assert all(len(site.left) == 2 for site in world.sites.values()), "nobody was asked"


def test_a_result_in_clear_is_not_looked_at(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """NVFlare's own filters pass what they don't know; ours missing, the site's model would be summed as it is."""
    world.sites["south"].strip(job=True, site=True)
    check(world.network.round(PARAMS), PARAMS, ("north", "east", "west"))
    assert "the training result of 'south' is not sealed" in caplog.text


def test_a_result_in_what_the_executor_was_given_does_not_leave_in_clear(world: World) -> None:
    """An executor may write its result into the task's data and return that."""
    site = world.sites["south"]

    def do(task: str, data: Shareable) -> Shareable:
        data = site.filtered(Scope.TASK_DATA_FILTERS_NAME, FilterKey.IN, task, data)
        given = data
        data.update(FLModelUtils.to_shareable(train("south", FLModelUtils.from_shareable(data))))
        assert data is given
        data = site.filtered(Scope.TASK_RESULT_FILTERS_NAME, FilterKey.OUT, task, data)
        site.left.append(data)
        return data

    site.do = do  # type: ignore[method-assign]
    check(world.network.round(PARAMS), PARAMS)
    (left,) = site.left
    assert set(FLModelUtils.from_shareable(left).params) == {"secure_agg.sealed"}


@pytest.mark.parametrize("filters", [{"job": True, "site": False}, {"job": False, "site": True}])
def test_the_jobs_filters_and_the_sites_are_as_good_alone(world: World, filters: dict[str, bool]) -> None:
    for site in world.sites.values():
        site.strip(**filters)
    check(world.network.round(PARAMS), PARAMS)


@pytest.mark.parametrize("task", ["validate", "submit_model", "anything"])
def test_no_other_task_is_answered(world: World, task: str) -> None:
    site = world.sites["north"]
    assert site.do(task, FLModelUtils.to_shareable(FLModel(params=PARAMS))).get_return_code() != ReturnCode.OK
    assert isinstance(site.errors[0], PolicyViolation)


def test_a_model_without_a_round_is_not_trained_on(world: World) -> None:
    site = world.sites["north"]
    assert site.do("train", FLModelUtils.to_shareable(FLModel(params=PARAMS))).get_return_code() != ReturnCode.OK
    assert isinstance(site.errors[0], LocalProtocolError)


def test_a_round_is_joined_with_one_result(world: World) -> None:
    world.network.round(PARAMS)
    site = world.sites["north"]
    result = FLModelUtils.to_shareable(train("north", FLModel(params=PARAMS)))
    with pytest.raises(LocalProtocolError):
        site.filtered(Scope.TASK_RESULT_FILTERS_NAME, FilterKey.OUT, "train", result)


# --- bad servers -----------------------------------------------------------------------------------------------


def test_a_server_that_shows_another_model_to_one_site_does_not_have_it_trained_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = world.sites["south"]
    honest = site.do

    def other(task: str, data: Shareable) -> Shareable:
        model = FLModelUtils.from_shareable(data)
        model.params["w"] = model.params["w"] + np.float32(0.25)
        return honest(task, FLModelUtils.to_shareable(model))

    monkeypatch.setattr(site, "do", other)
    check(world.network.round(PARAMS), PARAMS, ("north", "east", "west"))
    assert isinstance(site.errors[0], WrongContext)


def test_a_model_that_is_not_the_verified_mean_is_not_trained_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    result = world.network.round(PARAMS)
    edited = {**result.params, "w": result.params["w"] + np.float32(0.125)}
    trained: list[str] = []

    def note(name: str, model: FLModel) -> FLModel:
        trained.append(name)
        return train(name, model)

    for site in world.sites.values():
        site.train = note
    monkeypatch.setattr(History, "check", lambda *_: None)  # a server that knows what it does
    with pytest.raises(RunStopped, match=r"4 of 4 nodes know another"):
        world.network.round(edited)
    assert all(isinstance(site.errors[0], AnotherModel) for site in world.sites.values())
    assert trained == []
    assert "answers AnotherModel" in caplog.text
    check(world.network.round(result.params), result.params)


def test_a_first_model_that_is_not_the_pinned_one_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, start_model=start_digest(PARAMS))
    with contextlib.closing(world.network):
        another = {**PARAMS, "w": PARAMS["w"] + np.float32(0.125)}
        with pytest.raises(RunStopped, match="start model that is pinned"):  # by the server's own home
            world.network.round(another)
        assert all(site.left == [] for site in world.sites.values())
        monkeypatch.setattr(History, "check", lambda *_: None)
        with pytest.raises(RunStopped, match="4 of 4 nodes know another"):
            world.network.round(another)
        for site in world.sites.values():
            assert isinstance(site.errors[0], AnotherModel)
            assert "pinned start model" in str(site.errors[0])
        check(world.network.round(PARAMS), PARAMS)


def test_a_site_that_comes_late_is_shown_what_it_has_missed(tmp_path: Path) -> None:
    world = World(tmp_path, names=NAMES[:3], start_model=start_digest(PARAMS))
    with contextlib.closing(world.network):
        params = PARAMS
        for _ in range(2):
            result = world.network.round(params)
            check(result, params, NAMES[:3])
            params = result.params
        late = world.network.add(NAMES[3], world.folder / "clients" / NAMES[3])
        check(world.network.round(params), params)
        assert late.errors == []


def test_a_pinned_server_optimizer_makes_the_next_model_here_too(tmp_path: Path) -> None:
    optimizer = ServerOptimizer.create("FedAvgM", learning_rate=0.5, momentum=0.5)
    world = World(tmp_path, start_model=start_digest(PARAMS), optimizer=optimizer)
    with contextlib.closing(world.network):
        first = world.network.round(PARAMS)
        second = world.network.round(first.params)
        assert all(site.errors == [] for site in world.sites.values())
        moved = (0.5 * mean(NAMES), 0.5 * (0.5 + 1.0) * mean(NAMES))
        assert np.abs(first.params["w"] - PARAMS["w"] - moved[0]).max() <= BOUND
        assert np.abs(second.params["w"] - first.params["w"] - moved[1]).max() <= BOUND


def test_a_site_that_takes_more_steps_does_not_count_for_more_under_fednova(tmp_path: Path) -> None:
    algorithm = create("FedNova", rate=0.1, usual_steps=4.0)
    taken = dict(zip(NAMES, (1, 2, 4, 3), strict=True))

    def descend(name: str, model: FLModel) -> FLModel:
        names, shared = algorithm.unnamed(model.params)
        done = algorithm.local(shared, (), lambda at: [np.full_like(at[0], -STEPS[name])], taken[name])
        return FLModel(
            params=algorithm.named(names, done.moved(shared)), meta={"NUM_STEPS_CURRENT_ROUND": WEIGHTS[name]}
        )

    params = algorithm.named(["w"], algorithm.begin([PARAMS["w"]]).shared)
    world = World(tmp_path, training=descend, start_model=start_digest(params), optimizer=algorithm.server)
    with contextlib.closing(world.network):
        result = world.network.round(params)
        assert all(site.errors == [] for site in world.sites.values())
        steps = sum(WEIGHTS[name] * taken[name] for name in NAMES) / sum(WEIGHTS.values())
        assert np.abs(result.params["w"] - PARAMS["w"] - 0.1 * steps * mean(NAMES)).max() <= 2 * BOUND


def test_a_server_that_is_not_pinned_gets_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path / "one", names=())
    other = World(tmp_path / "other", names=())
    with contextlib.closing(world.network), contextlib.closing(other.network):
        site = world.network.add("north", other.folder / "clients" / "north")
        with pytest.raises(wire.Refused) as refusal:
            world.network.controller._peers._exchange(
                "north", parcels.HELLO, world.network.controller._coordinator.challenge, 5.0, contextlib.nullcontext()
            )
    assert str(refusal.value).startswith("'north' answers BadSignature [")  # and nothing else of its error
    assert "a message of the server was refused: BadSignature" in caplog.text
    assert site.left == []


# --- bad sites -------------------------------------------------------------------------------------------------


def test_two_sites_are_not_one_member(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.network.round(PARAMS)
    copy = shutil.copytree(world.folder / "clients" / "north", world.folder / "copy")  # on another machine, say
    double = world.network.add("double", copy)
    world.network.controller._peers.identify(["double"])
    assert "DuplicateMessage: site 'north' has answered for 'north' too" in caplog.text
    assert double.left == []


def test_two_nodes_can_t_have_one_home(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is told by its own side, before it has answered anything."""
    monkeypatch.setattr(tenants, "_PATIENCE_S", 0.0)
    double = world.network.add("double", world.folder / "clients" / "north")
    assert f"is in use by process {os.getpid()}: two can't have one home" in double.engine.panics[0]
    assert double.engine.handlers == {}
    world.sites["north"].close()
    again = world.network.add("again", world.folder / "clients" / "north")
    assert again.engine.panics == []


@pytest.mark.parametrize(
    ("what", "error"),
    [("garbage", "MalformedMessage"), ("twice", "UnknownSender"), ("none", "no message of a call")],
)
def test_a_site_that_answers_wrongly_is_out_and_named(
    world: World, caplog: pytest.LogCaptureFixture, what: str, error: str
) -> None:
    seen: list[Shareable] = []

    def tamper(name: str, reply: Shareable) -> Shareable:
        piece = reply.get("secure_agg.piece", b"")
        if name != "south" or not piece or Parcel.from_bytes(piece).kind != parcels.ANSWER:
            return reply
        seen.append(reply)
        if what == "twice":
            return seen[0]
        if what == "garbage":
            reply["secure_agg.piece"] = bytes(reversed(reply["secure_agg.piece"]))
            return reply
        return Shareable()

    world.network.engine.tamper_reply = tamper
    check(world.network.round(PARAMS), PARAMS, ("north", "east", "west"))
    assert seen
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert error in next(message for message in warned if "south" in message)


# --- pieces ----------------------------------------------------------------------------------------------------


def test_a_mailbox_takes_pieces_in_order_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PIECE", 4)
    box = wire.Mailbox(lambda kind, payload: kind.encode() + payload[::-1])
    sent: list[Shareable] = []

    def send(message: Shareable) -> Shareable:
        sent.append(message)
        return box.receive(message)

    answer = wire.call(send, "node", "step", b"0123456789", contextlib.nullcontext())
    assert answer == b"step9876543210"
    assert max(len(message["secure_agg.piece"]) for message in sent) == 4
    for again in (sent[1], sent[2]):
        with pytest.raises(MalformedMessage, match="piece"):
            box.receive(again)
    first = box.receive(sent[0])
    assert first["secure_agg.piece"] == b""
    with pytest.raises(MalformedMessage, match="isn't there"):  # a new call puts an end to the one before
        box.receive(sent[-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("secure_agg.piece", b"x" * (parcels.PIECE + 1)),
        ("secure_agg.piece", "text"),
        ("secure_agg.count", 1 << 40),
        ("secure_agg.place", -1),
        ("secure_agg.kind", None),
    ],
)
def test_a_message_that_is_none_is_refused(key: str, value: Any) -> None:
    message = wire._message("step", "call", 0, 1, b"")
    message[key] = value
    with pytest.raises(MalformedMessage):
        wire.Mailbox(lambda kind, payload: b"").receive(message)


# --- a site's configuration, and a job -------------------------------------------------------------------------


def test_experiment_tracking_ends_the_job(world: World) -> None:
    tracking = {"event_to_fed": ConvertToFedEvent([ANALYTIC_EVENT_TYPE])}
    site = world.network.add("tracked", world.folder / "clients" / "north", tracking)
    assert site.engine.panics[0].startswith("PolicyViolation: component 'event_to_fed'")
    assert site.engine.handlers == {}


def test_a_site_without_a_home_takes_no_part(world: World, tmp_path: Path) -> None:
    site = world.network.add("homeless", tmp_path / "nowhere")
    assert site.engine.panics[0].startswith("ConfigError")
    assert site.do("train", FLModelUtils.to_shareable(FLModel(params=PARAMS))).get_return_code() != ReturnCode.OK


def test_configuring_keeps_what_the_site_allows_already(tmp_path: Path) -> None:
    (tmp_path / "resources.json.default").write_text('{"format_version": 2, "class_allow_list": ["mine."], "x": 1}')
    for _ in range(2):
        configure(tmp_path, tmp_path / "home")
    written = json.loads((tmp_path / "resources.json").read_text())
    assert written["class_allow_list"] == ["mine.", "secure_agg.plugins.nvflare."]
    assert (written["x"], written["allow_log_streaming"]) == (1, False)
    assert str(tmp_path / "home") not in json.dumps(written)  # NVFlare sends this file's values to the server
    assert json.loads((tmp_path / "secure-agg.json").read_text()) == {"home": str(tmp_path / "home")}
    (tmp_path / "privacy.json").write_text('{"scopes": []}')
    with pytest.raises(ConfigError, match="scopes of its own"):
        configure(tmp_path, tmp_path / "home")


def recipe(**changes: Any) -> NumpyFedAvgRecipe:
    return NumpyFedAvgRecipe(
        **{"model": [[0.0]], "min_clients": 3, "num_rounds": 2, "train_script": __file__, **changes}
    )


def test_a_secured_recipe_exports_a_job_that_names_our_classes(tmp_path: Path) -> None:
    secure(recipe(stop_cond="accuracy >= 2"), train_timeout=7.0).export(str(tmp_path))
    app = tmp_path / "fedavg" / "app"
    server = json.loads((app / "config" / "config_fed_server.json").read_text())
    (workflow,) = server["workflows"]
    assert workflow["path"] == "secure_agg.plugins.nvflare.controller.SecureFedAvg"
    expected = {"train_timeout": 7.0, "num_rounds": 2, "stop_cond": "accuracy >= 2"}
    assert {key: workflow["args"][key] for key in expected} == expected
    assert SecureFedAvg(**workflow["args"]).num_rounds == 2
    client = json.loads((app / "config" / "config_fed_client.json").read_text())
    for chain, name in (("task_data_filters", "SecureTaskData"), ("task_result_filters", "SecureTaskResult")):
        (entry,) = client[chain]
        assert {"train", "validate", "submit_model"} <= set(entry["tasks"])
        assert entry["filters"][0]["path"] == f"secure_agg.plugins.nvflare.filters.{name}"
    (tracking,) = [each for each in client["components"] if each["id"] == "event_to_fed"]
    assert tracking["args"] == {"events_to_convert": []}
    assert not list(app.rglob("secure_agg"))  # every site has its own, which no job replaces


@pytest.mark.parametrize("changes", [{"aggregation_weights": {"site-1": 2.0}}, {"exclude_vars": "bias"}])
def test_what_a_sum_cannot_give_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="only the sum"):
        secure(recipe(**changes))


def test_a_recipe_is_secured_once() -> None:
    secured = secure(recipe())
    with pytest.raises(ConfigError, match="SecureFedAvg"):
        secure(secured)
