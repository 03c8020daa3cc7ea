"""Provers that cheat, and clients that cheat around the proof: what a naive check would take, and ours does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from support.norms.norm_case import BITS, BOUND, CENTRE, SECRET, SID, Client, client, entries, stated
from support.norms.norm_forger import forge

from mpc.keystream import KeyStream
from mpc.ntt import N
from mpc.ring import P, Vector
from zk import aggregate, commitment, parameters
from zk.aggregate import AggregateError, AggregateStatement
from zk.norm import commitment as sketch_commitment
from zk.norm import total
from zk.norm.code import modulo, product
from zk.norm.commitment import SketchCommitment
from zk.norm.layout import ABOVE_LEAST_AT, BELOW_MOST_AT, QUOTIENT_AT, SQUARE_AT, WEIGHT_AT, Layout, fill
from zk.norm.prover import prove
from zk.norm.sketch import sketch, sketch_key
from zk.norm.statement import EXTENSION, NormProofError, NormStatement, first_challenge
from zk.norm.total import SketchSum, SketchSumError
from zk.norm.verifier import verify

LAYOUT = Layout.of(BOUND)
Elements = npt.NDArray[np.uint32]


@cache
def honest() -> Client:
    return client("mallory", 700)


def refused(said: NormStatement, data: bytes) -> None:
    with pytest.raises(NormProofError) as found:
        verify(said, data)
    assert found.value.check == "columns"


def rows() -> Elements:
    return fill(LAYOUT, honest().witness)


def test_the_forger_makes_proofs_that_pass_where_it_has_nothing_to_hide() -> None:
    verify(honest().statement, forge(honest().statement, rows()))


def changed(position: int, row: int, value: int) -> Callable[[Elements], None]:
    def change(values: Elements) -> None:
        values[position, row] = value % P

    return change


FIRST, MISC = LAYOUT.first_of_sketch, LAYOUT.miscellaneous
CHEATS: dict[str, Callable[[Elements], None]] = {
    "a bit of s' that is another": lambda v: changed(3, 0, 1 - int(v[3, 0]))(v),
    "a bit of s' that is 2": changed(3, 0, 2),
    "a bit of s' that is -1": changed(3, 0, -1),
    "a bit of v that is another": lambda v: changed(9, FIRST, 1 - int(v[9, FIRST]))(v),
    "v split in another way": lambda v: (
        changed(9, FIRST, int(v[9, FIRST]) + 2)(v),
        changed(9, FIRST + 1, int(v[9, FIRST + 1]) - 1)(v),
    )[0],
    "a high bit of v taken from a low one": lambda v: (
        changed(9, FIRST + BOUND.shift, int(v[9, FIRST + BOUND.shift]) - 1)(v),
        changed(9, FIRST, int(v[9, FIRST]) + (1 << BOUND.shift))(v),
    )[0],
    "a heavier weight in the proof than in the vector": changed(WEIGHT_AT + 8, MISC, 1),
    "M - w that is not": changed(BELOW_MOST_AT, MISC, 5),
    "w - m that is not": changed(ABOVE_LEAST_AT, MISC, 5),
    "another share": lambda v: changed(QUOTIENT_AT + 11, MISC, 1 - int(v[QUOTIENT_AT + 11, MISC]))(v),
    "r² - ‖v_h‖² that is not": changed(SQUARE_AT, MISC, 7),
    "a larger radius": changed(0, -1, 4000),
    "something beside the radius": changed(77, -1, 4000),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_rows_that_are_not_what_they_should_be_are_refused(cheat: str) -> None:
    values = rows()
    CHEATS[cheat](values)
    assert not np.array_equal(values, rows())
    refused(honest().statement, forge(honest().statement, values))


@pytest.mark.parametrize("share", [1.27, 1.4, 3.0])
def test_a_norm_just_over_the_bound_has_no_proof_by_any_of_these_ways(share: float) -> None:
    """r² − ‖v_h‖² below 0 is no number of 24 bits; every way to hide it breaks one equation."""
    made = client("mallory", 700, share=share)
    high = ((made.witness.sketch + BOUND.offset) >> BOUND.shift) - 1024
    radius = 13 + BOUND.quotient(700)
    short = radius**2 - int((high**2).sum())
    assert short < 0
    quiet = dataclasses.replace(made.witness, sketch=np.zeros(N, dtype=np.int64))
    values = fill(LAYOUT, quiet)
    shifted = made.witness.sketch + BOUND.offset
    assert int(shifted.min()) >= 0
    values[:, FIRST:MISC] = (shifted[:, None] >> np.arange(BOUND.rows)) & 1
    values[SQUARE_AT : SQUARE_AT + 24, MISC] = 0
    for cheat in (
        changed(SQUARE_AT, MISC, short),  # a bit that is a negative number
        changed(0, -1, int(np.ceil(np.linalg.norm(high)))),  # a radius that is no weight's
        changed(5, -1, int(np.ceil(np.sqrt(-short)))),  # an entry of the last row that is not 0
        changed(QUOTIENT_AT, MISC, 4000),  # a share that is no bit
    ):
        tried = values.copy()
        cheat(tried)
        refused(made.statement, forge(made.statement, tried))


def test_a_negative_limb_moves_the_mean_and_has_no_proof() -> None:
    """Sums of weights see only their total: −5 and 9 of one client, less of the others' weight, pass as a sum."""
    witness = client("mallory", 700, share=0.001).witness
    layout, randomness = LAYOUT, witness.randomness
    side = layout.side(700, (0, 0)).astype(np.int64)
    side[0] -= 800
    assert side[0] < 0
    made = sketch_commitment.commit(witness.sketch, modulo(side), randomness, layout.rank)
    said = dataclasses.replace(honest().statement, sketch=made)
    for weight in (700, 4, 1000):
        refused(said, forge(said, fill(layout, dataclasses.replace(witness, weight=weight))))
    negative = fill(layout, witness)
    negative[WEIGHT_AT, MISC] = (int(negative[WEIGHT_AT, MISC]) - 800) % P
    negative[BELOW_MOST_AT, MISC] = (int(negative[BELOW_MOST_AT, MISC]) + 800) % P
    refused(said, forge(said, negative))


