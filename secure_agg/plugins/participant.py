"""A node's side of every round, for any framework: payloads in, payloads out.

It drives the role ``Client``. What a round needs from one payload to the next is on the node's own disk, so each may be
handled by a new process, as Flower does, or all by one. What is believed comes from the node's home and nothing from a
payload: who submits a framework's job decides neither roster nor policy, keys or ledger.

A node trains only from a model that everybody else is given too, and after it has verified the last result and found it
in the ledger. Payloads are handled one at a time, whatever threads and processes they come to, but for training.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from mpc.keystream import KEY_BYTES
from secure_agg import bonds
from secure_agg.attempt import end_attempt
from secure_agg.auditor import Auditor, Verified
from secure_agg.client import Client
from secure_agg.codec import model_digest
from secure_agg.config import RoundConfig
from secure_agg.errors import (
    AlreadyReleased,
    LocalProtocolError,
    MalformedMessage,
    PolicyViolation,
    RemoteProtocolError,
    WrongContext,
    WrongPhase,
)
from secure_agg.evidence import Evidence
from secure_agg.ledger.receipt import Receipt
from secure_agg.messages import (
    ADVERTISE,
    MAX_CONFIG,
    MAX_SETUP,
    RECEIPT,
    RESULT,
    Wire,
    encode,
    header_limit,
    peek,
    unpack,
)
from secure_agg.plugins import hello, parcels
from secure_agg.plugins.home import ClientHome
from secure_agg.plugins.journal import Key
from secure_agg.plugins.layers import apply, difference
from secure_agg.plugins.metrics import MetricCodec, scalars
from secure_agg.plugins.parcels import Parcel

EVALUATION: Final = "-evaluation"
"""Ends the id of the task whose rounds sum metrics only, beside the task that trains."""

_MAX_FIRST: Final = 4 + MAX_CONFIG + MAX_SETUP.stop
"""Most bytes of a round's first request."""
_MEMBER: Final = 1 << 16
"""Most bytes of evidence about one member of the cohort."""

_log = logging.getLogger("secure_agg.plugins")

Floats = Sequence[npt.NDArray[Any]]
"""The arrays of a model that are averaged, float16, float32 or float64, in the model's order: ``Layers.floats``."""


@dataclass(frozen=True, eq=False, repr=False)  # arrays have no truth value, and a node's own stay out of its logs
class Trained:
    """What local training, or evaluation, has come to.

    Attributes:
        arrays: of the new model, shaped like those of the one it was trained from; empty for an evaluation.
        weight: number of examples, 1 to the policy's max_weight.
        metrics: scalars by name.
    """

    arrays: Floats
    weight: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class _Update:
    """What this node's training has come to, as its vector takes it."""

    arrays: Floats
    weight: int
    metrics: tuple[str, ...]


class MetricNames(Wire, frozen=True):
    """Names of the metrics in a client's vector, in order. They travel in clear: whoever wrote the app knows them."""

    names: tuple[str, ...]


