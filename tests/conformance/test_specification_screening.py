"""docs/specification.md is complete for what screening proves of a client.

A verifier written from that file alone finds the same culprits as the product, and is convinced by nothing else.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import conformance.independent_screening as spec
import numpy as np
import pytest
from conformance.verdicts import fault_verdict
from support.additive_round import flipped
from support.federation import Federation, edit, identity, replace
from support.screening.cheats import (
    Bend,
    Screened,
    deal_bad_keys,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_edge,
)

from mpc import graph
from secure_agg.backends.masking import claims, faults, screening
from secure_agg.backends.masking.wire import Charge, Charges, Screening
from secure_agg.errors import DealerFault, PolicyViolation
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Agreed, encode

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
