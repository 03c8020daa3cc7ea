"""Processes that are killed in a round, for real, and what another one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from support.federation import Federation, assert_is_mean
from support.frameworks.plugin_rounds import WEIGHTS, a_world, model, updates, weighted_mean
from support.operating.operators import keys_of
from support.source_tree import ROOT

from secure_agg.errors import OperatorLost, TooFewClients
from secure_agg.local.rounds import LocalRound
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.renouncing import Renouncing
from secure_agg.roles.task import Task
from secure_agg.transport.blocking import connected
from secure_agg.transport.client import Operators
from secure_agg.transport.processes import aggregator_processes

pytestmark = pytest.mark.usefixtures("quick_operators")


@pytest.mark.parametrize(("place", "late"), [(1, False), (2, True), (3, True)])
def test_another_process_finishes_what_a_killed_server_has_begun(place: int, late: bool) -> None:
    with a_world() as world:
        world.server.close()
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        script = ROOT / "tests" / "support" / "operating" / "killed_round.py"
        ended = subprocess.run(
            [sys.executable, str(script), str(world.folder), str(place), "2"], env=environment, check=False,
            capture_output=True,
        )  # fmt: skip
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        world.server = ServerHome.open(world.folder / "server")
        nodes = world.nodes(model(), seed=1)
        outcome = Coordinator(world.server).round(model(), nodes)
        assert (outcome.record.attempt, nodes.trained == []) == ((0, True) if late else (1, False))
        expected = weighted_mean(updates(0 if late else 1), WEIGHTS, outcome.participants)
        for found, wanted in zip(outcome.average, expected, strict=True):
            assert np.allclose(found, wanted, atol=1e-4)


def test_share_holders_in_processes_renounce_and_the_task_goes_on() -> None:
    federation = Federation(4, backend="additive", options={"aggregators": 2}, policy_changes={"bits": 8})
    keys = [keys_of(name, share_holder=True) for name in federation.share_holder_names]
    coordinator = keys_of("aggregator")
    with aggregator_processes(keys, coordinator.card(), federation.trust) as processes:
        endpoints = [process.endpoint for process in processes.values()]
        with connected(Operators(coordinator, endpoints, federation.trust.operators)) as remote:
            clients = {name: federation.client(name) for name in federation.names}
            local = LocalRound(federation.aggregator(), clients, federation.updates, holders=remote)
            requests = local.aggregator.start()
            while local.aggregator.state != "partial-sum":
                local.exchange(requests)
                requests = local.aggregator.advance()
            with pytest.raises(OperatorLost):
                local.aggregator.advance()

            asking = Renouncing(
                federation.operator, federation.config(), federation.roster, federation.trust.operators,
                setup=federation.setup,
            )  # fmt: skip
            first, second = asking.requests()
            asking.receive(remote[first.recipient].receive(first.data))
            with pytest.raises(TooFewClients, match="1 of 2 renounced"):
                asking.certificate()
            asking.receive(remote[second.recipient].receive(second.data))
            certificate = asking.certificate()

            config = federation.config(attempt=1, renounced=certificate)
            aggregator = Task(federation.task, federation.trust).lead(
                federation.operator, config, federation.setup, renounced=certificate
            )
            clients = {name: federation.client(name) for name in federation.names}
            evidence = LocalRound(aggregator, clients, federation.updates, holders=remote).run()
    average = Auditor(federation.trust).verify(evidence).average
    assert_is_mean(average, federation.updates, dict.fromkeys(federation.names, 1), evidence.participants, config)
