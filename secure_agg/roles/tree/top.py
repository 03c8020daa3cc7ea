"""Who leads a tree's top round: gathers the edges' sessions and seals, leads the round over their operators, and checks
each one's commitment against what its members have signed before it is summed.

In order: ``enrol`` each edge, ``forest``; ``seal`` each edge, ``open``; then ``aggregator`` leads the round like any,
while ``unseal`` takes the records; ``tree`` is what has come of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import msgspec

from mpc.ring import Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.errors import (
    BadCommitment,
    DuplicateMessage,
    EdgeFault,
    LocalProtocolError,
    MalformedMessage,
    PolicyViolation,
    RemoteProtocolError,
    TooFewClients,
    UnknownSender,
    VerificationError,
)
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import MAX_HEADER, Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, Roster, in_id_order
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    NO_BULK,
    Acceptance,
    HiddenInput,
    Incoming,
    Message,
    Opening,
    Received,
    decode,
    read,
)
from secure_agg.protocol.tree.evidence import TreeEvidence, roll_of
from secure_agg.protocol.tree.forest import FOREST_VERSION, EdgeSession, Forest, common
from secure_agg.protocol.tree.record import ENROL, SEAL, UNSEAL, Roll, SealedEdge, Unsealed
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.aggregator.hearing import Hearing
from secure_agg.roles.tree.auditor import TreeAuditor, VerifiedTree, check_edge
from secure_agg.roles.tree.faults import opened_by, read_unsealed, wrong_commitment, wrong_seal
from secure_agg.roles.tree.operator import tree_session
from secure_agg.roles.tree.pins import TreeTrust


class _TopHearing(Hearing):
    """Takes an edge's input only once its record is there, and says the same."""

    lead: TreeTop
    charge: Callable[[Opening], None]

    def take(self, phase: Phase, name: str, message: Message) -> Acceptance | None:
        """See ``Hearing.take``; the message's signature has been checked.

        Raises:
            As there; PolicyViolation for an edge whose record has not come; BadCommitment for one that opens another
                commitment than its members', whose operator is then proved to be at fault.
        """
        if phase.kind is PhaseKind.INPUT:
            accepted = self.lead.unsealed.get(name)
            if accepted is None:
                raise PolicyViolation("an edge's input comes after its record", phase=phase.name, culprit=name)
            shown = decode(HiddenInput, message.body, len(message.body), phase=phase.name, culprit=name)
            if shown.commitment != accepted.record.commitment_sum:
                # Proved only if it opens what the operator has advertised; else it is refused all the same.
                self.charge(Opening(name, shown.commitment, shown.nonce))
                raise BadCommitment(
                    "an edge's commitment is not the sum of its members'", phase=phase.name, culprit=name
                )
        return super().take(phase, name, message)


class TopAggregator(Aggregator):
    """The aggregator of a top round."""

    def __init__(
        self, identity: Identity, config: RoundConfig, cohort: Roster, operators: Roster, setup: bytes, lead: TreeTop
    ) -> None:
        super().__init__(identity, config, cohort, operators=operators, setup=setup)
        self._lead = lead
        hearing = _TopHearing(config, cohort, self._side, self._gathered, self.timings)
        hearing.lead, hearing.charge = lead, self._charge
        self._hearing = hearing

    def _charge(self, opening: Opening) -> None:
        item, name = self._gathered.advertisements[opening.name], opening.name
        header = self._lead.shown[name].header
        with contextlib.suppress(RemoteProtocolError):
            opened_by(self.config, item, opening, self.cohort[name])
            self._keep(wrong_commitment(self.config, self.cohort[name], item, opening, header))

    def _result_model(self, sums: Vector, openings: Sequence[Opening]) -> bytes:
        for opening in openings:
            edge = self._lead.unsealed.get(opening.name)
            if edge is None:
                raise EdgeFault("an edge is summed whose record was never shown", phase=UNSEAL, culprit=opening.name)
            item = self._gathered.advertisements[opening.name]
            found = opened_by(self.config, item, opening, self.cohort[opening.name])
            if found != edge.record.commitment_sum:
                self._charge(opening)
                raise EdgeFault(
                    "an edge's commitment is not the sum of its members'", phase=UNSEAL, culprit=opening.name
                )
        clients = sum(self._lead.unsealed[opening.name].record.participants for opening in openings)
        average, _ = FixedPoint.of(self.config).decode(
            sums[: self.config.layout.committed], clients, self.config.shapes
        )
        return model_digest(average)

    def _verify(self, evidence: Evidence) -> None:
        self.verified = self._lead.conclude(evidence)


