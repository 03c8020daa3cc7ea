"""A run in which the federation changes: a stock strategy notices nothing but who takes part."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from support.changing.homes import audited, join, submit
from support.federation import identity
from support.frameworks.flower_nodes import Fleet, app_of, examples, members, model_of, start, step

from benchmarks.plugins.nodes import App
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.flower import wire
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.epochs.change import Change

NEW = identity("new")


def changing(app: ClientApp, folder: Path) -> App:
    """A node whose owner and the others agree on an epoch while the first round is under way: one of them leaves,
    another joins, and the clip is another.
    """
    asked: list[Message] = []

    def changing(message: Message, context: Context) -> Message | None:
        asked.append(message)
        if len(asked) == 3:
            with ServerHome.open(folder / "federation" / "server") as server:
                policy = msgspec.structs.replace(server.trust.task(server.task).policy, clip=3.0)
            submit(folder / "federation", Change(join={NEW.name: NEW.public}, leave={"m3"}, policy=policy), NEW)
        return app(message, context)

    return changing


def test_a_run_goes_on_over_an_epoch_and_the_next_one_with_who_has_joined(tmp_path: Path) -> None:
    apps: dict[str, App] = members(4, app_of())
    fleet = Fleet.make(tmp_path, apps | {"m0": changing(app_of(), tmp_path)}, min_clients=2)
    model = fleet.run(FedAvg(fraction_evaluate=0.0), rounds=2).arrays
    with ClientHome.open(fleet.folder / "clients" / "m1") as home:
        assert (home.epochs.number, home.trust.task(home.task).policy.clip) == (1, 3.0)
    join(fleet.folder, NEW)
    names = ("m0", "m1", "m2", NEW.name)
    fleet.grid = Fleet.nodes(fleet.folder, dict.fromkeys(names, app_of()))
    result = fleet.run(FedAvg(fraction_evaluate=0.0), model=model_of(model))
    assert audited(fleet.folder) == (1, [{"m0", "m1", "m2", "m3"}, {"m0", "m1", "m2"}, set(names)])

    expected = start()
    for partitions in (range(4), range(3), range(4)):
        total = sum(map(examples, partitions))
        weights = {partition: examples(partition) / total for partition in partitions}
        trained = {partition: step(expected, partition)["layer"] for partition in partitions}
        expected = {**expected, "layer": sum(weights[partition] * trained[partition] for partition in partitions)} | {
            "bias": sum(weights[p] * step(expected, p)["bias"] for p in partitions)
        }
    found = model_of(result.arrays)["layer"]
    assert np.abs(found - expected["layer"]).max() < 1e-3
    assert np.abs(found).max() > 0.1


def test_a_question_without_parts_rides_like_any_payload() -> None:
    """Nodes are asked how far they have come by such a one."""
    asked = Parcel(parcels.EPOCH, ()).to_bytes()
    assert wire.take(wire.put(RecordDict(), asked))[0] == asked
