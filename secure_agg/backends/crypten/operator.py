"""The crypten backend's part of a party: it holds one share of every update and computes on them with the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc import ring
from mpc.keys import KeyPair
from mpc.words import Words, expand_words, words_from_bytes, words_to_bytes
from secure_agg.backends.additive import wire as sealing
from secure_agg.backends.additive.openings import commitment_bytes
from secure_agg.backends.additive.rules import start_of
from secure_agg.backends.contract import Hidden, OperatorSide
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.crypten import compute, rules
from secure_agg.backends.crypten.wire import (
    Candidates,
    Collected,
    Computed,
    Held,
    PartyLetter,
    Refusal,
    Verdicts,
    opening_bytes,
)
from secure_agg.errors import BadKey, BadShare, LocalProtocolError, MalformedMessage, PolicyViolation
from secure_agg.protocol.agreement import attested_bytes
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.identity import Identity, in_id_order, is_id_order
from secure_agg.protocol.messages import CONSISTENCY, Message, Signature, Statement, decode, encode, header_limit
from secure_agg.protocol.session import Session
from zk.transcript import DIGEST_BYTES, digest


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class _Share:
    """One client's share: as a key where it is one."""

    commitment_hash: bytes
    pad: bytes = field(repr=False)
    opening: bytes
    stream_key: bytes = field(repr=False)
    long: Words | None = field(repr=False)

    def expand(self, length: int) -> Words:
        return expand_words(self.stream_key, length) if self.long is None else self.long


