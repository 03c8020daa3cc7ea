"""Where a client is shown its neighbourhood and bits for the rest: what an aggregator could make of that.

Each attack works against a naive session of the same size, and fails against a tree over positions of the roster.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from conformance.independent_faults import verify_fault
from support.federation import Federation, Tape, assert_is_mean, edit, forge, header_of, identity, replace
from support.norms.cheats import (
    Bend,
    Screened,
    deal_bad_keys,
    deal_bad_seeds,
    effect,
    flip,
    flip_behind_self_mask,
    report,
    shifted,
)

from mpc.framing import frame, integer
from secure_agg.backends.masking import faults, rules
from secure_agg.backends.masking.wire import Charge, Choosers, Report, ShownCharges
from secure_agg.errors import (
    BadSignature,
    DealerFault,
    MalformedMessage,
    PolicyViolation,
    SecureAggError,
    TooFewClients,
    VerificationError,
    WrongContext,
)
from secure_agg.protocol.agreement import leaf as entry_leaf
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    Advertisement,
    Signature,
    SignedAdvertisement,
    StatementEntry,
    decode,
    encode,
    signed_bytes,
)
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse import roll as rolls
from secure_agg.protocol.sparse.opening import sparse_session_id
from secure_agg.protocol.sparse.roll import Neighbourhood, bitmap, positions_of
from secure_agg.protocol.sparse.wire import (
    Countersigned,
    Roll,
    RollCall,
    Shown,
    ShownAdvertisement,
    ShownSet,
    SmallerSet,
    SparseExhibit,
)
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from zk import merkle
from zk.merkle import Tree
from zk.transcript import digest

ME = identity("aggregator")
VICTIM, CORRUPT = "c000", "c001"
CHOOSE, SHARE, UNMASK = rules.CHOOSE_PEERS, rules.SHARE_KEYS, rules.UNMASK


def federation(n: int = 6, **options: int) -> Federation:
    """Few clients, who then choose everybody: all the same a sparse session."""
    return Federation(n, shapes=((3,),), options={"complete_up_to": 0} | options)


def session_of(tape: Tape) -> Session:
    assert tape.aggregator.session is not None
    return tape.aggregator.session


def called(tape: Tape, near: Neighbourhood, listed: Mapping[str, SignedAdvertisement]) -> bytes:
    """The roll call of another session, to the victim."""
    call = RollCall(near.roll, near.show((VICTIM,), listed), b"")
    sid = sparse_session_id(tape.aggregator.config, near.roll)
    return forge(tape.requests[CHOOSE][VICTIM], ME, body=encode(call), session=sid)


def shown_to_victim(near: Neighbourhood, listed: Mapping[str, SignedAdvertisement], names: Sequence[str]) -> bytes:
    return encode(Choosers((), near.show(names, listed)))


def made_up(tape: Tape, name: str, number: int) -> SignedAdvertisement:
    """What the corrupt client signs in the place of somebody, with keys that are its own."""
    part = b"".join(identity(f"key {number} {i}").public for i in range(2))
    # Ed25519 keys serve as any 32 bytes that are a point's coordinate; what matters is whose signature it is.
    body = encode(Advertisement(digest("made-up", integer(number)), part))
    signed = signed_bytes(tape.aggregator.config.context, ADVERTISE, name, "", body)
    return SignedAdvertisement(name, body, identity(CORRUPT).sign(signed))


# --- a tree over those who advertised: one member fills many indices ------------------------------------------


def naive_checks(
    tape: Tape, listed: Sequence[SignedAdvertisement], index: int, path: Sequence[bytes], root: bytes
) -> None:
    """What a client checks of a chosen index where the tree is over U as the aggregator lists it."""
    item = listed[index]
    merkle.verify_inclusion(merkle.leaf_hash(encode(item)), index, len(listed), path, root)
    item.verify(tape.aggregator.config.context, identity(item.name).public)


def test_one_member_fills_many_indices_of_a_tree_over_advertisers_and_one_position_of_the_roster() -> None:
    tape = Tape.start(federation()).until(CHOOSE)
    own = session_of(tape).advertisements[VICTIM]
    sybils = [made_up(tape, CORRUPT, number) for number in range(5)]
    listed = [own, *sybils]
    tree = Tree([encode(item) for item in listed])
    assert len(listed) >= tape.aggregator.config.policy.min_advertised
    for index in range(1, 6):  # naive: the victim is alone with keys of one client, and every check passes
        naive_checks(tape, listed, index, tree.path(index), tree.root())

    taken = {name: made_up(tape, name, i) for i, name in enumerate(tape.federation.names) if name != VICTIM}
    taken[VICTIM] = own
    near = Neighbourhood.of(tape.federation.roster, list(taken.values()))
    client = tape.client(VICTIM)
    assert client.receive(called(tape, near, taken)) is not None  # it sees bits, and chooses
    sid, session = sparse_session_id(tape.aggregator.config, near.roll), client._joined.session  # type: ignore[union-attr]
    others = [session.members[peer] for peer in client._joined.side._chosen]  # type: ignore[union-attr]
    request = forge(
        tape.requests[CHOOSE][VICTIM], ME, phase=SHARE, session=sid, body=shown_to_victim(near, taken, others)
    )
    with pytest.raises(BadSignature):
        client.receive(request)


def test_whoever_is_absent_fills_a_bit_and_can_not_be_shown() -> None:
    """Two bits more than clients: by bits alone there are enough, and all that the victim has chosen is looked at."""
    tape = Tape.start(federation(), dict.fromkeys(("c004", "c005"), ADVERTISE))
    listed: dict[str, SignedAdvertisement] = {}
    for envelope in list(tape.pending)[:4]:
        header = header_of(tape.answer(envelope.recipient))
        listed[header.sender] = SignedAdvertisement(header.sender, header.body, header.signature)
    assert len(listed) < tape.aggregator.config.policy.min_advertised
    true = Neighbourhood.of(tape.federation.roster, list(listed.values()))
    assert true.tree is not None
    roll = Roll(bitmap(range(6), 6), true.roll.root)
    near = Neighbourhood.called(tape.federation.roster, roll, true.tree)
    first = forge(tape.requests[ADVERTISE][VICTIM], ME, phase=CHOOSE, bulk=b"")
    sid = sparse_session_id(tape.aggregator.config, roll)
    call = encode(RollCall(roll, near.show((VICTIM,), listed), b""))
    client = tape.client(VICTIM)
    assert client.receive(forge(first, ME, session=sid, body=call)) is not None  # naive: six bits are six clients
    there = [name for name in listed if name != VICTIM]
    without = near.show(there, listed)
    phantom = ShownAdvertisement(4, listed["c003"].body, listed["c003"].signature)
    for shown, error in (
        (without, PolicyViolation),  # others than it has chosen
        (replace(without, advertisements=(*without.advertisements, phantom)), MalformedMessage),
    ):
        with pytest.raises(error):
            client.receive(forge(first, ME, phase=SHARE, session=sid, body=encode(Choosers((), shown))))


def test_the_session_follows_from_the_bits() -> None:
    """Other bits over the same tree are another session: naive, where sid is of the root alone, clients that were told
    different numbers of each other would be in one.
    """
    tape = Tape.start(federation(), {"c005": ADVERTISE}).until(CHOOSE)
    request, near = tape.requests[CHOOSE][VICTIM], session_of(tape).neighbourhood
    more = replace(near.roll, present=bitmap(range(6), 6))
    with pytest.raises(WrongContext):
        tape.client(VICTIM).receive(edit(request, ME, RollCall, lambda call: replace(call, roll=more)))
    for present, error in (
        (bitmap(range(4), 6), TooFewClients),
        (bytes([0b1011111]), MalformedMessage),
        (b"", MalformedMessage),
        (near.roll.present + b"\0", MalformedMessage),
    ):
        roll = Roll(present, near.roll.root)
        sid = sparse_session_id(tape.aggregator.config, roll)
        with pytest.raises(error):
            tape.client(VICTIM).receive(
                edit(request, ME, RollCall, lambda call, roll=roll: replace(call, roll=roll), session=sid)
            )
    nobody = near.show((CORRUPT,), session_of(tape).advertisements)
    changed = ShownAdvertisement(0, nobody.advertisements[0].body, nobody.advertisements[0].signature)
    own = Shown((changed,), nobody.path)
    with pytest.raises(MalformedMessage):  # another's in its own place
        tape.client(VICTIM).receive(edit(request, ME, RollCall, lambda call: replace(call, own=own)))
    with pytest.raises(PolicyViolation, match="own advertisement is missing"):
        tape.client(VICTIM).receive(edit(request, ME, RollCall, lambda call: replace(call, own=nobody)))
    assert tape.client(VICTIM).receive(request) is not None


def drop_one(shown: Shown) -> Shown:
    return replace(shown, advertisements=shown.advertisements[1:])


def swap_two(shown: Shown) -> Shown:
    first, second, *others = shown.advertisements
    return replace(shown, advertisements=(second, first, *others))


def exchange_keys(shown: Shown) -> Shown:
    """A man in the middle: the second's keys under the first's position."""
    first, second, *others = shown.advertisements
    return replace(shown, advertisements=(replace(second, position=first.position), second, *others))


@pytest.mark.parametrize(
    "change",
    [
        drop_one,
        swap_two,
        exchange_keys,
        lambda shown: replace(shown, path=shown.path[:-32]),
        lambda shown: replace(shown, path=shown.path + bytes(32)),
        lambda shown: replace(shown, path=shown.path + b"\0"),
        lambda shown: replace(shown, path=bytes(len(shown.path))),
    ],
)
def test_neighbours_are_shown_as_they_are_in_the_session_or_refused(change: Callable[[Shown], Shown]) -> None:
    tape = Tape.start(federation(), {"c005": ADVERTISE}).until(SHARE)
    request = tape.requests[SHARE][VICTIM]
    with pytest.raises((MalformedMessage, PolicyViolation)):
        tape.client(VICTIM).receive(edit(request, ME, Choosers, lambda body: replace(body, shown=change(body.shown))))
    assert tape.client(VICTIM).receive(request) is not None


# --- who has chosen a client ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_more_choosers_than_a_client_takes_are_refused_and_the_aggregator_shows_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Naive: all corrupt clients choose one, which fetches, agrees with and deals to all of them. The limit is lowered,
    since three times the peers that so few choose would be everybody.
    """
    monkeypatch.setattr(rules, "most_choosers", lambda shape: shape.neighbours + 3)
    crowd = Federation(40, shapes=((3,),), options={"complete_up_to": 0})

    def steady(name: str) -> Client:
        """Who chooses whom is the same in every run."""
        return Client(identity(name), crowd.trust, entropy=lambda n: hashlib.shake_256(name.encode()).digest(n))

    monkeypatch.setattr(crowd, "client", steady)
    tape = Tape.start(crowd).until(CHOOSE)
    most = rules.plan(session_of(tape)).neighbours + 3
    for client in list(tape.local.clients.values())[1:14]:  # as many as may be corrupt
        side = client._joined.side  # type: ignore[union-attr]
        begin = side.begin  # type: ignore[union-attr]

        def choose_victim(session: Session, side: Any = side, begin: Any = begin) -> None:
            begin(session)
            side._chosen = sorted({0, *side._chosen[1:]})[: len(side._chosen)]

        side.begin = choose_victim  # type: ignore[union-attr]
    tape.until(SHARE)
    side = tape.aggregator._side
    assert len(side._choosers[0]) > most
    request = tape.requests[SHARE][VICTIM]
    found = decode(Choosers, header_of(request).body, 1 << 24)
    assert len(found.choices) == most
    kept = {item.chooser for item in found.choices}
    assert kept >= side._choosers[0] & side._chosen[0], "whom it has dealt shares to deals its own"
    spare = next(side._choices[peer] for peer in side._choosers[0] if peer not in kept)
    flooded = tuple(sorted((*found.choices, spare), key=lambda item: item.chooser))
    with pytest.raises(PolicyViolation, match=f"{most + 1} clients are said to have chosen"):
        tape.client(VICTIM).receive(edit(request, ME, Choosers, lambda body: replace(body, choices=flooded)))
    evidence = tape.finish()
    assert len(evidence.participants) == 40
    weights = dict.fromkeys(crowd.names, 1)
    assert tape.aggregator.verified is not None
    average = tape.aggregator.verified.average
    assert_is_mean(average, crowd.updates, weights, evidence.participants, evidence.config)


