"""Role *aggregator*: relays, adds up, and can show that it did so correctly. It never holds anything secret
of a client.

A sans-IO state machine: ``start`` gives the first requests, ``receive`` takes one response, ``advance``
closes the phase and gives the next requests; when there are none, ``evidence`` holds the checked result.
When to close a phase is up to the driver: once ``awaited`` is empty, or at a deadline; whoever has not
    answered by then has dropped out. A response that is refused leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from mpc.ring import Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.errors import (
    BadNormProof,
    ConfigError,
    DuplicateMessage,
    KeyHolderFault,
    LocalProtocolError,
    RemoteProtocolError,
    RoundAborted,
    StoreError,
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
from secure_agg.protocol.requests import in_order
from secure_agg.roles.aggregator.hearing import Hearing
from secure_agg.roles.aggregator.leading import Leading
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.rounds import CLOSED, REOPENED, SUMMED, Begun, RoundLog


@checked_class
class Aggregator(Leading):
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
        super().__init__(identity, config, cohort, operators, setup, convicted, renounced, executor, clock)
        self._hearing = Hearing(config, cohort, self._side, self._gathered, self.timings)
        self._faults: list[FaultProof] = []
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

    @property
    def response_limit(self) -> int:
        """Most bytes of a client's response in this phase; nothing longer can be taken by ``receive``."""
        sizes = self._bulk_sizes(self._phases[self._at]) if self._at >= 0 else None
        return 4 + response_header_limit(self.config) + (sizes.stop - 1 if sizes else 0)

    @property
    def faults(self) -> tuple[FaultProof, ...]:
        """What has been proved of clients and operators so far; also of a round that was aborted."""
        return (*self._faults, *self._side.faults)

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
