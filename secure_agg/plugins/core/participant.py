"""A node's side of every round, for any framework: payloads in, payloads out.

It drives the role ``Client``. What a round needs from one payload to the next is on the node's own disk, so each may be
handled by a new process, as Flower does, or all by one. What is believed comes from the node's home and nothing from a
payload: who submits a framework's job decides neither roster nor policy, keys or ledger.

A node trains only from a model, and by instructions, that everybody else is given too, and after it has verified the
last result and found it in the ledger. Payloads are handled one at a time, whatever threads and processes they come to,
but for training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from secure_agg.errors import (
    AlreadyReleased,
    BadSignature,
    LocalProtocolError,
    MalformedMessage,
    PolicyViolation,
    RemoteProtocolError,
    UnknownSender,
    WrongContext,
    WrongPhase,
    stamping,
)
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core import hello, parcels
from secure_agg.plugins.core.epochs import node
from secure_agg.plugins.core.guard import Guard
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.training import (
    MetricNames,
    Trained,
    Update,
    model_shapes,
    round_grouping,
    round_shapes,
    tell_losses,
    update_of,
)
from secure_agg.plugins.homes.chain import decode_arrays
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.journal import Key
from secure_agg.protocol.codec import keeps_residual, model_digest, residual_of, with_residual
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.layout import first_clips
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import (
    ADVERTISE,
    MAX_CONFIG,
    MAX_SETUP,
    RECEIPT,
    RESULT,
    Received,
    encode,
    header_limit,
    unpack,
)
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs.following import Steps
from secure_agg.roles.memory import results
from secure_agg.roles.memory.attempt import Attempt, end_attempt
from secure_agg.roles.renouncing import renounce_as_client
from secure_agg.tlog.receipt import Receipt

MAX_FIRST: Final = 4 + MAX_CONFIG + MAX_SETUP.stop
"""Most bytes of a round's first request."""
_MEMBER: Final = 1 << 16
"""Most bytes of evidence about one member of the cohort."""

_log = logging.getLogger("secure_agg.plugins")


