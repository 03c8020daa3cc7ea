"""Parties of backend ``crypten`` that are gone, restarted or asked wrongly, and how they meet for a computation."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from support.federation import forge, header_of, replace
from support.shares.crypten_round import (
    A1,
    A2,
    A3,
    MEDIAN,
    NORM,
    PARTIES,
    Session,
    assert_left_out,
    federation,
    play,
    put,
    sharing,
    value_at,
)

from secure_agg.backends.crypten import compute
from secure_agg.backends.crypten.wire import Candidates, Verdicts
from secure_agg.errors import (
    AlreadyReleased,
    DuplicateMessage,
    MalformedMessage,
    OperatorLost,
    PolicyViolation,
    RoundAborted,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol.messages import Agreed, Statement, StatementEntry, decode, encode

CHEAT = "c002"


# --- parties: gone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["begin", "collect-shares", "consistency", "partial-sum"])
def test_no_party_may_be_lost(phase: str) -> None:
    tape = play(federation()).until(phase)
    tape.answer_all(but=(A2,))
    with pytest.raises(OperatorLost) as caught:
        tape.advance()
    assert (caught.value.phase, caught.value.culprit) == (phase, A2)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "phase"), [(NORM, "filter"), (MEDIAN, "compute")])
def test_a_party_that_hands_in_no_shares_is_named_by_the_others_and_may_be_waited_for_again(
    options: Mapping[str, int], phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = play(federation(options)).until(phase)
    with monkeypatch.context() as patch:
        patch.setattr(compute, "WAIT_SECONDS", 1.0)
        for error in tape.fail((A1, A3)):
            assert isinstance(error, RoundAborted)
            assert (error.phase, error.culprit) == (phase, A2)
        (alone,) = tape.fail((A2,))
        assert isinstance(alone, RoundAborted)
        assert alone.culprit == A1
    assert not compute._pool._jobs
    assert tape.finish().participants == tuple(tape.federation.names)


@pytest.mark.parametrize(("victim", "culprit"), [(1, A2), (3, "provider")])
def test_a_killed_process_ends_the_phase_for_all_and_the_next_has_new_ones(victim: int, culprit: str) -> None:
    tape = play(federation()).until("filter")
    tape.answer_all()
    before = compute._pool._parties[3].pids
    tape = play(federation()).until("filter")
    os.kill(before[victim], signal.SIGKILL)
    errors = tape.fail()
    assert [(type(error), error.phase, error.culprit) for error in errors] == [(RoundAborted, "filter", culprit)] * 3  # type: ignore[attr-defined]
    assert len({id(error) for error in errors}) == 3
    assert_left_out(tape)
    assert not set(before) & set(compute._pool._parties[3].pids)


@pytest.mark.parametrize("phase", ["filter", "consistency"])
def test_a_restarted_party_has_no_shares_and_says_so(phase: str) -> None:
    tape = play(federation()).until(phase)
    tape.local.holders = {**tape.local.holders, A2: tape.federation.share_holder(A2)}
    with pytest.raises(WrongContext, match="restarted"):
        tape.answer(A2)


# --- the coordinator ------------------------------------------------------------------------------------------


def test_a_party_signs_no_set_but_that_of_the_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the evidence shows who was accepted, so a coordinator could slip in whom the bound leaves out."""
    sharing(monkeypatch, {CHEAT: put(value_at(0), 1 << 20)})
    tape = play(federation(n=6)).until("consistency")
    honest = decode(Statement, header_of(tape.requests["consistency"][A1]).body, 1 << 20)
    assert CHEAT not in {entry.name for entry in honest.entries}
    hashes = tape.aggregator._joined().commitment_hashes
    everybody = Statement(tuple(StatementEntry(name, hashes[name]) for name in tape.federation.names))
    fewer = Statement(honest.entries[:4])
    wrong = Statement((replace(honest.entries[0], value=bytes(32)), *honest.entries[1:]))
    kept = dict(tape.requests["consistency"])
    for statement in (everybody, fewer, wrong):
        tape.request(A1, body=encode(statement))
        with pytest.raises((PolicyViolation, TooFewClients)) as caught:
            tape.answer(A1)
        assert caught.value.phase == "consistency"
    tape.requests["consistency"] = kept
    assert_left_out(tape, CHEAT)


