"""Who leads an edge's round: an aggregator that waits, once its participants are fixed, for those of other edges."""

from __future__ import annotations

from collections.abc import Sequence

from mpc.ring import Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import PhaseKind
from secure_agg.errors import DuplicateMessage, LocalProtocolError, TooFewClients, WrongPhase
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import (
    ADVERTISE,
    NO_BULK,
    Envelope,
    Incoming,
    Opening,
    Received,
    Signature,
    decode,
    read,
)
from secure_agg.protocol.norm.wire import response_header_limit
from secure_agg.protocol.requests import in_order
from secure_agg.protocol.tree.forest import EdgeSession, planted
from secure_agg.protocol.tree.record import VOUCH, EdgeRecord
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.participants import least_advertised, own_session
from secure_agg.roles.tree.auditor import check_edge


@checked_class
class EdgeAggregator(Aggregator):
    """The aggregator of one attempt at an edge's round.

    Once the phase *advertise* is to be closed: ``enrol``, then ``plant`` with the forest, then ``advance``. In state
    ``result`` the ``results`` go to the members, whose answers ``vouch`` takes.

    Attributes:
        record: once the round is over.
    """

    record: EdgeRecord | None = None
    _enrolled: EdgeSession | None = None

    def enrol(self) -> EdgeSession:
        """Close the phase *advertise* to newcomers: the edge's entry in the forest.

        Raises:
            LocalProtocolError: the round is in another phase.
            TooFewClients: fewer have advertised than an edge can go on with.
        """
        if self.state != ADVERTISE:
            raise LocalProtocolError("an edge enrols once its members have advertised", phase=self.state)
        if self._enrolled is None:
            config, listed = self.config, in_order(self._gathered.advertisements)
            least = least_advertised(config)
            if len(listed) < least:
                raise TooFewClients(f"{len(listed)} clients advertised, {least} are needed", phase=ADVERTISE)
            own, _ = own_session(config, self.cohort, listed)
            self._enrolled = EdgeSession(self.identity.name, config.context, own)
        return self._enrolled

    def plant(self, forest: bytes) -> None:
        """Take the list of all edges' sessions, from whoever leads the top: the round goes on in it.

        Raises:
            LocalProtocolError: it has not enrolled, or has been given a forest before.
            RemoteProtocolError: it is no forest, or not one of this edge's session: see ``forest.planted``.
        """
        if self._enrolled is None or self._gathered.forest:
            raise LocalProtocolError("a forest comes once, after enrolment", phase=self.state)
        planted(self.config, self._enrolled.session, forest)
        self._gathered.forest = forest

    def receive(self, data: Incoming) -> list[Envelope]:
        """See ``Aggregator.receive``; after enrolment no advertisement is taken."""
        if self._enrolled is not None and self._phases[self._at].kind is PhaseKind.ADVERTISE:
            raise WrongPhase("the edge has enrolled: its members are fixed", phase=ADVERTISE)
        return super().receive(data)

    def advance(self) -> Sequence[Envelope]:
        """See ``Aggregator.advance``.

        Raises:
            LocalProtocolError: the edge has enrolled, and knows no forest yet.
        """
        if self.state == ADVERTISE and not self._gathered.forest:
            raise LocalProtocolError("an edge goes on once it knows the forest: see enrol and plant", phase=ADVERTISE)
        return super().advance()

    def _result_model(self, sums: Vector, openings: Sequence[Opening]) -> bytes:
        return NO_DIGEST

    def _verify(self, evidence: Evidence) -> None:
        self.record = check_edge(evidence, None).record
        self._vouchers: dict[str, Signature] = {}

    def vouch(self, data: Incoming) -> None:
        """Take a member's signature of the record.

        Raises:
            LocalProtocolError: the round is not over.
            RemoteProtocolError: it is refused; names its sender.
        """
        if self.record is None or self.session is None:
            raise LocalProtocolError("there is no record yet", phase=self.state)
        limit = response_header_limit(self.config)
        message = read(
            Received.of(data, limit),
            limit=limit,
            bulk_sizes=NO_BULK,
            session=self.session.sid,
            phase=VOUCH,
            recipients=(self.identity.name,),
            keys=self.cohort,
        )
        sender = message.header.sender
        signature = decode(Signature, message.body, len(message.body), phase=VOUCH, culprit=sender)
        if sender in self._vouchers or signature.name != sender:
            raise DuplicateMessage("a member signs its edge's record once, itself", phase=VOUCH, culprit=sender)
        signed = self.record.signed_bytes()
        verify_signature(self.cohort[sender], signature.signature, signed, phase=VOUCH, culprit=sender)
        self._vouchers[sender] = signature

    def vouched(self) -> tuple[Signature, ...]:
        """The quorum's signatures of the record: as many as are needed, in id order.

        Raises:
            LocalProtocolError: the round is not over.
            TooFewClients: fewer members have signed.
        """
        if self.record is None:
            raise LocalProtocolError("there is no record yet", phase=self.state)
        quorum = self.config.policy.quorum(self.config.cohort_size)
        if len(self._vouchers) < quorum:
            raise TooFewClients(
                f"{len(self._vouchers)} members signed their edge's record, {quorum} are needed", phase=VOUCH
            )
        return in_order(self._vouchers)[:quorum]
