"""On which models nodes work: the pinned first one and what verified means lead to, whoever was away or has crashed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.frameworks.plugin_rounds import NAMES, Nodes, World, a_world, introduce, model

from secure_agg.errors import AnotherModel, MalformedMessage, SecureAggError, StoreError, TooFewClients
from secure_agg.fl.server_optimizers import NAMES as OPTIMIZERS
from secure_agg.fl.server_optimizers import ServerOptimizer
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.homes.chain import Chain, Known, decode_arrays, encode_arrays
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.journal import Journal
from secure_agg.protocol.codec import model_digest

START = model_digest(model())
ADAM = ServerOptimizer.create("FedAdam", learning_rate=0.05, tau=0.1)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def moved(at: list[np.ndarray], by: float = 0.125) -> list[np.ndarray]:
    return [at[0] + np.float32(by), at[1]]


def refusals(nodes: Nodes) -> set[type[Exception]]:
    return {type(error) for _, error in nodes.errors}


def known(world: World, name: str) -> tuple[int, str] | None:
    with ClientHome.open(world.homes[name]) as home:
        link = home.chain.link
        return (link.rounds, link.model.hex()) if link else None


def follow(world: World, rounds: int, at: list[np.ndarray] | None = None, seed: int = 0, **more: Any) -> list[Any]:
    """Some rounds, from the start or from a model; the last model."""
    at = at or model()
    for number in range(rounds):
        nodes = world.nodes(at, seed=seed + number, **more)
        at = world.coordinator.round(at, nodes).model
        assert nodes.errors == []
    return at


# --- what a crafted model does -----------------------------------------------------------------------------------

RECORDS, FEATURES, BINS = 4, 6, 64
Shown = list[np.ndarray]


def records() -> dict[str, np.ndarray]:
    """Everybody's private data."""
    rng = np.random.default_rng(8)
    return {name: rng.uniform(0.2, 0.8, (RECORDS, FEATURES)) for name in NAMES}


def train(shown: Shown, private: np.ndarray) -> Shown:
    """A step of gradient descent on a layer with ReLU, below a loss that falls with every unit's output."""
    weights, bias = (array.astype(np.float64) for array in shown)
    active = (private @ weights.T + bias > 0).astype(np.float64)
    return [0.25 * active.T @ private / RECORDS, 0.25 * active.sum(axis=0) / RECORDS]


def imprinted() -> Shown:
    """Every unit measures a record's brightness; each is active above a threshold of its own (Fowl et al. 2022)."""
    thresholds = np.linspace(0.3, 0.7, BINS)
    return [np.full((BINS, FEATURES), 1 / FEATURES, np.float32), -thresholds.astype(np.float32)]


def honest() -> Shown:
    rng = np.random.default_rng(9)
    return [rng.normal(0, 0.4, (BINS, FEATURES)).astype(np.float32), np.zeros(BINS, np.float32)]


def read_off(mean: Shown) -> int:
    """How many private records a mean shows: what lies between two neighbouring units is often one record."""
    everything = np.concatenate(list(records().values()))
    steps, counts = -np.diff(mean[0], axis=0), -np.diff(mean[1])
    shown = [step / count for step, count in zip(steps, counts, strict=True) if count > 1e-4]
    return sum(min((np.abs(x - guess).max() for guess in shown), default=1.0) < 1e-2 for x in everything)


def imprint(world: World, shown: Shown) -> tuple[Nodes, Any]:
    nodes = Nodes(world.homes, {name: train(shown, private) for name, private in records().items()}, shown)
    return nodes, world.coordinator.round(shown, nodes)


def test_a_crafted_first_model_shows_single_records_and_is_refused_where_one_is_pinned() -> None:
    with a_world(max_weight=1) as naive:
        nodes, outcome = imprint(naive, imprinted())
        assert nodes.errors == []
        assert read_off(outcome.average) >= RECORDS * len(NAMES) // 2, "or this test is about nothing"
    with a_world(max_weight=1, start_model=model_digest(honest())) as world:
        with pytest.raises(TooFewClients):
            imprint(world, imprinted())
        nodes, outcome = imprint(world, honest())
        assert nodes.errors == []
        assert read_off(outcome.average) <= 2, "few units of an honest model answer to one record only"


def test_a_crafted_model_is_refused_in_a_later_round_under_every_optimizer() -> None:
    with a_world(max_weight=1, start_model=model_digest(honest()), optimizer=ADAM) as world:
        imprint(world, honest())
        nodes = Nodes(world.homes, {name: train(imprinted(), x) for name, x in records().items()}, imprinted())
        with pytest.raises(TooFewClients):
            world.coordinator.round(imprinted(), nodes)
        assert refusals(nodes) == {AnotherModel}
        assert nodes.trained == []


