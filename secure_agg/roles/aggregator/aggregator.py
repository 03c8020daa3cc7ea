"""Role *aggregator*: relays, adds up, and can show that it did so correctly. It never holds anything secret
of a client.

A sans-IO state machine: ``start`` gives the first requests, ``receive`` takes one response, ``advance``
closes the phase and gives the next requests; when there are none, ``evidence`` holds the checked result.
When to close a phase is up to the driver: once ``awaited`` is empty, or at a deadline; whoever has not
    answered by then has dropped out. A response that is refused leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import numpy as np
from secure_agg.roles.asking import Asking, Gathered
from secure_agg.roles.hearing import Hearing

from mpc.ring import Vector
from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.errors import (
    BadNormProof,
    ConfigError,
    DuplicateMessage,
    KeyHolderFault,
    LocalProtocolError,
    OperatorLost,
    RemoteProtocolError,
    RoundAborted,
    StoreError,
    TooFewClients,
    Unattributed,
    UnknownSender,
    VerificationError,
    stamping,
)
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.codec import codec_of, model_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember, Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    NO_BULK,
    RECEIPT,
    RESULT,
    Acceptance,
    Envelope,
    Header,
    Incoming,
    Message,
    Opening,
    Received,
    decode,
    encode,
    pack,
    read,
)
from secure_agg.protocol.norm.wire import response_header_limit
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.protocol.requests import Requests, in_order
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.memory.rounds import CLOSED, REOPENED, SUMMED, Begun, RoundLog
from secure_agg.roles.participants import open_session
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
        convicted: Collection[str] = (),
        renounced: bytes = b"",
        log: RoundLog | None = None,
        executor: Executor = IN_PROCESS,
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
            convicted: members of the cohort who are proved to have broken the protocol in this task: they are not
                asked. The cohort, which everybody has pinned, stays what it is.
            renounced: the certificate that has ended the generation before this round's, encoded; empty in the first.
            log: durable, and of this attempt alone: every answer is written there before it counts. See ``resume``.
                Without one a round ends with its process.
            executor: does the work on long vectors, shard by shard. Its workers see what this aggregator sees.
            clock: seconds; for ``timings``.

        Raises:
            ConfigError: the cohort is not the configured one, or the backend refuses the policy.
            RemoteProtocolError: the setup is not the configured one, or nobody who is pinned vouches for it.
            VerificationError, TooFewClients: ``renounced`` is not the certificate that the configuration names.
            StoreError: the log is another round's.
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
        self._renounced = renounced
        if config.generation:
            renouncers = self._backend.renouncers(config, cohort, setup, operators or {})
            certificate = RenunciationCertificate.from_bytes(renounced)
            certificate.check_statement(config)
            if not certificate.statement.successor:  # else of the members of the epoch before, whom the ledger knows
                certificate.check(renouncers)
        elif renounced:
            raise ConfigError("a first generation goes on from no certificate of renunciation")
        self.identity, self.config, self.cohort = identity, config, cohort
        self.timings = Stopwatch(clock)
        self.evidence: Evidence | None = None
        self.verified: Verified | None = None
        self._phases = self._backend.phases(config)
        self._at = -1
        self._aborted = False
        self._side = self._backend.aggregator(config, setup)
        self._side.executor = self._executor = executor
        self._present: set[str] = set(cohort) - set(convicted)
        self._awaited: set[str] = set()
        self._answered: set[str] = set()
        self._heard: dict[str, set[str]] = {}
        self._requests: Sequence[Envelope] = ()
        self._unkept: list[bytes] = []
        self._gathered = Gathered()
        self._asking = Asking(identity, config, cohort, setup, renounced, self._side, self._gathered, self.timings)
        self._hearing = Hearing(config, cohort, self._side, self._gathered, self.timings)
        self._faults: list[FaultProof] = []
        self._log: RoundLog | None = None
        if log is not None:
            log.begin(
                Begun(
                    aggregator=identity.name,
                    config=config.to_bytes(),
                    cohort=self._asking.members(),
                    operators=tuple(CohortMember(name, key) for name, key in (operators or {}).items()),
                    setup=setup,
                    renounced=renounced,
                    convicted=tuple(sorted(convicted)),
                )
            )
            self._replay(log)
            self._log = log

    @staticmethod
    def resume(
        identity: Identity,
        log: RoundLog,
        *,
        executor: Executor = IN_PROCESS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Aggregator:
        """The aggregator of a round that another process has begun, where that has come to: the same answers lead to
        the same set. ``again`` gives the requests that are open.

        Args:
            identity: the one that has begun it.
            log: of that round.
            executor: see above.

        Raises:
            StoreError: no round was begun here, or what was kept of it is damaged.
            ConfigError: another aggregator's.
        """
        begun = log.begun()
        if begun is None:
            raise StoreError(f"no round was begun in {log}")
        if begun.aggregator != identity.name:
            raise ConfigError(f"the round is led by {begun.aggregator!r}, not by {identity.name!r}")
        return Aggregator(
            identity,
            RoundConfig.from_bytes(begun.config),
            Roster({member.name: member.public for member in begun.cohort}),
            operators=Roster({member.name: member.public for member in begun.operators}),
            setup=begun.setup,
            convicted=begun.convicted,
            renounced=begun.renounced,
            log=log,
            executor=executor,
            clock=clock,
        )

    def _replay(self, log: RoundLog) -> None:
        """Take in what was taken in before; every answer is checked again.

        Raises:
            StoreError: something in the log does not pass.
        """
        try:
            for event in log.events():
                if self._at < 0:
                    self.start()
                    self._look()
                phase = self._phases[self._at]
                if event.kind == SUMMED:
                    self._side.restore(event.bulk)
                elif event.phase != phase.name and event.kind != REOPENED:
                    raise StoreError(f"the log has {event.phase!r} where {phase.name!r} is")
                elif event.kind == CLOSED:
                    self._advance()
                    self._look()
                elif event.kind == REOPENED:
                    self._reopen()
                elif event.whole:
                    self._receive(phase, pack(event.head, event.bulk))
                else:
                    size = 0 if self._backend.keys else self._backend.hidden_sizes(self.config)[-1]
                    header = decode(Header, event.head, len(event.head))
                    self._take(phase, Message(header, memoryview(bytes(size))))
        except (RemoteProtocolError, LocalProtocolError, RoundAborted) as error:
            raise StoreError(f"what was kept of this round does not pass: {error}") from error

    def _look(self) -> None:
        """Some backends fix what a phase is about when they are first asked for a request of it."""
        if self.evidence is None and len(self._requests):
            self._requests[0]

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
        return self.asks_operators and len(self._left(names)) >= self._side.needed(self.state)

    def _left(self, lost: Iterable[str]) -> tuple[str, ...]:
        gone = set(lost)
        return tuple(name for name in self._side.operators if name not in gone)

    @property
    def is_binding(self) -> bool:
        """Whether clients may be bound to this very attempt, as far as it has come: whether a set was put to the vote,
        or where clients speak once, whether they were asked. It is finished then, or renounced.
        """
        binding = PhaseKind.ADVERTISE if self._backend.shares else PhaseKind.AGREE
        return any(phase.kind is binding for phase in self._phases[: self._at + 1])

    @property
    def awaited(self) -> frozenset[str]:
        """Clients, or operators, whose response in this phase is outstanding."""
        return frozenset(self._awaited)

    @property
    def response_limit(self) -> int:
        """Most bytes of a client's response in this phase; nothing longer can be taken by ``receive``."""
        sizes = self._bulk_sizes(self._phases[self._at]) if self._at >= 0 else None
        return 4 + response_header_limit(self.config) + (sizes.stop - 1 if sizes else 0)

    @property
    def faults(self) -> tuple[FaultProof, ...]:
        """What has been proved of clients and operators so far; also of a round that was aborted."""
        return (*self._faults, *self._side.faults)

    @property
    def session(self) -> Session | None:
        """The participants and the session id, once they are fixed."""
        return self._gathered.session

    # --- requests -------------------------------------------------------------------------------------------

    def start(self) -> Sequence[Envelope]:
        """The first request: to every member of the cohort, or to the operators where they come first."""
        if self._at >= 0 or self._aborted:
            raise LocalProtocolError("this round has been started", phase=self.state)
        self._at = 0
        return self._open(self._phases[0])

    def again(self) -> Sequence[Envelope]:
        """The requests of a round that was resumed: to whoever has not answered yet where it stands. Members of the set
        who have not signed it are asked for that first, late as it is, and then for what opens the sum.

        Returns:
            None of them when the round is over.
        """
        if self._at < 0 or self._aborted:
            return self.start()
        if self.evidence is not None:
            return []
        if self._owing():
            if self._log is not None:
                self._log.reopen(self.state)
            return self._reopen()
        if not self._awaited:
            return self.advance()
        if isinstance(self._requests, Requests):
            return self._requests.only(self._awaited)
        return [request for request in self._requests if request.recipient in self._awaited]

    def _owing(self) -> set[str]:
        """Members of the set who may sign it late: where its sum is being opened by clients."""
        at, gathered = self._at, self._gathered
        if gathered.ballot is None or at < 1 or self._phases[at].kind is not PhaseKind.RELEASE:
            return set()
        return set(gathered.ballot.voters) - gathered.signatures.keys()

    def _reopen(self) -> Sequence[Envelope]:
        owing = self._owing()
        self._at = next(i for i, phase in enumerate(self._phases) if phase.kind is PhaseKind.AGREE)
        self._present |= owing
        return self._open(self._phases[self._at])

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
            if self._log is not None:
                self._log_closed(self._log, closed)
        except Exception as error:
            self._aborted = True
            _log.warning("%s: aborted in phase %s: %s", self._name, closed, type(error).__name__)
            raise
        _log.info(
            "%s: phase %s is over, %d of %d have answered, %.3f s here; next %s",
            self._name, closed, answered, asked, self.timings.seconds[closed], self.state,
        )  # fmt: skip
        return requests

    def _log_closed(self, log: RoundLog, closed: str) -> None:
        """Once the set is fixed, hidden vectors need not be kept any more where the backend has their sum. Ciphertexts
        are not kept before that either; where each of them is needed to the end, the log ends before them, and their
        clients are asked again.
        """
        kinds = {phase.name: phase.kind for phase in self._phases}
        if kinds[closed] is not PhaseKind.INPUT:
            log.close_phase(closed)
        elif self._backend.keys:
            total = self._side.summed()
            if total is None:
                self._log = None
            else:
                log.close_summed(closed, self._unkept, total)
        else:
            log.close_phase(closed)
            following = self._phases[min(self._at, len(self._phases) - 1)].kind
            total = self._side.summed() if following is PhaseKind.AGREE else None
            if total is not None:
                log.sum_up(closed, total)

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
            self._lose(closed)
        self._awaited, self._answered = set(), set()
        if closed.kind is PhaseKind.ADVERTISE:
            self._fix_participants()
        elif closed.kind in (*_VOTES, PhaseKind.EXCISE):
            self._check_signed(closed)
        self._at = self._next()
        if self._at == len(self._phases):
            self._finish(closed.name)
            return []
        opened = self._phases[self._at]
        if self.session is not None:
            self._check_present(closed, opened)
        if opened.kind is PhaseKind.EXCISE:
            return self._excise(opened)
        if opened.kind in _VOTES:
            self._side.agree(self._fix_survivors())
        requests = self._open(opened)
        return requests if self._awaited else self._advance()

    def _next(self) -> int:
        """The phase after this one, but for those in which there is nothing to ask."""
        at = self._at + 1
        while at < len(self._phases) and self._phases[at].optional and not self._side.wants(self._phases[at].name):
            at += 1
        return at

    def _excise(self, phase: Phase) -> Sequence[Envelope]:
        """Whoever stays is asked, with the quorum's signatures of the set so far, to sign the smaller one."""
        self._present &= set(self._side.survivors() or ())
        requests = self._open(phase)
        self._fix_survivors()
        self._gathered.signatures = {}
        return requests

    def _lose(self, phase: Phase) -> None:
        """Go on without the operators who have not answered, if enough are left."""
        needed, left = self._side.needed(phase.name), self._left(self._awaited)
        if len(left) < needed:
            raise OperatorLost(
                f"{len(left)} operators are left, {needed} are needed", phase=phase.name, culprit=min(self._awaited)
            )
        self._side.operators = left

    def _check_present(self, closed: Phase, opened: Phase) -> None:
        session = self._joined()
        # min_clients bounds the set; where that is fixed and summed, a quorum of it has to go on.
        least, again = session.quorum, opened.kind is PhaseKind.EXCHANGE and self._gathered.statement is not None
        if not again and opened.kind not in (PhaseKind.RELEASE, PhaseKind.EXCISE):
            least = max(least, self.config.policy.min_clients)
        if len(self._present) < least:
            raise TooFewClients(
                f"{len(self._present)} clients are left after phase {closed.name!r}, {least} are needed",
                phase=closed.name,
            )

    def _open(self, phase: Phase) -> Sequence[Envelope]:
        """The requests of a phase, and who is awaited in it."""
        asked = self._side.operators if phase.kind.of_operators else tuple(self._present)
        self._answered = self._heard.setdefault(phase.name, set())
        if phase.kind is PhaseKind.AGREE:
            self._answered |= self._gathered.signatures.keys()
        names = tuple(name for name in asked if name not in self._answered)
        self._awaited = set(names)
        before = self._phases[self._at - 1].kind if self._at else None
        self._requests = self._asking.requests(phase, before, names)
        return self._requests

    def _fix_participants(self) -> None:
        gathered = self._gathered
        material = gathered.forest or self._setup
        gathered.session = open_session(self.config, self.cohort, in_order(gathered.advertisements), material)
        self._side.begin(gathered.session)

    def _fix_survivors(self) -> tuple[str, ...]:
        """Put the set to the vote: those whom the backend names, or all whose input was taken. Whoever has sent an
        input and is not among them has no part in the round any more.
        """
        session, agreement, survivors = self._joined(), self._backend.agreement, self._side.survivors()
        gathered = self._gathered
        commitments = {name: opening.commitment for name, opening in gathered.openings.items()}
        if survivors is not None:
            gathered.openings = {name: gathered.openings[name] for name in survivors if name in gathered.openings}
            self._present -= commitments.keys() - gathered.openings.keys()
            commitments = {name: commitments.get(name, b"") for name in survivors}
        statement = agreement.statement(session, commitments)
        names, agreed = agreement.check_statement(session, statement), agreement.agreed(session, statement)
        gathered.put(statement, agreed, agreement.ballot(session, agreed))
        return names

    def _check_signed(self, phase: Phase) -> None:
        quorum, signed = self._backend.agreement.quorum(self._joined()), len(self._gathered.signatures)
        if signed < quorum:
            raise TooFewClients(f"{signed} signed the set, {quorum} are needed", phase=phase.name)

    def _joined(self) -> Session:
        if self._gathered.session is None:
            raise LocalProtocolError("the participants are not fixed", phase=self.state)
        return self._gathered.session

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
        limit = response_header_limit(self.config)
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
            session=self.session.sid if self.session else self.config.context,
            phase=phase.name,
            recipients=("",) if to_everybody else (self.identity.name,),
            keys=asked,
        )
        accepted = self._take(phase, message)
        if phase.kind is PhaseKind.INPUT and self._backend.keys:
            self._unkept.append(encode(header))
        elif self._log is not None:
            self._log.take(phase.name, encode(header), message.bulk)
        return [] if accepted is None else [self._asking.message(header.sender, RECEIPT, encode(accepted))]

    def _take(self, phase: Phase, message: Message) -> Acceptance | None:
        """Take in an answer whose form and signature are right."""
        header = message.header
        with refusing(phase.name, header.sender):
            try:
                accepted = self._hearing.take(phase, header.sender, message)
            except BadNormProof:
                self._keep(self._hearing.bad_norm_proof(header))
                raise
        self._awaited.discard(header.sender)
        self._answered.add(header.sender)
        return accepted

    def _keep_second(self, phase: Phase, header: Header) -> None:
        """Two advertisements of one client prove something, whatever of the second is refused."""
        proof = self._hearing.two_advertisements(header) if phase.kind is PhaseKind.ADVERTISE else None
        if proof is not None:
            self._keep(proof)

    def _keep(self, proof: FaultProof) -> None:
        """Keep what convinces anybody, one proof for each culprit."""
        with contextlib.suppress(VerificationError):
            Auditor().verify_fault(proof)
            if all(known.culprit != proof.culprit for known in self._faults):
                self._faults.append(proof)

    def _bulk_sizes(self, phase: Phase) -> range | None:
        """What a response may bring: a hidden vector, an operator's answer whose size the backend checks, nothing."""
        if phase.kind is PhaseKind.INPUT:
            return self._backend.hidden_sizes(self.config)
        return None if phase.kind in (PhaseKind.OPEN, PhaseKind.OPERATE) else NO_BULK

    # --- result ---------------------------------------------------------------------------------------------

    def _finish(self, closed: str) -> None:
        """Open the sum, and check it as everybody else will. Nothing leaves that has not passed.

        Args:
            closed: the last phase.
        """
        config, vouched_by = self.config, None
        try:
            found = self._side.outcome()
            sums, vouched_by = found.sums, found.vouched_by
            openings = in_order(self._gathered.openings) or found.openings
            evidence = Evidence(
                config=config,
                cohort=self._asking.members(),
                advertisements=in_order(self._gathered.advertisements),
                openings=openings,
                agreement=in_order(self._gathered.signatures),
                setup=self._gathered.forest or (self._setup if self._backend.shares or config.generation else b""),
                attestation=found.attestation,
                sums=sums.astype(np.uint32, copy=False),
                result_model=self._result_model(sums, openings),
                renounced=self._renounced,
            ).with_proofs(self._gathered.proofs.values())
            with self.timings("verify"):
                self._verify(evidence)
        except VerificationError as error:
            if vouched_by is not None:
                raise KeyHolderFault(
                    f"a key holder vouched for a sum that is not what the clients committed to: {error}",
                    phase=closed,
                    culprit=vouched_by,
                ) from error
            raise Unattributed(
                f"the sum is not what the clients committed to, and who caused it can't be told: {error}",
                phase=closed,
            ) from error
        self.evidence = evidence

    def _result_model(self, sums: Vector, openings: Sequence[Opening]) -> bytes:
        """Digest of the mean."""
        config = self.config
        addends = self._backend.result(config.policy).addends(len(openings))
        average, _ = codec_of(config).decode(
            sums[: config.layout.committed], addends, config.shapes, self._executor, config.context
        )
        return model_digest(average)

    def _verify(self, evidence: Evidence) -> None:
        """Check it as everybody else will.

        Raises:
            VerificationError: it does not prove its result.
        """
        # Others decide what they accept; norm proofs were checked with the inputs that they came with.
        proved = [one for name, one in self._gathered.openings.items() if name in self._gathered.proofs]
        self.verified = Auditor(claims=CLAIMS, executor=self._executor).verify(evidence, proved=proved)

    def results(self) -> Sequence[Envelope]:
        """The checked result for every member of the cohort, made one at a time: each is as large as the model.

        Raises:
            LocalProtocolError: the round is not over.
        """
        if self.evidence is None:
            raise LocalProtocolError("there is no result yet", phase=self.state)
        return self._asking.results(self._joined(), self.evidence)
