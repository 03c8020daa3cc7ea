"""Whole rounds of backend ``additive`` in this process, beside the same sum with CrypTen in processes of its own.

Three things are compared with CrypTen's stages, which check nothing:

* *adding*: the shares are where they belong; the aggregators add them, all at once, and the coordinator adds the
  partial sums;
* *sharing and adding*: the clients' key streams and long shares besides, and the aggregators' key streams;
* *the whole round*: encoding, commitments, sealed and signed messages, every check, the agreed set, evidence.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.federation import OPERATOR, Federation, rounding_key
from benchmarks.measure.cells import AGGREGATOR, CLIENT, RESULT, VERIFY
from benchmarks.measure.round import Measured, drawn, measure
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.peer import CryptenSum
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, timed
from mpc.keystream import KEY_BYTES
from mpc.ring import ELEMENT_BYTES, P, Vector, add_into, byte_view
from mpc.vector_shares import expand
from secure_agg.backends.additive import rules
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import SHARE

SPEEDUP: Final = 20.0
EXACT: Final = Target("median", 0.0)


class Floors:
    """What a share holder can't do without when it takes a share, measured just before it takes one.

    Attributes:
        least: seconds of a commitment and an addition; for a long share SHA-256 and AES-GCM of it besides, for a key
            its key stream.
        taken: seconds of the share holders for the same, under ``long`` and ``key``; see ``note``.
        rest: seconds of each share holder in all other phases.
    """

    def __init__(self, federation: Federation) -> None:
        self.least: dict[str, list[float]] = {"long": [], "key": []}
        self.taken: dict[str, list[float]] = {"long": [], "key": []}
        self.rest: list[float] = []
        self._config = federation.config
        self._vector: Vector = np.ones(federation.config.layout.hashed, dtype=np.uint32)
        self._sealer = AESGCM(bytes(KEY_BYTES))
        self._sealed = self._sealer.encrypt(bytes(12), byte_view(self._vector), b"")

    def _kind(self, size: int) -> str:
        return "long" if size > ELEMENT_BYTES * self._vector.size else "key"

    def beside(self, role: str, party: str, phase: str, message: bytes) -> None:
        """Before a share is taken."""
        if phase == SHARE:
            kind = self._kind(len(message))
            self.least[kind].append(timed(self._least_for_long if kind == "long" else self._least_for_key))

    def note(self, measured: Measured) -> None:
        """What the share holders took."""
        for call in measured.of(measured.operators, SHARE):
            self.taken[self._kind(call.received)].append(call.wall)
        for name in measured.parties[measured.operators]:
            calls = (call for call in measured.of(measured.operators) if call.party == name)
            self.rest.append(sum(call.wall for call in calls if call.phase != SHARE))

    def _least_for_long(self) -> None:
        hashlib.sha256(self._sealed).digest()
        share = self._sealer.decrypt(bytes(12), self._sealed, b"")
        rules.linear_hash(self._config, self._vector)
        add_into(self._vector, np.frombuffer(share, dtype=np.uint32))

    def _least_for_key(self) -> None:
        share = expand(bytes(KEY_BYTES), self._vector.size)
        rules.linear_hash(self._config, share)
        add_into(self._vector, share)


def federation_for(options: MpcOptions, params: int, **chosen: int) -> Federation:
    """A federation of backend ``additive``."""
    settings = {"aggregators": options.aggregators} | chosen
    return Federation.of(options.clients, params, options.bits, backend="additive", options=settings)


def in_round(federation: Federation, number: int) -> Federation:
    """The same federation in another round: who signs, signs once for each."""
    return Federation(
        federation.names,
        federation.trust,
        msgspec.structs.replace(federation.config, round=number),
        federation.setup,
        sharing=federation.sharing,
    )


def wrong_sums(federation: Federation, updates: npt.NDArray[np.float32], evidence: Evidence) -> int:
    """How many entries of the released sum are not numpy's sum of the encoded updates."""
    codec, layout = FixedPoint.of(federation.config), federation.config.layout
    exact = np.zeros(layout.committed, dtype=np.uint64)
    encoded = np.empty(layout.committed, dtype=np.uint32)
    for name, row in zip(federation.names, updates, strict=True):
        codec.encode([row], 1, rounding_key(name, federation.config), encoded)
        exact += encoded
    return int(np.count_nonzero(evidence.sums[: layout.committed] != exact))


class Adding:
    """Shares without any protocol around them; each method is one repetition."""

    def __init__(self, options: MpcOptions) -> None:
        self._k, self._n, self._size = options.aggregators, options.clients, options.params
        source = np.random.default_rng(2)
        self._vectors = source.integers(0, 1 << options.bits, (self._n, self._size), dtype=np.uint32)
        self._shares = source.integers(0, P, (self._k, self._n, self._size), dtype=np.uint32)
        self._pool = ThreadPoolExecutor(self._k)

    def add(self) -> Vector:
        """The aggregators, each in a thread, and then the coordinator."""

        def one(party: int) -> Vector:
            total: Vector = self._shares[party, 0].copy()
            for share in self._shares[party, 1:]:
                add_into(total, share)
            return total

        first, *others = self._pool.map(one, range(self._k))
        for partial in others:
            add_into(first, partial)
        return first

    def share_and_add(self) -> None:
        """The clients one after another, then the aggregators, then the coordinator."""
        scratch = np.empty(self._size, dtype=np.uint32)
        sums = [np.zeros(self._size, dtype=np.uint32) for _ in range(self._k)]
        for place, vector in enumerate(self._vectors):
            long = place % self._k
            share = vector.copy()
            for party in range(self._k):
                if party != long:
                    key = os.urandom(KEY_BYTES)
                    expand(key, self._size, [(share, P - 1)], out=scratch)
                    expand(key, self._size, [(sums[party], 1)], out=scratch)
            add_into(sums[long], share)
        total = sums[0]
        for partial in sums[1:]:
            add_into(total, partial)
        if not np.array_equal(total, self._vectors.sum(axis=0, dtype=np.uint32)):
            raise ValueError("the shares do not sum up to the vectors' sum")


