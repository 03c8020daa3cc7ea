"""Role *client*: commits to its update, hides it, signs one set, and believes a result only after checking
it.

A sans-IO state machine: ``join`` takes the aggregator's first request and the trained update, ``receive``
every further request, ``finish`` the result; each returns the bytes to send. A message that is refused
leaves the state as it was. What must hold across restarts stands in the attempt store before the message
that depends on it leaves: a restarted client goes through the same messages again and sends the identical
    bytes, or refuses.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KEY_BYTES, KeyStream, derive_key
from mpc.ring import Vector
from secure_agg import backends
from secure_agg.agreement import Session
from secure_agg.auditor import Auditor, Verified
from secure_agg.backends.base import Phase, PhaseKind
from secure_agg.bonds import Bonds
from secure_agg.codec import FixedPoint, check_arrays
from secure_agg.config import RoundConfig
from secure_agg.errors import (
    AlreadyReleased,
    LocalProtocolError,
    PolicyViolation,
    RemoteProtocolError,
    UpdateError,
    VerificationError,
    WrongContext,
    WrongPhase,
)
from secure_agg.evidence import Evidence
from secure_agg.identity import Identity, Roster
from secure_agg.messages import (
    ADVERTISE,
    MAX_CONFIG,
    MAX_SETUP,
    NO_BULK,
    RECEIPT,
    RESULT,
    SHARE,
    Acceptance,
    Advertisement,
    AdvertisementList,
    Agreed,
    Envelope,
    Header,
    HiddenInput,
    Message,
    Signature,
    Statement,
    decode,
    encode,
    header_limit,
    letter_digest,
    peek,
    read,
    write,
)
from secure_agg.session import open_session
from secure_agg.stopwatch import Stopwatch
from secure_agg.store import AttemptStore
from secure_agg.trust import Trust
from zk import commitment, parameters

_DONE: Final = "done"


class Client:
    """One client in one attempt at a round.

    Attributes:
        clipped: values that were clipped.
        receipts: signed by those who have accepted this client's input or a share of it, by their ids.
        outbox: after ``join``: messages for single operators, to be sent to them beside the response. Empty for most
            backends.

    States, in order: ``advertise`` (``join`` is awaited), the backend's further phases by name, ``result``,
        ``done``.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        *,
        store: AttemptStore | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            identity: this client's; its name is its id in the roster.
            trust: what this client has pinned.
            store: durable, of this client's own, and the same after a restart. Without one the client keeps
                nothing: only for simulations, since a restarted client could then be asked for both shares
                    of a peer.
            entropy: source of the attempt secret.
            clock: seconds; for ``timings``.
        """
        self.identity = identity
        self.trust = trust
        self.timings = Stopwatch(clock)
        self.clipped = 0
        self.receipts: dict[str, bytes] = {}
        self.outbox: tuple[Envelope, ...] = ()
        self._store = store if store is not None else AttemptStore()
        self._entropy = entropy
        self._phases: tuple[Phase, ...] = ()
        self._at = 0
        self._session: Session | None = None
        self._statement: Statement | None = None
        self._finished = False
        self._sid = b""
        self._sent: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Client({self.identity.name!r}, state={self.state!r})"

    @property
    def state(self) -> str:
        """The phase whose request is awaited next; ``result`` after the last; ``done``."""
        if self._finished:
            return _DONE
        if not self._phases:
            return ADVERTISE
        return self._phases[self._at].name if self._at < len(self._phases) else RESULT

    # --- joining --------------------------------------------------------------------------------------------

    def join(
        self,
        request: bytes,
        update: Sequence[npt.NDArray[Any]],
        weight: int = 1,
        *,
        beacon: bytes | None = None,
        start_model: bytes | None = None,
    ) -> bytes:
        """Take part with an update that has been trained already.

        Args:
            request: the aggregator's first message, which carries the round's configuration.
            update: float32 or float64 arrays of the configured shapes.
            weight: 1 to the policy's max_weight.
            beacon: the public randomness that draws the cohort, as this client knows it.
            start_model: digest of the model this client trained from, as the client knows it. It may be left out only
                before the client has signed anything in this task, and where the model is a result it has verified.

        Returns:
            The advertisement. The client is bound to this update for this attempt.

        Raises:
            UpdateError: the update or weight is unfit; nothing was sent or bound.
            TrustError: the configuration contradicts what this client has pinned.
            TaskSpent: this client has signed a set for this round, or from this start model, before.
            AlreadyReleased: this client is bound to another update or configuration in this attempt.
            RemoteProtocolError: the request is malformed, not signed by a pinned operator, or not for this
                client.
            LocalProtocolError: it has joined already.
        """
        if self._phases:
            raise LocalProtocolError("this client has joined its round already", phase=self.state)
        header = peek(request, MAX_CONFIG)
        message = self._read(request, header, ADVERTISE, header.session, limit=MAX_CONFIG, bulk_sizes=MAX_SETUP)
        config = decode(RoundConfig, message.body, MAX_CONFIG, phase=ADVERTISE, culprit=header.sender)
        if header.session != config.context:
            raise WrongContext("the request is not bound to the configuration it carries", phase=ADVERTISE)
        self.trust.check(config, beacon)
        cohort = self.trust.cohort(config.task, config.beacon)
        if cohort.get(self.identity.name) != self.identity.public:
            raise PolicyViolation("this client's identity is not in the cohort", phase=ADVERTISE)
        bonds = Bonds(self._store, self.identity.name, config)
        bonds.check_unspent()
        bonds.check_start(start_model)
        backend = backends.load(config.policy.backend)
        backend.check_policy(config.policy)
        setup = bytes(message.bulk)
        # Whoever adds the ciphertexts up must not hold the key to them.
        others = Roster({name: key for name, key in self.trust.operators.items() if name != header.sender})
        backend.check_setup(config, setup, others)

        scope = (self.identity.name, config.task, config.round, config.attempt)
        secret = self._store.put(scope, "secret", self._entropy(KEY_BYTES))

        def derive(label: str) -> bytes:
            """32 secret bytes for one purpose in this attempt: the same again after a restart."""
            return derive_key(secret, f"client/{label}", config.context)

        self._check_shapes(config, update)
        layout = config.layout
        vector = np.empty(layout.total, dtype=np.uint32)
        values, randomness = vector[: layout.committed], vector[layout.committed :]
        with self.timings("encode"):
            clipped = self._encode(config, update, weight, derive("rounding"), values)
        with self.timings("commit"):
            bits = parameters.noise_bits(config.policy.bits)
            KeyStream(derive("commitment-randomness")).bounded(0, bits, randomness)
            committed = commitment.commit(values, randomness, config.commitment.rank)
            opened = committed.to_bytes()
        with self.timings(ADVERTISE):
            side = backend.client(config, self.identity.name, derive, setup)
            nonce = side.bind(committed, derive("commitment-nonce"), vector)
        hashed = backend.commitment_hash(config, self.identity.name, opened, nonce)
        self._store.pin(scope, "configuration", config.context, phase=ADVERTISE)
        self._store.pin(scope, "commitment hash", hashed, phase=ADVERTISE)
        body = encode(Advertisement(hashed, side.advertise()))
        outbox, sent = [], {}
        if backend.operated:
            # What is sent now is all that is ever sent: it binds like a signature of the set.
            bonds.sign(hashed, phase=ADVERTISE)
            sid = backend.session_id(config, ())
            with self.timings(ADVERTISE):
                for name, letter, bulk in side.letters():
                    data = write(self.identity, sid, SHARE, name, letter, bulk)
                    outbox.append(Envelope(name, data))
                    sent[name] = letter_digest(letter, peek(data, header_limit(config.cohort_size)).bulk_digest)
            self._sid = sid

        self.clipped = clipped
        self.outbox = tuple(outbox)
        self._sent = sent
        self._bonds = bonds
        self._config, self._scope, self._operator, self._cohort = config, scope, header.sender, cohort
        self._backend, self._side = backend, side
        self._vector: Vector | None = None if backend.operated else vector
        self._commitment, self._nonce, self._commitment_hash, self._advertised = opened, nonce, hashed, body
        self._phases = tuple(phase for phase in backend.phases(config) if not phase.kind.of_operators)
        self._at = 1
        return write(self.identity, config.context, ADVERTISE, "", body)

    def _check_shapes(self, config: RoundConfig, update: Sequence[npt.NDArray[Any]]) -> None:
        try:
            shapes = check_arrays(update)
            if shapes != config.shapes:
                raise UpdateError(f"the update has arrays of shapes {shapes}, the round {config.shapes}")
        except UpdateError as error:
            error.phase, error.culprit = ADVERTISE, self.identity.name
            raise

    def _encode(
        self,
        config: RoundConfig,
        update: Sequence[npt.NDArray[Any]],
        weight: int,
        rounding_key: bytes,
        out: Vector,
    ) -> int:
        try:
            return FixedPoint(config.policy).encode(update, weight, rounding_key, out)
        except UpdateError as error:
            error.phase, error.culprit = ADVERTISE, self.identity.name
            raise

    # --- the phases -----------------------------------------------------------------------------------------

    def receive(self, request: bytes) -> bytes | None:
        """Answer the aggregator's next request; a receipt is kept and gets no answer.

        Raises:
            RemoteProtocolError: the request is malformed, out of turn, not for this client, or asks for
                what this client's pins forbid.
            TooFewClients: going on would not be safe with those who are left.
            AlreadyReleased: another statement or a second release is asked for; also after a restart.
            TaskSpent: this client has signed from this start model before.
            LocalProtocolError: it has not joined, or the round is over for it.
        """
        if not self._phases or self._finished:
            raise LocalProtocolError("this client is in no round", phase=self.state)
        limit = header_limit(self._config.cohort_size)
        header = peek(request, limit)
        if header.phase == RECEIPT:
            self._take_receipt(request, header)
            return None
        if self._at == len(self._phases):
            raise WrongPhase(
                f"a message of phase {header.phase!r} came after the last",
                phase=RESULT,
                culprit=header.sender,
            )
        phase = self._phases[self._at]
        try:
            message = self._read(request, header, phase.name, self._sid or header.session, limit=limit)
            return self._answer(phase, message)
        except RemoteProtocolError as error:
            error.phase, error.culprit = error.phase or phase.name, error.culprit or header.sender
            raise

    def _answer(self, phase: Phase, message: Message) -> bytes:
        """Answer a request whose form is right, and bind to it before the answer leaves.

        One phase is answered for one request only, also after a restart: two answers to different requests could be
        one input under two sets of masks. After the set is signed a phase is answered once, whatever is asked.
        """
        self._bonds.check_unspent()
        asked = hashlib.sha256(message.body).digest()
        name = f"request of phase {phase.name}"
        if self._store.get(self._scope, name) not in (None, asked):
            raise AlreadyReleased("this client has answered another request in this phase", phase=phase.name)
        body = self._begin(message) if self._at == 1 else message.body
        agreed = self._statement is not None
        if agreed:
            body = self._check_agreed(phase, body)
        answer = _HANDLERS[phase.kind](self, phase, body)
        self._store.pin(self._scope, name, asked, phase=phase.name)
        if agreed:
            self._store.claim(self._scope, f"answer in phase {phase.name}", phase=phase.name)
        self._at += 1
        return answer

    def _read(
        self, data: bytes, header: Header, phase: str, session: bytes, *, limit: int, bulk_sizes: range = NO_BULK
    ) -> Message:
        operators = {name: key for name, key in self.trust.operators.items() if self._at == 0 or name == self._operator}
        return read(
            data,
            limit=limit,
            bulk_sizes=bulk_sizes,
            session=session,
            phase=phase,
            recipients=(self.identity.name,),
            keys=operators,
        )

    def _begin(self, message: Message) -> bytes:
        """The participants are fixed: recompute the session id from their advertisements, and bind to it."""
        listed = decode(
            AdvertisementList,
            message.body,
            header_limit(self._config.cohort_size),
            phase=message.header.phase,
        )
        session = open_session(self._config, self._cohort, listed.advertisements)
        if session.sid != message.header.session:
            raise WrongContext("the session id is not that of these advertisements", phase=message.header.phase)
        mine = next((item for item in listed.advertisements if item.name == self.identity.name), None)
        if mine is None or mine.body != self._advertised:
            raise PolicyViolation("this client's own advertisement is missing or altered", phase=message.header.phase)
        self._side.begin(session)
        self._store.pin(self._scope, "session", session.sid, phase=message.header.phase)
        self._session, self._sid = session, session.sid
        return listed.backend

    def _exchange(self, phase: Phase, body: bytes) -> bytes:
        with self.timings(phase.name):
            answer = self._side.exchange(phase.name, body)
        return self._write(phase, "", answer)

    def _input(self, phase: Phase, body: bytes) -> bytes:
        if self._vector is None:
            raise LocalProtocolError("the vector was hidden before", phase=phase.name)
        with self.timings(phase.name):
            part, hidden = self._side.hide(body, self._vector)
            self._vector = None
            self._sent = {self._operator: hashlib.sha256(hidden).digest()}
            opening = HiddenInput(self._commitment, self._nonce, part)
            return self._write(phase, self._operator, encode(opening), hidden)

    def _agree(self, phase: Phase, body: bytes) -> bytes:
        """Check the set, bind to it durably, and sign it: once for the task and round, whatever is asked
        later.
        """
        session = self._joined()
        agreement = self._backend.agreement
        statement = decode(Statement, body, header_limit(self._config.cohort_size), phase=phase.name)
        names = agreement.check_statement(session, statement)
        own = agreement.entry(session, self.identity.name, self._commitment)
        if own not in statement.entries:
            raise PolicyViolation("this client's own entry in the set is missing or wrong", phase=phase.name)
        self._side.agree(names)
        signed = agreement.signed_bytes(session.sid, statement)
        self._bonds.sign(signed, phase=phase.name)
        self._statement = statement
        return self._write(phase, self._operator, encode(Signature(self.identity.name, self.identity.sign(signed))))

    def _check_agreed(self, phase: Phase, body: bytes) -> bytes:
        """After the set is signed nothing is answered before a quorum is seen to have signed that very set.

        Returns:
            The backend's part of the request.
        """
        agreed = decode(Agreed, body, header_limit(self._config.cohort_size), phase=phase.name)
        if self._statement is not None:
            self._backend.agreement.check_quorum(self._joined(), self._statement, agreed.signatures)
        return agreed.backend

    def _release(self, phase: Phase, body: bytes) -> bytes:
        if self._statement is None:
            raise LocalProtocolError("nothing is released before a set is signed", phase=phase.name)
        with self.timings(phase.name):
            answer = self._side.release(phase.name, body)
        return self._write(phase, self._operator, answer)

    def _joined(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the participants are not fixed", phase=self.state)
        return self._session

    def _write(self, phase: Phase, recipient: str, body: bytes, bulk: memoryview | bytes = b"") -> bytes:
        return write(self.identity, self._joined().sid, phase.name, recipient, body, bulk)

    # --- receipts and results -------------------------------------------------------------------------------

    def _take_receipt(self, data: bytes, header: Header) -> None:
        sender = header.sender
        if sender not in self._sent:
            raise WrongPhase("a receipt for an input that was not sent", phase=RECEIPT, culprit=sender)
        message = read(
            data,
            limit=header_limit(self._config.cohort_size),
            bulk_sizes=NO_BULK,
            session=self._sid,
            phase=RECEIPT,
            recipients=(self.identity.name,),
            keys={sender: self.trust.operators[sender]},
        )
        accepted = decode(Acceptance, message.body, len(message.body), phase=RECEIPT, culprit=sender)
        if accepted != Acceptance(self.identity.name, self._commitment_hash, self._sent[sender]):
            raise PolicyViolation("the receipt is for another input than this client's", phase=RECEIPT, culprit=sender)
        self.receipts[sender] = data

    def finish(self, result: bytes) -> Verified:
        """Check a finished round against this client's own pins, and end it.

        Returns:
            What was verified, with the weighted mean.

        Raises:
            VerificationError: the result is not what was committed to, is of another round, or leaves out
                or alters this client's input.
            RemoteProtocolError: the message is malformed or not from the aggregator.
        """
        if not self._phases or self._finished:
            raise LocalProtocolError("this client is in no round", phase=self.state)
        limit = header_limit(self._config.cohort_size)
        header = peek(result, limit)
        session = self._sid or header.session
        message = read(
            result,
            limit=limit,
            bulk_sizes=None,
            session=session,
            phase=RESULT,
            recipients=(self.identity.name,),
            keys={self._operator: self.trust.operators[self._operator]},
        )
        evidence = Evidence.from_bytes(message.bulk)
        if evidence.config != self._config:
            raise VerificationError("the result is of another round or attempt", phase=RESULT)
        with self.timings("verify"):
            verified = Auditor(self.trust).verify(evidence, beacon=self._config.beacon or None)
        if verified.record.session != session:
            raise VerificationError("the result is of another session than this client's", phase=RESULT)
        signed = self._backend.agreement.root(self._statement) if self._statement else None
        if signed not in (None, verified.record.participants_root):
            raise VerificationError("the result is over another set than this client signed", phase=RESULT)
        if verified.commitments.get(self.identity.name, self._commitment) != self._commitment:
            raise VerificationError("the result holds another commitment of this client than its own", phase=RESULT)
        self._bonds.learn(verified.record.result_model)
        self._end()
        return verified

    def abandon(self) -> None:
        """End an attempt that has come to nothing, and forget its secrets. What was signed stays signed.

        Raises:
            LocalProtocolError: this client is in no round.
        """
        if not self._phases or self._finished:
            raise LocalProtocolError("this client is in no round", phase=self.state)
        self._end()

    def _end(self) -> None:
        self._finished, self.outbox = True, ()
        self._store.forget(self._scope, "secret")
        del self._side
        self._vector = None


_HANDLERS: Final[dict[PhaseKind, Callable[[Client, Phase, bytes], bytes]]] = {
    PhaseKind.EXCHANGE: Client._exchange,
    PhaseKind.INPUT: Client._input,
    PhaseKind.AGREE: Client._agree,
    PhaseKind.RELEASE: Client._release,
}
"""What a request of each kind of phase does. ``ADVERTISE`` is ``join``."""
