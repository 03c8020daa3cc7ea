"""The parts of the roles: a client splits, a holder adds its shares, the aggregator adds what the holders give out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from mpc import keys, ring
from mpc.keys import KeyAgreementError, KeyPair
from mpc.keystream import KeyStream
from mpc.ring import Vector
from secure_agg.backends.contract import (
    AggregatorSide,
    ClientSide,
    Hidden,
    Joining,
    Letter,
    OperatorSide,
    Outcome,
    Said,
    Session,
    commitment_hash,
    hidden_vector,
    open_commitment,
    session_id,
)
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.errors import BadShare, MalformedMessage, PolicyViolation, RoundAborted
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import Message, Opening, Statement, Wire, decode, encode, header_limit
from zk.commitment import Commitment

COLLECT = "collect"
SUM = "sum"
NONCE_BYTES = 32


class SplitLetter(Wire, frozen=True):
    """A client's letter to one holder. Bulk: the commitment, its nonce and the share, sealed."""

    ephemeral: bytes
    hashed: bytes


class Held(Wire, frozen=True):
    """Phase collect, a holder's answer: of whom it holds a share."""

    names: tuple[str, ...]


class Opened(Wire, frozen=True):
    """Phase sum, a holder's answer: what the clients have committed to. Bulk: the sum of its shares."""

    openings: tuple[Opening, ...]


class SplitClient(ClientSide):
    """All but the last share are from its key stream."""

    def __init__(self, config: RoundConfig, name: str, derive: Callable[[str], bytes], holders: AggregatorSet) -> None:
        self._config, self._name, self._derive, self._holders = config, name, derive, holders

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        last = vector.copy()
        shares = [last]
        for place in range(len(self._holders.members) - 1):
            shares.append(KeyStream(self._derive(f"share-{place}")).residue_vector(vector.size))
            ring.subtract_from(last, shares[-1])
        return Joining(nonce, letters=lambda: self._letters(shares, commitment.to_bytes(), nonce))

    def _letters(self, shares: list[Vector], commitment: bytes, nonce: bytes) -> Iterable[Letter]:
        pair, sid = KeyPair.from_secret(self._derive("channel")), session_id(self._config, None)
        hashed = commitment_hash(self._config, self._name, commitment, nonce)
        for member, share in zip(self._holders.members, shares, strict=True):
            shared, text = pair.shared_secret(member.channel), commitment + nonce + ring.to_bytes(share)
            sealed = keys.seal(shared, sid, self._name.encode(), member.name.encode(), text, hashed)
            yield Letter(member.name, encode(SplitLetter(pair.public, hashed)), sealed)


class SplitHolder(OperatorSide):
    """Holds a share of every update, and adds up those of the set."""

    def __init__(self, config: RoundConfig, name: str, channel: KeyPair) -> None:
        self._config, self._name, self._channel = config, name, channel
        self._held: dict[str, tuple[Opening, bytes, Vector]] = {}
        self._survivors: tuple[str, ...] = ()

    def take(self, name: str, message: Message) -> bytes:
        letter = decode(SplitLetter, message.body, header_limit(self._config.cohort_size), culprit=name)
        sid, size = session_id(self._config, None), 4 * self._config.layout.total
        try:
            shared = self._channel.shared_secret(letter.ephemeral)
            text = keys.unseal(shared, sid, name.encode(), self._name.encode(), message.bulk, letter.hashed)
            share = ring.from_bytes(text[-size:]).copy()
        except (KeyAgreementError, ValueError) as error:
            raise BadShare(f"a share does not open: {error}", culprit=name) from error
        opened, nonce = text[: -size - NONCE_BYTES], text[-size - NONCE_BYTES : -size]
        hashed = commitment_hash(self._config, name, opened, nonce)
        if share.size != self._config.layout.total or hashed != letter.hashed:
            raise BadShare("a share is not the one announced", culprit=name)
        self._held[name] = Opening(name, opened, nonce), letter.hashed, share
        return letter.hashed

    def begin(self, session: Session) -> None:
        for name, (_, hashed, _) in list(self._held.items()):
            if session.commitment_hashes.get(name) != hashed:
                del self._held[name]

    def answer(self, phase: str, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        if request or len(bulk):
            raise MalformedMessage("a request says more than its phase", phase=phase)
        if phase == COLLECT:
            return encode(Held(tuple(sorted(self._held, key=str.encode)))), b""
        total = np.zeros(self._config.layout.total, dtype=np.uint32)
        for name in self._survivors:
            ring.add_into(total, self._held[name][2])
        return encode(Opened(tuple(self._held[name][0] for name in self._survivors))), ring.byte_view(total)

    def agree(self, statement: Statement) -> None:
        for entry in statement.entries:
            if entry.name not in self._held or self._held[entry.name][1] != entry.value:
                raise PolicyViolation(f"the share of {entry.name!r} that the set names is not here")
        self._survivors = tuple(entry.name for entry in statement.entries)


class SplitAggregator(AggregatorSide):
    """Relays, and adds up."""

    def __init__(self, config: RoundConfig, holders: tuple[str, ...]) -> None:
        self._config, self.operators = config, holders
        self._held: dict[str, frozenset[str]] = {}
        self._sums: dict[str, Vector] = {}
        self._openings: tuple[Opening, ...] = ()
        self._survivors: tuple[str, ...] = ()

    def begin(self, session: Session) -> None:
        self._session = session

    def take(self, phase: str, said: Said) -> None:
        name, message, limit = said.name, said.message, header_limit(self._config.cohort_size)
        if phase == COLLECT:
            if len(message.bulk):
                raise MalformedMessage("an answer with a bulk", phase=phase, culprit=name)
            self._held[name] = frozenset(decode(Held, said.part, limit, phase=phase, culprit=name).names)
        elif phase == SUM:
            opened = decode(Opened, said.part, limit, phase=phase, culprit=name).openings
            if tuple(item.name for item in opened) != self._survivors:
                raise MalformedMessage("openings of other clients than the set's", phase=phase, culprit=name)
            for item in opened:
                open_commitment(self._session, item.name, item.commitment, item.nonce)
            if len(message.bulk) != 4 * self._config.layout.total:
                raise MalformedMessage("a sum of another size", phase=phase, culprit=name)
            self._sums[name] = hidden_vector(message.bulk, phase=phase, culprit=name).copy()
            self._openings = opened

    def survivors(self) -> tuple[str, ...]:
        held = [self._held[name] for name in self.operators]
        return tuple(sorted(frozenset(self._session.members).intersection(*held), key=str.encode))

    def agree(self, survivors: tuple[str, ...]) -> None:
        self._survivors = survivors

    def outcome(self) -> Outcome:
        if len(self._sums) < len(self.operators):
            raise RoundAborted(f"{len(self._sums)} sums, {len(self.operators)} are needed", phase=SUM)
        total = np.zeros(self._config.layout.total, dtype=np.uint32)
        for summed in self._sums.values():
            ring.add_into(total, summed)
        return Outcome(total, self._openings)