class Participant:
    """One node.

    Attributes:
        heard: the last result that was verified here, with its evidence and receipt; None before the first.
    """

    def __init__(self, home: ClientHome, surroundings: bytes = NO_DIGEST, *, keeps_answers: bool = False) -> None:
        """
        Args:
            home: this node's.
            surroundings: digest of what the run has brought to this node, its settings and its code; told to the server
                with this node's name. 32 zero bytes where there is nothing that a node could see.
            keeps_answers: whether the last answer, which may be as large as the model, is on disk before it is given:
                a new process repeats it to who asks the same again, where this one was killed before it was sent.
        """
        self._home, self._surroundings = home, surroundings
        self._keeps_answers = keeps_answers
        self.heard: tuple[Evidence, Verified, Receipt] | None = None
        self._clients: dict[Key, Client] = {}  # one at most: that of the attempt under way, while this object lives
        self._answered: tuple[str, ...] = ()  # by it
        self._guard = Guard(home, (home.task, home.task + EVALUATION))

    def __repr__(self) -> str:
        return f"Participant({self._home.name!r})"

    @property
    def held_bytes(self) -> int:
        """Of updates that are to be hidden yet and are in memory meanwhile."""
        return sum(client.held_bytes for client in self._clients.values())

    def rest(self) -> None:
        """Forget what nobody asks for between two messages: the last result, with its evidence."""
        self.heard = None

    def step_out(self) -> None:
        """Forget what is in memory of the attempt under way: it is found on the disk again."""
        self._clients = {}

    def handle(
        self,
        payload: bytes | memoryview,
        model: Floats = (),
        train: Callable[[], Trained] | None = None,
        instructions: Instructions | None = None,
        *,
        base: bytes | None = None,
    ) -> bytes:
        """Answer one payload.

        Args:
            payload: as the server's coordinator made it.
            model: what the framework hands out to train from, or to evaluate; with a payload ``join``.
            train: called for a payload ``join`` after the model and the last result have been checked; not called where
                this attempt's update is there already. Other payloads may be handled meanwhile.
            instructions: what ``train`` is given beside the model, as this node has received it; with a payload
                ``join``. None where that is nothing. With a payload ``hello`` what it will take part for, where that is
                its own choice: told in the place of its surroundings.
            base: digest of ``model``, where it is known: of all of it, and of nothing beside it.

        Returns:
            The payload to send back.

        Raises:
            SecureAggError: this node refuses; names phase and culprit where they are known.
        """
        parcel = Parcel.from_bytes(payload)
        match parcel.kind:
            case parcels.HELLO:
                (challenge,) = parcel.expect(parcels.HELLO, 1)
                try:
                    answer = hello.answer_challenge(
                        self._home.identity,
                        self._home.trust.operators,
                        challenge,
                        instructions.digest if instructions else self._surroundings,
                    )
                except (UnknownSender, BadSignature):
                    _log.error("home %s pins another server: is it of another federation?", self._home.path)
                    raise
                with self._home.locked():
                    return Parcel(parcels.HELLO, (answer, *self._known())).to_bytes()
            case parcels.LEARN:
                evidence, receipt, *start = parcel.expect(parcels.LEARN, 2, 4)
                with self._home.locked():
                    self._learn(self._evidence(evidence), receipt, start)
                    return Parcel(parcels.KNOWN, self._known()).to_bytes()
            case parcels.JOIN:
                if train is None:
                    raise LocalProtocolError("a round is joined with something to train", phase=ADVERTISE)
                request, evidence, receipt = parcel.expect(parcels.JOIN, 3)
                if len(evidence):
                    with self._home.locked():
                        self._learn(self._evidence(evidence), receipt)
                received = Received.of(_bounded(request, MAX_FIRST), MAX_CONFIG)
                return self._join(received, model, train, instructions, base or model_digest(model))
            case parcels.STEP:
                with self._home.locked():
                    return self._step(parcel.expect(parcels.STEP, 1, parcels.MAX_PARTS))
            case parcels.RENOUNCE:
                (request,) = parcel.expect(parcels.RENOUNCE, 1)
                with self._home.locked():
                    return self._renounce(_bounded(request, MAX_FIRST))
            case parcels.RESULT:
                message, receipt, *acceptances = parcel.expect(parcels.RESULT, 2, parcels.MAX_PARTS)
                with self._home.locked():
                    return self._result(message, receipt, self._copied(acceptances))
            case parcels.EPOCH:
                steps = parcel.expect(parcels.EPOCH, 0, 1)
                with self._home.locked():
                    if steps:
                        self._home.follow(Steps.from_bytes(steps[0]))
                    return Parcel(parcels.EPOCHS, (encode(self._home.epochs.where),)).to_bytes()
            case parcels.CLOSE:
                proposal, statement = parcel.expect(parcels.CLOSE, 2)
                with self._home.locked():
                    return Parcel(parcels.CLOSED, (encode(node.close(self._home, proposal, statement)),)).to_bytes()
            case other:
                raise MalformedMessage(f"a node answers no payload {other!r}")

    @property
    def request_limit(self) -> int:
        """Most bytes of the next request of the round that this node is in.

        Raises:
            LocalProtocolError: it is in none.
            SecureAggError: in one that it can't go on with, see ``Client.resume``.
        """
        with self._home.locked():
            return 4 + self._resumed()[1].request_limit

    def check_base(self, model: bytes) -> None:
        """Refuse a model that this node does not work on, by its digest, before anybody sends it.

        Raises:
            AnotherModel: it is another than this node's results lead to, or than is pinned.
        """
        with self._home.locked(), stamping(RemoteProtocolError, phase=ADVERTISE):
            self._guard.check_base(model)

    @property
    def _members(self) -> int:
        """As many as a message may be about: of the largest epoch that this node knows, so that none is refused."""
        return self._home.epochs.most_members

    def _known(self) -> tuple[bytes, ...]:
        """How far this node has come, as its answers say it; nothing where it takes any model."""
        known = self._guard.known()
        return (encode(known),) if known else ()

    def _copied(self, parts: Sequence[bytes | memoryview]) -> list[bytes]:
        """Copies of messages that a node may be sent after the first."""
        return [_bounded(part, 4 + header_limit(self._members)) for part in parts]

    def _received(self, part: bytes | memoryview) -> Received:
        return Received.of(part, header_limit(self._members))

    # --- joining ----------------------------------------------------------------------------------------------

    def _join(
        self,
        request: Received,
        model: Floats,
        train: Callable[[], Trained],
        instructions: Instructions | None,
        base: bytes,
    ) -> bytes:
        """Check the round and the model, train, and commit to what it came to."""
        home, journal = self._home, self._home.journal
        client = Client(home.identity, home.trust, store=home.store)
        given = instructions.digest if instructions else NO_DIGEST
        with home.locked():
            try:
                config = client.examine(request, base_model=base, instructions=given)
            except WrongContext:
                if instructions:  # who asks why finds at two nodes what differs
                    _log.warning("%s was given: %s", home.name, instructions)
                raise
            # Of nobody's fault: what is pinned here may be as wrong as what was sent.
            with stamping(RemoteProtocolError, phase=ADVERTISE):
                self._check_round(config, model)
            last, begun = journal.key, self._is_begun(config)
        if begun and (kept := journal.answer(request.data)) is not None:
            return kept
        update = None if begun else self._trained(train(), config, model)
        with home.locked():
            # Another process may have gone on meanwhile. Whoever joins first in an attempt is the one that has joined;
            # whoever has trained too long does not undo a later attempt.
            if update is not None and not self._is_begun(config):
                if journal.key not in (None, last):
                    raise AlreadyReleased("another attempt has begun while this one trained", phase=ADVERTISE)
                self._begin(config, model, update)
            facts = journal.facts()
            answer = client.join(
                request, journal.arrays("update"), facts["weight"], base_model=base, instructions=given
            )
            self._goes_on(client, _key(config), request)
        tell_losses(home.name, config, client.encoded)
        letters = [envelope.data for envelope in client.outbox]
        made = Parcel(parcels.JOINED, (answer, encode(MetricNames(tuple(facts["metrics"]))), *letters)).to_bytes()
        self._keep(request.data, made)
        return made

    def _trained(self, trained: Trained, config: RoundConfig, model: Floats) -> Update:
        """What a round's vector takes of this node's work, with what earlier rounds have left of it."""
        home = self._home
        update = update_of(trained, config, model, trains=config.task == home.task)
        if not (trained.arrays and keeps_residual(config)):
            return update
        kept = home.residual.arrays()
        another = [array.shape for array in kept] != list(config.shapes)
        if another or home.residual.round < home.epochs.training_from:
            kept = []  # none yet, or of another model, or of the training before an epoch that has begun a new one
        arrays = with_residual(config, update.arrays, kept)
        home.residual.propose(residual_of(config, arrays))
        return replace(update, arrays=arrays)

    def _check_round(self, config: RoundConfig, model: Floats) -> None:
        """Whether a round that the roles would join is one of this home's, from this model.

        Raises:
            WrongContext: it is of another task, or its vector is not what this model and the metrics need.
            AnotherModel: see ``Guard.check``.
        """
        home = self._home
        if config.task not in (home.task, home.task + EVALUATION):
            raise WrongContext(f"the round is of task {config.task!r}, this node's is {home.task!r}")
        if config.shapes != round_shapes(config.policy, model, trains=config.task == home.task):
            raise WrongContext("the round's arrays are not those of the model and its metrics")
        if config.grouping != round_grouping(config.policy, model, trains=config.task == home.task):
            raise WrongContext("the round's arrays are in other groups than this node's")
        self._check_limit(config)
        node.check_may_join(home, config)
        self._guard.check(config)  # whose base_model is the digest of this model

    def _check_limit(self, config: RoundConfig) -> None:
        """Refuse a weight limit that does not follow from what is pinned and verified. A server that could choose it
        would read a node's weight off its refusals, by halves, and off the counts of weights that were limited.

        Raises:
            PolicyViolation: it is another one, whatever this node weighs.
        """
        policy, due = config.policy, config.policy.first_weight or config.policy.max_weight
        if policy.weight_scale and config.previous_record != NO_DIGEST:
            home = self._home
            after = results.weight_limit_after(home.store, home.name, config.task, config.previous_record)
            if after is None:
                raise PolicyViolation("the round follows from a result that this node has not verified")
            due = min(after or due, policy.max_weight)  # an evaluation's may be of the epoch before
        if config.weight_limit != due:
            raise PolicyViolation(f"the round's weights are limited to {config.weight_limit}, and it has to be {due}")
        self._check_clips(config)

    def _check_clips(self, config: RoundConfig) -> None:
        """Refuse adaptive clips that do not follow from what is pinned and verified: a server that could choose them
        would learn who is within which.

        Raises:
            PolicyViolation: they are others.
        """
        home, due = self._home, first_clips(config.policy.groups, config.grouping)
        if config.previous_record != NO_DIGEST:
            after = home.store, home.name, config.task, config.previous_record
            if due and results.weight_limit_after(*after) is None:
                raise PolicyViolation("the round's clips follow from a result that this node has not verified")
            due = results.clips_after(*after) or due
        if config.clips != due:
            raise PolicyViolation("the round's adaptive clips do not follow from the result before it")

    def _is_begun(self, config: RoundConfig) -> bool:
        """Whether this attempt's update is there already.

        Raises:
            AlreadyReleased: one is there that was trained for another configuration of the attempt.
        """
        journal = self._home.journal
        if journal.key != _key(config):
            return False
        if journal.facts()["context"] != config.context.hex():
            raise AlreadyReleased("this node has trained for another configuration of this attempt", phase=ADVERTISE)
        return True

    def _begin(self, config: RoundConfig, model: Floats, update: Update) -> None:
        """Write down what the attempt begins with, in place of the last one, which is over."""
        home = self._home
        self._end_last()
        self._guard.begin(config, model)
        facts = {"context": config.context.hex(), "weight": update.weight, "metrics": update.metrics}
        home.journal.begin(_key(config), {"update": update.arrays}, facts)
        if config.task == home.task:
            home.own.bind(_key(config))
            home.residual.bind(_key(config))

    def _end_last(self) -> None:
        """Forget the attempt that the journal is of: its secrets too, if it came to nothing."""
        key, self._clients = self._home.journal.key, {}
        if key is not None:
            end_attempt(self._home.store, (self._home.name, *key))
            self._home.journal.clear()

    # --- the phases -------------------------------------------------------------------------------------------

    def _resumed(self) -> tuple[Key, Client]:
        """The attempt that the journal is of, and the client in it.

        Raises:
            LocalProtocolError: this node has joined no round, or has ended its attempt.
        """
        home, journal = self._home, self._home.journal
        key = journal.key
        requests = journal.requests()
        if key is None or not requests:
            raise LocalProtocolError("this node has joined no round")
        if key not in self._clients or self._answered != requests.names:  # another process has gone on
            client = Client(home.identity, home.trust, store=home.store)
            client.resume(requests, lambda: journal.arrays("update"), journal.facts()["weight"])
            self._clients, self._answered = {key: client}, requests.names
        return key, self._clients[key]

    def _goes_on(self, client: Client, key: Key, request: Received) -> None:
        """Write down what a client has answered, so that another process finds it, and this one sees what others have
        answered since.
        """
        self._home.journal.add_request(bytes(request.data))
        self._clients, self._answered = {key: client}, self._home.journal.requests().names

    def _step(self, messages: Sequence[bytes | memoryview]) -> bytes:
        key, client = self._resumed()
        first, *others = messages
        request = Received.of(_bounded(first, 4 + client.request_limit), client.request_limit)
        receipts = [self._received(part) for part in self._copied(others)]
        self._take(key, client, receipts)
        if (kept := self._home.journal.answer(request.data)) is not None:
            return kept
        before = client.phases_answered
        answer = client.receive(request)
        if answer is None:
            raise MalformedMessage("a receipt came where a request should be", phase=client.state)
        made = Parcel(parcels.ANSWER, (answer,)).to_bytes()
        if client.phases_answered != before:  # else it came again
            self._keep(request.data, made)  # before what it was made of goes
            self._goes_on(client, key, request)
        if client.hidden:
            self._home.journal.drop("update")
        return made

    def _keep(self, request: bytes | memoryview, answer: bytes) -> None:
        if self._keeps_answers:
            self._home.journal.keep_answer(request, answer)

    def _renounce(self, request: bytes) -> bytes:
        """Give up what may still open a sum over this node's update, if it has released nothing of it."""
        home = self._home
        answer = renounce_as_client(home.identity, home.trust, home.store, request)
        _log.warning("%s has renounced: the round that came to nothing is not finished by it any more", home.name)
        key = home.journal.key
        if key is not None and Attempt.is_over(home.store, home.name, key):
            self._clients = {}
            home.journal.clear()
        return Parcel(parcels.ANSWER, (answer,)).to_bytes()

    def _take(self, key: Key, client: Client, receipts: Iterable[Received]) -> None:
        """Keep what shows that this node's input was accepted: if it is left out, it can show that too."""
        for receipt in receipts:
            if (phase := receipt.header.phase) != RECEIPT:
                raise WrongPhase(f"a message of phase {phase!r} came as a receipt", phase=client.state)
            client.receive(receipt)
        for sender, kept in client.receipts.items():
            self._home.keep_receipt(key, sender, kept)

    # --- the result -------------------------------------------------------------------------------------------

    def _result(self, data: bytes | memoryview, receipt: bytes | memoryview, acceptances: Sequence[bytes]) -> bytes:
        """Verify the round that is over. Whoever was not in it to the end checks it as an outsider does."""
        message = self._received(data)
        evidence = self._evidence(message.bulk)
        config = evidence.config
        mine = self._home.journal.key == _key(config)
        try:
            key, client = self._resumed() if mine else (None, None)
        except LocalProtocolError:  # a crash has come between the attempt's end and this node's answer
            key = client = None
        if key is None or client is None:
            verified = self._learn(evidence, receipt)
        else:
            self._take(key, client, map(self._received, acceptances))
            shown = Receipt.from_bytes(receipt)
            verified = client.finish(message, shown)
            self._home.epochs.saw(shown.checkpoint)
            self._expect(config, verified)
            self.heard = evidence, verified, shown
        if mine:
            self._end_last()
        _log.info("%s: round %d of %r is %s", self._home.name, config.round, config.task, verified.finding.word)
        return Parcel(parcels.VERIFIED, (verified.record.digest(),)).to_bytes()

    def _evidence(self, data: bytes | memoryview) -> Evidence:
        """Decode evidence of no more members than are pinned."""
        unpack(data, MAX_CONFIG + MAX_SETUP.stop + (self._members + 1) * _MEMBER)
        return Evidence.from_bytes(data)

    def _learn(
        self,
        evidence: Evidence,
        receipt: bytes | memoryview,
        start: Sequence[bytes | memoryview] = (),
    ) -> Verified:
        """Verify a round as an outsider, against this node's own pins and the ledger.

        Args:
            evidence: of the round.
            receipt: of the ledger.
            start: types and elements of the model of round 0, where the server sends it.
        """
        home = self._home
        trust = home.epochs.at(evidence.config.epoch)  # it may have been away in an earlier one
        verified = Auditor(trust).verify(evidence)
        shown = Receipt.from_bytes(receipt)
        home.epochs.saw(home.trust.verify_receipt(verified.record, shown).checkpoint)
        model = decode_arrays(start[0], start[1], model_shapes(evidence.config)) if len(start) == 2 else None
        self._expect(evidence.config, verified, model)
        results.learn_result(home.store, home.name, verified.record)
        self.heard = evidence, verified, shown
        return verified

    def _expect(self, config: RoundConfig, verified: Verified, start: Floats | None = None) -> None:
        """Go on to the model that the verified mean leads to.

        Raises:
            PolicyViolation: see ``Guard.learn``; names round's phase.
        """
        with stamping(RemoteProtocolError, phase=RESULT):
            self._guard.learn(config, verified, start)
        counted = self._home.name in verified.commitments
        self._home.own.settle(_key(config), counted=counted)
        self._home.residual.settle(_key(config), counted=counted)


def _key(config: RoundConfig) -> Key:
    return (config.task, config.round, config.attempt)


def _bounded(part: bytes | memoryview, limit: int) -> bytes:
    """A copy of a part that is not too large for what it has to be."""
    if len(part) > limit:
        raise MalformedMessage(f"a part of {len(part)} bytes, above {limit}")
    return bytes(part)
