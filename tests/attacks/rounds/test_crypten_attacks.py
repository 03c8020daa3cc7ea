"""Clients and parties that cheat in rounds of backend ``crypten``: left out or stopped, and never a wrong result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from support.federation import bulk_of, channel, edit, forge, header_of, identity, replace
from support.shares.additive_round import only
from support.shares.crypten_round import (
    A1,
    A2,
    A3,
    MEDIAN,
    PARTIES,
    Session,
    assert_left_out,
    federation,
    free_holder,
    long_holder,
    open_letter,
    play,
    reseal,
    sharing,
)

from mpc.ring import P, Vector, byte_view, from_bytes
from mpc.words import words_from_bytes, words_to_bytes
from secure_agg.backends.crypten.wire import Collected, Computed, Held, Verdicts, open_opening, seal_opening
from secure_agg.errors import (
    BadKey,
    BadShare,
    BadSignature,
    DuplicateMessage,
    MalformedMessage,
    OperatorLost,
    RemoteProtocolError,
    SecureAggError,
    TooFewClients,
    Unattributed,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol import agreement
from secure_agg.protocol.messages import Signature, Statement, decode, encode
from secure_agg.roles.client.client import Client

CHEAT = "c002"


# --- clients: letters -----------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def held_back(client: str, _party: str, data: bytes) -> bytes | None:
    return None if client == CHEAT else data


def other_pad(data: bytes) -> bytes:
    opened = open_letter(data)
    return reseal(data, small=flipped(opened.pad) + opened.seed)


def other_opening(data: bytes) -> bytes:
    return reseal(data, opening=flipped(open_letter(data).letter.opening))


@pytest.mark.parametrize("change", [other_pad, other_opening], ids=["pad", "opening"])
@pytest.mark.parametrize("holder", [long_holder, free_holder], ids=["long", "free"])
def test_a_client_whose_letters_give_no_common_opening_is_left_out(
    holder: Callable[..., str], change: Callable[[bytes], bytes]
) -> None:
    where = federation()
    assert_left_out(play(where, only(CHEAT, holder(where.config(), CHEAT), change)), CHEAT)


@pytest.mark.parametrize("what", ["another nonce", "another commitment", "no canonical commitment", "not sealed"])
def test_a_client_whose_opening_is_of_something_else_is_left_out(what: str) -> None:
    """All its letters hold the same opening: not of what was hashed."""
    tape = play(federation(), held_back).until("collect-shares")
    letters = {party: tape.post.letters[CHEAT, party] for party in PARTIES}
    sid, pads = header_of(letters[A1]).session, [open_letter(letters[party]).pad for party in PARTIES]
    commitment, nonce = open_opening(pads, sid, CHEAT, open_letter(letters[A1]).letter.opening)
    if what == "another nonce":
        nonce = flipped(nonce)
    elif what == "another commitment":
        commitment = bytes([commitment[0] ^ 1]) + commitment[1:]
    elif what == "no canonical commitment":
        commitment = b"\xff" * 4 + commitment[4:]
    opening = seal_opening(pads, sid, CHEAT, commitment, nonce)
    if what == "not sealed":
        opening = bytes(len(opening))
    for party in PARTIES:
        tape.local.holders[party].receive(reseal(letters[party], opening=opening))
    assert_left_out(tape, CHEAT)


def test_of_two_clients_with_one_commitment_the_second_is_left_out() -> None:
    """Verifiers refuse a commitment that is there twice: two clients that collude could end every round with one."""
    tape = play(federation())
    for name in (CHEAT, "c003"):
        tape.federation.updates[name] = tape.federation.updates[CHEAT]
        client = Client(identity(name), tape.federation.trust, entropy=lambda size: b"s" * size)
        tape.local.clients = {**tape.local.clients, name: client}
    tape.until("filter")
    commitments = {joined._commitment for name in (CHEAT, "c003") if (joined := tape.client(name)._joined)}
    assert len(commitments) == 1
    assert_left_out(tape, "c003")


@pytest.mark.parametrize("holder", [long_holder, free_holder], ids=["long", "free"])
@pytest.mark.parametrize("parties", ["one", "all"])
def test_a_client_whose_letters_name_another_commitment_hash_than_it_advertised_is_left_out(
    holder: Callable[..., str], parties: str
) -> None:
    where = federation()
    party = holder(where.config(), CHEAT)

    def alter(client: str, to: str, data: bytes) -> bytes:
        if client == CHEAT and (parties == "all" or to == party):
            return reseal(data, commitment_hash=bytes(32))
        return data

    tape = play(where, alter).until("filter")
    for name in PARTIES:
        answer = decode(Collected, header_of(tape.responses["collect-shares"][name]).body, 1 << 20)
        refused = [item.name for item in answer.refused]
        assert refused == ([CHEAT] if parties == "all" or name == party else [])
        assert {item.name for item in answer.accepted} == set(where.names) - set(refused)
    assert_left_out(tape, CHEAT)


LONG: Mapping[str, tuple[Callable[[bytes], bytes], type[RemoteProtocolError]]] = {
    "a share too short": (lambda d: reseal(d, long=open_letter(d).long[:-8]), BadShare),
    "a share too long": (lambda d: reseal(d, long=open_letter(d).long + bytes(8)), BadShare),
    "no share": (lambda d: reseal(d, long=b""), BadShare),
    "a seed beside a long share": (lambda d: reseal(d, small=open_letter(d).pad + bytes(32)), BadShare),
    "a share that does not open": (lambda d: forge(d, identity(CHEAT), bulk=flipped(bulk_of(d))), BadShare),
}
FREE: Mapping[str, tuple[Callable[[bytes], bytes], type[RemoteProtocolError]]] = {
    "a long share for a free one": (lambda d: reseal(d, long=bytes(64)), BadShare),
    "no seed": (lambda d: reseal(d, small=open_letter(d).pad), BadShare),
    "a seed too short": (lambda d: reseal(d, small=open_letter(d).pad + bytes(31)), BadShare),
    "a seed too long": (lambda d: reseal(d, small=open_letter(d).pad + bytes(33)), BadShare),
    "nothing sealed": (lambda d: reseal(d, sealed=b""), BadShare),
    "sealed under another key": (lambda d: reseal(d, sealed=flipped(open_letter(d).letter.sealed)), BadShare),
    "bound to another key": (lambda d: reseal(d, key_hash=bytes(32)), BadKey),
    "a key of low order": (lambda d: reseal(d, ephemeral=bytes(32)), BadKey),
    "a key of 31 bytes": (lambda d: reseal(d, ephemeral=bytes(31)), BadKey),
    "another's key": (lambda d: reseal(d, ephemeral=channel("somebody").public), BadKey),
    "a short hash": (lambda d: reseal(d, commitment_hash=bytes(31)), MalformedMessage),
    "a short opening": (lambda d: reseal(d, opening=open_letter(d).letter.opening[:-1]), MalformedMessage),
    "a long opening": (lambda d: reseal(d, opening=open_letter(d).letter.opening + b"x"), MalformedMessage),
    "trailing bytes": (lambda d: forge(d, identity(CHEAT), body=header_of(d).body + b"\0"), MalformedMessage),
    "another message": (lambda d: forge(d, identity(CHEAT), body=encode(Verdicts((True,)))), MalformedMessage),
    "another session": (lambda d: forge(d, identity(CHEAT), session=bytes(32)), WrongContext),
    "somebody else's signature": (lambda d: forge(d, identity("c003")), BadSignature),
}


@pytest.mark.parametrize("what", [*LONG, *FREE])
def test_a_letter_that_is_not_in_order_is_refused_and_its_client_left_out(what: str) -> None:
    where = federation()
    party = (long_holder if what in LONG else free_holder)(where.config(), CHEAT)
    change, error = {**LONG, **FREE}[what]
    tape = play(where, only(CHEAT, party, change)).until("collect-shares")
    assert type(tape.post.errors[CHEAT, party]) is error
    if error is not WrongContext:
        assert tape.post.errors[CHEAT, party].culprit == CHEAT
    if what in ("a share too short", "a key of low order"):  # all go on alike: two see it to the end
        assert_left_out(tape, CHEAT)
    elif error not in (WrongContext, BadSignature):  # nothing that is certainly this client's binds it
        with pytest.raises(DuplicateMessage):
            tape.local.holders[party].receive(tape.post.letters[CHEAT, party])


def test_a_second_letter_is_refused_and_the_first_counts() -> None:
    tape = play(federation()).until("collect-shares")
    first = tape.post.letters[CHEAT, A1]
    assert tape.local.holders[A1].receive(first) == tape.client(CHEAT).receipts[A1]
    with pytest.raises(DuplicateMessage) as caught:
        tape.local.holders[A1].receive(other_pad(first))
    assert caught.value.culprit == CHEAT
    assert_left_out(tape)


@pytest.mark.parametrize("phase", ["filter", "consistency", "partial-sum"])
def test_a_letter_that_comes_after_the_shares_were_counted_is_refused(phase: str) -> None:
    tape = play(federation(), only(CHEAT, A2, lambda _: None)).until(phase)
    with pytest.raises(WrongPhase) as caught:
        tape.local.holders[A2].receive(tape.post.letters[CHEAT, A2])
    assert caught.value.culprit == CHEAT
    assert_left_out(tape, CHEAT)


def test_with_too_few_openings_nobody_is_judged() -> None:
    tape = play(federation(), lambda c, a, data: other_pad(data) if c < "c002" and a == A2 else data).until(
        "collect-shares"
    )
    tape.answer_all()
    with pytest.raises(TooFewClients) as caught:
        tape.advance()
    assert caught.value.phase == "filter"


def test_a_share_of_something_else_in_range_stops_the_sum() -> None:
    """Known limit: what is in range and small is accepted, and then the sum is not what was committed to."""
    with pytest.MonkeyPatch.context() as patch:
        sharing(patch, {CHEAT: lambda _, vector: vector.__setitem__(0, vector[0] ^ np.uint64(1))})
        tape = play(federation())
        with pytest.raises(Unattributed):
            tape.finish()
    assert tape.aggregator.evidence is None


# --- parties: their answers -----------------------------------------------------------------------------------


def assert_stopped(tape: Session, answers: Sequence[bytes], error: type[SecureAggError], culprit: str | None) -> None:
    """One of these answers is refused, and there is no result without its sender."""
    with pytest.raises(error) as caught:
        tape.hear(answers)
    assert type(caught.value) is error
    assert caught.value.culprit == culprit
    assert tape.aggregator.evidence is None
    if tape.phase != "aborted":
        with pytest.raises(OperatorLost):
            tape.advance()
    assert tape.aggregator.evidence is None


@pytest.mark.parametrize("liar", range(3))
def test_parties_that_differ_in_whom_they_accept_stop_the_round_and_no_honest_one_is_blamed(liar: int) -> None:
    tape = play(federation()).until("filter")
    answers = tape.ask()
    name = PARTIES[liar]
    answers[liar] = edit(answers[liar], identity(name), Verdicts, lambda v: Verdicts((*v.accepted[:4], False)))
    assert_stopped(tape, answers, Unattributed, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: edit(d, identity(A2), Verdicts, lambda v: Verdicts(v.accepted[:4])),
        lambda d: edit(d, identity(A2), Verdicts, lambda v: Verdicts((*v.accepted, True))),
        lambda d: edit(d, identity(A2), Verdicts, lambda v: Verdicts(())),
        lambda d: forge(d, identity(A2), bulk=b"more"),
        lambda d: forge(d, identity(A2), body=header_of(d).body + b"\0"),
        lambda d: forge(d, identity(A2), body=encode(Statement(()))),
    ],
    ids=["fewer", "more", "none", "a bulk", "trailing", "something else"],
)
def test_verdicts_of_another_form_are_refused(change: Callable[[bytes], bytes]) -> None:
    tape = play(federation()).until("filter")
    answers = tape.ask()
    assert_stopped(tape, [answers[0], change(answers[1]), answers[2]], MalformedMessage, A2)


def _sum_plus(data: bytes, place: int, value: int) -> bytes:
    words = words_from_bytes(bulk_of(data), len(bulk_of(data)) // 8).copy()
    at = place % words.size
    words[at : at + 1] += np.uint64(value % 2**64)
    return forge(data, identity(A2), bulk=bytes(words_to_bytes(words)))


@pytest.mark.parametrize("value", [1, -1, P, -P, 1 << 32, 1 << 63])
@pytest.mark.parametrize("place", [0, -1])
def test_a_wrong_partial_sum_stops_the_round(place: int, value: int) -> None:
    tape = _at_partial_sum()
    answers = tape.ask()
    answers[1] = _sum_plus(answers[1], place, value)
    assert_stopped(tape, answers, Unattributed, None)


def _at_partial_sum() -> Session:
    return play(federation(n=3)).until("partial-sum")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: forge(d, identity(A2), bulk=bulk_of(d)[:-8]),
        lambda d: forge(d, identity(A2), bulk=bulk_of(d) + bytes(8)),
        lambda d: forge(d, identity(A2), bulk=b""),
        lambda d: forge(d, identity(A2), body=b"\x90"),
    ],
    ids=["shorter", "longer", "empty", "with a body"],
)
def test_partial_sums_of_another_form_are_refused(change: Callable[[bytes], bytes]) -> None:
    tape = _at_partial_sum()
    answers = tape.ask()
    assert_stopped(tape, [answers[0], change(answers[1]), answers[2]], MalformedMessage, A2)


@pytest.mark.parametrize(
    "change",
    [
        lambda a, _: replace(a, accepted=a.accepted[::-1]),
        lambda a, _: replace(a, accepted=(*a.accepted[:4], a.accepted[3])),
        lambda a, _: replace(a, accepted=a.accepted[:4]),
        lambda a, _: replace(a, accepted=(*a.accepted[:4], Held("c004", bytes(31)))),
    ],
    ids=["out of order", "one twice", "an opening too many", "a short pad"],
)
def test_a_count_of_another_form_is_refused_and_changes_nothing(change: Callable[..., Collected]) -> None:
    tape = play(federation()).until("collect-shares")
    answers = tape.ask()
    tape.deliver(answers[0])
    with pytest.raises(MalformedMessage) as caught:
        tape.deliver(edit(answers[1], identity(A2), Collected, lambda a: change(a, None)))
    assert caught.value.culprit == A2
    tape.hear(answers[1:])
    assert_left_out(tape)


def test_a_party_that_gives_out_another_pad_or_denies_a_share_has_that_client_left_out() -> None:
    tape = play(federation()).until("collect-shares")
    first, second, third = tape.ask()
    lie = edit(
        second, identity(A2), Collected, lambda a: replace(a, accepted=(Held("c000", bytes(32)), *a.accepted[1:]))
    )
    tape.hear((first, lie, third))
    assert_left_out(tape, "c000")


# --- parties: attested results --------------------------------------------------------------------------------


def attest(data: bytes, name: str, result: Vector, *, signer: str | None = None, root: bytes = b"") -> bytes:
    """A party's answer of phase compute with another result, signed rightly by it."""
    session = header_of(data).session
    signed = identity(signer or name).sign(agreement.attested_bytes(session, root, result))
    body = encode(Computed(Signature(signer or name, signed)))
    return forge(data, identity(name), body=body, bulk=bytes(byte_view(result)))


