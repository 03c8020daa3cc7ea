"""A malicious coordinator: whatever it asks, the aggregators open one sum over one agreed set, once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from support.federation import bulk_of, edit, forge, header_of, identity, replace
from support.shares.additive_round import (
    A1,
    A2,
    A3,
    A4,
    ALL_OF_3,
    CHEAT,
    OTHERS,
    SIZE,
    TWO_OF_4,
    Play,
    assert_exact,
    commitment_bytes,
    federation,
    flipped,
    only,
    partial_sum_request,
    play,
    refused,
    statement_of,
)

from secure_agg.backends.additive import faults, rules
from secure_agg.backends.additive.wire import Reveals
from secure_agg.errors import (
    AlreadyReleased,
    BadCommitment,
    BadKey,
    BadSignature,
    MalformedMessage,
    OperatorLost,
    RemoteProtocolError,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    TrustError,
    UnknownSender,
    WrongContext,
)
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import (
    AdvertisementList,
    Agreed,
    Signature,
    SignedAdvertisement,
    Statement,
    StatementEntry,
    decode,
    encode,
    write,
)
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.store import AttemptStore

# --- a corrupt coordinator ------------------------------------------------------------------------------------


def subset(statement: Statement, without: str) -> Statement:
    return Statement(tuple(entry for entry in statement.entries if entry.name != without))


def put(tape: Play, statement: Statement) -> Callable[[str], bytes]:
    """The coordinator asks one aggregator to sign this set."""
    return lambda name: tape.local.holders[name].receive(
        forge(tape.requests["consistency"][name], tape.federation.operator, body=encode(statement))
    )


def signatures(*names_and_answers: tuple[str, bytes]) -> tuple[Signature, ...]:
    return tuple(decode(Signature, header_of(answer).body, SIZE) for _, answer in sorted(names_and_answers))


def test_different_sets_to_different_aggregators_open_nothing() -> None:
    """The difference attack inside one round: S to one aggregator, S without c002 to the others. Naive aggregators
    that sign whatever they are shown give out two sums, whose difference is an update.
    """
    tape = play(federation()).until("consistency")
    whole = statement_of(tape)
    smaller = subset(whole, CHEAT)
    answers = [(A1, put(tape, whole)(A1)), (A2, put(tape, smaller)(A2)), (A3, put(tape, smaller)(A3))]
    for name, answer in answers:
        for signed in (answers, [(n, a) for n, a in answers if n != A1], [(name, answer)], []):
            body = encode(Agreed(signatures(*signed), b""))
            sid = header_of(answer).session
            request = write(tape.federation.operator, sid, "reveal-commitments", name, body)
            refused(partial(tape.local.holders[name].receive, request), SecureAggError)


def test_with_a_threshold_two_sets_never_both_find_their_quorum() -> None:
    """One of four is corrupt and signs both; each of the honest three signs once."""
    tape = play(federation(TWO_OF_4)).until("consistency")
    whole = statement_of(tape)
    smaller = subset(whole, CHEAT)
    first = [(A1, put(tape, whole)(A1)), (A2, put(tape, whole)(A2))]
    second = [(A3, put(tape, smaller)(A3))]
    sid = header_of(first[0][1]).session
    rule = rules.SignedByAggregators()
    for statement, signed in ((whole, first), (smaller, second)):
        corrupt = write(
            identity(A4),
            sid,
            "consistency",
            "aggregator",
            encode(Signature(A4, identity(A4).sign(rule.signed_bytes(sid, statement)))),
        )
        signed.append((A4, corrupt))
    opened = []
    for signed in (first, second):
        name = signed[0][0]
        request = write(
            tape.federation.operator, sid, "reveal-commitments", name, encode(Agreed(signatures(*signed), b""))
        )
        try:
            opened.append(tape.local.holders[name].receive(request))
        except TooFewClients:
            continue
    assert len(opened) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_set_is_never_signed(restarted: bool) -> None:
    tape = play(federation()).until("consistency")
    whole = statement_of(tape)
    put(tape, whole)(A1)
    if restarted:
        tape.local.holders = {**tape.local.holders, A1: tape.federation.share_holder(A1)}
        refused(lambda: tape.local.holders[A1].receive(tape.requests["begin"][A1]), AlreadyReleased)
    refused(lambda: put(tape, subset(whole, CHEAT))(A1), RemoteProtocolError)


def test_an_aggregator_that_has_lost_its_store_signs_two_sets_and_that_can_be_shown() -> None:
    """What the durable store is for; and two attempts at one round are one round."""
    tape = play(federation()).until("consistency")
    where, whole = tape.federation, statement_of(tape)
    first = put(tape, whole)(A1)
    where.holder_stores[A1] = AttemptStore()
    where.stores = {name: AttemptStore() for name in where.names}
    again = play(where, only("c004", A1, lambda _: None), attempt=1).until("consistency")
    other = statement_of(again)
    second = put(again, other)(A1)

    def signed(answer: bytes) -> bytes:
        return decode(Signature, header_of(answer).body, SIZE).signature

    shown = faults.two_sets(
        where.config(),
        where.setup,
        A1,
        identity(A1).public,
        (whole, signed(first)),
        where.config(attempt=1),
        (other, signed(second)),
    )
    assert Auditor(where.trust).verify_fault(shown) == A1


BAD_SETS: dict[str, Callable[[Statement], Statement]] = {
    "fewer than the quorum": lambda s: Statement(s.entries[:3]),
    "one": lambda s: Statement(s.entries[:1]),
    "none": lambda s: Statement(()),
    "out of order": lambda s: Statement(s.entries[::-1]),
    "one twice": lambda s: Statement((*s.entries, s.entries[-1])),
    "a stranger": lambda s: Statement((*s.entries, StatementEntry("mallory", bytes(32)))),
    "a client whose share is not here": lambda s: Statement((*s.entries, StatementEntry("c004", bytes(32)))),
    "other shares": lambda s: Statement((replace(s.entries[0], value=bytes(32)), *s.entries[1:])),
    "no digest": lambda s: Statement((replace(s.entries[0], value=b""), *s.entries[1:])),
}


@pytest.mark.parametrize("what", BAD_SETS)
def test_a_set_that_breaks_the_rules_is_not_signed_and_the_right_one_still_is(what: str) -> None:
    tape = play(federation(), lambda c, _a, data: None if c == "c004" else data).until("consistency")
    whole = statement_of(tape)
    assert len(whole.entries) == 4
    with pytest.raises((RemoteProtocolError, TooFewClients)):
        put(tape, BAD_SETS[what](whole))(A1)
    assert_exact(tape, tape.finish(), ["c000", "c001", "c002", "c003"])


def test_min_clients_bounds_the_set_where_it_is_above_the_quorum() -> None:
    where = federation(policy_changes={"min_clients": 5})
    tape = play(where).until("consistency")
    refused(lambda: put(tape, subset(statement_of(tape), CHEAT))(A1), TooFewClients)


@pytest.mark.parametrize("phase", ["reveal-commitments", "partial-sum"])
def test_nothing_is_given_out_without_the_quorums_signatures(phase: str) -> None:
    for options in (ALL_OF_3, TWO_OF_4):
        tape = play(federation(options)).until(phase)
        request = tape.requests[phase][A1]
        agreed = decode(Agreed, header_of(request).body, SIZE)
        first = agreed.signatures[0]
        stranger = Signature("mallory", identity("mallory").sign(b""))
        client = Signature("c000", identity("c000").sign(b""))
        least = rules.signatures(rules.scheme(tape.federation.policy))
        for wrong in (
            (),
            agreed.signatures[: least - 1],
            agreed.signatures[::-1],
            (first,) * least,
            (replace(first, signature=bytes(64)), *agreed.signatures[1:]),
            (*agreed.signatures[: least - 1], stranger),
            (*agreed.signatures[: least - 1], client),
            (*agreed.signatures[: least - 1], Signature("mallory", first.signature)),
        ):
            body = encode(replace(agreed, signatures=wrong))
            forged = forge(request, tape.federation.operator, body=body)
            with pytest.raises((RemoteProtocolError, TooFewClients)):
                tape.local.holders[A1].receive(forged)
        assert_exact(tape, tape.finish(), tape.federation.names)


def test_signatures_of_another_attempt_or_round_open_nothing() -> None:
    old = play(federation()).until("reveal-commitments")
    agreed = decode(Agreed, header_of(old.requests["reveal-commitments"][A1]).body, SIZE)
    tape = play(federation(), round=1).until("reveal-commitments")
    request = forge(tape.requests["reveal-commitments"][A1], tape.federation.operator, body=encode(agreed))
    refused(lambda: tape.local.holders[A1].receive(request), BadSignature)


def test_no_phase_can_be_skipped() -> None:
    """Above all: no partial sum before the commitments are open, no reveal before the set is signed."""
    done = play(federation())
    done.finish()
    for phase in ("collect-shares", "consistency", "reveal-commitments"):
        tape = play(federation()).until(phase)
        for later in ("consistency", "reveal-commitments", "partial-sum"):
            if later != phase and done.requests[later] is not None and _after(later, phase):
                refused(partial(tape.local.holders[A1].receive, done.requests[later][A1]), RemoteProtocolError)
                empty = forge(tape.requests[phase][A1], tape.federation.operator, phase=later, body=b"", bulk=b"")
                refused(partial(tape.local.holders[A1].receive, empty), RemoteProtocolError)


def _after(one: str, other: str) -> bool:
    order = ["collect-shares", "consistency", "reveal-commitments", "partial-sum"]
    return order.index(one) > order.index(other)


def test_no_partial_sum_before_all_needed_commitments_are_open() -> None:
    """A naive aggregator that trusts the coordinator here gives out its sum while commitments can still be chosen."""
    for options, shown in (
        (ALL_OF_3, [(A1, A2), (A1,), (), (A2, A3), (A1, A2, A2), (A2, A1, A3)]),
        (TWO_OF_4, [(A1,), (), (A2, A3), (A1, A1), (A2, A1)]),
    ):
        tape = play(federation(options)).until("reveal-commitments")
        tape.answer_all()
        for names in shown:
            if names:
                request = partial_sum_request(tape, A1, names)
            else:
                sid = header_of(tape.responses["reveal-commitments"][A1]).session
                agreed = decode(Agreed, header_of(tape.requests["reveal-commitments"][A1]).body, SIZE)
                body = encode(Agreed(agreed.signatures, encode(Reveals(()))))
                request = write(tape.federation.operator, sid, "partial-sum", A1, body)
            refused(partial(tape.local.holders[A1].receive, request), RemoteProtocolError)
        tape.advance()
        assert_exact(tape, tape.finish(), tape.federation.names)


def test_altered_reveals_get_no_partial_sum() -> None:
    tape = play(federation()).until("partial-sum")
    request, size = tape.requests["partial-sum"][A1], commitment_bytes(tape.aggregator.config)
    for place in (0, size * 5, size * 11 + 7):
        altered = forge(request, tape.federation.operator, bulk=flipped(bulk_of(request), place))
        refused(partial(tape.local.holders[A1].receive, altered), BadCommitment)
    for bulk in (b"", bulk_of(request)[:-size], bulk_of(request) + bytes(size)):
        altered = forge(request, tape.federation.operator, bulk=bulk)
        refused(partial(tape.local.holders[A1].receive, altered), MalformedMessage)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_partial_sum_is_given_out_once_whatever_is_asked() -> None:
    tape = play(federation(TWO_OF_4)).until("reveal-commitments")
    tape.answer_all()
    holder = tape.local.holders[A1]
    first = partial_sum_request(tape, A1, (A1, A2))
    assert holder.receive(first) == holder.receive(first)
    refused(lambda: holder.receive(partial_sum_request(tape, A1, (A1, A3))), RemoteProtocolError)


def test_different_advertisements_to_different_aggregators_join_nobody_unseen() -> None:
    """One aggregator is shown fewer: the set is of those that all have counted."""
    tape = play(federation()).until("collect-shares")
    request = tape.requests["collect-shares"][A1]

    def fewer(body: AdvertisementList) -> AdvertisementList:
        return replace(body, advertisements=tuple(i for i in body.advertisements if i.name != CHEAT))

    holder = tape.local.holders[A1]
    tape.deliver(holder.receive(edit(request, tape.federation.operator, AdvertisementList, fewer)))
    tape.answer_all(but=(A1,))
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items[:3],
        lambda items: items[::-1],
        lambda items: (*items, items[-1]),
        lambda items: (),
        lambda items: (replace(items[0], signature=bytes(64)), *items[1:]),
        lambda items: (replace(items[0], name="c00"), *items[1:]),
    ],
)
def test_an_unfit_list_of_advertisements_is_refused(
    change: Callable[[tuple[SignedAdvertisement, ...]], tuple[SignedAdvertisement, ...]],
) -> None:
    tape = play(federation()).until("collect-shares")
    request = tape.requests["collect-shares"][A1]
    wrong = edit(
        request,
        tape.federation.operator,
        AdvertisementList,
        lambda body: replace(body, advertisements=change(body.advertisements)),
    )
    with pytest.raises((RemoteProtocolError, TooFewClients)):
        tape.local.holders[A1].receive(wrong)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_first_request_that_is_refused_may_come_again_with_the_same_advertisements_only() -> None:
    tape = play(federation()).until("collect-shares")
    request, holder = tape.requests["collect-shares"][A1], tape.local.holders[A1]
    wrong = edit(request, tape.federation.operator, AdvertisementList, lambda body: replace(body, backend=b"more"))
    refused(partial(holder.receive, wrong), MalformedMessage)
    fewer = edit(
        request,
        tape.federation.operator,
        AdvertisementList,
        lambda body: replace(body, advertisements=body.advertisements[1:]),
    )
    refused(partial(holder.receive, fewer), WrongContext)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_dropped_aggregator_of_all_can_t_be_done_without() -> None:
    tape = play(federation()).until("partial-sum")
    tape.answer_all(but=(A3,))
    refused(tape.advance, OperatorLost, A3)


@pytest.mark.parametrize("sender", [A2, "keyholder-1", "mallory", "c000"])
def test_nobody_but_the_coordinator_who_began_is_answered(sender: str) -> None:
    tape = play(federation()).until("consistency")
    request = forge(tape.requests["consistency"][A1], identity(sender), sender=sender)
    refused(lambda: tape.local.holders[A1].receive(request), UnknownSender)


def test_an_aggregator_can_t_coordinate_a_round_that_it_holds_shares_of() -> None:
    where = federation()
    config = where.config()
    request = write(identity(A2), config.context, "begin", A1, config.to_bytes(), where.setup)
    refused(lambda: where.share_holder(A1).receive(request), BadKey, A2)
    joining = write(identity(A2), config.context, "advertise", "c000", config.to_bytes(), where.setup)
    refused(lambda: where.client("c000").join(joining, where.updates["c000"]), BadKey, A2)


def test_a_round_whose_pins_differ_is_not_begun() -> None:
    where = federation()
    other = federation(policy_changes={"min_clients": 4})
    config = msgspec.structs.replace(other.config(), setup=where.config().setup)
    request = write(where.operator, config.context, "begin", A1, config.to_bytes(), where.setup)
    refused(lambda: where.share_holder(A1).receive(request), TrustError)
    config = where.config()
    forged = write(where.operator, bytes(32), "begin", A1, config.to_bytes(), where.setup)
    refused(lambda: where.share_holder(A1).receive(forged), WrongContext)


# --- the difference of two rounds -----------------------------------------------------------------------------


def sums_of(evidence: Evidence) -> np.ndarray[Any, np.dtype[np.int64]]:
    return evidence.sums[: evidence.config.layout.committed].astype(np.int64)


def test_clients_that_forget_give_an_update_away_as_the_difference_of_two_sums() -> None:
    """The attack, on clients and aggregators that keep nothing durably: what the stores are for."""
    where = federation()
    evidence = [play(where).finish()]
    where.stores = {name: AttemptStore() for name in where.names}
    evidence.append(play(where, only(CHEAT, A1, lambda _: None), round=1).finish())
    difference = (sums_of(evidence[0]) - sums_of(evidence[1])).astype(np.uint32)
    out = np.empty(where.config().layout.committed, np.uint32)
    FixedPoint(where.policy).encode(where.updates[CHEAT], 1, bytes(32), out)
    assert np.array_equal(difference, out)


def joining(tape: Play, **changes: int) -> bytes:
    """The request to c000 to join another round or attempt from the same start model."""
    config = tape.federation.config(**changes)
    body, setup = config.to_bytes(), tape.federation.setup
    return write(tape.federation.operator, config.context, "advertise", "c000", body, setup)


@pytest.mark.parametrize("changes", [{"round": 1}, {"attempt": 1}])
def test_a_client_that_has_sent_shares_joins_nothing_more_from_this_start_model(changes: dict[str, int]) -> None:
    tape = play(federation())
    tape.finish()
    client = tape.federation.client("c000")
    refused(partial(client.join, joining(tape, **changes), tape.federation.updates["c000"]), TaskSpent)


def test_aggregators_that_have_signed_a_set_begin_no_other_attempt_at_its_round() -> None:
    tape = play(federation())
    tape.finish()
    for request in tape.federation.aggregator(attempt=1).start():
        for holder in (tape.local.holders[request.recipient], tape.federation.share_holder(request.recipient)):
            refused(partial(holder.receive, request.data), AlreadyReleased)


def test_a_client_is_bound_as_soon_as_its_letters_may_have_left() -> None:
    """Even if the round ends at once: whoever kept the letters has its shares."""
    tape = play(federation()).until("advertise")
    tape.answer("c000")
    client = tape.federation.client("c000")
    refused(partial(client.join, joining(tape, attempt=1), tape.federation.updates["c000"]), TaskSpent)


def test_after_the_model_has_moved_on_clients_join_again() -> None:
    where = federation()
    first = play(where)
    evidence = first.finish()
    record = Auditor(where.trust).verify(evidence).record
    first.local.deliver()
    second = play(where, round=1, start_model=record.result_model, previous_record=record.digest())
    assert_exact(second, second.finish(), where.names)
