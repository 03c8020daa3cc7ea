"""Section 6 as two implementations have sparse sessions: what a client is shown, and evidence of the round."""

from __future__ import annotations

import json
from typing import Any

import conformance.independent_verifier as verifier
import conformance.sparse.independent_sparse as spec
import conformance.sparse.sparse_vectors as made
import pytest
from conformance.vector_files import DIRECTORY

from secure_agg.errors import VerificationError
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import verify


def stated() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DIRECTORY / made.VECTORS).read_text("utf-8"))
    return found


def test_the_vectors_are_what_the_product_makes() -> None:
    evidence, trust, asked = made.play()
    assert (DIRECTORY / made.EVIDENCE).read_bytes() == evidence.to_bytes()
    assert (DIRECTORY / made.TRUST).read_text("utf-8") == trust.to_json()
    assert made.vectors(evidence, asked) == stated()


def test_a_round_and_all_that_one_client_is_shown_of_it_are_checked_by_the_specification() -> None:
    data = (DIRECTORY / made.EVIDENCE).read_bytes()
    text = (DIRECTORY / made.TRUST).read_text("utf-8")
    record = verifier.verify(data, verifier.read_trust(text))
    header = verifier.decode("Evidence", verifier.unpack(data)[0], 1 << 24)
    config = verifier.decode("RoundConfig", header["config"], 1 << 20)
    context = verifier.digest("round-config", header["config"])
    cohort = {item["name"]: item["public"] for item in header["cohort"]}
    assert spec.is_sparse(config)
    names, told = list(cohort), stated()["told"]
    bodies = {phase: bytes.fromhex(body) for phase, body in stated()["requests"].items()}

    call = verifier.decode("RollCall", bodies["choose-peers"], 1 << 20)
    roll = call["roll"]
    assert spec.session_of(context, roll["present"], roll["root"]) == record["session"]
    advertised = [item["name"] for item in header["advertisements"]]
    assert spec.members(roll["present"], names) == advertised == [name for name in names if name != made.ABSENT]
    assert list(spec.read_shown(context, cohort, roll, call["own"])) == [told]

    verifier.RECORDS.setdefault("SignedChoice", {"chooser": "int", "body": "bin", "signature": "bin64"})
    verifier.RECORDS.setdefault("Choosers", {"choices": ["SignedChoice"], "shown": "Shown"})
    neighbours = verifier.decode("Choosers", bodies["share-keys"], 1 << 20)
    near = spec.read_shown(context, cohort, roll, neighbours["shown"])
    assert [names.index(name) for name in near] == stated()["shown"]
    assert 0 < len(near) < len(advertised) - 1, "not everybody"
    assert {advertised[item["chooser"]] for item in neighbours["choices"]} <= set(near)
    for spoilt in (
        neighbours["shown"] | {"path": neighbours["shown"]["path"][32:]},
        neighbours["shown"] | {"path": neighbours["shown"]["path"] + bytes(32)},
        neighbours["shown"] | {"advertisements": neighbours["shown"]["advertisements"][1:]},
    ):
        with pytest.raises(ValueError):
            spec.read_shown(context, cohort, roll, spoilt)

    shown = verifier.decode("ShownSet", bodies["consistency"], 1 << 20)
    survivors = spec.members(shown["members"], names)
    assert survivors == [item["name"] for item in header["openings"]]
    assert shown["root"] == record["participants_root"]
    agreed = spec.agreed(record["session"], survivors, names, shown["root"])
    signed = verifier.decode("Countersigned", bodies["unmask"], 1 << 20)
    signers = spec.members(signed["signers"], names)
    assert len(signers) == verifier.quorum(config["cohort_size"], config["policy"])
    assert set(signers) <= set(survivors)
    for i, name in enumerate(signers):
        verifier.check_signature(cohort[name], signed["signatures"][64 * i : 64 * (i + 1)], agreed, name)


def test_evidence_is_refused_whose_bits_are_others_than_were_signed() -> None:
    """Without one of those who advertised sid is another, and no signature holds."""
    evidence, _, _ = made.play()
    header, bulk = verifier.unpack(evidence.to_bytes())
    fields = verifier.decode("Evidence", header, 1 << 24)
    fewer = fields | {"advertisements": [item for item in fields["advertisements"] if item["name"] != made.LOST]}
    data = verifier.encode("Evidence", fewer)
    spoilt = len(data).to_bytes(4, "little") + data + bulk
    with pytest.raises(ValueError, match="wrong signature"):
        verifier.verify(spoilt)
    with pytest.raises(VerificationError):
        verify(Evidence.from_bytes(spoilt))
