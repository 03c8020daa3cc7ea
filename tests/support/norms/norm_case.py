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
from zk.norm.sketch import BLOCK, sketch, sketch_key
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
    stream = KeyStream(sketch_key(session))
    out = np.zeros((64, 8, -(-columns // BLOCK), BLOCK), dtype=np.int64)
    for group in range(4):
        copies = slice(16 * group, 16 * group + 16)
        words = np.empty(131072, dtype=np.uint32)
        stream.words(group, words)
        bits = _bits(words.reshape(16, 8, 2, 512)).reshape(16, 8, 2, BLOCK)
        rows = bits[:, :, 0] - bits[:, :, 1]
        for m in range(-(-out.shape[2] // 4)):
            words = np.empty(32768 + 64, dtype=np.uint32)
            stream.words(4 * (m + 1) + group, words)
            bits = _bits(words[:32768].reshape(16, 4, 512)).reshape(16, 4, 8, 4, 512)
            for q in range(min(4, out.shape[2] - 4 * m)):
                signed = rows * (1 - 2 * bits[:, :, :, q].reshape(16, 1, BLOCK))
                for c, part in enumerate(signed):
                    out[copies][c, :, 4 * m + q] = np.roll(part, int(words[32768 + 4 * c + q]) % BLOCK, axis=1)
    return out.reshape(512, -1)[:, :columns]


def _bits(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Bit t of word l at [..., t, l]."""
    return (words[..., None, :] >> np.arange(32, dtype=np.uint32)[:, None] & np.uint32(1)).astype(np.int64)


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