class Participant:
    """One node."""

    def __init__(self, home: ClientHome) -> None:
        self._home = home
        self._clients: dict[Key, Client] = {}  # one at most: that of the attempt under way, while this object lives
        self._members = len(home.trust.task(home.task).roster)

    def __repr__(self) -> str:
        return f"Participant({self._home.name!r})"

    def handle(
        self, payload: bytes | memoryview, model: Floats = (), train: Callable[[], Trained] | None = None
    ) -> bytes:
        """Answer one payload.

        Args:
            payload: as the server's coordinator made it.
            model: what the framework hands out to train from, or to evaluate; with a payload ``join``.
            train: called for a payload ``join`` after the model and the last result have been checked; not called where
                this attempt's update is there already. Other payloads may be handled meanwhile.

        Returns:
            The payload to send back.

        Raises:
            SecureAggError: this node refuses; names phase and culprit where they are known.
        """
        parcel = Parcel.from_bytes(payload)
        match parcel.kind:
            case parcels.HELLO:
                (challenge,) = parcel.expect(parcels.HELLO, 1)
                answer = hello.answer_challenge(self._home.identity, self._home.trust.operators, challenge)
                return Parcel(parcels.HELLO, (answer,)).to_bytes()
            case parcels.JOIN:
                if train is None:
                    raise LocalProtocolError("a round is joined with something to train", phase=ADVERTISE)
                request, evidence, receipt = parcel.expect(parcels.JOIN, 3)
                if len(evidence):
                    with self._home.locked():
                        self._learn(evidence, receipt)
                return self._join(_bounded(request, _MAX_FIRST), model, train)
            case parcels.STEP:
                with self._home.locked():
                    return self._step(*self._messages(parcel.expect(parcels.STEP, 1, parcels.MAX_PARTS)))
            case parcels.RESULT:
                message, receipt, *acceptances = parcel.expect(parcels.RESULT, 2, parcels.MAX_PARTS)
                with self._home.locked():
                    return self._result(message, receipt, self._messages(acceptances))
            case other:
                raise MalformedMessage(f"a node answers no payload {other!r}")

    def _messages(self, parts: Sequence[bytes | memoryview]) -> list[bytes]:
        """Copies of messages that a node may be sent after the first."""
        return [_bounded(part, 4 + header_limit(self._members)) for part in parts]

    # --- joining ----------------------------------------------------------------------------------------------

    def _join(self, request: bytes, model: Floats, train: Callable[[], Trained]) -> bytes:
        """Check the round and the model, train, and commit to what it came to."""
        home, journal = self._home, self._home.journal
        client = Client(home.identity, home.trust, store=home.store)
        base = model_digest(model)
        with home.locked():
            config = client.examine(request, base_model=base)
            try:
                self._check_round(config, model)
            except RemoteProtocolError as error:
                error.phase, error.culprit = ADVERTISE, peek(request, len(request)).sender
                raise
            last, begun = journal.key, self._is_begun(config)
        update = None if begun else self._train(config, model, train)
        with home.locked():
            # Another process may have gone on meanwhile. Whoever joins first in an attempt is the one that has joined;
            # whoever has trained too long does not undo a later attempt.
            if update is not None and not self._is_begun(config):
                if journal.key not in (None, last):
                    raise AlreadyReleased("another attempt has begun while this one trained", phase=ADVERTISE)
                self._begin(config, model, update)
            facts = journal.facts()
            answer = client.join(request, journal.arrays("update"), facts["weight"], base_model=base)
            journal.add_request(request)
            self._clients = {_key(config): client}
        if client.clipped:
            _log.info("%s: %d values were clipped to ±%g", home.name, client.clipped, config.policy.clip)
        letters = [envelope.data for envelope in client.outbox]
        return Parcel(parcels.JOINED, (answer, encode(MetricNames(tuple(facts["metrics"]))), *letters)).to_bytes()

    def _check_round(self, config: RoundConfig, model: Floats) -> None:
        """Whether a round that the roles would join is one of this home's, from this model.

        Raises:
            WrongContext: it is of another task, or its vector is not what this model and the metrics need.
            PolicyViolation: see ``_check_model``.
        """
        home = self._home
        if config.task not in (home.task, home.task + EVALUATION):
            raise WrongContext(f"the round is of task {config.task!r}, this node's is {home.task!r}")
        shapes = tuple(array.shape for array in model) if config.task == home.task else ()
        if config.shapes != (*shapes, (MetricCodec(config.policy).size,)):
            raise WrongContext("the round's arrays are not those of the model and its metrics")
        self._check_model(config)  # whose base_model is the digest of this model

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

    def _train(self, config: RoundConfig, model: Floats, train: Callable[[], Trained]) -> _Update:
        trained = train()
        metrics = scalars(trained.metrics)
        coordinates = MetricCodec(config.policy).encode(metrics, trained.weight, secrets.token_bytes(KEY_BYTES))
        step = difference(trained.arrays, model) if config.task == self._home.task else []
        return _Update([*step, coordinates], trained.weight, tuple(metrics))

    def _begin(self, config: RoundConfig, model: Floats, update: _Update) -> None:
        """Write down what the attempt begins with, in place of the last one, which is over."""
        home = self._home
        self._end_last()
        if config.task == home.task:
            home.base.begin(_key(config), {"model": model}, {"digest": config.base_model.hex()})
        facts = {"context": config.context.hex(), "weight": update.weight, "metrics": update.metrics}
        home.journal.begin(_key(config), {"update": update.arrays}, facts)

    def _end_last(self) -> None:
        """Forget the attempt that the journal is of: its secrets too, if it came to nothing."""
        key, self._clients = self._home.journal.key, {}
        if key is not None:
            end_attempt(self._home.store, (self._home.name, *key))
            self._home.journal.clear()

    def _check_model(self, config: RoundConfig) -> None:
        """Refuse a model that is not what the last verified mean has made of the one before.

        Nothing is refused where this node did not join the round of that result, or its owner leaves the model to the
        server.

        Raises:
            PolicyViolation: it is another model.
        """
        expected = self._home.store.get(self._models, config.start_model.hex())
        if self._home.checks_model and expected not in (None, config.base_model):
            raise PolicyViolation("the model is not what the last verified mean has made of the one before")

    @property
    def _models(self) -> tuple[str, str, str]:
        return (self._home.name, self._home.task, "models")

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
        if key not in self._clients:
            client = Client(home.identity, home.trust, store=home.store)
            client.resume(requests, lambda: journal.arrays("update"), journal.facts()["weight"])
            self._clients = {key: client}
        return key, self._clients[key]

    def _step(self, request: bytes, *receipts: bytes) -> bytes:
        key, client = self._resumed()
        self._take(key, client, receipts)
        answer = client.receive(request)
        if answer is None:
            raise MalformedMessage("a receipt came where a request should be", phase=client.state)
        self._home.journal.add_request(request)
        if client.hidden:
            self._home.journal.drop("update")
        return Parcel(parcels.ANSWER, (answer,)).to_bytes()

    def _take(self, key: Key, client: Client, receipts: Sequence[bytes]) -> None:
        """Keep what shows that this node's input was accepted: if it is left out, it can show that too."""
        for receipt in receipts:
            if (phase := peek(receipt, len(receipt)).phase) != RECEIPT:
                raise WrongPhase(f"a message of phase {phase!r} came as a receipt", phase=client.state)
            client.receive(receipt)
        for sender, kept in client.receipts.items():
            self._home.keep_receipt(key, sender, kept)

    # --- the result -------------------------------------------------------------------------------------------

    def _result(self, message: bytes | memoryview, receipt: bytes | memoryview, acceptances: Sequence[bytes]) -> bytes:
        """Verify the round that is over. Whoever was not in it to the end checks it as an outsider does."""
        _, bulk = unpack(message, header_limit(self._members))
        config = self._evidence(bulk).config
        mine = self._home.journal.key == _key(config)
        try:
            key, client = self._resumed() if mine else (None, None)
        except LocalProtocolError:  # a crash has come between the attempt's end and this node's answer
            key = client = None
        if key is None or client is None:
            verified = self._learn(bulk, receipt)
        else:
            self._take(key, client, acceptances)
            verified = client.finish(message, Receipt.from_bytes(receipt))
            self._expect(config, verified)
        if mine:
            self._end_last()
        _log.info("%s: round %d of %r is %s", self._home.name, config.round, config.task, verified.finding.word)
        return Parcel(parcels.VERIFIED, (verified.record.digest(),)).to_bytes()

    def _evidence(self, data: bytes | memoryview) -> Evidence:
        """Decode evidence of no more members than are pinned."""
        unpack(data, MAX_CONFIG + MAX_SETUP.stop + (self._members + 1) * _MEMBER)
        return Evidence.from_bytes(data)

    def _learn(self, data: bytes | memoryview, receipt: bytes | memoryview) -> Verified:
        """Verify a round as an outsider, against this node's own pins and the ledger."""
        home, evidence = self._home, self._evidence(data)
        verified = Auditor(home.trust).verify(evidence)
        home.trust.verify_receipt(verified.record, Receipt.from_bytes(receipt))
        bonds.learn_result(home.store, home.name, verified.record)
        self._expect(evidence.config, verified)
        return verified

    def _expect(self, config: RoundConfig, verified: Verified) -> None:
        """Remember which model the verified mean makes of the one that this node trained from, if it did."""
        base = self._home.base
        if config.task != self._home.task or base.key is None or base.facts()["digest"] != config.base_model.hex():
            return
        model = base.arrays("model")
        expected = model_digest(apply(model, verified.average[: len(model)]))
        self._home.store.pin(self._models, verified.record.result_model.hex(), expected, phase=RESULT)
        base.clear()


def _key(config: RoundConfig) -> Key:
    return (config.task, config.round, config.attempt)


def _bounded(part: bytes | memoryview, limit: int) -> bytes:
    """A copy of a part that is not too large for what it has to be."""
    if len(part) > limit:
        raise MalformedMessage(f"a part of {len(part)} bytes, above {limit}")
    return bytes(part)
