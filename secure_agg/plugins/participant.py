"""A node's side of every round, for any framework: payloads in, payloads out.

It drives the role ``Client``. What a round needs from one payload to the next is on the node's own disk, so each may be
handled by a new process, as Flower does, or all by one. What is believed comes from the node's home and nothing from a
payload: who submits a framework's job decides neither roster nor policy, keys or ledger.

A node trains only from a model that everybody else is given too, and after it has verified the last result and found it
in the ledger.
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
from secure_agg.auditor import Auditor, Verified
from secure_agg.client import Client
from secure_agg.codec import model_digest
from secure_agg.errors import LocalProtocolError, MalformedMessage, PolicyViolation, WrongContext
from secure_agg.evidence import MAX_HEADER, Evidence
from secure_agg.ledger.receipt import Receipt
from secure_agg.messages import ADVERTISE, RESULT, Wire, encode, peek, unpack
from secure_agg.plugins import hello, parcels
from secure_agg.plugins.home import ClientHome
from secure_agg.plugins.layers import apply, difference
from secure_agg.plugins.metrics import MetricCodec, scalars
from secure_agg.plugins.parcels import Parcel

EVALUATION: Final = "-evaluation"
"""Ends the id of the task whose rounds sum metrics only, beside the task that trains."""

_log = logging.getLogger("secure_agg.plugins")

Floats = Sequence[npt.NDArray[Any]]
"""The arrays of a model that are averaged, float16, float32 or float64, in the model's order: ``Layers.floats``."""


@dataclass(frozen=True, eq=False)  # arrays have no truth value
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


class MetricNames(Wire, frozen=True):
    """Names of the metrics in a client's vector, in order. They travel in clear: whoever wrote the app knows them."""

    names: tuple[str, ...]


