"""Flower's own processes, and a federation that changes between two rounds of their run.

``plugins/flower/test_flower_epochs.py`` makes the same claim without processes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.changing.homes import audited, join, submit
from support.federation import identity
from support.frameworks.flower_engine import APP, Engine

from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.config import Policy
from secure_agg.roles.epochs.change import Change

sys.path.insert(0, str(APP))
from linear import task

NAMES = ("north", "east", "south")
NEW = identity("west")


@pytest.mark.flower_long
def test_nodes_close_an_epoch_within_a_run_and_who_joins_trains_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "federation"
    policy = Policy.default(3, clip=4.0, max_weight=40, min_clients=2)
    federation.make(folder, NAMES, policy, task="linear")
    clipped = msgspec.structs.replace(policy, clip=3.0)
    nodes = {
        name: {"partition-id": number, "secure-agg-home": str(folder / "clients" / name)}
        for number, name in enumerate((*NAMES, NEW.name))
    }
    began: set[str] = set()
    with Engine(tmp_path / "engine", {name: nodes[name] for name in NAMES}) as engine:

        def change(log: str) -> None:
            if "submitted" not in began and "round 0 of 'linear', phase advertise: 3 of 3" in log:
                began.add("submitted")
                submit(folder, Change(join={NEW.name: NEW.public}, leave={"south"}, policy=clipped), NEW)
            if "joined" not in began and re.search("epoch 1 of 'linear' begins, with 3 members", log):
                began.add("joined")
                join(folder, NEW)
                engine.start_node(NEW.name, nodes[NEW.name])

        engine.run(
            {
                "home": str(folder / "server"),
                "out": str(tmp_path / "model.npz"),
                "nodes": 3,
                "rounds": 3,
                "phase-s": 90.0,
                "timeout-s": 180.0,
            },
            timeout_s=900,
            watch=change,
        )

    epochs, rounds = audited(folder)
    assert (epochs, rounds) == (1, [{*NAMES}, {"north", "east"}, {"north", "east", NEW.name}])
    expected = task.start(1000)
    for names in rounds:
        partitions = {int(str(nodes[name]["partition-id"])) for name in names}
        total = sum(map(task.examples, partitions))
        replies = {partition: task.train(expected, partition)[0] for partition in partitions}
        expected = {
            key: sum(replies[partition][key] * (task.examples(partition) / total) for partition in partitions)
            for key in expected
        }
    assert np.abs(np.load(tmp_path / "model.npz")["weights"] - expected["weights"]).max() < 1e-4
    with ClientHome.open(folder / "clients" / "north") as home:
        assert (home.epochs.number, home.trust.task("linear").policy.clip) == (1, 3.0)
