"""What an aggregator says to one client alone, and no honest one would, convicts it: the client has both halves."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from conformance.independent_faults import verify_fault
from support.federation import Federation, Tape, edit, identity, replace
from support.norms.cheats import LIMIT, Bend, Screened, flip_behind_self_mask, sketch_another
from support.refusals import ME

from secure_agg.backends.masking import faults, rules, screened, screening
from secure_agg.backends.masking.wire import (
    Charge,
    Charges,
    DealtShares,
    Edge,
    FailedSum,
    KeyShares,
    Screening,
    share_hash,
)
from secure_agg.errors import PolicyViolation, SecureAggError, TrustError, UnknownSender, VerificationError
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import Agreed, decode, encode, pack
from secure_agg.roles.auditor import Auditor

VICTIM, CHEAT = "c001", "c002"
BOUNDED: dict[str, Any] = {"bits": 16, "norm_bound": 2000.0, "commit_packed": False}


def federation(bounded: bool = False) -> Federation:
    return Federation(5, shapes=((3,), (4,)), options={"screening": 1}, policy_changes=BOUNDED if bounded else {})


def convicted(tape: Tape, kind: str) -> FaultProof:
    """The victim has kept one proof, which convinces everybody."""
    (proof,) = tape.client(VICTIM).faults
    assert (proof.kind, proof.culprit) == (kind, "aggregator")
    again = FaultProof.from_bytes(proof.to_bytes())
    assert Auditor().verify_fault(again) == Auditor(tape.federation.trust).verify_fault(again) == "aggregator"
    assert verify_fault(proof.to_bytes())["culprit"] == "aggregator"
    return proof


def answers_no_more(tape: Tape, name: str = VICTIM) -> None:
    """Neither in this round nor, after a restart, in another."""
    again = tape.federation.client(name)
    with pytest.raises(PolicyViolation, match="is proved to have broken the protocol"):
        again.join(tape.requests["advertise"][name], tape.federation.updates[name])


def fewer(body: Screening) -> Screening:
    return replace(body, inputs=body.inputs[:-1])


def test_a_second_list_convicts_whoever_shows_it_and_is_refused_from_then_on() -> None:
    tape = Screened(federation()).play(until="screen")
    first = tape.requests["screen"][VICTIM]
    answer = tape.answer(VICTIM)
    tape.deliver(answer)
    assert tape.client(VICTIM).receive(first) == answer
    assert tape.client(VICTIM).faults == (), "one list twice proves nothing"
    with pytest.raises(SecureAggError):
        tape.client(VICTIM).receive(edit(first, ME, Screening, fewer))
    proof = convicted(tape, "two-screenings")
    tape.answer_all(but=(VICTIM,))
    tape.advance()
    with pytest.raises(PolicyViolation, match="answers it no more"):
        tape.client(VICTIM).receive(tape.requests["consistency"][VICTIM])
    answers_no_more(tape)
    other = tape.federation.client("c003")
    assert other.learn_fault(proof) == "aggregator"
    answers_no_more(tape, "c003")


def test_a_second_list_convicts_also_after_a_restart_in_between() -> None:
    tape = Screened(federation()).play(until="screen")
    first = tape.requests["screen"][VICTIM]
    tape.client(VICTIM).receive(first)
    again = tape.federation.client(VICTIM)
    phases = ("advertise", "share-keys", "confirm-edges", "masked-input")
    again.resume([tape.requests[phase][VICTIM] for phase in phases], lambda: tape.federation.updates[VICTIM])
    with pytest.raises(SecureAggError):
        again.receive(edit(first, ME, Screening, fewer))
    assert [proof.kind for proof in again.faults] == ["two-screenings"]


def claim(body: FailedSum) -> FailedSum:
    return replace(body, total=bytes([body.total[0] ^ 1]) + body.total[1:])


def test_a_sum_that_has_not_failed_convicts_whoever_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an honest round, to have clients report at will; or of another sum than the inputs'."""
    monkeypatch.setattr(screening, "sketch_fails", lambda *_: True)
    tape = Screened(federation(bounded=True)).play(until="screen-sketches")
    monkeypatch.undo()
    with pytest.raises(PolicyViolation, match="no sum has failed"):
        tape.client(VICTIM).receive(tape.requests["screen-sketches"][VICTIM])
    convicted(tape, "false-claim")
    answers_no_more(tape)

    tape = Screened(federation(bounded=True), {CHEAT: (sketch_another,)}).play(until="screen-sketches")
    request = tape.requests["screen-sketches"][VICTIM]
    other = edit(
        request, ME, Agreed, lambda body: replace(body, backend=encode(claim(decode(FailedSum, body.backend, LIMIT))))
    )
    with pytest.raises(PolicyViolation, match="no sum has failed"):
        tape.client(VICTIM).receive(other)
    convicted(tape, "false-claim")


