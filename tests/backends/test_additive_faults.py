"""Proofs of fault and evidence of rounds among aggregators: what they show, and that they never show it of the
innocent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from support.federation import Federation, Tape, bulk_of, channel, edit, forge, header_of, identity, replace
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
    Crooked,
    Play,
    cheating,
    commitment_bytes,
    federation,
    flipped,
    free_holder,
    only,
    open_letter,
    partial_sum_request,
    play,
    plus,
    proof,
    refused,
    reseal,
    statement_of,
    unit,
)

from mpc.ring import Vector, from_bytes
from mpc.vector_shares import weighted_sum
from secure_agg.backends.additive import faults, openings, rules
from secure_agg.backends.additive.wire import OpenedShares, Revealed
from secure_agg.backends.contract import session_id
from secure_agg.backends.contract.setup import AggregatorSet, ChannelKey
from secure_agg.errors import (
    DealerFault,
    DuplicateMessage,
    OperatorFault,
    SecureAggError,
    TrustError,
    VerificationError,
)
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.config import Option
from secure_agg.protocol.evidence import CohortMember, Evidence
from secure_agg.protocol.fault import TWO_ADVERTISEMENTS, FaultProof
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    Advertisement,
    AdvertisementList,
    Opening,
    Signature,
    SignedAdvertisement,
    Statement,
    StatementEntry,
    decode,
    encode,
)
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import TaskTrust, Trust

RULE = rules.SignedByAggregators()


class Shown(NamedTuple):
    """A proof, and the round that it is of."""

    proof: FaultProof
    tape: Play

    @property
    def auditor(self) -> Auditor:
        return Auditor(self.tape.federation.trust)


# --- a proof of every kind, as the protocol makes it ----------------------------------------------------------


def bad_share() -> Play:
    where = federation()
    name = free_holder(where.config(), CHEAT)
    tape = play(where, only(CHEAT, name, lambda data: reseal(data, small=open_letter(data).nonce + bytes(32))))
    tape.finish()
    return tape


def two_commitments() -> Play:
    tape = play(federation(), lambda c, _a, data: None if c == CHEAT else data).until("advertise")
    tape.answer_all()
    forgetful = Client(identity(CHEAT), tape.federation.trust)
    forgetful.join(tape.requests["advertise"][CHEAT], tape.federation.updates["c000"])
    for letter in forgetful.outbox:
        tape.local.holders[letter.recipient].receive(letter.data)
    tape.advance()
    tape.finish()
    return tape


class OnNoPolynomial(Crooked):
    """One of its shares is off by one in one coordinate."""

    def changed(self, party: int, share: Vector) -> Vector:
        return plus(share, unit(share.size, 0)) if party == max(self._long) else share


def bad_shares() -> Play:
    with pytest.MonkeyPatch.context() as patch:
        cheating(patch, OnNoPolynomial)
        tape = play(federation(TWO_OF_4))
        refused(tape.finish, DealerFault, CHEAT)
    return tape


def bad_reveal() -> Play:
    tape = play(federation()).until("reveal-commitments")
    good = tape.answer(A2)
    refused(partial(tape.deliver, forge(good, identity(A2), bulk=flipped(bulk_of(good)))), OperatorFault, A2)
    return tape


def bad_partial_sum() -> Play:
    tape = play(federation()).until("partial-sum")
    good = tape.answer(A2)
    refused(partial(tape.deliver, forge(good, identity(A2), bulk=bytes(len(bulk_of(good))))), OperatorFault, A2)
    return tape


def two_sets() -> tuple[Play, FaultProof]:
    """Shown by whoever has come by both: no message of an honest round holds them."""
    tape = play(federation()).until("consistency")
    where, whole = tape.federation, statement_of(tape)
    config, other = where.config(), where.config(attempt=1)
    smaller = Statement(whole.entries[1:])
    signed = [
        (statement, identity(A2).sign(RULE.signed_bytes(session_id(setting, None), statement)))
        for setting, statement in ((config, whole), (other, smaller))
    ]
    return tape, faults.two_sets(config, where.setup, A2, identity(A2).public, signed[0], other, signed[1])


def two_advertisements() -> tuple[Play, FaultProof]:
    tape = play(federation()).until("advertise")
    forgetful = Client(identity(CHEAT), tape.federation.trust)
    second = forgetful.join(tape.requests["advertise"][CHEAT], tape.federation.updates["c000"])
    exhibits = (tape.answer(CHEAT), second)
    return tape, proof(tape, TWO_ADVERTISEMENTS, CHEAT, identity(CHEAT).public, *exhibits, setup=b"")


MADE: dict[str, Callable[[], Play]] = {
    rules.BAD_SHARE: bad_share,
    rules.TWO_COMMITMENTS: two_commitments,
    rules.BAD_SHARES: bad_shares,
    rules.BAD_REVEAL: bad_reveal,
    rules.BAD_PARTIAL_SUM: bad_partial_sum,
}
PUT_TOGETHER = {rules.TWO_SETS: two_sets, TWO_ADVERTISEMENTS: two_advertisements}
KINDS = [*MADE, *PUT_TOGETHER]


@functools.cache
def shown(kind: str) -> Shown:
    if kind in PUT_TOGETHER:
        tape, made = PUT_TOGETHER[kind]()
        return Shown(made, tape)
    tape = MADE[kind]()
    return Shown(tape.aggregator.faults[0], tape)


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_convinces_whoever_has_pinned_the_parties(kind: str) -> None:
    found, tape = shown(kind)
    data = found.to_bytes()
    assert FaultProof.is_one(data)
    again = FaultProof.from_bytes(data)
    assert (again, again.kind) == (found, kind)
    culprit = A2 if kind in (rules.BAD_REVEAL, rules.BAD_PARTIAL_SUM, rules.TWO_SETS) else CHEAT
    assert Auditor(tape.federation.trust).verify_fault(again) == culprit
    assert Auditor().verify_fault(again) == culprit


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_is_nothing_to_whoever_has_pinned_another_key_or_policy(kind: str) -> None:
    found, tape = shown(kind)
    where = tape.federation
    keys = {name: identity(name).public for name in where.names}
    operators = dict(where.trust.operators)
    for changed in (keys, operators):
        if found.culprit in changed:
            changed[found.culprit] = identity("mallory").public
    other_key = Trust({"task": TaskTrust(Roster(keys), where.policy)}, Roster(operators))
    other_policy = Trust({"task": TaskTrust(where.roster, federation(n=6).policy)}, where.trust.operators)
    for trust in (other_key, other_policy, Trust({}, where.trust.operators)):
        refused(partial(Auditor(trust).verify_fault, found), TrustError)


@pytest.mark.parametrize("kind", KINDS)
def test_no_altered_exhibit_proves_anything(kind: str) -> None:
    found, tape = shown(kind)
    auditor, rng = Auditor(tape.federation.trust), np.random.default_rng(5)
    for number, exhibit in enumerate(found.exhibits):
        places = {0, len(exhibit) // 2, len(exhibit) - 1, *rng.integers(0, len(exhibit), 12).tolist()}
        changes = [flipped(exhibit, place) for place in sorted(places)]
        changes += [exhibit[:-1], exhibit + b"\0", b"", *found.exhibits[:number], *found.exhibits[number + 1 :]]
        for altered in changes:
            if altered == exhibit:
                continue
            exhibits = (*found.exhibits[:number], altered, *found.exhibits[number + 1 :])
            refused(partial(auditor.verify_fault, replace(found, exhibits=exhibits)), VerificationError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_of_one_party_is_none_of_another_and_none_of_another_kind_or_round(kind: str) -> None:
    found, tape = shown(kind)
    auditor, where = Auditor(tape.federation.trust), tape.federation
    for name in (*where.names, *where.share_holder_names, "aggregator", "mallory"):
        if name != found.culprit:
            for public in (identity(name).public, found.public):
                refused(partial(auditor.verify_fault, replace(found, culprit=name, public=public)), VerificationError)
                refused(partial(Auditor().verify_fault, replace(found, culprit=name, public=public)), VerificationError)
    for other in (*KINDS, "", "bad-luck"):
        if other != kind:
            refused(partial(auditor.verify_fault, replace(found, kind=other)), VerificationError)
    for config in (where.config(round=3), where.config(attempt=2), where.config(start_model=b"\1" * 32)):
        refused(partial(auditor.verify_fault, replace(found, config=config.to_bytes())), VerificationError)
    for exhibits in ((), found.exhibits[:-1], (*found.exhibits, b"")):
        refused(partial(auditor.verify_fault, replace(found, exhibits=exhibits)), VerificationError)
    if kind != TWO_ADVERTISEMENTS:
        for setup in (b"", found.setup + b"\0", flipped(found.setup, 40)):
            refused(partial(auditor.verify_fault, replace(found, setup=setup)), VerificationError)


@pytest.mark.parametrize("kind", KINDS)
def test_altered_bytes_are_no_proof(kind: str) -> None:
    found, tape = shown(kind)
    data, auditor = found.to_bytes(), Auditor(tape.federation.trust)
    for place in (0, 1, 5, len(data) // 3, len(data) // 2, len(data) - 1):
        with pytest.raises(VerificationError):
            auditor.verify_fault(FaultProof.from_bytes(flipped(data, place)))
    for altered in (b"", data[:-1], data + b"\0"):
        refused(partial(FaultProof.from_bytes, altered), VerificationError)
    assert not FaultProof.is_one(b"")
    assert not FaultProof.is_one(finished(False)[1].to_bytes())


def test_a_proof_of_no_readable_round_is_refused_with_a_verification_error() -> None:
    found = shown(rules.BAD_SHARE).proof
    config = federation().config()
    unfit = replace(config, policy=replace(config.policy, options=(Option("threshold", 9),)))
    for changed in (b"", found.config[:-1], unfit.to_bytes(), Federation(5).config().to_bytes()):
        refused(partial(Auditor().verify_fault, replace(found, config=changed)), VerificationError)
    for public in (b"", bytes(32), b"\xff" * 32):
        refused(partial(Auditor().verify_fault, replace(found, public=public)), VerificationError)


# --- framing the innocent -------------------------------------------------------------------------------------


@functools.cache
def honest(number: int = 0, attempt: int = 0) -> Play:
    tape = play(federation(), round=number, attempt=attempt)
    tape.finish()
    return tape


def accused(tape: Play, kind: str, culprit: str, *exhibits: bytes) -> None:
    """Nobody believes it, with pins or without."""
    made = proof(tape, kind, culprit, identity(culprit).public, *exhibits)
    for auditor in (Auditor(tape.federation.trust), Auditor()):
        refused(partial(auditor.verify_fault, made), VerificationError)


def advertisement(tape: Play, name: str) -> SignedAdvertisement:
    header = header_of(tape.responses["advertise"][name])
    return SignedAdvertisement(name, header.body, header.signature)


@pytest.mark.parametrize("aggregator", [A1, A2, A3])
def test_an_honest_clients_letter_proves_no_bad_share(aggregator: str) -> None:
    tape = honest()
    letter = tape.post.letters[CHEAT, aggregator]
    key, other = open_letter(letter).key, tape.post.letters["c000", aggregator]
    accused(tape, rules.BAD_SHARE, CHEAT, letter, key)
    for wrong in (bytes(32), b"", key[:-1], key + b"\0", open_letter(other).key):
        accused(tape, rules.BAD_SHARE, CHEAT, letter, wrong)
    altered = reseal(letter, small=open_letter(letter).nonce + bytes(32), long=b"")
    accused(tape, rules.BAD_SHARE, CHEAT, forge(altered, identity(aggregator)), key)
    accused(tape, rules.BAD_SHARE, CHEAT, forge(letter, None, body=header_of(altered).body), key)
    accused(tape, rules.BAD_SHARE, CHEAT, forge(letter, None, bulk=b""), key)
    accused(tape, rules.BAD_SHARE, CHEAT, forge(letter, None, recipient=A1 if aggregator != A1 else A2), key)
    accused(tape, rules.BAD_SHARE, CHEAT, honest(1).post.letters[CHEAT, aggregator], key)


def test_an_honest_clients_letter_is_no_bad_share_under_another_set_of_aggregators() -> None:
    """Where another is in its aggregator's place the same letter would be for another number."""
    tape = honest()
    where = tape.federation
    letter = tape.post.letters[CHEAT, A2]
    for names in ((A2, A3, A4), ("aggregator-0", A1, A2)):
        setup = AggregatorSet.of([ChannelKey.issue(identity(n), channel(n).public) for n in names]).to_bytes()
        config = where.config(setup=setup_digest(setup)).to_bytes()
        for changes in ({"setup": setup}, {"setup": setup, "config": config}):
            made = proof(
                tape, rules.BAD_SHARE, CHEAT, identity(CHEAT).public, letter, open_letter(letter).key, **changes
            )
            refused(partial(Auditor().verify_fault, made), VerificationError)