# --- the first model ---------------------------------------------------------------------------------------------


def test_the_pinned_model_is_named_where_another_comes() -> None:
    with a_world(start_model=START) as world:
        nodes = world.nodes(moved(model()))
        with pytest.raises(TooFewClients):
            world.coordinator.round(moved(model()), nodes)
        assert nodes.trained == []
        for _, error in nodes.errors:
            assert isinstance(error, AnotherModel)
            assert (error.phase, error.culprit) == ("advertise", None)
            assert START.hex()[:16] in str(error)
            assert model_digest(moved(model())).hex()[:16] in str(error)
            assert "pinned start model" in str(error)
        follow(world, 2)


def test_a_node_without_a_pin_says_what_that_means(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "secure_agg.plugins"):
        at = follow(world, 1)
    assert caplog.text.count("no start model is pinned") == len(NAMES)
    assert START.hex()[:16] in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "secure_agg.plugins"):
        follow(world, 1, at, seed=1)
    assert "no start model" not in caplog.text


def test_without_a_pin_the_first_model_is_chosen_once(world: World) -> None:
    """An evaluation that is over has shown something of that model; another first one would show more."""
    world.coordinator.evaluate(model(), world.nodes(model()).evaluating())
    other = moved(model())
    for asks in (
        lambda nodes: world.coordinator.evaluate(other, nodes.evaluating()),
        lambda nodes: world.coordinator.round(other, nodes),
    ):
        nodes = world.nodes(other)
        with pytest.raises(TooFewClients):
            asks(nodes)
        assert refusals(nodes) == {AnotherModel}
    follow(world, 1)


def test_before_anything_is_signed_an_operator_may_correct_the_first_model(world: World) -> None:
    with pytest.raises(TooFewClients):
        world.coordinator.round(moved(model()), world.nodes(moved(model()), silent=dict.fromkeys(NAMES, ("step", 1))))
    follow(world, 1)


@pytest.mark.parametrize("asks", ["round", "evaluate"])
def test_values_in_other_types_at_first_do_not_lead_a_node_astray(world: World, asks: str) -> None:
    """A digest is of values, so the first model may have come in other types before: in an attempt that failed, or to
    be evaluated. Nodes go on in the types of the round that they were in.
    """
    wide = [array.astype(np.float64) for array in model()]
    nodes = world.nodes(wide, silent=dict.fromkeys(NAMES, ("step", 1)))
    if asks == "evaluate":
        world.coordinator.evaluate(wide, nodes.evaluating())
    else:
        with pytest.raises(TooFewClients):
            world.coordinator.round(wide, nodes)
    follow(world, 2)


def test_a_node_that_has_lost_its_models_takes_no_first_one_again(world: World) -> None:
    at = follow(world, 1)
    for path in world.homes.values():
        shutil.rmtree(path / "chain")
    nodes = world.nodes(moved(at))
    with pytest.raises(TooFewClients):
        world.coordinator.evaluate(moved(at), nodes.evaluating())
    assert refusals(nodes) == {AnotherModel}
    for path in world.homes.values():
        shutil.rmtree(path / "chain")
    world.coordinator = Coordinator(world.server)
    follow(world, 1, at, seed=1)


# --- evaluations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_free_model_is_not_evaluated(rounds: int) -> None:
    with a_world(start_model=START) as world:
        at = follow(world, rounds)
        for free in (moved(at), moved(at, 0.25), *([model()] if rounds else [])):
            nodes = world.nodes(free)
            with pytest.raises(TooFewClients):
                world.coordinator.evaluate(free, nodes.evaluating())
            assert refusals(nodes) == {AnotherModel}
        nodes = world.nodes(at)
        Coordinator(world.server).evaluate(at, nodes.evaluating())
        assert nodes.errors == []


def test_a_node_that_was_away_evaluates_the_model_that_it_can_compute(world: World) -> None:
    at = follow(world, 3, silent={"south": ("hello", 0)})
    assert known(world, "south") is None
    nodes = world.nodes(at)
    outcome = world.coordinator.evaluate(at, nodes.evaluating())
    assert nodes.errors == []
    assert outcome.participants == tuple(sorted(NAMES))
    assert known(world, "south") == (3, model_digest(at).hex())