# --- the set: bits decide which share of whom is given out ----------------------------------------------------


def entries(session: Session, commitments: Mapping[str, bytes], names: Sequence[str]) -> list[bytes]:
    return [entry_leaf(StatementEntry(name, digest("commitment", commitments[name]))) for name in names]


def test_two_sets_under_one_root_get_two_quorums_only_where_bits_are_not_signed() -> None:
    """The victim is told that c005 is in S and c004 is not, the others the reverse; both sets have one size, and every
    honest client's entry the same place. With both answers an aggregator has both shares of both.
    """
    tape = Tape.start(federation()).until(CONSISTENCY)
    session, near = session_of(tape), session_of(tape).neighbourhood
    opened = {name: item.commitment for name, item in tape.aggregator._gathered.openings.items()}
    first, second = ("c000", "c001", "c002", "c003", "c005"), ("c000", "c001", "c002", "c003", "c004")
    tree = Tree(entries(session, opened, first))
    naive = {frame("agreement", session.sid, integer(len(names)), tree.root()) for names in (first, second)}
    assert len(naive) == 1, "naive: one statement, and one quorum, for two sets"

    def request(name: str, names: Sequence[str]) -> bytes:
        shown = ShownSet(near.bits(names), tree.root(), b"".join(tree.path(names.index(name))))
        return forge(tape.requests[CONSISTENCY][name], ME, body=encode(shown))

    answers = {
        name: tape.client(name).receive(request(name, first if name == VICTIM else second)) for name in second[:4]
    }
    signed = {name: header_of(answer or b"").body for name, answer in answers.items()}
    signatures = b"".join(decode(Signature, signed[name], 1 << 10).signature for name in second[:4])
    agreed = encode(Countersigned(near.bits(second[:4]), signatures, b""))
    release = forge(tape.requests[CONSISTENCY][VICTIM], ME, phase=UNMASK, body=agreed)
    with pytest.raises(BadSignature):
        tape.client(VICTIM).receive(release)


