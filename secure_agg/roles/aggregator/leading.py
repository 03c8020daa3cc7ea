"""Leading a round: which phase it is in, whom it asks for what, and when it can go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.errors import (
    ConfigError,
    LocalProtocolError,
    OperatorLost,
    TooFewClients,
)
from secure_agg.executing import Executor
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    RESULT,
    Envelope,
)
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.protocol.requests import Requests, in_order
from secure_agg.protocol.session import Session
from secure_agg.roles.aggregator.asking import Asking, Gathered
from secure_agg.roles.auditor import Verified
from secure_agg.roles.memory.rounds import RoundLog
from secure_agg.roles.participants import open_session
from secure_agg.roles.stopwatch import Stopwatch

_log = logging.getLogger("secure_agg.roles.aggregator")

_VOTES: Final = (PhaseKind.AGREE, PhaseKind.CONSENT)


@checked_class
class Leading:
    """A round as it moves from phase to phase; what answers say, and what comes of them, is ``Aggregator``'s.

    States: ``idle``, the backend's phases by name, ``result`` once the evidence is there, ``aborted``.
    """

    def __init__(
        self,
        identity: Identity,
        config: RoundConfig,
        cohort: Roster,
        operators: Roster | None,
        setup: bytes,
        convicted: Collection[str],
        renounced: bytes,
        executor: Executor,
        clock: Callable[[], float],
    ) -> None:
        """See ``Aggregator``."""
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
        self._gathered = Gathered()
        self._asking = Asking(identity, config, cohort, setup, renounced, self._side, self._gathered, self.timings)
        self._log: RoundLog | None = None
        self._unkept: list[bytes] = []

    def _look(self) -> None:
        """Some backends fix what a phase is about when they are first asked for a request of it."""
        if self.evidence is None and len(self._requests):
            self._requests[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identity.name!r}, state={self.state!r})"

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

    def _finish(self, closed: str) -> None:
        """What follows the last phase, ``closed``."""
        raise NotImplementedError
