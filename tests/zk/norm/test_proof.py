"""Norm proofs: honest ones pass, at every edge of the bound; nothing else does; challenges bind everything."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.norms.norm_case import BOUND, CENTRE, CONTEXT, SECRET, SID, Client, client, stated

from mpc.ring import P
from zk.commitment import Commitment
from zk.norm import columns, statement
from zk.norm.bound import NormBound
from zk.norm.code import LENGTH
from zk.norm.commitment import SketchCommitment
from zk.norm.layout import Layout, NormExceeded, Witness, fill
from zk.norm.proof import NormProof, size_range, typical_size
from zk.norm.prover import prove
from zk.norm.statement import NormProofError, NormStatement, first_challenge, queries
from zk.norm.verifier import verify

ROWS = Layout.of(BOUND).rows
ROOT_FOLDER = Path(__file__).parents[3]
PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT_FOLDER), str(ROOT_FOLDER / "tests")))}
ROOT, COMBINATION, SUM, BITS, COLUMNS, SALTS, HASHES = range(7)
SIZES = (32, 16 * 639, 16 * 1276, 16 * 765, 127 * 4 * ROWS, 127 * 16)
BEGINS = tuple(int(x) for x in np.cumsum((0, *SIZES)))


@cache
def honest() -> Client:
    return client("alice", 700)


@cache
def proof() -> bytes:
    return prove(honest().statement, honest().witness, SECRET)


def refused(changed: NormStatement, data: bytes, check: str) -> None:
    with pytest.raises(NormProofError) as found:
        verify(changed, data)
    assert found.value.check == check


BOUNDS = {
    "the usual": (BOUND, (4, 5, 999, 1000)),
    "no weights": (NormBound(3, 200), (1,)),
    "a norm without a shift": (NormBound(3, 100, 10, 1, 4), (1, 10)),
    "a norm at a power of two": (NormBound(3, 10_923, 9, 1, 1, 4), (1, 9)),
    "the widest": (NormBound(1, 44_739_242, 3, 1, 2), (1, 3)),
    "heavy weights": (NormBound(3, 100_000, (1 << 28) - 1, 1 << 20, 1, 32, 2), (1 << 20, 123_456_789, (1 << 28) - 1)),
    "one weight": (NormBound(3, 4000, 300, 300, 11, 3), (300,)),
    "rank 2": (NormBound(3000, 900, 40, 1, 7, 2), (1, 40)),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_honest_proofs_pass(case: str) -> None:
    bound, weights = BOUNDS[case]
    for weight in weights:
        for share in (0.0, 1.0):
            values = np.full(40, CENTRE, dtype=np.uint32) if share == 0 else None
            made = client(f"{case} {weight}", weight, share=share, bound=bound, values=values)
            verify(made.statement, prove(made.statement, made.witness, SECRET))


@pytest.mark.parametrize("shape", ["one value", "very many", "everything in one sign"])
def test_vectors_at_the_bound_pass_whatever_their_shape(shape: str) -> None:
    length, value = {"one value": (1, 2000), "very many": (2_000_000, 1), "everything in one sign": (20_000, 14)}[shape]
    norm = int(np.sqrt(length) * value) + 1
    bound = NormBound(100, norm, 1000, 1, 11)
    made = client(shape, 1000, bound=bound, values=np.full(length, CENTRE + value, dtype=np.uint32))
    verify(made.statement, prove(made.statement, made.witness, SECRET))


def test_the_same_secret_gives_the_same_bytes_and_another_one_others() -> None:
    assert prove(honest().statement, honest().witness, SECRET) == proof()
    other = prove(honest().statement, honest().witness, bytes(32))
    assert other[:32] != proof()[:32]
    verify(honest().statement, other)


def test_no_randomness_is_shared_between_statements() -> None:
    """Two proofs with one mask would show the difference of what it hides."""
    again = dataclasses.replace(honest().statement, name="alicf")
    first, second = (NormProof.from_bytes(data, ROWS) for data in (proof(), prove(again, honest().witness, SECRET)))
    assert not np.any(first.combination == second.combination)
    assert not np.any(first.salts[:, None].tobytes() == second.salts[None].tobytes())


def test_a_proof_has_the_size_that_is_promised() -> None:
    least, most = size_range(ROWS)
    assert least + 32 * 450 < len(proof()) < least + 32 * 610 < most
    assert abs(len(proof()) - typical_size(ROWS)) < 2000
    widest = NormBound(1, 44_739_242, 3, 1, 2)
    assert typical_size(Layout.of(widest).rows) < 100_000


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("weight", "share"), [(3, 1.0), (1001, 1.0), (0, 0.0), (700, 1.35), (10, 3.0), (1000, 1.35), (4, 20.0)]
)
def test_an_honest_client_is_told_what_the_bound_does_not_allow(weight: int, share: float) -> None:
    made = client("alice", max(weight, 1), share=share)
    witness = dataclasses.replace(made.witness, weight=weight)
    with pytest.raises(NormExceeded):
        prove(made.statement, witness, SECRET)


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0), (0, 2), (-1, 0)])
def test_counts_are_as_many_as_the_bound_has_and_0_or_1(counts: tuple[int, ...]) -> None:
    with pytest.raises(NormExceeded):
        prove(honest().statement, dataclasses.replace(honest().witness, counts=counts), SECRET)


def test_an_entry_beyond_the_range_is_no_witness() -> None:
    sketch = honest().witness.sketch.copy()
    sketch[7] = BOUND.offset + 1
    with pytest.raises(NormExceeded, match="an entry of the sketch"):
        prove(honest().statement, dataclasses.replace(honest().witness, sketch=sketch), SECRET)


def test_a_commitment_of_something_else_is_noticed_by_its_owner() -> None:
    other = dataclasses.replace(honest().witness, weight=701)
    with pytest.raises(NormExceeded, match="not of this sketch"):
        prove(honest().statement, other, SECRET)


REGIONS = ["root", "combination", "sum", "bits", "columns", "salts", "hashes"]


@pytest.mark.parametrize("region", range(7), ids=REGIONS)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("bit", [0, 6])
def test_a_change_anywhere_is_refused(region: int, where: float, bit: int) -> None:
    begin = BEGINS[region]
    size = SIZES[region] if region < HASHES else len(proof()) - begin
    changed = bytearray(proof())
    changed[begin + int(where * size)] ^= 1 << bit
    with pytest.raises(NormProofError) as found:
        verify(honest().statement, bytes(changed))
    assert found.value.check in ("columns", "residues")


@pytest.mark.parametrize("region", [COMBINATION, SUM, BITS, COLUMNS])
def test_each_element_has_one_encoding(region: int) -> None:
    """The same residue plus p fits 32 bits and would say the same."""
    changed, at = bytearray(proof()), BEGINS[region] + 8
    value = int.from_bytes(changed[at : at + 4], "little")
    changed[at : at + 4] = (value + P).to_bytes(4, "little")
    refused(honest().statement, bytes(changed), "residues")


@pytest.mark.parametrize("cut", [1, 4, 31, 32, 64, 127 * 16])
def test_a_proof_of_another_length_is_refused(cut: int) -> None:
    check = "size" if cut % 32 else "columns"
    refused(honest().statement, proof()[:-cut], check)
    refused(honest().statement, proof() + bytes(cut), check)
    refused(honest().statement, proof()[:cut], "size")


def test_nothing_is_made_of_a_proof_of_an_impossible_size() -> None:
    for size in (0, size_range(ROWS)[0] - 32, size_range(ROWS)[1] + 32):
        with pytest.raises(NormProofError, match=r"has .* bytes, not"):
            NormProof.from_bytes(bytes(size), ROWS)


@pytest.mark.parametrize("first", ["columns", "salts"])
def test_columns_can_t_change_places(first: str) -> None:
    size, begin = (4 * ROWS, BEGINS[COLUMNS]) if first == "columns" else (16, BEGINS[SALTS])
    data = proof()
    swapped = (
        data[:begin] + data[begin + size : begin + 2 * size] + data[begin : begin + size] + data[begin + 2 * size :]
    )
    refused(honest().statement, swapped, "columns")


OTHERS: dict[str, Callable[[NormStatement], NormStatement]] = {
    "context": lambda s: dataclasses.replace(s, context=bytes(32)),
    "session": lambda s: dataclasses.replace(s, session=bytes(32)),
    "name": lambda s: dataclasses.replace(s, name="mallory"),
    "commitment": lambda s: dataclasses.replace(s, commitment=Commitment(s.commitment.elements + np.uint32(1))),
    "sketch": lambda s: dataclasses.replace(s, sketch=client("bob", 700).statement.sketch),
    "clients": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, clients=99)),
    "norm": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, norm=BOUND.norm + 1)),
    "most weight": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, most_weight=1001)),
    "least weight": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, least_weight=5)),
    "limb bits": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, limb_bits=12)),
    "limbs and counts": lambda s: dataclasses.replace(s, bound=dataclasses.replace(BOUND, limbs=3, counts=1)),
}


@pytest.mark.parametrize("field", OTHERS)
def test_a_proof_is_of_its_own_statement_only(field: str) -> None:
    verify(honest().statement, proof())
    refused(OTHERS[field](honest().statement), proof(), "columns")


@pytest.mark.parametrize("field", OTHERS)
def test_leaving_out_any_field_changes_the_challenge(field: str) -> None:
    original, changed = honest().statement, OTHERS[field](honest().statement)
    assert original.digest() != changed.digest()
    keys = {first_challenge(item.digest(), proof()[:32], 5, 5).key for item in (original, changed)}
    assert len(keys) == 2


def test_the_digest_is_over_every_field_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is absorbed, R's key and the protocol among them: the digest without any of them is another one."""
    absorbed: list[str] = []
    original = statement.Transcript.absorb

    def record(self: statement.Transcript, name: str, value: bytes) -> statement.Transcript:
        absorbed.append(name)
        return original(self, name, value)

    monkeypatch.setattr(statement.Transcript, "absorb", record)
    whole = honest().statement.digest()
    fields = {field.name for field in dataclasses.fields(NormStatement)}
    assert set(absorbed) == fields | {"sketch-key"}
    for left_out in set(absorbed):
        monkeypatch.setattr(
            statement.Transcript,
            "absorb",
            lambda self, name, value, skip=left_out: self if name == skip else original(self, name, value),
        )
        assert honest().statement.digest() != whole


