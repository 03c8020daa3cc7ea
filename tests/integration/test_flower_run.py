"""Flower's own processes: a SuperLink and its SuperNodes train, and one of them is killed in the second round.

Flower starts a process for every message of every node, so that nodes and rounds are what such a run takes. In the
short one these are forks of a process that has imported Flower; in the long ones they are as Flower starts them.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.chance.ports import free_port
from support.frameworks.flower_engine import APP, Engine

from secure_agg import Ledger, Trust
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

sys.path.insert(0, str(APP))
from linear import task

NAMES = ("north", "east", "south", "west")


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


@pytest.mark.parametrize(
    ("members", "rounds"),
    [
        pytest.param(3, 1, id="nobody killed"),
        pytest.param(3, 2, id="short", marks=pytest.mark.flower_long),
        pytest.param(4, 3, id="long", marks=pytest.mark.flower_long),
    ],
)
def test_a_run_survives_a_killed_node_and_ends_with_the_model_of_plain_fedavg(
    members: int, rounds: int, tmp_path: Path
) -> None:
    names = NAMES[:members]
    killed = names[-1]  # in the second round, if there is one: until a phase is over the others wait for it
    policy = Policy.default(members, clip=4.0, max_weight=40, min_clients=members - 1)
    federation.make(tmp_path / "federation", names, policy, task="linear")
    homes = tmp_path / "federation" / "clients"
    nodes = {name: {"partition-id": number, "secure-agg-home": str(homes / name)} for number, name in enumerate(names)}
    with Engine(tmp_path / "engine", nodes, warm=rounds == 1) as engine:

        def kill_in_the_second_round(log: str) -> None:
            if killed in nodes and re.search(rf"round 1 of 'linear', phase advertise: {members} of {members}", log):
                engine.kill(killed)
                del nodes[killed]

        log = engine.run(
            {
                "home": str(tmp_path / "federation" / "server"),
                "out": str(tmp_path / "model.npz"),
                "nodes": members,
                "rounds": rounds,
                "phase-s": 90.0,  # each node's first messages start Python there: a minute on a loaded machine
                "timeout-s": 180.0,
            },
            timeout_s=900,
            watch=kill_in_the_second_round,
        )
        survivors = {name: engine.log(name) for name in nodes}

    assert set(nodes) == set(names[:-1] if rounds > 1 else names)
    with Ledger(tmp_path / "federation" / "server" / "rounds.db", read_only=True) as ledger:
        audited = ledger.audit(trust=Trust.load(tmp_path / "federation" / "trust.json"))
        limits = [record.error_bound for record in ledger.records()]
        took_part = [set(ledger.evidence(record).participants) for record in ledger.records()]
    assert audited.size == rounds
    assert took_part == [set(names), *[set(names[:-1])] * (rounds - 1)]

    expected = plain_fedavg({NAMES.index(name) for name in names} for names in took_part)
    found = np.load(tmp_path / "model.npz")
    bound = sum(limits) + 1e-6 * rounds  # both models are rounded to float32 too
    for name in ("weights", "bias"):
        assert found[name].dtype == expected[name].dtype
        assert np.abs(found[name] - expected[name]).max() <= bound
    assert np.abs(found["weights"] - task.start(1000)["weights"]).max() > 100 * bound

    assert f"phase share-keys: {len(nodes)} of {members} clients" in log
    for name, text in survivors.items():
        for number in range(rounds):
            assert f"{name}: round {number} of 'linear' is verified" in text


@pytest.mark.flower_long
def test_the_engine_reports_a_failed_run(tmp_path: Path) -> None:
    with (
        Engine(tmp_path / "engine", {}) as engine,
        pytest.raises(AssertionError, match=r"has failed|is finished:failed"),
    ):
        engine.run({"nodes": 0, "home": str(tmp_path)}, timeout_s=60)


@pytest.mark.flower_long
def test_flwr_run_in_simulation_needs_nothing_made_by_hand(tmp_path: Path) -> None:
    """Flower's own engine, with Ray: it takes both cores for a minute, and fails where they are not to be had."""
    home = tmp_path / "flwr"
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    config = f'nodes=3 rounds=1 out="{tmp_path / "model.npz"}"'
    command = ["flwr", "run", str(APP), "--stream", "--federation-config", "num-supernodes=3", "--run-config", config]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    finally:
        for process in psutil.process_iter(["cmdline"]):  # Flower leaves a SuperLink behind, for the next run
            if any(str(home) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    assert done.stdout.count("SIMULATION: the keys of the server and of all 3 members") == 1, done.stdout
    (folder,) = (home / "secure-agg-simulation").glob("run-*")
    with Ledger(folder / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(folder / "trust.json")).size == 1, done.stdout
    assert (tmp_path / "model.npz").exists()
