"""A small federation for tests: identities, pins, and rounds that stop where a test wants to interfere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.aggregator import Aggregator
from secure_agg.client import Client
from secure_agg.config import Option, Policy, RoundConfig
from secure_agg.evidence import Evidence
from secure_agg.identity import Identity, Roster
from secure_agg.messages import (
    AdvertisementList,
    Envelope,
    Header,
    Wire,
    decode,
    encode,
    pack,
    peek,
    signed_bytes,
    unpack,
)
from secure_agg.rounds import LocalRound
from secure_agg.store import AttemptStore
from secure_agg.trust import TaskTrust, Trust

LIMIT = 1 << 24
_W = TypeVar("_W", bound=Wire)
_cache: dict[str, Identity] = {}


def identity(name: str) -> Identity:
    """A fixed identity: tests need no fresh ones."""
    if name not in _cache:
        _cache[name] = Identity(name, hashlib.sha256(name.encode()).digest())
    return _cache[name]


def names(n: int) -> list[str]:
    return [f"c{i:03d}" for i in range(n)]


@dataclass
class Federation:
    """n clients with known updates, one aggregator, and what all of them have pinned."""

    n: int = 5
    shapes: tuple[tuple[int, ...], ...] = ((7,), (2, 3))
    seed: int = 0
    backend: str = "masking"
    options: Mapping[str, int] = field(default_factory=dict)
    policy_changes: Mapping[str, Any] = field(default_factory=dict)
    task: str = "task"

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.names = names(self.n)
        self.updates = {
            name: [rng.normal(size=shape).astype(np.float32) for shape in self.shapes] for name in self.names
        }
        self.policy = Policy.default(
            self.n,
            backend=self.backend,
            options=tuple(Option(k, v) for k, v in sorted(self.options.items())),
            **self.policy_changes,
        )
        self.operator = identity("aggregator")
        self.roster = Roster({name: identity(name).public for name in self.names})
        self.trust = Trust(
            tasks={self.task: TaskTrust(self.roster, self.policy)},
            operators=Roster({self.operator.name: self.operator.public}),
        )
        self.stores = {name: AttemptStore() for name in self.names}

    def config(self, **changes: Any) -> RoundConfig:
        values: dict[str, Any] = {"task": self.task, "round": 0, "shapes": self.shapes} | changes
        return RoundConfig.create(
            policy=self.policy, cohort=self.trust.cohort(self.task), operators=self.trust.operators, **values
        )

    def client(self, name: str) -> Client:
        """A client on its durable store: the same call again is that client after a restart."""
        return Client(identity(name), self.trust, store=self.stores[name])

    def aggregator(self, **changes: Any) -> Aggregator:
        return Aggregator(self.operator, self.config(**changes), self.roster)

    def round(self, silent: Mapping[str, str] | None = None, **changes: Any) -> LocalRound:
        clients = {name: self.client(name) for name in self.names}
        return LocalRound(self.aggregator(**changes), clients, self.updates, None, silent)


@dataclass
class Tape:
    """A round played phase by phase, with every request and response kept, so that they can be altered and replayed."""

    federation: Federation
    local: LocalRound
    requests: dict[str, dict[str, bytes]] = field(default_factory=dict)
    responses: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pending: list[Envelope] = field(default_factory=list)

    @staticmethod
    def start(federation: Federation, silent: Mapping[str, str] | None = None, **changes: Any) -> Tape:
        tape = Tape(federation, federation.round(silent, **changes))
        tape.open(tape.local.aggregator.start())
        return tape

    @property
    def aggregator(self) -> Aggregator:
        return self.local.aggregator

    @property
    def phase(self) -> str:
        return self.aggregator.state

    def client(self, name: str) -> Client:
        return self.local.clients[name]

    def open(self, envelopes: list[Envelope]) -> None:
        self.pending = envelopes
        if envelopes:
            self.requests[self.phase] = {envelope.recipient: envelope.data for envelope in envelopes}

    def answer(self, name: str) -> bytes:
        """The named client's response to its pending request, not yet handed to the aggregator."""
        request = Envelope(name, self.requests[self.phase][name])
        response = self.local.answer(request, self.phase)
        if response is None:
            raise AssertionError("a request is answered")
        self.responses.setdefault(self.phase, {})[name] = response
        return response

    def deliver(self, response: bytes) -> None:
        for envelope in self.aggregator.receive(response):
            self.local.answer(envelope, self.phase)

    def answer_all(self, *, but: tuple[str, ...] = ()) -> None:
        for envelope in self.pending:
            if envelope.recipient not in but and self.local.speaks(envelope.recipient, self.phase):
                self.deliver(self.answer(envelope.recipient))

    def advance(self) -> None:
        self.open(self.aggregator.advance())

    def until(self, phase: str) -> Tape:
        """Play honestly until the requests of ``phase`` are out."""
        while self.phase != phase:
            self.answer_all()
            self.advance()
        return self

    def finish(self) -> Evidence:
        while self.pending:
            self.answer_all()
            self.advance()
        if self.aggregator.evidence is None:
            raise AssertionError("an honest round ends with evidence")
        return self.aggregator.evidence


