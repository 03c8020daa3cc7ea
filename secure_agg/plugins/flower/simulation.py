"""``flwr run .`` in simulation: homes that are made for the run, and how a simulated node finds its own.

Flower's simulation runs the ServerApp in one process, with a grid in memory, and the ClientApps in actors of Ray beside
it. A simulated node has no operator who could configure a home. It takes one only where it can see for itself that it
is simulated, in an actor and without a home of its own, and only from a folder of this machine that follows from the
run's number: no message names it, so no server can lend a home to a real node.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from flwr.app import Context
from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from flwr.supercore.utils import get_flwr_home

from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import ServerOptimizer
from secure_agg.plugins.homes import simulated, tenants
from secure_agg.plugins.homes.server import ServerHome

_FOLDER: Final = "secure-agg-simulation"
_PATIENCE_S: Final = 60.0
_STEADY: Final = 3
"""Looks that find the same nodes: Flower registers them while the app starts."""
_LOOK_S: Final = 0.1
_IN_USE: Final[dict[Path, Callable[[], None]]] = {}


def is_simulated(grid: Grid) -> bool:
    """Whether a ServerApp's grid is that of Flower's simulation."""
    module = sys.modules.get("flwr.superlink.grid.inmemory_grid")  # which nothing else than the simulation imports
    kind = getattr(module, "InMemoryGrid", None)
    return isinstance(kind, type) and isinstance(grid, kind)


def server_home(
    grid: Grid,
    strategy: Strategy,
    like: Path | None,
    policy: Mapping[str, Any] | None,
    optimizer: ServerOptimizer,
    *,
    checks_model: bool = True,
) -> Path:
    """Make the homes of a simulated run, of which this is the server's.

    Args:
        grid: Flower's own.
        strategy: the app's.
        like, policy: see ``simulated.make``.
        optimizer: what the strategy makes of the mean.
        checks_model: whether nodes do; see ``ClientHome``.

    Raises:
        ConfigError: too few nodes are simulated; says how to have more. Or see ``simulated.make``.
    """
    count = _nodes(grid)
    weight_key = strategy.weighted_by_key if isinstance(strategy, FedAvg) else None
    try:
        folder = simulated.make(
            _root(),
            _run(grid.run.run_id),
            [_name(place) for place in range(count)],
            like=like,
            policy=policy,
            optimizer=optimizer,
            weight_key=weight_key,
            checks_model=checks_model,
        )
    except ConfigError as error:
        raise ConfigError(f"{error}; 'flwr run . --federation-config num-supernodes=4' simulates four") from error
    server = folder / "server"
    if server not in _IN_USE:  # as long as this process lives no other simulation removes it
        with ServerHome.open(server) as home:
            _IN_USE[server] = tenants.hold(home)
    return server


def client_home(context: Context) -> Path | None:
    """The home of a simulated node; None where this is none.

    Raises:
        ConfigError: it is one, and its home is not on this machine, was made for another number of nodes, or lies where
            others can put one.
    """
    place, count = context.node_config.get(PARTITION_ID_KEY), context.node_config.get(NUM_PARTITIONS_KEY)
    if not isinstance(place, int) or not isinstance(count, int) or not _in_an_actor():
        return None
    clients = _root() / _run(context.run_id) / "clients"
    if not clients.is_dir():
        raise ConfigError(
            f"this simulated node finds no homes in {clients}: the ServerApp makes them, on its own machine. Simulate "
            "on one machine, or have FLWR_HOME in a folder that all of them share"
        )
    simulated.check_own(_root())
    found = sum(1 for _ in clients.iterdir())
    if found != count:
        raise ConfigError(f"homes were made for {found} simulated nodes, and there are {count}")
    return clients / _name(place)


def _nodes(grid: Grid) -> int:
    """How many nodes are simulated, once their number has come to rest."""
    end, steady, last = time.monotonic() + _PATIENCE_S, 0, 0
    while time.monotonic() < end:
        found = len(list(grid.get_node_ids()))
        steady = steady + 1 if found == last and found else 0
        if steady == _STEADY:
            return found
        last = found
        time.sleep(_LOOK_S)
    raise ConfigError(f"no nodes have come within {_PATIENCE_S:g} s")


def _root() -> Path:
    return get_flwr_home() / _FOLDER


def _run(run_id: int) -> str:
    return f"run-{run_id}"


def _name(place: int) -> str:
    return f"node-{place}"


def _in_an_actor() -> bool:
    """Whether this process is an actor of Ray. Nothing is imported for it: in an actor Ray is there."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None
