"""Role *share holder*: one of the k aggregators that hold a share each of every update.

A sans-IO state machine over any number of rounds, one after another for each task: ``receive`` takes a signed message
and returns the signed answer. Clients send it their shares; the aggregator that coordinates the round asks it phase by
phase. It signs one set of participants for each (task, round), durably, and afterwards answers nothing before a quorum
of share holders has signed that very set. What it holds of a round is in memory: a share holder that is restarted in
the middle has lost its shares and says so, but not what it has signed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mpc.keys import KeyPair
from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Hidden, OperatorSide, Phase, PhaseKind, SharedBackend, session_id
from secure_agg.errors import (
    AlreadyReleased,
    DuplicateMessage,
    PolicyViolation,
    RemoteProtocolError,
    WrongContext,
    WrongPhase,
    stamping,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    MAX_CONFIG,
    MAX_SETUP,
    NO_BULK,
    RECEIPT,
    SHARE,
    Acceptance,
    AdvertisementList,
    Agreed,
    Header,
    Message,
    Received,
    Signature,
    Statement,
    decode,
    encode,
    header_limit,
    letter_digest,
    read,
    write,
)
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.renunciation import RENOUNCE, RenunciationCertificate, split_first
from secure_agg.protocol.session import Session
from secure_agg.roles.memory.seats import SeatBonds, kept_answer
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.participants import open_session
from secure_agg.roles.renouncing import renounce_as_operator
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust


@dataclass
class _Round:
    """One attempt at one round."""

    config: RoundConfig
    cohort: Roster
    backend: SharedBackend
    side: OperatorSide
    sid: bytes
    setup: bytes
    coordinator: str
    phases: tuple[Phase, ...]
    bonds: SeatBonds
    at: int = 0
    session: Session | None = None
    statement: Statement | None = None
    receipts: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    last: tuple[bytes, bytes] = (b"", b"")
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def generation(self) -> tuple[int, int]:
        """What is bound durably is bound for this."""
        return (self.config.round, self.config.generation)

    @property
    def place(self) -> tuple[int, int, int]:
        """Among the rounds of its task, their generations and attempts."""
        return (*self.generation, self.config.attempt)


@checked_class
class ShareHolder:
    """One aggregator of a backend that shares updates among several."""

    role: ClassVar[str] = "shareholder"

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        channel: KeyPair,
        *,
        store: AttemptStore | None = None,
        alone: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            identity: pinned by everybody as an operator.
            trust: what this share holder has pinned.
            channel: the key pair that clients seal its shares to.
            store: durable, and the same after a restart: without it a restarted holder would sign a second set.
            alone: the others of a round are in other processes; a backend that can't serve that is refused.
            clock: seconds; for ``timings``.
        """
        self.identity, self.trust = identity, trust
        self.timings, self._clock = Stopwatch(clock), clock
        self._channel, self._alone = channel, alone
        self._store = store if store is not None else AttemptStore()
        self._rounds: dict[str, _Round] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ShareHolder({self.identity.name!r}, {len(self._rounds)} rounds)"

    def receive(self, request: bytes | memoryview, *, beacon: bytes | None = None) -> bytes:
        """Answer a client's share with a receipt, or the coordinator's request.

        A message that is sent again is answered again with the same bytes, as long as nothing else came between.

        Raises:
            TrustError: the round contradicts what this holder has pinned.
            WrongContext: of a round that it does not know; also after a restart.
            AlreadyReleased: another set was signed for this round before.
            RemoteProtocolError, TooFewClients: the message is malformed, out of turn, or not what its sender may say.
        """
        largest = max((len(task.roster) for task in self.trust.tasks.values()), default=0)
        received = Received.of(request, max(MAX_CONFIG, header_limit(largest)))
        header = received.header
        if header.phase == RENOUNCE:
            return self._renounce(received, beacon)
        start = self._clock()
        with (
            stamping(RemoteProtocolError, phase=header.phase, culprit=header.sender),
            refusing(header.phase, header.sender),
        ):
            answer = self._receive(received, beacon)
        self.timings.seconds[header.phase] += self._clock() - start  # a phase that was awaited, and no other
        return answer

    def _renounce(self, request: Received, beacon: bytes | None) -> bytes:
        """Give up a round's generation; what is held of it in memory goes."""
        with self._lock:
            config, answer = renounce_as_operator(self.identity, self.trust, self._store, request, beacon=beacon)
            held = self._rounds.get(config.task)
            if held is not None and held.generation == (config.round, config.generation):
                del self._rounds[config.task]
        return answer

    def _receive(self, request: Received, beacon: bytes | None) -> bytes:
        header = request.header
        with self._lock:
            found = self._known(header)
            if found is None and (kept := self._kept(request)) is not None:
                return kept
            if found is None and header.phase == SHARE:
                raise WrongContext("a share of a round that this aggregator does not know")
            if found is None:
                return self._begin(request, beacon)
        with found.lock:  # one round's computation does not hold up another's
            if header.phase == SHARE:
                return self._share(found, request)
            return self._again_or_answer(found, request)

    def _again_or_answer(self, found: _Round, request: Received) -> bytes:
        digest = hashlib.sha256(request.data).digest()
        if digest == found.last[0]:
            return found.last[1]
        answer = self._answer(found, request)
        found.last = (digest, answer)
        return answer

    def _kept(self, request: Received) -> bytes | None:
        """What was answered to this very request, in another process. Nobody else has signed it: it is the same."""
        asked = hashlib.sha256(request.data).digest()
        for task in self.trust.tasks:
            kept = kept_answer(self._store, self.identity.name, task, asked)
            if kept is not None:
                return kept
        return None

    def _known(self, header: Header) -> _Round | None:
        """The round that a message is of: by its context at the beginning, by its session afterwards."""
        for item in self._rounds.values():
            if header.session in (item.sid, item.config.context):
                return item
        return None

    # --- shares ---------------------------------------------------------------------------------------------

    def _share(self, found: _Round, request: Received) -> bytes:
        message = read(
            request,
            limit=header_limit(found.config.cohort_size),
            bulk_sizes=None,
            session=found.sid,
            phase=SHARE,
            recipients=(self.identity.name,),
            keys=dict(found.cohort),
        )
        name = message.header.sender
        named = letter_digest(message.body, message.header.bulk_digest)
        if name in found.heard:
            if found.receipts.get(name, (b"", b""))[0] == named:
                return found.receipts[name][1]
            raise DuplicateMessage("a second share of one client", phase=SHARE, culprit=name)
        if found.session is not None:
            raise WrongPhase("a share came after they were counted", phase=SHARE, culprit=name)
        found.heard.add(name)
        hashed = found.side.take(name, message)
        accepted = encode(Acceptance(name, hashed, named))
        receipt = write(self.identity, found.sid, RECEIPT, name, accepted)
        found.receipts[name] = (named, receipt)
        return receipt

    # --- the coordinator's requests -------------------------------------------------------------------------

    def _coordinators(self) -> dict[str, bytes]:
        return {name: key for name, key in self.trust.operators.items() if name != self.identity.name}

    def _begin(self, request: Received, beacon: bytes | None) -> bytes:
        header = request.header
        message = read(
            request,
            limit=MAX_CONFIG,
            bulk_sizes=MAX_SETUP,
            session=header.session,
            phase=header.phase,
            recipients=(self.identity.name,),
            keys=self._coordinators(),
        )
        try:
            config = decode(RoundConfig, message.body, MAX_CONFIG)
        except RemoteProtocolError:
            raise WrongContext("a round that this aggregator does not know, perhaps since it was restarted") from None
        if header.session != config.context:
            raise WrongContext("the request is not bound to the configuration it carries")
        self.trust.check(config, beacon)
        loaded = backends.load(config.policy.backend)
        loaded.check_policy(config.policy)
        phases = tuple(phase for phase in loaded.phases(config) if phase.kind.of_operators)
        backend = loaded.shares
        if backend is None or header.phase != phases[0].name:
            raise WrongPhase(f"no round of backend {loaded.name!r} begins with phase {header.phase!r}")
        if self._alone and backend.seats(config.policy).together:
            raise PolicyViolation(f"backend {backend.name!r} needs all its aggregators in one process")
        setup, renounced = split_first(config, message.bulk)
        others = {name: key for name, key in self.trust.operators.items() if name != header.sender}
        backend.check_setup(config, setup, Roster(others))
        backend.share_holders(config, setup).check_seat(self.identity.name, self._channel.public)
        cohort = self.trust.cohort(config.task, config.beacon)
        bonds = SeatBonds(self._store, self.identity.name, config)
        if config.generation:
            renouncers = backend.renouncers(config, cohort, setup, self.trust.operators)
            certificate = RenunciationCertificate.from_bytes(renounced)
            bonds.admit(certificate, renouncers, checked=self.trust.has_checked(certificate, config.task))
        bonds.check_open(phase=header.phase)
        begun = _Round(
            config=config,
            cohort=cohort,
            backend=backend,
            side=backend.operator(config, self.identity, self._channel, setup, cohort),
            sid=session_id(config, None),
            setup=setup,
            coordinator=header.sender,
            phases=phases,
            bonds=bonds,
            at=1,
        )
        if self._store.get(bonds.scope, "set") is not None:
            raise AlreadyReleased("this aggregator has signed a set for this round", phase=header.phase)
        current = self._rounds.get(config.task)
        if current is not None and current.coordinator == header.sender and begun.place < current.place:
            raise WrongContext("a request to begin came after a later one of its coordinator", phase=header.phase)
        answer = write(self.identity, config.context, header.phase, header.sender, b"")
        begun.last = (hashlib.sha256(request.data).digest(), answer)
        self._rounds[config.task] = begun  # an earlier attempt of the task is over
        return answer

    def _answer(self, found: _Round, request: Received) -> bytes:
        header = request.header
        if found.at == len(found.phases):
            raise WrongPhase("this round is over", phase=header.phase, culprit=header.sender)
        phase = found.phases[found.at]
        message = read(
            request,
            limit=header_limit(found.config.cohort_size),
            bulk_sizes=NO_BULK if phase.kind is PhaseKind.CONSENT else None,
            session=found.sid,
            phase=phase.name,
            recipients=(self.identity.name,),
            keys={found.coordinator: self.trust.operators[found.coordinator]},
        )
        found.bonds.check_open(phase=phase.name)
        body = self._unwrap(found, phase, message)
        bulk: Hidden = b""
        if phase.kind is PhaseKind.CONSENT:
            answer = self._consent(found, phase, body)
        else:
            if found.statement is not None and found.backend.opens(phase.name):
                found.bonds.open(found.backend.agreement.root(found.statement), phase=phase.name)
            answer, bulk = found.side.answer(phase.name, body, message.bulk)
            self._bind(found, phase, message)
        found.at += 1
        said = write(self.identity, found.sid, phase.name, found.coordinator, answer, bulk)
        if found.statement is not None:  # from now on no other round has these answers
            found.bonds.keep(hashlib.sha256(request.data).digest(), said)
        return said

    def _unwrap(self, found: _Round, phase: Phase, message: Message) -> bytes:
        """The backend's part of a request, after what is around it has been checked."""
        limit = header_limit(found.config.cohort_size)
        body = message.body
        if found.at == 1:
            listed = decode(AdvertisementList, body, limit, phase=phase.name)
            if found.session is None:
                session = open_session(found.config, found.cohort, listed.advertisements, found.setup)
                found.side.begin(session)
                found.session = session
            elif tuple(found.session.advertisements.values()) != listed.advertisements:
                raise WrongContext("the shares were counted for other advertisements", phase=phase.name)
            body = listed.backend
        if found.session is not None and found.statement is not None:
            agreed = decode(Agreed, body, limit, phase=phase.name)
            agreement = found.backend.agreement
            agreement.check_quorum(found.session, agreement.agreed(found.session, found.statement), agreed.signatures)
            body = agreed.backend
        return body

    def _consent(self, found: _Round, phase: Phase, body: bytes) -> bytes:
        """Check the set, bind to it durably, and sign it: once for the task and round, whatever is asked later."""
        if found.session is None:
            raise WrongPhase("a set came before the shares were counted", phase=phase.name)
        agreement = found.backend.agreement
        statement = decode(Statement, body, header_limit(found.config.cohort_size), phase=phase.name)
        agreement.check_statement(found.session, statement)
        signed = agreement.agreed(found.session, statement).message
        scope = found.bonds.scope
        if self._store.get(scope, "set") not in (None, signed):
            raise AlreadyReleased("this aggregator has signed another set for this round", phase=phase.name)
        found.side.agree(statement)
        self._store.pin(scope, "set", signed, phase=phase.name)
        found.statement = statement
        return encode(Signature(self.identity.name, self.identity.sign(signed)))

    def _bind(self, found: _Round, phase: Phase, message: Message) -> None:
        """A phase is answered for one request only, also after a restart: of an attempt, and after the set is signed of
        the round. A holder that has lost its shares may be sent them again, but not with other participants: what it
        answered before may have shown what a new one could be chosen from.
        """
        asked = hashlib.sha256(message.body + message.header.bulk_digest).digest()
        scope = found.bonds.scope
        if found.statement is None:
            scope = (*scope, found.config.attempt)
        self._store.pin(scope, f"request of phase {phase.name}", asked, phase=phase.name)