def test_an_honest_client_has_one_advertisement_and_one_commitment() -> None:
    tape, later, retry = honest(), honest(1), honest(0, 1)
    mine = tape.responses["advertise"][CHEAT]
    for other in (
        mine,
        later.responses["advertise"][CHEAT],
        retry.responses["advertise"][CHEAT],
        tape.responses["advertise"]["c000"],
        forge(mine, identity("c000"), body=header_of(later.responses["advertise"][CHEAT]).body),
        tape.post.letters[CHEAT, A1],
    ):
        accused(tape, TWO_ADVERTISEMENTS, CHEAT, mine, other)
    for letter in (
        tape.post.letters[CHEAT, A1],
        later.post.letters[CHEAT, A1],
        retry.post.letters[CHEAT, A1],
        tape.post.letters["c000", A1],
        forge(later.post.letters[CHEAT, A1], None, session=header_of(tape.post.letters[CHEAT, A1]).session),
    ):
        accused(tape, rules.TWO_COMMITMENTS, CHEAT, encode(advertisement(tape, CHEAT)), letter)
    accused(tape, rules.TWO_COMMITMENTS, CHEAT, encode(advertisement(later, CHEAT)), tape.post.letters[CHEAT, A1])
    accused(tape, rules.TWO_COMMITMENTS, CHEAT, encode(advertisement(tape, "c000")), tape.post.letters[CHEAT, A1])


