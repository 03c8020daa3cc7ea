"""Flower's simulation: homes are made for the run, and nobody but a simulated node is lent one.

The engine is Flower's own, with its grid, its queues and its contexts. Its one backend starts Ray, which takes a minute
of both cores: here apps are called in this process instead, and the whole of it is ``test_flower_run_in_simulation``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedAvgM, Result
from flwr.supercore.run import Run
from flwr.supercore.telemetry import EventType
from support.frameworks.flower_nodes import app_of, flower_log, record, start

from benchmarks.plugins.nodes import Nodes
from secure_agg import stats
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.flower import GridFederation, SecureGrid, answer_question, secure_mod, simulation
from secure_agg.plugins.homes import federation, simulated, tenants
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.roles.trust import Trust
from secure_agg.stats.results import Number

RAY = "flwr.server.superlink.fleet.vce.backend.raybackend"


class Here:
    """In place of Ray's actors: apps are called in this process."""

    num_workers = 2

    def __init__(self, config: Any) -> None:
        self._app: Callable[[], ClientApp] = ClientApp

    def build(self, app_fn: Callable[[], ClientApp]) -> None:
        self._app = app_fn

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        return self._app()(message=message, context=context), context

    def terminate(self) -> None:
        """Nothing was started."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """FLWR_HOME, with a backend that starts no processes."""
    module = ModuleType(RAY)
    module.RayBackend = Here  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, RAY, module)
    monkeypatch.setattr(simulation, "_in_an_actor", lambda: True)
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    yield tmp_path / "flwr"
    while simulation._IN_USE:
        _, leave = simulation._IN_USE.popitem()
        leave()


class Prompt(Queue[Any]):
    """A queue at which nobody waits for a second to see that the engine is stopped."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return super().get(block, None if timeout is None else min(timeout, 0.05))


def engine(nodes: int, client: ClientApp, server: ServerApp) -> None:
    """Run two apps in Flower's engine, which takes seconds to import."""
    from flwr.server.superlink.fleet.vce import vce_api
    from flwr.simulation.run_simulation import _run_simulation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vce_api, "Queue", Prompt)
        _run_simulation(nodes, EventType.PING, client_app=client, server_app=server)


def simulate(nodes: int) -> Result:
    """One round of the engine, as an app makes it."""
    results: list[Result] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg()
        secure = SecureGrid(grid, strategy)
        results.append(strategy.start(secure, secure.last_model() or record(start()), num_rounds=1, timeout=120.0))

    engine(nodes, app_of(), server)
    return results[0]


def runs(home: Path) -> list[Path]:
    return sorted((home / "secure-agg-simulation").glob("run-*"))


def test_a_simulated_run_makes_its_homes_says_once_what_they_are_worth_and_leaves_an_audited_ledger(home: Path) -> None:
    with flower_log() as log:
        result = simulate(4)
    (folder,) = runs(home)
    assert sorted(path.name for path in (folder / "clients").iterdir()) == [f"node-{place}" for place in range(4)]
    assert [line for line in log if "SIMULATION" in line] == [(folder / simulated.NOTICE_FILE).read_text().strip()]
    assert result.evaluate_metrics_clientapp
    trust = Trust.load(folder / "trust.json")
    with Ledger(folder / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=trust).size == 2
        assert len(ledger.evidence(next(iter(ledger.records()))).participants) == 4


def test_flowers_default_of_two_nodes_runs_and_the_warning_says_what_two_learn(home: Path) -> None:
    with flower_log() as log:
        assert simulate(2).arrays
    assert any("each reads the other's update" in line for line in log)


def test_a_server_app_asks_simulated_nodes_questions_that_need_neither_homes_nor_rules(home: Path) -> None:
    found: list[Number] = []
    server, client = ServerApp(), ClientApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        found.append(stats.mean(GridFederation(grid, timeout=120.0), "age", 0, 128))

    @client.train(mods=[secure_mod])
    def train(message: Message, context: Context) -> Message:
        place = int(context.node_config["partition-id"])
        return answer_question(message, context, {"age": np.arange(8.0) + place})

    engine(3, client, server)
    (mean,) = found
    assert (mean.value, mean.records, len(mean.participants)) == (4.5, 24, 3)
    (folder,) = runs(home)
    assert sorted(path.name for path in (folder / "clients").glob("*/statistics.log")) == ["statistics.log"] * 3


class Some(Nodes):
    """A grid over so many nodes, of run 7."""

    def __init__(self, count: int) -> None:
        super().__init__({100 + number: (app_of(), {}) for number in range(count)})

    @property
    def run(self) -> Run:
        return Run.create_empty(7)


def made(root: Path, nodes: int, strategy: FedAvg | None = None, **options: Any) -> ServerHome:
    """The server's home that ``SecureGrid`` makes for itself."""
    SecureGrid(Some(nodes), strategy or FedAvg(), **options)
    return ServerHome.open(runs(root)[0] / "server")


