"""Norms in sessions of which clients see their neighbourhood only: sketches that are tested once a sum has failed, what
an aggregator claims of that, and proofs of a norm that are none. Everything is proved to whoever was not there.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from conformance.independent_faults import verify_fault
from conformance.independent_verifier import verify as verify_independently
from support.federation import Federation, edit, identity, replace
from support.norms.cheats import (
    LIMIT,
    Bend,
    Screened,
    sketch_another,
    sketch_another_behind_edge,
    sketch_another_behind_self_mask,
)
from support.refusals import ME

from secure_agg.backends.masking import screening
from secure_agg.backends.masking.wire import FailedSum
from secure_agg.errors import BadNormProof, PolicyViolation, SecureAggError, VerificationError
from secure_agg.protocol.messages import HiddenInput, decode, encode
from secure_agg.protocol.norm.wire import BoundedInput, proof_digest, signed_sketch
from secure_agg.protocol.sparse.wire import Countersigned, SparseExhibit
from secure_agg.roles.auditor import Auditor

CHEAT, VICTIM = "c002", "c001"
AGAIN = "screen-sketches"


def federation(n: int = 5, screening: int = 1) -> Federation:
    bounded: dict[str, Any] = {"bits": 16, "norm_bound": 2000.0, "commit_packed": False}
    options = {"complete_up_to": 0} | ({"screening": screening} if screening else {})
    return Federation(n, shapes=((3,), (4,)), options=options, policy_changes=bounded)


def checked(played: Screened) -> tuple[str, ...]:
    """By the verifiers that share nothing with the product; returns who is in the sum."""
    aggregator = played.tape.aggregator
    assert aggregator.session.near is not None
    verify_independently(aggregator.evidence.to_bytes(), proofs=list(aggregator.evidence.proofs.values()))
    for proof in aggregator.faults:
        assert Auditor().verify_fault(proof) == verify_fault(proof.to_bytes())["culprit"] == proof.culprit
        assert len(decode(SparseExhibit, proof.exhibits[0], LIMIT).shown.advertisements) <= 1
    return played.check_sum()


@pytest.mark.parametrize(
    ("bend", "kind", "at_once"),
    [
        pytest.param(sketch_another, "bad-input", 1, marks=pytest.mark.long),
        pytest.param(sketch_another_behind_self_mask, "bad-self-mask", 1, marks=pytest.mark.long),
        (sketch_another_behind_edge(4), "bad-edge", 1),
        pytest.param(sketch_another, "bad-input", 2, marks=pytest.mark.long),
    ],
)
def test_whose_sketch_is_of_another_vector_is_named_and_taken_out(bend: Bend, kind: str, at_once: int) -> None:
    played = Screened(federation(screening=at_once), {CHEAT: (bend,)})
    played.play()
    assert (AGAIN in played.phases) == (at_once == 1)
    assert played.named == {CHEAT: kind}
    assert CHEAT not in checked(played)


def moved(body: FailedSum) -> FailedSum:
    return replace(body, total=bytes([body.total[0] ^ 1]) + body.total[1:])


def another(request: bytes) -> bytes:
    """With a sum that is not the inputs'."""

    def change(body: Countersigned) -> Countersigned:
        return replace(body, backend=encode(moved(decode(FailedSum, body.backend, LIMIT))))

    return edit(request, ME, Countersigned, change)


def convicts(played: Screened | Any, *kinds: str) -> None:
    faults = played.client(VICTIM).faults
    assert sorted(proof.kind for proof in faults) == sorted(kinds)
    for proof in faults:
        assert Auditor().verify_fault(proof) == verify_fault(proof.to_bytes())["culprit"] == "aggregator"
        assert decode(SparseExhibit, proof.exhibits[0], LIMIT).shown.advertisements == ()


def test_a_sum_that_has_not_failed_convicts_whoever_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "sketch_fails", lambda *_: True)
    tape = Screened(federation()).play(until=AGAIN)
    monkeypatch.undo()
    with pytest.raises(PolicyViolation, match="no sum has failed"):
        tape.client(VICTIM).receive(tape.requests[AGAIN][VICTIM])
    convicts(tape, "false-claim")


def test_another_sum_convicts_whoever_shows_it_and_the_true_one_nobody() -> None:
    tape = Screened(federation(), {CHEAT: (sketch_another,)}).play(until=AGAIN)
    request = tape.requests[AGAIN][VICTIM]
    assert tape.client(VICTIM).receive(request)
    with pytest.raises(SecureAggError):
        tape.client(VICTIM).receive(another(request))
    convicts(tape, "false-claim", "two-screenings")
    for proof in tape.client(VICTIM).faults:
        innocent = replace(proof, exhibits=(*proof.exhibits[:2], request))
        with pytest.raises(VerificationError):
            Auditor().verify_fault(innocent)
        with pytest.raises(ValueError):
            verify_fault(innocent.to_bytes())


def test_requests_of_an_honest_aggregator_convict_nobody() -> None:
    played = Screened(federation(), {CHEAT: (sketch_another,)})
    tape = played.play()
    for requests in tape.requests.values():
        for name in (VICTIM, "c003"):
            if name in requests:
                own = name == VICTIM
                with contextlib.suppress(SecureAggError) if own else pytest.raises(SecureAggError):
                    tape.client(VICTIM).receive(requests[name])
    assert tape.client(VICTIM).faults == ()
    assert CHEAT not in checked(played)


@pytest.mark.parametrize("screened", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_norm_proof_that_is_none_convicts_its_client_to_whoever_sees_its_position(screened: int) -> None:
    tape = Screened(federation(screening=screened)).play(until="masked-input")
    good, session = tape.answer(CHEAT), tape.aggregator.session
    assert session is not None

    def spoilt(body: HiddenInput) -> HiddenInput:
        part = decode(BoundedInput, body.backend, LIMIT)
        proof = bytes([part.proof[0]]) + bytes(len(part.proof) - 1)
        mine = identity(CHEAT).sign(signed_sketch(session.sid, CHEAT, part.sketch, proof_digest(proof)))
        return replace(body, backend=encode(replace(part, proof=proof, signature=mine)))

    with pytest.raises(BadNormProof) as caught:
        tape.deliver(edit(good, identity(CHEAT), HiddenInput, spoilt))
    assert caught.value.culprit == CHEAT
    (proof,) = tape.aggregator.faults
    trusted = Auditor(tape.federation.trust).verify_fault(proof)
    assert Auditor().verify_fault(proof) == trusted == verify_fault(proof.to_bytes())["culprit"] == CHEAT
    (shown,) = decode(SparseExhibit, proof.exhibits[1], LIMIT).shown.advertisements
    assert session.members[shown.position] == CHEAT
    honest = replace(proof, exhibits=(good, proof.exhibits[1]))
    with pytest.raises(VerificationError):
        Auditor().verify_fault(honest)
    with pytest.raises(ValueError):
        verify_fault(honest.to_bytes())
    tape.deliver(good)
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    assert CHEAT in tape.finish().participants