class Participant:
    """One node."""

    def __init__(self, home: ClientHome) -> None:
        self._home = home
        self._client: Client | None = None

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
                this attempt's update is there already.

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
                    self._learn(evidence, receipt)
                return self._join(bytes(request), model, train)
            case parcels.STEP:
                return self._step(*parcel.expect(parcels.STEP, 1, parcels.MAX_PARTS))
            case parcels.RESULT:
                return self._result(*parcel.expect(parcels.RESULT, 2, parcels.MAX_PARTS))
            case other:
                raise MalformedMessage(f"a node answers no payload {other!r}")

    # --- joining ----------------------------------------------------------------------------------------------

    def _join(self, request: bytes, model: Floats, train: Callable[[], Trained]) -> bytes:
        """Check the round and the model, train, and commit to what it came to."""
        home = self._home
        client = Client(home.identity, home.trust, store=home.store)
        base = model_digest(model)
        config = client.examine(request, base_model=base)
        evaluates = config.task == home.task + EVALUATION
        if not evaluates and config.task != home.task:
            raise WrongContext(
                f"the round is of task {config.task!r}, this node's is {home.task!r}",
                phase=ADVERTISE,
                culprit=peek(request, len(request)).sender,
            )
        self.check_model(model, start_model=config.start_model)
        journal = home.journal
        key = (config.task, config.round, config.attempt)
        if journal.key != key:
            trained = train()
            metrics = scalars(trained.metrics)
            coordinates = MetricCodec(config.policy).encode(metrics, trained.weight, secrets.token_bytes(KEY_BYTES))
            update = [] if evaluates else difference(trained.arrays, model)
            arrays = {"update": [*update, coordinates]} | ({} if evaluates else {"model": list(model)})
            journal.begin(key, arrays, {"weight": trained.weight, "metrics": list(metrics)})
        facts = journal.facts()
        answer = client.join(request, journal.arrays("update"), facts["weight"], base_model=base)
        journal.add_request(request)
        if client.clipped:
            _log.info("%s: %d values were clipped to ±%g", home.name, client.clipped, config.policy.clip)
        self._client = client
        letters = [envelope.data for envelope in client.outbox]
        return Parcel(parcels.JOINED, (answer, encode(MetricNames(tuple(facts["metrics"]))), *letters)).to_bytes()

    def check_model(self, model: Floats, *, start_model: bytes) -> None:
        """Refuse a model that is not what the last verified mean has made of the one before.

        Nothing is refused where this node has not seen that result, or its owner leaves the model to the server.

        Args:
            model: what the framework hands out.
            start_model: digest of the result that it should follow from.

        Raises:
            PolicyViolation: it is another model.
        """
        expected = self._home.store.get(self._models, start_model.hex())
        if self._home.checks_model and expected not in (None, model_digest(model)):
            raise PolicyViolation("the model is not what the last verified mean has made of the one before")

    @property
    def _models(self) -> tuple[str, str, str]:
        return (self._home.name, self._home.task, "models")

    # --- the phases -------------------------------------------------------------------------------------------

    def _resumed(self) -> Client:
        """The client in the attempt that the journal is of."""
        if self._client is None:
            home, journal = self._home, self._home.journal
            requests = journal.requests()
            if not requests:
                raise LocalProtocolError("this node has joined no round")
            client = Client(home.identity, home.trust, store=home.store)
            client.resume(requests, lambda: journal.arrays("update"), journal.facts()["weight"])
            self._client = client
        return self._client

    def _step(self, request: bytes | memoryview, *receipts: bytes | memoryview) -> bytes:
        client = self._resumed()
        if client.hidden:
            self._home.journal.drop("update")
        self._take(client, receipts)
        answer = client.receive(bytes(request))
        if answer is None:
            raise MalformedMessage("a receipt came where a request should be", phase=client.state)
        self._home.journal.add_request(request)
        return Parcel(parcels.ANSWER, (answer,)).to_bytes()

    def _take(self, client: Client, receipts: Sequence[bytes | memoryview]) -> None:
        """Keep what shows that this node's input was accepted: if it is left out, it can show that too."""
        key = self._home.journal.key
        if key is None:
            raise LocalProtocolError("this node has joined no round", phase=client.state)
        for receipt in receipts:
            client.receive(bytes(receipt))
        for sender, kept in client.receipts.items():
            self._home.keep_receipt(key, sender, kept)

    # --- the result -------------------------------------------------------------------------------------------

    def _result(
        self, message: bytes | memoryview, receipt: bytes | memoryview, *acceptances: bytes | memoryview
    ) -> bytes:
        """Verify the round that is over. Whoever was not in it to the end checks it as an outsider does."""
        _, bulk = unpack(message, MAX_HEADER)
        config = Evidence.from_bytes(bulk).config
        journal = self._home.journal
        if journal.key != (config.task, config.round, config.attempt) or not journal.requests():
            verified = self._learn(bulk, receipt)
        else:
            client = self._resumed()
            self._take(client, acceptances)
            verified = client.finish(bytes(message), Receipt.from_bytes(receipt))
            if config.task == self._home.task:
                self._expect(journal.arrays("model"), verified)
            self._client = None
            journal.clear()
        _log.info("%s: round %d of %r is verified", self._home.name, config.round, config.task)
        return Parcel(parcels.VERIFIED, (verified.record.digest(),)).to_bytes()

    def _learn(self, evidence: bytes | memoryview, receipt: bytes | memoryview) -> Verified:
        """Verify a round that this node was not in, against its own pins and the ledger."""
        home = self._home
        verified = Auditor(home.trust).verify(Evidence.from_bytes(evidence))
        home.trust.verify_receipt(verified.record, Receipt.from_bytes(receipt))
        bonds.learn_result(home.store, home.name, verified.record)
        return verified

    def _expect(self, model: Floats, verified: Verified) -> None:
        """Remember which model the verified mean makes of the last one."""
        expected = model_digest(apply(model, verified.average[: len(model)]))
        self._home.store.pin(self._models, verified.record.result_model.hex(), expected, phase=RESULT)
