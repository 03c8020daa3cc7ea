"""What a norm proof says, as data, and the challenges that bind all of it.

*"C' commits to a sketch v and a weight with ‖v‖ held to the weight's share of the bound, weight and counts in range, in
this session, by this client, beside this C."* That v is the sketch of what C commits to is nothing that a single client
proves: the check on the sum does, for all at once (``zk.norm.total``).

Every challenge is over the digest of the whole statement, protocol's name included, and over all that the prover has
said before: a proof is of no other client, attempt, session, commitment or bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from mpc.ring import Vector
from zk.commitment import Commitment
from zk.norm.bound import NormBound
from zk.norm.code import LENGTH
from zk.norm.commitment import SketchCommitment
from zk.norm.sketch import sketch_key
from zk.parameters import sketch_rank
from zk.transcript import Transcript, digest

QUERIES: Final = 127
EXTENSION: Final = 4
"""Challenges are this many elements of Z_p: an element of the field of p^4 elements, of which only sums and products
with elements of Z_p are ever needed.
"""
_DRAWN: Final = 512  # words of the query stream that are read at a time


class NormProofError(ValueError):
    """A norm proof that shows nothing: malformed, of something else, or false.

    Attributes:
        check: which one failed: ``size``, ``residues``, ``columns`` or ``commitment``.
    """

    def __init__(self, check: str, text: str) -> None:
        super().__init__(text)
        self.check = check


@dataclass(frozen=True)
class NormStatement:
    """What is proved.

    Attributes:
        context: ctx, the digest of the attempt's configuration.
        session: sid; R's key follows from it.
        name: the client's id.
        commitment: C, of the vector.
        sketch: C', of its sketch and weight.
        bound: what is proved of them.
    """

    context: bytes
    session: bytes
    name: str
    commitment: Commitment
    sketch: SketchCommitment
    bound: NormBound

    @property
    def rank(self) -> int:
        """Of C'."""
        return sketch_rank(self.bound.clients)

    def check_shape(self) -> None:
        """Refuse a C' of another shape than the bound asks for.

        Raises:
            NormProofError: it has another rank, or another number of coordinates beside the sketch.
        """
        if self.sketch.rank != self.rank or self.sketch.side != self.bound.side:
            raise NormProofError(
                "commitment",
                f"{self.name}'s sketch commitment has rank {self.sketch.rank} and {self.sketch.side} coordinates "
                f"beside the sketch; the bound takes {self.rank} and {self.bound.side}",
            )

    def digest(self) -> bytes:
        """32 bytes that bind every field, and the protocol's version."""
        transcript = Transcript("norm-statement")
        transcript.absorb("context", self.context).absorb("session", self.session).absorb("name", self.name.encode())
        transcript.absorb("commitment", self.commitment.to_bytes()).absorb("sketch", self.sketch.to_bytes())
        transcript.absorb("bound", self.bound.to_bytes()).absorb("sketch-key", sketch_key(self.session))
        return transcript.digest()


@dataclass(frozen=True)
class Challenge:
    """The first challenge, drawn once the tree's root is known.

    Attributes:
        key: from which all of it is drawn.
        rows: for the combination of the rows: shape (4, rows).
        equations: one for each linear equation, in their order: shape (4, equations).
        bits: one for each row of bits: shape (4, rows − 1).
    """

    key: bytes
    rows: npt.NDArray[np.uint32]
    equations: npt.NDArray[np.uint32]
    bits: npt.NDArray[np.uint32]


def first_challenge(statement: bytes, root: bytes, rows: int, equations: int) -> Challenge:
    """From the statement's digest and the root of the tree of columns."""
    key = digest("norm-challenge", statement, root)
    stream = KeyStream(key)

    def draw(number: int, width: int) -> npt.NDArray[np.uint32]:
        out = np.empty(EXTENSION * width, dtype=np.uint32)
        stream.residues(number, out)
        return out.reshape(EXTENSION, width)

    return Challenge(key, draw(0, rows), draw(1, equations), draw(2, rows - 1))


def queries(challenge: bytes, polynomials: bytes | memoryview) -> Vector:
    """The columns that are opened, in increasing order: the first 127 different ones that the low 12 bits of the
    words of a stream name, whose key is over the first challenge and the polynomials that answer it.
    """
    stream, size = KeyStream(digest("norm-queries", challenge, polynomials)), _DRAWN
    while True:
        words = np.empty(size, dtype=np.uint32)
        stream.words(0, words)
        found, first = np.unique(words % LENGTH, return_index=True)
        if found.size >= QUERIES:
            return np.sort(found[np.argsort(first)[:QUERIES]])
        size *= 2
