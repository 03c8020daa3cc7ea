"""Malicious clients, aggregators and coordinators: refused, and proved where the docs say so; nobody honest is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.federation import bulk_of, channel, edit, forge, header_of, identity, replace
from support.shares.additive_round import (
    A1,
    A2,
    A3,
    A4,
    ALL_OF_3,
    CHEAT,
    NOBODY,
    OTHERS,
    SIZE,
    TWO_OF_4,
    Crooked,
    Play,
    assert_exact,
    blamed,
    cheating,
    commitment_bytes,
    federation,
    flipped,
    free_holder,
    hash_zero,
    long_holder,
    only,
    open_letter,
    partial_sum_request,
    play,
    plus,
    proof,
    refused,
    reseal,
    share_of,
    unit,
)

from mpc.keys import KeyPair
from mpc.ring import P, Vector, byte_view
from mpc.vector_shares import weighted_sum
from secure_agg.backends.additive import rules, shares, wire
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.backends.additive.wire import Collected, PartialSum, Refusal, Revealed
from secure_agg.backends.packed import Committed
from secure_agg.errors import (
    BadCommitment,
    BadKey,
    BadShare,
    BadSignature,
    DealerFault,
    DuplicateMessage,
    MalformedMessage,
    OperatorFault,
    PolicyViolation,
    RemoteProtocolError,
    TrustError,
    Unattributed,
    UnknownSender,
    VerificationError,
    WrongContext,
)
from secure_agg.protocol.fault import TWO_ADVERTISEMENTS
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Advertisement, decode, letter_digest
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from zk.commitment import Commitment

Change = Callable[[bytes], bytes | None]


# --- clients: letters -----------------------------------------------------------------------------------------


def other_value(long: bytes) -> bytes:
    value = (int.from_bytes(long[:4], "little") + 1) % P
    return value.to_bytes(4, "little") + long[4:]


WRONG_LONG: dict[str, Change] = {
    "another element": lambda data: reseal(data, long=other_value(open_letter(data).long)),
    "not canonical": lambda data: reseal(data, long=P.to_bytes(4, "little") + open_letter(data).long[4:]),
    "all bits set": lambda data: reseal(data, long=b"\xff" * len(open_letter(data).long)),
    "one element less": lambda data: reseal(data, long=open_letter(data).long[:-4]),
    "one element more": lambda data: reseal(data, long=open_letter(data).long + bytes(4)),
    "a byte less": lambda data: reseal(data, long=open_letter(data).long[:-1]),
    "another nonce": lambda data: reseal(data, small=flipped(open_letter(data).nonce)),
    "a key besides": lambda data: reseal(data, small=open_letter(data).nonce + bytes(32)),
    "no long share": lambda data: forge(data, identity(CHEAT), bulk=b""),
    "a key in its place": lambda data: forge(
        reseal(data, small=open_letter(data).nonce + bytes(32)), identity(CHEAT), bulk=b""
    ),
    "sealed bytes altered": lambda data: forge(data, identity(CHEAT), bulk=flipped(bulk_of(data))),
}
WRONG_FREE: dict[str, Change] = {
    "another seed": lambda data: reseal(data, small=open_letter(data).nonce + flipped(open_letter(data).seed)),
    "a short seed": lambda data: reseal(data, small=open_letter(data).nonce + open_letter(data).seed[:-1]),
    "no seed": lambda data: reseal(data, small=open_letter(data).nonce),
    "a long share in its place": lambda data: reseal(
        data, small=open_letter(data).nonce, long=bytes(4 * federation().config().layout.hashed)
    ),
    "a long share besides": lambda data: reseal(data, long=bytes(4 * federation().config().layout.hashed)),
    "nothing": lambda data: reseal(data, sealed=b""),
    "sealed for another aggregator": lambda data: reseal(data, bound=(header_of(data).session, CHEAT, "aggregator-9")),
    "sealed for another session": lambda data: reseal(data, bound=(bytes(32), CHEAT, header_of(data).recipient)),
    "sealed by another client": lambda data: reseal(
        data, bound=(header_of(data).session, "c000", header_of(data).recipient)
    ),
}


@pytest.mark.parametrize(
    ("long", "change"),
    [(True, change) for change in WRONG_LONG.values()] + [(False, change) for change in WRONG_FREE.values()],
    ids=[*WRONG_LONG, *WRONG_FREE],
)
def test_a_client_that_seals_a_wrong_share_is_proved_to_and_left_out(long: bool, change: Change) -> None:
    """A naive aggregator adds up whatever opens: the sum is then wrong, and nobody knows whose share made it so."""
    where = federation()
    aggregator = (long_holder if long else free_holder)(where.config(), CHEAT)
    tape = play(where, only(CHEAT, aggregator, change))
    assert_exact(tape, tape.finish(), OTHERS)
    error = tape.post.errors[CHEAT, aggregator]
    assert isinstance(error, BadShare)
    assert (error.culprit, error.phase) == (CHEAT, "share")
    assert blamed(tape) == [("bad-share", CHEAT)]


def other_key(data: bytes) -> bytes:
    return hashlib.sha256(open_letter(data).key).digest()


def hash_of(data: bytes, key: bytes) -> bytes:
    header = header_of(data)
    return wire.key_hash(header.session, header.sender, header.recipient, key)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        # Sealed with, and bound to, a key that its aggregator does not derive.
        (lambda data: reseal(data, seal_with=other_key(data), key_hash=hash_of(data, other_key(data))), BadKey),
        (lambda data: reseal(data, key_hash=bytes(32)), BadKey),
        (lambda data: reseal(data, ephemeral=KeyPair.from_secret(bytes(32)).public), BadKey),
        (lambda data: reseal(data, ephemeral=bytes(32)), BadKey),
        (lambda data: reseal(data, ephemeral=(1).to_bytes(32, "little")), BadKey),
        (lambda data: reseal(data, ephemeral=b"\xff" * 32), BadKey),
        (lambda data: reseal(data, ephemeral=channel(header_of(data).recipient).public), BadKey),
        (lambda data: reseal(data, ephemeral=bytes(31)), MalformedMessage),
        (lambda data: reseal(data, key_hash=b""), MalformedMessage),
        (lambda data: reseal(data, hashes=open_letter(data).letter.hashes + bytes(32)), MalformedMessage),
        (lambda data: reseal(data, hashes=open_letter(data).letter.hashes[:-32]), MalformedMessage),
        (lambda data: reseal(data, hashes=b""), MalformedMessage),
        (lambda data: forge(data, identity(CHEAT), body=b""), MalformedMessage),
    ],
)
def test_a_letter_that_its_aggregator_can_t_decide_on_leaves_its_client_out_and_accuses_nobody(
    change: Change, error: type[RemoteProtocolError]
) -> None:
    tape = play(federation(), only(CHEAT, A2, change))
    assert_exact(tape, tape.finish(), OTHERS)
    assert type(tape.post.errors[CHEAT, A2]) is error
    assert tape.post.errors[CHEAT, A2].culprit == CHEAT
    assert blamed(tape) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: forge(data, identity(CHEAT), recipient=A3), UnknownSender),
        (lambda data: forge(data, identity(CHEAT), recipient=""), UnknownSender),
        (lambda data: forge(data, identity("mallory"), sender="mallory"), UnknownSender),
        (lambda data: forge(data, identity("aggregator"), sender="aggregator"), UnknownSender),
        (lambda data: forge(data, identity("c000")), BadSignature),
        (lambda data: forge(data, None, body=header_of(data).body[:-1] + b"\0"), BadSignature),
        (lambda data: forge(data, identity(CHEAT), session=bytes(32)), WrongContext),
    ],
)
def test_a_letter_that_is_not_its_clients_is_refused_and_the_right_one_still_taken(
    change: Change, error: type[RemoteProtocolError]
) -> None:
    """Whoever sits on the line can't shut a client out by sending something in its name first."""
    tape = play(federation(), only(CHEAT, A2, lambda _: None)).until("collect-shares")
    letter = tape.post.letters[CHEAT, A2]
    refused(lambda: tape.local.holders[A2].receive(change(letter) or b""), error)
    tape.post.post(CHEAT, A2, letter)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_second_different_letter_is_refused_and_the_first_counts() -> None:
    tape = play(federation()).until("collect-shares")
    good = tape.post.letters[CHEAT, free_holder(tape.federation.config(), CHEAT)]
    second = reseal(good, small=open_letter(good).nonce + bytes(32))
    refused(lambda: tape.local.holders[header_of(good).recipient].receive(second), DuplicateMessage, CHEAT)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_after_a_refused_letter_no_other_is_taken() -> None:
    """Else a client could try until the aggregators differ."""
    where = federation()
    name = free_holder(where.config(), CHEAT)
    tape = play(where, only(CHEAT, name, WRONG_FREE["another seed"])).until("collect-shares")
    refused(lambda: tape.local.holders[name].receive(tape.post.letters[CHEAT, name]), DuplicateMessage, CHEAT)


