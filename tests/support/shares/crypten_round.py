"""Rounds of backend ``crypten`` phase by phase, its letters opened and sealed anew, and clients that share anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation, assert_is_mean, bulk_of, channel, forge, header_of, identity, replace
from support.shares.additive_round import Alter, Play, Post, as_written

from mpc.ring import Vector
from mpc.words import Words
from secure_agg.backends.additive import wire as sealing
from secure_agg.backends.additive.rules import start_of
from secure_agg.backends.contract import ClientSide
from secure_agg.backends.crypten import CryptenBackend, compute
from secure_agg.backends.crypten.client import CryptenClient
from secure_agg.backends.crypten.wire import PartyLetter
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.auditor import Auditor
from zk.commitment import Commitment
from zk.transcript import digest

PARTIES = A1, A2, A3 = ("aggregator-1", "aggregator-2", "aggregator-3")
NORM: Mapping[str, int] = {"norm_bound_milli": 20_000}
TRIMMED: Mapping[str, int] = {"function": 1, "trim": 1}
MEDIAN: Mapping[str, int] = {"function": 2}


def federation(options: Mapping[str, int] = NORM, n: int = 5, **changes: Any) -> Federation:
    return Federation(n, backend="crypten", options=options, **changes)


class Session(Play):
    """A tape whose operators are asked all at once, since they compute together."""

    def until(self, phase: str) -> Session:
        super().until(phase)
        return self

    def answer_all(self, *, but: tuple[str, ...] = ()) -> None:
        if not self.aggregator.asks_operators:
            super().answer_all(but=but)
            return
        asked = [envelope.recipient for envelope in self.pending if envelope.recipient not in but]
        for response in self.ask(asked):
            self.deliver(response)

    def ask(self, names: Sequence[str] = PARTIES) -> list[bytes]:
        """These parties' answers to their requests; the first error of any."""
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(self.answer, names))

    def fail(self, names: Sequence[str] = PARTIES) -> list[Exception]:
        """What each of these parties raises."""
        with ThreadPoolExecutor(len(names)) as pool:
            errors = [future.exception() for future in [pool.submit(self.answer, name) for name in names]]
        return [error for error in errors if isinstance(error, Exception)]

    def hear(self, answers: Sequence[bytes]) -> None:
        """Deliver these answers, and close the phase."""
        for answer in answers:
            self.deliver(answer)
        self.advance()

    def request(self, name: str, **changes: Any) -> None:
        """Alter a pending request as only a dishonest coordinator would."""
        of_phase = self.requests[self.phase]
        of_phase[name] = forge(of_phase[name], self.federation.operator, **changes)


def play(where: Federation, alter: Alter = as_written, **changes: Any) -> Session:
    played = Session(where, Post(where, alter, **changes))
    played.open(played.aggregator.start())
    return played


def assert_left_out(tape: Session, *names: str) -> None:
    """The round ends, without these clients, with the right mean of the others."""
    evidence, where = tape.finish(), tape.federation
    assert evidence.participants == tuple(name for name in where.names if name not in names)
    average = Auditor(where.trust).verify(evidence).average
    assert_is_mean(average, where.updates, dict.fromkeys(where.names, 1), evidence.participants, evidence.config)


# --- oracles --------------------------------------------------------------------------------------------------