def test_nobody_is_signed_for_who_was_not_judged() -> None:
    tape = play(federation(n=6)).until("filter")
    for name in PARTIES:
        tape.request(name, body=encode(Candidates(tuple(tape.federation.names[:5]))))
    tape.ask()
    hashes = tape.aggregator._joined().commitment_hashes
    everybody = Statement(tuple(StatementEntry(name, hashes[name]) for name in tape.federation.names))
    consistency = forge(
        tape.requests["filter"][A1], tape.federation.operator, phase="consistency", body=encode(everybody)
    )
    with pytest.raises(PolicyViolation, match="accepted"):
        tape.local.holders[A1].receive(consistency)


def test_parties_that_are_shown_different_clients_compute_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different clients would be added up: with shares of colluding clients, to whatever passes."""
    tape = play(federation(n=6)).until("filter")
    kept, names = dict(tape.requests["filter"]), tuple(tape.federation.names)
    tape.request(A2, body=encode(Candidates(names[1:])))
    tape.request(A1, body=encode(Candidates(names[:-1])))
    tape.request(A3, body=encode(Candidates(names[:-1])))
    with monkeypatch.context() as patch:
        patch.setattr(compute, "WAIT_SECONDS", 0.5)
        errors = tape.fail()
    assert len(errors) == 3
    assert PolicyViolation in {type(error) for error in errors}
    assert {type(error) for error in errors} <= {PolicyViolation, RoundAborted}
    tape.requests["filter"] = kept
    assert_left_out(tape)


@pytest.mark.parametrize(
    ("candidates", "error"),
    [
        (("c001", "c000", "c002"), PolicyViolation),
        (("c000", "c000", "c001", "c002"), PolicyViolation),
        (("c000", "c001", "c002", "c999"), PolicyViolation),
        (("c000", "c001"), PolicyViolation),
        ((), PolicyViolation),
    ],
    ids=["out of order", "one twice", "somebody unknown", "too few", "nobody"],
)
def test_a_party_judges_no_other_clients(candidates: tuple[str, ...], error: type[SecureAggError]) -> None:
    tape = play(federation()).until("filter")
    tape.request(A1, body=encode(Candidates(candidates)))
    with pytest.raises(error):
        tape.answer(A1)


def test_requests_that_say_more_than_their_phase_are_refused() -> None:
    tape = play(federation()).until("filter")
    tape.request(A1, bulk=b"more")
    with pytest.raises(MalformedMessage):
        tape.answer(A1)
    tape = play(federation()).until("partial-sum")
    tape.request(A1, bulk=b"more")
    with pytest.raises(MalformedMessage):
        tape.answer(A1)
    agreed = decode(Agreed, header_of(tape.requests["partial-sum"][A2]).body, 1 << 20)
    tape.request(A2, body=encode(msgspec.structs.replace(agreed, backend=b"\x90")))
    with pytest.raises(MalformedMessage):
        tape.answer(A2)


def test_a_partial_sum_needs_all_parties_signatures() -> None:
    tape = play(federation()).until("partial-sum")
    agreed = decode(Agreed, header_of(tape.requests["partial-sum"][A1]).body, 1 << 20)
    for signatures in (agreed.signatures[:2], agreed.signatures[:2] + agreed.signatures[1:2], ()):
        tape.request(A1, body=encode(msgspec.structs.replace(agreed, signatures=signatures)))
        with pytest.raises((TooFewClients, DuplicateMessage)):
            tape.answer(A1)


def test_a_party_judges_the_same_clients_again_only_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is asked in a phase binds it durably: with its shares sent again it tells the same, of the same."""
    sharing(monkeypatch, {CHEAT: put(value_at(0), 1 << 20)})
    tape = play(federation(n=7)).until("filter")
    names = tape.federation.names
    first = _verdicts(tape.ask())
    assert not dict(zip(names, first, strict=True))[CHEAT]
    others = forge(tape.requests["filter"][A1], tape.federation.operator, body=encode(Candidates(tuple(names[:6]))))
    with pytest.raises(WrongPhase):
        tape.local.holders[A1].receive(others)
    tape.local.holders = {**tape.local.holders, **{name: tape.federation.share_holder(name) for name in PARTIES}}
    for party in PARTIES:
        tape.local.holders[party].receive(tape.requests["begin"][party])
        for (_, recipient), letter in tape.post.letters.items():
            if recipient == party:
                tape.local.holders[party].receive(letter)
        tape.local.holders[party].receive(tape.requests["collect-shares"][party])
    assert _verdicts(tape.ask()) == first