def without_own_bit(shown: ShownSet) -> ShownSet:
    return replace(shown, members=bitmap(set(positions_of(shown.members, 6, phase="")) - {0}, 6))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (without_own_bit, PolicyViolation),
        (lambda shown: replace(shown, path=shown.path[:-32]), PolicyViolation),
        (lambda shown: replace(shown, path=shown.path[:-1]), MalformedMessage),
        (lambda shown: replace(shown, root=bytes(32)), PolicyViolation),
        (lambda shown: replace(shown, root=b""), PolicyViolation),
        (lambda shown: replace(shown, members=bitmap(range(3), 6)), TooFewClients),
        (lambda shown: replace(shown, members=bytes([255])), MalformedMessage),
    ],
)
def test_a_set_without_its_own_entry_is_not_signed(
    change: Callable[[ShownSet], ShownSet], error: type[SecureAggError]
) -> None:
    tape = Tape.start(federation()).until(CONSISTENCY)
    request = tape.requests[CONSISTENCY][VICTIM]
    with pytest.raises(error):
        tape.client(VICTIM).receive(edit(request, ME, ShownSet, change))
    assert tape.client(VICTIM).receive(request) is not None


def test_only_a_quorum_of_different_members_opens_anything() -> None:
    tape = Tape.start(federation(), {"c005": "masked-input"}).until(UNMASK)
    request, session = tape.requests[UNMASK][VICTIM], session_of(tape)
    near, quorum = session.neighbourhood, session.quorum
    good = decode(Countersigned, header_of(request).body, 1 << 20)
    signers = near.members(good.signers, phase="")
    assert len(signers) == quorum, "as many as bind, and no more"
    one = good.signatures[:64]

    def signed(names: Sequence[str], signatures: bytes) -> Callable[[Countersigned], Countersigned]:
        return lambda body: replace(body, signers=near.bits(names), signatures=signatures)

    for change, error in (
        (signed(signers[:-1], good.signatures[:-64]), TooFewClients),
        (signed(signers, one * quorum), BadSignature),  # naive: signatures are counted, not signers
        (signed((*signers[:-1], "c005"), good.signatures), BadSignature),
        (signed(signers, good.signatures[:-64]), MalformedMessage),
        (signed(signers[:-1], good.signatures), MalformedMessage),
    ):
        with pytest.raises(error):
            tape.client(VICTIM).receive(edit(request, ME, Countersigned, change))
    assert tape.client(VICTIM).receive(request) is not None