def opening_of(evidence: Evidence, name: str) -> Opening:
    return next(item for item in evidence.openings if item.name == name)


def test_an_honest_clients_shares_lie_on_a_polynomial() -> None:
    tape = play(federation(TWO_OF_4))
    evidence = tape.finish()
    item = opening_of(evidence, CHEAT)
    found = decode(OpenedShares, item.nonce, SIZE)
    ad, size = encode(advertisement(tape, CHEAT)), commitment_bytes(tape.aggregator.config)
    accused(tape, rules.BAD_SHARES, CHEAT, ad, item.nonce, item.commitment)
    for parties, nonces, committed in (
        ((0, 1), found.nonces[:64], item.commitment[: 2 * size]),
        ((0,), found.nonces[:32], item.commitment[:size]),
        ((0, 0, 1), found.nonces[:32] + found.nonces[:64], item.commitment[:size] + item.commitment[: 2 * size]),
        ((1, 0, 2), found.nonces[:96], item.commitment[: 3 * size]),
        ((0, 1, 4), found.nonces[:96], item.commitment[: 3 * size]),
        ((0, 1, 2), found.nonces[:96], item.commitment[size:]),
        ((0, 1, 2), found.nonces[:96], opening_of(evidence, "c000").commitment[: 3 * size]),
        ((0, 1, 2, 3), found.nonces, b"\xff" * (4 * size)),
        ((), b"", b""),
    ):
        accused(tape, rules.BAD_SHARES, CHEAT, ad, encode(OpenedShares(parties, nonces)), committed)