@pytest.mark.parametrize("weight", [3, 1001, 2047, 0])
def test_weights_outside_the_range_have_no_proof(weight: int) -> None:
    witness = dataclasses.replace(honest().witness, weight=weight, sketch=np.zeros(N, dtype=np.int64))
    made = stated("mallory", honest().values, witness)
    values = fill(LAYOUT, dataclasses.replace(witness, weight=4))
    values[WEIGHT_AT : WEIGHT_AT + 10, MISC] = [weight >> k & 1 for k in range(10)]
    for most, least in ((1000 - weight, weight - 4), (0, 0)):
        values[BELOW_MOST_AT, MISC], values[ABOVE_LEAST_AT, MISC] = most % P, least % P
        values[BELOW_MOST_AT + 1 : BELOW_MOST_AT + 10, MISC] = values[
            ABOVE_LEAST_AT + 1 : ABOVE_LEAST_AT + 10, MISC
        ] = 0
        refused(made.statement, forge(made.statement, values))


def noise(where: slice) -> Callable[[Elements], None]:
    def spoil(words: Elements) -> None:
        words[where] = np.random.default_rng(11).integers(0, P, words[where].shape, dtype=np.uint32)

    return spoil


@pytest.mark.parametrize("count", [250, 1000, 1728, 1729, 4096])
def test_rows_that_are_no_words_are_refused(count: int) -> None:
    refused(honest().statement, forge(honest().statement, rows(), spoil_rows=noise(slice(0, count))))


@pytest.mark.parametrize("part", range(3), ids=["combination", "sum", "bits"])
@pytest.mark.parametrize("count", [250, 2000, 4096])
def test_masks_that_are_no_words_are_refused(part: int, count: int) -> None:
    def spoil(masks: Elements) -> None:
        noise(slice(0, count))(masks[:, part * EXTENSION : (part + 1) * EXTENSION])

    refused(honest().statement, forge(honest().statement, rows(), spoil_masks=spoil))