@dataclass
class _Rounds:
    """What the rounds gave.

    Attributes:
        floors: beside the shares that were taken.
        rounds: all of them.
        wrong: entries of a sum that were wrong.
    """

    floors: Floors
    rounds: list[Measured] = field(default_factory=list)
    wrong: int = 0

    def run(self, federation: Federation, updates: npt.NDArray[np.float32]) -> None:
        """One more."""
        measured = measure(federation, updates, beside=self.floors.beside)
        self.floors.note(measured)
        self.wrong += wrong_sums(federation, updates, measured.evidence)
        self.rounds.append(measured)


def rows(options: MpcOptions, *, with_peer: bool) -> list[Row]:
    """Rounds, and what CrypTen does, in turn.

    Args:
        options: sizes.
        with_peer: whether CrypTen is installed.
    """
    federation = federation_for(options, options.params)
    updates = drawn(options.clients, options.params)
    adding = Adding(options)
    measure(federation, updates)  # compiles
    adding.add()
    adding.share_and_add()
    found, seconds = _Rounds(Floors(federation)), {"add": list[float](), "share_and_add": list[float]()}
    if not with_peer:
        for _ in range(options.repeat):
            _repetition(federation, updates, adding, found, seconds)
        return _rows(options, found, seconds, None)
    with CryptenSum(options.aggregators, options.clients, options.params) as peer:
        for _ in range(options.repeat):
            _repetition(federation, updates, adding, found, seconds)
            peer.repeat()
        return _rows(options, found, seconds, peer)


def _repetition(
    federation: Federation,
    updates: npt.NDArray[np.float32],
    adding: Adding,
    found: _Rounds,
    seconds: dict[str, list[float]],
) -> None:
    seconds["add"].append(timed(adding.add))
    seconds["share_and_add"].append(timed(adding.share_and_add))
    found.run(federation, updates)


def _rows(
    options: MpcOptions, found: _Rounds, seconds: Mapping[str, list[float]], peer: CryptenSum | None
) -> list[Row]:
    setting = f"{options.clients} clients, {options.aggregators} aggregators, {options.params:,} parameters"
    k = options.aggregators

    def compared(key: str, name: str, own: list[float], stages: tuple[str, ...], note: str, *targets: Target) -> Row:
        samples = Samples(tuple(own))
        return Row.timed(
            f"sum.{key}",
            name,
            samples,
            derived=1e9 * samples.median / (options.params * options.clients),
            derived_unit="ns/value",
            peer=(f"CrypTen, {k} processes: {', '.join(stages)}", peer.samples(*stages)) if peer else None,
            targets=targets if peer else (),
            note=note,
        )

    everything = ("share", "add", "reveal")
    return [
        compared(
            "add",
            "sum: aggregators add, coordinator adds",
            seconds["add"],
            everything[1:],
            "shares in memory; nothing is checked",
            Target("speedup", SPEEDUP),
        ),
        compared(
            "share_and_add",
            "sum: clients share besides",
            seconds["share_and_add"],
            everything,
            "nothing is checked, sealed or signed",
        ),
        compared("round", "sum: the whole verified round", [one.wall for one in found.rounds], everything, setting),
        Row(
            key="sum.error",
            name="sum: entries that are not numpy's",
            unit="",
            median=found.wrong,
            targets=(EXACT,),
            note=f"of all {options.repeat} rounds",
        ),
        *_roles(options, found),
    ]


def _roles(options: MpcOptions, found: _Rounds) -> list[Row]:
    def taken(kind: str, peer: str) -> Row:
        own, least = (Samples(tuple(seconds[kind])) for seconds in (found.floors.taken, found.floors.least))
        return Row.timed(
            f"holder.{kind}",
            f"aggregator: open, check and add one client's {'long share' if kind == 'long' else 'key'}",
            own,
            derived=1e9 * own.median / options.params,
            derived_unit="ns/param",
            peer=(peer, least),
        )

    rest, whole = Samples(tuple(found.floors.rest)), Samples(tuple(one.total(AGGREGATOR) for one in found.rounds))
    checks = Samples(tuple(one.timings[OPERATOR][VERIFY] for one in found.rounds))
    client = Samples(tuple(one.seconds(CLIENT, RESULT) or 0.0 for one in found.rounds))
    return [
        taken("long", "SHA-256, AES-256-GCM, a commitment and an addition"),
        taken("key", "keystream, a commitment and an addition"),
        Row.timed("holder.rest", "aggregator: all other phases", rest, note="count, sign, reveal, give out its sum"),
        Row.timed("coordinator.total", "coordinator: whole round", whole),
        Row.timed("coordinator.verify", "coordinator: final check, of it", checks),
        Row.timed("client.verify", "client: checks the result", client, note="not part of the round's time above"),
    ]