@pytest.mark.parametrize("changes", [{"round": 1}, {"attempt": 1}, {"start_model": b"\1" * 32}])
def test_a_letter_of_another_round_or_attempt_is_not_taken(changes: dict[str, Any]) -> None:
    old = play(federation()).until("collect-shares")
    tape = play(federation(), lambda _client, _aggregator, _data: None, **changes).until("collect-shares")
    for (client, aggregator), letter in old.post.letters.items():
        refused(partial(tape.local.holders[aggregator].receive, letter), WrongContext, client)
    replayed = old.post.letters[CHEAT, free_holder(tape.federation.config(**changes), CHEAT)]
    sid = header_of(tape.post.letters[CHEAT, A1]).session
    signed_anew = forge(replayed, identity(CHEAT), session=sid)
    refused(lambda: tape.local.holders[header_of(replayed).recipient].receive(signed_anew), BadKey, CHEAT)


def test_a_copied_letter_or_advertisement_signed_anew_is_nobody_elses_share() -> None:
    """A naive scheme that does not bind shares to their client lets one client double another's update unseen."""
    tape = play(federation(), lambda c, _a, data: None if c == CHEAT else data).until("advertise")
    theirs = tape.answer("c000")
    tape.deliver(theirs)
    copied = forge(theirs, identity(CHEAT), sender=CHEAT)
    refused(lambda: tape.deliver(copied), DuplicateMessage, NOBODY)
    tape.answer_all(but=("c000",))
    for aggregator in (A1, A2, A3):
        letter = forge(tape.post.letters["c000", aggregator], identity(CHEAT), sender=CHEAT)
        refused(partial(tape.local.holders[aggregator].receive, letter), BadKey, CHEAT)
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)