@pytest.mark.parametrize("name", [A1, A2, A3])
def test_an_honest_aggregators_answers_prove_nothing_of_it(name: str) -> None:
    tape, later, retry = honest(), honest(1), honest(0, 1)
    whole = encode(statement_of(tape))
    reveal, total = tape.responses["reveal-commitments"][name], tape.responses["partial-sum"][name]
    hashes = {client: decode(Advertisement, advertisement(tape, client).body, SIZE).backend for client in OTHERS}
    other = {A1: A2, A2: A3, A3: A1}[name]
    for shown_hashes in (*hashes.values(), b"", bytes(96), hashes["c000"][:64], hashes["c000"] + bytes(32)):
        accused(tape, rules.BAD_REVEAL, name, whole, shown_hashes, reveal)
    mine = hashes["c000"]
    for statement in (
        encode(Statement(statement_of(tape).entries[1:])),
        encode(Statement(statement_of(tape).entries[::-1])),
        encode(Statement((StatementEntry("c000", bytes(32)), *statement_of(tape).entries[1:]))),
        encode(statement_of(later)),
    ):
        accused(tape, rules.BAD_REVEAL, name, statement, mine, reveal)
        accused(tape, rules.BAD_PARTIAL_SUM, name, statement, reveal, total)
    for wrong in (
        tape.responses["reveal-commitments"][other],
        later.responses["reveal-commitments"][name],
        retry.responses["reveal-commitments"][name],
        forge(reveal, None, bulk=b""),
        forge(reveal, identity(other), bulk=b""),
        total,
    ):
        accused(tape, rules.BAD_REVEAL, name, whole, mine, wrong)
        accused(tape, rules.BAD_PARTIAL_SUM, name, whole, wrong, total)
    for wrong in (
        total,
        tape.responses["partial-sum"][other],
        later.responses["partial-sum"][name],
        retry.responses["partial-sum"][name],
        forge(total, None, bulk=bytes(len(bulk_of(total)))),
        reveal,
    ):
        accused(tape, rules.BAD_PARTIAL_SUM, name, whole, reveal, wrong)


