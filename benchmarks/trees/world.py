"""A tree of thousands of clients in one process, in which one client of one edge is measured."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.timing import Samples, timed
from secure_agg.local.rounds import LocalRound
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.tree import EDGE, TOP, edge_task, policy_on
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Signature
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.task import Task
from secure_agg.roles.tree.auditor import verify_tree
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.top import TreeTop
from secure_agg.roles.trust import TaskTrust, Trust

TASK = "tree"
BACKEND, UNMEASURED = "masking", "plain"
"""Of the edge that is measured, and of the others: what a client receives of them does not depend on it."""
_SHAPE = (16,)
_LENGTH_BYTES = 4


class _Unlooked(EdgeAggregator):
    """An edge whose members sign its record without verifying its round: what they would check is not measured."""

    def sign_all(self, members: dict[str, Identity]) -> None:
        """The quorum's signatures."""
        quorum = self.config.policy.quorum(self.config.cohort_size)
        if self.record is None:
            return
        signed = self.record.signed_bytes()
        for name in list(self.cohort)[:quorum]:
            self._vouchers[name] = Signature(name, members[name].sign(signed))


@dataclass(kw_only=True)
class _Played(TreeRound):
    """A tree's round of which one client is looked at: the last of its edge, for which all is compiled and warm.

    Attributes:
        people: everybody.
        measured, name: the edge, and the client.
        vouch_s: seconds in which the client verified its edge's round.
    """

    people: dict[str, Identity]
    measured: LocalEdge
    name: str
    vouch_s: float = 0.0

    @property
    def client(self) -> EdgeClient:
        """Who is measured."""
        found = self.measured.local.clients[self.name]
        if not isinstance(found, EdgeClient):
            raise TypeError("an edge's clients are EdgeClients")
        return found

    def vouch(self, edge: LocalEdge) -> None:
        """Everybody signs; one looks first."""
        leader = edge.local.aggregator
        if isinstance(leader, _Unlooked):
            leader.sign_all(self.people)
        if edge is self.measured:
            envelope = next(item for item in leader.results() if item.recipient == self.name)
            edge.local.traffic.result[self.name, "vouch"] += len(envelope.data)
            self.vouch_s = timed(lambda: self.client.vouch(envelope.data), time.process_time)


@dataclass(frozen=True)
class Measured:
    """What one client of a tree has come to.

    Attributes:
        clients, edges: of the tree.
        edge_bytes: received of its own edge's round and of its evidence.
        tree_bytes: received of the tree's evidence.
        vectors: bytes of the model's size in both: the edge's sums, and the tree's.
        edge_s: seconds of the client's own part of its edge's round, its evidence included.
        tree_s: seconds in which it checks the tree's evidence.
        rank: of the commitments.
    """

    clients: int
    edges: int
    edge_bytes: int
    tree_bytes: int
    vectors: int
    edge_s: float
    tree_s: Samples
    rank: int

    @property
    def beside(self) -> int:
        """Bytes received beside the model's."""
        return self.edge_bytes + self.tree_bytes - self.vectors


def identity(name: str) -> Identity:
    """The same for the same name."""
    return Identity(name, hashlib.sha256(name.encode()).digest())


def measure(clients: int, bits: int, repeat: int, edges: int | None = None) -> Measured:
    """Play a tree of so many clients, and measure one of them.

    Args:
        edges: how many; by default about the root of the clients, at least 2.
    """
    count = edges or max(2, round(math.sqrt(clients)))
    members = {
        f"edge-{i:03d}": [f"c{i:03d}-{j:03d}" for j in range(clients // count + (i < clients % count))]
        for i in range(count)
    }
    people = {name: identity(name) for edge, names in members.items() for name in (edge, *names)}
    flat = Policy.default(clients, backend=BACKEND, bits=bits)
    tree = _pinned(flat, members, people)
    config = _config(tree, TASK, tree.top)
    top = TreeTop(identity("aggregator"), tree, config)
    update = [np.zeros(_SHAPE, dtype=np.float32)]
    parts = {}
    for edge, names in members.items():
        asked = _config(tree, edge_task(TASK, edge), tree.edge(edge))
        aggregator = _Unlooked(people[edge], asked, Roster(tree.members(edge)))
        roles = {name: EdgeClient(people[name], tree, edge, clock=time.process_time) for name in names}
        local = LocalRound(aggregator, roles, dict.fromkeys(names, update))
        parts[edge] = LocalEdge(local, EdgeOperator(people[edge], tree))
    mine = next(iter(members))
    played = _Played(top, parts, people=people, measured=parts[mine], name=members[mine][-1])
    data = played.run().to_bytes()
    client, traffic = played.client, parts[mine].local.traffic
    received = sum(
        size for kind in (traffic.download, traffic.result) for (who, _), size in kind.items() if who == played.name
    )
    own = sum(seconds for step, seconds in client.timings.seconds.items() if step != "verify") + played.vouch_s
    # Each repetition is a client that knows nothing yet: decoding and checking are both part of it.
    took = Samples(tuple(timed(lambda: _check(tree, data), time.process_time) for _ in range(repeat)))
    client.conclude(data)
    vectors = 2 * config.layout.total * _LENGTH_BYTES
    return Measured(clients, count, received, len(data), vectors, own, took, config.commitment.rank)


def _check(tree: TreeTrust, data: bytes) -> None:
    verify_tree(TreeEvidence.from_bytes(data), trust=tree)


def _pinned(flat: Policy, members: dict[str, list[str]], people: dict[str, Identity]) -> TreeTrust:
    def roster(names: list[str]) -> Roster:
        return Roster({name: people[name].public for name in names})

    first = next(iter(members))
    tasks = {TASK: TaskTrust(roster(list(members)), policy_on(flat, TOP, len(members), min_clients=2))}
    for edge, names in members.items():
        backend = BACKEND if edge == first else UNMEASURED
        policy = Policy(**{name: getattr(flat, name) for name in Policy.__struct_fields__} | {"backend": backend})
        tasks[edge_task(TASK, edge)] = TaskTrust(roster(names), policy_on(policy, EDGE, len(names), min_clients=3))
    lead = Roster({"aggregator": identity("aggregator").public})
    return TreeTrust(Trust(tasks=tasks, operators=lead), TASK)


def _config(tree: TreeTrust, task: str, trust: Trust) -> RoundConfig:
    return Task(task, trust).next_round((_SHAPE,))
