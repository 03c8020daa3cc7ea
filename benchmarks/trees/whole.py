"""A whole tree's round of very many clients in this process, every edge of it: members are drawn into edges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from benchmarks.trees.world import TASK, identity
from secure_agg.local.rounds import LocalRound
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.tree import DRAWN, EDGE, TOP, edge_task, policy_on
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.task import Task
from secure_agg.roles.tree.auditor import VerifiedTree
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.shared import SharedTree
from secure_agg.roles.tree.top import TreeTop
from secure_agg.roles.trust import TaskTrust, Trust

BACKEND = "masking"
BEACON = hashlib.sha256(b"benchmark beacon").digest()


def play(names: list[str], update: npt.NDArray[np.floating], edges: int) -> VerifiedTree:
    """One round in which every member is asked, and checks the result.

    Args:
        update: everybody's.
        edges: how many; members are drawn into them by a beacon that is given.
    """
    people = {name: identity(name) for name in names}
    operators = {f"edge-{i:03d}": identity(f"edge-{i:03d}") for i in range(edges)}
    tree, shape = _pinned(people, operators), (update.size,)
    shared = SharedTree(tree, BEACON)

    def configure(task: str, trust: Trust) -> RoundConfig:
        return Task(task, trust).next_round((shape,))

    parts = {}
    for edge, operator in operators.items():
        members = tree.members(edge, BEACON)
        config = configure(edge_task(TASK, edge), shared.edge(edge).trust)
        clients = {name: EdgeClient(people[name], tree, edge, beacon=BEACON, shared=shared) for name in members}
        given = {name: [update] for name in members}
        local = LocalRound(EdgeAggregator(operator, config, Roster(members)), clients, given)
        parts[edge] = LocalEdge(local, EdgeOperator(operator, tree))
    played = TreeRound(TreeTop(identity("aggregator"), tree, configure(TASK, tree.top)), parts, beacon=BEACON)
    verified = played.deliver(played.run())
    if len(verified) != len(names):
        raise ValueError(f"{len(verified)} of {len(names)} members have a result")
    return next(iter(verified.values()))


def _pinned(people: Mapping[str, Identity], operators: Mapping[str, Identity]) -> TreeTrust:
    """Everybody in one roster, from which edges are drawn."""

    def roster(parties: Mapping[str, Identity]) -> Roster:
        return Roster({name: party.public for name, party in parties.items()})

    flat, largest = Policy.default(len(people), backend=BACKEND), -(-len(people) // len(operators))
    tasks = {
        TASK: TaskTrust(roster(operators), policy_on(flat, TOP, len(operators), min_clients=2)),
        edge_task(TASK, DRAWN): TaskTrust(roster(people), policy_on(flat, EDGE, largest, min_clients=3)),
    }
    return TreeTrust(Trust(tasks=tasks, operators=Roster({"aggregator": identity("aggregator").public})), TASK)
