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
from collections.abc import Callable, Sequence
from dataclasses import replace

from secure_agg.errors import (
    AlreadyReleased,
    BadSignature,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    UnknownSender,
    WrongContext,
    stamping,
)
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core import hello, parcels
from secure_agg.plugins.core.epochs.node import close as close_epoch
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.node.believed import Believed
from secure_agg.plugins.core.node.guard import Guard
from secure_agg.plugins.core.node.intake import MAX_FIRST, bounded, copied, read_evidence, received
from secure_agg.plugins.core.node.terms import check_round
from secure_agg.plugins.core.node.under_way import UnderWay, key_of
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.training import MetricNames, Trained, Update, tell_losses, update_of
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import keeps_residual, model_digest, residual_of, with_residual
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import ADVERTISE, MAX_CONFIG, Received, encode
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs.following import Steps
from secure_agg.tlog.receipt import Receipt

_log = logging.getLogger("secure_agg.plugins")


class Participant:
    """One node."""

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
        self._guard = Guard(home, (home.task, home.task + EVALUATION))
        self._believed = Believed(home, self._guard)
        self._under_way = UnderWay(home, keeps_answers=keeps_answers)

    def __repr__(self) -> str:
        return f"Participant({self._home.name!r})"

    @property
    def heard(self) -> tuple[Evidence, Verified, Receipt] | None:
        """The last result that was verified here, with its evidence and receipt; None before the first."""
        return self._believed.last

    @property
    def held_bytes(self) -> int:
        """Of updates that are to be hidden yet and are in memory meanwhile."""
        return self._under_way.held_bytes

    def rest(self) -> None:
        """Forget what nobody asks for between two messages: the last result, with its evidence."""
        self._believed.last = None

    def step_out(self) -> None:
        """Forget what is in memory of the attempt under way: it is found on the disk again."""
        self._under_way.step_out()

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
                    self._believed.learn(read_evidence(self._home, evidence), receipt, start)
                    return Parcel(parcels.KNOWN, self._known()).to_bytes()
            case parcels.JOIN:
                if train is None:
                    raise LocalProtocolError("a round is joined with something to train", phase=ADVERTISE)
                request, evidence, receipt = parcel.expect(parcels.JOIN, 3)
                if len(evidence):
                    with self._home.locked():
                        self._believed.learn(read_evidence(self._home, evidence), receipt)
                asked = Received.of(bounded(request, MAX_FIRST), MAX_CONFIG)
                return self._join(asked, model, train, instructions, base or model_digest(model))
            case parcels.STEP:
                with self._home.locked():
                    return self._under_way.step(parcel.expect(parcels.STEP, 1, parcels.MAX_PARTS))
            case parcels.RENOUNCE:
                (request,) = parcel.expect(parcels.RENOUNCE, 1)
                with self._home.locked():
                    return self._under_way.renounce(bounded(request, MAX_FIRST))
            case parcels.RESULT:
                message, receipt, *acceptances = parcel.expect(parcels.RESULT, 2, parcels.MAX_PARTS)
                with self._home.locked():
                    return self._result(message, receipt, copied(self._home, acceptances))
            case parcels.EPOCH:
                steps = parcel.expect(parcels.EPOCH, 0, 1)
                with self._home.locked():
                    if steps:
                        self._home.follow(Steps.from_bytes(steps[0]))
                    return Parcel(parcels.EPOCHS, (encode(self._home.epochs.where),)).to_bytes()
            case parcels.CLOSE:
                proposal, statement = parcel.expect(parcels.CLOSE, 2)
                with self._home.locked():
                    return Parcel(parcels.CLOSED, (encode(close_epoch(self._home, proposal, statement)),)).to_bytes()
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
            return 4 + self._under_way.resumed()[1].request_limit

    def check_base(self, model: bytes) -> None:
        """Refuse a model that this node does not work on, by its digest, before anybody sends it.

        Raises:
            AnotherModel: it is another than this node's results lead to, or than is pinned.
        """
        with self._home.locked(), stamping(RemoteProtocolError, phase=ADVERTISE):
            self._guard.check_base(model)

    def _known(self) -> tuple[bytes, ...]:
        """How far this node has come, as its answers say it; nothing where it takes any model."""
        known = self._guard.known()
        return (encode(known),) if known else ()

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
        home, journal, under_way = self._home, self._home.journal, self._under_way
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
                check_round(home, self._guard, config, model)
            last, begun = journal.key, under_way.is_begun(config)
        if begun and (kept := journal.answer(request.data)) is not None:
            return kept
        update = None if begun else self._trained(train(), config, model)
        with home.locked():
            # Another process may have gone on meanwhile. Whoever joins first in an attempt is the one that has joined;
            # whoever has trained too long does not undo a later attempt.
            if update is not None and not under_way.is_begun(config):
                if journal.key not in (None, last):
                    raise AlreadyReleased("another attempt has begun while this one trained", phase=ADVERTISE)
                under_way.end()  # of the last one, which is over
                self._guard.begin(config, model)
                under_way.begin(config, update)
            facts = journal.facts()
            answer = client.join(
                request, journal.arrays("update"), facts["weight"], base_model=base, instructions=given
            )
            under_way.goes_on(client, key_of(config), request)
        tell_losses(home.name, config, client.encoded)
        letters = [envelope.data for envelope in client.outbox]
        made = Parcel(parcels.JOINED, (answer, encode(MetricNames(tuple(facts["metrics"]))), *letters)).to_bytes()
        under_way.keep(request.data, made)
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

    # --- the result -------------------------------------------------------------------------------------------

    def _result(self, data: bytes | memoryview, receipt: bytes | memoryview, acceptances: Sequence[bytes]) -> bytes:
        """Verify the round that is over. Whoever was not in it to the end checks it as an outsider does."""
        message, under_way = received(self._home, data), self._under_way
        evidence = read_evidence(self._home, message.bulk)
        config = evidence.config
        mine = self._home.journal.key == key_of(config)
        try:
            key, client = under_way.resumed() if mine else (None, None)
        except LocalProtocolError:  # a crash has come between the attempt's end and this node's answer
            key = client = None
        if key is None or client is None:
            verified = self._believed.learn(evidence, receipt)
        else:
            under_way.take(key, client, (received(self._home, part) for part in acceptances))
            verified = self._believed.finish(client, message, evidence, receipt)
        if mine:
            under_way.end()
        _log.info("%s: round %d of %r is %s", self._home.name, config.round, config.task, verified.finding.word)
        return Parcel(parcels.VERIFIED, (verified.record.digest(),)).to_bytes()