def test_an_honest_aggregators_signatures_are_of_one_set_for_each_round() -> None:
    tape, later = honest(), honest(1)
    where, name = tape.federation, A2

    def signed(of: Play) -> tuple[Statement, bytes]:
        return statement_of(of), decode(Signature, header_of(of.responses["consistency"][name]).body, SIZE).signature

    mine, next_round = signed(tape), signed(later)
    config = where.config()
    for second_config, second in (
        (config, mine),
        (where.config(round=1), next_round),
        (where.config(attempt=1), mine),
        (config, (Statement(mine[0].entries[1:]), mine[1])),
        (config, (mine[0], bytes(64))),
        (config, (mine[0], signed(tape)[1][::-1])),
        (config, next_round),
    ):
        made = faults.two_sets(config, where.setup, name, identity(name).public, mine, second_config, second)
        for auditor in (Auditor(where.trust), Auditor()):
            refused(partial(auditor.verify_fault, made), VerificationError)


def test_an_aggregator_that_serves_two_federations_with_a_task_of_one_name_has_signed_no_two_sets() -> None:
    tape, other = honest(), play(federation(n=4))
    other.finish()
    where = tape.federation
    first, second = (
        (statement_of(of), decode(Signature, header_of(of.responses["consistency"][A2]).body, SIZE).signature)
        for of in (tape, other)
    )
    made = faults.two_sets(
        where.config(), where.setup, A2, identity(A2).public, first, other.federation.config(), second
    )
    refused(partial(Auditor(where.trust).verify_fault, made), VerificationError)


def test_messages_of_other_phases_are_no_exhibits() -> None:
    tape = honest()
    messages = [tape.responses[phase][A2] for phase in ("begin", "collect-shares", "consistency")]
    messages += [tape.client(CHEAT).receipts[A2], tape.requests["partial-sum"][A2], b"", b"\0" * 100]
    whole = encode(statement_of(tape))
    for message in messages:
        accused(tape, rules.BAD_PARTIAL_SUM, A2, whole, tape.responses["reveal-commitments"][A2], message)
        accused(tape, rules.BAD_REVEAL, A2, whole, b"", message)
        accused(tape, rules.BAD_SHARE, A2, message, bytes(32))
        accused(tape, TWO_ADVERTISEMENTS, A2, message, messages[0])