def test_a_mask_whose_sum_is_not_zero_hides_no_false_equation() -> None:
    """The mask's sum would be what the equations are off by, but that depends on the challenge."""
    values = rows()
    values[3, 0] = 1 - values[3, 0]

    def spoil(masks: Elements) -> None:
        masks[:, EXTENSION : 2 * EXTENSION] = (masks[:, EXTENSION : 2 * EXTENSION] + np.uint64(12345)) % P

    refused(honest().statement, forge(honest().statement, values, spoil_masks=spoil))


# ------------------------------------------------------------------------------------------ around the proof


def test_a_challenge_that_forgets_the_commitment_would_prove_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """With C' chosen after the challenge, four of its elements make up for whatever the others were changed by."""
    said = honest().statement
    weak = dataclasses.replace(said, sketch=client("bob", 700).statement.sketch).digest()
    with monkeypatch.context() as naive:
        naive.setattr(NormStatement, "digest", lambda self: weak)
        proof = prove(said, honest().witness, SECRET)
        chi = first_challenge(weak, proof[:32], LAYOUT.rows, LAYOUT.equations).equations
        elements = said.sketch.elements.copy()
        elements[512:1000] = (elements[512:1000] + np.uint64(123_456_789)) % P  # a v of any length
        differences = (elements.astype(np.int64) - said.sketch.elements.astype(np.int64)) % P
        wrong = product(chi[:, :1024], differences[:1024, None].astype(np.uint32))[:, 0]
        repair = solve(chi[:, 1000:1004], (P - wrong.astype(np.int64)) % P)
        elements[1000:1004] = (elements[1000:1004] + np.array(repair, dtype=np.uint64)) % P
        forged = dataclasses.replace(said, sketch=SketchCommitment(elements, 1))
        verify(forged, proof)  # the naive challenge takes it
    refused(forged, proof)