# --- what is known by position --------------------------------------------------------------------------------


def test_bits_have_one_spelling() -> None:
    for size in (1, 7, 8, 9, 64, 130):
        every = range(size)
        for chosen in (every, every[::2], every[:0], every[-1:]):
            bits = bitmap(chosen, size)
            assert positions_of(bits, size, phase="") == tuple(chosen)
            with pytest.raises(MalformedMessage):
                positions_of(bits + b"\0", size, phase="")
            with pytest.raises(MalformedMessage):
                positions_of(bits[:-1], size, phase="")
        if size % 8:
            with pytest.raises(MalformedMessage):
                positions_of(b"\xff" * (size // 8 + 1), size, phase="")
    assert rolls.ABSENT == b"", "no encoding is empty"


# --- screening: what is proved in a sparse session ---------------------------------------------------------------

CHEAT = "c002"


def screened(bend: Bend, silent: Mapping[str, str] | None = None, n: int = 5) -> Screened:
    """Five choose everybody; of more it is drawn who has an edge with whom."""
    return Screened(federation(n, screening=1), {CHEAT: (bend,)}, silent or {})


def flip_behind_third(side: Any) -> None:
    """Its number for the mask with c003, if it has one, explains a changed word."""
    flip(side, 2)

    def change(me: Any, request: bytes, said: Report) -> Report:
        return shifted(said, {3: (1 if me._me < 3 else -1) * effect(me, request, 2, 1)} if 3 in said.peers else {})

    report(side, change)


@pytest.mark.parametrize(
    ("bend", "kind"),
    [
        (flip, "bad-input"),
        (flip_behind_third, "bad-edge"),
        (flip_behind_self_mask, "bad-self-mask"),
        (deal_bad_seeds, "bad-seed-shares"),
    ],
)
def test_every_charge_is_proved_to_whoever_was_not_in_the_session(bend: Bend, kind: str) -> None:
    """By the positions of those it is about: members check it and sign a smaller set, of which they see no list."""
    played = screened(bend)
    played.play()
    assert CHEAT not in played.check_sum()
    assert played.named == {CHEAT: kind}
    convinces(played, 1)


def convinces(played: Screened, most: int) -> None:
    """Whoever reads the specification, by no more advertisements than that."""
    for proof in played.tape.aggregator.faults:
        assert verify_fault(proof.to_bytes())["culprit"] == proof.culprit == CHEAT
        assert len(decode(SparseExhibit, proof.exhibits[0], 1 << 24).shown.advertisements) <= most


@pytest.mark.parametrize(
    ("bend", "kinds", "silent"),
    [
        (flip_behind_third, {"bad-lost-edge", "bad-input"}, {"c003": "masked-input", CHEAT: "unmask"}),
        (deal_bad_keys, {"bad-key-shares", None}, {CHEAT: "masked-input", "c003": "unmask"}),
    ],
)
def test_charges_about_a_lost_client_show_it_too(bend: Bend, kinds: set[str | None], silent: dict[str, str]) -> None:
    """Whom an edge joins is drawn: in one round of six there is none, and another charge or none at all."""
    played = screened(bend, silent, 20)
    with contextlib.suppress(DealerFault):
        played.play()
    assert played.named.get(CHEAT) in kinds
    convinces(played, 2)


def test_a_false_charge_convicts_its_maker_and_a_true_one_does_not_whatever_an_accuser_leaves_out() -> None:
    tape = screened(flip_behind_self_mask).play(until="excise-1")
    kept = tape.aggregator._side._screened
    seed = kept._seeds(frozenset({3}), tape.aggregator._side._released, {})[3]
    request = tape.requests["excise-1"][VICTIM]

    def charged(body: Countersigned) -> Countersigned:
        smaller = decode(SmallerSet, body.backend, 1 << 24)
        made = (Charge("bad-self-mask", 3, (kept.judge.report(3), seed)),)
        shown = encode(ShownCharges(made, faults.show(session_of(tape), made)))
        return replace(body, backend=encode(replace(smaller, backend=shown)))

    with pytest.raises(PolicyViolation, match="a charge proves nothing"):
        tape.client(VICTIM).receive(edit(request, ME, Countersigned, charged))
    (proof,) = tape.client(VICTIM).faults
    assert (proof.kind, proof.culprit) == ("false-charge", "aggregator")
    assert Auditor().verify_fault(proof) == verify_fault(proof.to_bytes())["culprit"] == "aggregator"
    exhibited = decode(SparseExhibit, proof.exhibits[0], 1 << 24)
    assert exhibited.shown.advertisements == (), "what speaks for a charge is in the message, not what an accuser shows"
    innocent = replace(proof, exhibits=(*proof.exhibits[:2], request))
    with pytest.raises(VerificationError, match="every charge is proved"):
        Auditor().verify_fault(innocent)
    with pytest.raises(ValueError, match="every charge is proved"):
        verify_fault(innocent.to_bytes())


def test_a_smaller_set_without_its_own_entry_is_not_signed() -> None:
    tape = screened(flip_behind_self_mask).play(until="excise-1")
    request = tape.requests["excise-1"][VICTIM]

    def other(body: Countersigned) -> Countersigned:
        smaller = decode(SmallerSet, body.backend, 1 << 24)
        return replace(body, backend=encode(replace(smaller, root=bytes(32))))

    with pytest.raises(PolicyViolation, match="own entry"):
        tape.client(VICTIM).receive(edit(request, ME, Countersigned, other))
    assert tape.client(VICTIM).receive(request) is not None


def test_what_a_proof_shows_of_a_session_has_to_be_in_it() -> None:
    played = screened(flip)
    played.play()
    (proof,) = played.tape.aggregator.faults
    good = decode(SparseExhibit, proof.exhibits[0], 1 << 24)
    shown = good.shown
    for bad in (
        replace(good, cohort=good.cohort[1:]),
        replace(good, cohort=good.cohort[::-1]),
        replace(good, roll=replace(good.roll, present=bitmap(range(4), 5))),
        replace(good, shown=replace(shown, path=shown.path[:-32])),
        replace(good, shown=replace(shown, advertisements=(replace(shown.advertisements[0], signature=bytes(64)),))),
    ):
        spoilt = replace(proof, exhibits=(encode(bad), *proof.exhibits[1:]))
        with pytest.raises(VerificationError):
            Auditor().verify_fault(spoilt)
        with pytest.raises(ValueError):
            verify_fault(spoilt.to_bytes())
