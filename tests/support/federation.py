"""A small federation for tests: identities, pins, and rounds that stop where a test wants to interfere."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from support.paillier import SECRET, P, Q

from mpc.keys import KeyPair
from mpc.paillier.paillier import SecretKey, generate
from mpc.paillier.threshold import KeyShare, deal
from secure_agg import backends
from secure_agg.backends.contract import Opener
from secure_agg.backends.homomorphic.paillier_scheme import CommitteeOpener, PaillierOpener
from secure_agg.local.rounds import LocalRound
from secure_agg.local.staff import AGGREGATORS, KEY_HOLDERS, Staff
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    ADVERTISE,
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
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.driver import post
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust

LIMIT = 1 << 24
_W = TypeVar("_W", bound=Wire)
_cache: dict[str, Identity] = {}


def identity(name: str) -> Identity:
    """A fixed identity: tests need no fresh ones."""
    if name not in _cache:
        _cache[name] = Identity(name, hashlib.sha256(name.encode()).digest())
    return _cache[name]


def channel(name: str) -> KeyPair:
    """An aggregator's fixed channel key."""
    return KeyPair.from_secret(hashlib.sha256(b"channel" + name.encode()).digest())


def names(n: int) -> list[str]:
    return [f"c{i:03d}" for i in range(n)]


# --- keys -----------------------------------------------------------------------------------------------------


@functools.cache
def paillier_key(bits: int) -> SecretKey:
    """A whole key: of 2,048 bits that of primes which were found before, else generated once for a process."""
    return SECRET if bits == 2048 else generate(bits)


@functools.cache
def threshold_shares(threshold: int, members: tuple[str, ...]) -> dict[str, KeyShare]:
    """A key of 2,048 bits from safe primes that were found before, dealt among ``members``."""
    return deal(threshold, members, bits=2048, primes=(P, Q))[1]


_keys: dict[tuple[object, ...], dict[str, Opener]] = {}


