"""Rounds of backend ``additive`` whose letters a test can read, alter, hold back and replay; and clients that cheat."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.federation import Federation, Tape, assert_is_mean, bulk_of, channel, forge, header_of, identity, replace

from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES, P, Vector, add_into, from_bytes
from mpc.vector_shares import expand
from secure_agg.backends.additive import AdditiveBackend, rules, wire
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.backends.additive.wire import Reveal, Revealed, Reveals, ShareLetter
from secure_agg.backends.contract import ClientSide
from secure_agg.errors import SecureAggError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import ADVERTISE, Agreed, Envelope, Statement, decode, encode, write
from secure_agg.roles.auditor import Auditor
from zk.commitment import Commitment, commit

A1, A2, A3, A4 = (f"aggregator-{i}" for i in range(1, 5))
CHEAT = "c002"
ALL_OF_3: Mapping[str, int] = {"aggregators": 3}
TWO_OF_3: Mapping[str, int] = {"aggregators": 3, "threshold": 2}
OTHERS = ["c000", "c001", "c003", "c004"]
SIZE = 1 << 24
TWO_OF_4: Mapping[str, int] = {"aggregators": 4, "threshold": 2}
Alter = Callable[[str, str, bytes], bytes | None]


def federation(options: Mapping[str, int] = ALL_OF_3, n: int = 5, **changes: Any) -> Federation:
    return Federation(n, backend="additive", options=options, **changes)


# --- letters --------------------------------------------------------------------------------------------------


class Post(LocalRound):
    """A round with an unreliable post. ``alter`` is given client, aggregator and letter; None loses the letter."""

    def __init__(self, where: Federation, alter: Alter, **changes: Any) -> None:
        clients = {name: where.client(name) for name in where.names}
        super().__init__(where.aggregator(**changes), clients, where.updates, holders=where.staff())
        self.alter = alter
        self.letters: dict[tuple[str, str], bytes] = {}
        self.errors: dict[tuple[str, str], SecureAggError] = {}

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        if phase != ADVERTISE:
            return super().answer(request, phase)
        name = request.recipient
        start_model = self.aggregator.config.start_model
        response = self.clients[name].join(request.data, self.updates[name], start_model=start_model)
        for letter in self.clients[name].outbox:
            self.letters[name, letter.recipient] = letter.data
            data = self.alter(name, letter.recipient, letter.data)
            if data is not None:
                self.post(name, letter.recipient, data)
        return response

    def outbox(self, name: str) -> Sequence[Envelope]:
        """They are delivered with the answer."""
        return ()

    def post(self, client: str, aggregator: str, data: bytes) -> None:
        """Deliver a letter, and its receipt."""
        try:
            self.clients[client].receive(self.holders[aggregator].receive(data))
        except SecureAggError as error:
            self.errors[client, aggregator] = error


class Play(Tape):
    """A tape whose round has such a post."""

    @property
    def post(self) -> Post:
        if not isinstance(self.local, Post):
            raise AssertionError("made by play()")
        return self.local


def as_written(_client: str, _aggregator: str, data: bytes) -> bytes:
    return data


def play(where: Federation, alter: Alter = as_written, **changes: Any) -> Play:
    played = Play(where, Post(where, alter, **changes))
    played.open(played.aggregator.start())
    return played


def only(client: str, aggregator: str, change: Callable[[bytes], bytes | None]) -> Alter:
    """Alter one letter."""
    return lambda c, a, data: change(data) if (c, a) == (client, aggregator) else data


@dataclass(frozen=True)
class Opened:
    """What is in a letter: its aggregator can read this."""

    letter: ShareLetter
    key: bytes
    nonce: bytes
    seed: bytes
    long: bytes


def open_letter(data: bytes) -> Opened:
    header = header_of(data)
    bound = (header.session, header.sender, header.recipient)
    letter = decode(ShareLetter, header.body, 1 << 20)
    key = wire.share_key(channel(header.recipient).shared_secret(letter.ephemeral), *bound)
    nonce, seed, long = wire.unseal(key, *bound, letter.hashes, letter.sealed, memoryview(bulk_of(data)))
    return Opened(letter, key, nonce, seed, long)


def reseal(
    data: bytes,
    *,
    bound: tuple[bytes, str, str] | None = None,
    seal_with: bytes | None = None,
    long: bytes | None = None,
    small: bytes | None = None,
    **letter: Any,
) -> bytes:
    """A client's letter with another content, sealed and signed by the client itself."""
    header, opened = header_of(data), open_letter(data)
    bound = bound or (header.session, header.sender, header.recipient)
    changed = replace(opened.letter, **letter)
    key, small = seal_with or opened.key, opened.nonce + opened.seed if small is None else small
    long = opened.long if long is None else long
    if "sealed" not in letter:
        changed = replace(changed, sealed=wire.seal_small(key, *bound, changed.hashes, small))
    bulk = wire.seal_long(key, *bound, changed.hashes, long) if long else b""
    return forge(data, identity(header.sender), body=encode(changed), bulk=bulk)