def test_who_reads_anothers_share_can_t_pass_it_on_as_its_own() -> None:
    """An aggregator that shows a client another's share: sealed anew it is not what the hash was made of."""
    tape = play(federation(), lambda c, _a, data: None if c == CHEAT else data).until("collect-shares")
    config = tape.federation.config()
    name = free_holder(config, CHEAT)
    victim = next(
        c for c in OTHERS if free_holder(config, c) == name or not open_letter(tape.post.letters[c, name]).long
    )
    known = open_letter(tape.post.letters[victim, name])
    own = tape.post.letters[CHEAT, name]
    for hashes in (known.letter.hashes, open_letter(own).letter.hashes):
        stolen = reseal(own, small=known.nonce + known.seed, hashes=hashes)
        holder = federation().share_holder(name)
        holder.receive(tape.requests["begin"][name])
        refused(partial(holder.receive, stolen), BadShare, CHEAT)


# --- clients: advertisements ----------------------------------------------------------------------------------


def two_advertisements(tape: Play) -> tuple[bytes, bytes]:
    """Of a client that has lost its store in between."""
    forgetful = Client(identity(CHEAT), tape.federation.trust)
    second = forgetful.join(tape.requests["advertise"][CHEAT], tape.federation.updates["c000"])
    return tape.answer(CHEAT), second


