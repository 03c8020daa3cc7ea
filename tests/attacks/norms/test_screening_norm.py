"""Screening where a norm is bounded: what a client hides behind s, and a weight that is not the proved one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.independent_faults import verify_fault
from conformance.independent_verifier import verify as verify_independently
from support.federation import Federation
from support.norms.cheats import (
    LIMIT,
    Bend,
    Screened,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_edge,
    side_of,
)

from mpc.ring import P
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.screening import input_value
from secure_agg.backends.masking.wire import ScreenedInput, Screening
from secure_agg.errors import BadNormProof, PolicyViolation, Unattributed
from secure_agg.protocol.messages import Header, decode, encode, unpack
from secure_agg.protocol.norm.wire import SketchedOpening, proof_digest, signed_sketch, sketch_digest
from secure_agg.protocol.session import Session
from secure_agg.roles.client import joined
from secure_agg.roles.client.proving import Proved, prove_norm
from zk.functional import Functional

N = 5
CHEAT = "c002"
BOUND = 5000.0
LEFT = tuple(name for name in Federation(N).names if name != CHEAT)


def federation(**changes: Any) -> Federation:
    return Federation(N, options={"screening": 1}, policy_changes={"bits": 16, "norm_bound": BOUND} | changes)


def in_sketch_part(side: MaskingClient) -> None:
    """Its masked vector is wrong in the coordinates of s' alone."""
    flip(side, side._config.layout.hashed + 5)


def check(played: Screened) -> None:
    """The round's evidence, with its proofs, and the proofs of fault, by the verifiers that share nothing with it."""
    evidence = played.tape.aggregator.evidence
    assert evidence is not None
    verify_independently(evidence.to_bytes(), proofs=list(evidence.proofs.values()))
    for proof in played.tape.aggregator.faults:
        assert verify_fault(proof.to_bytes())["culprit"] == CHEAT


def test_an_honest_round_with_both() -> None:
    played = Screened(federation())
    played.play()
    assert (played.check_sum(), played.named) == (tuple(Federation(N).names), {})
    check(played)


@pytest.mark.parametrize(
    ("bend", "kind", "packed"),
    [
        (in_sketch_part, "bad-input", False),
        (in_sketch_part, "bad-input", True),
        pytest.param(flip, "bad-input", False, marks=pytest.mark.long),
        (lie_of_edge(4), "bad-edge", False),
        (flip_behind_edge(4), "bad-edge", True),
        pytest.param(flip_behind_self_mask, "bad-self-mask", False, marks=pytest.mark.long),
        pytest.param(deal_bad_seeds, "bad-seed-shares", False, marks=pytest.mark.long),
        pytest.param(flip, "bad-input", True, marks=pytest.mark.long),
        pytest.param(lie_of_edge(4), "bad-edge", True, marks=pytest.mark.long),
        pytest.param(flip_behind_edge(4), "bad-edge", False, marks=pytest.mark.long),
        pytest.param(flip_behind_self_mask, "bad-self-mask", True, marks=pytest.mark.long),
        pytest.param(deal_bad_seeds, "bad-seed-shares", True, marks=pytest.mark.long),
    ],
)
def test_a_cheat_is_named_and_the_sum_is_the_others(bend: Bend, kind: str, packed: bool) -> None:
    made = federation(bits=8 if packed else 16, commit_packed=packed)
    assert made.policy.packs == packed
    played = Screened(made, {CHEAT: (bend,)})
    played.play()
    assert played.named == {CHEAT: kind}
    assert played.check_sum() == LEFT
    check(played)


def test_what_is_wrong_in_the_part_of_the_sketch_passes_where_only_the_commitment_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The naive version: five functionals of C_i. The round then ends with nobody's name."""
    honest = Functional.__init__

    def naive(self: Functional, key: bytes, rank: int, elements: int, sketched: Any = None) -> None:
        honest(self, key, rank, elements, sketched)
        if self._second is not None:
            self._second.noise[:] = 0
            self._second._rows[:] = 0
            self._second.side[:] = 0

    monkeypatch.setattr(Functional, "__init__", naive)
    played = Screened(federation(), {CHEAT: (in_sketch_part,)})
    with pytest.raises(Unattributed):
        played.play()
    assert played.named == {}


def proves(monkeypatch: pytest.MonkeyPatch, place: int, by: int) -> None:
    """The cheat proves something of another vector than it has committed to and sends: one coordinate is another."""

    def prove(session: Session, own: Any, commitment: bytes, vector: Any, derive: Any) -> Proved:
        told = vector.copy()
        if own.name == CHEAT:
            told[place] = (int(told[place]) + by) % P
        return prove_norm(session, own, commitment, told, derive)

    monkeypatch.setattr(joined, "prove_norm", prove)


def test_a_weight_that_is_not_the_proved_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = federation(max_weight=10, commit_packed=False)
    proves(monkeypatch, sum(int(np.prod(shape)) for shape in made.shapes), 3)
    played = Screened(made, {CHEAT: ()})
    played.play()
    assert played.named == {CHEAT: "bad-input"}
    assert played.check_sum() == LEFT
    check(played)


def test_a_bad_proof_is_refused_by_name_before_anything_is_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(session: Session, own: Any, commitment: bytes, vector: Any, derive: Any) -> Proved:
        made = prove_norm(session, own, commitment, vector, derive)
        if own.name != CHEAT:
            return made
        spoiled = made.proof[:-1] + bytes([made.proof[-1] ^ 1])
        signed = signed_sketch(session.sid, own.name, made.sketch, proof_digest(spoiled))
        return Proved(made.sketch, spoiled, own.sign(signed))

    monkeypatch.setattr(joined, "prove_norm", prove)
    played = Screened(federation())
    played.play()
    assert isinstance(played.refused[CHEAT], BadNormProof)
    assert played.named == {CHEAT: "bad-norm-proof"}
    assert played.check_sum() == LEFT
    check(played)


def test_a_list_with_another_sketch_or_proof_is_not_reported_on() -> None:
    """The list that the challenge follows from fixes what went with the vectors; whose own is another says nothing."""
    played = Screened(federation())
    tape = played.play(until="screen")
    side, opening = side_of(tape, CHEAT), tape.aggregator._gathered.openings[CHEAT]
    request = encode(tape.aggregator._side._screened.judge.screening)
    items = list(decode(Screening, request, LIMIT).inputs)
    assert isinstance(opening, SketchedOpening)
    message = tape.aggregator._side._screened.inputs.message(2)
    vector = decode(Header, unpack(message, len(message))[0], len(message)).bulk_digest
    right = input_value(opening.commitment, vector, sketch_digest(opening.sketch, opening.proof))
    assert items[2].value == right
    for sketch, proof in ((opening.sketch, bytes(32)), (bytes(len(opening.sketch)), opening.proof)):
        items[2] = ScreenedInput(2, input_value(opening.commitment, vector, sketch_digest(sketch, proof)))
        with pytest.raises(PolicyViolation, match="own input"):
            side.answer("screen", encode(Screening(tuple(items))))