def openers(config: RoundConfig, holders: tuple[str, ...]) -> dict[str, Opener]:
    """The secrets of the key holders of rounds like this one; made once for every setting."""
    policy = config.policy
    if policy.backend == "paillier":
        if len(holders) == 1:
            return {holders[0]: PaillierOpener(paillier_key(policy.option("modulus_bits", 3072)))}
        shares = threshold_shares(policy.option("threshold", (len(holders) + 1) // 2 + 1), holders)
        return {name: CommitteeOpener(share) for name, share in shares.items()}
    setting = (policy.backend, policy.bits, policy.max_clients, config.layout.total, holders)
    if setting not in _keys:
        keyed = backends.load(policy.backend).keys
        assert keyed is not None
        _keys[setting] = keyed.generate(config, holders)
    return _keys[setting]


# --- rounds ---------------------------------------------------------------------------------------------------


def on_grid(values: npt.NDArray[np.float64], policy: Policy) -> npt.NDArray[np.float64]:
    """The nearest values that are encoded as integers without rounding, with a weight at the limit."""
    rounded: npt.NDArray[np.float64] = np.rint(np.clip(values, -policy.clip, policy.clip) / policy.step) * policy.step
    return rounded


@dataclass
class Federation:
    """n clients with known updates, one aggregator, key holders where the backend has them, and what all have pinned.

    A key holder's store is durable for as long as the federation is: ``holder`` is that holder after a restart.
    """

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
        self.policy = Policy.default(
            self.n,
            backend=self.backend,
            options=tuple(Option(k, v) for k, v in sorted(self.options.items())),
            **self.policy_changes,
        )
        self.updates = {
            name: [on_grid(rng.normal(size=shape), self.policy) for shape in self.shapes] for name in self.names
        }
        self.operator = identity("aggregator")
        kind = backends.load(self.backend)
        count = kind.seats(self.policy).count
        self.holder_names = KEY_HOLDERS[:count] if kind.keys else ()
        self.share_holder_names = AGGREGATORS[:count] if kind.shares else ()
        self.staff_names = (*self.holder_names, *self.share_holder_names)
        operators = [self.operator, *(identity(name) for name in self.staff_names)]
        self.roster = Roster({name: identity(name).public for name in self.names})
        claim = kind.result(self.policy).claim
        self.trust = Trust(
            tasks={self.task: TaskTrust(self.roster, self.policy, frozenset({claim}))},
            operators=Roster({operator.name: operator.public for operator in operators}),
        )
        self.stores = {name: AttemptStore() for name in self.names}
        self.holder_stores = {name: AttemptStore() for name in self.staff_names}
        self.openers: dict[str, Opener] = {}
        self.certificate: KeyCertificate | None = None
        if self.holder_names:
            self.openers = openers(self._config({}), self.holder_names)
            self.certificate = self.certify(self.openers[self.holder_names[0]].public)

    def certify(
        self, public: bytes, *holders: str, task: str | None = None, backend: str | None = None
    ) -> KeyCertificate:
        """A certificate for a key, by default of this federation's key holders for its task."""
        signers = [identity(name) for name in holders or self.holder_names]
        return KeyCertificate.issue(backend or self.backend, task or self.task, public, signers)

    @property
    def setup(self) -> bytes:
        """The public material of a round: the certificate or the set of aggregators, if the backend needs one."""
        if self.share_holder_names:
            members = {name: identity(name) for name in self.share_holder_names}
            return Staff.of(self._config({}), members, channels={name: channel(name) for name in members}).setup
        return self.certificate.to_bytes() if self.certificate else b""

    def config(self, **changes: Any) -> RoundConfig:
        return self._config({"setup": setup_digest(self.setup) if self.setup else b""} | changes)

    def _config(self, changes: Mapping[str, Any]) -> RoundConfig:
        """The task's first round, or another where something is changed."""
        given = {{"round": "number"}.get(name, name): value for name, value in changes.items()}
        odd = {name: given.pop(name) for name in ("task", "log_key", "previous_record") if name in given}
        shapes = given.pop("shapes", self.shapes)
        return replace(Task(self.task, self.trust).next_round(shapes, **given), **odd)

    def client(self, name: str) -> Client:
        """A client on its durable store: the same call again is that client after a restart."""
        return Client(identity(name), self.trust, store=self.stores[name])

    def holder(self, name: str = KEY_HOLDERS[0], **changes: Any) -> KeyHolder:
        """A key holder on its durable store: the same call again is that holder after a restart."""
        values: dict[str, Any] = {"store": self.holder_stores[name]} | changes
        opener, certificate = values.pop("opener", self.openers[name]), values.pop("certificate", self.certificate)
        return KeyHolder(identity(name), values.pop("trust", self.trust), opener, certificate, **values)

    def share_holder(self, name: str, **changes: Any) -> ShareHolder:
        """An aggregator on its durable store: the same call again is that aggregator after a restart."""
        return ShareHolder(identity(name), self.trust, channel(name), store=self.holder_stores[name], **changes)

    def staff(self) -> dict[str, OperatorRole]:
        """All operators but the one that coordinates."""
        holders: dict[str, OperatorRole] = {name: self.holder(name) for name in self.holder_names}
        return holders | {name: self.share_holder(name) for name in self.share_holder_names}

    def aggregator(self, convicted: tuple[str, ...] = (), **changes: Any) -> Aggregator:
        return Task(self.task, self.trust).lead(self.operator, self.config(**changes), self.setup, convicted)

    def round(self, silent: Mapping[str, str] | None = None, **changes: Any) -> LocalRound:
        clients = {name: self.client(name) for name in self.names}
        return LocalRound(self.aggregator(**changes), clients, self.updates, None, silent, self.staff())


@dataclass
class Tape:
    """A round played phase by phase, with every request and response kept, so that they can be altered and replayed."""

    federation: Federation
    local: LocalRound
    requests: dict[str, dict[str, bytes]] = field(default_factory=dict)
    responses: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pending: Sequence[Envelope] = ()

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

    def open(self, envelopes: Sequence[Envelope]) -> None:
        self.pending = envelopes
        if envelopes:
            self.requests[self.phase] = {envelope.recipient: envelope.data for envelope in envelopes}

    def answer(self, name: str) -> bytes:
        """The named client's response to its pending request, not yet handed to the aggregator."""
        request = Envelope(name, self.requests[self.phase][name])
        holder = self.local.holders.get(name)
        response = holder.receive(request.data) if holder else self.local.answer(request, self.phase)
        if response is None:
            raise AssertionError("a request is answered")
        if self.phase == ADVERTISE and holder is None:
            for receipt in post(name, self.local.outbox(name), self.local.holders):
                self.local.give(name, receipt)
        self.responses.setdefault(self.phase, {})[name] = response
        return response

    def deliver(self, response: bytes) -> None:
        for envelope in self.aggregator.receive(response):
            self.local.answer(envelope, self.phase)

    def answer_all(self, *, but: tuple[str, ...] = ()) -> None:
        for envelope in self.pending:
            asked = envelope.recipient in self.local.holders or self.local.speaks(envelope.recipient, self.phase)
            if asked and envelope.recipient not in but:
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


def assert_is_mean(
    average: Sequence[npt.NDArray[np.float64]],
    updates: Mapping[str, list[npt.NDArray[Any]]],
    weights: Mapping[str, int],
    participants: tuple[str, ...],
    config: RoundConfig,
) -> None:
    """The oracle: ``average`` is to the bit what the documented formula makes of a sum of integers, and each of these
    is off from the exact sum of the clipped, weighted updates by less than one for each summand. Rounding is secret.
    """
    policy, limit = config.policy, config.weight_limit
    half, c = policy.top // 2, policy.clip
    total = sum(weights[name] for name in participants)
    factor = (c * float(limit)) / float(half * total)
    assert len(average) == len(updates[participants[0]])
    for i, mean in enumerate(average):
        exact = np.zeros(mean.shape)
        for name in participants:
            exact += np.clip(updates[name][i].astype(np.float64), -c, c) * (weights[name] / limit) * (half / c)
        sums = np.rint(mean / factor)
        assert np.array_equal(sums * factor, mean)
        assert float(np.abs(sums - exact).max()) < len(participants) + 1e-6
