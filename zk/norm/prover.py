"""Makes a norm proof: what a client does once a round, whatever its vector's length.

The rows of ``zk.norm.layout`` become polynomials of degree below 512 + 127, 127 coefficients random, and words of
``zk.norm.code``; with three random masks they are the columns of a tree. Its root gives a challenge, and this one
polynomial each for three claims: the rows are words of the code; the equations hold; rows of bits are of bits. The
polynomials give the columns to open. (Ligero: Ames, Hazay, Ishai, Venkitasubramaniam 2017, for one row a bit.)

*Zero knowledge*: 127 entries of a row are uniform, and each polynomial is uniform among those that pass, by its mask.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream, derive_key
from mpc.ntt import N
from mpc.ring import P, Vector
from zk.norm.code import LENGTH, encode, evaluate, interpolate, interpolate_cosets, product, shift_power
from zk.norm.columns import SALT_BYTES, leaf_hashes, open_columns, tree
from zk.norm.commitment import commit
from zk.norm.equations import bit_values, combine, equation_values
from zk.norm.layout import Layout, NormExceeded, Witness, fill
from zk.norm.proof import BITS_DEGREE, DEGREE, SUM_DEGREE, NormProof, polynomial_bytes
from zk.norm.statement import EXTENSION, QUERIES, NormStatement, first_challenge, queries

_P64: Final = np.uint64(P)
Elements = npt.NDArray[np.uint32]


def prove(statement: NormStatement, witness: Witness, secret: bytes) -> bytes:
    """The proof, the same bytes every time for the same arguments.

    Args:
        statement: what is proved.
        witness: what it is proved from.
        secret: 32 secret bytes of this attempt. All randomness derives from it and the statement's digest.

    Raises:
        NormExceeded: the statement is false: sketch, weight or counts are not what the bound allows, or C' is not of
            them.
    """
    layout, digest = Layout.of(statement.bound), statement.digest()
    values = fill(layout, witness)
    opened = commit(witness.sketch, layout.side(witness.weight, witness.counts), witness.randomness, layout.rank)
    if opened != statement.sketch:
        raise NormExceeded("the sketch commitment is not of this sketch, weight and randomness")
    random = KeyStream(derive_key(secret, "norm-proof", digest))
    rows = _masked_rows(values, _draw(random, 0, QUERIES * layout.rows).reshape(QUERIES, layout.rows))
    proximity = _draw(random, 1, EXTENSION * DEGREE).reshape(DEGREE, EXTENSION)
    of_sum = _draw(random, 2, EXTENSION * SUM_DEGREE).reshape(SUM_DEGREE, EXTENSION)
    # Σ over the roots of X^512 + 1 of X^l is 512 · (1, −1, 1) for l = 0, 512, 1024, else 0: the mask's sum is made 0.
    of_sum[0] = (of_sum[N].astype(np.uint64) + (_P64 - of_sum[2 * N])) % _P64
    of_bits = _draw(random, 3, EXTENSION * BITS_DEGREE).reshape(BITS_DEGREE, EXTENSION)
    salts = np.empty(LENGTH * SALT_BYTES // 4, dtype=np.uint32)
    random.words(4, salts)
    salt_bytes = salts.astype("<u4", copy=False).view(np.uint8).reshape(LENGTH, SALT_BYTES)

    columns = encode(rows, proximity, of_sum, of_bits)
    columns[:, -EXTENSION:] = columns[:, -EXTENSION:] * _vanishing() % _P64
    words = columns[:, : layout.rows]
    levels = tree(leaf_hashes(columns, salt_bytes))
    root = levels[-1].tobytes()
    challenge = first_challenge(digest, root, layout.rows, layout.equations)

    combination = _sum(product(challenge.rows, rows.T), proximity.T)
    total = _sum(_sum_polynomial(layout, words, challenge.equations, statement), of_sum.T)
    bits = _sum(_bits_polynomial(words, challenge.bits), of_bits.T)
    asked = queries(challenge.key, polynomial_bytes(combination, total[:, 1:], bits))
    return NormProof(
        root,
        combination,
        total[:, 1:],
        bits,
        words[asked],
        salt_bytes[asked],
        open_columns(levels, asked.tolist()),
    ).to_bytes()


def _draw(stream: KeyStream, number: int, count: int) -> Vector:
    out = np.empty(count, dtype=np.uint32)
    stream.residues(number, out)
    return out


def _sum(left: Elements, right: Elements) -> Elements:
    return np.asarray((left.astype(np.uint64) + right) % _P64, dtype=np.uint32)


def _masked_rows(values: Elements, masks: Elements) -> Elements:
    """Polynomials with these values at the messages' points, plus X^512 + 1 times a mask: shape (639, rows)."""
    out = np.empty((DEGREE, values.shape[1]), dtype=np.uint32)
    out[:N] = interpolate(values)
    out[:QUERIES] = _sum(out[:QUERIES], masks)
    out[N:] = masks
    return out


def _vanishing() -> npt.NDArray[np.uint64]:
    """X^512 + 1 at the word's points: shape (4096, 1)."""
    return np.repeat([(shift_power(k + 1) + 1) % P for k in range(LENGTH // N)], N).astype(np.uint64)[:, None]


def _sum_polynomial(layout: Layout, words: Elements, challenges: Elements, statement: NormStatement) -> Elements:
    """Σ of the equations' rows times their weights, and the squares: shape (4, 1277), from its values on 3 cosets."""
    equations = combine(layout, statement.sketch, challenges)
    weights = interpolate(equations.weights.reshape(N, -1))
    at_columns = np.concatenate([evaluate(weights, k) for k in (1, 2, 3)]).reshape(3 * N, EXTENSION, -1)
    values = equation_values(layout, words[: 3 * N], at_columns, equations.square)
    return interpolate_cosets(values)[:SUM_DEGREE].T


def _bits_polynomial(words: Elements, challenges: Elements) -> Elements:
    """The same divided by X^512 + 1: shape (4, 765), from its values on 2 cosets."""
    values = bit_values(words[: 2 * N], challenges).astype(np.uint64)
    inverses = np.repeat([pow(shift_power(k) + 1, -1, P) for k in (1, 2)], N).astype(np.uint64)[:, None]
    return interpolate_cosets((values * inverses % _P64).astype(np.uint32))[:BITS_DEGREE].T
