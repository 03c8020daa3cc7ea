"""One attempt at a tree's round with all roles in this process: edges one after the other, then the top over them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from secure_agg.errors import RoundAborted, SecureAggError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import ADVERTISE, Envelope, encode
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.protocol.tree.record import Roll
from secure_agg.roles import driver
from secure_agg.roles.driver import Answer
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.tree.auditor import VerifiedTree
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.top import TreeTop

_log = logging.getLogger("secure_agg.local.tree_round")


@dataclass
class LocalEdge:
    """An edge in this process.

    Attributes:
        local: its round, over its members; their updates with it.
        operator: the same party as who leads it, above.
        lost: why it takes no part in the top round; None as long as it does.
    """

    local: LocalRound
    operator: EdgeOperator
    lost: SecureAggError | None = None

    @property
    def aggregator(self) -> EdgeAggregator:
        """Who leads it."""
        found = self.local.aggregator
        if not isinstance(found, EdgeAggregator):
            raise TypeError(f"{type(found).__name__} leads no edge")
        return found


@dataclass
class TreeRound:
    """One attempt at a tree's round, one message at a time.

    Attributes:
        top: who leads it.
        edges: by id.
        holders: operators of the top's backend, by id.
        beacon: that drew members into edges; empty where they are fixed.
        silent: edges whose operators answer nothing any more, with the phase from which on: ``enrol``, ``seal``, or one
            of the top's.
    """

    top: TreeTop
    edges: Mapping[str, LocalEdge]
    holders: Mapping[str, OperatorRole] = field(default_factory=dict)
    beacon: bytes = b""
    silent: Mapping[str, str] = field(default_factory=dict)
    roll: Roll | None = None

    def run(self) -> TreeEvidence:
        """All of it.

        Returns:
            The evidence, checked by whoever leads the top.

        Raises:
            SecureAggError: the top round has come to nothing, see ``TreeTop`` and ``Aggregator``.
        """
        self.fix()
        self.sum_edges()
        return self.sum_top()

    def _standing(self) -> Iterator[tuple[str, LocalEdge]]:
        return ((name, edge) for name, edge in self.edges.items() if edge.lost is None)

    def _lose(self, name: str, error: SecureAggError) -> None:
        _log.warning("edge %s takes no part: %s", name, error)
        self.edges[name].lost = error

    def fix(self) -> None:
        """Every edge's members advertise, and all edges' sessions are put together."""
        for name, edge in self._standing():
            aggregator = edge.aggregator
            try:
                edge.local.exchange(aggregator.start())
                entry = aggregator.enrol()
            except RoundAborted as error:
                self._lose(name, error)
                continue
            if self.silent.get(name) == "enrol":
                self._lose(name, RoundAborted("its operator is silent", phase="enrol"))
                continue
            config = aggregator.config
            self.top.enrol(edge.operator.enrol(entry, config.round, config.attempt))
        self.forest = self.top.forest(self.beacon)

    def sum_edges(self) -> None:
        """Every edge's round to its end; its members verify it and sign its record, which its operator seals."""
        for name, edge in self._standing():
            aggregator = edge.aggregator
            try:
                aggregator.plant(self.forest)
                requests = aggregator.advance()
                while requests:
                    edge.local.exchange(requests)
                    requests = aggregator.advance()
                self.vouch(edge)
                signatures = aggregator.vouched()
            except RoundAborted as error:
                self._lose(name, error)
                continue
            if self.silent.get(name) == "seal":
                self._lose(name, RoundAborted("its operator is silent", phase="seal"))
                continue
            if aggregator.evidence is not None:
                self.top.seal(edge.operator.seal(aggregator.evidence, signatures))

    def vouch(self, edge: LocalEdge) -> None:
        """An edge's members verify its round and sign its record."""
        quiet = {*edge.local.silent, *edge.local.refused, *edge.local.spent}
        for envelope in edge.aggregator.results():
            client = edge.local.clients.get(envelope.recipient)
            if isinstance(client, EdgeClient) and envelope.recipient not in quiet:
                edge.local.traffic.result[envelope.recipient, "vouch"] += len(envelope.data)
                edge.aggregator.vouch(client.vouch(envelope.data))

    def sum_top(self) -> TreeEvidence:
        """The top round over the operators of the edges that have sealed a record."""
        aggregator, self.roll = self.top.open()
        driver.drive(aggregator, self, self.holders)
        if self.top.tree is None:
            raise RoundAborted("the top round ended without a result")
        return self.top.tree

    def deliver(self, tree: TreeEvidence) -> dict[str, VerifiedTree]:
        """Hand the result to every client that still speaks; each checks it against its own pins."""
        data, verified = tree.to_bytes(), {}
        for edge in self.edges.values():
            for name, client in edge.local.clients.items():
                quiet = name in {*edge.local.silent, *edge.local.refused, *edge.local.spent}
                if quiet or not isinstance(client, EdgeClient):
                    continue
                edge.local.traffic.result[name, "result"] += len(data)
                if client.state not in (ADVERTISE, "done"):
                    verified[name] = client.conclude(data)
        return verified

    def evidence(self) -> tuple[Evidence, ...]:
        """Of the edges in the sum, without their sums."""
        tree = self.top.tree
        return tuple(self.top.edges[name] for name in tree.edges) if tree else ()

    # --- carrying, see ``roles.driver.Carrier`` ---------------------------------------------------------------------

    def begin(self, phase: str) -> None:
        """Where clients speak once, records are shown as soon as the top's session is fixed."""
        session = self.top.aggregator.session if self.top.aggregator else None
        for name in session.members if session else ():
            if name not in self.top.unsealed and self.edges[name].operator.can_unseal:
                self.top.unseal(self.unseal(self.edges[name]))

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterator[Answer]:
        """The answers of the edges' operators that take part; with their records, once the session is fixed."""
        phases = [item.name for item in self.top.aggregator.phases] if self.top.aggregator else []
        for request in requests:
            name = request.recipient
            edge, quiet = self.edges[name], self.silent.get(name)
            if edge.lost is not None or (quiet in phases and phases.index(phase) >= phases.index(quiet)):
                continue
            if phase == ADVERTISE:
                response = edge.operator.enter(request.data, encode(self.roll))  # type: ignore[arg-type]
                yield Answer(name, response, edge.operator.outbox)
                continue
            answer = edge.operator.receive(request.data)
            if name not in self.top.unsealed:
                self.top.unseal(self.unseal(edge))
            if answer is not None:
                yield Answer(name, answer, ())

    def unseal(self, edge: LocalEdge) -> bytes:
        """What an edge's operator shows of its record."""
        return edge.operator.unseal()

    def give(self, client: str, receipt: bytes) -> None:
        """Receipts are delivered at once."""
        self.edges[client].operator.receive(receipt)

    def refuse(self, client: str, error: SecureAggError) -> None:
        """Nobody is in the way here, so a response that is refused is this process's own fault."""
        raise error

    def miss(self, operator: str, error: SecureAggError) -> None:
        """The round goes on without it."""
        _log.warning("operator %s has refused: %s", operator, error)