def solve(matrix: Elements, right: npt.NDArray[np.int64]) -> list[int]:
    """A small linear system modulo p, by elimination."""
    rows = [[int(x) for x in row] + [int(b)] for row, b in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = next(r for r in range(i, len(rows)) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        inverse = pow(rows[i][i], -1, P)
        rows[i] = [x * inverse % P for x in rows[i]]
        for r in range(len(rows)):
            if r != i:
                rows[r] = [(x - rows[r][i] * y) % P for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


@cache
def long_but_flat(session: bytes) -> Vector:
    """A vector as long as the grid allows, whose sketch in this session is next to nothing: R was known before it."""
    r = entries(session, 1500).astype(np.float64)
    e = np.random.default_rng(3).normal(size=1500)
    e -= r.T @ np.linalg.solve(r @ r.T, r @ e)
    return (np.rint(e * (CENTRE / np.abs(e).max())) + CENTRE).astype(np.uint32)


def test_a_vector_chosen_after_its_sketch_s_key_passes_and_one_before_it_does_not() -> None:
    """Why R's key is of the session, and the session's id of all commitments."""
    values = long_but_flat(SID)
    norm = float(np.linalg.norm(values.astype(np.int64) - CENTRE))
    bound = dataclasses.replace(BOUND, norm=int(norm / 40))
    known = client("mallory", 1000, bound=bound, values=values)
    verify(known.statement, prove(known.statement, known.witness, SECRET))
    other = client("mallory", 1000, bound=bound, values=values, session=bytes(32))
    with pytest.raises(ValueError, match="sketch"):
        prove(other.statement, other.witness, SECRET)


def test_another_vector_in_the_sum_than_was_committed_to_is_refused_by_the_commitments() -> None:
    """Both C' and its proof come after R: they can be of any vector. The commitment C was there before."""
    first, values = client("mallory", 1000, length=1500), long_but_flat(SID)
    bound = dataclasses.replace(BOUND, norm=int(float(np.linalg.norm(values.astype(np.int64) - CENTRE)) / 40))
    late = client("mallory", 1000, bound=bound, values=values)
    verify(late.statement, prove(late.statement, late.witness, SECRET))
    randomness = late.witness.randomness
    total.check(SketchSum(bound, sketch_key(SID), (late.statement.sketch,), values, CENTRE, late.side, randomness))
    setting = parameters.choose(BITS, 3, values.size)
    s = np.empty(commitment.randomness_length(setting.rank), dtype=np.uint32)
    KeyStream(SECRET).bounded(0, parameters.noise_bits(BITS, 3), s)
    made = commitment.commit(first.values, s, setting.rank)
    aggregate.check(AggregateStatement(setting, 2 * CENTRE, (made,), first.values, s))
    with pytest.raises(AggregateError, match="not what was committed to"):
        aggregate.check(AggregateStatement(setting, 2 * CENTRE, (made,), values, s))


def test_another_s_commitment_or_proof_is_nobody_else_s() -> None:
    alice, said = client("alice", 700), honest().statement
    proof = prove(alice.statement, alice.witness, SECRET)
    verify(alice.statement, proof)
    refused(dataclasses.replace(said, sketch=alice.statement.sketch), proof)
    refused(dataclasses.replace(said, sketch=alice.statement.sketch, commitment=alice.statement.commitment), proof)
    for other in (
        dataclasses.replace(alice.statement, session=bytes(32)),
        dataclasses.replace(alice.statement, context=bytes(32)),
        dataclasses.replace(alice.statement, name="mallory"),
    ):
        refused(other, proof)


def test_a_commitment_that_cancels_the_others_has_no_proof() -> None:
    """C' = that of a chosen sum less everybody else's: its sum is open to its maker, it alone to nobody."""
    others = [client(name, 700) for name in ("alice", "bob")]
    chosen = client("mallory", 1000, share=0.1)
    taken = sketch_commitment.add([other.statement.sketch for other in others])
    difference = (chosen.statement.sketch.elements.astype(np.int64) - taken.elements) % P
    rogue = dataclasses.replace(
        chosen.statement, sketch=SketchCommitment(difference.astype(np.uint32), chosen.statement.rank)
    )
    sums = SketchSum(
        BOUND,
        sketch_key(SID),
        (rogue.sketch, *(other.statement.sketch for other in others)),
        chosen.values,
        CENTRE,
        chosen.side,
        chosen.witness.randomness,
    )
    with pytest.raises(SketchSumError):  # three centres
        total.check(sums)
    values = (chosen.values + np.uint32(2 * CENTRE)).astype(np.uint32)
    total.check(dataclasses.replace(sums, values=values))  # the sum alone would take it
    refused(rogue, forge(rogue, fill(LAYOUT, chosen.witness)))


def test_naive_structured_sketches_lose_vectors_that_ours_keeps() -> None:
    """One ring product with signs: a constant vector's sketch has few degrees of freedom, and is short now and then."""
    rng, d = np.random.default_rng(1), 512 * 8
    e = np.full(d, 1000)
    ratios = []
    for _ in range(300):
        v = np.zeros(N)
        for block in e.reshape(-1, N):
            signs = rng.choice([-1.0, 1.0], N)
            full = np.convolve(signs, block)
            v += full[:N] - np.append(full[N:], 0.0)  # X^512 = −1
        ratios.append(float(np.linalg.norm(v) / (np.sqrt(N) * np.linalg.norm(e))))
    assert min(ratios) < 0.35
    ours = [sketch(sketch_key(bytes([i]) * 32), e.astype(np.uint32), 0) for i in range(100)]
    assert min(float(np.linalg.norm(v) / (16 * np.linalg.norm(e))) for v in ours) > 0.85


def test_the_statement_names_what_is_wrong_to_nobody_but_its_owner() -> None:
    """A verifier's error holds the client's name and no number of its vector."""
    with pytest.raises(NormProofError) as found:
        verify(honest().statement, forge(honest().statement, np.zeros_like(rows())))
    assert "mallory" in str(found.value)
    assert not any(character.isdigit() for character in str(found.value))
