"""What the aggregator asks: its requests, made from what it has gathered of a round so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from secure_agg.backends.contract import AggregatorSide, Phase, PhaseKind
from secure_agg.protocol.agreement import Ballot
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember, Evidence, OpeningRequest
from secure_agg.protocol.identity import Identity, Roster, in_id_order
from secure_agg.protocol.messages import (
    RESULT,
    AdvertisementList,
    Agreed,
    Envelope,
    Opening,
    Rooted,
    Signature,
    SignedAdvertisement,
    Statement,
    encode,
    write,
)
from secure_agg.protocol.renunciation import first_bulk
from secure_agg.protocol.requests import Requests, in_order
from secure_agg.protocol.session import Session
from secure_agg.roles.stopwatch import Stopwatch


@dataclass
class Gathered:
    """What an aggregator has of a round.

    Attributes:
        session: once the participants are fixed.
        statement, ballot: once the set is put to the vote.
        advertisements, openings, signatures: as they were taken, by id.
        commitment_hashes: who has shown which.
        proofs: norm proofs, by id, where a norm is bounded.
        forest: of an edge's round, once it is known.
    """

    session: Session | None = None
    statement: Statement | None = None
    ballot: Ballot | None = None
    advertisements: dict[str, SignedAdvertisement] = field(default_factory=dict)
    openings: dict[str, Opening] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    commitment_hashes: dict[bytes, str] = field(default_factory=dict)
    proofs: dict[str, bytes] = field(default_factory=dict)
    forest: bytes = b""


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
                return self.message(name, phase.name, wrap(body))

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
            return self.message(name, phase.name, wrap(part), bulk)

        return make

    def _beginning(self, phase: Phase) -> Callable[[str], Envelope]:
        """The first request to a party says which round it is."""
        config = self._config.to_bytes()
        return lambda name: self.message(name, phase.name, config, self._first)

    def _wrapping(self, phase: Phase, *, first: bool) -> Callable[[bytes], bytes]:
        """What a request of this phase holds around the backend's part: the set that is put to the vote, or the
        quorum's signatures after it; all advertisements in the first phase after they are fixed.
        """
        gathered, voting = self._gathered, phase.kind in (PhaseKind.AGREE, PhaseKind.CONSENT)
        statement = encode(gathered.statement) if voting and gathered.statement else None
        signatures = in_order(gathered.signatures) if gathered.statement and statement is None else None
        advertisements = in_order(gathered.advertisements) if first else None

        def wrap(body: bytes) -> bytes:
            if statement is not None:
                body = statement
            if signatures is not None:
                body = encode(Agreed(signatures, body))
            if advertisements is not None:
                body = encode(Rooted(gathered.forest, body)) if gathered.forest else body
                body = encode(AdvertisementList(advertisements, body))
            return body

        return wrap

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