def long_holder(config: RoundConfig, client: str, place: int = 0) -> str:
    """An aggregator with a long share of this client."""
    scheme = rules.scheme(config.policy)
    return f"aggregator-{scheme.long_holders(rules.start_of(config, client, scheme.parties))[place] + 1}"


def free_holder(config: RoundConfig, client: str) -> str:
    """An aggregator with a key as share of this client."""
    scheme = rules.scheme(config.policy)
    long = scheme.long_holders(rules.start_of(config, client, scheme.parties))
    return next(f"aggregator-{i + 1}" for i in range(scheme.parties) if i not in long)


# --- clients that cheat ---------------------------------------------------------------------------------------


class Crooked(AdditiveClient):
    """A client that changes its long shares, and signs the hashes of what it has made."""

    def changed(self, party: int, share: Vector) -> Vector:
        return share

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        hashes = super().bind(commitment, nonce, vector)
        signed = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
        for party, share in self._long.items():
            altered = self._long[party] = self.changed(party, share)
            committed = rules.linear_hash(self._config, altered).to_bytes()
            signed[party] = rules.share_hash(self._config, self._name, party, committed, self._nonce(party))
        self._hashes = b"".join(signed)
        return self._hashes


def cheating(patch: pytest.MonkeyPatch, how: type[AdditiveClient], name: str = CHEAT) -> None:
    """One client's part of the backend becomes another."""
    honest = AdditiveBackend.client

    def client(self: AdditiveBackend, config: RoundConfig, who: str, *rest: Any) -> ClientSide:
        side = honest(self, config, who, *rest)
        if who == name:
            side.__class__ = how
        return side

    patch.setattr(AdditiveBackend, "client", client)


def unit(length: int, place: int, value: int = 1) -> Vector:
    out = np.zeros(length, dtype=np.uint32)
    out[place] = value % P
    return out


def plus(one: Vector, other: Vector) -> Vector:
    total = one.copy()
    add_into(total, other)
    return total


def _determinant(rows: list[list[int]]) -> int:
    """By expansion along the first row."""
    if not rows:
        return 1
    top, rest = rows[0], rows[1:]
    return sum((-1) ** j * x * _determinant([row[:j] + row[j + 1 :] for row in rest]) for j, x in enumerate(top)) % P


def hash_zero(config: RoundConfig) -> Vector:
    """A vector whose hash is zero: a long one, since short ones can't be found. Only entries of s are not zero."""
    layout = config.layout
    out = np.zeros(layout.hashed, np.uint32)
    out[layout.elements :] = _kernel(config.commitment.rank)
    return out


