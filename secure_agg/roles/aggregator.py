"""Role *aggregator*: relays, adds up, and can show that it did so correctly. It never holds anything secret
of a client.

A sans-IO state machine: ``start`` gives the first requests, ``receive`` takes one response, ``advance``
closes the phase and gives the next requests; when there are none, ``evidence`` holds the checked result.
When to close a phase is up to the driver: once ``awaited`` is empty, or at a deadline; whoever has not
    answered by then has dropped out. A response that is refused leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.errors import (
    ConfigError,
    DuplicateMessage,
    KeyHolderFault,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    TooFewClients,
    Unattributed,
    UnknownSender,
    VerificationError,
    stamping,
)
from secure_agg.protocol.agreement import Ballot
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember, Evidence, OpeningRequest
from secure_agg.protocol.fault import TWO_ADVERTISEMENTS, FaultProof
from secure_agg.protocol.identity import Identity, Roster, in_id_order
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    NO_BULK,
    RECEIPT,
    RESULT,
    Acceptance,
    AdvertisementList,
    Agreed,
    Envelope,
    Header,
    HiddenInput,
    Incoming,
    Message,
    Opening,
    Received,
    Signature,
    SignedAdvertisement,
    Statement,
    decode,
    encode,
    header_limit,
    read,
    write,
)
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.requests import Requests, in_order
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.participants import check_advertisement, open_commitment, open_session
from secure_agg.roles.stopwatch import Stopwatch

_log = logging.getLogger("secure_agg.roles.aggregator")

_VOTES: Final = (PhaseKind.AGREE, PhaseKind.CONSENT)


@checked_class
class Aggregator:
    """One aggregator in one attempt at a round.

    States: ``idle``, the backend's phases by name, ``result`` once the evidence is there, ``aborted``.
    """

    def __init__(
        self,
        identity: Identity,
        config: RoundConfig,
        cohort: Roster,
        *,
        operators: Roster | None = None,
        setup: bytes = b"",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            identity: pinned by the clients as an operator.
            config: the round's.
            cohort: G, the roster that the configuration names.
            operators: identity keys of key holders, or of the aggregators that share a sum; needed where the backend
                has any. This aggregator itself is none of them.
            setup: the backend's public material, which clients are sent with the first request.
            clock: seconds; for ``timings``.

        Raises:
            ConfigError: the cohort is not the configured one, or the backend refuses the policy.
            RemoteProtocolError: the setup is not the configured one, or nobody who is pinned vouches for it.
        """
        if (len(cohort), cohort.root()) != (config.cohort_size, config.cohort_root):
            raise ConfigError("the cohort is not the one that the configuration names")
        if identity.name in cohort:
            raise ConfigError(f"{identity.name!r} is the id of the aggregator and of a client")
        self._backend = backends.load(config.policy.backend)
        self._backend.check_policy(config.policy)
        others = {name: key for name, key in (operators or {}).items() if name != identity.name}
        self._operators, self._setup = Roster(others), setup
        self._backend.check_setup(config, setup, self._operators)
        self.identity, self.config, self.cohort = identity, config, cohort
        self.timings = Stopwatch(clock)
        self.evidence: Evidence | None = None
        self.verified: Verified | None = None
        self._phases = self._backend.phases(config)
        self._at = -1
        self._aborted = False
        self._side = self._backend.aggregator(config, setup)
        self._present: set[str] = set(cohort)
        self._awaited: set[str] = set()
        self._answered: set[str] = set()
        self._session: Session | None = None
        self._statement: Statement | None = None
        self._ballot: Ballot | None = None
        self._advertisements: dict[str, SignedAdvertisement] = {}
        self._commitment_hashes: dict[bytes, str] = {}
        self._openings: dict[str, Opening] = {}
        self._signatures: dict[str, Signature] = {}
        self._faults: list[FaultProof] = []

    def __repr__(self) -> str:
        return f"Aggregator({self.identity.name!r}, state={self.state!r})"

    @property
    def state(self) -> str:
        """The phase whose responses are awaited, or ``idle``, ``result``, ``aborted``."""
        if self._aborted:
            return "aborted"
        if self._at < 0:
            return "idle"
        return RESULT if self.evidence else self._phases[self._at].name

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The backend's phases for this round, in order."""
        return self._phases

    @property
    def asks_operators(self) -> bool:
        """Whether this phase's requests are for operators."""
        return self._at >= 0 and self._phases[self._at].kind.of_operators

    def can_lose(self, names: Iterable[str]) -> bool:
        """Whether the round can go on if these operators, of those who are asked in this phase, don't answer."""
        return self.asks_operators and self._side.can_lose(self.state, frozenset(names))

    @property
    def awaited(self) -> frozenset[str]:
        """Clients, or operators, whose response in this phase is outstanding."""
        return frozenset(self._awaited)

    @property
    def response_limit(self) -> int:
        """Most bytes of a client's response in this phase; nothing longer can be taken by ``receive``."""
        sizes = self._bulk_sizes(self._phases[self._at]) if self._at >= 0 else None
        return 4 + header_limit(self.config.cohort_size) + (sizes.stop - 1 if sizes else 0)

    @property
    def faults(self) -> tuple[FaultProof, ...]:
        """What has been proved of clients and operators so far; also of a round that was aborted."""
        return (*self._faults, *self._side.faults)

    @property
    def session(self) -> Session | None:
        """The participants and the session id, once they are fixed."""
        return self._session

    # --- requests -------------------------------------------------------------------------------------------

    def start(self) -> Sequence[Envelope]:
        """The first request: to every member of the cohort, or to the operators where they come first."""
        if self._at >= 0 or self._aborted:
            raise LocalProtocolError("this round has been started", phase=self.state)
        self._at = 0
        return self._open(self._phases[0])

    def _request(self, name: str, phase: str, body: bytes, bulk: bytes | memoryview = b"") -> Envelope:
        session = self._session.sid if self._session else self.config.context
        return Envelope(name, write(self.identity, session, phase, name, body, bulk))

    def advance(self) -> Sequence[Envelope]:
        """Close the phase: go on with those who have answered.

        Returns:
            The next phase's requests; none when the round is over and ``evidence`` is there.

        Raises:
            TooFewClients: fewer have answered than the next phase or the policy needs.
            DealerFault: a client's valid shares rebuild a wrong secret.
            Unattributed: the sum is not what the clients committed to, or one's word about a share stands against
                another's, and nobody can be named.
        """
        if self._at < 0 or self.evidence is not None or self._aborted:
            raise LocalProtocolError("there is no phase to close", phase=self.state)
        closed, asked, answered = self.state, len(self._answered | self._awaited), len(self._answered)
        try:
            with self.timings(closed):
                requests = self._advance()
        except Exception as error:
            self._aborted = True
            _log.warning("%s: aborted in phase %s: %s", self._name, closed, type(error).__name__)
            raise
        _log.info(
            "%s: phase %s is over, %d of %d have answered, %.3f s here; next %s",
            self._name, closed, answered, asked, self.timings.seconds[closed], self.state,
        )  # fmt: skip
        return requests

    @property
    def _name(self) -> str:
        """The round, for the log."""
        config = self.config
        return f"round {config.round}.{config.attempt} of {config.task!r} ({config.policy.backend})"

    def _advance(self) -> Sequence[Envelope]:
        closed = self._phases[self._at]
        if not closed.kind.of_operators:
            self._present -= self._awaited
        elif self._awaited:
            self._side.lose(closed.name, frozenset(self._awaited))
        self._awaited, self._answered = set(), set()
        if closed.kind is PhaseKind.ADVERTISE:
            self._fix_participants()
        elif closed.kind in _VOTES:
            self._check_signed(closed)
        self._at += 1
        if self._at == len(self._phases):
            self._finish()
            return []
        opened = self._phases[self._at]
        if self._session is not None:
            self._check_present(closed, opened)
        if opened.kind in _VOTES:
            self._fix_survivors(opened)
        return self._open(opened)

    def _check_present(self, closed: Phase, opened: Phase) -> None:
        session = self._joined()
        # min_clients bounds the set; where that is fixed and summed, a quorum of it has to go on.
        least = session.quorum
        if opened.kind is not PhaseKind.RELEASE:
            least = max(least, self.config.policy.min_clients)
        if len(self._present) < least:
            raise TooFewClients(
                f"{len(self._present)} clients are left after phase {closed.name!r}, {least} are needed",
                phase=closed.name,
            )

    def _open(self, phase: Phase) -> Sequence[Envelope]:
        """The requests of a phase, and who is awaited in it."""
        if phase.kind.of_operators:
            self._awaited = set(self._side.operators())
            make = self._operator_request(phase)
            return [make(name) for name in self._side.operators()]
        self._awaited = set(self._present)
        return Requests(in_id_order(self._awaited), self._client_request(phase))

    def _client_request(self, phase: Phase) -> Callable[[str], Envelope]:
        """What makes this phase's request to one client. What all of them hold is put together once."""
        if phase.kind is PhaseKind.ADVERTISE:
            config = self.config.to_bytes()
            return lambda name: self._request(name, phase.name, config, self._setup)
        wrap = self._wrapping(phase)

        def make(name: str) -> Envelope:
            with self.timings(phase.name):
                body = b"" if phase.kind is PhaseKind.AGREE else self._side.request(phase.name, name)
                return self._request(name, phase.name, wrap(body))

        return make

    def _operator_request(self, phase: Phase) -> Callable[[str], Envelope]:
        """What makes this phase's request to one operator."""
        if phase.kind is PhaseKind.BEGIN:
            config = self.config.to_bytes()
            return lambda name: self._request(name, phase.name, config, self._setup)
        if phase.kind is PhaseKind.OPEN:
            return lambda name: self._opening_request(phase, name)
        wrap = self._wrapping(phase)

        def make(name: str) -> Envelope:
            part, bulk = (b"", b"") if phase.kind is PhaseKind.CONSENT else self._side.operation(phase.name, name)
            return self._request(name, phase.name, wrap(part), bulk)

        return make

    def _wrapping(self, phase: Phase) -> Callable[[bytes], bytes]:
        """What a request of this phase holds around the backend's part: the set that is put to the vote, or the
        quorum's signatures after it; all advertisements in the first phase after they are fixed.
        """
        statement = encode(self._statement) if phase.kind in _VOTES and self._statement else None
        signatures = in_order(self._signatures) if self._statement and statement is None else None
        after_advertise = self._phases[self._at - 1].kind is PhaseKind.ADVERTISE
        advertisements = in_order(self._advertisements) if after_advertise else None

        def wrap(body: bytes) -> bytes:
            if statement is not None:
                body = statement
            if signatures is not None:
                body = encode(Agreed(signatures, body))
            if advertisements is not None:
                body = encode(AdvertisementList(advertisements, body))
            return body

        return wrap

    def _opening_request(self, phase: Phase, name: str) -> Envelope:
        part, hidden = self._side.operation(phase.name, name)
        request = OpeningRequest(
            config=self.config.to_bytes(),
            cohort=self._members(),
            advertisements=in_order(self._advertisements),
            openings=in_order(self._openings),
            agreement=in_order(self._signatures),
            backend=part,
        )
        return self._request(name, phase.name, encode(request), hidden)

    def _members(self) -> tuple[CohortMember, ...]:
        return tuple(CohortMember(name, key) for name, key in self.cohort.items())

    def _fix_participants(self) -> None:
        self._session = open_session(self.config, self.cohort, in_order(self._advertisements), self._setup)
        self._side.begin(self._session)

    def _fix_survivors(self, phase: Phase) -> None:
        session = self._joined()
        if phase.kind is PhaseKind.CONSENT:
            commitments = dict.fromkeys(self._side.survivors(), b"")
        else:
            commitments = {name: opening.commitment for name, opening in self._openings.items()}
        self._statement = self._backend.agreement.statement(session, commitments)
        self._ballot = self._backend.agreement.ballot(session, self._statement)
        self._side.agree(self._backend.agreement.check_statement(session, self._statement))

    def _check_signed(self, phase: Phase) -> None:
        quorum = self._backend.agreement.quorum(self._joined())
        if len(self._signatures) < quorum:
            raise TooFewClients(f"{len(self._signatures)} signed the set, {quorum} are needed", phase=phase.name)

    def _joined(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the participants are not fixed", phase=self.state)
        return self._session

    # --- responses ------------------------------------------------------------------------------------------

    def receive(self, data: Incoming) -> list[Envelope]:
        """Take one client's response.

        Returns:
            What is to be sent at once: the receipt for an accepted input.

        Raises:
            RemoteProtocolError: the response is refused; its ``culprit`` is the sender it claims, proven
                only if the signature was right, and None where the sender may be another's victim.
        """
        if self._at < 0 or self.evidence is not None or self._aborted:
            raise LocalProtocolError("no response is awaited", phase=self.state)
        phase = self._phases[self._at]
        with stamping(RemoteProtocolError, phase=phase.name), self.timings(phase.name):
            return self._receive(phase, data)

    def _receive(self, phase: Phase, data: Incoming) -> list[Envelope]:
        limit = header_limit(self.config.cohort_size)
        received = Received.of(data, limit)
        header = received.header
        asked = self._operators if phase.kind.of_operators else self.cohort
        if header.sender in asked and header.sender not in self._awaited and header.phase == phase.name:
            if header.sender in self._answered:
                self._keep_second(phase, header)
                raise DuplicateMessage("a second message in one phase", phase=phase.name, culprit=header.sender)
            raise UnknownSender("a message from somebody who was not asked", phase=phase.name, culprit=header.sender)
        to_everybody = phase.kind in (PhaseKind.ADVERTISE, PhaseKind.EXCHANGE)
        message = read(
            received,
            limit=limit,
            bulk_sizes=self._bulk_sizes(phase),
            session=self._session.sid if self._session else self.config.context,
            phase=phase.name,
            recipients=("",) if to_everybody else (self.identity.name,),
            keys=dict(asked),
        )
        with refusing(phase.name, header.sender):
            sent = _HANDLERS[phase.kind](self, phase, header.sender, message)
        self._awaited.discard(header.sender)
        self._answered.add(header.sender)
        return sent

    def _keep_second(self, phase: Phase, header: Header) -> None:
        """A second advertisement that is another one, and signed, proves that its client says two things."""
        first = self._advertisements.get(header.sender)
        second = SignedAdvertisement(header.sender, header.body, header.signature)
        if phase.kind is not PhaseKind.ADVERTISE or first is None or first == second:
            return
        proof = FaultProof(
            kind=TWO_ADVERTISEMENTS,
            culprit=header.sender,
            public=self.cohort[header.sender],
            config=self.config.to_bytes(),
            setup=b"",
            exhibits=(first.message(self.config.context), second.message(self.config.context)),
        )
        with contextlib.suppress(VerificationError):
            Auditor().verify_fault(proof)
            if all(known.culprit != proof.culprit for known in self._faults):
                self._faults.append(proof)

    def _bulk_sizes(self, phase: Phase) -> range | None:
        """What a response may bring: a hidden vector, an operator's answer whose size the backend checks, nothing."""
        if phase.kind is PhaseKind.INPUT:
            return self._backend.hidden_sizes(self.config)
        return None if phase.kind in (PhaseKind.OPEN, PhaseKind.OPERATE) else NO_BULK

    def _advertisement(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        item = SignedAdvertisement(name, message.body, message.header.signature)
        body = check_advertisement(self.config, self.cohort, item)
        owner = self._commitment_hashes.get(body.commitment_hash)
        if owner is not None:
            raise DuplicateMessage(f"{name!r} shows the commitment hash of {owner!r} again", phase=phase.name)
        self._side.receive_advertisement(name, body.backend)
        self._commitment_hashes[body.commitment_hash] = name
        self._advertisements[name] = item
        return []

    def _exchange(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        self._side.receive_exchange(phase.name, name, message.body, message.header.signature)
        return []

    def _input(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        body = decode(HiddenInput, message.body, len(message.body), phase=phase.name, culprit=name)
        open_commitment(self._joined(), name, body.commitment, body.nonce)
        for other in self._openings.values():
            if other.commitment == body.commitment:
                raise DuplicateMessage(f"{name!r} shows the commitment of {other.name!r} again", phase=phase.name)
        self._side.receive_input(name, body.backend, message, body.nonce)
        self._openings[name] = Opening(name, body.commitment, body.nonce)
        accepted = Acceptance(name, self._joined().commitment_hashes[name], message.header.bulk_digest)
        return [self._request(name, RECEIPT, encode(accepted))]

    def _signature(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        signature = decode(Signature, message.body, MAX_ADVERTISEMENT, phase=phase.name, culprit=name)
        if signature.name != name or self._ballot is None:
            raise UnknownSender("a signature of somebody else", phase=phase.name, culprit=name)
        self._ballot.check(signature)
        self._signatures[name] = signature
        return []

    def _released(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        self._side.receive_release(phase.name, name, message.body)
        return []

    def _begun(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        if message.body:
            raise MalformedMessage("an operator that is ready says nothing else", phase=phase.name, culprit=name)
        return []

    def _operated(self, phase: Phase, name: str, message: Message) -> list[Envelope]:
        self._side.receive_operation(phase.name, name, message)
        return []

    # --- result ---------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Open the sum, and check it as everybody else will. Nothing leaves that has not passed."""
        config = self.config
        openings = in_order(self._openings) or self._side.openings()
        try:
            sums = self._side.total()
            addends = self._backend.addends(config.policy, len(openings))
            average, _ = FixedPoint.of(config).decode(sums[: config.layout.committed], addends, config.shapes)
            evidence = Evidence(
                config=config,
                cohort=self._members(),
                advertisements=in_order(self._advertisements),
                openings=openings,
                agreement=in_order(self._signatures),
                setup=self._setup if self._backend.operated else b"",
                attestation=self._side.attestation(),
                sums=sums.astype(np.uint32, copy=False),
                result_model=model_digest(average),
            )
            with self.timings("verify"):
                self.verified = Auditor(claims=CLAIMS).verify(evidence)  # others decide what they accept
        except VerificationError as error:
            if self._side.vouched_by is not None:
                raise KeyHolderFault(
                    f"a key holder vouched for a sum that is not what the clients committed to: {error}",
                    phase=self._phases[-1].name,
                    culprit=self._side.vouched_by,
                ) from error
            raise Unattributed(
                f"the sum is not what the clients committed to, and who caused it can't be told: {error}",
                phase=self._phases[-1].name,
            ) from error
        self.evidence = evidence

    def results(self) -> Sequence[Envelope]:
        """The checked result for every member of the cohort, made one at a time: each is as large as the model.

        Raises:
            LocalProtocolError: the round is not over.
        """
        if self.evidence is None:
            raise LocalProtocolError("there is no result yet", phase=self.state)
        data, sid = self.evidence.to_bytes(), self._joined().sid
        digest = hashlib.sha256(data).digest()

        def make(name: str) -> Envelope:
            return Envelope(name, write(self.identity, sid, RESULT, name, b"", data, digest))

        return Requests(list(self.cohort), make)


_HANDLERS: Final[dict[PhaseKind, Callable[[Aggregator, Phase, str, Message], list[Envelope]]]] = {
    PhaseKind.ADVERTISE: Aggregator._advertisement,
    PhaseKind.EXCHANGE: Aggregator._exchange,
    PhaseKind.INPUT: Aggregator._input,
    PhaseKind.AGREE: Aggregator._signature,
    PhaseKind.RELEASE: Aggregator._released,
    PhaseKind.BEGIN: Aggregator._begun,
    PhaseKind.OPERATE: Aggregator._operated,
    PhaseKind.CONSENT: Aggregator._signature,
    PhaseKind.OPEN: Aggregator._operated,
}
"""What a response in each kind of phase does."""
