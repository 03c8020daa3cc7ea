"""docs/specification.md is complete for what screening proves of a client.

A verifier written from that file alone finds the same culprits as the product, and is convinced by nothing else.
"""

from __future__ import annotations

import contextlib
import json
from functools import cache
from typing import Any

import conformance.independent_faults as spec_faults
import conformance.independent_verifier as verifier
import conformance.screening.independent_screening as spec
import conformance.screening.screened_vectors as screened_vectors
import numpy as np
import pytest
from conformance.vector_files import DIRECTORY
from conformance.verdicts import fault_verdict
from support.federation import Federation, edit, header_of, identity, replace
from support.norms.cheats import (
    Bend,
    Screened,
    deal_bad_keys,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_edge,
)
from support.shares.additive_round import flipped

from mpc import graph
from secure_agg.backends.masking import claims, faults, screening
from secure_agg.backends.masking.wire import Charge, Charges, FailedSum, Screening
from secure_agg.errors import DealerFault, PolicyViolation, SecureAggError
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Agreed, decode, encode
from secure_agg.roles.auditor import verify
from secure_agg.roles.trust import Trust

CHEAT = "c002"


def federation() -> Federation:
    return Federation(6, options={"screening": 1})


def proved(bend: Bend, silent: dict[str, str] | None = None) -> FaultProof:
    played = Screened(federation(), {CHEAT: (bend,)}, silent or {})
    with contextlib.suppress(DealerFault):
        played.play()
    return played.tape.aggregator.faults[0]


def bounded() -> Federation:
    changes = {"bits": 16, "norm_bound": 2000.0, "commit_packed": False}
    return Federation(6, shapes=((3,), (4,)), options={"screening": 1}, policy_changes=changes)


def false_charge() -> FaultProof:
    """Against somebody whose number is right."""
    tape = Screened(federation(), {CHEAT: (flip_behind_self_mask,)}).play(until="excise-1")
    kept = tape.aggregator._side._screened
    seed = kept._seeds(frozenset({3}), tape.aggregator._side._released, {})[3]
    false = encode(Charges((Charge("bad-self-mask", 3, (kept.judge.report(3), seed)),)))
    said = edit(
        tape.requests["excise-1"]["c001"], identity("aggregator"), Agreed, lambda body: replace(body, backend=false)
    )
    with pytest.raises(PolicyViolation):
        tape.client("c001").receive(said)
    return tape.client("c001").faults[0]


