"""A tree of thousands of clients in one process, in which one client of one edge is measured."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from benchmarks.timing import Samples, interleaved
from secure_agg.local.rounds import LocalRound
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import NO_DIGEST, Policy, RoundConfig
from secure_agg.protocol.config.tree import EDGE, TOP, edge_task, policy_on
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Incoming, Message, Received, Signature, encode, write
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.protocol.tree.forest import EdgeSession, Forest
from secure_agg.protocol.tree.record import SEAL, SealedEdge, Unsealed, make_record, seal_of
from secure_agg.roles.task import Task
from secure_agg.roles.tree.auditor import VerifiedTree, verify_tree
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.top import TreeTop
from secure_agg.roles.trust import TaskTrust, Trust
from zk import commitment
from zk.parameters import noise_top

TASK = "tree"
BACKEND = "masking"
_SHAPE = (16,)
_LENGTH_BYTES = 4


class _Made(EdgeOperator):
    """An edge's operator whose edge was never played: its record is of a sum that is made up, and signed by members.

    What a client of another edge receives of it, and checks, is what it would be of a real one.
    """

    def make(
        self, config: RoundConfig, forest: Forest, members: dict[str, Identity], rng: np.random.Generator
    ) -> bytes:
        """The seal of the record; see ``EdgeOperator.seal``."""
        entry, layout, setting = forest.edge(self.identity.name), config.layout, config.commitment
        if entry is None:
            raise ValueError("the edge is not in the forest")
        count = len(members)
        noise = noise_top(setting.bits, setting.clients)
        sums = rng.integers(0, count * noise, layout.total, dtype=np.uint32)
        FixedPoint.of(config).encode([np.zeros(_SHAPE)], 1, bytes(32), sums[: layout.committed])
        sums[: layout.committed] *= np.uint32(count)
        made = commitment.commit(setting.pack(sums[: layout.committed]), sums[layout.committed :], setting.rank)
        record = make_record(
            task=config.task,
            round=config.round,
            attempt=config.attempt,
            context=entry.context,
            session=forest.session(entry.session),
            cohort_size=count,
            participants=count,
            participants_root=rng.bytes(32),
            commitment_sum=made.to_bytes(),
            evidence=rng.bytes(32),
        )
        signed, names = record.signed_bytes(), list(members)[: config.policy.quorum(count)]
        signatures = tuple(Signature(name, members[name].sign(signed)) for name in names)
        evidence = Evidence(config, (), (), (), (), forest.to_bytes(), (), sums, NO_DIGEST)
        nonce = rng.bytes(32)
        self._sealed = evidence, record, signatures, nonce, forest
        seal = seal_of(TASK, self.identity.name, record, nonce)
        return write(self.identity, forest.digest(), SEAL, "", encode(SealedEdge(self.identity.name, seal)))


class _Believing(TreeTop):
    """Takes records without the evidence of edges, which most have none of."""

    def unseal(self, data: Incoming) -> None:
        """The record as it is shown."""
        received = Received.of(data, 1 << 24)
        item = Unsealed.from_bytes(received.header.body)
        self.unsealed[received.header.sender] = item
        self.shown[received.header.sender] = Message(received.header, received.bulk)

    def conclude(self, top: Evidence) -> VerifiedTree:
        """Checked as a client of the tree does."""
        _, roll = self.open()
        forest = Forest.from_bytes(self.forest())
        self.tree = TreeEvidence(forest, roll, {name: self.unsealed[name] for name in top.participants}, top)
        return verify_tree(self.tree, trust=self.pinned)


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
        bare_s: seconds for as many bare Ed25519 verifications as there are signatures of records in it.
        signed: how many those are.
        rank: of the commitments.
    """

    clients: int
    edges: int
    edge_bytes: int
    tree_bytes: int
    vectors: int
    edge_s: float
    tree_s: Samples
    bare_s: Samples
    signed: int
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
    config, rng = _config(tree, TASK, tree.top), np.random.default_rng(clients)
    top = _Believing(identity("aggregator"), tree, config)
    mine, *others = members
    edge = _edge(tree, mine, people, members[mine])
    made = {name: _Made(people[name], tree) for name in others}
    parts = {mine: edge} | {name: LocalEdge(edge.local, operator) for name, operator in made.items()}
    played = TreeRound(top, parts)

    leader, name = edge.aggregator, members[mine][-1]
    client = edge.local.clients[name]
    if not isinstance(client, EdgeClient):
        raise TypeError("an edge's clients are EdgeClients")
    edge.local.exchange(leader.start())
    top.enrol(edge.operator.enrol(leader.enrol(), config.round, config.attempt))
    for other, operator in made.items():
        entry = EdgeSession(other, rng.bytes(32), rng.bytes(32))
        top.enrol(operator.enrol(entry, config.round, config.attempt))
    forest = top.forest()
    leader.plant(forest)
    requests = leader.advance()
    while requests:
        edge.local.exchange(requests)
        requests = leader.advance()
    # All members verify what one is measured at: it is the last, for which everything is compiled and warm.
    vouch_s = 0.0
    for envelope in leader.results():
        member = edge.local.clients[envelope.recipient]
        if isinstance(member, EdgeClient) and envelope.recipient in (
            *members[mine][: leader.config.policy.quorum(len(members[mine]))],
            name,
        ):
            begin = time.process_time()
            leader.vouch(member.vouch(envelope.data))
            vouch_s = time.process_time() - begin
            edge.local.traffic.result[envelope.recipient, "vouch"] += len(envelope.data)
    if leader.evidence is None:
        raise ValueError("the edge's round came to nothing")
    top.seal(edge.operator.seal(leader.evidence, leader.vouched()))
    for other, operator in made.items():
        asked = _config(tree, edge_task(TASK, other), tree.edge(other))
        top.seal(operator.make(asked, Forest.from_bytes(forest), {who: people[who] for who in members[other]}, rng))
    data = played.sum_top().to_bytes()
    traffic = edge.local.traffic
    received = sum(
        size for kind in (traffic.download, traffic.result) for (who, _), size in kind.items() if who == name
    )
    own = sum(seconds for step, seconds in client.timings.seconds.items() if step != "verify") + vouch_s
    # Each repetition is a client that knows nothing yet: decoding and checking are both part of it.
    signed = sum(len(item.signatures) for item in played.top.unsealed.values())
    bare, message = people[name], bytes(64)
    signature, key = bare.sign(message), Ed25519PublicKey.from_public_bytes(bare.public)
    took = interleaved(
        {
            "tree": lambda: _check(tree, data),
            "bare": lambda: [key.verify(signature, message) for _ in range(signed)],
        },
        repeat,
        time.process_time,
    )
    client.conclude(data)
    vectors = 2 * config.layout.total * _LENGTH_BYTES
    rank = config.commitment.rank
    return Measured(clients, count, received, len(data), vectors, own, took["tree"], took["bare"], signed, rank)


