"""Norm bounds in rounds: a bad proof names who sent it; a vector that it is not of is found by who screens inputs, and
spoils the sum, for nothing, where nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation, Tape, assert_is_mean, edit, forge, header_of, identity, replace
from support.refusals import CHEAT, refused

from mpc.ring import P, Vector
from secure_agg import Ledger
from secure_agg.errors import (
    BadCommitment,
    BadNormProof,
    BadSignature,
    LocalProtocolError,
    MalformedMessage,
    Unattributed,
    VerificationError,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import AdvertisementList, HiddenInput, decode, encode, pack
from secure_agg.protocol.norm import checks
from secure_agg.protocol.norm.wire import BoundedInput, SketchedOpening, proof_digest, signed_sketch
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Auditor, Verified, verify
from secure_agg.roles.client import client, committing, joined
from secure_agg.roles.client.committing import Committed
from secure_agg.roles.client.proving import Proved, prove_norm
from zk import commitment

BOUND = 8.0
BACKENDS = ("plain", "masking", "bfv", "paillier")
WEIGHTS = dict.fromkeys([f"c{i:03d}" for i in range(5)], 100)


def federation(
    backend: str = "masking", *, bound: float | None = BOUND, bits: int = 16, screens: bool = True
) -> Federation:
    """Where a norm is bounded ``masking`` screens inputs by itself."""
    options = {"modulus_bits": 2048} if backend == "paillier" else {}
    if not screens and backend == "masking":
        options["screening"] = 0
    changes = {"bits": bits, "max_weight": 1000} | ({} if bound is None else {"norm_bound": bound})
    return Federation(5, backend=backend, options=options, policy_changes=changes)


def start(made: Federation) -> Tape:
    tape = Tape.start(made)
    tape.local.weights = WEIGHTS
    return tape


Change = Callable[[RoundConfig, Vector], None]


def commits_to(monkeypatch: pytest.MonkeyPatch, made: Federation, change: Change) -> None:
    """The cheat commits to another vector than its update's, and hides that."""
    honest = committing.commit_update

    def commit(config: RoundConfig, update: Sequence[npt.NDArray[Any]], *rest: Any) -> Committed:
        found = honest(config, update, *rest)
        if update is not made.updates[CHEAT]:
            return found
        vector, setting, layout = found.vector.copy(), config.commitment, config.layout
        change(config, vector)
        randomness = vector[layout.committed : layout.committed + layout.randomness]
        again = commitment.commit(setting.pack(vector[: layout.committed]), randomness, setting.rank)
        return Committed(vector, again, found.encoded)

    monkeypatch.setattr(client, "commit_update", commit)