@checked_class
class TreeTop:
    """One attempt at a tree's round, as whoever leads its top sees it.

    Attributes:
        unsealed: the edges' records, as far as they have come, by edge.
        shown: the messages that they came in.
        edges: the edges' own evidence, without sums, likewise.
        faults: what has been proved of edges' operators beside what ``aggregator.faults`` holds.
        tree: the evidence, once the round is over.
    """

    def __init__(self, identity: Identity, tree: TreeTrust, config: RoundConfig, setup: bytes = b"") -> None:
        """
        Args:
            identity: a pinned operator's.
            tree: what is pinned.
            config: of the top round but for its roll: as ``Task.next_round`` makes it, with the instructions of the
                edges' rounds.
            setup: of the top's backend.
        """
        self.identity, self._tree, self._base, self._setup = identity, tree, config, setup
        self._enrolled: dict[str, EdgeSession] = {}
        self._forest: Forest | None = None
        self._seals: dict[str, bytes] = {}
        self._roll: Roll | None = None
        self.aggregator: TopAggregator | None = None
        self.unsealed: dict[str, Unsealed] = {}
        self.shown: dict[str, Message] = {}
        self.edges: dict[str, Evidence] = {}
        self.faults: list[FaultProof] = []
        self.tree: TreeEvidence | None = None

    def __repr__(self) -> str:
        state = self.aggregator.state if self.aggregator else "idle"
        return f"TreeTop({self._base.task!r}, round={self._base.round}, edges={len(self._enrolled)}, state={state!r})"

    @property
    def pinned(self) -> TreeTrust:
        """What is pinned."""
        return self._tree

    def _message(self, data: Incoming, phase: str, session: bytes) -> Message:
        keys = dict(self._tree.trust.task(self._tree.task).roster)
        limit = MAX_ADVERTISEMENT * 4
        return read(data, limit=limit, bulk_sizes=NO_BULK, session=session, phase=phase, recipients=("",), keys=keys)

    def enrol(self, data: Incoming) -> None:
        """Take an edge's session.

        Raises:
            LocalProtocolError: the forest is fixed.
            RemoteProtocolError: it is refused; names the operator.
        """
        if self._forest is not None:
            raise LocalProtocolError("the forest is fixed", phase=ENROL)
        base = self._base
        message = self._message(data, ENROL, tree_session(base.task, base.round, base.attempt))
        sender = message.header.sender
        entry = decode(EdgeSession, message.body, MAX_ADVERTISEMENT, phase=ENROL, culprit=sender)
        if entry.name != sender or sender in self._enrolled:
            raise DuplicateMessage("an edge enrols once, for itself", phase=ENROL, culprit=sender)
        self._enrolled[sender] = entry

    def forest(self, beacon: bytes = b"") -> bytes:
        """Fix which edges take part: what all of them are given.

        Args:
            beacon: that drew members into edges; empty where they are fixed.

        Raises:
            TooFewClients: fewer edges than the top's policy needs.
            PolicyViolation: two edges have one session.
        """
        if self._forest is None:
            base, least = self._base, max(2, self._base.policy.min_clients)
            if len(self._enrolled) < least:
                raise TooFewClients(f"{len(self._enrolled)} edges enrolled, {least} are needed", phase=ENROL)
            self._forest = Forest(
                version=FOREST_VERSION,
                task=base.task,
                round=base.round,
                attempt=base.attempt,
                instructions=base.instructions,
                common=common(base),
                beacon=beacon,
                edges=tuple(self._enrolled[name] for name in in_id_order(self._enrolled)),
            )
        return self._forest.to_bytes()

    def _planted(self) -> Forest:
        if self._forest is None:
            raise LocalProtocolError("there is no forest yet", phase=ENROL)
        return self._forest

    def seal(self, data: Incoming) -> None:
        """Take the seal of an edge's record.

        Raises:
            LocalProtocolError: the round has been opened, or there is no forest.
            RemoteProtocolError: it is refused; names the operator.
        """
        forest = self._planted()
        if self._roll is not None:
            raise LocalProtocolError("the roll is fixed", phase=SEAL)
        message = self._message(data, SEAL, forest.digest())
        sender = message.header.sender
        item = decode(SealedEdge, message.body, MAX_ADVERTISEMENT, phase=SEAL, culprit=sender)
        if item.name != sender or sender in self._seals:
            raise DuplicateMessage("an edge seals once, for itself", phase=SEAL, culprit=sender)
        if forest.edge(sender) is None:
            raise UnknownSender("an edge that is not in the forest", phase=SEAL, culprit=sender)
        if len(item.seal) != 32:
            raise MalformedMessage("a seal is a digest", phase=SEAL, culprit=sender)
        self._seals[sender] = item.seal

    def open(self) -> tuple[TopAggregator, Roll]:
        """Fix the roll, and begin the top round: its aggregator, not started yet, and what each operator is given with
        the first request.

        Raises:
            TooFewClients: fewer edges have sealed a record than the top's policy needs.
        """
        if self.aggregator is None or self._roll is None:
            least = self._base.policy.min_clients
            if len(self._seals) < least:
                raise TooFewClients(f"{len(self._seals)} edges sealed a record, {least} are needed", phase=SEAL)
            self._roll = roll_of(self._planted(), self._seals)
            config = msgspec.structs.replace(self._base, instructions=self._roll.digest())
            trust = self._tree.top
            cohort = trust.cohort(self._tree.task)
            self.aggregator = TopAggregator(self.identity, config, cohort, trust.operators, self._setup, self)
        return self.aggregator, self._roll

    def unseal(self, data: Incoming) -> None:
        """Take an edge's record and evidence, and check them like any auditor.

        Raises:
            LocalProtocolError: the top's session is not fixed.
            RemoteProtocolError: it is refused; names the operator, who has signed it.
        """
        forest, aggregator, roll = self._planted(), self.aggregator, self._roll
        if aggregator is None or roll is None or aggregator.session is None:
            raise LocalProtocolError("records stay sealed until the top's session is fixed", phase=UNSEAL)
        sender = Received.of(data, MAX_HEADER).header.sender
        key = aggregator.cohort.get(sender)
        if key is None:
            raise UnknownSender("a record of somebody who is no edge", phase=UNSEAL, culprit=sender)
        if sender in self.unsealed:
            raise DuplicateMessage("an edge shows its record once", phase=UNSEAL, culprit=sender)
        message = read_unsealed(data, aggregator.config, sender, key, bulk=range(MAX_HEADER))
        try:
            item = Unsealed.from_bytes(message.body)
            seal = roll.seal(sender)
            if seal is None:
                raise UnknownSender("an edge that is not on the roll", phase=UNSEAL, culprit=sender)
            try:
                item.check_seal(forest.task, sender, seal)
            except PolicyViolation:
                self.faults.append(wrong_seal(aggregator.config, key, roll, message.header))
                raise
            members, policy = self._tree.members(sender, forest.beacon), self._tree.policy(sender)
            item.check_signatures(members, policy.quorum(len(members)))
            evidence = Evidence.from_bytes(message.bulk)
            found = check_edge(evidence, self._tree.edge(sender, forest.beacon))
            if found.record != item.record or found.forest.digest() != forest.digest() or found.summed:
                raise PolicyViolation("the edge's evidence leads to another record, or holds its sums", phase=UNSEAL)
        except VerificationError as error:
            raise PolicyViolation(str(error.args[0]), phase=UNSEAL, culprit=sender) from error
        except (RemoteProtocolError, TooFewClients) as error:
            raise PolicyViolation(str(error.args[0]), phase=UNSEAL, culprit=sender) from error
        self.unsealed[sender], self.shown[sender], self.edges[sender] = item, message, evidence

    def conclude(self, top: Evidence) -> VerifiedTree:
        """The tree's evidence, checked as everybody else will.

        Raises:
            VerificationError: it does not prove its result.
        """
        if self._roll is None:
            raise LocalProtocolError("the top round has not begun", phase=SEAL)
        forest = self._planted()
        records = {name: self.unsealed[name] for name in top.participants}
        self.tree = TreeEvidence(forest, self._roll, records, top)
        kept = [self.edges[name] for name in top.participants]
        return TreeAuditor(self._tree).verify(self.tree, kept, beacon=forest.beacon or None)
