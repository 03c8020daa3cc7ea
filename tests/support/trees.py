"""A small tree for tests: regions with members, and rounds that stop where a test wants to interfere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from support.federation import channel, identity, on_grid

from secure_agg import backends
from secure_agg.local.rounds import LocalRound
from secure_agg.local.staff import AGGREGATORS, Staff, staffed
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.config.tree import DRAWN, EDGE, TOP, edge_task, policy_on
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.identity import Roster
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.top import TreeTop
from secure_agg.roles.trust import TaskTrust, Trust

BEACON = bytes(range(32))


@dataclass
class Forestry:
    """Edges with members and known updates, and what all have pinned."""

    sizes: Mapping[str, int] = field(default_factory=lambda: {"north": 4, "south": 5, "west": 4})
    shapes: tuple[tuple[int, ...], ...] = ((7,), (2, 3))
    seed: int = 0
    backend: str = "masking"
    top_backend: str = "masking"
    top_options: Mapping[str, int] = field(default_factory=dict)
    policy_changes: Mapping[str, Any] = field(default_factory=dict)
    task: str = "task"
    drawn: bool = False
    last: RoundRecord | None = None

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.members = {edge: [f"{edge}-{i:03d}" for i in range(size)] for edge, size in self.sizes.items()}
        self.names = [name for members in self.members.values() for name in members]
        flat = Policy.default(len(self.names), backend=self.backend, **self.policy_changes)
        self.flat = flat
        count = len(self.sizes)
        top = msgspec.structs.replace(flat, backend=self.top_backend, options=Option.list(self.top_options))
        self.policy = policy_on(top, TOP, count, min_clients=2)
        kind = backends.load(self.top_backend)
        self.staff_names = AGGREGATORS[: kind.seats(self.policy).count] if kind.shares else ()
        operators = [identity("aggregator"), *(identity(name) for name in self.staff_names)]
        tasks = {self.task: TaskTrust(self._roster(self.sizes), self.policy)}
        if self.drawn:
            least = len(self.names) // count
            tasks[edge_task(self.task, DRAWN)] = TaskTrust(
                self._roster(self.names), policy_on(flat, EDGE, least, min_clients=3)
            )
        else:
            for edge, members in self.members.items():
                tasks[edge_task(self.task, edge)] = TaskTrust(
                    self._roster(members), policy_on(flat, EDGE, len(members), min_clients=3)
                )
        self.trust = Trust(tasks=tasks, operators=Roster({item.name: item.public for item in operators}))
        self.tree = TreeTrust(self.trust, self.task)
        self.beacon = BEACON if self.drawn else b""
        self.updates = {name: [on_grid(rng.normal(size=shape), flat) for shape in self.shapes] for name in self.names}
        self.stores = {name: AttemptStore() for name in (*self.names, *self.sizes)}

    @staticmethod
    def _roster(names: Any) -> Roster:
        return Roster({name: identity(name).public for name in names})

    def edge_config(self, edge: str, **changes: Any) -> RoundConfig:
        trust = self.tree.edge(edge, self.beacon)
        return Task(edge_task(self.task, edge), trust, self.last).next_round(self.shapes, **changes)

    def top_config(self, **changes: Any) -> RoundConfig:
        config = Task(self.task, self.tree.top, self.last).next_round(self.shapes, **changes)
        return staffed(config, self.setup)

    @property
    def setup(self) -> bytes:
        if not self.staff_names:
            return b""
        config = Task(self.task, self.tree.top, self.last).next_round(self.shapes)
        members = {name: identity(name) for name in self.staff_names}
        return Staff.of(config, members, channels={name: channel(name) for name in members}).setup

    def staff(self) -> Staff:
        config = Task(self.task, self.tree.top, self.last).next_round(self.shapes)
        members = {name: identity(name) for name in self.staff_names}
        return Staff.of(config, members, channels={name: channel(name) for name in members})

    def edge(
        self,
        name: str,
        silent: Mapping[str, str] | None = None,
        weights: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> LocalEdge:
        config = self.edge_config(name, **changes)
        members = self.tree.members(name, self.beacon)
        aggregator = EdgeAggregator(identity(name), config, Roster(members))
        clients = {
            member: EdgeClient(identity(member), self.tree, name, beacon=self.beacon, store=self.stores[member])
            for member in members
        }
        local = LocalRound(aggregator, clients, self.updates, weights, silent)
        return LocalEdge(local, EdgeOperator(identity(name), self.tree, store=self.stores[name]))

    def round(
        self,
        silent: Mapping[str, str] | None = None,
        quiet: Mapping[str, str] | None = None,
        weights: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> TreeRound:
        """One attempt.

        Args:
            silent: members with the phase of their edge from which on they answer nothing.
            quiet: edges' operators likewise, see ``TreeRound``.
        """
        edges = {name: self.edge(name, silent, weights, **changes) for name in self.sizes}
        top = TreeTop(identity("aggregator"), self.tree, self.top_config(**changes), self.setup)
        roles = self.staff().roles(self.tree.top) if self.staff_names else {}
        return TreeRound(top, edges, roles, self.beacon, quiet or {})