def _edge(tree: TreeTrust, edge: str, people: dict[str, Identity], names: list[str]) -> LocalEdge:
    """The one that is played."""
    aggregator = EdgeAggregator(
        people[edge], _config(tree, edge_task(TASK, edge), tree.edge(edge)), Roster(tree.members(edge))
    )
    roles = {name: EdgeClient(people[name], tree, edge, clock=time.process_time) for name in names}
    update = [np.zeros(_SHAPE, dtype=np.float32)]
    local = LocalRound(aggregator, roles, dict.fromkeys(names, update))
    return LocalEdge(local, EdgeOperator(people[edge], tree))


def _check(tree: TreeTrust, data: bytes) -> None:
    verify_tree(TreeEvidence.from_bytes(data), trust=tree)


def _pinned(flat: Policy, members: dict[str, list[str]], people: dict[str, Identity]) -> TreeTrust:
    def roster(names: list[str]) -> Roster:
        return Roster({name: people[name].public for name in names})

    tasks = {TASK: TaskTrust(roster(list(members)), policy_on(flat, TOP, len(members), min_clients=2))}
    for edge, names in members.items():
        tasks[edge_task(TASK, edge)] = TaskTrust(roster(names), policy_on(flat, EDGE, len(names), min_clients=3))
    lead = Roster({"aggregator": identity("aggregator").public})
    return TreeTrust(Trust(tasks=tasks, operators=lead), TASK)


def _config(tree: TreeTrust, task: str, trust: Trust) -> RoundConfig:
    return Task(task, trust).next_round((_SHAPE,))