def false_claim() -> FaultProof:
    """Of a sum that has not failed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "sketch_fails", lambda *_: True)
        tape = Screened(bounded()).play(until="screen-sketches")
    with pytest.raises(PolicyViolation):
        tape.client("c001").receive(tape.requests["screen-sketches"]["c001"])
    return tape.client("c001").faults[0]


@cache
def proofs() -> dict[str, FaultProof]:
    """One of every kind."""
    played = Screened(federation())
    tape = played.play()
    first = tape.requests["screen"]["c000"]
    fewer = edit(first, identity("aggregator"), Screening, lambda body: replace(body, inputs=body.inputs[:-1]))
    assert tape.aggregator.session is not None
    lists = tape.aggregator.session, "two-screenings", "aggregator", identity("aggregator").public, first, fewer
    return {
        "bad-input": proved(flip),
        "bad-edge": proved(lie_of_edge(4)),
        "bad-self-mask": proved(flip_behind_self_mask),
        "bad-lost-edge": proved(flip_behind_edge(4), {"c004": "screen", CHEAT: "unmask"}),
        "bad-seed-shares": proved(deal_bad_seeds),
        "bad-key-shares": proved(deal_bad_keys, {CHEAT: "screen", "c005": "unmask"}),
        "two-screenings": claims.prove(*lists),
        "false-charge": false_charge(),
        "false-claim": false_claim(),
    }


def test_there_is_a_proof_of_every_kind() -> None:
    assert {name: proof.kind for name, proof in proofs().items()} == {name: name for name in spec.CHECKS}


@pytest.mark.parametrize("name", sorted(spec.CHECKS))
def test_both_find_the_culprit_and_refuse_every_alteration_alike(name: str) -> None:
    proof, made = proofs()[name], bounded() if name == "false-claim" else federation()
    trust = made.trust.to_json()
    data = proof.to_bytes()
    assert fault_verdict(data) == fault_verdict(data, trust) == proof.culprit

    def wrong(**changes: Any) -> bytes:
        fields = {item: getattr(proof, item) for item in FaultProof.__struct_fields__} | changes
        return FaultProof(**fields).to_bytes()

    refused = [
        data[:-1],
        data + b"\0",
        wrong(culprit="c001"),
        wrong(public=Identity(proof.culprit, bytes(32)).public),
        wrong(config=made.config(round=7).to_bytes()),
        wrong(config=Federation(6).config().to_bytes()),
        wrong(setup=b"x"),
        wrong(exhibits=()),
        wrong(exhibits=proof.exhibits[:-1]),
        wrong(exhibits=(*proof.exhibits, b"")),
        *(wrong(kind=kind) for kind in (*spec.CHECKS, "bad-share", "two-advertisements") if kind != proof.kind),
    ]
    for altered in refused:
        assert fault_verdict(altered) is None
    rng = np.random.default_rng(len(name))
    for place, exhibit in enumerate(proof.exhibits):
        for at in {0, 1, len(exhibit) // 2, len(exhibit) - 1, *rng.integers(0, len(exhibit), 3).tolist()}:
            shown = list(proof.exhibits)
            shown[place] = flipped(exhibit, at)
            assert fault_verdict(wrong(exhibits=tuple(shown))) is None


def test_what_an_honest_client_has_signed_proves_nothing() -> None:
    """Every charge that can be made of an honest client's messages is refused by both."""
    played = Screened(federation())
    tape = played.play()
    session, screened = tape.aggregator.session, tape.aggregator._side._screened
    assert session is not None
    me, peer = 1, 4
    side = tape.client("c001")._joined.side
    report, dealt = tape.responses["screen"]["c001"], tape.responses["share-keys"]["c001"]
    sent, other = tape.responses["masked-input"]["c001"], tape.client("c004")._joined.side
    agreed = side._mask_secret(peer)
    charges = [
        ("bad-input", sent, report),
        ("bad-edge", report, dealt, b"c004", agreed),
        ("bad-edge", report, dealt, b"c004", bytes(32)),
        ("bad-self-mask", report, side._seed),
        ("bad-self-mask", report, bytes(32)),
        ("bad-lost-edge", report, faults.keys.clamped(other._mask.secret)),
    ]
    for kind, *exhibits in charges:
        proof = faults.prove(session, faults.Charge(kind, me, tuple(exhibits)))
        assert fault_verdict(proof.to_bytes()) is None, kind
    shares, seed = screened._rebuild(me, {h: s[me] for h, s in tape.aggregator._side._released.items() if me in s})
    assert seed == side._seed
    proof = faults.prove(session, faults.Charge("bad-seed-shares", me, (dealt, faults.encode(shares), report)))
    assert fault_verdict(proof.to_bytes()) is None


