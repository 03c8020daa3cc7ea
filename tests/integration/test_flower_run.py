"""Flower's own processes: one SuperLink and four SuperNodes train for three rounds, and one of them is killed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from support.flower_engine import APP, Engine

from secure_agg import Ledger, Trust
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

sys.path.insert(0, str(APP))
from linear import task

ROUNDS = 3
NAMES = ("north", "east", "south", "west")
POLICY = Policy.default(len(NAMES), clip=4.0, max_weight=40)


def plain_fedavg(participants: Iterable[set[int]]) -> task.Model:
    """What stock FedAvg makes of the same nodes' training."""
    model = task.start(1000)
    for nodes in participants:
        total = sum(map(task.examples, nodes))
        replies = {node: task.train(model, node)[0] for node in nodes}
        model = {
            name: sum(replies[node][name] * (task.examples(node) / total) for node in nodes) for name in model
        }  # fmt: skip
    return model


def test_a_run_survives_a_killed_node_and_ends_with_the_model_of_plain_fedavg(tmp_path: Path) -> None:
    federation.make(tmp_path / "federation", NAMES, POLICY, task="linear")
    homes = tmp_path / "federation" / "clients"
    nodes = {name: {"partition-id": number, "secure-agg-home": str(homes / name)} for number, name in enumerate(NAMES)}
    with Engine(tmp_path / "engine", nodes) as engine:

        def kill_in_the_second_round(log: str) -> None:
            if "west" in nodes and re.search(r"round 1 of 'linear', phase advertise: 4 of 4", log):
                engine.kill("west")
                del nodes["west"]

        log = engine.run(
            {
                "home": str(tmp_path / "federation" / "server"),
                "out": str(tmp_path / "model.npz"),
                "rounds": ROUNDS,
                "phase-s": 90.0,  # each node's first messages start Python there: a minute on a loaded machine
                "timeout-s": 180.0,
            },
            timeout_s=900,
            watch=kill_in_the_second_round,
        )
        survivors = {name: engine.log(name) for name in nodes}

    assert set(nodes) == {"north", "east", "south"}
    with Ledger(tmp_path / "federation" / "server" / "rounds.db", read_only=True) as ledger:
        audited = ledger.audit(trust=Trust.load(tmp_path / "federation" / "trust.json"))
        limits = [record.error_bound for record in ledger.records()]
        took_part = [set(ledger.evidence(record).participants) for record in ledger.records()]
    assert audited.size == ROUNDS
    assert [len(names) for names in took_part] == [4, 3, 3]
    assert "west" not in took_part[1] | took_part[2]

    expected = plain_fedavg({NAMES.index(name) for name in names} for names in took_part)
    found = np.load(tmp_path / "model.npz")
    bound = sum(limits) + 1e-6 * ROUNDS  # both models are rounded to float32 too
    for name in ("weights", "bias"):
        assert found[name].dtype == expected[name].dtype
        assert np.abs(found[name] - expected[name]).max() <= bound
    assert np.abs(found["weights"] - task.start(1000)["weights"]).max() > 100 * bound

    assert "phase share-keys: 3 of 4 clients" in log
    for name, text in survivors.items():
        for number in range(ROUNDS):
            assert f"{name}: round {number} of 'linear' is verified" in text


def test_the_engine_reports_a_failed_run(tmp_path: Path) -> None:
    with (
        Engine(tmp_path / "engine", {}) as engine,
        pytest.raises(AssertionError, match=r"has failed|is finished:failed"),
    ):
        engine.run({"nodes": 0, "home": str(tmp_path)}, timeout_s=60)
