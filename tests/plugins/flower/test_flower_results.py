"""A run never destroys a result: one that can't succeed ends by an error before the app saves what it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import (
    Fleet,
    Model,
    Seen,
    app_of,
    flower_log,
    meddle,
    members,
    model_of,
    record,
    start,
)

from secure_agg.errors import RunStopped, StoreError
from secure_agg.fl.model_files import read_model, start_digest
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.server import numbering
from secure_agg.plugins.core.training import round_shapes
from secure_agg.plugins.flower import given, records, secure_mod
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.kept import keep
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.protocol.messages import peek

CRAFTED = np.full(3, 7, np.float32)


def quiet(**options: Any) -> FedAvg:
    return FedAvg(fraction_evaluate=0.0, **options)


def same(found: Model, wanted: Model) -> bool:
    return list(found) == list(wanted) and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def app_that_saves(fleet: Fleet, path: Path, model: ArrayRecord, **options: Any) -> None:
    """What an ordinary app does: it trains, and saves what has come of it."""
    strategy = quiet()
    result = strategy.start(fleet.secure(strategy, **options), model, num_rounds=2, timeout=2.0)
    np.savez(path, **model_of(result.arrays))


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Fleet, Seen, Model]:
    """A federation that has trained for two rounds, and its model."""
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)))
    result = fleet.run(rounds=2)
    return fleet, seen, model_of(result.arrays) | {"batches": start()["batches"]}


# --- another model ----------------------------------------------------------------------------------------------


def fresh(model: Model) -> Model:
    return start()


def moved(model: Model) -> Model:
    return {**model, "bias": np.asarray(model["bias"] + 0.125)}


def emptied(model: Model) -> Model:
    return {name: np.zeros_like(array) if array.dtype.kind == "f" else array for name, array in model.items()}


@pytest.mark.parametrize("another", [fresh, moved, emptied])
def test_a_run_from_another_model_ends_at_once_and_its_app_saves_nothing(
    another: Callable[[Model], Model], trained: tuple[Fleet, Seen, Model], tmp_path: Path
) -> None:
    fleet, seen, last = trained
    path = tmp_path / "model.npz"
    np.savez(path, **last)
    asked = len(seen.trained)
    with flower_log() as log, pytest.raises(RunStopped) as stopped:
        app_that_saves(fleet, path, record(another(last)))
    assert same(dict(np.load(path)), last)
    assert len(seen.trained) == asked
    said = str(stopped.value)
    assert start_digest(last).hex()[:16] in said
    assert f"secure-agg federation model {fleet.folder / 'server'} --out FILE" in said
    assert "SecureGrid.last_model()" in said
    assert not any("aggregator" in line for line in [*log, said]), "nobody is accused"
    assert not fleet.aborts()


def test_the_next_run_goes_on_from_the_last_model(trained: tuple[Fleet, Seen, Model], tmp_path: Path) -> None:
    fleet, _, last = trained
    grid = fleet.secure(quiet())
    found = grid.last_model()
    assert found is not None
    assert same(model_of(found), last)
    app_that_saves(fleet, tmp_path / "model.npz", found)
    again = fleet.secure(quiet()).last_model()
    assert again is not None
    assert same(model_of(again), dict(np.load(tmp_path / "model.npz")) | {"batches": start()["batches"]})
    with ServerHome.open(fleet.folder / "server") as home:
        assert [entry.round for entry in home.ledger.records()] == [0, 1, 2, 3]


def test_a_run_goes_on_from_what_an_app_has_saved_of_the_one_before(tmp_path: Path) -> None:
    """In the types that Flower's averaging has left, whole numbers as float64."""
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    app_that_saves(fleet, tmp_path / "model.npz", record(start()))
    saved = dict(np.load(tmp_path / "model.npz"))
    assert saved["batches"].dtype == np.float64, "or this test is about nothing"
    app_that_saves(fleet, tmp_path / "next.npz", record(saved))
    assert np.load(tmp_path / "next.npz")["batches"] == 5
    assert not fleet.aborts()