def test_a_second_advertisement_is_refused_and_the_two_can_be_shown() -> None:
    tape = play(federation()).until("advertise")
    first, second = two_advertisements(tape)
    tape.deliver(first)
    with pytest.raises(DuplicateMessage):
        tape.deliver(second)
    assert blamed(tape) == [(TWO_ADVERTISEMENTS, CHEAT)]
    shown = proof(tape, TWO_ADVERTISEMENTS, CHEAT, identity(CHEAT).public, first, second)
    assert Auditor(tape.federation.trust).verify_fault(replace(shown, setup=b"")) == CHEAT


def test_letters_of_other_shares_than_the_advertised_are_proved() -> None:
    """A client without its store sends a second update to the aggregators."""
    where = federation()
    tape = play(where, lambda c, _a, data: None if c == CHEAT else data).until("advertise")
    tape.answer_all()
    forgetful = Client(identity(CHEAT), where.trust)
    forgetful.join(tape.requests["advertise"][CHEAT], where.updates["c000"])
    for letter in forgetful.outbox:
        tape.local.holders[letter.recipient].receive(letter.data)
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)
    assert blamed(tape) == [("two-commitments", CHEAT)] * 3


@pytest.mark.parametrize("hashes", [0, 1, 3, 5, 16])
def test_an_advertisement_with_another_number_of_hashes_is_refused(hashes: int) -> None:
    tape = play(federation()).until("advertise")
    good = tape.answer(CHEAT)

    def change(body: Advertisement) -> Advertisement:
        return replace(body, backend=bytes(range(32)) * hashes)

    refused(lambda: tape.deliver(edit(good, identity(CHEAT), Advertisement, change)), MalformedMessage, CHEAT)
    tape.deliver(good)


def test_an_advertisement_whose_commitment_hash_is_not_of_its_hashes_leaves_its_client_out() -> None:
    """Only the client's own aggregators notice: they hold other shares than those that the hash is of."""
    tape = play(federation()).until("advertise")
    good = tape.answer(CHEAT)
    tape.deliver(edit(good, identity(CHEAT), Advertisement, lambda body: replace(body, commitment_hash=bytes(32))))
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)
    assert blamed(tape) == [("two-commitments", CHEAT)] * 3


def test_a_client_that_advertises_hashes_which_its_commitment_hash_is_not_made_of_frames_no_aggregator() -> None:
    """The letters fit the commitment hash, the public hashes don't. Who compares reveals with the latter only when the
    set is signed holds every honest aggregator for a liar.
    """
    for options in (ALL_OF_3, TWO_OF_4):
        tape = play(federation(options)).until("advertise")
        good = tape.answer(CHEAT)
        hashes = bytes(32 * (options["aggregators"] + 1))
        tape.deliver(edit(good, identity(CHEAT), Advertisement, partial(replace, backend=hashes)))
        tape.answer_all(but=(CHEAT,))
        tape.advance()
        assert_exact(tape, tape.finish(), OTHERS)
        assert blamed(tape) == [("two-commitments", CHEAT)] * options["aggregators"]


# --- clients: shares that don't fit together ------------------------------------------------------------------


class OnNoPolynomial(Crooked):
    """One of its shares is off by one in one coordinate."""

    def changed(self, party: int, share: Vector) -> Vector:
        return plus(share, unit(share.size, 0)) if party == max(self._long) else share


