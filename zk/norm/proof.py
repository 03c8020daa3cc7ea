"""A norm proof as bytes: the root, three polynomials over the field of p^4 elements, and the opened columns.

``root (32) ‖ combination (4 × 639) ‖ sum (4 × 1276) ‖ bits (4 × 765) ‖ columns (127 × rows) ‖ salts (127 × 16 bytes) ‖
hashes``. Elements are 4 bytes, little endian, below p; a polynomial is its coefficients for the first of the four
parts, lowest first, then for the second, … The sum's coefficient 0 is left out, since it follows from what the sum has
to be. How many hashes there are follows from which columns are opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES, from_bytes, to_bytes
from zk.merkle import HASH_BYTES
from zk.norm.code import LENGTH
from zk.norm.columns import LEVELS, SALT_BYTES
from zk.norm.statement import EXTENSION, QUERIES, NormProofError

DEGREE: Final = N + QUERIES
"""Coefficients of a row's polynomial: as many are random as columns are opened."""
SUM_DEGREE: Final = 2 * DEGREE - 1
BITS_DEGREE: Final = SUM_DEGREE - N

Polynomials = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class NormProof:
    """The parts of a proof.

    Attributes:
        root: of the tree of columns.
        combination: of the rows: uint32, shape (4, 639).
        sum: of the equations, from coefficient 1 on: shape (4, 1276).
        bits: of the rows of bits, divided by X^512 + 1: shape (4, 765).
        columns: opened, without the masks' entries, which follow: shape (127, rows).
        salts: uint8, shape (127, 16).
        hashes: of the opening.
    """

    root: bytes
    combination: Polynomials
    sum: Polynomials
    bits: Polynomials
    columns: npt.NDArray[np.uint32]
    salts: npt.NDArray[np.uint8]
    hashes: bytes

    def to_bytes(self) -> bytes:
        """The encoding."""
        return b"".join(
            (
                self.root,
                polynomial_bytes(self.combination, self.sum, self.bits),
                to_bytes(self.columns),
                self.salts.tobytes(),
                self.hashes,
            )
        )

    @staticmethod
    def from_bytes(data: bytes | memoryview, rows: int) -> NormProof:
        """Decode what has a possible size and elements below p. How many hashes there have to be is checked with them.

        Raises:
            NormProofError: another size, or an element that is not below p.
        """
        least, most = size_range(rows)
        if not least <= len(data) <= most or (len(data) - least) % HASH_BYTES:
            raise NormProofError("size", f"a norm proof with {rows} rows has {least} to {most} bytes, not {len(data)}")
        view = memoryview(data)
        end = HASH_BYTES + ELEMENT_BYTES * _elements(rows)
        try:
            elements = from_bytes(view[HASH_BYTES:end])
        except ValueError as error:
            raise NormProofError("residues", f"a norm proof's {error}") from error
        parts = np.split(elements, np.cumsum([EXTENSION * length for length in _LENGTHS]))
        combination, total, bits = (part.reshape(EXTENSION, -1) for part in parts[:-1])
        salts = np.frombuffer(view[end:least], dtype=np.uint8).reshape(QUERIES, SALT_BYTES)
        columns = parts[-1].reshape(QUERIES, rows)
        return NormProof(bytes(view[:HASH_BYTES]), combination, total, bits, columns, salts, bytes(view[least:]))


_LENGTHS: Final = (DEGREE, SUM_DEGREE - 1, BITS_DEGREE)


def polynomial_bytes(combination: Polynomials, total: Polynomials, bits: Polynomials) -> bytes:
    """The three polynomials' encoding: what the second challenge is over."""
    return to_bytes(combination) + to_bytes(total) + to_bytes(bits)


def _elements(rows: int) -> int:
    return EXTENSION * sum(_LENGTHS) + QUERIES * rows


def size_range(rows: int) -> tuple[int, int]:
    """The fewest bytes of a proof with so many rows, without any hash, and more than it can have."""
    least = HASH_BYTES + ELEMENT_BYTES * _elements(rows) + QUERIES * SALT_BYTES
    return least, least + QUERIES * LEVELS * HASH_BYTES


def typical_size(rows: int) -> int:
    """The bytes of a proof with so many rows, on average: the opening's hashes depend on the columns."""
    hashes = 0.0
    for level in range(LEVELS):
        nodes, below = LENGTH >> level, 1 << level
        apart = _missed(below)
        hashes += nodes * (1 - apart) * _missed(2 * below) / apart
    return size_range(rows)[0] + round(hashes) * HASH_BYTES


def _missed(leaves: int) -> float:
    """The probability that none of so many leaves is opened."""
    chance = 1.0
    for i in range(QUERIES):
        chance *= max(0, LENGTH - leaves - i) / (LENGTH - i)
    return chance
