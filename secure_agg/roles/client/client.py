"""Role *client*: commits to its update, hides it, signs one set, and believes a result only after checking it.

A sans-IO state machine: ``join`` takes the aggregator's first request and the trained update, ``receive``
every further request, ``finish`` the result; each returns the bytes to send. A message that is refused
leaves the state as it was. What must hold across restarts stands in the attempt store before the message
that depends on it leaves: a restarted client goes through the same messages again and sends the identical
bytes, or refuses; ``resume`` spares it the repetition.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy.typing as npt

from mpc.ring import Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import ClientSide, Joining, Phase, PhaseKind, commitment_hash, session_id
from secure_agg.errors import (
    LocalProtocolError,
    PolicyViolation,
    RemoteProtocolError,
    UpdateError,
    VerificationError,
    WrongContext,
    WrongPhase,
    stamping,
)
from secure_agg.protocol.codec import Encoded
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import (
    ADVERTISE,
    MAX_ADVERTISEMENT,
    NO_BULK,
    RECEIPT,
    RESULT,
    SHARE,
    Acceptance,
    Advertisement,
    AdvertisementList,
    Agreed,
    Envelope,
    HiddenInput,
    Incoming,
    Message,
    Received,
    Signature,
    Statement,
    decode,
    digest_of,
    encode,
    header_limit,
    letter_digest,
    read,
    write,
)
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.committing import commit_update
from secure_agg.roles.client.invitation import Invitation
from secure_agg.roles.client.result import read_result
from secure_agg.roles.memory.attempt import Attempt
from secure_agg.roles.memory.bonds import Bonds, learn_result
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.participants import open_session
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust
from secure_agg.tlog.receipt import Receipt

_DONE: Final = "done"


@checked_class
class Client:
    """One client in one attempt at a round.

    Attributes:
        encoded: what encoding has done to the update and weight, once they were encoded; for this client only.
        receipts: signed by those who have accepted this client's input or a share of it, by their ids.
        outbox: after ``join``: messages for single operators, to be sent to them beside the response. Empty for most
            backends.

    States, in order: ``advertise`` (``join`` is awaited), the backend's further phases by name, ``result``, ``done``.
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
        self.encoded: Encoded | None = None
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

    @property
    def hidden(self) -> bool:
        """Whether the update has been hidden: nothing that this client is asked for from now on needs it."""
        return bool(self._phases) and self._vector is None

    # --- joining --------------------------------------------------------------------------------------------

    def join(
        self,
        request: Incoming,
        update: Sequence[npt.NDArray[Any]],
        weight: int = 1,
        *,
        beacon: bytes | None = None,
        start_model: bytes | None = None,
        base_model: bytes | None = None,
        instructions: bytes | None = None,
    ) -> bytes:
        """Take part with an update that has been trained already.

        Args:
            request: the aggregator's first message, which carries the round's configuration.
            update: float32 or float64 arrays of the configured shapes.
            weight: 1 to the round's limit, see ``FixedPoint.check_weight``.
            beacon: the public randomness that draws the cohort, as this client knows it.
            start_model: digest of the model this client trained from, as the client knows it. It may be left out only
                before the client has signed anything in this task, and where the model is a result it has verified.
            base_model: digest of the arrays that the update is a difference from; None if it is no difference.
            instructions: digest of whatever else this client was given to train by; None if it was given nothing.

        Returns:
            The advertisement. The client is bound to this update for this attempt.

        Raises:
            UpdateError: the update or weight is unfit; nothing was sent or bound.
            TrustError: the configuration contradicts what this client has pinned.
            WrongContext, PolicyViolation: the round is from another model than this client says, or it was given other
                instructions.
            TaskSpent: this client has signed a set for this round, or from this start model, before.
            AlreadyReleased: this client is bound to another update or configuration in this attempt.
            RemoteProtocolError: the request is malformed, not signed by a pinned operator, or not for this client.
            LocalProtocolError: it has joined already.
        """
        self.examine(request, beacon=beacon, start_model=start_model, base_model=base_model, instructions=instructions)
        self._attempt.begin(self._entropy)
        config, side = self._config, self._new_side()
        vector, commitment, joining = self._commit(side, update, weight)
        hashed = joining.hashed or commitment_hash(config, self.identity.name, commitment, joining.nonce)
        advertised = encode(Advertisement(hashed, joining.part))
        outbox = []
        if self._backend.shares:
            # What is sent now is all that is ever sent: it binds like a signature of the set.
            self._bonds.sign(hashed, phase=ADVERTISE)
            sid = session_id(config, None)
            with self.timings(ADVERTISE):
                for name, letter, bulk in joining.letters():
                    digest = digest_of(bulk)
                    data = write(self.identity, sid, SHARE, name, letter, bulk, digest)
                    outbox.append(Envelope(name, data))
                    self._attempt.send(name, letter_digest(letter, digest), phase=ADVERTISE)
        self._attempt.advertise(advertised)
        self.outbox = tuple(outbox)
        self._begin_phases(side, advertised, commitment, joining.nonce, lambda: vector)
        return write(self.identity, config.context, ADVERTISE, "", advertised)

    def examine(
        self,
        request: Incoming,
        *,
        beacon: bytes | None = None,
        start_model: bytes | None = None,
        base_model: bytes | None = None,
        instructions: bytes | None = None,
    ) -> RoundConfig:
        """All that ``join`` checks before it looks at the update: whether training for this round is worth it.

        Returns:
            The round's configuration. This client has not joined by this.

        Raises:
            As ``join`` does, but for what it says of the update.
        """
        if self._phases:
            raise LocalProtocolError("this client has joined its round already", phase=self.state)
        self._enter(Invitation.read(request, self.identity, self.trust), beacon)
        self._bonds.check_start(start_model)
        self._bonds.check_base(base_model)
        self._bonds.check_instructions(instructions)
        self._attempt.check_open()
        return self._config

    def resume(
        self, requests: Sequence[Incoming], update: Callable[[], Sequence[npt.NDArray[Any]]], weight: int = 1
    ) -> None:
        """Become the client that has answered these requests, in another process over the same store.

        Nothing is signed, sent or released by this; letters of the ``outbox`` left with the advertisement.

        Args:
            requests: as they were received, in order: the first that ``join`` has answered, then those that
                ``receive`` has; receipts may be among them.
            update: gives what ``join`` was given. It is called when the vector is to be hidden, and never after that.
            weight: what ``join`` was given.

        Raises:
            LocalProtocolError: this client has not joined the attempt, has ended it, or has not answered a request.
            AlreadyReleased: another request was answered. (Another update is refused when it is to be hidden.)
            RemoteProtocolError, TrustError, TaskSpent: see ``join`` and ``receive``.
        """
        if self._phases or not requests:
            raise LocalProtocolError("a client resumes once, from the request that it joined upon", phase=self.state)
        invitation = Invitation.read(requests[0], self.identity, self.trust)
        self._enter(invitation, invitation.config.beacon or None)  # join has checked it: the store is bound to it
        advertised, commitment, nonce = self._attempt.reopen()
        side = self._new_side()
        self._begin_phases(side, advertised, commitment, nonce, lambda: self._commit(side, update(), weight)[0])
        try:
            for request in requests[1:]:
                self._take(request, answered=True)
        except Exception:
            self._leave()
            raise

    def _enter(self, invitation: Invitation, beacon: bytes | None) -> None:
        """What the round is, checked against this client's pins and bonds. It has not joined by this."""
        operator = invitation.operator  # who has signed the whole of it
        with stamping(RemoteProtocolError, culprit=operator), refusing(ADVERTISE, operator):
            self._cohort, self._backend = invitation.check(self.identity, self.trust, beacon)
        self._config, self._operator, self._setup = invitation.config, invitation.operator, invitation.setup
        self._bonds = Bonds(self._store, self.identity.name, self._config)
        self._bonds.check_unspent()
        self._attempt = Attempt(self._store, self.identity.name, self._config)

    def _new_side(self) -> ClientSide:
        attempt = self._attempt
        return self._backend.client(self._config, self.identity.name, attempt.derive, self._setup, attempt.once)

    def _commit(
        self, side: ClientSide, update: Sequence[npt.NDArray[Any]], weight: int
    ) -> tuple[Vector, bytes, Joining]:
        """The vector, the commitment and what goes with it that this client is bound to: the same again for the same
        update.

        Raises:
            UpdateError: the update or weight is unfit; nothing was bound.
            AlreadyReleased: it is another update than before.
        """
        with stamping(UpdateError, phase=ADVERTISE, culprit=self.identity.name):
            made = commit_update(self._config, update, weight, self._attempt.derive, self.timings)
        commitment = made.commitment.to_bytes()
        self._attempt.commit(commitment)
        with self.timings(ADVERTISE):
            joining = side.join(made.commitment, self._attempt.derive("commitment-nonce"), made.vector)
        self._attempt.bind(joining.nonce)
        self.encoded = made.encoded
        return made.vector, commitment, joining

    def _begin_phases(
        self, side: ClientSide, advertised: bytes, commitment: bytes, nonce: bytes, vector: Callable[[], Vector]
    ) -> None:
        """This client has joined: from here on requests are answered in turn."""
        config, backend, speaks_once = self._config, self._backend, self._backend.shares is not None
        self._side = side
        self._advertised, self._commitment, self._nonce = advertised, commitment, nonce
        self._vector: Callable[[], Vector] | None = None if speaks_once else vector
        self._sid = session_id(config, None) if speaks_once else b""
        self._phases = tuple(phase for phase in backend.phases(config) if not phase.kind.of_operators)
        self._at = 1

    def _leave(self) -> None:
        """Be in no round again."""
        self._phases, self._at = (), 0
        self._session, self._statement, self._sid = None, None, b""
        self.receipts = {}

    # --- the phases -----------------------------------------------------------------------------------------

    def receive(self, request: Incoming) -> bytes | None:
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
        return self._take(request, answered=False)

    def _take(self, request: Incoming, *, answered: bool) -> bytes | None:
        """Check a request and go on to the next phase.

        Args:
            answered: it was answered before: it changes this client's state as it did then, and nothing is said.
        """
        limit = header_limit(self._config.cohort_size)
        received = Received.of(request, limit)
        header = received.header
        if header.phase == RECEIPT:
            self._take_receipt(received)
            return None
        if self._at == len(self._phases):
            raise WrongPhase(
                f"a message of phase {header.phase!r} came after the last",
                phase=RESULT,
                culprit=header.sender,
            )
        phase = self._phases[self._at]
        with stamping(RemoteProtocolError, phase=phase.name, culprit=header.sender):
            message = self._read(received, phase.name, self._sid or header.session, limit)
            return self._answer(phase, message, answered=answered)

    def _answer(self, phase: Phase, message: Message, *, answered: bool) -> bytes | None:
        """Answer a request whose form is right, and bind to it before the answer leaves.

        One phase is answered for one request only, also after a restart: two answers to different requests could be
        one input under two sets of masks. After the set is signed a phase is answered once, whatever is asked.
        """
        self._bonds.check_unspent()
        asked = hashlib.sha256(message.body).digest()
        self._attempt.check_request(asked, phase=phase.name, answered=answered)
        agreed = self._statement is not None
        with refusing(phase.name, message.header.sender):  # but for what it makes this client say
            body = self._begin(message) if self._at == 1 else message.body
            if agreed:
                body = self._check_agreed(phase, body)
            speak = _HANDLERS[phase.kind](self, phase, body)
        answer = None
        if not answered:
            answer = speak()
            self._attempt.answer(asked, phase=phase.name, once=agreed)
        self._at += 1
        return answer

    def _read(self, data: Received, phase: str, session: bytes, limit: int) -> Message:
        return read(
            data,
            limit=limit,
            bulk_sizes=NO_BULK,
            session=session,
            phase=phase,
            recipients=(self.identity.name,),
            keys={self._operator: self.trust.operators[self._operator]},
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
        self._attempt.enter(session.sid, phase=message.header.phase)
        self._session, self._sid = session, session.sid
        return listed.backend

    def _exchange(self, phase: Phase, body: bytes) -> Callable[[], bytes]:
        with self.timings(phase.name):
            answer = self._side.answer(phase.name, body)
        return lambda: self._write(phase, "", answer)

    def _input(self, phase: Phase, body: bytes) -> Callable[[], bytes]:
        with self.timings(phase.name):
            hide = self._side.hide(body)

        def speak() -> bytes:
            if self._vector is None:
                raise LocalProtocolError("the vector was hidden before", phase=phase.name)
            vector, self._vector = self._vector(), None
            with self.timings(phase.name):
                part, hidden = hide(vector)
                digest = digest_of(hidden)
                self._attempt.send(self._operator, digest, phase=phase.name)
                opening = HiddenInput(self._commitment, self._nonce, part)
                return self._write(phase, self._operator, encode(opening), hidden, digest)

        return speak

    def _agree(self, phase: Phase, body: bytes) -> Callable[[], bytes]:
        """Check the set, bind to it durably, and sign it: once for the task and round, whatever is asked later."""
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

        def speak() -> bytes:
            signature = Signature(self.identity.name, self.identity.sign(signed))
            return self._write(phase, self._operator, encode(signature))

        return speak

    def _check_agreed(self, phase: Phase, body: bytes) -> bytes:
        """After the set is signed nothing is answered before a quorum is seen to have signed that very set.

        Returns:
            The backend's part of the request.
        """
        agreed = decode(Agreed, body, header_limit(self._config.cohort_size), phase=phase.name)
        if self._statement is not None:
            self._backend.agreement.check_quorum(self._joined(), self._statement, agreed.signatures)
        return agreed.backend

    def _release(self, phase: Phase, body: bytes) -> Callable[[], bytes]:
        if self._statement is None:
            raise LocalProtocolError("nothing is released before a set is signed", phase=phase.name)

        def speak() -> bytes:
            with self.timings(phase.name):
                answer = self._side.answer(phase.name, body)
            return self._write(phase, self._operator, answer)

        return speak

    def _joined(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the participants are not fixed", phase=self.state)
        return self._session

    def _write(
        self, phase: Phase, recipient: str, body: bytes, bulk: memoryview | bytes = b"", digest: bytes | None = None
    ) -> bytes:
        return write(self.identity, self._joined().sid, phase.name, recipient, body, bulk, digest)

    # --- receipts and results -------------------------------------------------------------------------------

    def _take_receipt(self, received: Received) -> None:
        sender = received.header.sender
        sent = self._attempt.sent(sender)
        if sent is None:
            raise WrongPhase("a receipt for an input that was not sent", phase=RECEIPT, culprit=sender)
        message = read(
            received,
            limit=header_limit(self._config.cohort_size),
            bulk_sizes=NO_BULK,
            session=self._sid,
            phase=RECEIPT,
            recipients=(self.identity.name,),
            keys={sender: self.trust.operators[sender]},
        )
        accepted = decode(Acceptance, message.body, len(message.body), phase=RECEIPT, culprit=sender)
        hashed = decode(Advertisement, self._advertised, MAX_ADVERTISEMENT).commitment_hash
        if accepted != Acceptance(self.identity.name, hashed, sent):
            raise PolicyViolation("the receipt is for another input than this client's", phase=RECEIPT, culprit=sender)
        self.receipts[sender] = bytes(received.data)

    def finish(self, result: Incoming, receipt: Receipt | None = None) -> Verified:
        """Check a finished round against this client's own pins, and end it.

        Args:
            result: the aggregator's last message.
            receipt: of the pinned ledger, if the result is to be in it before it is believed.

        Returns:
            What was verified, with the weighted mean.

        Raises:
            VerificationError: the result is not what was committed to, is of another round, leaves out
                or alters this client's input, or is not what the receipt is for.
            TrustError: there is a receipt, and no ledger is pinned.
            RemoteProtocolError: the message is malformed or not from the aggregator.
        """
        if not self._phases or self._finished:
            raise LocalProtocolError("this client is in no round", phase=self.state)
        with self.timings("verify"), refusing(RESULT, self._operator):
            verified = read_result(result, self.identity.name, self._operator, self._config, self._sid, self.trust)
        signed = self._backend.agreement.root(self._statement) if self._statement else None
        if signed not in (None, verified.record.participants_root):
            raise VerificationError("the result is over another set than this client signed", phase=RESULT)
        if verified.commitments.get(self.identity.name, self._commitment) != self._commitment:
            raise VerificationError("the result holds another commitment of this client than its own", phase=RESULT)
        if receipt is not None:
            self.trust.verify_receipt(verified.record, receipt)
        learn_result(self._store, self.identity.name, verified.record)
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
        self._attempt.end()
        del self._side
        self._vector = None


_HANDLERS: Final[dict[PhaseKind, Callable[[Client, Phase, bytes], Callable[[], bytes]]]] = {
    PhaseKind.EXCHANGE: Client._exchange,
    PhaseKind.INPUT: Client._input,
    PhaseKind.AGREE: Client._agree,
    PhaseKind.RELEASE: Client._release,
}
"""What a request of each kind of phase does to the client, and what then makes its answer. ``ADVERTISE`` is
``join``.
"""