def test_shares_on_no_polynomial_are_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each share fits its hash: only together they are wrong. A naive coordinator takes whichever sum it likes."""
    cheating(monkeypatch, OnNoPolynomial)
    tape = play(federation(TWO_OF_4))
    with pytest.raises(DealerFault) as caught:
        tape.finish()
    assert (caught.value.culprit, caught.value.phase) == (CHEAT, "reveal-commitments")
    assert blamed(tape) == [("bad-shares", CHEAT)]


def test_an_aggregator_gives_out_no_partial_sum_over_shares_on_no_polynomial(monkeypatch: pytest.MonkeyPatch) -> None:
    cheating(monkeypatch, OnNoPolynomial)
    tape = play(federation(TWO_OF_4)).until("reveal-commitments")
    tape.answer_all()
    request = partial_sum_request(tape, A1, (A1, A2, A3, A4))
    refused(lambda: tape.local.holders[A1].receive(request), BadCommitment, tape.federation.operator.name)


class NotCanonical(AdditiveClient):
    """Signs the hash of a commitment that is spelled in another way."""

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        hashes, strange = super().bind(commitment, nonce, vector), b"\xff" * commitment_bytes(self._config)
        self._hashes = rules.share_hash(self._config, self._name, 0, strange, self._nonce(0)) + hashes[32:]
        return self._hashes


def test_client_and_aggregator_together_get_no_commitment_through_that_is_not_canonical(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cheating(monkeypatch, NotCanonical)
    original = shares.open_share

    def lenient(*args: Any) -> shares.OpenedShare:
        try:
            return original(*args)
        except BadShare:
            header = args[6]
            nonce, _, _ = wire.unseal(args[8], args[2], args[3], args[5], header.hashes, header.sealed, args[7])
            strange = b"\xff" * commitment_bytes(args[0])
            return shares.OpenedShare(np.zeros(args[0].layout.hashed, np.uint32), strange, nonce)

    monkeypatch.setattr("secure_agg.backends.additive.shares.open_share", lenient)
    tape = play(federation())
    with pytest.raises(DealerFault) as caught:
        tape.finish()
    assert caught.value.culprit == CHEAT
    monkeypatch.undo()
    assert blamed(tape) == [("bad-shares", CHEAT)]


class AddsHashZero(AdditiveClient):
    """Adds a vector of hash zero to a long share after its hash is made: no equation notices."""

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        hashes = super().bind(commitment, nonce, vector)
        party = min(self._long)
        self._long[party] = plus(self._long[party], hash_zero(self._config))
        return hashes


class OutOfRange(AdditiveClient):
    """Commits to, and shares, a vector with an entry that no honest client has."""

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        policy = self._config.policy
        large = plus(vector, unit(vector.size, 3, policy.max_clients * policy.top + 1))
        return super().bind(rules.linear_hash(self._config, Committed(self._config).load(large)), nonce, large)


@pytest.mark.parametrize("how", [AddsHashZero, OutOfRange])
def test_what_no_equation_notices_stops_the_round_and_accuses_nobody(
    how: type[AdditiveClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the range check the result would be the attacker's: with it, it is none, and the docs say so."""
    cheating(monkeypatch, how)
    tape = play(federation())
    with pytest.raises(Unattributed) as caught:
        tape.finish()
    assert (caught.value.culprit, caught.value.phase) == (None, "partial-sum")
    assert tape.aggregator.evidence is None
    assert blamed(tape) == []
    assert {type(tape.post.errors.get((CHEAT, a))) for a in (A1, A2, A3)} == {type(None)}


# --- aggregators ----------------------------------------------------------------------------------------------


def partial_sum_of(tape: Play, aggregator: str, clients: Sequence[str]) -> bytes:
    length = tape.federation.config().layout.hashed
    vectors = [share_of(tape.post.letters[client, aggregator], length) for client in clients]
    return bytes(byte_view(weighted_sum(vectors, [1] * len(vectors))))


WRONG_SUMS: dict[str, Callable[[Play, bytes], bytes]] = {
    "of others": lambda tape, _: partial_sum_of(tape, A2, OTHERS),
    "of one client twice": lambda tape, _: partial_sum_of(tape, A2, [*tape.federation.names, CHEAT]),
    "of another aggregator": lambda tape, _: partial_sum_of(tape, A1, tape.federation.names),
    "altered": lambda _, good: other_value(good),
    "nothing": lambda _, good: bytes(len(good)),
}


@pytest.mark.parametrize("what", WRONG_SUMS)
def test_a_wrong_partial_sum_is_proved(what: str) -> None:
    """A naive coordinator adds it up; the sum is then wrong, or whatever its aggregator wants."""
    tape = play(federation()).until("partial-sum")
    good = tape.answer(A2)
    wrong = forge(good, identity(A2), bulk=WRONG_SUMS[what](tape, bulk_of(good)))
    tape.deliver(tape.answer(A1))
    with pytest.raises(OperatorFault) as caught:
        tape.deliver(wrong)
    assert (caught.value.culprit, caught.value.phase) == (A2, "partial-sum")
    assert blamed(tape) == [("bad-partial-sum", A2)]