# --- evidence -------------------------------------------------------------------------------------------------


@functools.cache
def finished(threshold: bool) -> tuple[Play, Evidence]:
    tape = play(federation(TWO_OF_4 if threshold else ALL_OF_3), only("c004", A1, lambda _: None))
    return tape, tape.finish()


def changed(evidence: Evidence, **changes: object) -> Evidence:
    fields = {name: getattr(evidence, name) for name in Evidence.__dataclass_fields__}
    return Evidence(**(fields | changes))


def fails(evidence: Evidence, trust: Trust | None, error: type[VerificationError] = VerificationError) -> None:
    refused(partial(Auditor(trust).verify, evidence), error)


@pytest.mark.parametrize("threshold", [False, True])
def test_every_changed_field_of_the_evidence_is_noticed(threshold: bool) -> None:
    tape, evidence = finished(threshold)
    where = tape.federation
    assert Auditor(where.trust).verify(evidence).pinned == {"policy", "roster", "operators"}
    assert Auditor().verify(evidence).pinned == frozenset()
    item, ad, signature = evidence.openings[1], evidence.advertisements[1], evidence.agreement[1]
    body = decode(Advertisement, ad.body, SIZE)
    sums = evidence.sums.copy()
    sums[0] += 1

    def second(items: Sequence[object], other: object) -> tuple[object, ...]:
        return (items[0], other, *items[2:])

    for changes in (
        {"config": where.config(round=1)},
        {"config": where.config(previous_record=b"\1" * 32)},
        {"config": where.config(setup=b"")},
        {"config": where.config(setup=bytes(32))},
        {"cohort": evidence.cohort[:-1]},
        {"cohort": evidence.cohort[::-1]},
        {"cohort": second(evidence.cohort, CohortMember("c001", identity("mallory").public))},
        {"advertisements": evidence.advertisements[:3]},
        {"advertisements": evidence.advertisements[::-1]},
        {"advertisements": second(evidence.advertisements, replace(ad, signature=bytes(64)))},
        {"advertisements": second(evidence.advertisements, replace(ad, body=encode(replace(body, backend=b""))))},
        {"openings": evidence.openings[:-1]},
        {"openings": evidence.openings[::-1]},
        {"openings": ()},
        {"openings": second(evidence.openings, replace(item, name="c004"))},
        {"openings": second(evidence.openings, replace(item, commitment=flipped(item.commitment, 4)))},
        {"openings": second(evidence.openings, replace(item, commitment=item.commitment[:-6144]))},
        {"openings": second(evidence.openings, replace(item, nonce=item.nonce[:-1]))},
        {"openings": second(evidence.openings, replace(item, nonce=bytes(32)))},
        {"openings": second(evidence.openings, replace(item, nonce=flipped(item.nonce, len(item.nonce) - 1)))},
        {"openings": second(evidence.openings, replace(evidence.openings[0], name="c001"))},
        {"agreement": evidence.agreement[: 3 - 1]},
        {"agreement": ()},
        {"agreement": evidence.agreement[::-1]},
        {"agreement": second(evidence.agreement, replace(signature, signature=bytes(64)))},
        {"agreement": second(evidence.agreement, replace(signature, name="c001"))},
        {"agreement": second(evidence.agreement, Signature("mallory", signature.signature))},
        {"agreement": second(evidence.agreement, evidence.agreement[0])},
        {"setup": b""},
        {"setup": evidence.setup + b"\0"},
        {"sums": sums},
        {"sums": evidence.sums[::-1].copy()},
        {"result_model": bytes(32)},
    ):
        for trust in (where.trust, None):
            fails(changed(evidence, **changes), trust)


def strangers(where: Federation, names: Sequence[str]) -> bytes:
    """A set of aggregators with the right names and made-up keys."""
    members = [Identity(name, bytes([i + 1]) * 32) for i, name in enumerate(names)]
    return AggregatorSet.of([ChannelKey.issue(member, channel(member.name).public) for member in members]).to_bytes()