def encoded(update: Sequence[npt.NDArray[Any]], policy: Policy) -> list[npt.NDArray[np.int64]]:
    """The documented encoding of values on the grid, for weight 1 of 1."""
    return [policy.top // 2 + np.rint(array / policy.step).astype(np.int64) for array in update]


def expected_middle(
    updates: Mapping[str, Sequence[npt.NDArray[Any]]], participants: Sequence[str], policy: Policy, trim: int
) -> list[npt.NDArray[np.float64]]:
    """numpy's mean of the sorted encodings without ``trim`` at each end, decoded by the documented formula."""
    half = policy.top // 2
    kept = len(participants) - 2 * trim
    means = []
    for arrays in zip(*(encoded(updates[name], policy) for name in participants), strict=True):
        total = np.sort(np.stack(arrays), axis=0)[trim : trim + kept].sum(axis=0)
        means.append((total - kept * half) * (policy.clip / float(half * kept)))
    return means


# --- judging --------------------------------------------------------------------------------------------------


def shares_of(matrix: Words, seed: int = 0) -> list[Words]:
    """Three parties' shares."""
    rng = np.random.default_rng(seed)
    free = [rng.integers(0, 2**64, matrix.shape, dtype=np.uint64) for _ in range(2)]
    return [*free, matrix - free[0] - free[1]]


def judge(config: RoundConfig, matrix: Words) -> tuple[bool, ...]:
    """The parties' verdicts on these vectors, a row each; the same of all parties."""
    clients = [f"c{i:03d}" for i in range(len(matrix))]

    def one(party: int, shares: Words) -> tuple[bool, ...]:
        place = compute.Place(config, config.context, PARTIES, party)
        return compute.judge(place, clients, shares)

    with ThreadPoolExecutor(3) as pool:
        verdicts = list(pool.map(one, range(3), shares_of(matrix)))
    assert verdicts[0] == verdicts[1] == verdicts[2]
    return verdicts[0]


# --- letters --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """What is in a letter: its party can read this."""

    letter: PartyLetter
    key: bytes
    pad: bytes
    seed: bytes
    long: bytes


def open_letter(data: bytes) -> Opened:
    header = header_of(data)
    bound = (header.session, header.sender, header.recipient)
    letter = decode(PartyLetter, header.body, 1 << 20)
    key = sealing.share_key(channel(header.recipient).shared_secret(letter.ephemeral), *bound)
    context = digest("opening", letter.opening)
    pad, seed, long = sealing.unseal(key, *bound, context, letter.sealed, memoryview(bulk_of(data)))
    return Opened(letter, key, pad, seed, long)


def reseal(data: bytes, *, small: bytes | None = None, long: bytes | None = None, **letter: Any) -> bytes:
    """A client's letter with another content, sealed and signed by the client itself."""
    header, opened = header_of(data), open_letter(data)
    bound = (header.session, header.sender, header.recipient)
    changed = replace(opened.letter, **letter)
    context = digest("opening", changed.opening)
    small = opened.pad + opened.seed if small is None else small
    long = opened.long if long is None else long
    if "sealed" not in letter:
        changed = replace(changed, sealed=sealing.seal_small(opened.key, *bound, context, small))
    bulk = sealing.seal_long(opened.key, *bound, context, long) if long else b""
    return forge(data, identity(header.sender), body=encode(changed), bulk=bulk)


def long_holder(config: RoundConfig, client: str) -> str:
    """The party that has this client's long share."""
    return PARTIES[start_of(config, client, 3)]


def free_holder(config: RoundConfig, client: str) -> str:
    """A party that has a key as share of this client."""
    return PARTIES[(start_of(config, client, 3) + 1) % 3]


# --- clients that cheat ---------------------------------------------------------------------------------------

Change = Callable[[RoundConfig, Words], None]
"""Alters a client's vector in place, modulo 2^64."""


def sharing(patch: pytest.MonkeyPatch, changes: Mapping[str, Change]) -> None:
    """Some clients share another vector than the one they have committed to."""
    honest = CryptenBackend.client

    class Cheat(CryptenClient):
        def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
            bound = super().bind(commitment, nonce, vector)
            altered = vector.astype(np.uint64)
            changes[self._name](self._config, altered)
            if self._long is None:
                raise AssertionError("bound")
            self._long = self._long + (altered - vector.astype(np.uint64))
            return bound

    def client(self: CryptenBackend, config: RoundConfig, name: str, *rest: Any) -> ClientSide:
        side = honest(self, config, name, *rest)
        if name in changes:
            side.__class__ = Cheat
        return side

    patch.setattr(CryptenBackend, "client", client)


def put(place: Callable[[RoundConfig], int], value: int) -> Change:
    """One coordinate becomes another number modulo 2^64."""

    def change(config: RoundConfig, vector: Words) -> None:
        vector[place(config)] = np.uint64(value % 2**64)

    return change


def add(place: Callable[[RoundConfig], int], value: int) -> Change:
    """A multiple of something is added to one coordinate."""

    def change(config: RoundConfig, vector: Words) -> None:
        at = place(config) % vector.size
        vector[at : at + 1] += np.uint64(value % 2**64)

    return change


def value_at(index: int) -> Callable[[RoundConfig], int]:
    return lambda _: index


def limb_at(index: int) -> Callable[[RoundConfig], int]:
    return lambda config: config.layout.values + index


def randomness_at(index: int) -> Callable[[RoundConfig], int]:
    return lambda config: config.layout.committed + index