@pytest.mark.parametrize("what", WRONG_SUMS)
def test_a_threshold_goes_on_without_an_aggregator_that_is_proved_wrong(what: str) -> None:
    tape = play(federation(TWO_OF_4)).until("partial-sum")
    good = tape.answer(A2)
    tape.deliver(forge(good, identity(A2), bulk=WRONG_SUMS[what](tape, bulk_of(good))))
    tape.answer_all(but=(A2,))
    tape.advance()
    assert tape.aggregator.evidence is not None
    assert_exact(tape, tape.aggregator.evidence, tape.federation.names)
    assert blamed(tape) == [("bad-partial-sum", A2)]


@pytest.mark.parametrize(
    "bulk", [lambda good: good[:-4], lambda good: good + bytes(4), lambda good: b"\xff" * len(good)]
)
def test_what_is_no_partial_sum_is_refused_and_the_right_one_still_taken(bulk: Callable[[bytes], bytes]) -> None:
    tape = play(federation()).until("partial-sum")
    good = tape.answer(A2)
    refused(lambda: tape.deliver(forge(good, identity(A2), bulk=bulk(bulk_of(good)))), MalformedMessage, A2)
    assert_exact(tape, tape.finish(), tape.federation.names)


@pytest.mark.parametrize("part", ["nonces", "commitments", "both of another client", "order"])
def test_a_wrong_reveal_is_proved(part: str) -> None:
    for options in (ALL_OF_3, TWO_OF_4):
        tape = play(federation(options)).until("reveal-commitments")
        good = tape.answer(A2)
        nonces, bulk = decode(Revealed, header_of(good).body, SIZE).nonces, bulk_of(good)
        one = commitment_bytes(tape.aggregator.config)
        if part == "nonces":
            nonces = flipped(nonces, 70)
        elif part == "commitments":
            bulk = flipped(bulk, 3 * one + 4)
        elif part == "order":
            nonces, bulk = nonces[32:64] + nonces[:32] + nonces[64:], bulk[one : 2 * one] + bulk[:one] + bulk[2 * one :]
        else:
            nonces, bulk = nonces[:32] * 2 + nonces[64:], bulk[:one] * 2 + bulk[2 * one :]
        wrong = edit(good, identity(A2), Revealed, partial(replace, nonces=nonces))
        wrong = forge(wrong, identity(A2), bulk=bulk)
        if options is ALL_OF_3:
            refused(partial(tape.deliver, wrong), OperatorFault, A2)
        else:
            tape.deliver(wrong)
            tape.answer_all(but=(A2,))
            tape.advance()
            assert_exact(tape, tape.finish(), tape.federation.names)
        assert blamed(tape) == [("bad-reveal", A2)]


def test_an_answer_about_another_set_than_the_signed_one_is_refused() -> None:
    for phase, kind in (("reveal-commitments", Revealed), ("partial-sum", PartialSum)):
        tape = play(federation()).until(phase)
        good = tape.answer(A2)
        wrong = edit(good, identity(A2), kind, lambda body: replace(body, root=bytes(32)))
        refused(partial(tape.deliver, wrong), MalformedMessage, A2)
        assert_exact(tape, tape.finish(), tape.federation.names)


def test_an_aggregator_that_claims_not_to_hold_a_share_can_leave_a_client_out_but_its_receipt_shows_it() -> None:
    tape = play(federation()).until("collect-shares")
    drop = edit(
        tape.answer(A2),
        identity(A2),
        Collected,
        lambda body: replace(body, accepted=tuple(name for name in body.accepted if name != CHEAT)),
    )
    tape.deliver(drop)
    tape.answer_all(but=(A2,))
    tape.advance()
    evidence = tape.finish()
    assert_exact(tape, evidence, OTHERS)
    auditor, receipts = Auditor(tape.federation.trust), tape.client(CHEAT).receipts
    assert receipts.keys() == {A1, A2, A3}
    assert {auditor.show_exclusion(receipt, evidence) for receipt in receipts.values()} == {CHEAT}
    for receipt in (
        tape.client("c000").receipts[A2],
        forge(receipts[A2], identity("mallory")),
        forge(receipts[A2], identity("mallory"), sender="mallory"),
        forge(receipts[A2], identity(A2), recipient="c000"),
        receipts[A2][:-1],
    ):
        refused(partial(auditor.show_exclusion, receipt, evidence), VerificationError)
    refused(lambda: Auditor().show_exclusion(receipts[A2], evidence), TrustError)


