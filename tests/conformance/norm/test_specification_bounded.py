"""Rounds with a norm bound: the product and the verifier from the specification agree, on good rounds and on bad."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import conformance.independent_verifier as spec
import conformance.make_vectors as make_vectors
import numpy as np
import pytest
from conformance.vector_files import DIRECTORY
from conformance.verdicts import fault_verdict, verdict
from support.federation import Federation, Tape, forge, header_of, identity, replace

from secure_agg.errors import BadNormProof
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import HiddenInput, decode, encode, pack
from secure_agg.protocol.norm.wire import BoundedInput, proof_digest, signed_sketch
from secure_agg.roles.auditor import verify
from secure_agg.roles.trust import Trust

VECTORS = json.loads((DIRECTORY / make_vectors.BOUNDED_VECTORS).read_text("utf-8"))
EVIDENCE = (DIRECTORY / make_vectors.BOUNDED_EVIDENCE).read_bytes()
PROOF = (DIRECTORY / make_vectors.BOUNDED_PROOF).read_bytes()
TRUST = (DIRECTORY / make_vectors.BOUNDED_TRUST).read_text("utf-8")


@cache
def played() -> make_vectors.Round:
    return make_vectors.play_bounded()


def written_over(patches: list[list[Any]]) -> bytes:
    data = bytearray(EVIDENCE)
    for place, value in patches:
        fresh = bytes.fromhex(value)
        assert data[place : place + len(fresh)] != fresh
        data[place : place + len(fresh)] = fresh
    return bytes(data)


def test_the_product_makes_the_vectors_again() -> None:
    assert played().evidence.to_bytes() == EVIDENCE
    assert json.loads(json.dumps(make_vectors.bounded_vectors(played()))) == VECTORS
    assert played().evidence.proofs[bytes.fromhex(VECTORS["proofs"][VECTORS["proof"]["client"]])] == PROOF


def test_both_verify_the_round_and_its_proof() -> None:
    found = verify(Evidence.from_bytes(EVIDENCE).with_proofs([PROOF]), Trust.from_json(TRUST))
    record = spec.verify(EVIDENCE, spec.read_trust(TRUST), proofs=[PROOF])
    assert record["encoding"].hex() == found.record.to_bytes().hex() == VECTORS["record"]
    assert (record["proofs"], found.proofs) == (1, 1)
    assert (record["norm_bound"], record["norm_factor"]) == (found.record.norm_bound, found.record.norm_factor)
    assert record["session"].hex() == VECTORS["sid"]


@pytest.mark.parametrize("name", VECTORS["refused"])
def test_both_refuse_the_rounds_that_are_spoiled(name: str) -> None:
    assert verdict(written_over(VECTORS["refused"][name])) is None


def test_both_refuse_the_round_with_any_byte_changed() -> None:
    rng = np.random.default_rng(16)
    places = {int(place) for place in rng.integers(0, len(EVIDENCE), 40)}
    for place in sorted(places):
        spoiled = bytearray(EVIDENCE)
        spoiled[place] ^= 1 << int(rng.integers(8))
        assert verdict(bytes(spoiled)) is None, f"byte {place}"


def test_both_refuse_a_proof_that_is_altered_under_its_own_name() -> None:
    """Whoever stores proofs by their hash hands out what has that hash, or nothing."""
    altered = bytes([PROOF[0] ^ 1]) + PROOF[1:]
    assert spec.verify(EVIDENCE, proofs=[altered])["proofs"] == 0
    assert verify(Evidence.from_bytes(EVIDENCE).with_proofs([altered])).proofs == 0


@pytest.mark.slow
def test_both_find_the_same_of_an_input_with_a_norm_proof() -> None:
    """Guilty of one that proves nothing, and not of a good one."""
    tape = Tape.start(Federation(3, backend="plain", policy_changes={"norm_bound": 8.0})).until("masked-input")
    good = tape.answer("c001")
    body = decode(HiddenInput, header_of(good).body, 1 << 20)
    part = decode(BoundedInput, body.backend, 1 << 20)
    spoiled = bytes([part.proof[0] ^ 1]) + part.proof[1:]
    session = tape.aggregator.session
    assert session is not None
    signature = identity("c001").sign(signed_sketch(session.sid, "c001", part.sketch, proof_digest(spoiled)))
    bad = encode(replace(body, backend=encode(replace(part, proof=spoiled, signature=signature))))
    with pytest.raises(BadNormProof):
        tape.deliver(forge(good, identity("c001"), body=bad))
    (fault,) = tape.aggregator.faults
    trust = tape.federation.trust.to_json()
    assert fault_verdict(fault.to_bytes(), trust) == "c001"
    innocent = replace(fault, exhibits=(pack(encode(header_of(good))), fault.exhibits[1]))
    assert fault_verdict(innocent.to_bytes(), trust) is None
