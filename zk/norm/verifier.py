"""Checks a norm proof: some milliseconds, whatever the vector's length.

At each opened column the rows' entries and the three polynomials leave one value for each mask. With these the column
has to be the leaf that was committed to before any challenge: that is the whole check. What follows from it, and with
how many bits, is ``zk.parameters.proof_soundness``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import P, Vector
from zk.norm.code import encode, interpolate, product, shift_power
from zk.norm.columns import leaf_hashes, opened_root
from zk.norm.equations import bit_values, combine, equation_values
from zk.norm.layout import Layout
from zk.norm.proof import NormProof, polynomial_bytes
from zk.norm.statement import EXTENSION, Challenge, NormProofError, NormStatement, first_challenge, queries

_P64: Final = np.uint64(P)
_INVERSE_N: Final = np.uint64(pow(N, -1, P))
Elements = npt.NDArray[np.uint32]


def verify(statement: NormStatement, data: bytes | memoryview) -> None:
    """Check that a proof is one of the statement.

    Raises:
        NormProofError: a C' of another shape than the bound's (check ``commitment``); another size than a proof has
            can have (``size``); an element not below p (``residues``); columns that are not in the tree, as of anything
            that was altered, of another statement, or false (``columns``).
    """
    statement.check_shape()
    layout = Layout.of(statement.bound)
    proof = NormProof.from_bytes(data, layout.rows)
    challenge = first_challenge(statement.digest(), proof.root, layout.rows, layout.equations)
    asked = queries(challenge.key, polynomial_bytes(proof.combination, proof.sum, proof.bits))
    masks = _masks(layout, statement, proof, challenge, asked)
    leaves = leaf_hashes(np.concatenate([proof.columns, masks], axis=1), proof.salts)
    try:
        root = opened_root(leaves, asked.tolist(), proof.hashes)
    except ValueError as error:
        raise NormProofError("columns", f"{statement.name}'s norm proof: {error}") from error
    if root != proof.root:
        raise NormProofError(
            "columns",
            f"{statement.name}'s norm proof is not one: its columns, with the masks that its polynomials leave for "
            "this statement, are not those that it committed to",
        )


def _masks(layout: Layout, statement: NormStatement, proof: NormProof, challenge: Challenge, asked: Vector) -> Elements:
    """The three masks' entries that the polynomials leave: shape (127, 12)."""
    equations = combine(layout, statement.sketch, challenge.equations)
    weights = interpolate(equations.weights.reshape(N, -1))
    # The sum over the messages' points is 512 · (c_0 − c_512 + c_1024): c_0 is what makes it the equations' value.
    constant = (equations.value * _INVERSE_N + proof.sum[:, N - 1] + (_P64 - proof.sum[:, 2 * N - 1])) % _P64
    total = np.concatenate([constant[:, None].astype(np.uint32), proof.sum], axis=1)
    values = encode(proof.combination.T, total.T, proof.bits.T, weights)[asked]
    combination, sums, bits, at_columns = np.split(values, [EXTENSION, 2 * EXTENSION, 3 * EXTENSION], axis=1)
    at_columns = at_columns.reshape(asked.size, EXTENSION, -1)
    vanishing = np.array([(shift_power(k + 1) + 1) % P for k in (asked // N).tolist()], dtype=np.uint64)[:, None]
    return np.concatenate(
        [
            _difference(combination, product(proof.columns, challenge.rows.T)),
            _difference(sums, equation_values(layout, proof.columns, at_columns, equations.square)),
            _difference(bits * vanishing % _P64, bit_values(proof.columns, challenge.bits)),
        ],
        axis=1,
    )


def _difference(left: npt.NDArray[np.integer], right: Elements) -> Elements:
    return np.asarray((left.astype(np.uint64) + (_P64 - right)) % _P64, dtype=np.uint32)
