"""Norm proofs: a client's sketch, its commitment and proof, a verifier's check, and the check on the sum."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from benchmarks.federation import Options
from benchmarks.results import Row, Target
from benchmarks.timing import interleaved
from mpc.keystream import KEY_BYTES
from zk import commitment as vector_commitment
from zk import parameters
from zk.commitment import Commitment
from zk.norm import commitment, prover, total, verifier
from zk.norm.bound import NormBound
from zk.norm.layout import Layout, Witness
from zk.norm.sketch import Sketch, sketch, sketch_key
from zk.norm.statement import NormStatement
from zk.norm.total import SketchSum

_HASHED: Final = bytes(4_000_000)
_MOST_BYTES: Final = 100_000
_MOST_HASHES: Final = 5.0
_SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_LARGEST_NORM: Final = 1 << 26
"""Over the clients: about the widest that a bound can be."""


class _Norm:
    """The operands for vectors of one length; each method is one repetition."""

    def __init__(self, options: Options, params: int) -> None:
        bits, clients = options.bits, options.clients
        self.centre, self.key, session = (1 << bits - 1) - 1, bytes(KEY_BYTES), bytes(KEY_BYTES)
        self.bound = NormBound(clients, _LARGEST_NORM // clients, 1000, 1, bits - 1, -(-10 // (bits - 1)))
        self.layout, self.sketch_key = Layout.of(self.bound), sketch_key(session)
        steps = np.random.default_rng(params).normal(size=params)
        steps *= min(self.bound.norm / float(np.linalg.norm(steps)), self.centre / 6)
        self.values = (np.clip(np.trunc(steps), -self.centre, self.centre) + self.centre).astype(np.uint32)
        self.randomness = commitment.draw_randomness(self.key, self.layout.rank)
        self.side = self.layout.side(1000)
        self.witness = Witness(self.sketch(), self.randomness, 1000)
        self.rank = parameters.choose(bits, clients, params).rank
        self._noise = np.zeros(vector_commitment.randomness_length(self.rank), dtype=np.uint32)
        self.statement = NormStatement(
            bytes(KEY_BYTES), session, "client", Commitment(self._noise), self.commit(), self.bound
        )
        self.proof = self.prove()

    def sketch(self) -> Sketch:
        return sketch(self.sketch_key, self.values, self.centre)

    def commit(self) -> commitment.SketchCommitment:
        return commitment.commit(self.witness.sketch, self.side, self.randomness, self.layout.rank)

    def prove(self) -> bytes:
        return prover.prove(self.statement, self.witness, self.key)

    def verify(self) -> None:
        verifier.verify(self.statement, self.proof)

    def check(self) -> None:
        total.check(
            SketchSum(
                self.bound,
                self.sketch_key,
                (self.statement.sketch,),
                self.values,
                self.centre,
                self.side,
                self.randomness,
            )
        )

    def commit_vector(self) -> Commitment:
        return vector_commitment.commit(self.values, self._noise, self.rank)


def _hash() -> None:
    hashlib.sha256(_HASHED).digest()


def rows(options: Options) -> list[Row]:
    """Prover and verifier for the options' length, then sketch and proof for 10,000 to 10,000,000 parameters, as far as
    ten times the options' length.
    """
    norm = _Norm(options, options.params)
    samples = interleaved(
        {
            "sha256": _hash,
            "commit_vector": norm.commit_vector,
            "sketch": norm.sketch,
            "commit": norm.commit,
            "prove": norm.prove,
            "verify": norm.verify,
            "check": norm.check,
        },
        options.repeat,
    )
    hashed = ("SHA-256 of 4 MB", samples["sha256"])
    vector = ("commitment of the vector", samples["commit_vector"])
    below = (Target("ratio", _MOST_HASHES),)
    note = f"{norm.layout.rows} rows, {options.clients} clients"
    found = [
        Row.timed("norm.sketch", "sketch of a vector", samples["sketch"], peer=vector),
        Row.timed("norm.commit", "commitment of the sketch", samples["commit"], peer=hashed, targets=below),
        Row.timed("norm.prove", "norm proof", samples["prove"], peer=hashed, targets=below, note=note),
        Row.timed("norm.verify", "check of a norm proof", samples["verify"], peer=hashed, targets=below, note=note),
        Row.timed("norm.check", "check of the sum's sketch", samples["check"], peer=vector),
        Row(
            key="norm.proof",
            name="a norm proof's size",
            unit="bytes",
            median=len(norm.proof),
            targets=(Target("median", _MOST_BYTES),),
        ),
    ]
    for params in _SIZES:
        if params <= 10 * options.params:
            found += _by_length(options, params)
    return found


def _by_length(options: Options, params: int) -> list[Row]:
    norm = _Norm(options, params)
    samples = interleaved(
        {"commit_vector": norm.commit_vector, "sketch": norm.sketch, "prove": norm.prove, "verify": norm.verify},
        min(options.repeat, 5),
    )
    peer = ("commitment of the vector", samples["commit_vector"])
    return [
        Row.timed(
            f"norm.client.{params}",
            f"sketch and proof, {params:,} values",
            samples["sketch"] + samples["prove"],
            peer=peer,
        ),
        Row.timed(f"norm.verify.{params}", f"check of a proof, {params:,} values", samples["verify"], peer=peer),
    ]
