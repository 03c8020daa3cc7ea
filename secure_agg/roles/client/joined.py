"""A client's state from joining a round to its end: all that does not exist before, and what each request does to it.

A request is answered in two steps: ``_take_…`` checks it, takes in what it brings and binds to it; ``_say_…`` makes the
answer. A client that was restarted is taken through the first step of what it has answered, and says nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from mpc.framing import frame
from mpc.ring import Vector
from secure_agg.backends.contract import ClientSide, Hidden, Letter, Phase, PhaseKind, session_id
from secure_agg.errors import (
    LocalProtocolError,
    PolicyViolation,
    RemoteProtocolError,
    SecureAggError,
    VerificationError,
    WrongContext,
    WrongPhase,
    stamping,
)
from secure_agg.protocol.agreement import AgreedSet
from secure_agg.protocol.fault import FaultProof
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
    Envelope,
    Excision,
    HiddenInput,
    Incoming,
    Message,
    Received,
    Signature,
    Statement,
    StatementEntry,
    decode,
    digest_of,
    encode,
    letter_digest,
    read,
    write,
)
from secure_agg.protocol.norm.wire import proof_digest, sketch_digest
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.invitation import Entry
from secure_agg.roles.client.proving import prove_norm
from secure_agg.roles.client.sets import read_first, read_set, read_signatures, read_smaller
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust


class Joined:
    """One client in the round that it has joined.

    Attributes:
        entry: the round.
        side: the backend's part; None once the round is over for this client.
        vector: makes what is to be hidden; None once it was, or where it left with the advertisement.
        sid: of the session that this client is bound to; empty before.
        session: the participants, once they are fixed.
        forest: of an edge's round, which its session follows from.
        agreed: the set that this client has signed.
        receipts, outbox: see ``Client``.
        limit: most bytes of a request's header.
        faults: proofs of what the aggregator has done wrong before this client's eyes.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        timings: Stopwatch,
        entry: Entry,
        side: ClientSide,
        bound: tuple[bytes, bytes, bytes],
        vector: Callable[[], Vector],
        shared: SharedChecks | None = None,
    ) -> None:
        """
        Args:
            bound: the advertisement, the commitment and its nonce: see ``Attempt.reopen``.
            shared: see ``Client``.
        """
        config, backend = entry.config, entry.backend
        self.entry = entry
        self.side: ClientSide | None = side
        self._identity, self._trust, self._timings, self._shared = identity, trust, timings, shared
        self._advertised, self._commitment, self._nonce = bound
        self.vector: Callable[[], Vector] | None = None if backend.shares else vector
        self.sid = session_id(config, None) if backend.shares else b""
        self.session: Session | None = None
        self.forest = b""
        self.agreed: AgreedSet | None = None
        self._statement: Statement | None = None
        self.receipts: dict[str, bytes] = {}
        self.outbox: tuple[Envelope, ...] = ()
        self.faults: list[FaultProof] = []
        self._phases = tuple(phase for phase in backend.phases(config) if not phase.kind.of_operators)
        self._at = 1
        self.limit = backend.request_limit(config)
        self._said: dict[str, bytes] = {}
        releases = any(phase.kind is PhaseKind.RELEASE for phase in self._phases)
        self._opens_by_signing = not (releases or backend.keys or backend.shares)

    @property
    def state(self) -> str:
        """The phase whose request is awaited next, but for optional ones; ``result`` after the last."""
        return next((phase.name for phase in self._phases[self._at :] if not phase.optional), RESULT)

    @property
    def answered(self) -> int:
        """Phases that are answered, with those that were left out."""
        return self._at

    def end(self) -> None:
        """The round is over for this client: forget its secrets."""
        self.entry.attempt.end()
        self.side, self.vector, self.outbox, self._said = None, None, (), {}

    # --- requests -------------------------------------------------------------------------------------------

    def take(self, request: Incoming, *, answered: bool) -> bytes | None:
        """Check a request and go on to the next phase.

        Args:
            answered: it was answered before: it changes this client's state as it did then, and nothing is said.

        Returns:
            The answer; none to a receipt, or where it was given before.

        Raises:
            See ``Client.receive``.
        """
        received = Received.of(request, self.limit)
        try:
            return self._take(received, answered=answered)
        except SecureAggError:
            self._accuse(received)
            raise

    def _take(self, received: Received, *, answered: bool) -> bytes | None:
        header = received.header
        if not answered:
            self.entry.convictions.check_operator(self.entry.operator, self._operator_key, phase=header.phase)
        if header.phase == RECEIPT:
            self._take_receipt(received)
            return None
        done = next((phase for phase in self._phases[: self._at] if phase.name == header.phase), None)
        if done is not None and not answered:
            return self._again(done, received)
        at = self._at
        while at < len(self._phases) and self._phases[at].optional and self._phases[at].name != header.phase:
            at += 1
        if at == len(self._phases):
            raise WrongPhase(
                f"a message of phase {header.phase!r} came after the last",
                phase=RESULT,
                culprit=header.sender,
            )
        phase = self._phases[at]
        with stamping(RemoteProtocolError, phase=phase.name, culprit=header.sender):
            message = self._read(received, phase.name, self.sid or header.session, self.entry.operator)
            answer = self._answer(phase, message, received, answered=answered)
            self._at = at + 1
            return answer

    @property
    def _operator_key(self) -> bytes:
        return self._trust.operators[self.entry.operator]

    def _accuse(self, received: Received) -> None:
        """A request that was refused may prove that who has signed it does not follow the protocol: that is kept."""
        side, phase, entry = self.side, received.header.phase, self.entry
        if side is None or self.session is None or received.header.session != self.sid:
            return
        with contextlib.suppress(RemoteProtocolError):
            self._read(received, phase, self.sid, entry.operator)
            kept = {name: data for name in side.keeps if (data := entry.attempt.kept_request(name)) is not None}
            operator, public = entry.operator, self._operator_key
            for proof in side.accuse(entry.cohort, operator, public, kept, phase, bytes(received.data)):
                with contextlib.suppress(VerificationError):
                    entry.backend.check_fault(proof, entry.config)
                    entry.convictions.convict_operator(proof)
                    self.faults.append(proof)

    def _read(self, received: Received, phase: str, session: bytes, sender: str) -> Message:
        return read(
            received,
            limit=self.limit,
            bulk_sizes=NO_BULK,
            session=session,
            phase=phase,
            recipients=(self._identity.name,),
            keys={sender: self._trust.operators[sender]},
        )

    def _again(self, phase: Phase, received: Received) -> bytes:
        """Whoever has answered a phase repeats its answer, in the same bytes, to who asks the same: an aggregator that
        was restarted may have lost it. What left with the advertisement, and a vector that was hidden before a set was
        signed, are not kept: without them the round begins anew, with nothing lost.
        """
        with stamping(RemoteProtocolError, phase=phase.name, culprit=received.header.sender):
            if phase.kind is PhaseKind.ADVERTISE:
                raise WrongPhase("this client has joined already", phase=phase.name)
            message = self._read(received, phase.name, self.sid, self.entry.operator)
            self.entry.bonds.check_unspent()
            asked = self._asked(phase, message)
            self.entry.attempt.check_request(asked, phase=phase.name, answered=True)
            if phase.kind is PhaseKind.RELEASE:
                self._check_agreed(phase, message.body)
            answer = self.entry.attempt.kept(phase.name) or self._said.get(phase.name)
            if answer is None and phase.kind is PhaseKind.INPUT and self.vector is not None and self._at_hand():
                hide = self._own_side().hide(self._check_agreed(phase, message.body))
                answer = self._say_input(phase, hide)
            if answer is None:
                raise WrongPhase("this client has answered before, and keeps no copy", phase=phase.name)
            return answer

    def _at_hand(self) -> bool:
        """Whether an input can be made again as it was: a ciphertext, that is bound from the beginning."""
        return self.entry.backend.keys is not None and self.agreed is not None

    def _asked(self, phase: Phase, message: Message) -> bytes:
        """What an answer is bound to: the request; of a release the set, and not the signatures that came with it,
        which are others if somebody signs late.
        """
        if phase.kind is not PhaseKind.RELEASE or self.agreed is None:
            return hashlib.sha256(message.body).digest()
        part = read_signatures(self._opened(), message.body, self.limit, phase=phase.name)[1]
        return hashlib.sha256(frame("release", self._root(), part)).digest()

    def _root(self) -> bytes:
        if self.agreed is None:
            raise LocalProtocolError("nothing is released before a set is signed", phase=self.state)
        return self.agreed.root

    def _answer(self, phase: Phase, message: Message, received: Received, *, answered: bool) -> bytes | None:
        """Answer a request whose form is right, and bind to it before the answer leaves.

        One phase is answered for one request only, also after a restart: two answers to different requests could be
        one input under two sets of masks. What is released is bound to the set, once for this generation of the model.
        """
        bonds, attempt = self.entry.bonds, self.entry.attempt
        bonds.check_unspent()
        asked = self._asked(phase, message)
        attempt.check_request(asked, phase=phase.name, answered=answered)
        agreed = self.agreed is not None
        take, say = _STEPS[phase.kind]
        with refusing(phase.name, message.header.sender):  # but for what it makes this client say
            body = self._begin(message, answered) if self._at == 1 else message.body
            if agreed:
                body = self._check_agreed(phase, body)
            taken = take(self, phase, body)
        answer = None
        if not answered:
            answer = say(self, phase, taken)
            if phase.name in self._own_side().keeps:
                attempt.keep_request(phase.name, bytes(received.data))
            attempt.answer(asked, phase=phase.name)
            if phase.kind in _KEPT or (agreed and phase.kind is PhaseKind.EXCHANGE):
                answer = attempt.keep(answer, phase=phase.name)
            elif agreed or phase.kind is not PhaseKind.INPUT:
                self._said[phase.name] = answer
        if phase.kind is PhaseKind.INPUT:
            digest, sketch = attempt.sent(self.entry.operator) or b"", attempt.sketched() or b""
            self._own_side().sent(self._commitment, digest, sketch)
        return answer

    def _begin(self, message: Message, answered: bool) -> bytes:
        """The participants are fixed: recompute the session id from their advertisements, and bind to it."""
        phase, config = message.header.phase, self.entry.config

        sparse = self.entry.backend.is_sparse(config)
        forest, part, session = read_first(
            config, self.entry.cohort, message.body, self.limit, self._shared, sparse=sparse
        )
        if not answered:  # whom this very round has convicted was in it
            self.entry.convictions.check_members(session.keys, phase=phase)
        if session.sid != message.header.session:
            raise WrongContext("the session id is not that of these advertisements", phase=phase)
        mine = session.advertisements.get(self._identity.name)
        if mine is None or mine.body != self._advertised:
            raise PolicyViolation("this client's own advertisement is missing or altered", phase=phase)
        self._own_side().begin(session)
        self.entry.attempt.enter(session.sid, phase=phase)
        self.session, self.sid, self.forest = session, session.sid, forest
        return part

    def _check_agreed(self, phase: Phase, body: bytes) -> bytes:
        """After the set is signed nothing is answered before a quorum is seen to have signed that very set.

        Returns:
            The backend's part of the request.
        """
        session, agreement = self._opened(), self.entry.backend.agreement
        signatures, part = read_signatures(session, body, self.limit, phase=phase.name)
        if (agreed := self.agreed) is not None:
            session.once(
                "quorum",
                (agreed.message, signatures),
                lambda: agreement.check_quorum(session, agreed, signatures),
            )
        return part

    # --- EXCHANGE -------------------------------------------------------------------------------------------

    def _take_exchange(self, phase: Phase, body: bytes) -> bytes:
        with self._timings(phase.name):
            return self._own_side().answer(phase.name, body)

    def _say_exchange(self, phase: Phase, answer: bytes) -> bytes:
        return self._write(phase, "", answer)

    # --- INPUT ----------------------------------------------------------------------------------------------

    def _take_input(self, phase: Phase, body: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        with self._timings(phase.name):
            return self._own_side().hide(body)

    def _say_input(self, phase: Phase, hide: Callable[[Vector], tuple[bytes, Hidden]]) -> bytes:
        if self.vector is None:
            raise LocalProtocolError("the vector was hidden before", phase=phase.name)
        vector, self.vector = self.vector(), None
        with self._timings(phase.name):
            proved = None
            if self.entry.config.policy.norm:
                with self._timings("norm"):
                    proved = prove_norm(
                        self._opened(), self._identity, self._commitment, vector, self.entry.attempt.derive
                    )
            part, hidden = hide(vector)
            if proved is not None:
                part = encode(proved.wrap(part))
                known = sketch_digest(proved.sketch, proof_digest(proved.proof))
                self.entry.attempt.sketch(known, phase=phase.name)
            digest = digest_of(hidden)
            self.entry.bonds.give(phase=phase.name)
            self.entry.attempt.send(self.entry.operator, digest, phase=phase.name)
            opening = HiddenInput(self._commitment, self._nonce, part)
            return self._write(phase, self.entry.operator, encode(opening), hidden, digest)

    # --- AGREE ----------------------------------------------------------------------------------------------

    def _take_set(self, phase: Phase, body: bytes) -> bytes:
        """Check the set, and bind to it durably: once for the task and round, whatever is asked later."""
        session, agreement = self._opened(), self.entry.backend.agreement
        agreed, statement = read_set(session, agreement, body, self._own_entry, self.limit, phase=phase.name)
        self._own_side().agree(agreed.names)
        self.entry.bonds.sign(agreed.message, phase=phase.name)
        self.agreed, self._statement = agreed, statement
        if self._opens_by_signing:
            self.entry.bonds.release(self._root(), phase=phase.name)
        return agreed.message

    @property
    def _own_entry(self) -> StatementEntry:
        """What has to be said of this client in every set."""
        return self.entry.backend.agreement.entry(self._opened(), self._identity.name, self._commitment)

    def _say_set(self, phase: Phase, signed: bytes) -> bytes:
        signature = Signature(self._identity.name, self._identity.sign(signed))
        return self._write(phase, self.entry.operator, encode(signature))

    # --- RELEASE --------------------------------------------------------------------------------------------

    def _take_release(self, phase: Phase, body: bytes) -> bytes:
        if self.agreed is None:
            raise LocalProtocolError("nothing is released before a set is signed", phase=phase.name)
        self.entry.bonds.release(self._root(), phase=phase.name)
        return body

    def _say_release(self, phase: Phase, body: bytes) -> bytes:
        with self._timings(phase.name):
            answer = self._own_side().answer(phase.name, body)
        return self._write(phase, self.entry.operator, answer)

    # --- EXCISE ---------------------------------------------------------------------------------------------

    def _take_excision(self, phase: Phase, body: bytes) -> tuple[bytes, bytes]:
        """Whoever is proved to be at fault leaves the set that this client has signed: what remains is no other set for
        its round, and differs from that in inputs that are no honest client's.
        """
        if self.agreed is None:
            raise LocalProtocolError("nobody is taken out before a set is signed", phase=phase.name)
        session, agreement = self._opened(), self.entry.backend.agreement
        smaller: Callable[[tuple[str, ...]], AgreedSet] = self._without
        if session.near is not None:
            body, smaller = read_smaller(session, agreement, body, self._own_entry, self.limit, phase=phase.name)
        with self._timings(phase.name):
            names, part = self._own_side().excise(phase.name, body)
        for proof in self._own_side().faults:
            self.entry.convictions.convict(proof)
        if self._identity.name not in names:
            raise PolicyViolation("this client itself is to be taken out of the set", phase=phase.name)
        agreed = smaller(names)
        self.entry.bonds.release(agreed.root, phase=phase.name)
        self.agreed = agreed
        return agreed.message, part

    def _without(self, names: tuple[str, ...]) -> AgreedSet:
        """What is left of the set whose entries this client was shown."""
        if self._statement is None:
            raise LocalProtocolError("the set's entries were not shown", phase=self.state)
        session, agreement = self._opened(), self.entry.backend.agreement
        self._statement = Statement(tuple(entry for entry in self._statement.entries if entry.name in names))
        agreement.check_statement(session, self._statement)
        return agreement.agreed(session, self._statement)

    def _say_excision(self, phase: Phase, taken: tuple[bytes, bytes]) -> bytes:
        signed, part = taken
        return self._write(phase, self.entry.operator, encode(Excision(self._identity.sign(signed), part)))

    # --- letters, receipts, the result ------------------------------------------------------------------------

    def _take_receipt(self, received: Received) -> None:
        sender = received.header.sender
        sent = self.entry.attempt.sent(sender)
        if sent is None:
            raise WrongPhase("a receipt for an input that was not sent", phase=RECEIPT, culprit=sender)
        message = self._read(received, RECEIPT, self.sid, sender)
        accepted = decode(Acceptance, message.body, len(message.body), phase=RECEIPT, culprit=sender)
        hashed = decode(Advertisement, self._advertised, MAX_ADVERTISEMENT).commitment_hash
        if accepted != Acceptance(self._identity.name, hashed, sent):
            raise PolicyViolation("the receipt is for another input than this client's", phase=RECEIPT, culprit=sender)
        self.receipts[sender] = bytes(received.data)

    def check_result(self, verified: Verified) -> None:
        """See that a verified result is of what this client has committed to and signed.

        Raises:
            VerificationError: it isn't.
        """
        self.check_set(verified.record.participants_root, verified.commitments)

    def check_set(self, root: bytes, commitments: Mapping[str, bytes]) -> None:
        """The same of a set by its root, and of what its members committed to.

        Raises:
            VerificationError: it is another set, or another commitment of this client.
        """
        if self.agreed is not None and self.agreed.root != root:
            raise VerificationError("the result is over another set than this client signed", phase=RESULT)
        if commitments.get(self._identity.name, self._commitment) != self._commitment:
            raise VerificationError("the result holds another commitment of this client than its own", phase=RESULT)

    # --- what the phases have in common -----------------------------------------------------------------------

    def _own_side(self) -> ClientSide:
        if self.side is None:
            raise LocalProtocolError("the round is over for this client", phase=self.state)
        return self.side

    def _opened(self) -> Session:
        if self.session is None:
            raise LocalProtocolError("the participants are not fixed", phase=self.state)
        return self.session

    def _write(
        self, phase: Phase, recipient: str, body: bytes, bulk: memoryview | bytes = b"", digest: bytes | None = None
    ) -> bytes:
        return write(self._identity, self._opened().sid, phase.name, recipient, body, bulk, digest)


_STEPS: Final[dict[PhaseKind, tuple[Callable[[Joined, Phase, bytes], Any], Callable[[Joined, Phase, Any], bytes]]]] = {
    PhaseKind.EXCHANGE: (Joined._take_exchange, Joined._say_exchange),
    PhaseKind.INPUT: (Joined._take_input, Joined._say_input),
    PhaseKind.AGREE: (Joined._take_set, Joined._say_set),
    PhaseKind.RELEASE: (Joined._take_release, Joined._say_release),
    PhaseKind.EXCISE: (Joined._take_excision, Joined._say_excision),
}
"""What a request of each kind of phase does to the client, and what then makes its answer of what was taken in.
``ADVERTISE`` is ``Client.join``.
"""


_KEPT: Final = frozenset({PhaseKind.AGREE, PhaseKind.RELEASE, PhaseKind.EXCISE})
"""Phases whose answers are small, and kept on disk until the round is over; so is all that is exchanged after a set was
signed, since the round can't begin anew then.
"""


def seal_letters(identity: Identity, entry: Entry, letters: Iterable[Letter]) -> tuple[Envelope, ...]:
    """A client's shares as it signs them for their operators; it is bound to each."""
    sid, sealed = session_id(entry.config, None), []
    for name, letter, bulk in letters:
        digest = digest_of(bulk)
        sealed.append(Envelope(name, write(identity, sid, SHARE, name, letter, bulk, digest)))
        entry.attempt.send(name, letter_digest(letter, digest), phase=ADVERTISE)
    return tuple(sealed)
