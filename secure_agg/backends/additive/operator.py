"""The additive backend's part of an aggregator: it checks and adds up its shares, and gives out one partial sum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc.keys import KeyPair
from mpc.ring import Vector, add_into, byte_view, subtract_from
from mpc.vector_shares import Scheme
from secure_agg.backends.additive import rules, shares, wire
from secure_agg.backends.additive.openings import check_reveals
from secure_agg.backends.additive.shares import OpenedShare
from secure_agg.backends.additive.wire import Collected, PartialSum, Refusal, Revealed, Reveals
from secure_agg.backends.contract import Hidden, OperatorSide, Session
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.errors import BadKey, BadShare, ConfigError, LocalProtocolError, MalformedMessage, PolicyViolation
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Roster, in_id_order
from secure_agg.protocol.messages import Message, Statement, decode, encode, header_limit, pack


@dataclass(frozen=True)
class _Held:
    """What is kept of an accepted share."""

    commitment_hash: bytes
    commitment: bytes
    nonce: bytes = field(repr=False)


class AdditiveOperator(OperatorSide):
    """Holds one share of every update, and learns nothing from it.

    Memory: one vector, and until the set is signed the sealed long shares, 1/k of all or so.
    """

    def __init__(
        self,
        config: RoundConfig,
        name: str,
        scheme: Scheme,
        aggregators: AggregatorSet,
        channel: KeyPair,
        session: bytes,
        setup: bytes,
        cohort: Roster,
    ) -> None:
        self._party, self._bases = aggregators.names.index(name), aggregators.bases
        self._config, self._name, self._scheme = config, name, scheme
        self._channel, self._sid, self._setup, self._cohort = channel, session, setup, cohort
        self._limit = header_limit(config.cohort_size)
        self._sum: Vector = np.zeros(config.layout.hashed, dtype=np.uint32)
        self._held: dict[str, _Held] = {}
        self._letters: dict[str, tuple[Message, bytes]] = {}  # to take a share out again, until the set is signed
        self._refused: dict[str, tuple[str, bytes]] = {}
        self._session: Session | None = None
        self._survivors: tuple[str, ...] = ()
        self._root = b""

    def __repr__(self) -> str:
        return f"AdditiveOperator({self._name!r}, {len(self._held)} shares)"

    # --- shares ---------------------------------------------------------------------------------------------

    def take(self, name: str, message: Message) -> bytes:
        """Open, check and add a share. A refusal is remembered, with the proof where there can be one."""
        if self._session is not None:
            raise PolicyViolation("the shares have been counted", phase=rules.SHARE, culprit=name)
        try:
            letter = shares.read_letter(self._config, self._scheme, name, message.body)
            rules.check_base(self._bases, self._config, name, letter.hashes, phase=rules.SHARE)
            key = wire.letter_key(self._channel, self._sid, name, self._name, letter.ephemeral, letter.key_hash)
        except (MalformedMessage, BadKey, PolicyViolation) as error:
            self._refused[name] = (str(error.args[0]), b"")
            raise
        try:
            share = self._open(name, letter, message.bulk, key)
        except BadShare as error:
            sent = pack(encode(message.header), message.bulk)
            self._refused[name] = (str(error.args[0]), self._proof(rules.BAD_SHARE, name, sent, key).to_bytes())
            raise
        hashed = shares.commitment_hash(self._config, name, letter.hashes)
        add_into(self._sum, share.vector)
        self._held[name] = _Held(hashed, share.commitment, share.nonce)
        self._letters[name] = (message, key)
        return hashed

    def _open(self, name: str, letter: wire.ShareLetter, bulk: memoryview, key: bytes) -> OpenedShare:
        return shares.open_share(
            self._config, self._scheme, self._sid, name, self._party, self._name, letter, bulk, key
        )

    def _proof(self, kind: str, name: str, *exhibits: bytes) -> FaultProof:
        return FaultProof(
            kind=kind,
            culprit=name,
            public=self._cohort[name],
            config=self._config.to_bytes(),
            setup=self._setup,
            exhibits=exhibits,
        )

    def _take_out(self, name: str) -> None:
        message, key = self._letters.pop(name)
        letter = shares.read_letter(self._config, self._scheme, name, message.body)
        subtract_from(self._sum, self._open(name, letter, message.bulk, key).vector)
        del self._held[name]

    # --- phases ---------------------------------------------------------------------------------------------

    def begin(self, session: Session) -> None:
        """Shares of those who have not advertised the same hashes don't count, nor of those whose advertised hashes are
        not what their D_i is made of: what is revealed later is compared with the former, the set names the latter.
        """
        for name, held in list(self._held.items()):
            advertised = shares.commitment_hash(self._config, name, session.parts.get(name, b""))
            if not session.commitment_hashes.get(name) == held.commitment_hash == advertised:
                shown, (message, _) = session.advertisements.get(name), self._letters[name]
                letter = pack(encode(message.header), message.bulk)
                self._take_out(name)
                proof = self._proof(rules.TWO_COMMITMENTS, name, encode(shown), letter).to_bytes() if shown else b""
                self._refused[name] = ("its shares are not those that it has advertised", proof)
        self._session = session

    def answer(self, phase: str, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        """Count the shares; reveal their commitments; give out the partial sum."""
        if phase == rules.COLLECT:
            return self._collect(request, bulk)
        if phase == rules.REVEAL:
            return self._reveal(request, bulk)
        if phase == rules.PARTIAL_SUM:
            return self._partial_sum(request, bulk)
        raise LocalProtocolError(f"no phase {phase!r}", phase=phase)

    def _collect(self, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        _empty(request, bulk, rules.COLLECT)
        refused = [(name, self._refused[name]) for name in in_id_order(self._refused)]
        accepted = tuple(in_id_order(self._held))
        answer = Collected(accepted, tuple(Refusal(name, why, len(proof)) for name, (why, proof) in refused))
        return encode(answer), b"".join(proof for _, (_, proof) in refused)

    def agree(self, statement: Statement) -> None:
        """Every member's share has to be here, and be the one that the set names; others are taken out of the sum."""
        for entry in statement.entries:
            held = self._held.get(entry.name)
            if held is None:
                raise PolicyViolation(f"{entry.name!r} is in the set, its share is not here", phase=rules.COLLECT)
            if held.commitment_hash != entry.value:
                raise PolicyViolation(f"the set names other shares of {entry.name!r}", phase=rules.COLLECT)
        names = tuple(entry.name for entry in statement.entries)
        for name in set(self._held) - set(names):
            self._take_out(name)
        self._letters.clear()
        self._survivors, self._root = names, rules.SignedByAggregators().root(statement)

    def _reveal(self, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        _empty(request, bulk, rules.REVEAL)
        held = [self._held[name] for name in self._survivors]
        answer = Revealed(self._root, b"".join(item.nonce for item in held))
        return encode(answer), b"".join(item.commitment for item in held)

    def _partial_sum(self, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        """Only after the commitments of all shares are open, so that the sum is fixed before anything of it shows."""
        if self._session is None:
            raise ConfigError("the participants are not fixed")
        revealed = decode(Reveals, request, self._limit, phase=rules.PARTIAL_SUM)
        opened = check_reveals(self._session, self._scheme, self._survivors, revealed, bulk)
        own = b"".join(self._held[name].nonce for name in self._survivors)
        if opened.get(self._party) != own:
            raise PolicyViolation("this aggregator's own commitments are missing", phase=rules.PARTIAL_SUM)
        return encode(PartialSum(self._root)), byte_view(self._sum)


def _empty(request: bytes, bulk: memoryview, phase: str) -> None:
    if request or len(bulk):
        raise MalformedMessage("a request says more than its phase", phase=phase)