def test_a_second_sum_that_has_failed_convicts_whoever_shows_it() -> None:
    tape = Screened(federation(bounded=True), {CHEAT: (sketch_another,)}).play(until="screen-sketches")
    request = tape.requests["screen-sketches"][VICTIM]
    assert tape.client(VICTIM).receive(request)
    other = edit(
        request, ME, Agreed, lambda body: replace(body, backend=encode(claim(decode(FailedSum, body.backend, LIMIT))))
    )
    with pytest.raises(SecureAggError):
        tape.client(VICTIM).receive(other)
    assert {proof.kind for proof in tape.client(VICTIM).faults} == {"two-screenings", "false-claim"}
    for proof in tape.client(VICTIM).faults:
        assert verify_fault(proof.to_bytes())["culprit"] == "aggregator"


def test_a_charge_against_an_honest_client_convicts_whoever_makes_it() -> None:
    bends: dict[str, tuple[Bend, ...]] = {CHEAT: (flip_behind_self_mask,)}
    tape = Screened(federation(), bends).play(until="excise-1")
    kept: screened.Screened = tape.aggregator._side._screened
    seed = kept._seeds(frozenset({3}), tape.aggregator._side._released, {})[3]
    false = Charges((Charge("bad-self-mask", 3, (kept.judge.report(3), seed)),))
    request = tape.requests["excise-1"][VICTIM]
    with pytest.raises(PolicyViolation, match="a charge proves nothing"):
        tape.client(VICTIM).receive(edit(request, ME, Agreed, lambda body: replace(body, backend=encode(false))))
    proof = convicted(tape, "false-charge")
    answers_no_more(tape)
    _, _, true = proof.exhibits[0], proof.exhibits[1], request
    innocent = replace(proof, exhibits=(*proof.exhibits[:2], true))
    with pytest.raises(VerificationError, match="every charge is proved"):
        Auditor().verify_fault(innocent)
    with pytest.raises(ValueError, match="every charge is proved"):
        verify_fault(innocent.to_bytes())


@pytest.mark.parametrize("stranger", [-1, 5, 10**6, 2**40])
def test_a_charge_of_shares_for_somebody_who_is_not_there_convicts_whoever_makes_it(stranger: int) -> None:
    """The cheat has signed that it dealt to a participant with a number that nobody has. The naive check looked for
    the name of that number, and what came out of a client, a ledger or ``verify`` was a bare ``IndexError``.
    """
    tape = Screened(federation(), {CHEAT: (flip_behind_self_mask,)}).play(until="excise-1")
    session, kept = tape.aggregator.session, tape.aggregator._side._screened
    assert session is not None
    cheat, share = session.members.index(CHEAT), bytes(36)
    holders = tuple(sorted({*(i for i in range(5) if i != cheat), stranger}))[-rules.plan(session).threshold :]
    if stranger < 0:
        holders = (stranger, *holders[1:])

    def hashed(holder: int) -> bytes:
        return share_hash(session.sid, "mask-key", CHEAT, session.members[holder % 5], share)

    dealt = edit(
        pack(encode(kept.dealt[cheat])),
        identity(CHEAT),
        KeyShares,
        lambda body: replace(body, edges=tuple(Edge(i, bytes(16), b"", hashed(i), bytes(32)) for i in holders)),
    )
    shown = encode(DealtShares(holders, share * len(holders)))
    false = Charges((Charge("bad-key-shares", cheat, (dealt, shown)),))
    request = tape.requests["excise-1"][VICTIM]
    with pytest.raises(PolicyViolation, match="a charge proves nothing: a holder is no participant"):
        tape.client(VICTIM).receive(edit(request, ME, Agreed, lambda body: replace(body, backend=encode(false))))
    convicted(tape, "false-charge")
    proof = faults.prove(session, false.items[0])
    with pytest.raises(VerificationError, match="a holder is no participant"):
        Auditor(tape.federation.trust).verify_fault(proof)
    with pytest.raises(ValueError):
        verify_fault(proof.to_bytes())


