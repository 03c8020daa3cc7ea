"""Section 16 of the specification: both implementations agree, on what is true and on what is not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from conformance.norm import independent_norm as independent
from conformance.norm import norm_vectors

from mpc.ring import P, from_bytes
from zk.commitment import Commitment
from zk.norm import total, verifier
from zk.norm.bound import NormBound
from zk.norm.commitment import SketchCommitment, commit, draw_randomness
from zk.norm.layout import Layout, Witness
from zk.norm.prover import prove
from zk.norm.sketch import sketch, sketch_key
from zk.norm.statement import NormProofError, NormStatement
from zk.norm.total import SketchSum, SketchSumError

BOUND_FIELDS = ("n", "B", "M", "m", "lambda", "L", "e")


@cache
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((norm_vectors.DIRECTORY / norm_vectors.VECTORS).read_text("utf-8"))
    return found


@cache
def proof() -> bytes:
    return (norm_vectors.DIRECTORY / norm_vectors.PROOF).read_bytes()


def bound(given: dict[str, Any]) -> independent.Bound:
    return independent.Bound(*(given[field] for field in BOUND_FIELDS))


def made_commitment(factor: int) -> bytes:
    return independent.elements([factor * i for i in range(1536)])


def statement(name: str, **changes: Any) -> independent.Statement:
    found = vectors()
    given = {
        "ctx": found["ctx"],
        "sid": found["sid"],
        "id": name,
        "C_factor": len(name.encode()),
        "C'": name,
        "C'_cut": 0,
        **{field: found["bounds"][0][field] for field in BOUND_FIELDS},
        **changes,
    }
    sketch = bytes.fromhex(found["clients"][given["C'"]]["C'"])
    return independent.Statement(
        bytes.fromhex(given["ctx"]),
        bytes.fromhex(given["sid"]),
        given["id"],
        made_commitment(given["C_factor"]),
        sketch[: len(sketch) - given["C'_cut"]],
        bound(given),
    )


def product_statement(said: independent.Statement) -> NormStatement:
    return NormStatement(
        said.ctx,
        said.sid,
        said.name,
        Commitment.from_bytes(said.commitment, 3),
        SketchCommitment(from_bytes(said.sketch), said.bound.rho),
        NormBound(*dataclasses.astuple(said.bound)),
    )


def test_the_files_are_what_the_product_makes() -> None:
    found, made = norm_vectors.vectors()
    assert (norm_vectors.DIRECTORY / norm_vectors.VECTORS).read_text("utf-8") == norm_vectors.to_json(found)
    assert made == proof()


def test_bounds_lead_to_the_same_numbers() -> None:
    for given in vectors()["bounds"]:
        derived = bound(given)
        assert derived.encoding().hex() == given["encoding"]
        assert [derived.kappa, derived.offset, derived.alpha, derived.g, derived.M1, derived.rho, derived.rows] == [
            given[name] for name in ("kappa", "offset", "alpha", "g", "M'", "rho", "rows")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", norm_vectors.WEIGHTS)
def test_sketches_and_their_commitments_are_the_same(name: str) -> None:
    found = vectors()
    given = found["clients"][name]
    key = independent.sketch_key(bytes.fromhex(found["sid"]))
    assert key.hex() == found["sketch_key"]
    v = independent.sketch(key, [value - found["H"] for value in given["u"]])
    assert v == given["sketch"]
    first = bound(found["bounds"][0])
    side = limbs(given["weight"]) + given["counts"]
    assert independent.elements(independent.commit_sketch(first, v, side, randomness(name))).hex() == given["C'"]
    assert statement(name).digest.hex() == given["statement"]


def limbs(weight: int) -> list[int]:
    first = bound(vectors()["bounds"][0])
    return [weight >> first.limb * i & (1 << first.limb) - 1 for i in range(first.L)]


@cache
def randomness(name: str) -> list[int]:
    words = independent.words(bytes.fromhex(vectors()["clients"][name]["key"]), 0)
    return [next(words) & 3 for _ in range(6 * 512)]


@pytest.mark.slow
def test_the_second_prover_makes_the_same_bytes() -> None:
    found, given = vectors()["proof"], vectors()["clients"]["alice"]
    made = independent.prove(
        statement("alice"),
        given["sketch"],
        given["weight"],
        given["counts"],
        randomness("alice"),
        bytes.fromhex(found["secret"]),
    )
    assert hashlib.sha256(made).hexdigest() == found["sha256"]
    assert made == proof()


@pytest.mark.slow
def test_the_second_verifier_accepts_the_proof_and_draws_the_same_challenge() -> None:
    found, said = vectors()["proof"], statement("alice")
    independent.verify(said, proof())
    verifier.verify(product_statement(said), proof())
    challenge = independent.first_challenge(said, proof()[:32])
    assert challenge.key.hex() == found["challenge"]
    for name, parts in (("gamma", challenge.gamma), ("equations", challenge.equations), ("delta", challenge.delta)):
        flat = independent.elements([value for part in parts for value in part])
        assert hashlib.sha256(flat).hexdigest() == found[f"{name}_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("given", norm_vectors.OTHER_BOUNDS, ids=["the least", "rank 2", "the widest and heaviest"])
def test_the_second_verifier_accepts_proofs_of_other_bounds(given: NormBound) -> None:
    layout, weight, counts = Layout.of(given), given.most_weight - 1 or 1, (1,) * given.counts
    values = np.full(70, norm_vectors.CENTRE, dtype=np.uint32)
    values[69] -= np.uint32(given.norm // 2 % 2047)
    session = bytes(32)
    witness = Witness(
        sketch(sketch_key(session), values, norm_vectors.CENTRE),
        draw_randomness(bytes(32), layout.rank),
        weight,
        counts,
    )
    side = layout.side(weight, counts)
    made = commit(witness.sketch, side, witness.randomness, layout.rank)
    product = NormStatement(bytes(32), session, "é", Commitment.from_bytes(made_commitment(1), 3), made, given)
    data = prove(product, witness, bytes(32))
    other = independent.Bound(*dataclasses.astuple(given))
    said = independent.Statement(bytes(32), session, "é", made_commitment(1), made.to_bytes(), other)
    independent.verify(said, data)
    assert independent.commit_sketch(
        other, witness.sketch.tolist(), side.tolist(), witness.randomness.tolist()
    ) == independent.parse_elements(made.to_bytes())


def changed(bad: dict[str, Any]) -> bytes:
    data = bytearray(proof())
    if "xor" in bad:
        offset, byte = bad["xor"]
        data[offset] ^= byte
    if "add_p" in bad:
        at = bad["add_p"]
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + P).to_bytes(4, "little")
    return bytes(data[: len(data) - bad.get("cut", 0)]) + bytes.fromhex(bad.get("append", ""))


BAD_PROOFS = {bad["name"]: bad for bad in norm_vectors.bad_proofs(len(proof()))}


@pytest.mark.parametrize("name", BAD_PROOFS)
def test_the_product_refuses_a_false_proof_by_the_check_that_is_named(name: str) -> None:
    bad = BAD_PROOFS[name]
    assert bad in vectors()["proof"]["bad"]
    with pytest.raises(NormProofError) as found:
        verifier.verify(product_statement(statement("alice", **bad.get("statement", {}))), changed(bad))
    assert found.value.check == bad["check"]


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_PROOFS)
def test_the_second_verifier_refuses_every_false_proof(name: str) -> None:
    bad = BAD_PROOFS[name]
    reason = {"columns": "in the tree|too long|too short", "residues": "below p", "commitment": "another length"}
    with pytest.raises(ValueError, match=reason.get(bad["check"], "too long|too short|tree")):
        independent.verify(statement("alice", **bad.get("statement", {})), changed(bad))


def sum_of(bad: dict[str, Any]) -> tuple[bytes, list[int], list[int], list[int], list[bytes]]:
    """sid, X, side, T' and the C', with a change."""
    found = vectors()
    X, side = list(found["sum"]["X"]), list(found["sum"]["side"])
    names = found["sum"]["of"]
    T = [sum(column) for column in zip(*map(randomness, names), strict=True)]
    for part, values in (("X", X), ("side", side), ("T", T)):
        if part in bad:
            at, more = bad[part]
            values[at] += more
    commitments = [bytes.fromhex(found["clients"][name]["C'"]) for name in names]
    return (
        bytes.fromhex(bad.get("sid", found["sid"])),
        X,
        side,
        T,
        [commitments[i] for i in bad.get("C'", range(len(names)))],
    )


def check_both(bad: dict[str, Any]) -> None:
    found, (sid, X, side, T, commitments) = vectors(), sum_of(bad)
    first = bound(found["bounds"][0])
    said = SketchSum(
        NormBound(*dataclasses.astuple(first)),
        sketch_key(sid),
        tuple(SketchCommitment.from_bytes(data, 1, 4) for data in commitments),
        np.array(X, dtype=np.uint32),
        found["H"],
        np.array(side, dtype=np.uint32),
        np.array(T, dtype=np.uint32),
    )
    if bad:
        with pytest.raises(ValueError, match=r"too large|number of|something else"):
            independent.check_sum(first, sid, commitments, X, found["H"], side, T)
        with pytest.raises(SketchSumError) as error:
            total.check(said)
        assert error.value.check == bad["check"]
    else:
        independent.check_sum(first, sid, commitments, X, found["H"], side, T)
        total.check(said)


@pytest.mark.slow
def test_both_accept_the_sum() -> None:
    check_both({})


@pytest.mark.slow
@pytest.mark.parametrize("name", [bad["name"] for bad in norm_vectors.BAD_SUMS])
def test_both_refuse_a_false_sum_by_the_check_that_is_named(name: str) -> None:
    check_both(next(bad for bad in vectors()["sum"]["bad"] if bad["name"] == name))