# --- every optimizer, whoever was away -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not ServerOptimizer.create(name).beside])
def test_nodes_compute_the_very_model_that_the_server_goes_on_from(name: str) -> None:
    optimizer = ServerOptimizer.create(name, **({} if name in ("FedAvg", "FedAvgM") else {"tau": 0.1}))
    if name == "FedAvgM":
        optimizer = ServerOptimizer.create(name, momentum=0.9)
    with a_world(optimizer=optimizer, start_model=START) as world:
        at = follow(world, 2, silent={"south": ("result", 0)})
        at = follow(world, 1, at, seed=2)
        assert {known(world, member) for member in NAMES} == {(3, model_digest(at).hex())}
        plain = [x + d for x, d in zip(at, world.coordinator.round(at, world.nodes(at, seed=3)).average, strict=True)]
        if name != "FedAvg":
            nodes = world.nodes([x.astype(y.dtype) for x, y in zip(plain, at, strict=True)])
            with pytest.raises(TooFewClients):
                world.coordinator.round(list(nodes.model), nodes)
            assert refusals(nodes) == {AnotherModel}


@pytest.mark.parametrize(
    ("silent", "again"),
    [
        (("hello", 0), "the same process"),
        (("join", 0), "the same process"),
        (("step", 1), "the same process"),
        (("result", 0), "the same process"),
        (("step", 1), "a new one"),
        (("result", 0), "a new one that is introduced"),
        *(
            pytest.param(silent, again, marks=pytest.mark.long)
            for silent, again in [
                (("hello", 0), "a new one"),
                (("join", 0), "a new one"),
                (("result", 0), "a new one"),
                (("hello", 0), "a new one that is introduced"),
                (("join", 0), "a new one that is introduced"),
                (("step", 1), "a new one that is introduced"),
            ]
        ),
    ],
)
def test_a_node_that_missed_rounds_computes_them_one_after_the_other(silent: tuple[str, int], again: str) -> None:
    with a_world(optimizer=ADAM) as world:
        at = follow(world, 3, silent={"west": silent})
        if again != "the same process":
            world.coordinator = Coordinator(world.server)
        if again == "a new one that is introduced":
            introduce(world.coordinator, world.homes)
        nodes = world.nodes(at, seed=3)
        outcome = world.coordinator.round(at, nodes)
        assert nodes.errors == []
        assert outcome.participants == tuple(sorted(NAMES))
        assert {known(world, name) for name in NAMES} == {(4, model_digest(outcome.model).hex())}


def test_a_node_in_step_is_not_shown_anything_again(world: World) -> None:
    at = follow(world, 2)
    nodes = world.nodes(at, seed=2)
    world.coordinator.round(at, nodes)
    assert not {kind for kind, _, _ in nodes.log} & {"hello", "learn"}


def test_a_home_that_takes_any_model_keeps_none_and_is_not_taught() -> None:
    with a_world(checks_model=False) as world:
        at = world.coordinator.round(model(), world.nodes(model(), silent={"west": ("join", 0)})).model
        nodes = world.nodes(moved(at), seed=1)
        assert world.coordinator.round(moved(at), nodes).participants == tuple(sorted(NAMES))
        assert nodes.errors == []
        assert known(world, "north") is None


def test_nodes_that_pin_another_optimizer_say_which() -> None:
    with a_world(optimizer=ADAM) as world:
        for name, path in world.homes.items():
            with ClientHome.open(path) as home:
                identity, trust = home.identity, home.trust
            shutil.rmtree(path)
            ClientHome.create(path, identity, trust, "task").close()
            assert identity.name == name
        at = follow(world, 1)
        nodes = world.nodes(at, seed=1)
        with pytest.raises(TooFewClients):
            world.coordinator.round(at, nodes)
        assert refusals(nodes) == {AnotherModel}
        assert all("1 verified means lead to with '--server-optimizer FedAvg'" in str(e) for _, e in nodes.errors)


# --- a server that lies to one that was away -----------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["another start model", "no start model", "cut off", "skipped", "nothing"])
def test_a_node_that_was_away_is_told_no_other_history(lie: str, world: World) -> None:
    at = follow(world, 3, silent={"west": ("hello", 0)})

    def tell(kind: str, name: str, payload: bytes) -> bytes:
        if kind != parcels.LEARN:
            return payload
        parts = Parcel.from_bytes(payload).parts
        if len(parts) == 4:
            if lie == "another start model":
                parts = (*parts[:2], *encode_arrays(moved(model())))
            elif lie == "no start model":
                parts = parts[:2]
            elif lie == "cut off":
                parts = (*parts[:3], parts[3][:-1])
            elif lie == "skipped":
                return told[0] if told else payload
        told.append(payload)
        return Parcel(kind, parts).to_bytes()

    told: list[bytes] = []
    if lie == "skipped":  # round 1 in the place of round 0
        evidence = world.server.ledger.evidence(world.server.ledger.record(1)).to_bytes()
        told.append(Parcel(parcels.LEARN, (evidence, world.server.ledger.receipt(1).to_bytes())).to_bytes())
    nodes = world.nodes(at, seed=3, tamper_request=tell)
    outcome = world.coordinator.round(at, nodes)
    if lie == "nothing":
        assert nodes.errors == []
        assert "west" in outcome.participants
        return
    assert "west" not in outcome.participants
    assert {name for name, _ in nodes.errors} == {"west"}
    assert all(isinstance(error, SecureAggError) for _, error in nodes.errors)
    assert "west" not in nodes.trained
    follow(world, 1, outcome.model, seed=4)
    assert known(world, "west") is not None