def test_evidence_with_another_set_of_aggregators_is_noticed() -> None:
    tape, evidence = finished(False)
    where = tape.federation
    setup = strangers(where, (A1, A2, A3))
    fails(changed(evidence, setup=setup), None)
    config = where.config(setup=setup_digest(setup))
    fails(changed(evidence, setup=setup, config=config), None)


def test_a_round_among_made_up_aggregators_is_consistent_in_itself_and_nothing_to_whoever_has_pins() -> None:
    """Pins are what evidence is checked against: without any it shows who signed, not who they are."""
    where = federation(n=4)
    made_up = {name: Identity(name, bytes([i + 1]) * 32) for i, name in enumerate((A1, A2, A3))}
    operators = Roster({"aggregator": where.operator.public} | {n: i.public for n, i in made_up.items()})
    fake = federation(n=4)
    fake.trust = Trust(where.trust.tasks, operators)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "support.federation._cache", {**{n: identity(n) for n in (*where.names, "aggregator")}, **made_up}
        )
        evidence = play(fake).finish()
    assert Auditor().verify(evidence).pinned == frozenset()
    fails(evidence, where.trust, TrustError)
    pinned_elsewhere = msgspec.structs.replace(evidence.config, operators=where.trust.operators.digest())
    fails(changed(evidence, config=pinned_elsewhere), where.trust)


def partial_opening(item: Opening, parties: Sequence[int]) -> Opening:
    found = decode(OpenedShares, item.nonce, SIZE)
    places = [found.parties.index(party) for party in parties]
    nonces = b"".join(found.nonces[32 * i : 32 * i + 32] for i in places)
    size = len(item.commitment) // len(found.parties)
    committed = b"".join(item.commitment[size * i : size * (i + 1)] for i in places)
    return replace(item, commitment=committed, nonce=encode(OpenedShares(tuple(parties), nonces)))


def test_threshold_many_opened_shares_are_enough_and_fewer_are_not() -> None:
    tape, evidence = finished(True)
    record = Auditor(tape.federation.trust).verify(evidence).record
    for parties in ((0, 1), (1, 3), (0, 2, 3)):
        some = changed(evidence, openings=tuple(partial_opening(item, parties) for item in evidence.openings))
        other = Auditor(tape.federation.trust).verify(some).record
        assert msgspec.structs.replace(other, evidence=record.evidence) == record, "the round is the same"
    for parties in ((), (0,), (1, 0), (0, 0), (3, 2, 1, 0)):
        some = changed(evidence, openings=tuple(partial_opening(item, parties) for item in evidence.openings))
        fails(some, tape.federation.trust)
    size = commitment_bytes(evidence.config)
    for parties in ((0, 4), (-1, 0), (0, 1 << 40)):
        openings_ = tuple(
            replace(item, nonce=encode(OpenedShares(parties, bytes(64))), commitment=item.commitment[: 2 * size])
            for item in evidence.openings
        )
        fails(changed(evidence, openings=openings_), tape.federation.trust)


def test_of_all_aggregators_no_opened_share_may_be_missing() -> None:
    tape, evidence = finished(False)
    for parties in ((0, 1), (1, 2), (0,)):
        some = changed(evidence, openings=tuple(partial_opening(item, parties) for item in evidence.openings))
        fails(some, tape.federation.trust)


# --- what the coordinator shows whom --------------------------------------------------------------------------


def test_a_coordinator_that_hides_a_clients_advertisement_does_not_hide_its_exclusion() -> None:
    """sid does not bind the advertisements here: the coordinator leaves one out of the evidence, afterwards even."""
    tape, evidence = finished(False)
    where = tape.federation
    kept = tuple(item for item in evidence.advertisements if item.name != "c004")
    hidden = changed(evidence, advertisements=kept)
    assert Auditor(where.trust).verify(hidden).record.participants == 4
    receipt = tape.client("c004").receipts[A2]
    assert Auditor(where.trust).show_exclusion(receipt, evidence) == "c004"
    assert Auditor(where.trust).show_exclusion(receipt, hidden) == "c004"


