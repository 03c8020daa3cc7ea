"""A prover of norm proofs that follows the protocol from any rows, true or not, and may bend what it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import P, Vector
from zk.norm import prover
from zk.norm.code import LENGTH, encode, product
from zk.norm.columns import leaf_hashes, open_columns, tree
from zk.norm.layout import Layout
from zk.norm.proof import BITS_DEGREE, DEGREE, SUM_DEGREE, NormProof, polynomial_bytes
from zk.norm.statement import EXTENSION, QUERIES, Challenge, NormStatement, first_challenge, queries

Elements = npt.NDArray[np.uint32]


def unchanged(words: Elements) -> None:
    """Leaves rows and masks as they are."""


def forge(
    said: NormStatement,
    values: Elements,
    *,
    spoil_rows: Callable[[Elements], None] = unchanged,
    spoil_masks: Callable[[Elements], None] = unchanged,
    first: Callable[[bytes, bytes, int, int], Challenge] = first_challenge,
    ask: Callable[[bytes, bytes | memoryview], Vector] = queries,
    bend: Callable[[Challenge, Elements], None] | None = None,
) -> bytes:
    """A proof of a statement, from any rows.

    Args:
        said: the statement.
        values: the rows' entries, shape (512, rows).
        spoil_rows: changes the rows' words, shape (4096, rows), before they are committed to.
        spoil_masks: the same for the three masks' words, shape (4096, 12).
        first: draws the first challenge; a naive one may forget something.
        ask: names the opened columns.
        bend: changes the sum's polynomial, shape (4, 1277), once the first challenge is known.
    """
    layout, random = Layout.of(said.bound), np.random.default_rng(7)

    def draw(*shape: int) -> Elements:
        return random.integers(0, P, shape, dtype=np.uint32)

    rows = prover._masked_rows(values, draw(QUERIES, layout.rows))
    proximity, of_sum, of_bits = draw(DEGREE, EXTENSION), draw(SUM_DEGREE, EXTENSION), draw(BITS_DEGREE, EXTENSION)
    of_sum[0] = (of_sum[N].astype(np.uint64) + (P - of_sum[2 * N])) % P
    words = encode(rows)
    spoil_rows(words)
    masks = np.concatenate([encode(proximity), encode(of_sum), encode(of_bits) * prover._vanishing() % P], axis=1)
    masks = masks.astype(np.uint32)
    spoil_masks(masks)
    salts = np.zeros((LENGTH, 16), dtype=np.uint8)
    levels = tree(leaf_hashes(np.concatenate([words, masks], axis=1), salts))
    challenge = first(said.digest(), levels[-1].tobytes(), layout.rows, layout.equations)
    combination = prover._sum(product(challenge.rows, rows.T), proximity.T)
    sums = prover._sum(prover._sum_polynomial(layout, encode(rows), challenge.equations, said), of_sum.T)
    bits = prover._sum(prover._bits_polynomial(encode(rows), challenge.bits), of_bits.T)
    if bend is not None:
        bend(challenge, sums)
    asked = ask(challenge.key, polynomial_bytes(combination, sums[:, 1:], bits))
    hashes = open_columns(levels, asked.tolist())
    return NormProof(
        levels[-1].tobytes(), combination, sums[:, 1:], bits, words[asked], salts[asked], hashes
    ).to_bytes()