@pytest.mark.parametrize(("n", "corrupt"), [(60, 5), (110, 32), (150, 20)])
def test_the_threshold_of_a_sparse_graph_follows_from_the_specification(n: int, corrupt: int) -> None:
    found = graph.degree(n, corrupt, max(1, n // 10))
    assert spec.sparse(n, corrupt) == (found.threshold if found else None)


# --- fixed vectors -------------------------------------------------------------------------------------------

VECTORS = json.loads((DIRECTORY / screened_vectors.VECTORS).read_text("utf-8"))
CLAIM = (DIRECTORY / screened_vectors.CLAIM).read_bytes()
FAULT = FaultProof.from_bytes((DIRECTORY / screened_vectors.FAULT).read_bytes())
EVIDENCE = (DIRECTORY / screened_vectors.EVIDENCE).read_bytes()
TRUST = (DIRECTORY / screened_vectors.TRUST).read_text("utf-8")


@pytest.mark.slow
def test_the_product_makes_the_vectors_again() -> None:
    played = screened_vectors.play()
    for name, data in screened_vectors.files(played).items():
        assert (DIRECTORY / name).read_bytes() == data
    assert json.loads(json.dumps(screened_vectors.vectors(played))) == VECTORS


def test_both_verify_the_round_and_find_the_culprit() -> None:
    assert verify(Evidence.from_bytes(EVIDENCE), Trust.from_json(TRUST)).record.session.hex() == VECTORS["sid"]
    assert verifier.verify(EVIDENCE, verifier.read_trust(TRUST))["session"].hex() == VECTORS["sid"]
    assert list(Evidence.from_bytes(EVIDENCE).participants) == VECTORS["participants"]
    assert fault_verdict(FAULT.to_bytes(), TRUST) == FAULT.culprit == VECTORS["culprit"]


@pytest.mark.parametrize("name", VECTORS["refused_faults"])
def test_both_refuse_the_proofs_that_are_spoiled(name: str) -> None:
    assert fault_verdict(screened_vectors.altered(FAULT, VECTORS["refused_faults"][name])) is None


def masks() -> Any:
    case = spec_faults.Case(FAULT.to_bytes())
    return spec.Masks(case, case.exhibits[0])


def test_the_roots_and_values_follow_from_the_specification() -> None:
    found, fields = masks(), spec.decode("FailedSum", CLAIM, spec.LIMIT)
    inputs = spec.decode("Screening", header_of(bytes.fromhex(VECTORS["screen"])).body, spec.LIMIT)["inputs"]
    listed = verifier.root([verifier.frame("screened", found.name(item["client"]), item["value"]) for item in inputs])
    assert (found.sid.hex(), listed.hex()) == (VECTORS["sid"], VECTORS["root"])
    failed = verifier.digest("failed-sum", listed, verifier.sha(fields["total"]))
    assert failed.hex() == VECTORS["failed_root"]
    sketch = np.frombuffer(fields["inputs"][2]["sketch"], "<u4").tolist()
    public = found.public(spec.OfSketches(failed), np.zeros(0), sketch) % verifier.P
    assert public.tolist() == VECTORS["public"]
    said = found.report(FAULT.exhibits[2])
    assert said is not None
    assert (said[0].hex(), [value.tolist() for value in said[2]]) == (VECTORS["failed_root"], VECTORS["reported"])


CAUGHT_BY = {
    "order of clients": "clients are not in order",
    "an input that was accepted": "another input than was accepted",
    "elements below p": "a sum is not canonical",
    "range of X": "a sum is out of range",
    "range of T": "T is out of range",
    "range of T'": "T' is out of range",
    "X and T open the sum of the C_i": "the sum is another",
    "T' opens the sum of the t_0": "T' is another",
    "": "the sum's sketch is right",
}


def claims_agree(claim: bytes, name: str | None = None) -> bool:
    """What both say of a sum that is shown as one that has failed; it is refused by the check of this name."""
    body = header_of(bytes.fromhex(VECTORS["screen"])).body
    inputs = spec.decode("Screening", body, spec.LIMIT)["inputs"]
    listed = {item["client"]: item["value"] for item in inputs}
    with faults.as_no_proof():
        session = faults.read_session(Evidence.from_bytes(EVIDENCE).config, FAULT)
    try:
        screening.check_failed(session, listed, decode(FailedSum, claim, len(claim)))
        product = True
    except SecureAggError:
        product = False
    try:
        spec.has_failed(masks(), listed, claim)
        independent, reason = True, None
    except ValueError as error:
        independent, reason = False, str(error)
    assert reason == (None if name is None else CAUGHT_BY[name])
    assert product == independent
    return product


def test_both_see_that_the_sum_has_failed_and_that_the_result_has_not() -> None:
    assert claims_agree(CLAIM)
    sums = np.asarray(Evidence.from_bytes(EVIDENCE).sums).astype("<u4").tobytes()
    assert not claims_agree(screened_vectors.repaired(CLAIM, sums), "")


@pytest.mark.parametrize("name", VECTORS["refused_claims"])
def test_both_refuse_the_claims_that_are_spoiled(name: str) -> None:
    assert not claims_agree(screened_vectors.written_over(CLAIM, VECTORS["refused_claims"][name]), name)