class CryptenOperator(OperatorSide):
    """One of k parties. Semi-honest: it is trusted to compute what it is asked to."""

    def __init__(
        self, config: RoundConfig, identity: Identity, parties: AggregatorSet, channel: KeyPair, session: bytes
    ) -> None:
        self._party = parties.names.index(identity.name)
        self._config, self._identity, self._name = config, identity, identity.name
        self._channel, self._sid = channel, session
        self._parties = len(parties.members)
        self._place = compute.Place(config, session, parties.names, self._party)
        self._limit = header_limit(config.cohort_size)
        self._shares: dict[str, _Share] = {}
        self._refused: dict[str, str] = {}
        self._session: Session | None = None
        self._accepted: tuple[str, ...] = ()
        self._survivors: tuple[str, ...] = ()
        self._root = b""

    def __repr__(self) -> str:
        return f"CryptenOperator({self._name!r}, {len(self._shares)} shares)"

    # --- shares ---------------------------------------------------------------------------------------------

    def take(self, name: str, message: Message) -> bytes:
        """Open a share. Any word is one modulo 2^64: whether it is in range is what the parties compute."""
        if self._session is not None:
            raise PolicyViolation("the shares have been counted", phase=rules.SHARE, culprit=name)
        try:
            self._shares[name] = self._open(name, message)
        except (MalformedMessage, BadKey, BadShare) as error:
            self._refused[name] = str(error.args[0])
            raise
        return self._shares[name].commitment_hash

    def _open(self, name: str, message: Message) -> _Share:
        letter = decode(PartyLetter, message.body, self._limit, phase=rules.SHARE, culprit=name)
        bound = (self._sid, name, self._name)
        key = sealing.letter_key(self._channel, *bound, letter.ephemeral, letter.key_hash)
        length = self._config.layout.total
        long = start_of(self._config, name, self._parties) == self._party
        if len(message.bulk) != (8 * length + sealing.SEAL_BYTES if long else 0):
            raise BadShare(f"a share of {len(message.bulk)} sealed bytes", phase=rules.SHARE, culprit=name)
        size = opening_bytes(commitment_bytes(self._config))
        if (len(letter.commitment_hash), len(letter.opening)) != (DIGEST_BYTES, size):
            raise MalformedMessage("a part of a letter has a wrong size", phase=rules.SHARE, culprit=name)
        context = digest("opening", letter.opening)
        try:
            pad, seed, data = sealing.unseal(key, *bound, context, letter.sealed, message.bulk)
            words = words_from_bytes(data, length) if long else None
        except ValueError as error:
            raise BadShare(str(error), phase=rules.SHARE, culprit=name) from error
        return _Share(
            letter.commitment_hash, pad, letter.opening, b"" if long else sealing.stream_key(seed, *bound), words
        )

    # --- phases ---------------------------------------------------------------------------------------------

    def begin(self, session: Session) -> None:
        """Everybody's commitment hash is fixed: openings may be opened."""
        for name, share in list(self._shares.items()):
            if session.commitment_hashes.get(name) != share.commitment_hash:
                del self._shares[name]
                self._refused[name] = "its share is not of the commitment that it has advertised"
        self._session = session

    def answer(self, phase: str, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        """Count the shares; judge them; give out the partial sum, or the result."""
        if len(bulk) or (request and phase != rules.FILTER):
            raise MalformedMessage("a request says more than its phase", phase=phase)
        if phase == rules.COLLECT:
            return self._collect()
        if phase == rules.FILTER:
            return self._filter(request), b""
        if phase == rules.PARTIAL_SUM:
            return b"", words_to_bytes(self._sum())
        if phase == rules.COMPUTE:
            return self._compute()
        raise LocalProtocolError(f"no phase {phase!r}", phase=phase)

    def _collect(self) -> tuple[bytes, Hidden]:
        held = [(name, self._shares[name]) for name in in_id_order(self._shares)]
        refused = [(name, self._refused[name]) for name in in_id_order(self._refused)]
        answer = Collected(
            tuple(Held(name, share.pad) for name, share in held),
            tuple(Refusal(name, reason) for name, reason in refused),
        )
        return encode(answer), b"".join(share.opening for _, share in held)

    def _filter(self, request: bytes) -> bytes:
        """Of each client, whether it is in range and within the bound, and nothing else."""
        names = decode(Candidates, request, self._limit, phase=rules.FILTER).names
        if not is_id_order(names) or not set(names) <= set(self._shares):
            raise PolicyViolation("clients to be judged are not in id order, or not held", phase=rules.FILTER)
        policy = self._config.policy
        least = max(policy.min_clients, policy.quorum(self._config.cohort_size))
        if len(names) < least:
            raise PolicyViolation(f"{len(names)} clients to be judged, {least} are needed", phase=rules.FILTER)
        verdicts = compute.judge(self._place, names, self._matrix(names))
        self._accepted = tuple(name for name, accepted in zip(names, verdicts, strict=True) if accepted)
        return encode(Verdicts(verdicts))

    def agree(self, statement: Statement) -> None:
        """The set has to be those who were accepted, with the commitment hashes that they have advertised: nothing in
        the evidence shows whom the parties accepted, so the coordinator is not believed.
        """
        names = tuple(entry.name for entry in statement.entries)
        if names != self._accepted:
            raise PolicyViolation("the set is not that of the accepted clients", phase=CONSISTENCY)
        for entry in statement.entries:
            if self._shares[entry.name].commitment_hash != entry.value:
                raise PolicyViolation(f"the set names another commitment of {entry.name!r}", phase=CONSISTENCY)
        self._survivors = names
        self._root = rules.SignedByParties().root(statement)

    def _matrix(self, names: tuple[str, ...], length: int | None = None) -> Words:
        """These clients' shares, a row each."""
        total = self._config.layout.total
        rows = np.empty((len(names), length or total), dtype=np.uint64)
        for row, name in zip(rows, names, strict=True):
            row[:] = self._shares[name].expand(total)[: row.size]
        return rows

    def _sum(self) -> Words:
        total = np.zeros(self._config.layout.total, dtype=np.uint64)
        for name in self._survivors:
            total += self._shares[name].expand(total.size)
        return total

    def _compute(self) -> tuple[bytes, Hidden]:
        """The result, signed: nothing else vouches for it."""
        layout = self._config.layout
        shares = self._matrix(self._survivors, layout.values)
        values = compute.order_statistic(self._place, self._survivors, shares)
        result = np.zeros(layout.total, dtype=np.uint32)
        result[: layout.values] = values
        result[layout.values] = rules.addends(self._config.policy, len(self._survivors))
        signed = self._identity.sign(attested_bytes(self._sid, self._root, result))
        attestation = Signature(self._name, signed)
        return encode(Computed(attestation)), ring.byte_view(result)
