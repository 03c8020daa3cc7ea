"""Deadlines follow what messages have taken; what is late, in clear, doubled or without a home is told apart."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import Fleet, Seen, app_of, flower_log, members, record, start

from benchmarks.plugins.nodes import Node
from secure_agg.errors import ConfigError, RemoteProtocolError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.server import deadlines
from secure_agg.plugins.core.server.deadlines import LONGEST_S, Deadlines
from secure_agg.plugins.flower import grid as grid_module
from secure_agg.plugins.homes import federation, tenants
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy

NOTHING = [0.0, -1.0, math.inf, math.nan, True, "60", None]


def quiet() -> FedAvg:
    return FedAvg(fraction_evaluate=0.0)


# --- how long --------------------------------------------------------------------------------------------------


def test_a_deadline_is_three_times_the_slowest_answer_so_far_and_never_less_than_is_set() -> None:
    due = Deadlines(60.0)
    assert due.phase_s == 180.0, "nothing is known yet"
    due.took(1.0)
    assert due.phase_s == 60.0
    due.took(26.0)
    assert due.phase_s == 78.0
    due.took(5.0)
    assert due.phase_s == 78.0
    due.took(400.0)
    assert due.phase_s == LONGEST_S
    assert Deadlines(2 * LONGEST_S).phase_s == 2 * LONGEST_S, "what is set is what is wanted"


@pytest.mark.parametrize("seconds", NOTHING)
def test_what_is_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="positive, finite number"):
        Deadlines(seconds)


def test_training_errors_and_silence_say_nothing_about_how_slow_messages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: now[0]))
    due = Deadlines(10.0)

    def ask(kind: str, requests: Any, deadline_s: float) -> Any:
        now[0] += 100.0
        yield "a", b"" if kind == parcels.JOIN else RemoteProtocolError("gone")

    for kind in (parcels.JOIN, parcels.STEP):
        list(due.timed(ask)(kind, [], 1.0))
    assert due.phase_s == 30.0

    def slow(kind: str, requests: Any, deadline_s: float) -> Any:
        now[0] += 20.0
        yield "a", b""

    list(due.timed(slow)(parcels.STEP, [], 1.0))
    assert due.phase_s == 60.0


def test_a_loaded_machine_gets_longer_deadlines_under_flower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of 26 to 67 s against 60: what a run on a busy machine took."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(deadlines, "time", clock)
    monkeypatch.setattr(grid_module, "time", clock)
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    ttls: list[float] = []
    push = fleet.grid.push_messages

    def slowly(messages: Iterable[Message]) -> Iterable[str]:
        batch = list(messages)
        ttls.extend(message.metadata.ttl for message in batch)
        now[0] += 26.0 / 3
        return push(batch)

    monkeypatch.setattr(fleet.grid, "push_messages", slowly)
    strategy = quiet()
    strategy.start(fleet.secure(strategy, phase_s=60.0), record(start()), num_rounds=1, timeout=500.0)
    hello, join, *phases = (ttls[place] for place in range(0, len(ttls), 3))
    assert hello == 180.0
    assert join == 500.0
    assert phases
    assert all(67.0 < ttl <= LONGEST_S for ttl in phases)


def test_the_servers_home_says_how_long_and_an_argument_says_otherwise(tmp_path: Path) -> None:
    federation.make(tmp_path / "all", ["a", "b", "c"], Policy.default(3), task="flower", phase_s=7.5)
    assert json.loads((tmp_path / "all/server/home.json").read_text())["phase_s"] == 7.5
    fleet = Fleet(tmp_path / "all", Fleet.nodes(tmp_path / "all", {}), ())
    assert fleet.secure(quiet(), phase_s=None)._coordinator.deadlines.phase_s == 22.5
    assert fleet.secure(quiet(), phase_s=2.0)._coordinator.deadlines.phase_s == 6.0
    with pytest.raises(ConfigError, match="positive, finite number"):
        fleet.secure(quiet(), phase_s=0.0)


@pytest.mark.parametrize("seconds", [0, -1, "60"])
def test_a_home_in_which_nobody_could_answer_is_refused(seconds: Any, tmp_path: Path) -> None:
    federation.make(tmp_path / "all", ["a", "b", "c"], Policy.default(3))
    path = tmp_path / "all/server/home.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"phase_s": seconds}))
    with pytest.raises(ConfigError, match=r"home\.json: "):
        ServerHome.open(tmp_path / "all/server")


def test_a_federation_in_which_nobody_could_answer_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="positive, finite number"):
        federation.make(tmp_path / "all", ["a", "b", "c"], Policy.default(3), phase_s=0.0)
    assert not (tmp_path / "all").exists()


# --- what is said of whom -------------------------------------------------------------------------------------------


def test_a_node_that_is_late_is_not_said_to_lack_the_mod(tmp_path: Path) -> None:
    seen = Seen()
    late = [True]

    def busy(message: Message, context: Any) -> Message | None:
        if message.metadata.message_type == "evaluate" and late:
            return None
        return app_of(seen=seen)(message, context)

    fleet = Fleet.make(tmp_path, members(3, busy))
    strategy = FedAvg()
    grid = fleet.secure(strategy, phase_s=1.0)
    with flower_log() as log:
        first = strategy.start(grid, record(start()), num_rounds=1, timeout=2.0)
    assert sum("did not answer within" in line for line in log) == 3
    assert not any("mod" in line.split() for line in log)
    late.clear()
    strategy.start(grid, first.arrays, num_rounds=1, timeout=2.0)
    assert sorted(seen.evaluated) == [0, 1, 2], "it is asked again"


@pytest.mark.parametrize("how", ["in clear", "by failing"])
def test_an_app_that_answers_itself_lacks_the_mod(how: str, tmp_path: Path) -> None:
    plain = app_of(mods=())

    def without(message: Message, context: Any) -> Message | None:
        if how == "in clear":
            return Message(message.content.__class__(), reply_to=message)
        return plain(message, context)

    fleet = Fleet.make(tmp_path, members(3, app_of()) | {"m3": without})
    with flower_log() as log:
        assert fleet.run().arrays
    assert sum("node 103 is not in this round" in line and "mod" in line for line in log) == 1


# --- two nodes with one home ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [False, True])
def test_two_nodes_with_one_home_are_named_on_both_sides(copied: bool, tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()))
    own = fleet.folder / "clients" / "m0"
    other = shutil.copytree(own, tmp_path / "copy") if copied else own
    fleet.grid.nodes[103].context.node_config["secure-agg-home"] = str(other)
    with flower_log() as log:
        assert fleet.run().arrays  # three are enough
    (server,) = [line for line in log if "both answer for 'm0'" in line]
    assert "nodes 100 and 103" in server or "nodes 103 and 100" in server
    assert "two nodes have one home" in server
    on_node = [line for line in log if f"home {own} was used in this run by node" in line]
    assert bool(on_node) is not copied
    assert all("100" in line and "103" in line for line in on_node)


def test_a_node_that_took_another_number_is_no_second_one(tmp_path: Path) -> None:
    """It was restarted; Flower goes on listing the old one for a while, which says nothing any more."""
    app = app_of()
    fleet = Fleet.make(tmp_path, members(3, app))
    strategy = quiet()
    grid = fleet.secure(strategy, phase_s=1.0)
    first = strategy.start(grid, record(start()), num_rounds=1, timeout=2.0)
    old = fleet.grid.nodes[102]
    old.app = lambda message, context: None
    fleet.grid.nodes[50] = Node(app, old.context)
    with flower_log() as log:
        assert strategy.start(grid, first.arrays, num_rounds=2, timeout=2.0).arrays
    assert not any("both answer" in line for line in log)
    assert not fleet.aborts()


def test_a_home_is_held_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "_PATIENCE_S", 0.0)
    federation.make(tmp_path / "all", ["a", "b", "c"], Policy.default(3))
    with ClientHome.open(tmp_path / "all/clients/a") as first, ClientHome.open(tmp_path / "all/clients/a") as second:
        leave = tenants.hold(first)
        with pytest.raises(ConfigError, match="two can't have one home"):
            tenants.hold(second)
        leave()
        leave()
        tenants.hold(second)()


def test_a_home_remembers_the_node_of_a_run(tmp_path: Path) -> None:
    federation.make(tmp_path / "all", ["a", "b", "c"], Policy.default(3))
    with ClientHome.open(tmp_path / "all/clients/a") as home:
        uses = [(1, 7), (1, 7), (1, 8), (1, 8), (1, 7), (2, 9), (2, 9)]
        assert [tenants.use(home, run, node) for run, node in uses] == [None, None, 7, None, 8, None, None]
        (home.path / "node").write_text("{")
        assert tenants.use(home, 2, 10) is None, "it is a hint, and a damaged one is none"


# --- wrong homes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "said"),
    [
        ("nowhere", "is no home: No such file"),
        (".", "the folder of a whole federation, and the server's home is one of those in it"),
        ("clients/m0", "is a node's home, and it has to be the server's"),
        ("clients", r"is no home: its home\.json can't be read"),
    ],
)
def test_a_wrong_home_of_the_server_is_told_when_the_grid_is_made(home: str, said: str, tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with pytest.raises(ConfigError, match=said):
        grid_module.SecureGrid(fleet.grid, quiet(), fleet.folder / home)


@pytest.mark.parametrize("home", ["", None])
def test_no_home_of_the_server_is_told_when_the_grid_is_made(home: Any, tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with pytest.raises(ConfigError, match="names no folder"):
        grid_module.SecureGrid(fleet.grid, quiet(), home)


@pytest.mark.parametrize(
    ("home", "said"),
    [
        ("{all}/nowhere", "is no home: No such file"),
        ("nowhere", r"nowhere \(in /"),
        ("{all}", "the folder of a whole federation, and a node's home is one of those in it"),
        ("{all}/server", "is the server's home, and it has to be a node's"),
        ("{other}/clients/m3", "pins another server: is it of another federation?"),
        (None, "names no home"),
    ],
)
def test_a_wrong_home_of_a_node_is_told_in_its_log_at_the_first_message(
    home: str | None, said: str, tmp_path: Path
) -> None:
    seen = Seen()
    other = Fleet.make(tmp_path / "other", members(4, app_of()))
    fleet = Fleet.make(tmp_path, members(4, app_of(seen=seen)))
    config = fleet.grid.nodes[103].context.node_config
    config.pop("secure-agg-home")
    if home is not None:
        config["secure-agg-home"] = home.format(all=fleet.folder, other=other.folder)
    with flower_log() as log:
        assert fleet.run().arrays
    assert 3 not in seen.trained
    assert any(said.replace("\\", "") in line for line in log if "node 103" not in line)
    (told,) = [line for line in log if "node 103 is not in this round" in line]
    assert "see this node's log" in told
    assert str(tmp_path) not in told, "no path leaves a node"