@pytest.mark.slow
def test_there_is_no_last_model_before_the_first_round(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    assert fleet.secure(quiet()).last_model() is None
    strategy, silent = quiet(), lambda message, context: None
    fleet.grid.nodes[100].app = silent
    fleet.stops(phase_s=1.0)
    assert fleet.secure(strategy).last_model() is None


def test_the_last_model_survives_a_crash_before_it_was_written(trained: tuple[Fleet, Seen, Model]) -> None:
    """The ledger has the round, the file is still the round before's: the chain leads on."""
    fleet, _, last = trained
    with ServerHome.open(fleet.folder / "server") as home:
        keep(home, emptied(last))
    found = fleet.secure(quiet()).last_model()
    assert found is not None
    assert same(model_of(found), last)


def test_what_is_kept_is_a_file_that_others_read(trained: tuple[Fleet, Seen, Model]) -> None:
    fleet, _, last = trained
    path = fleet.folder / "server" / "model.npz"
    assert same(read_model(path), last)
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(b"PK")
    with pytest.raises(StoreError, match="damaged"):
        fleet.secure(quiet()).last_model()


def test_nodes_that_know_another_model_stop_the_run_where_the_server_knows_none(tmp_path: Path) -> None:
    """Their owners have pinned a first model, and the server's has not."""
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(4, app_of(seen=seen)), rules={"start_model": start_digest(start())})
    path = fleet.folder / "server" / "home.json"
    path.write_text(path.read_text().replace(start_digest(start()).hex(), start_digest(moved(start())).hex()))
    with flower_log() as log:
        said = fleet.stops(model=moved(start()))
    assert "4 of 4 nodes know another, as their logs say" in said
    assert "--start-model" in said
    assert seen.trained == []
    refusals = [line for line in log if "this node refuses" in line]
    assert len(refusals) == 4, "it is not tried again"
    assert all("not the model that follows" in line and "aggregator" not in line for line in refusals)
    assert len(fleet.aborts()) == 1


def test_one_node_with_another_model_stops_nobody(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()))
    path = fleet.folder / "clients" / "m3" / "home.json"
    path.write_text(path.read_text().replace('"start_model": null', f'"start_model": "{"ab" * 32}"'))
    assert fleet.run(rounds=2).arrays


# --- runs that come to nothing ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_without_a_verified_round_ends_by_an_error(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    fleet.grid.nodes[102].app = lambda message, context: None
    path = tmp_path / "model.npz"
    path.write_bytes(b"what was there before")
    with pytest.raises(RunStopped, match="no round of this run is verified"):
        app_that_saves(fleet, path, record(start()), phase_s=1.0)
    assert path.read_bytes() == b"what was there before"


def test_a_first_round_may_fail_once(tmp_path: Path) -> None:
    """A node that is late for once costs a run another attempt, not its end."""
    late = [True]

    def once(parcel: Parcel) -> Parcel | None:
        if parcel.kind == parcels.STEP and peek(parcel.parts[0], 1 << 20).phase == "share-keys" and late:
            late.clear()
            return None
        return parcel

    fleet = Fleet.make(tmp_path, members(2, app_of()) | {"m2": meddle(app_of(), down=once)})
    with flower_log() as log:
        result = fleet.run(phase_s=1.0)
    assert result.arrays
    assert len(fleet.aborts()) == 1
    assert any("is tried once more" in line for line in log)
    assert any("m2 is out of the round in phase share-keys: it did not answer within" in line for line in log)


@pytest.mark.slow
def test_a_run_that_loses_its_nodes_ends_with_the_last_verified_model(tmp_path: Path) -> None:
    calls = [0]

    def dies(message: Message, context: Context) -> Message | None:
        calls[0] += 1
        return app_of()(message, context) if calls[0] <= 7 else None  # after hello and one round

    fleet = Fleet.make(tmp_path, members(2, app_of()) | {"m2": dies})
    result = fleet.run(rounds=3, phase_s=1.0, timeout=1.0)
    last = fleet.secure(quiet()).last_model()
    assert last is not None
    assert same(model_of(result.arrays) | {"batches": start()["batches"]}, model_of(last))
    assert len(fleet.aborts()) == 2


