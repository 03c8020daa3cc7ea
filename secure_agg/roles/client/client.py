"""Role *client*: commits to its update, hides it, signs one set, and believes a result only after checking it.

A sans-IO state machine: ``join`` takes the aggregator's first request and the trained update, ``receive``
every further request, ``finish`` the result; each returns the bytes to send. A message that is refused
leaves the state as it was. What must hold across restarts stands in the attempt store before the message
that depends on it leaves: a restarted client goes through the same messages again and sends the identical
bytes, or refuses; ``resume`` spares it the repetition.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy.typing as npt

from mpc.ring import ELEMENT_BYTES, Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import ClientSide, Joining, commitment_hash
from secure_agg.errors import (
    ConfigError,
    LocalProtocolError,
    UpdateError,
    VerificationError,
    stamping,
)
from secure_agg.protocol.codec import Encoded
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import (
    ADVERTISE,
    RESULT,
    Advertisement,
    Envelope,
    Incoming,
    decode,
    encode,
    write,
)
from secure_agg.protocol.refusal import refusing
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.client.committing import commit_update
from secure_agg.roles.client.invitation import Entry, Invitation
from secure_agg.roles.client.joined import Joined, seal_letters
from secure_agg.roles.client.result import read_result
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.memory.convictions import Convictions
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust
from secure_agg.tlog.receipt import Receipt

_DONE: Final = "done"


@checked_class
class Client:
    """One client in one attempt at a round.

    Attributes:
        encoded: what encoding has done to the update and weight, once they were encoded; for this client only.

    States, in order: ``advertise`` (``join`` is awaited), the backend's further phases by name, ``result``, ``done``.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        *,
        store: AttemptStore | None = None,
        shared: SharedChecks | None = None,
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
            shared: only for simulations: what other clients of this process have checked. A client on its own has none
                and checks everything itself.
            entropy: source of the attempt secret.
            clock: seconds; for ``timings``.

        Raises:
            ConfigError: what is shared was checked against other pins.
        """
        if shared is not None and shared.trust is not trust:
            raise ConfigError(
                f"{identity.name!r} has pinned something else than the clients whose checks it would share"
            )
        self.identity = identity
        self.trust = trust
        self.timings = Stopwatch(clock)
        self.encoded: Encoded | None = None
        self._store = store if store is not None else AttemptStore()
        self._shared = shared
        self._entropy = entropy
        self._joined: Joined | None = None
        self._finished = False

    def __repr__(self) -> str:
        return f"Client({self.identity.name!r}, state={self.state!r})"

    @property
    def state(self) -> str:
        """The phase whose request is awaited next; ``result`` after the last; ``done``."""
        if self._finished:
            return _DONE
        return self._joined.state if self._joined else ADVERTISE

    @property
    def hidden(self) -> bool:
        """Whether nothing that this client is asked for from now on needs the update: it has been hidden, and won't be
        again. A ciphertext, which leaves after the set is signed and is written down by nobody, may be.
        """
        joined = self._joined
        return joined is not None and joined.vector is None and joined.entry.backend.keys is None

    @property
    def held_bytes(self) -> int:
        """Bytes of the vector that is to be hidden yet: most that this client holds of it."""
        joined = self._joined
        return 0 if joined is None or joined.vector is None else joined.entry.config.layout.total * ELEMENT_BYTES

    @property
    def phases_answered(self) -> int:
        """How many requests this client has answered, but for those that came again."""
        return self._joined.answered if self._joined else 0

    @property
    def receipts(self) -> dict[str, bytes]:
        """Signed by those who have accepted this client's input or a share of it, by their ids."""
        return self._joined.receipts if self._joined else {}

    @property
    def faults(self) -> tuple[FaultProof, ...]:
        """What the aggregator of this round is proved to have done, by what it has sent to this client: kept durably,
        and it is answered no more.
        """
        return tuple(self._joined.faults) if self._joined else ()

    @property
    def request_limit(self) -> int:
        """Most bytes of the header of any request of this round after the first; 0 where it is in none."""
        return self._joined.limit if self._joined else 0

    @property
    def outbox(self) -> tuple[Envelope, ...]:
        """After ``join``: messages for single operators, to be sent to them beside the response. Empty for most
        backends.
        """
        return self._joined.outbox if self._joined else ()

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
            base_model: digest of the arrays that the update is a difference from; None if it is no difference. In a
                buffered round one of its bases, all of which this client has to know: see ``learn_base``.
            instructions: digest of whatever else this client was given to train by; None if it was given nothing.

        Returns:
            The advertisement. The client is bound to this update for this attempt.

        Raises:
            UpdateError: the update or weight is unfit; nothing was sent or bound.
            TrustError: the configuration contradicts what this client has pinned.
            WrongContext, PolicyViolation: the round is from another model than this client says, or it was given other
                instructions.
            TaskSpent: this client has signed a set for this round, or from this start model, before; or in a buffered
                round has given an update from this base elsewhere, or from a later one.
            AlreadyReleased: this client is bound to another update or configuration in this attempt.
            RemoteProtocolError: the request is malformed, not signed by a pinned operator, or not for this client.
            LocalProtocolError: it has joined already.
        """
        entry = self._examine(request, beacon, start_model, base_model, instructions)
        entry.bonds.enter()
        entry.attempt.begin(self._entropy)
        if entry.base is not None:
            entry.attempt.start_from(entry.base.model)
        side = entry.side(self.identity.name)
        vector, commitment, joining = self._commit(entry, side, update, weight)
        hashed = joining.hashed or commitment_hash(entry.config, self.identity.name, commitment, joining.nonce)
        advertised = encode(Advertisement(hashed, joining.part))
        letters: tuple[Envelope, ...] = ()
        if entry.backend.shares:
            # What is sent now is all that is ever sent: it binds like a signature of the set.
            entry.bonds.give(phase=ADVERTISE)
            entry.bonds.sign(hashed, phase=ADVERTISE)
            with self.timings(ADVERTISE):
                letters = seal_letters(self.identity, entry, joining.letters())
        entry.attempt.advertise(advertised)
        self._joined = self._begin(entry, side, (advertised, commitment, joining.nonce), lambda: vector)
        self._joined.outbox = letters
        return write(self.identity, entry.config.context, ADVERTISE, "", advertised)

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
        return self._examine(request, beacon, start_model, base_model, instructions).config

    def _examine(
        self,
        request: Incoming,
        beacon: bytes | None,
        start_model: bytes | None,
        base_model: bytes | None,
        instructions: bytes | None,
    ) -> Entry:
        if self._joined:
            raise LocalProtocolError("this client has joined its round already", phase=self.state)
        invitation = Invitation.read(request, self.identity, self.trust)
        entry = invitation.accept(self.identity, self.trust, self._store, beacon, base_model)
        entry.bonds.check_start(start_model)
        entry.check_base(base_model)
        entry.check_instructions(instructions)
        entry.attempt.check_open()
        return entry

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
        if self._joined or not requests:
            raise LocalProtocolError("a client resumes once, from the request that it joined upon", phase=self.state)
        invitation = Invitation.read(requests[0], self.identity, self.trust)
        # join has checked the beacon: the store is bound to it
        entry = invitation.accept(self.identity, self.trust, self._store, invitation.config.beacon or None)
        bound = entry.attempt.reopen()
        side = entry.side(self.identity.name)
        joined = self._begin(entry, side, bound, lambda: self._commit(entry, side, update(), weight)[0])
        for request in requests[1:]:
            joined.take(request, answered=True)
        self._joined = joined

    def _begin(
        self, entry: Entry, side: ClientSide, bound: tuple[bytes, bytes, bytes], vector: Callable[[], Vector]
    ) -> Joined:
        return Joined(self.identity, self.trust, self.timings, entry, side, bound, vector, self._shared)

    def _commit(
        self, entry: Entry, side: ClientSide, update: Sequence[npt.NDArray[Any]], weight: int
    ) -> tuple[Vector, bytes, Joining]:
        """The vector, the commitment and what goes with it that this client is bound to: the same again for the same
        update.

        Raises:
            UpdateError: the update or weight is unfit; nothing was bound.
            AlreadyReleased: it is another update than before.
        """
        with stamping(UpdateError, phase=ADVERTISE, culprit=self.identity.name):
            made = commit_update(entry.config, update, weight, entry.attempt.derive, self.timings)
        commitment = made.commitment.to_bytes()
        entry.attempt.commit(commitment)
        with self.timings(ADVERTISE):
            joining = side.join(made.commitment, entry.attempt.derive("commitment-nonce"), made.vector)
        entry.attempt.bind(joining.nonce)
        self.encoded = made.encoded
        return made.vector, commitment, joining

    # --- the round ------------------------------------------------------------------------------------------

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
        return self._in_round().take(request, answered=False)

    def _in_round(self) -> Joined:
        if self._joined is None or self._finished:
            raise LocalProtocolError("this client is in no round", phase=self.state)
        return self._joined

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
        joined = self._in_round()
        entry = joined.entry
        with self.timings("verify"), refusing(RESULT, entry.operator):
            verified = read_result(
                result,
                self.identity.name,
                entry.operator,
                entry.config,
                joined.sid,
                self.trust,
                self._shared,
                joined.session,
            )
        joined.check_result(verified)
        if receipt is not None:
            self.trust.verify_receipt(verified.record, receipt)
        learn_result(self._store, self.identity.name, verified.record)
        self._end()
        return verified

    def learn_fault(self, proof: FaultProof, *, beacon: bytes | None = None) -> str:
        """Check a proof of fault, from whoever has one, and remember it: this client takes part in no more rounds of
        the proof's task with a client that it convicts, and in none at all of an operator that it does.

        Args:
            beacon: see ``Auditor.verify_fault``.

        Returns:
            The id of the culprit.

        Raises:
            TrustError, VerificationError: see there; or it is about no round, as one about an epoch. Nothing is
                remembered.
        """
        if not proof.config:
            raise VerificationError(f"a proof of kind {proof.kind!r} is about no round: it keeps nobody out of any")
        culprit = Auditor(self.trust).verify_fault(proof, beacon=beacon)
        convictions = Convictions(self._store, self.identity.name, decode(RoundConfig, proof.config, len(proof.config)))
        if proof.public == self.trust.operators.get(culprit):
            convictions.convict_operator(proof)
        else:
            convictions.convict(proof)
        return culprit

    def abandon(self) -> None:
        """End an attempt that has come to nothing, and forget its secrets. What was signed stays signed.

        Raises:
            LocalProtocolError: this client is in no round.
        """
        self._end()

    def _end(self) -> None:
        joined = self._in_round()
        self._finished = True
        joined.end()