def _verdicts(answers: Sequence[bytes]) -> tuple[bool, ...]:
    (found,) = {decode(Verdicts, header_of(answer).body, 1 << 20).accepted for answer in answers}
    return found


def test_who_has_signed_begins_no_other_attempt_also_after_a_restart() -> None:
    tape = play(federation()).until("partial-sum")
    requests = {envelope.recipient: envelope.data for envelope in tape.federation.aggregator(attempt=1).start()}
    for holder in (tape.local.holders[A1], tape.federation.share_holder(A1)):
        with pytest.raises(AlreadyReleased):
            holder.receive(requests[A1])


def test_a_client_that_has_sent_its_shares_joins_no_other_attempt() -> None:
    """So a verdict can be had once for each client and round: it never shares a second vector to be judged."""
    tape = play(federation()).until("filter")
    second = Session(tape.federation, tape.federation.round(attempt=1))
    second.open(second.aggregator.start())
    second.answer_all()
    second.advance()
    with pytest.raises(TaskSpent):
        second.answer("c000")


# --- meeting for a job ----------------------------------------------------------------------------------------


def place_of(party: int, session: bytes = b"session") -> compute.Place:
    return compute.Place(federation().config(), session, PARTIES, party)


def meet(
    pool: compute._Pool, party: int, work: Callable[..., Any], session: bytes = b"session", value: int | None = None
) -> Any:
    shares = np.array([[party if value is None else value]], np.uint64)
    return pool.run("filter", place_of(party, session), ("c000",), shares, work)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> compute._Pool:
    """Its work needs no processes."""
    pool = compute._Pool()
    monkeypatch.setattr(pool, "_running", lambda parties: None)
    return pool


def total(_parties: Any, shares: Sequence[Any]) -> int:
    return int(sum(int(share.sum()) for share in shares))


def test_jobs_of_many_rounds_at_once_dont_mix(pool: compute._Pool) -> None:
    with ThreadPoolExecutor(24) as threads:
        found = {
            (job, party): threads.submit(meet, pool, party, total, bytes([job]), 10**job + party)
            for party in (2, 0, 1)
            for job in range(8)
        }
        assert {key: future.result() for key, future in found.items()} == {
            (job, party): 3 * 10**job + 3 for job in range(8) for party in range(3)
        }
    assert not pool._jobs


@pytest.mark.slow
def test_who_waits_for_a_busy_pool_does_not_give_up(pool: compute._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "WAIT_SECONDS", 2.0)
    busy, go_on = threading.Event(), threading.Event()

    def slow(parties: Any, shares: Sequence[Any]) -> int:
        busy.set()
        assert go_on.wait(120)
        return total(parties, shares)

    with ThreadPoolExecutor(6) as threads:
        first = [threads.submit(meet, pool, party, slow, b"first") for party in range(3)]
        assert busy.wait(120)
        second = [threads.submit(meet, pool, party, total, b"second") for party in range(3)]
        with pytest.raises(RoundAborted) as caught:  # which takes about as long as the others wait
            meet(pool, 1, total, b"third")
        assert caught.value.culprit == A1
        go_on.set()
        assert [future.result(120) for future in first + second] == [3] * 6


def test_a_party_that_hands_in_twice_is_refused_and_the_job_goes_on(pool: compute._Pool) -> None:
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(meet, pool, 0, total)
        while not pool._jobs:
            assert not first.done()
        with pytest.raises(DuplicateMessage):
            meet(pool, 0, total, value=100)
        others = [threads.submit(meet, pool, party, total) for party in (1, 2)]
        assert [future.result(120) for future in (first, *others)] == [3, 3, 3]


@pytest.mark.parametrize("error", [ValueError("a reason"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_every_party_hears_of_a_failure_and_may_try_again(pool: compute._Pool, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    with ThreadPoolExecutor(3) as threads:
        errors = [future.exception(120) for future in [threads.submit(meet, pool, party, fail) for party in range(3)]]
    kinds = sorted(type(found).__name__ for found in errors)
    assert kinds == (
        ["ValueError"] * 3 if isinstance(error, ValueError) else ["KeyboardInterrupt"] + ["RoundAborted"] * 2
    )
    assert len({id(found) for found in errors}) == 3
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda party: meet(pool, party, total), range(3))) == [3, 3, 3]