def test_an_aggregator_can_t_add_a_client_that_the_others_have_not() -> None:
    tape = play(federation(), only(CHEAT, A1, lambda _: None)).until("collect-shares")
    tape.answer_all(but=(A2,))
    tape.deliver(
        edit(tape.answer(A2), identity(A2), Collected, lambda b: replace(b, accepted=(*b.accepted, "c999", "mallory")))
    )
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: replace(body, accepted=body.accepted[::-1]),
        lambda body: replace(body, accepted=(*body.accepted, body.accepted[-1])),
        lambda body: replace(body, refused=(Refusal("c000", "", 1),)),
        lambda body: replace(body, refused=(Refusal("c000", "", 9), Refusal("c001", "", -9))),
        lambda body: replace(body, refused=(Refusal("c001", "", 0), Refusal("c000", "", 0))),
    ],
)
def test_a_malformed_count_is_refused(change: Callable[[Collected], Collected]) -> None:
    tape = play(federation()).until("collect-shares")
    refused(lambda: tape.deliver(edit(tape.answer(A2), identity(A2), Collected, change)), MalformedMessage, A2)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_proof_that_an_aggregator_makes_up_is_not_believed() -> None:
    """It signs a bad letter in the client's name with a key of its own: in itself the proof is right."""
    where = federation()
    name = free_holder(where.config(), CHEAT)
    tape = play(where).until("collect-shares")
    letter, impostor = tape.post.letters[CHEAT, name], Identity(CHEAT, bytes(32))
    bad = reseal(letter, small=open_letter(letter).nonce + bytes(32))
    made_up = proof(tape, rules.BAD_SHARE, CHEAT, impostor.public, forge(bad, impostor), open_letter(letter).key)
    assert Auditor().verify_fault(made_up) == CHEAT, "without pins anybody can be anybody"
    refused(lambda: Auditor(where.trust).verify_fault(made_up), TrustError, NOBODY)
    body = made_up.to_bytes()

    def accuse(answer: Collected) -> Collected:
        accepted = tuple(item for item in answer.accepted if item != CHEAT)
        return replace(answer, accepted=accepted, refused=(Refusal(CHEAT, "bad", len(body)),))

    tape.deliver(forge(edit(tape.answer(A2), identity(A2), Collected, accuse), identity(A2), bulk=body))
    tape.answer_all(but=(A2,))
    tape.advance()
    assert_exact(tape, tape.finish(), OTHERS)
    assert tape.aggregator.faults == (), "it names nobody who is innocent"


# --- receipts -------------------------------------------------------------------------------------------------


def test_a_client_keeps_only_receipts_for_what_it_has_sent() -> None:
    tape = play(federation(), lambda _c, _a, _data: None).until("collect-shares")
    client, letter = tape.client(CHEAT), tape.post.letters[CHEAT, A1]
    receipt = tape.local.holders[A1].receive(letter)
    other = tape.local.holders[A2].receive(tape.post.letters["c000", A2])
    for wrong, error in (
        (other, UnknownSender),
        (forge(receipt, identity("mallory")), BadSignature),
        (forge(receipt, identity(A2), sender=A2), PolicyViolation),
        (forge(receipt, identity("aggregator"), sender="aggregator"), RemoteProtocolError),
        (forge(receipt, identity(A1), session=bytes(32)), WrongContext),
        (forge(receipt, identity(A1), body=b""), MalformedMessage),
    ):
        refused(partial(client.receive, wrong), error)
    assert client.receipts == {}
    client.receive(receipt)
    assert client.receipts == {A1: receipt}
    assert letter_digest(header_of(letter).body, header_of(letter).bulk_digest) in receipt