def test_the_log_says_what_the_one_result_is(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with flower_log() as log:
        fleet.run()
    place = log.index("aggregate_train: Received 1 results and 0 failures")
    assert log[place - 1] == "3 results are in the one that the strategy receives now: their mean"


# --- a model that nodes have computed themselves ------------------------------------------------------------------


def test_a_model_is_sent_once_and_computed_by_every_node_from_then_on(tmp_path: Path) -> None:
    sent: list[dict[str, int]] = []
    app = app_of()

    def watched(message: Message, context: Context) -> Message:
        for found in message.content.array_records.values():
            if "layer" in found:
                sent.append({name: len(array.data) for name, array in found.items()})
        return app(message, context)

    fleet = Fleet.make(tmp_path, members(3, watched))
    fleet.run(FedAvg(), rounds=2)
    first, later = sent[:3], sent[3:]
    assert all(min(sizes.values()) > 0 for sizes in first)
    assert len(later) == 3 * 3, "an evaluation, another round, and its evaluation"
    assert all(sizes["layer"] == sizes["bias"] == 0 < sizes["batches"] for sizes in later)


def test_nothing_rides_beside_a_model_that_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that leaves out what nodes have, and sends an array of its own choice with it, to all of them alike."""
    trained, app, digested = list[set[str]](), ClientApp(), given.instructions

    def as_it_was_told(message: Message, content: RecordDict, *more: Any) -> Any:  # the server binds the round to that
        kept = {key: found for key, found in content.items() if key != "arrays"}
        return digested(message, RecordDict(kept), *more)

    def with_it(policy: Policy, model: Sequence[Any], *, trains: bool) -> Any:  # and has room for it
        return round_shapes(policy, [*model, *([CRAFTED] if trained else [])], trains=trains)

    monkeypatch.setattr(given, "instructions", as_it_was_told)
    monkeypatch.setattr(numbering, "round_shapes", with_it)

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        arrays = message.content.array_records["arrays"]
        trained.append(set(arrays))
        named = {name: array.copy() for name, array in records.to_arrays(arrays).items()}
        for array in named.values():
            array += np.array(array.dtype.kind == "f", array.dtype)
        found = {"arrays": records.to_record(named)}
        return Message(RecordDict(found | {"metrics": MetricRecord({"num-examples": 10})}), reply_to=message)

    def between(message: Message, context: Context) -> Message:
        for found in message.content.array_records.values():
            if "layer" in found and not found["layer"].data:
                found["crafted"] = Array(CRAFTED)
        return app(message, context)

    fleet = Fleet.make(tmp_path, members(3, between))
    fleet.run(FedAvg(fraction_evaluate=0.0), rounds=2)
    assert trained
    assert not any("crafted" in names for names in trained), "an app was given what leads to no verified model"


def test_a_node_whose_model_was_changed_on_its_disk_refuses_and_the_others_go_on(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()))
    strategy = quiet()
    grid = fleet.secure(strategy)
    result = strategy.start(grid, record(start()), num_rounds=1, timeout=2.0)
    with ClientHome.open(fleet.folder / "clients" / "m0") as home:
        model = [array + 1 for array in home.chain.model()]
        for slot in home.chain._slots:
            if slot.key is not None:
                facts = slot.facts()
                slot.begin(slot.key, {"model": model, "first": [], "second": []}, facts)
    with flower_log() as log:
        strategy.start(grid, result.arrays, num_rounds=1, timeout=2.0)
    assert any("m0 is out of the round" in line and "WrongContext" in line for line in log)
    with ServerHome.open(fleet.folder / "server") as server:
        taken = [server.ledger.evidence(entry).participants for entry in server.ledger.records()]
    assert taken == [("m0", "m1", "m2", "m3"), ("m1", "m2", "m3")]


@pytest.mark.parametrize("name", ["accuracy", "secure", "train_loss", "zeta"])
def test_a_metric_may_have_any_name_before_or_after_our_own(name: str, tmp_path: Path) -> None:
    app = ClientApp()

    @app.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 10, name: 2.5})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    result = Fleet.make(tmp_path, members(3, app)).run()
    assert result.train_metrics_clientapp[1][name] == pytest.approx(2.5, abs=1e-3)