@pytest.fixture(scope="module")
def computed() -> tuple[Callable[[], Session], list[bytes]]:
    """A median round whose parties have answered; and how to have the coordinator again before it hears them."""
    tape = play(federation(MEDIAN)).until("compute")
    answers = tape.ask()
    log = [dict(tape.responses[phase]) for phase in ("begin", "advertise", "collect-shares", "filter", "consistency")]

    def again() -> Session:
        """The coordinator is deterministic: it is given the same messages."""
        other = Session(tape.federation, tape.federation.round())
        other.open(other.aggregator.start())
        for said in log:
            for data in said.values():
                other.aggregator.receive(data)
            other.advance()
        return other

    return again, answers


def test_the_median_comes_out_of_the_parties_own_answers(
    computed: tuple[Callable[[], Session], list[bytes]],
) -> None:
    again, answers = computed
    tape = again()
    tape.hear(answers)
    assert tape.aggregator.evidence is not None


@pytest.mark.parametrize("liar", range(3))
def test_parties_that_differ_in_the_result_stop_the_round_and_no_honest_one_is_blamed(
    liar: int, computed: tuple[Callable[[], Session], list[bytes]]
) -> None:
    again, honest = computed
    tape, answers = again(), list(honest)
    statement = decode(Statement, header_of(tape.requests["consistency"][A1]).body, 1 << 20)
    root = agreement.Agreement().root(statement)
    result = from_bytes(bulk_of(answers[liar])).copy()
    assert attest(answers[liar], PARTIES[liar], result, root=root) == answers[liar], "signatures are deterministic"
    result[0] += np.uint32(1)
    answers[liar] = attest(answers[liar], PARTIES[liar], result, root=root)
    assert_stopped(tape, answers, Unattributed, None)


