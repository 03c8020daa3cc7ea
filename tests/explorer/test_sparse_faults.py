"""Proofs of fault from sessions of which nobody sees the whole list: the page convicts whom the product convicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.explorer.core import Core, in_node
from support.federation import Federation, edit, replace
from support.norms.cheats import Screened, flip, flip_behind_self_mask
from support.refusals import ME

from secure_agg.backends.masking import faults
from secure_agg.backends.masking.wire import Charge, ShownCharges
from secure_agg.errors import PolicyViolation
from secure_agg.protocol.messages import decode, encode
from secure_agg.protocol.sparse.roll import bitmap
from secure_agg.protocol.sparse.wire import Countersigned, SmallerSet, SparseExhibit
from secure_agg.roles.auditor import Auditor

CHEAT, VICTIM = "c002", "c001"
LIMIT = 1 << 24


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def screened(bend: Any) -> Screened:
    return Screened(Federation(5, shapes=((3,),), options={"complete_up_to": 0, "screening": 1}), {CHEAT: (bend,)}, {})


def test_what_a_proof_shows_of_a_session_has_to_be_in_it(core: Core) -> None:
    played = screened(flip)
    played.play()
    (proof,) = played.tape.aggregator.faults
    trust = played.tape.federation.trust.to_json()
    assert core.convicts(proof.to_bytes(), trust) == core.convicts(proof.to_bytes()) == proof.culprit == CHEAT
    good = decode(SparseExhibit, proof.exhibits[0], LIMIT)
    shown = good.shown
    (mine,) = shown.advertisements
    for bad in (
        replace(good, cohort=good.cohort[1:]),
        replace(good, cohort=good.cohort[::-1]),
        replace(good, roll=replace(good.roll, present=bitmap(range(4), 5))),
        replace(good, roll=replace(good.roll, present=bytes([good.roll.present[0] | 32]))),
        replace(good, roll=replace(good.roll, root=bytes(32))),
        replace(good, shown=replace(shown, path=shown.path[:-32])),
        replace(good, shown=replace(shown, path=shown.path + bytes(32))),
        replace(good, shown=replace(shown, path=shown.path[:-1])),
        replace(good, shown=replace(shown, advertisements=())),
        replace(good, shown=replace(shown, advertisements=(replace(mine, position=mine.position + 1),))),
        replace(good, shown=replace(shown, advertisements=(replace(mine, signature=bytes(64)),))),
        replace(good, shown=replace(shown, advertisements=(mine, mine))),
    ):
        spoilt = replace(proof, exhibits=(encode(bad), *proof.exhibits[1:]))
        assert core.convicts(spoilt.to_bytes()) is None


def test_a_false_charge_convicts_its_maker_and_a_true_one_does_not(core: Core) -> None:
    tape = screened(flip_behind_self_mask).play(until="excise-1")
    kept, session = tape.aggregator._side._screened, tape.aggregator.session
    assert session is not None
    seed = kept._seeds(frozenset({3}), tape.aggregator._side._released, {})[3]
    request = tape.requests["excise-1"][VICTIM]

    def charged(body: Countersigned) -> Countersigned:
        smaller = decode(SmallerSet, body.backend, LIMIT)
        made = (Charge("bad-self-mask", 3, (kept.judge.report(3), seed)),)
        shown = encode(ShownCharges(made, faults.show(session, made)))
        return replace(body, backend=encode(replace(smaller, backend=shown)))

    with pytest.raises(PolicyViolation, match="a charge proves nothing"):
        tape.client(VICTIM).receive(edit(request, ME, Countersigned, charged))
    (proof,) = tape.client(VICTIM).faults
    assert core.convicts(proof.to_bytes()) == Auditor().verify_fault(proof) == "aggregator"
    innocent = replace(proof, exhibits=(*proof.exhibits[:2], request))
    assert core.convicts(innocent.to_bytes()) is None