def header_of(data: bytes) -> Header:
    return peek(data, LIMIT)


def bulk_of(data: bytes) -> bytes:
    return bytes(unpack(data, LIMIT)[1])


def forge(data: bytes, signer: Identity | None, *, bulk: bytes | None = None, **changes: Any) -> bytes:
    """``data`` with header fields replaced; signed anew by ``signer``, or left with the old signature."""
    header, old_bulk = header_of(data), bulk_of(data)
    new_bulk = old_bulk if bulk is None else bulk
    values = {f: getattr(header, f) for f in Header.__struct_fields__} | changes
    if bulk is not None and "bulk_digest" not in changes:
        values["bulk_digest"] = hashlib.sha256(bulk).digest() if bulk else b""
    if signer is not None:
        signed = ("session", "phase", "sender", "recipient", "body", "bulk_digest")
        values["signature"] = signer.sign(signed_bytes(*(values[f] for f in signed)))
    return pack(encode(Header(**values)), new_bulk)


def edit(data: bytes, signer: Identity | None, kind: type[_W], change: Callable[[_W], _W], **headers: Any) -> bytes:
    """``data`` with its body decoded, changed and signed anew."""
    body = decode(kind, header_of(data).body, LIMIT)
    return forge(data, signer, body=encode(change(body)), **headers)


def edit_first(data: bytes, signer: Identity, change: Callable[[AdvertisementList], AdvertisementList]) -> bytes:
    """The same for a first request after *advertise*, which carries the advertisements."""
    return edit(data, signer, AdvertisementList, change)


def replace(item: _W, /, **changes: Any) -> _W:
    """A copy of a wire struct with some fields changed."""
    return msgspec.structs.replace(item, **changes)


def expected_mean(
    updates: Mapping[str, list[npt.NDArray[Any]]],
    weights: Mapping[str, int],
    participants: tuple[str, ...],
    policy: Policy,
) -> list[npt.NDArray[np.float64]]:
    """The oracle: numpy's exact integer sum of the documented encoding, decoded by the documented formula."""
    top, c = (1 << policy.bits) - 1, policy.clip
    total = sum(weights[name] for name in participants)
    means = []
    for i in range(len(updates[participants[0]])):
        exact = np.zeros(updates[participants[0]][i].shape, dtype=np.int64)
        for name in participants:
            limited = np.clip(updates[name][i].astype(np.float64), -c, c) * (weights[name] / policy.max_weight)
            exact += np.clip(np.floor((limited + c) * (top / (2 * c)) + 0.5), 0, top).astype(np.int64)
        factor = (c * policy.max_weight) / float(top * total)
        means.append((2.0 * exact - float(len(participants) * top)) * factor)
    return means
