"""What one client of a flat round receives before the result, by size of the cohort.

Counted from the aggregator's own requests to some clients. Advertisements are real, with keys, signatures and tree, and
so is who chooses whom; shares, confirmations and signatures of the set are random bytes of their sizes, since nobody
reads them here: a thousand clients take seconds, and a round of them minutes, whose bytes are the same.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.federation import OPERATOR, identity
from benchmarks.results import Row, Target
from benchmarks.scale.laws import Law
from mpc import graph
from mpc.keys import CONFIRMATION_BYTES, KeyPair
from mpc.keystream import KeyStream
from secure_agg import backends
from secure_agg.backends.contract import PhaseKind
from secure_agg.backends.masking import rules
from secure_agg.backends.masking.aggregator import MaskingAggregator
from secure_agg.backends.masking.rules import CHOOSE_PEERS, MASKED_INPUT, SHARE_KEYS, UNMASK
from secure_agg.backends.masking.wire import SEALED_BYTES, Choice, Edge, KeyShares
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.identity import SIGNATURE_BYTES, Roster
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    Advertisement,
    Signature,
    SignedAdvertisement,
    encode,
    signed_bytes,
)
from secure_agg.roles.aggregator.asking import Asking, Gathered
from secure_agg.roles.participants import open_session
from secure_agg.roles.stopwatch import Stopwatch
from zk.transcript import DIGEST_BYTES

SIZES: Final = (150, 300, 600, 1_000)
_MOST_KB: Final = {1_000: 160.0}
_ASKED: Final = 10
"""Clients whose requests are counted: how many have chosen one differs."""


def received(clients: int, options: Mapping[str, int] | None = None) -> Mapping[str, float]:
    """Bytes by phase, mean over some clients; a tenth of all sends no input.

    Args:
        clients: so many that they choose their peers.
        options: of the backend.
    """
    names = [f"client-{i:05d}" for i in range(clients)]
    people = {name: identity(name) for name in names}
    roster, leader = Roster({name: one.public for name, one in people.items()}), identity(OPERATOR)
    config = RoundConfig.create(
        task="benchmark",
        round=0,
        policy=Policy.default(clients, backend="masking", options=Option.list(dict(options or {}))),
        cohort=roster,
        shapes=((1,),),
        operators=Roster({OPERATOR: leader.public}),
    )
    backend, side, gathered = backends.load("masking"), MaskingAggregator(config), Gathered()
    for name, one in people.items():
        part = b"".join(KeyPair.from_secret(os.urandom(32)).public for _ in range(2))
        body = encode(Advertisement(os.urandom(DIGEST_BYTES), part))
        signature = one.sign(signed_bytes(config.context, ADVERTISE, name, "", body))
        gathered.advertisements[name] = SignedAdvertisement(name, body, signature)
    session = gathered.session = open_session(config, roster, [gathered.advertisements[name] for name in names])
    side.begin(session)
    asking = Asking(leader, config, roster, b"", b"", side, gathered, Stopwatch(time.perf_counter))
    phases = {phase.name: phase for phase in backend.phases(config)}
    survivors = names[int(clients * graph.EXPECTED_DROPOUT) :]
    asked = random.Random(clients).sample(survivors, min(_ASKED, len(survivors)))  # noqa: S311 - whom to look at

    def count(phase: str, before: PhaseKind) -> float:
        return statistics.fmean(len(each.data) for each in asking.requests(phases[phase], before, asked))

    found = {CHOOSE_PEERS: count(CHOOSE_PEERS, PhaseKind.ADVERTISE)}
    neighbours = rules.plan(session).neighbours
    for i, name in enumerate(names):
        chosen = graph.choose(clients, i, neighbours, KeyStream(os.urandom(32)))
        side.take_choice(name, encode(Choice(tuple(chosen))), os.urandom(SIGNATURE_BYTES))
    found[SHARE_KEYS] = count(SHARE_KEYS, PhaseKind.EXCHANGE)
    for i, name in enumerate(names):
        side.take_shares(name, encode(KeyShares(tuple(_edge(peer, dealt) for peer, dealt in side.peers(i)), b"")))
    found[MASKED_INPUT] = count(MASKED_INPUT, PhaseKind.EXCHANGE)
    statement = backend.agreement.statement(session, {name: name.encode() for name in survivors})
    agreed = backend.agreement.agreed(session, statement)
    gathered.put(statement, agreed, backend.agreement.ballot(session, agreed))
    found[CONSISTENCY] = count(CONSISTENCY, PhaseKind.INPUT)
    gathered.signatures = {name: Signature(name, os.urandom(SIGNATURE_BYTES)) for name in survivors}
    found[UNMASK] = count(UNMASK, PhaseKind.AGREE)
    return found


def _edge(peer: int, dealt: bool) -> Edge:
    if not dealt:
        return Edge(peer, os.urandom(CONFIRMATION_BYTES), b"", b"", b"")
    parts = os.urandom(SEALED_BYTES), os.urandom(DIGEST_BYTES), os.urandom(DIGEST_BYTES)
    return Edge(peer, os.urandom(CONFIRMATION_BYTES), *parts)


def rows(sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """One for each size, and how it grows."""
    totals = []
    for clients in sizes:
        found = received(clients)
        totals.append(sum(found.values()))
        yield Row(
            key=f"scale.received.{clients}",
            name=f"one of {clients:,} clients receives before the result",
            unit="kB",
            median=totals[-1] / 1e3,
            derived=totals[-1] / clients,
            derived_unit="B/client",
            targets=(Target("median", _MOST_KB[clients]),) if clients in _MOST_KB else (),
            note=", ".join(f"{phase} {size / 1e3:.1f}" for phase, size in found.items()),
        )
    law = Law.of([float(size) for size in sizes], totals)
    yield Row(
        key="scale.received.law",
        name=f"the same, of 10,000 clients by the law of {len(sizes)} sizes",
        unit="kB",
        median=law.at(10_000) / 1e3,
        derived=law.power,
        derived_unit="power",
        note=str(law),
    )