def test_each_message_is_in_the_challenge_that_follows_it() -> None:
    digest, root = honest().statement.digest(), proof()[:32]
    keys = {first_challenge(*args, 5, 5).key for args in ((digest, root), (bytes(32), root), (digest, bytes(32)))}
    assert len(keys) == 3
    key, polynomials = first_challenge(digest, root, 5, 5).key, proof()[32 : BEGINS[COLUMNS]]
    asked = queries(key, polynomials).tolist()
    assert queries(bytes(32), polynomials).tolist() != asked
    for begin, end in pairwise(BEGINS[1:5]):
        for at in (begin - 32, end - 33):
            changed = bytearray(polynomials)
            changed[at] ^= 1
            assert queries(key, bytes(changed)).tolist() != asked


def test_queries_are_all_different_and_the_first_that_the_stream_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = queries(bytes(32), b"some polynomials")
    assert asked.size == 127
    assert np.all(np.diff(asked.astype(np.int64)) > 0)
    assert int(asked[-1]) < LENGTH
    monkeypatch.setattr(statement, "_DRAWN", 100)  # too few at first
    np.testing.assert_array_equal(queries(bytes(32), b"some polynomials"), asked)


def test_challenges_are_of_the_shapes_that_the_equations_take() -> None:
    drawn = first_challenge(bytes(32), bytes(32), 7, 100)
    assert (drawn.rows.shape, drawn.equations.shape, drawn.bits.shape) == ((4, 7), (4, 100), (4, 6))
    values = np.concatenate([part.reshape(-1) for part in (drawn.rows, drawn.equations, drawn.bits)])
    assert int(values.max()) < P
    assert np.unique(values).size == values.size