def test_requests_of_an_honest_aggregator_convict_nobody() -> None:
    """Sent again, late, or to somebody else, in rounds with cheats and without."""
    for bounded, bends in ((False, {CHEAT: (flip_behind_self_mask,)}), (True, {CHEAT: (sketch_another,)})):
        played = Screened(federation(bounded), bends)  # type: ignore[arg-type]
        tape = played.play()
        for requests in tape.requests.values():
            for name in (VICTIM, "c003"):
                if name in requests:
                    own = name == VICTIM  # it may repeat an answer that it has kept
                    with contextlib.suppress(SecureAggError) if own else pytest.raises(SecureAggError):
                        tape.client(VICTIM).receive(requests[name])
        assert tape.client(VICTIM).faults == ()
        played.check_sum()


# --- out for the task -----------------------------------------------------------------------------------------


def a_proof() -> FaultProof:
    played = Screened(federation(), {CHEAT: (flip_behind_self_mask,)})
    played.play()
    assert played.named == {CHEAT: "bad-self-mask"}
    played.check_sum()
    (proof,) = played.tape.aggregator.faults
    scope = (VICTIM, "task", "task")
    assert played.federation.stores[VICTIM].get(scope, f"fault of {CHEAT}") == proof.to_bytes(), (
        "it was shown the proof"
    )
    return proof


def test_whoever_has_seen_a_client_convicted_takes_part_with_it_no_more_in_the_task() -> None:
    """The naive version: nobody remembers, and the cheat is in the next round."""
    naive, made, proof = Tape.start(federation()), federation(), a_proof()
    assert CHEAT in naive.finish().participants
    assert made.client(VICTIM).learn_fault(proof) == CHEAT
    tape = Tape.start(made)
    tape.answer_all()
    tape.advance()
    with pytest.raises(PolicyViolation, match="proved to have broken the protocol in this task"):
        tape.client(VICTIM).receive(tape.requests[tape.phase][VICTIM])
    assert tape.client("c003").receive(tape.requests[tape.phase]["c003"]), "who knows no proof takes part"


def test_an_aggregator_never_asks_whom_it_knows_to_be_convicted() -> None:
    made, proof = federation(), a_proof()
    for name in made.names:
        made.client(name).learn_fault(proof)
    tape = Tape.start(made, convicted=(CHEAT,))
    assert CHEAT not in tape.requests["advertise"]
    evidence = tape.finish()
    assert evidence.participants == tuple(name for name in made.names if name != CHEAT)
    assert evidence.config.cohort_root == federation().config().cohort_root, "the roster stays as it was pinned"


def test_an_advertisement_of_somebody_convicted_is_refused() -> None:
    tape, other = Tape.start(federation(), convicted=(CHEAT,)), Tape.start(federation())
    with pytest.raises(UnknownSender):
        tape.deliver(other.answer(CHEAT))


def test_a_proof_from_somebody_else_has_to_be_one() -> None:
    proof = a_proof()
    stranger = Federation(6).client("c003")
    with pytest.raises(TrustError):
        stranger.learn_fault(proof)
    with pytest.raises(VerificationError):
        federation().client("c003").learn_fault(replace(proof, culprit="c004"))
    with pytest.raises(VerificationError, match="there is no backend"):
        Auditor().verify_fault(replace(proof, config=proof.config.replace(b"masking", b"unknown")))
