"""What the aggregator asks: its requests, made from what it has gathered of a round so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from secure_agg import backends
from secure_agg.backends.contract import AggregatorSide, Phase, PhaseKind
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.agreement import AgreedSet, Ballot, leaf
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember, Evidence, OpeningRequest
from secure_agg.protocol.identity import Identity, Roster, in_id_order
from secure_agg.protocol.messages import (
    CONSISTENCY,
    RESULT,
    AdvertisementList,
    Agreed,
    Envelope,
    Opening,
    Rooted,
    Signature,
    SignedAdvertisement,
    Statement,
    around,
    encode,
    write,
)
from secure_agg.protocol.renunciation import first_bulk
from secure_agg.protocol.requests import Requests, in_order
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse.roll import Neighbourhood
from secure_agg.protocol.sparse.wire import Countersigned, RollCall, ShownSet, SmallerSet
from secure_agg.roles.stopwatch import Stopwatch
from zk.merkle import Tree


@dataclass
class Gathered:
    """What an aggregator has of a round.

    Attributes:
        session: once the participants are fixed.
        statement, agreed, ballot: once the set is put to the vote.
        advertisements, openings, signatures: as they were taken, by id.
        commitment_hashes, shown: who has shown which, and which commitment.
        proofs: norm proofs, by id, where a norm is bounded.
        forest: of an edge's round, once it is known.
    """

    session: Session | None = None
    statement: Statement | None = None
    agreed: AgreedSet | None = None
    ballot: Ballot | None = None
    advertisements: dict[str, SignedAdvertisement] = field(default_factory=dict)
    openings: dict[str, Opening] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    commitment_hashes: dict[bytes, str] = field(default_factory=dict)
    shown: dict[bytes, str] = field(default_factory=dict)
    proofs: dict[str, bytes] = field(default_factory=dict)
    forest: bytes = b""
    _entries: Tree | None = None
    _places: dict[str, int] = field(default_factory=dict)

    def put(self, statement: Statement, agreed: AgreedSet, ballot: Ballot) -> None:
        """Put a set to the vote."""
        self.statement, self.agreed, self.ballot, self._entries = statement, agreed, ballot, None

    def entry(self, name: str) -> tuple[AgreedSet, bytes]:
        """The set, and the path of one member's entry in it.

        Raises:
            LocalProtocolError: no set is put to the vote.
        """
        statement, agreed = self.statement, self.agreed
        if statement is None or agreed is None:
            raise LocalProtocolError("no set is put to the vote", phase=CONSISTENCY)
        if self._entries is None:
            self._entries = Tree([leaf(entry) for entry in statement.entries])
            self._places = {member: place for place, member in enumerate(agreed.names)}
        return agreed, b"".join(self._entries.path(self._places[name]))


class Asking:
    """Makes requests. It changes nothing of what was gathered."""

    def __init__(
        self,
        identity: Identity,
        config: RoundConfig,
        cohort: Roster,
        setup: bytes,
        renounced: bytes,
        side: AggregatorSide,
        gathered: Gathered,
        timings: Stopwatch,
    ) -> None:
        """
        Args:
            identity: the aggregator's.
            setup, renounced: see ``Aggregator``.
            side: the backend's part of it.
            gathered: what requests are made of; as it is whenever one is looked at.
        """
        self._identity, self._config, self._cohort, self._renounced = identity, config, cohort, renounced
        self._first = first_bulk(config, setup, renounced)
        self._side, self._gathered, self._timings = side, gathered, timings

    def message(self, name: str, phase: str, body: bytes, bulk: bytes | memoryview = b"") -> Envelope:
        """One message, bound to the session, or to the configuration before there is one."""
        session = self._gathered.session
        bound = session.sid if session else self._config.context
        return Envelope(name, write(self._identity, bound, phase, name, body, bulk))

    def requests(self, phase: Phase, before: PhaseKind | None, names: Iterable[str]) -> Sequence[Envelope]:
        """A phase's requests. Operators' are made at once, clients' when they are looked at.

        Args:
            before: what the phase was for that was closed last.
            names: of those who are asked.
        """
        first = before is PhaseKind.ADVERTISE
        if phase.kind.of_operators:
            make = self._to_operator(phase, first=first)
            return [make(name) for name in names]
        return Requests(in_id_order(names), self._to_client(phase, first=first))

    def _to_client(self, phase: Phase, *, first: bool) -> Callable[[str], Envelope]:
        """What makes the request to one client. What all of them hold is put together once."""
        if phase.kind is PhaseKind.ADVERTISE:
            return self._beginning(phase)
        wrap = self._wrapping(phase, first=first)

        def make(name: str) -> Envelope:
            with self._timings(phase.name):
                body = b"" if phase.kind is PhaseKind.AGREE else self._side.ask(phase.name, name)[0]
                return self.message(name, phase.name, wrap(name, body))

        return make

    def _to_operator(self, phase: Phase, *, first: bool) -> Callable[[str], Envelope]:
        """What makes the request to one operator."""
        if phase.kind is PhaseKind.BEGIN:
            return self._beginning(phase)
        if phase.kind is PhaseKind.OPEN:
            return lambda name: self._opening(phase, name)
        wrap = self._wrapping(phase, first=first)

        def make(name: str) -> Envelope:
            part, bulk = (b"", b"") if phase.kind is PhaseKind.CONSENT else self._side.ask(phase.name, name)
            return self.message(name, phase.name, wrap(name, part), bulk)

        return make

    def _beginning(self, phase: Phase) -> Callable[[str], Envelope]:
        """The first request to a party says which round it is."""
        config = self._config.to_bytes()
        return lambda name: self.message(name, phase.name, config, self._first)

    def _wrapping(self, phase: Phase, *, first: bool) -> Callable[[str, bytes], bytes]:
        """What a request of this phase holds around the backend's part: the set that is put to the vote, or the
        quorum's signatures after it; who is there in the first phase after they are fixed. What all are sent is encoded
        once.
        """
        gathered, voting = self._gathered, phase.kind in (PhaseKind.AGREE, PhaseKind.CONSENT)
        near = gathered.session.near if gathered.session else None
        if near is not None:
            return self._wrapping_sparse(phase, near, first=first)
        statement = encode(gathered.statement) if voting and gathered.statement else None
        signed = around(Agreed(in_order(gathered.signatures), b"")) if gathered.statement and not voting else None
        listed = around(AdvertisementList(in_order(gathered.advertisements), b"")) if first else None

        def wrap(name: str, body: bytes) -> bytes:
            body = body if statement is None else statement
            body = signed(body) if signed else body
            return listed(self._rooted(body)) if listed else body

        return wrap

    def _wrapping_sparse(self, phase: Phase, near: Neighbourhood, *, first: bool) -> Callable[[str, bytes], bytes]:
        """The same where a client sees its neighbours only: of everything what is its own, and bits for the rest. Of
        the signatures as many as bind.
        """
        gathered = self._gathered
        signed: Callable[[bytes], bytes] | None = None
        if gathered.session and gathered.statement is not None and phase.kind is not PhaseKind.AGREE:
            needed = backends.load(self._config.policy.backend).agreement.quorum(gathered.session)
            quorum = in_order(gathered.signatures)[:needed]
            signers = near.bits(item.name for item in quorum)
            signed = around(Countersigned(signers, b"".join(item.signature for item in quorum), b""))

        def wrap(name: str, body: bytes) -> bytes:
            if phase.kind is PhaseKind.AGREE:
                agreed, path = gathered.entry(name)
                return encode(ShownSet(near.bits(agreed.names), agreed.root, path))
            if phase.kind is PhaseKind.EXCISE:
                agreed, path = gathered.entry(name)
                body = encode(SmallerSet(agreed.root, path, body))
            if signed is not None:
                return signed(body)
            if not first:
                return body
            return encode(RollCall(near.roll, near.show((name,), gathered.advertisements), self._rooted(body)))

        return wrap

    def _rooted(self, body: bytes) -> bytes:
        """In an edge with its forest."""
        return encode(Rooted(self._gathered.forest, body)) if self._gathered.forest else body

    def _opening(self, phase: Phase, name: str) -> Envelope:
        """All that is public about the round, for a key holder who has kept nothing of it."""
        part, hidden = self._side.ask(phase.name, name)
        request = OpeningRequest(
            config=self._config.to_bytes(),
            cohort=self.members(),
            advertisements=in_order(self._gathered.advertisements),
            openings=in_order(self._gathered.openings),
            agreement=in_order(self._gathered.signatures),
            backend=part,
        )
        if self._config.generation:
            request = request.with_renounced(self._renounced)
        return self.message(name, phase.name, encode(request), hidden)

    def members(self) -> tuple[CohortMember, ...]:
        """The cohort, as evidence holds it."""
        return tuple(CohortMember(name, key) for name, key in self._cohort.items())

    def results(self, session: Session, evidence: Evidence) -> Sequence[Envelope]:
        """The result for every member of the cohort, made one at a time: each is as large as the model."""
        data, digest = evidence.to_bytes(), evidence.digest()

        def make(name: str) -> Envelope:
            return Envelope(name, write(self._identity, session.sid, RESULT, name, b"", data, digest))

        return Requests(list(self._cohort), make)