@pytest.mark.parametrize(
    "sketch",
    [
        SketchCommitment(np.zeros(1024 + 3, dtype=np.uint32), 1),
        SketchCommitment(np.zeros(1536 + 4, dtype=np.uint32), 2),
        SketchCommitment(np.zeros(1024 + 5, dtype=np.uint32), 1),
    ],
)
def test_a_commitment_of_another_shape_is_refused(sketch: SketchCommitment) -> None:
    refused(dataclasses.replace(honest().statement, sketch=sketch), proof(), "commitment")


def test_the_opening_of_columns_is_as_long_as_it_has_to_be() -> None:
    leaves = np.repeat((np.arange(LENGTH) % 256).astype(np.uint8)[:, None], 32, axis=1)
    levels = columns.tree(leaves)
    for indices in ([0], [4095], [0, 1], [0, 2, 4093], list(range(0, 4096, 37))):
        hashes = columns.open_columns(levels, indices)
        opened, root = leaves[indices], levels[-1].tobytes()
        assert columns.opened_root(opened, indices, hashes) == root
        with pytest.raises(ValueError, match="bytes, not"):
            columns.opened_root(opened, indices, hashes + bytes(32))
        assert columns.opened_root(opened[::-1], indices, hashes) != root or len(indices) == 1


def test_opened_columns_say_nothing_of_the_witness() -> None:
    """Entries of the opened columns and all coefficients look uniform, for a witness that is mostly zeros."""
    quiet = stated("quiet", np.full(9, CENTRE, dtype=np.uint32), zeros())
    made = NormProof.from_bytes(prove(quiet.statement, quiet.witness, SECRET), ROWS)
    for part in (made.combination, made.sum, made.bits, made.columns):
        for column in (part.reshape(-1), part[0], part[:, 0]):
            mean = float(column.mean()) / P
            assert abs(mean - 0.5) < 5 * np.sqrt(1 / 12 / column.size)


