"""Attackers of norm proofs who know the specification: numbers that wrap, challenges that forget, proofs that tell,
sums that are congruent and not equal, sizes that cost. Each works against a naive form, or would by weaker numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import tracemalloc
from collections.abc import Sequence
from functools import cache, reduce

import numpy as np
import numpy.typing as npt
import pytest
from conformance.norm import independent_norm as independent
from support.norms.norm_case import BOUND, CENTRE, SECRET, SID, Client, client, stated
from support.norms.norm_forger import forge

from mpc.ntt import N
from mpc.ring import P
from zk import parameters
from zk.norm import commitment, prover, total, verifier
from zk.norm.bound import BoundError, NormBound, slack
from zk.norm.code import COSETS, LENGTH, encode, interpolate, product, shift_power
from zk.norm.equations import Equations, combine
from zk.norm.layout import (
    ABOVE_LEAST_AT,
    BELOW_MOST_AT,
    COUNTS_AT,
    QUOTIENT_AT,
    REST_AT,
    REST_BITS,
    SQUARE_AT,
    WEIGHT_AT,
    Layout,
    NormExceeded,
    Witness,
    fill,
)
from zk.norm.proof import BITS_DEGREE, DEGREE, SUM_DEGREE, NormProof, polynomial_bytes, size_range
from zk.norm.prover import prove
from zk.norm.sketch import sketch, sketch_key
from zk.norm.statement import EXTENSION, QUERIES, Challenge, NormProofError, NormStatement, first_challenge, queries
from zk.norm.total import SketchSum, SketchSumError
from zk.norm.verifier import verify

Elements = npt.NDArray[np.uint32]
LAYOUT = Layout.of(BOUND)
MISC = LAYOUT.miscellaneous

WIDEST_NORM = 89_478_485
"""Of one client: 6 B is just below 2^29, and κ = 19."""
EXTREMES = {
    "the least": NormBound(1, 1),
    "no shift": NormBound(1, 170, 7, 3, 3),
    "the first shift": NormBound(1, 171, 7, 3, 3),
    "the widest": NormBound(1, WIDEST_NORM),
    "16 bits of weight": NormBound(1, 5461, 65535, 1, 16),
    "17 bits of weight": NormBound(1, 5462, 65536, 1, 17),
    "the widest and heaviest": NormBound(1, WIDEST_NORM, (1 << 28) - 1, 1, 28, 6, 28),
    "a weight that is one bit": NormBound(1, WIDEST_NORM, 1 << 27, 1 << 27, 28),
    "bits as limbs": NormBound(1, 1000, (1 << 28) - 1, 1, 1, 33, 1),
    "most clients": NormBound(1 << 18, 300, 1, 1, 12, 2),
}


@cache
def honest() -> Client:
    return client("mallory", 700)


def point(column: int) -> int:
    return int(independent.point(column))


def refused(said: NormStatement, data: bytes, check: str = "columns") -> None:
    with pytest.raises(NormProofError) as found:
        verify(said, data)
    assert found.value.check == check


# ------------------------------------------------------------------------------------------ numbers that wrap


def alone(bound: NormBound) -> tuple[Equations, npt.NDArray[np.int64]]:
    """The equations 2 to 5, each weighted by 1 in a part of its own, and the miscellaneous row's weights in them, as
    integers of least size.
    """
    layout = Layout.of(bound)
    challenges = np.zeros((4, layout.equations), dtype=np.uint32)
    first = (layout.rank + 1) * N + bound.side
    challenges[range(4), range(first, first + 4)] = 1
    nothing = commitment.SketchCommitment(np.zeros((layout.rank + 1) * N + bound.side, dtype=np.uint32), layout.rank)
    found = combine(layout, nothing, challenges)
    weights = found.weights[:, :, layout.blocks + 1].T.astype(np.int64)
    return found, np.where(weights > P // 2, weights - P, weights)


@pytest.mark.parametrize("case", EXTREMES)
def test_no_bits_satisfy_an_equation_modulo_p_and_not_over_the_integers(case: str) -> None:
    """Whatever bits the rows have, both sides of an equation differ by less than p, so congruent is equal. The weights
    are the product's own. A rest of 31 bits would have room for a negative one, as p less a little.
    """
    bound = EXTREMES[case]
    found, weights = alone(bound)
    values = found.value.astype(np.int64)
    least = np.minimum(weights, 0).sum(axis=1) - values
    most = np.maximum(weights, 0).sum(axis=1) - values
    radius = 13 + (1 << 12) - 1
    assert found.square.tolist() == [0, 0, 0, 1]
    least[3] -= radius**2
    most[3] += N * 1024**2
    assert least.min() > -P
    assert most.max() < P


@pytest.mark.parametrize("case", EXTREMES)
def test_every_number_has_bits_of_its_own_in_the_miscellaneous_row(case: str) -> None:
    bound = EXTREMES[case]
    weights = alone(bound)[1]
    assert WEIGHT_AT + bound.weight_bits <= BELOW_MOST_AT
    assert BELOW_MOST_AT + bound.weight_bits <= ABOVE_LEAST_AT
    assert ABOVE_LEAST_AT + bound.weight_bits <= QUOTIENT_AT
    assert COUNTS_AT + bound.counts <= N
    numbers = {
        WEIGHT_AT: bound.weight_bits,
        BELOW_MOST_AT: bound.weight_bits,
        ABOVE_LEAST_AT: bound.weight_bits,
        QUOTIENT_AT: 12,
        REST_AT: REST_BITS,
        SQUARE_AT: 24,
    }
    used = [set(np.flatnonzero(row).tolist()) for row in weights]
    places = {at: set(range(at, at + count)) for at, count in numbers.items()}
    assert used[0] == places[WEIGHT_AT] | places[BELOW_MOST_AT]
    assert used[1] == places[WEIGHT_AT] | places[ABOVE_LEAST_AT]
    high = {bit for bit in places[WEIGHT_AT] if bit >= bound.share_shift}
    assert used[2] == high | places[QUOTIENT_AT] | places[REST_AT]
    assert used[3] == places[SQUARE_AT]
    assert sum(map(len, places.values())) == len(set().union(*places.values()))
    assert all(np.all(np.abs(row[sorted(at)]) > 0) for row, at in zip(weights, used, strict=True))


def at_the_edge(bound: NormBound, weight: int, over: int) -> Client:
    """A sketch with ‖v_h‖² = r² + ``over`` (four squares), its other entries at the lower end of a step of v_h."""
    radius = 13 + bound.quotient(weight)
    high = np.zeros(N, dtype=np.int64)
    rest = radius**2 + over
    for i in range(N):
        high[i] = -min(math.isqrt(rest), 1023 + i % 2)
        rest -= int(high[i]) ** 2
    assert rest == 0
    values = (high << bound.shift) - ((1 << bound.shift) // 2)
    layout = Layout.of(bound)
    randomness = commitment.draw_randomness(bytes(32), layout.rank)
    return stated("mallory", honest().values, Witness(values, randomness, weight, (1,) * bound.counts), bound)


@pytest.mark.parametrize("case", EXTREMES)
def test_a_proof_ends_exactly_where_its_numbers_do(case: str) -> None:
    bound = EXTREMES[case]
    for weight in {bound.least_weight, bound.most_weight}:
        made = at_the_edge(bound, weight, 0)
        verify(made.statement, prove(made.statement, made.witness, SECRET))
        over = at_the_edge(bound, weight, 1)
        with pytest.raises(NormExceeded, match="norm"):
            prove(over.statement, over.witness, SECRET)


@pytest.mark.parametrize("seed", [20, 21])
def test_two_implementations_take_the_same_bounds_and_read_the_same_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    taken = 0
    for _ in range(4000):
        n, norm, most = (1 << int(rng.integers(0, limit)) for limit in (20, 30, 30))
        fields = [value + int(rng.integers(-1, 2)) for value in (n, norm, most)]
        fields += [int(rng.integers(0, 3)) or fields[2], int(rng.integers(0, 31)), *rng.integers(0, 40, 2).tolist()]
        made: list[NormBound | independent.Bound | None] = []
        for kind in (NormBound, independent.Bound):
            try:
                made.append(kind(*fields))
            except ValueError:
                made.append(None)
        ours, other = made
        assert (ours is None) == (other is None), (seed, fields)
        if isinstance(ours, NormBound) and isinstance(other, independent.Bound):
            taken += 1
            theirs = (other.kappa, other.offset, other.alpha, other.g, other.M1, other.rho, other.rows)
            rows, rank = Layout.of(ours).rows, Layout.of(ours).rank
            assert (ours.shift, ours.offset, ours.scale, ours.share_shift, ours.share, rank, rows) == theirs
            assert ours.to_bytes() == other.encoding()
    assert taken > 100, seed


@pytest.mark.slow
@pytest.mark.parametrize("case", ["the widest and heaviest", "bits as limbs", "most clients"])
def test_the_second_verifier_takes_proofs_at_the_edge_too(case: str) -> None:
    bound = EXTREMES[case]
    made = at_the_edge(bound, bound.most_weight, 0).statement
    data = prove(made, at_the_edge(bound, bound.most_weight, 0).witness, SECRET)
    other = independent.Bound(*dataclasses.astuple(bound))
    parts = (made.commitment.to_bytes(), made.sketch.to_bytes())
    independent.verify(independent.Statement(made.context, made.session, made.name, *parts, other), data)


def test_positions_without_a_meaning_are_free_and_still_bits() -> None:
    values = fill(LAYOUT, honest().witness)
    values[COUNTS_AT + BOUND.counts :, MISC] = 1
    values[REST_AT + REST_BITS : SQUARE_AT, MISC] = 1
    verify(honest().statement, forge(honest().statement, values))
    values[-1, MISC] = 2
    refused(honest().statement, forge(honest().statement, values))


@pytest.mark.parametrize("entry", [4, 7, 1 << 20])
def test_randomness_that_no_row_holds_is_noticed_by_its_owner(entry: int) -> None:
    """C' of it is well-formed, and its rows would be of other randomness: a proof that everybody refuses."""
    witness = honest().witness
    randomness = witness.randomness.copy()
    randomness[17] = entry
    made = stated("mallory", honest().values, dataclasses.replace(witness, randomness=randomness))
    with pytest.raises(NormExceeded, match="2 bits"):
        prove(made.statement, made.witness, SECRET)
    with pytest.raises(NormExceeded, match="3072 coordinates"):
        prove(made.statement, dataclasses.replace(witness, randomness=randomness[:-1]), SECRET)