@pytest.fixture
def unstarted(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, of a simulation whose engine has not begun."""
    monkeypatch.setattr(simulation, "is_simulated", lambda grid: True)
    return home


def test_the_strategys_optimizer_and_weight_are_pinned_in_the_homes(unstarted: Path) -> None:
    with made(unstarted, 3, FedAvgM(server_momentum=0.5, weighted_by_key="records")) as server:
        assert (server.optimizer.name, server.optimizer.momentum, server.weight_key) == ("FedAvgM", 0.5, "records")


def test_the_policy_of_a_servers_home_is_what_is_simulated(unstarted: Path, tmp_path: Path) -> None:
    policy = Policy.default(3, clip=4.0, bits=20, max_weight=77)
    federation.make(tmp_path / "real", ["a", "b", "c"], policy, task="real")
    with made(unstarted, 3, home=tmp_path / "real" / "server") as server:
        assert server.path.parent != tmp_path / "real"
        assert server.trust.task(server.task).policy == policy


def test_with_another_number_of_nodes_its_clip_and_weight_are(unstarted: Path, tmp_path: Path) -> None:
    federation.make(tmp_path / "real", ["a", "b", "c"], Policy.default(3, clip=4.0, max_weight=77), task="real")
    with made(unstarted, 5, home=tmp_path / "real" / "server") as server:
        policy = server.trust.task(server.task).policy
        assert (policy.clip, policy.max_weight, policy.max_clients) == (4.0, 77, 5)


def test_what_is_given_counts_and_a_home_that_is_not_there_does_not(unstarted: Path, tmp_path: Path) -> None:
    with made(unstarted, 3, home=tmp_path / "nowhere", simulated={"clip": 2.0}) as server:
        assert server.trust.task(server.task).policy.clip == 2.0


def test_one_node_is_refused_with_the_command_that_simulates_more(unstarted: Path) -> None:
    with pytest.raises(ConfigError, match="--federation-config num-supernodes=4"):
        SecureGrid(Some(1), FedAvg())
    assert runs(unstarted) == []


def test_without_a_simulation_a_home_is_asked_for(home: Path) -> None:
    with pytest.raises(ConfigError, match="names no folder"):
        SecureGrid(Some(3), FedAvg())


def context(**config: Any) -> Context:
    return Context(7, 1, config, RecordDict(), {})


@pytest.mark.parametrize("config", [{}, {"partition-id": 0}, {"partition-id": "0", "num-partitions": 3}])
def test_a_node_that_does_not_look_simulated_is_lent_no_home(home: Path, config: dict[str, Any]) -> None:
    assert simulation.client_home(context(**config)) is None


def test_a_real_node_is_lent_no_home_whatever_the_server_has_left_on_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated.make(home / "secure-agg-simulation", "run-7", ["node-0", "node-1", "node-2"])
    asked = context(**{"partition-id": 0, "num-partitions": 3})
    assert simulation.client_home(asked) == home / "secure-agg-simulation" / "run-7" / "clients" / "node-0"
    monkeypatch.undo()
    monkeypatch.setenv("FLWR_HOME", str(home))
    assert simulation.client_home(asked) is None


def test_homes_of_another_number_of_nodes_or_machine_are_refused(home: Path) -> None:
    asked = context(**{"partition-id": 0, "num-partitions": 4})
    with pytest.raises(ConfigError, match="finds no homes"):
        simulation.client_home(asked)
    simulated.make(home / "secure-agg-simulation", "run-7", ["node-0", "node-1", "node-2"])
    (home / "secure-agg-simulation").chmod(0o777)
    with pytest.raises(ConfigError, match="others can write"):
        simulation.client_home(asked)
    (home / "secure-agg-simulation").chmod(0o700)
    with pytest.raises(ConfigError, match="made for 3 simulated nodes, and there are 4"):
        simulation.client_home(asked)


def test_old_simulations_go_but_for_those_in_use_and_whatever_is_none(tmp_path: Path) -> None:
    root, names = tmp_path / "all", ["a", "b", "c"]
    (root / "mine").mkdir(parents=True)
    for number in range(simulated.KEPT):
        folder = simulated.make(root, f"run-{number}", names)
        os.utime(folder / simulated.NOTICE_FILE, (number, number))
    with ServerHome.open(root / "run-0" / "server") as server:
        leave = tenants.hold(server)
        simulated.make(root, "run-8", names)
        leave()
    assert {path.name for path in root.iterdir() if path.is_dir()} == {"mine", "run-0", "run-1", "run-2", "run-8"}
    os.utime(root / "run-8" / simulated.NOTICE_FILE, (8, 8))
    simulated.make(root, "run-9", names)
    assert {path.name for path in root.iterdir() if path.is_dir()} == {"mine", "run-2", "run-8", "run-9"}