class Between(Crooked):
    """Two of its long shares lie on another polynomial than the rest: whoever asks the one pair or the other gets one
    of two updates, both of them short.
    """

    def changed(self, party: int, share: Vector) -> Vector:
        low = [i for i in self._long if i < 2]
        pair = low if len(low) == 2 else [i for i in self._long if i >= 2]
        return plus(share, unit(share.size, 0)) if party in pair else share


def evidence_of(tape: Play, shown_by: Sequence[str], totals: dict[str, bytes]) -> Evidence:
    """What a coordinator puts together from the reveals and partial sums of these aggregators."""
    where = tape.federation
    config, scheme = where.config(), rules.scheme(where.policy)
    names = [entry.name for entry in statement_of(tape).entries]
    answers = {int(name[-1]) - 1: tape.responses["reveal-commitments"][name] for name in shown_by}
    nonces = {party: decode(Revealed, header_of(answer).body, SIZE).nonces for party, answer in answers.items()}
    committed = b"".join(bulk_of(answer) for answer in answers.values())
    opened = openings.openings_of(config, names, nonces, committed)
    sums = weighted_sum([from_bytes(totals[name]) for name in shown_by], scheme.weights(list(answers)))
    average, _ = FixedPoint(config.policy).decode(sums[: config.layout.committed], len(names), config.shapes)
    listed = decode(AdvertisementList, header_of(tape.requests["collect-shares"][A1]).body, SIZE)
    return Evidence(
        config=config,
        cohort=tuple(CohortMember(name, key) for name, key in where.roster.items()),
        advertisements=listed.advertisements,
        openings=tuple(Opening(n, c, encode(OpenedShares(tuple(sorted(nonces)), mine))) for n, c, mine in opened),
        agreement=tuple(
            decode(Signature, header_of(tape.responses["consistency"][name]).body, SIZE) for name in (A1, A2, A3, A4)
        ),
        setup=where.setup,
        attestation=(),
        sums=sums,
        result_model=model_digest(average),
    )


def test_client_and_coordinator_together_can_t_choose_between_two_results_of_one_round() -> None:
    """With 2 of 4 the coordinator shows one pair of aggregators each other's commitments only, and the other pair
    theirs. All give out their partial sums; then it picks which pair's result it publishes, having seen both.
    """
    with pytest.MonkeyPatch.context() as patch:
        cheating(patch, Between)
        tape = play(federation(TWO_OF_4)).until("reveal-commitments")
        tape.answer_all()
    pairs = ((A1, A2), (A3, A4))
    try:
        totals = {
            name: bulk_of(tape.local.holders[name].receive(partial_sum_request(tape, name, pair)))
            for pair in pairs
            for name in pair
        }
    except SecureAggError:
        return
    results = set()
    for pair in pairs:
        try:
            results.add(Auditor(tape.federation.trust).verify(evidence_of(tape, pair, totals)).record.result_model)
        except VerificationError:
            continue
    assert len(results) <= 1


@pytest.mark.parametrize("backend", ["masking", "plain", "additive"])
def test_a_second_advertisement_is_refused_and_proves_that_its_client_says_two_things(backend: str) -> None:
    tape = Tape.start(Federation(backend=backend))
    tape.until("advertise")
    first, federation = tape.answer("c000"), tape.federation
    tape.deliver(first)
    other = edit(first, identity("c000"), Advertisement, partial(replace, commitment_hash=bytes(32)))
    unsigned = edit(first, identity("c001"), Advertisement, partial(replace, commitment_hash=bytes(32)))
    for again, proofs in ((first, 0), (unsigned, 0), (other, 1), (other, 1)):
        with pytest.raises(DuplicateMessage):
            tape.deliver(again)
        assert len(tape.aggregator.faults) == proofs
    proof = FaultProof.from_bytes(tape.aggregator.faults[0].to_bytes())
    assert (proof.kind, Auditor(federation.trust).verify_fault(proof)) == ("two-advertisements", "c000")
    for exhibits in ((first, first), (first,), (first, unsigned), (other, tape.answer("c001"))):
        with pytest.raises(VerificationError):
            Auditor(federation.trust).verify_fault(replace(proof, exhibits=exhibits))