@pytest.mark.parametrize("value", [2, -1, P // 2])
def test_a_count_that_is_neither_0_nor_1_has_no_proof(value: int) -> None:
    """Nor by a row that says so, nor by one that does not, nor by a bit that means nothing."""
    witness = honest().witness
    side = np.array([700, 0, value % P, 0], dtype=np.uint32)
    made = commitment.commit(witness.sketch, side, witness.randomness, LAYOUT.rank)
    said = dataclasses.replace(honest().statement, sketch=made)
    for position, entry in ((COUNTS_AT, value), (COUNTS_AT, 1), (COUNTS_AT + BOUND.counts, 1)):
        values = fill(LAYOUT, witness)
        values[position, MISC] = entry % P
        refused(said, forge(said, values))


@pytest.mark.parametrize("limb", [0, 1, 2])
def test_a_digit_that_the_largest_weight_has_no_bits_for_is_0(limb: int) -> None:
    """A sum of weights would be 2^22 too large by a third digit of 1, and a mean as much too small."""
    bound = dataclasses.replace(BOUND, limbs=3)
    made = client("mallory", 700, bound=bound)
    layout = Layout.of(bound)
    values = fill(layout, made.witness)
    verify(made.statement, forge(made.statement, values))
    assert bound.side_tops == (1023, 0, 0, 1, 1)
    side = made.side.copy()
    side[limb] += 1
    other = commitment.commit(made.witness.sketch, side, made.witness.randomness, layout.rank)
    said = dataclasses.replace(made.statement, sketch=other)
    refused(said, forge(made.statement, values))
    refused(said, forge(said, values))


LIMB, MOST, LEAST, SHARE, SQUARE, RADIUS = 1024, 1028, 1029, 1030, 1031, 1032
"""Equations by number, of rank 1 with four coordinates beside the sketch."""


def numbers(values: Elements, **given: int) -> Elements:
    """Rows with other numbers in the miscellaneous row, by their names in the layout, and ``radius``."""
    places = {
        "weight": (WEIGHT_AT, 10),
        "below_most": (BELOW_MOST_AT, 10),
        "above_least": (ABOVE_LEAST_AT, 10),
        "quotient": (QUOTIENT_AT, 12),
        "rest": (REST_AT, REST_BITS),
        "square": (SQUARE_AT, 24),
    }
    for name, value in given.items():
        if name == "radius":
            values[0, -1] = value
        else:
            at, count = places[name]
            assert 0 <= value < 1 << count
            values[at : at + count, MISC] = [value >> k & 1 for k in range(count)]
    return values


def rows_of_weight(weight: int) -> tuple[NormStatement, Elements]:
    """C' of a weight that is not in the range, and rows that are right but for one of its differences."""
    witness = dataclasses.replace(honest().witness, weight=weight, sketch=np.zeros(N, dtype=np.int64))
    values = fill(LAYOUT, dataclasses.replace(witness, weight=700))
    quotient = BOUND.quotient(weight)
    return stated("mallory", honest().values, witness).statement, numbers(
        values,
        weight=weight,
        below_most=max(0, 1000 - weight),
        above_least=max(0, weight - 4),
        quotient=quotient,
        rest=BOUND.scale * weight - quotient * 1000,
        radius=13 + quotient,
        square=(13 + quotient) ** 2,
    )


def rows_too_long(radius: int, beside: int = 0, **given: int) -> tuple[NormStatement, Elements]:
    """C' of a sketch that is 3 times too long for its weight, and rows with this radius."""
    made = client("mallory", 300, share=3.0)
    shifted = made.witness.sketch + BOUND.offset
    values = fill(LAYOUT, dataclasses.replace(made.witness, sketch=np.zeros(N, dtype=np.int64)))
    values[:, LAYOUT.first_of_sketch : MISC] = shifted[:, None] >> np.arange(BOUND.rows) & 1
    norm = int((((shifted >> BOUND.shift) - 1024) ** 2).sum())
    assert norm > (13 + BOUND.quotient(300)) ** 2
    values[5, -1] = beside
    square = max(0, radius**2 + beside**2 - norm)
    return made.statement, numbers(values, radius=radius, square=square, **given)


def changed_commitment(where: slice) -> tuple[NormStatement, Elements]:
    """A C' that is of something else in some of its elements, and honest rows."""
    elements = honest().statement.sketch.elements.copy()
    elements[where] = (elements[where].astype(np.int64) + 12345) % P
    return dataclasses.replace(honest().statement, sketch=commitment.SketchCommitment(elements, 1)), fill(
        LAYOUT, honest().witness
    )


HONEST_RADIUS = 13 + BOUND.quotient(300)
LEFT_OUT = {
    "t_0": (slice(0, N), lambda: changed_commitment(slice(0, N))),
    "t_1": (slice(N, 2 * N), lambda: changed_commitment(slice(N, 2 * N))),
    "a limb": (slice(LIMB, LIMB + 1), lambda: changed_commitment(slice(LIMB, LIMB + 1))),
    "a count": (slice(LIMB + 3, LIMB + 4), lambda: changed_commitment(slice(LIMB + 3, LIMB + 4))),
    "the largest weight": (slice(MOST, MOST + 1), lambda: rows_of_weight(1001)),
    "the least weight": (slice(LEAST, LEAST + 1), lambda: rows_of_weight(3)),
    "the share": (slice(SHARE, SHARE + 1), lambda: rows_too_long(3000, quotient=2987, rest=0)),
    "the squares": (slice(SQUARE, SQUARE + 1), lambda: rows_too_long(HONEST_RADIUS)),
    "the radius": (slice(RADIUS, RADIUS + 1), lambda: rows_too_long(3000)),
    "zeros after the radius": (slice(RADIUS + 1, RADIUS + N), lambda: rows_too_long(HONEST_RADIUS, 3000)),
}


@pytest.mark.parametrize("equation", LEFT_OUT)
def test_without_any_one_of_the_equations_something_false_is_accepted(
    equation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, false = LEFT_OUT[equation]
    said, values = false()

    def lenient(layout: Layout, sketch: commitment.SketchCommitment, challenges: Elements) -> Equations:
        fewer = challenges.copy()
        fewer[:, where] = 0
        return combine(layout, sketch, fewer)

    with monkeypatch.context() as naive:
        naive.setattr(prover, "combine", lenient)
        naive.setattr(verifier, "combine", lenient)
        verify(said, forge(said, values))
    refused(said, forge(said, values))


@pytest.mark.parametrize("row", [0, LAYOUT.first_of_sketch, MISC - 1, MISC])
def test_a_row_whose_bits_nobody_checks_would_hold_any_number(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the last case the sketch is too long, and what r² lacks is in a bit that is none; in the others, bits that are
    none spell the same numbers.
    """
    said, values = honest().statement, fill(LAYOUT, honest().witness)
    if row == MISC:
        said, values = rows_too_long(HONEST_RADIUS)
        high = values[:, MISC - 11 : MISC].astype(np.int64) @ (1 << np.arange(11)) - 1024
        values[SQUARE_AT, MISC] = (HONEST_RADIUS**2 - int((high**2).sum())) % P
    else:
        other = row + 1 if row < MISC - 1 else row - 1
        values[7, row] = (int(values[7, row]) + (2 if other > row else 1)) % P
        values[7, other] = (int(values[7, other]) - (1 if other > row else 2)) % P

    def lenient(digest: bytes, root: bytes, rows: int, equations: int) -> Challenge:
        drawn = first_challenge(digest, root, rows, equations)
        bits = drawn.bits.copy()
        bits[:, [row, row if row == MISC else other]] = 0
        return dataclasses.replace(drawn, bits=bits)

    with monkeypatch.context() as naive:
        naive.setattr(verifier, "first_challenge", lenient)
        verify(said, forge(said, values, first=lenient))
    refused(said, forge(said, values, first=lenient))
    refused(said, forge(said, values))


def power(degree: int) -> Elements:
    """X^degree as a word."""
    return np.array([pow(point(column), degree, P) for column in range(LENGTH)], dtype=np.uint32)


@pytest.mark.parametrize("degree", [DEGREE, 766, 1276])
def test_a_row_of_one_degree_more_is_no_row(degree: int) -> None:
    """Its low coefficients are honest, so that all that is missing in the combination is one power."""

    def spoil(words: Elements) -> None:
        words[:, 5] = ((words[:, 5].astype(np.int64) + power(degree)) % P).astype(np.uint32)

    refused(honest().statement, forge(honest().statement, fill(LAYOUT, honest().witness), spoil_rows=spoil))


@pytest.mark.parametrize(("mask", "degree"), [(0, DEGREE), (1, SUM_DEGREE), (1, 0), (2, SUM_DEGREE), (2, 0), (2, 511)])
def test_a_mask_of_another_form_is_no_mask(mask: int, degree: int) -> None:
    """Of a degree more, of a sum that is not 0, or no multiple of X^512 + 1, with a false row to hide and without."""

    def spoil(masks: Elements) -> None:
        column = EXTENSION * mask
        masks[:, column] = ((masks[:, column].astype(np.int64) + power(degree)) % P).astype(np.uint32)

    values = fill(LAYOUT, honest().witness)
    refused(honest().statement, forge(honest().statement, values, spoil_masks=spoil))
    values[9, 5] = 2
    refused(honest().statement, forge(honest().statement, values, spoil_masks=spoil))


# ------------------------------------------------------------------------------------------ challenges that forget


def false_rows() -> Elements:
    values = fill(LAYOUT, honest().witness)
    values[3, 0] = 1 - values[3, 0]  # of s': not what C' is of
    return values


def lacking(said: NormStatement, values: Elements, challenge: Challenge) -> list[int]:
    """By how much the equations' combination misses its value, over 512: one number for each part."""
    polynomial = prover._sum_polynomial(LAYOUT, encode(interpolate(values)), challenge.equations, said).astype(np.int64)
    value = combine(LAYOUT, said.sketch, challenge.equations).value.astype(np.int64)
    constant = value * pow(N, -1, P) % P + polynomial[:, N] - polynomial[:, 2 * N]
    return [int(x) for x in (constant - polynomial[:, 0]) % P]


def test_a_challenge_that_forgets_the_columns_would_let_a_mask_hide_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    said, values = honest().statement, false_rows()

    def forgetful(digest: bytes, root: bytes, rows: int, equations: int) -> Challenge:
        return first_challenge(digest, bytes(32), rows, equations)

    known = forgetful(said.digest(), b"", LAYOUT.rows, LAYOUT.equations)
    missing = np.array(lacking(said, values, known), dtype=np.uint64)
    assert missing.all()

    def spoil(masks: Elements) -> None:
        masks[:, EXTENSION : 2 * EXTENSION] = (masks[:, EXTENSION : 2 * EXTENSION] + missing) % np.uint64(P)

    with monkeypatch.context() as naive:
        naive.setattr(verifier, "first_challenge", forgetful)
        verify(said, forge(said, values, spoil_masks=spoil, first=forgetful))
    refused(said, forge(said, values, spoil_masks=spoil, first=forgetful))
    refused(said, forge(said, values, spoil_masks=spoil))


def test_queries_that_forget_the_polynomials_would_let_them_bend_around_the_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A false sum, plus a multiple of Π (X − x_i) over the columns that will be opened: right in all of these."""
    said, values = honest().statement, false_rows()

    def forgetful(key: bytes, polynomials: bytes | memoryview) -> npt.NDArray[np.uint32]:
        return queries(key, b"")

    def bend(challenge: Challenge, sums: Elements) -> None:
        root = [1]
        for column in forgetful(challenge.key, b"").tolist():
            root = [(a - x * b) % P for x in [point(column)] for a, b in zip([0, *root], [*root, 0], strict=True)]
        for part, missing in enumerate(lacking(said, values, challenge)):
            scale = missing * pow(root[0], -1, P)
            sums[part, : len(root)] = [(int(c) + scale * r) % P for c, r in zip(sums[part], root, strict=False)]

    with monkeypatch.context() as naive:
        naive.setattr(verifier, "queries", forgetful)
        verify(said, forge(said, values, ask=forgetful, bend=bend))
    refused(said, forge(said, values, ask=forgetful, bend=bend))
    refused(said, forge(said, values, bend=bend))


def test_there_is_one_encoding_of_what_was_said() -> None:
    """Columns in another order, one of them twice, a hash more or less, elements with p on top."""
    said = honest().statement
    data = prove(said, honest().witness, SECRET)
    proof = NormProof.from_bytes(data, LAYOUT.rows)
    assert proof.to_bytes() == data
    order = np.arange(QUERIES)
    for changed in (order[::-1], np.r_[0, order[:-1]], np.r_[1, 0, order[2:]]):
        refused(said, dataclasses.replace(proof, columns=proof.columns[changed], salts=proof.salts[changed]).to_bytes())
    refused(said, data[:-32])
    refused(said, data + data[-32:])
    refused(said, data + b"\0", "size")
    for name in ("combination", "sum", "bits", "columns"):
        values = getattr(proof, name).astype(np.uint64)
        values.flat[5] += np.uint64(P)
        refused(said, dataclasses.replace(proof, **{name: values.astype(np.uint32)}).to_bytes(), "residues")


# ------------------------------------------------------------------------------------------ proofs that tell


def test_no_column_is_a_point_of_the_messages_and_no_two_are_one() -> None:
    points = [point(column) for column in range(LENGTH)]
    assert len(set(points) | set(independent.zetas())) == LENGTH + N
    assert all(shift_power(k) != P - 1 for k in range(1, COSETS + 1))


def solved(points: Sequence[int], values: Elements) -> Elements:
    """The polynomials of degree below 127 with these values at 127 points: both of shape (127, m)."""
    count, p = len(points), np.int64(P)
    left = np.ones((count, count), dtype=np.int64)
    for i in range(1, count):
        left[:, i] = left[:, i - 1] * np.array(points) % p
    whole = np.concatenate([left, values.astype(np.int64)], axis=1)
    for i in range(count):  # the leading minors of such a matrix are not 0
        whole[i] = whole[i] * pow(int(whole[i, i]), -1, P) % p
        factors = whole[:, i].copy()
        factors[i] = 0
        whole = (whole - factors[:, None] * whole[i] % p) % p
    return whole[:, count:].astype(np.uint32)


def difference(left: Elements, right: Elements) -> Elements:
    return ((left.astype(np.int64) - right) % P).astype(np.uint32)


def test_whatever_a_proof_shows_is_shown_by_masks_of_any_other_witness() -> None:
    """For other rows there is exactly one choice of all masks with the same opened columns and polynomials: so these
    tell nothing. One random coefficient less in a row, and they would.
    """
    alice, bob = client("alice", 700), client("bob", 4, share=0.1)
    data = prove(alice.statement, alice.witness, SECRET)
    shown = NormProof.from_bytes(data, LAYOUT.rows)
    challenge = first_challenge(alice.statement.digest(), shown.root, LAYOUT.rows, LAYOUT.equations)
    asked = queries(challenge.key, polynomial_bytes(shown.combination, shown.sum, shown.bits))
    values = fill(LAYOUT, bob.witness)
    low = np.zeros((DEGREE, LAYOUT.rows), dtype=np.uint32)
    low[:N] = interpolate(values)
    vanishing = np.array([pow(int(z), -1, P) for z in prover._vanishing()[asked, 0]], dtype=np.int64)[:, None]
    wanted = difference(shown.columns, encode(low)[asked]).astype(np.int64) * vanishing % P
    masks = solved([point(column) for column in asked.tolist()], wanted.astype(np.uint32))
    rows = prover._masked_rows(values, masks)
    words = encode(rows)
    np.testing.assert_array_equal(words[asked], shown.columns)
    assert masks[-1].any()  # of degree 126, no less

    proximity = difference(shown.combination, product(challenge.rows, rows.T))
    assert proximity.shape == (EXTENSION, DEGREE)
    equations = combine(LAYOUT, bob.statement.sketch, challenge.equations)
    tail = shown.sum.astype(np.int64)
    constant = (equations.value.astype(np.int64) * pow(N, -1, P) + tail[:, N - 1] - tail[:, 2 * N - 1]) % P
    claimed = np.concatenate([constant[:, None].astype(np.uint32), shown.sum], axis=1)
    of_sum = difference(claimed, prover._sum_polynomial(LAYOUT, words, challenge.equations, bob.statement))
    assert of_sum.shape == (EXTENSION, SUM_DEGREE)
    ends = of_sum.astype(np.int64)
    assert not ((ends[:, 0] - ends[:, N] + ends[:, 2 * N]) % P).any()  # a mask whose sum is 0, as it has to be
    of_bits = difference(shown.bits, prover._bits_polynomial(words, challenge.bits))
    assert of_bits.shape == (EXTENSION, BITS_DEGREE)
    assert len({part.tobytes() for part in (proximity, of_sum, of_bits)}) == 3


def test_nothing_random_is_used_for_two_proofs_of_one_secret() -> None:
    """Two statements with one mask between them would tell the difference of what it hides."""
    first = honest()
    others = [
        dataclasses.replace(first.statement, context=bytes(32)),
        dataclasses.replace(first.statement, commitment=client("bob", 700).statement.commitment),
        stated("mallory", first.values, dataclasses.replace(first.witness, weight=701)).statement,
        dataclasses.replace(first.statement, bound=dataclasses.replace(BOUND, norm=BOUND.norm + 1)),
    ]
    made = [NormProof.from_bytes(prove(first.statement, first.witness, SECRET), LAYOUT.rows)]
    for said in others:
        weight = 701 if said.sketch != first.statement.sketch else 700
        made.append(
            NormProof.from_bytes(prove(said, dataclasses.replace(first.witness, weight=weight), SECRET), LAYOUT.rows)
        )
    for one, other in itertools.combinations(made, 2):
        assert not {salt.tobytes() for salt in one.salts} & {salt.tobytes() for salt in other.salts}
        assert not np.any(one.combination == other.combination)
        assert np.count_nonzero(one.sum == other.sum) + np.count_nonzero(one.bits == other.bits) == 0


# ------------------------------------------------------------------------------------------ sums


@cache
def three() -> SketchSum:
    parts = [client(f"client {weight}", weight) for weight in (1000, 300, 4)]
    return SketchSum(
        BOUND,
        sketch_key(SID),
        tuple(part.statement.sketch for part in parts),
        reduce(np.add, [part.values for part in parts]),
        CENTRE,
        reduce(np.add, [part.side for part in parts]),
        reduce(np.add, [part.witness.randomness for part in parts]),
    )


@pytest.mark.parametrize("at", range(4))
def test_a_sum_of_weights_or_counts_with_p_on_top_is_congruent_and_refused(at: int) -> None:
    honest_sum = three()
    found = total.check(honest_sum)
    side = honest_sum.side.copy()
    side[at] += np.uint32(P)
    added = commitment.add(honest_sum.commitments)
    assert commitment.commit(found, side, honest_sum.randomness, 1) == added  # all that a naive check would look at
    with pytest.raises(SketchSumError) as error:
        total.check(dataclasses.replace(honest_sum, side=side))
    assert error.value.check == "side"


def test_sums_of_limbs_that_could_reach_p_have_no_bound() -> None:
    """Eight clients with weights of 28 bits: their sum and their sum less p would be one number to the commitment."""
    heaviest = (1 << 28) - 1
    assert 8 * heaviest > P > 7 * heaviest
    NormBound(7, 1000, heaviest, 1, 28)
    NormBound(8, 1000, heaviest, 1, 14, 2)
    NormBound(8, 1000, heaviest >> 1, 1, 28)
    with pytest.raises(BoundError, match="limbs of 28 bits"):
        NormBound(8, 1000, heaviest, 1, 28)


@pytest.mark.parametrize("bits", [29, 1 << 40, 1 << 70])
def test_limbs_wider_than_any_weight_have_no_bound(bits: int) -> None:
    with pytest.raises(BoundError, match="1 to 28"):
        NormBound(3, 1000, 9, 1, bits)


@pytest.mark.parametrize("length", [1, 65, 2049])
def test_the_widest_sums_that_there_can_be_are_sketched_exactly(length: int) -> None:
    """Every value at one end of 27 bits and the centre at the other, at lengths that no word or stream ends at."""
    top = (1 << 27) - 1
    key = sketch_key(SID)
    for value, centre in ((top, 0), (0, top)):
        found = sketch(key, np.full(length, value, dtype=np.uint32), centre)
        ones = sketch(key, np.ones(length, dtype=np.uint32), 0)
        assert found.tolist() == [(value - centre) * int(x) for x in ones]
    assert (1 << 27) * (1 << 32) < 1 << 63  # 2^32 such values, all of one sign, in an int64


SHAPES = ([1], [1, 1], [1] * 3, [1] * 8, [1] * 20, [2, 1], [3, 1, 1], [4] + [1] * 8)


def squares(e: Sequence[int], most: int | None) -> npt.NDArray[np.float64]:
    """The distribution of ‖R e‖², up to ``most``, exactly but for floats: all terms are positive."""
    row = {0: 1.0}
    for x in e:
        spread: dict[int, float] = {}
        for value, chance in row.items():
            for step, weight in ((-x, 0.25), (0, 0.5), (x, 0.25)):
                spread[value + step] = spread.get(value + step, 0.0) + weight * chance
        row = spread
    out = np.zeros(max(value * value for value in row) + 1)
    for value, chance in row.items():
        out[value * value] += chance
    for _ in range(9):  # 512 rows
        out = np.convolve(out[:most], out[:most])[:most]
    return out


@pytest.mark.parametrize("bits", [40, 64, 128, 161, 200, 300, 400])
def test_no_vector_is_shortened_beyond_the_slack_as_often_as_it_is_quoted(bits: int) -> None:
    """Sparse, one-hot, constant and mixed vectors by their exact distribution; very long ones by the χ² that they come
    to, whose lower tail is at most exp(−256 (x − 1 − ln x)) and hardly less: so the slack is not far from the best,
    but for the nine bits that are there for values that meet where a vector is folded.
    """
    limit = slack(bits)
    for e in SHAPES:
        end = math.floor(256 * sum(x * x for x in e) / limit**2)
        assert -math.log2(squares(e, end + 1).sum()) >= bits, e
    x = limit**-2
    assert bits <= 256 * (x - 1 - math.log(x)) / math.log(2)
    if bits <= 161:
        assert 256 * (x - 1 - math.log(x)) / math.log(2) < bits + 9


def test_nobody_honest_is_lengthened_beyond_the_tail_as_often_as_it_is_quoted() -> None:
    for e in ([1], [1, 1], [1] * 3, [2, 1]):
        chances = squares(e, None)
        beyond = chances[math.floor(256 * sum(x * x for x in e) * 1.25**2) + 1 :]
        assert beyond.sum() < 2**-42.9, e


# ------------------------------------------------------------------------------------------ what it rests on


def test_the_soundness_comes_out_by_another_count() -> None:
    """Openings as sets, the list from its inequality, everything in one sum."""
    length, degree = LENGTH, DEGREE
    agree = next(a for a in range(length) if 2 * a - length >= degree)
    assert 2 * agree - length >= degree  # two polynomials that agree with one word there are one
    chance = math.comb(agree - 1, QUERIES) / math.comb(length, QUERIES)
    pairs = SUM_DEGREE - 1  # of which two polynomials can share values
    candidates = max(c for c in range(1, 1000) if c * agree**2 <= length * (agree + (c - 1) * pairs))
    field = P**EXTENSION
    events = [length / field, (length - agree) / field, candidates / field, candidates / field]
    error = chance + sum(events)
    assert 2**-102.6 < error < 2**-102.5
    assert math.isclose(
        -math.log2(error), parameters.proof_soundness(length, degree, QUERIES, EXTENSION).total, abs_tol=1e-3
    )
    assert max(2 * (DEGREE - 1), (N - 1) + (DEGREE - 1)) < SUM_DEGREE  # squares, and rows times their weights
    assert BITS_DEGREE - 1 + N == SUM_DEGREE - 1


@pytest.mark.parametrize("rank", [1, 2])
def test_binding_comes_out_by_another_search(rank: int) -> None:
    """Every number of columns, every block, by the geometric series alone: within two bits of what is quoted."""
    clients = parameters.SKETCH_CLIENTS[rank]
    columns, rows = parameters.SKETCH_BLOCKS[rank] * N, rank * N
    assert 2 * 3 * clients < 1 << 2 + (clients - 1).bit_length() + 1  # two differences of sums
    width = 2 + (clients - 1).bit_length() + 1 + math.log(columns / rows) / math.log(3500)
    best = math.inf
    for block in range(200, 700, 4):
        delta = ((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) ** (1 / (2 * (block - 1)))
        for used in range(rows + 50, columns + 1, 40):
            deviation = 2 ** (used * math.log2(delta) + rows / used * math.log2(P)) / math.sqrt(used)
            chance = used * math.log2(max(1e-300, math.erf(2**width / deviation / math.sqrt(2))))
            best = min(best, 0.292 * block - min(0.0, chance + 0.2075 * block))
    assert abs(best - parameters.sketch_binding_bits(rank, clients)) < 2
    assert best > 128


# ------------------------------------------------------------------------------------------ what it costs


def test_proofs_of_another_size_cost_nothing_and_garbage_no_more_than_a_proof() -> None:
    said = honest().statement
    least, most = size_range(LAYOUT.rows)
    honest_proof = prove(said, honest().witness, SECRET)
    verify(said, honest_proof)  # what is kept for the next one is there now
    garbage = np.random.default_rng(5).integers(0, P, (most + 4) // 4, dtype=np.uint32).tobytes()
    huge = bytes(1 << 24)

    def peak(data: bytes, check: str) -> int:
        tracemalloc.start()
        try:
            refused(said, data, check)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(huge, "size") < 1 << 17
    assert peak(huge[:100], "size") < 1 << 17
    assert peak(b"", "size") < 1 << 17
    known = peak(bytes([honest_proof[0] ^ 1]) + honest_proof[1:], "columns")
    assert peak(garbage[:least], "columns") < 1.2 * known
    assert peak(garbage[:most], "columns") < 1.2 * known + most
    assert known < 1 << 25