@functools.cache
def _kernel(rank: int) -> Vector:
    """k + 1 of the blocks of s, whose products with their a_j sum up to zero: by Cramer's rule at each point ζ_t."""
    one, length, blocks = np.zeros(1, np.uint32), (rank + 2) * N, range(rank + 1)
    a = [commit(one, unit(length, j * N), rank).elements.reshape(rank, N).tolist() for j in blocks]
    shifted = commit(one, unit(length, 1), rank).elements.reshape(rank, N).tolist()
    points = [shifted[0][t] * pow(a[0][0][t], -1, P) % P for t in range(N)]  # ζ_t
    values = np.zeros((rank + 1, N), np.uint64)
    for t in range(N):
        for j in blocks:
            rows = [[a[i][r][t] for i in blocks if i != j] for r in range(rank)]
            values[j, t] = (-1) ** j * _determinant(rows) % P
    inverse = np.array([pow(zeta, -1, P) for zeta in points], np.uint64)
    power, scale = np.ones(N, np.uint64), pow(N, -1, P)
    out = np.zeros((rank + 2, N), np.uint32)
    for i in range(N):
        for j in blocks:
            out[j, i] = int((values[j] * power % P).sum() % P) * scale % P
        power = power * inverse % P
    return out.reshape(-1)


# --- what is asked of a round --------------------------------------------------------------------------------


def assert_exact(tape: Play, evidence: Evidence, participants: Sequence[str]) -> None:
    assert list(evidence.participants) == list(participants)
    where = tape.federation
    average = Auditor(where.trust).verify(evidence).average
    assert_is_mean(average, where.updates, dict.fromkeys(where.names, 1), evidence.participants, evidence.config)


def blamed(tape: Play) -> list[tuple[str, str]]:
    """Who is proved to be at fault: each proof holds before an auditor who knows nothing but its pins."""
    found = []
    for proof in tape.aggregator.faults:
        again = FaultProof.from_bytes(proof.to_bytes())
        assert again == proof
        assert Auditor(tape.federation.trust).verify_fault(again) == proof.culprit
        found.append((proof.kind, proof.culprit))
    return found


def commitment_bytes(config: RoundConfig) -> int:
    """Of one commitment, as it is sent."""
    return ELEMENT_BYTES * N * config.commitment.rank


NOBODY = ""


def refused(call: Callable[[], object], error: type[SecureAggError], culprit: str | None = None) -> None:
    """The call ends in this error, which names the culprit if one is given, and nobody for ``NOBODY``."""
    with pytest.raises(error) as caught:
        call()
    assert culprit is None or (caught.value.culprit or NOBODY) == culprit


def proof(tape: Play, kind: str, culprit: str, public: bytes, *exhibits: bytes, **changes: Any) -> FaultProof:
    where = tape.federation
    fields = {"config": tape.aggregator.config.to_bytes(), "setup": where.setup} | changes
    return FaultProof(kind=kind, culprit=culprit, public=public, exhibits=exhibits, **fields)


def flipped(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def share_of(data: bytes, length: int) -> Vector:
    """The share in a letter, as its aggregator sees it."""
    header, opened = header_of(data), open_letter(data)
    if opened.long:
        return from_bytes(opened.long)
    return expand(wire.stream_key(opened.seed, header.session, header.sender, header.recipient), length)


def statement_of(tape: Play) -> Statement:
    return decode(Statement, header_of(tape.requests["consistency"][A1]).body, SIZE)


def partial_sum_request(tape: Play, recipient: str, shown: Sequence[str]) -> bytes:
    """What a coordinator sends who shows the reveals of these aggregators only."""
    agreed = decode(Agreed, header_of(tape.requests["reveal-commitments"][recipient]).body, SIZE)
    answers = [tape.responses["reveal-commitments"][name] for name in shown]
    items = tuple(
        Reveal(int(name[-1]) - 1, decode(Revealed, header_of(answer).body, SIZE).nonces)
        for name, answer in zip(shown, answers, strict=True)
    )
    body = encode(Agreed(agreed.signatures, encode(Reveals(items))))
    sid = header_of(answers[0]).session
    bulk = b"".join(bulk_of(answer) for answer in answers)
    return write(tape.federation.operator, sid, "partial-sum", recipient, body, bulk)