def proves(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """The cheat proves something of another vector than it has committed to."""

    def prove(session: Session, own: Any, commitment: bytes, vector: Vector, derive: Any) -> Proved:
        told = vector.copy()
        if own.name == CHEAT:
            change(session.config, told)
        return prove_norm(session, own, commitment, told, derive)

    monkeypatch.setattr(joined, "prove_norm", prove)


def large(config: RoundConfig, vector: Vector) -> None:
    """All values at the clip."""
    vector[: config.layout.values] = config.policy.top


def zero(config: RoundConfig, vector: Vector) -> None:
    """An update of nothing."""
    vector[: config.layout.values] = config.policy.top // 2


def negative(config: RoundConfig, vector: Vector) -> None:
    """A weight of −300."""
    vector[config.layout.values] = P - 300


def positive(config: RoundConfig, vector: Vector) -> None:
    """The weight that the cheat was given."""
    vector[config.layout.values] = 100


# --- what a cheat does to the mean, with and without a bound ---------------------------------------------------


def test_a_negative_weight_moves_the_mean_of_a_round_without_a_bound_and_none_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights of 4 · 100 − 300: the mean is that of a fifth of the weight, five times what it should be."""
    naive = federation(bound=None, bits=23)
    for update in naive.updates.values():
        update[0][...] = 1.0
    honest = start(naive).finish()
    commits_to(monkeypatch, naive, negative)
    tape = Tape.start(naive, round=1, start_model=bytes([7] * 32))
    tape.local.weights = WEIGHTS
    moved = tape.finish()
    was, now = (verify(item).average[0].flat[0] for item in (honest, moved))
    assert was == pytest.approx(1.0, abs=1e-3)
    assert now == pytest.approx(5.0, abs=1e-2)

    bounded = federation(bits=23, screens=False)
    commits_to(monkeypatch, bounded, negative)
    tape = start(bounded).until("masked-input")
    with pytest.raises(LocalProtocolError, match="no proof"):  # no honest prover proves it,
        tape.answer(CHEAT)

    proves(monkeypatch, positive)  # and of one that does so of another weight the sum shows it
    tape = Tape.start(bounded, round=1, start_model=bytes([7] * 32))
    tape.local.weights = WEIGHTS
    with pytest.raises(Unattributed, match="norms are not what was proved") as caught:
        tape.finish()
    assert caught.value.culprit is None
    assert tape.aggregator.faults == ()

    screened = federation(bits=23)  # where inputs are screened, whose it is, and the mean is the others'
    for update in screened.updates.values():
        update[0][...] = 1.0
    commits_to(monkeypatch, screened, negative)
    assert left_out(start(screened)).average[0].flat[0] == pytest.approx(1.0, abs=1e-3)


def left_out(tape: Tape) -> Verified:
    """The cheat is named by a proof that convicts, and the round ends with the mean of all others."""
    evidence = tape.finish()
    (fault,) = tape.aggregator.faults
    assert (fault.kind, Auditor(tape.federation.trust).verify_fault(fault)) == ("bad-input", CHEAT)
    left = tuple(name for name in tape.federation.names if name != CHEAT)
    found = verify(evidence)
    assert evidence.participants == left
    assert_is_mean(found.average, tape.federation.updates, WEIGHTS, left, tape.aggregator.config)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_that_is_longer_than_what_was_proved_of_it_spoils_the_sum(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where inputs are not screened."""
    made = federation(backend, screens=False)
    commits_to(monkeypatch, made, large)
    proves(monkeypatch, zero)
    tape = start(made)
    with pytest.raises(Unattributed) as caught:
        tape.finish()
    assert caught.value.culprit is None
    assert tape.aggregator.faults == ()


def test_an_update_that_is_longer_than_what_was_proved_of_it_is_named_by_who_screens_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = federation()
    commits_to(monkeypatch, made, large)
    proves(monkeypatch, zero)
    tape = start(made)
    left_out(tape)
    assert "screen-sketches" in tape.requests


# --- proofs that are none --------------------------------------------------------------------------------------


def bounded_part(message: bytes) -> BoundedInput:
    body = decode(HiddenInput, header_of(message).body, 1 << 20)
    return decode(BoundedInput, body.backend, 1 << 20)


def with_part(good: bytes, part: bytes) -> bytes:
    return edit(good, identity(CHEAT), HiddenInput, lambda body: replace(body, backend=part))


def signed(tape: Tape, sketch: bytes, proof: bytes, backend: bytes) -> bytes:
    """A bounded part that the cheat has signed rightly, whatever is in it."""
    session = tape.aggregator.session
    assert session is not None
    signature = identity(CHEAT).sign(signed_sketch(session.sid, CHEAT, sketch, proof_digest(proof)))
    return encode(BoundedInput(sketch, proof, signature, backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_proof_that_proves_nothing_names_its_sender_and_nobody_else(backend: str) -> None:
    tape = start(federation(backend)).until("masked-input")
    good, other = tape.answer(CHEAT), tape.answer("c000")
    mine, theirs = bounded_part(good), bounded_part(other)
    flipped = bytearray(mine.proof)
    flipped[1000] ^= 1
    for sketch, proof, error in (
        (mine.sketch, bytes(flipped), BadNormProof),
        (mine.sketch, theirs.proof, BadNormProof),
        (theirs.sketch, theirs.proof, BadNormProof),  # a copy of what is true of somebody else
        (theirs.sketch, mine.proof, BadNormProof),
        (mine.sketch, b"", BadNormProof),
        (mine.sketch, mine.proof[:-1], BadNormProof),
        (mine.sketch, mine.proof + b"\0", BadNormProof),
        (mine.sketch[:-4], mine.proof, BadCommitment),
        (b"\xff" * len(mine.sketch), mine.proof, BadCommitment),
        (b"", mine.proof, BadCommitment),
    ):
        refused(tape, with_part(good, signed(tape, sketch, proof, mine.backend)), error, CHEAT)
    (fault,) = tape.aggregator.faults
    assert (fault.kind, Auditor(tape.federation.trust).verify_fault(fault)) == ("bad-norm-proof", CHEAT)
    unsigned = encode(replace(mine, signature=bytes(64)))
    refused(tape, with_part(good, unsigned), BadSignature, CHEAT)
    refused(tape, with_part(good, encode(replace(mine, signature=theirs.signature))), BadSignature, CHEAT)
    refused(tape, with_part(good, mine.backend), MalformedMessage, CHEAT)
    tape.deliver(good)
    tape.deliver(other)
    tape.answer_all(but=(CHEAT, "c000"))
    tape.advance()
    assert CHEAT in tape.finish().participants


def test_a_proof_of_another_attempt_is_refused() -> None:
    made = federation()
    first = start(made).until("masked-input")
    old = bounded_part(first.answer(CHEAT))
    again = Tape.start(made, attempt=1)
    again.local.weights = WEIGHTS
    again.until("masked-input")
    good = again.answer(CHEAT)
    mine = bounded_part(good)
    assert (old.sketch, old.proof) != (mine.sketch, mine.proof)
    refused(again, with_part(good, signed(again, old.sketch, old.proof, mine.backend)), BadNormProof, CHEAT)
    refused(again, with_part(good, encode(replace(old, backend=mine.backend))), BadSignature, CHEAT)


def test_an_input_with_a_proof_is_refused_where_no_norm_is_bounded_and_a_longer_header_too() -> None:
    tape = start(federation("plain", bound=None)).until("masked-input")
    good = tape.answer(CHEAT)
    refused(tape, with_part(good, encode(BoundedInput(b"", b"", b"", b""))), MalformedMessage, CHEAT)
    refused(tape, forge(good, identity(CHEAT), body=bytes(1 << 18)), MalformedMessage, None)


def test_a_proof_of_fault_convicts_by_what_was_signed_alone() -> None:
    """Nobody honest is accused by what an aggregator puts together."""
    tape = start(federation("plain")).until("masked-input")
    good = tape.answer(CHEAT)
    mine = bounded_part(good)
    flipped = bytes([mine.proof[0] ^ 1]) + mine.proof[1:]
    bad = with_part(good, signed(tape, mine.sketch, flipped, mine.backend))
    refused(tape, bad, BadNormProof, CHEAT)
    (fault,) = tape.aggregator.faults
    auditor = Auditor(tape.federation.trust)
    assert auditor.verify_fault(FaultProof.from_bytes(fault.to_bytes())) == CHEAT
    message, listed = fault.exhibits
    honest = pack(encode(header_of(good)))
    others = encode(replace(decode(AdvertisementList, listed, 1 << 20), advertisements=()))
    body = header_of(message).body
    altered = forge(message, None, body=body[:-1] + bytes([body[-1] ^ 1]))
    for exhibits in (
        (honest, listed),  # an honest input
        (message, others),  # of another session
        (bad, listed),  # with its bulk
        (altered, listed),
        (message,),
        (listed, message),
    ):
        with pytest.raises(VerificationError):
            auditor.verify_fault(replace(fault, exhibits=exhibits))
    with pytest.raises(VerificationError):
        auditor.verify_fault(replace(fault, culprit="c000", public=identity("c000").public))


# --- a corrupt aggregator --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Evidence:
    return start(federation()).finish()


def test_evidence_without_its_proofs_says_so_and_enters_no_ledger(played: Evidence, tmp_path: Path) -> None:
    seen = verify(played)
    assert seen.proofs == 5
    assert "all proofs were checked" in seen.norm_text
    bare = Evidence.from_bytes(played.to_bytes())
    found = verify(bare)
    assert (found.proofs, found.record) == (0, seen.record)
    assert "0 of 5 proofs were seen and checked" in found.norm_text
    some = bare.with_proofs(list(played.proofs.values())[:3])
    assert "3 of 5" in verify(some).norm_text
    with Ledger(tmp_path / "rounds.db") as ledger:
        made = federation()
        ledger.pin("task", made.trust.task("task"), made.trust.operators)
        config = changed_log(made, ledger)
        tape = Tape.start(config)
        tape.local.weights = WEIGHTS
        evidence = tape.finish()
        for missing in ({}, dict(list(evidence.proofs.items())[1:])):
            with pytest.raises(VerificationError, match="norm proofs are with the evidence"):
                ledger.append(changed(evidence, proofs=missing))
        receipt = ledger.append(evidence).receipt
        assert receipt.index == 0
        assert ledger.audit().norm_proofs == 5
        record = ledger.last("task")
        assert record is not None
        assert verify(ledger.proved_evidence(record)).proofs == 5


def changed_log(made: Federation, ledger: Ledger) -> Federation:
    """The federation whose rounds are for this ledger."""
    made.trust = ledger.trust
    return made


def test_a_proof_that_an_aggregator_let_pass_is_found_by_whoever_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client and aggregator collude: a client of the round, who sees no proofs, is told how many it has not seen."""
    told = b"trust me"

    def prove(session: Session, own: Any, commitment: bytes, vector: Vector, derive: Any) -> Proved:
        made = prove_norm(session, own, commitment, vector, derive)
        if own.name != CHEAT:
            return made
        return Proved(made.sketch, told, own.sign(signed_sketch(session.sid, CHEAT, made.sketch, proof_digest(told))))

    monkeypatch.setattr(joined, "prove_norm", prove)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "verify", lambda *_: None)
        tape = start(federation())
        evidence = tape.finish()
    assert "screen" in tape.requests, "what is screened is the input: it is right, and nobody sees the proof there"
    assert CHEAT in evidence.participants
    with pytest.raises(VerificationError, match=CHEAT):
        verify(evidence)
    assert verify(Evidence.from_bytes(evidence.to_bytes())).proofs == 0


def test_an_aggregator_checks_each_proof_once_and_nobody_else_takes_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = checks.verify
    monkeypatch.setattr(checks, "verify", lambda said, data: (seen.append(said.name), real(said, data))[1])
    tape = start(federation())
    tape.until("masked-input")
    tape.answer_all()
    tape.advance()
    evidence = tape.finish()
    members = sorted(evidence.participants)
    assert sorted(seen) == members
    assert tape.aggregator.verified is not None
    assert tape.aggregator.verified.proofs == len(members)
    assert verify(evidence).proofs == len(members)
    assert sorted(seen) == sorted([*members, *members])


def test_sketches_and_hashes_in_evidence_are_those_that_clients_have_signed(played: Evidence) -> None:
    first, second, *rest = played.openings
    assert isinstance(first, SketchedOpening)
    assert isinstance(second, SketchedOpening)
    forgeries = [
        replace(first, sketch=second.sketch),
        replace(first, proof=second.proof),
        replace(first, signature=second.signature),
        replace(first, sketch=second.sketch, proof=second.proof, signature=second.signature),
    ]
    for forged in forgeries:
        with pytest.raises(VerificationError):
            verify(changed(played, openings=(forged, second, *rest)))
    proofs = dict(played.proofs)
    proofs[first.proof] = proofs[second.proof]
    with pytest.raises(VerificationError, match="not the one that was signed"):
        verify(changed(played, proofs=proofs))


def test_the_sum_of_the_sketches_random_coordinates_is_checked(played: Evidence) -> None:
    layout = played.config.layout
    for place in (layout.committed + layout.randomness, layout.total - 1):
        sums = np.array(played.sums)
        sums[place] += 1
        with pytest.raises(VerificationError, match="norms are not what was proved"):
            verify(changed(played, sums=sums))