def test_a_result_over_another_model_than_the_pinned_one_is_nobodys_history() -> None:
    """West's owner has pinned another first model than the others have gone on from."""
    with a_world() as world:
        with ClientHome.open(world.homes["west"]) as home:
            own, identity, trust = home.path, home.identity, home.trust
        shutil.rmtree(own)
        ClientHome.create(own, identity, trust, "task", start_model=START).close()
        other = moved(model())
        nodes = world.nodes(other)
        at = world.coordinator.round(other, nodes).model
        assert {(name, type(error)) for name, error in nodes.errors} == {("west", AnotherModel)}
        nodes = world.nodes(at, seed=1)
        assert "west" not in world.coordinator.round(at, nodes).participants
        assert {(name, type(error)) for name, error in nodes.errors} == {("west", AnotherModel)}
        assert "west" not in nodes.trained


# --- crashes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["begin", "clear"])
def test_a_crash_between_two_links_leaves_one_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    at = follow(world, 1)
    real = getattr(Journal, moment)

    def dies(self: Journal, *arguments: Any) -> None:
        if self._folder.parent.name == "chain" and "north" in self._folder.parts:
            raise StoreError("power cut")
        real(self, *arguments)

    nodes = world.nodes(at, seed=1)
    with monkeypatch.context() as patch:

        def deliver(kind: str, name: str, payload: bytes) -> bytes:
            if kind == "result":
                patch.setattr(Journal, moment, dies)
            return payload

        nodes.tamper_request = deliver
        outcome = world.coordinator.round(at, nodes)
    assert [(name, type(error)) for name, error in nodes.errors] == [("north", StoreError)]
    assert known(world, "north") is not None
    follow(world, 1, outcome.model, seed=2)
    assert known(world, "north") == known(world, "south")


@pytest.mark.parametrize("lost", ["chain", "chain/a", "chain/b", "nothing"])
def test_a_server_finds_its_models_again_in_the_ledger(lost: str) -> None:
    with a_world(optimizer=ADAM) as world:
        at = follow(world, 3)
        if lost != "nothing":
            shutil.rmtree(world.server.path / lost)
        world.coordinator = Coordinator(world.server)
        follow(world, 2, at, seed=3, silent={"west": ("step", 1)})


def test_a_server_that_dies_between_a_record_and_its_next_model_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = follow(world, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "advance", lambda *_: (_ for _ in ()).throw(StoreError("power cut")))
        silent = dict.fromkeys(NAMES, ("result", 0))
        with pytest.raises(StoreError):
            world.coordinator.round(at, world.nodes(at, seed=1, silent=silent))
    world.coordinator = Coordinator(world.server)
    nodes = world.nodes(at, seed=1)
    outcome = world.coordinator.round(at, nodes)
    assert (outcome.record.round, nodes.log) == (1, [])
    follow(world, 1, outcome.model, seed=2)


def test_a_chain_is_of_one_task_and_one_optimizer(world: World) -> None:
    follow(world, 1)
    with ClientHome.open(world.homes["north"]) as home:
        folder = home.path / "chain"
        for task, optimizer in (("other", ServerOptimizer()), ("task", ADAM)):
            with pytest.raises(StoreError, match="under another server optimizer"):
                _ = Chain(folder, task, 100, optimizer).link


# --- bytes -------------------------------------------------------------------------------------------------------


def test_arrays_come_back_and_nothing_else_does() -> None:
    arrays = [*model(), np.ones((2, 2), np.float16)]
    shapes = [array.shape for array in arrays]
    types, data = encode_arrays(arrays)
    for found, array in zip(decode_arrays(types, memoryview(data), shapes), arrays, strict=True):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    for bad in (
        (types, data[:-1], shapes),
        (types, data + b"\0", shapes),
        (types + b"\0", data, shapes),
        (b"", data, shapes),
        (types, data, shapes[:-1]),
        (types, data, [*shapes[:-1], (1 << 40, 1 << 40)]),
        (types.replace(b"f8", b"i8"), data, shapes),
    ):
        with pytest.raises(MalformedMessage):
            decode_arrays(*bad)


@pytest.mark.parametrize(
    "data", [b"", b"\x92\x00", b"\x92\xfe\xc4\x20" + bytes(32), b"\x92\x01\xc4\x01\x00", bytes(80)]
)
def test_what_does_not_say_how_far_a_node_has_come_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Known.from_bytes(data)
