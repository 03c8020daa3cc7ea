"""Clients with vectors of a known norm, and statements about them, for tests of norm proofs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from mpc.ring import Vector
from zk.commitment import Commitment
from zk.norm import commitment
from zk.norm.bound import NormBound
from zk.norm.layout import Layout, Witness
from zk.norm.sketch import sketch, sketch_key
from zk.norm.statement import NormStatement

BITS: Final = 12
CENTRE: Final = (1 << BITS - 1) - 1
"""H: what stands for zero."""
SID: Final = hashlib.sha256(b"a session").digest()
CONTEXT: Final = hashlib.sha256(b"a context").digest()
SECRET: Final = hashlib.sha256(b"an attempt's secret").digest()
BOUND: Final = NormBound(clients=100, norm=5000, most_weight=1000, least_weight=4, limb_bits=11, limbs=2, counts=2)


@dataclass(frozen=True)
class Client:
    """One client's vector and what it says of it.

    Attributes:
        values: u, uint32.
        side: limbs and counts.
        witness: sketch, randomness, weight, counts.
        statement: with a made-up commitment C.
    """

    values: Vector
    side: Vector
    witness: Witness
    statement: NormStatement


def vector(seed: int, length: int, norm: float) -> Vector:
    """Values of a given norm (a little less, by rounding to zero), limited to the grid."""
    direction = np.random.default_rng(seed).normal(size=length)
    steps = np.trunc(direction * (norm / np.linalg.norm(direction))).astype(np.int64)
    return (np.clip(steps, -CENTRE, CENTRE) + CENTRE).astype(np.uint32)


def entries(session: bytes, columns: int) -> npt.NDArray[np.int64]:
    """R's first columns, from the description of its key stream."""
    out = []
    for stream in range(-(-columns // 2048)):
        words = np.empty(65536, dtype=np.uint32)
        KeyStream(sketch_key(session)).words(stream, words)
        bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(32, 2, 512, 64).astype(np.int64)
        out.append((bits[:, 0] - bits[:, 1]).transpose(1, 0, 2).reshape(512, 2048))
    return np.concatenate(out, axis=1)[:, :columns]


def client(
    name: str,
    weight: int,
    *,
    share: float = 1.0,
    length: int = 3000,
    bound: NormBound = BOUND,
    session: bytes = SID,
    values: Vector | None = None,
) -> Client:
    """A client with this weight, and a norm of ``share`` times what it allows."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    u = vector(seed, length, share * bound.norm * weight / bound.most_weight) if values is None else values
    layout, counts = Layout.of(bound), (0,) * bound.counts
    witness = Witness(
        sketch(sketch_key(session), u, CENTRE),
        commitment.draw_randomness(hashlib.sha256(b"s'" + name.encode()).digest(), layout.rank),
        weight,
        counts,
    )
    return stated(name, u, witness, bound, session)


def stated(name: str, u: Vector, witness: Witness, bound: NormBound = BOUND, session: bytes = SID) -> Client:
    """The client with what it commits to, whether that is allowed or not."""
    layout = Layout.of(bound)
    side = layout.side(witness.weight, witness.counts)
    made = commitment.commit(witness.sketch, side, witness.randomness, layout.rank)
    vectors = Commitment(np.arange(1536, dtype=np.uint32) + np.uint32(len(name)))
    return Client(u, side, witness, NormStatement(CONTEXT, session, name, vectors, made, bound))