def _other_attestation(data: bytes, **changes: Any) -> bytes:
    return edit(data, identity(A2), Computed, lambda c: Computed(replace(c.attestation, **changes)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: attest(d, A2, from_bytes(bulk_of(d)), root=bytes(32)), BadSignature),
        (lambda d: _other_attestation(d, signature=bytes(64)), BadSignature),
        (lambda d: _other_attestation(d, signature=identity(A2).sign(b"result")), BadSignature),
        (lambda d: _other_attestation(d, name=A3), MalformedMessage),
        (lambda d: attest(d, A2, from_bytes(bulk_of(d)), signer=A3), MalformedMessage),
        (lambda d: forge(d, identity(A2), bulk=bulk_of(d)[:-4]), MalformedMessage),
        (lambda d: forge(d, identity(A2), bulk=b"\xff" * 4 + bulk_of(d)[4:]), MalformedMessage),
        (lambda d: forge(d, identity(A2), bulk=b""), MalformedMessage),
        (lambda d: forge(d, identity(A2), body=b""), MalformedMessage),
    ],
    ids=[
        "another set",
        "zeros",
        "other bytes",
        "another name",
        "as another",
        "short",
        "not canonical",
        "none",
        "no body",
    ],
)
def test_a_party_that_attests_something_else_is_named(
    change: Callable[[bytes], bytes],
    error: type[RemoteProtocolError],
    computed: tuple[Callable[[], Session], list[bytes]],
) -> None:
    again, answers = computed
    assert_stopped(again(), [answers[0], change(answers[1]), answers[2]], error, A2)


@pytest.mark.parametrize(
    ("place", "value"), [(0, 1 << 16), (13, 0), (13, 2), (14, 1), (-1, 1)], ids=["value", "none", "two", "s", "end"]
)
def test_what_all_parties_attest_has_to_be_a_possible_result(
    place: int, value: int, computed: tuple[Callable[[], Session], list[bytes]]
) -> None:
    again, honest = computed
    tape = again()
    root = agreement.Agreement().root(decode(Statement, header_of(tape.requests["consistency"][A1]).body, 1 << 20))
    result = from_bytes(bulk_of(honest[0])).copy()
    result[place] = value
    answers = [attest(data, name, result, root=root) for data, name in zip(honest, PARTIES, strict=True)]
    with pytest.raises(Unattributed):
        tape.hear(answers)
    assert tape.aggregator.evidence is None