def zeros() -> Witness:
    return Witness(np.zeros(512, dtype=np.int64), np.zeros(3072, dtype=np.uint32), 4, (0, 0))


def test_names_and_sessions_of_the_helper_are_what_the_tests_say() -> None:
    assert (honest().statement.name, honest().statement.session, honest().statement.context) == ("alice", SID, CONTEXT)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_changes_are_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(30):
        changed = bytearray(proof())
        changed[int(rng.integers(len(changed)))] ^= int(rng.integers(1, 256))
        with pytest.raises(NormProofError):
            verify(honest().statement, bytes(changed))


def test_a_proof_without_numba_is_the_proof_with_it() -> None:
    """Sketch, commitment, proof and check, in a process of their own that has no numba."""
    code = (
        "import hashlib, sys\n"
        "sys.modules['numba'] = None\n"
        "from support.norms.norm_case import SECRET, client\n"
        "from zk.norm.prover import prove\n"
        "from zk.norm.verifier import verify\n"
        "made = client('alice', 700)\n"
        "proof = prove(made.statement, made.witness, SECRET)\n"
        "verify(made.statement, proof)\n"
        "print(hashlib.sha256(proof).hexdigest())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], env=PATHS, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [hashlib.sha256(proof()).hexdigest()]


def test_nobody_at_the_bound_is_kept_out_in_a_hundred_sessions() -> None:
    """The tail and the rounding that a radius allows for: the nearest that an honest client comes to it is 5 % away."""
    values = client("at the bound", 1000).values
    short = []
    for session in range(100):
        made = client("at the bound", 1000, values=values, session=bytes([session]) * 32)
        high = ((made.witness.sketch + BOUND.offset) >> BOUND.shift) - 1024
        fill(Layout.of(BOUND), made.witness)
        short.append(float(np.linalg.norm(high)) / (13 + BOUND.quotient(1000)))
    assert max(short) < 0.95
    assert min(short) > 0.6
