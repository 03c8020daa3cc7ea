"""A malicious aggregator. Each attack first works against the naive protocol, then fails against this one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.federation import Federation, Tape, edit, edit_first, forge, header_of, identity, replace

from mpc import keys, ring, shamir
from mpc.keys import KeyPair
from mpc.keystream import derive_key
from mpc.masks import Mask, apply
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.wire import Edges, Released, split_part
from secure_agg.backends.packed import carrier
from secure_agg.errors import (
    AlreadyReleased,
    BadSignature,
    DuplicateMessage,
    MalformedMessage,
    PolicyViolation,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    TrustError,
    UnknownSender,
    VerificationError,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol import agreement, messages
from secure_agg.protocol import identity as identity_module
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import Acceptance, AdvertisementList, Agreed, Signature, Statement, decode, encode
from secure_agg.roles.auditor import Auditor

VICTIM = "c001"
ME = identity("aggregator")


def side(tape: Tape, name: str) -> MaskingClient:
    found = tape.client(name)._joined.side
    if not isinstance(found, MaskingClient):
        raise TypeError("the masking backend is under test")
    return found


def encoded(federation: Federation, name: str) -> np.ndarray:
    """The integers that a client's update encodes to: what an attacker is after."""
    layout = federation.config().layout
    out = np.empty(layout.committed, dtype=np.uint32)
    FixedPoint(federation.policy).encode(federation.updates[name], 1, bytes(32), out)
    return out


# --- both shares of one peer ----------------------------------------------------------------------------------


def rebuild(released: dict[str, dict[int, bytes]], tape: Tape, dealer: int, threshold: int) -> bytes:
    members = tape.aggregator.session.members
    holders = [name for name in members if dealer in released[name]][:threshold]
    shares = np.array([[ring.from_bytes(released[name][dealer])] for name in holders])
    return shamir.combine([members.index(name) + 1 for name in holders], shares)[0]


def release(tape: Tape, name: str, survivors: tuple[str, ...]) -> dict[int, bytes]:
    """A naive client: answers an unmask request for whatever set it is told."""
    client = side(tape, name)
    kept = dict(client._mask_shares), dict(client._seed_shares)
    client._survivors = frozenset(tape.aggregator.session.members.index(member) for member in survivors)
    shares = {item.dealer: item.share for item in decode(Released, client.answer("unmask", b""), 1 << 20).shares}
    client._mask_shares, client._seed_shares = kept
    return shares


def test_both_shares_of_a_peer_open_its_update() -> None:
    """Why a client gives out one share of each peer: with both, the aggregator alone reads an update."""
    federation = Federation(5)
    tape = Tape.start(federation).until("consistency")
    session, threshold = tape.aggregator.session, tape.aggregator.session.quorum
    index = session.members.index(VICTIM)
    with_it, without = session.members, tuple(name for name in session.members if name != VICTIM)
    seed = rebuild({name: release(tape, name, with_it) for name in session.members}, tape, index, threshold)
    secret = rebuild({name: release(tape, name, without) for name in without} | {VICTIM: {}}, tape, index, threshold)
    form = carrier(federation.config())
    loaded = form.from_bytes(tape.responses["masked-input"][VICTIM][-form.size :], phase="")
    pair = KeyPair.from_secret(secret)
    terms = [Mask(derive_key(seed, "self-mask", session.sid, VICTIM.encode()), -1)]
    for i, name in enumerate(session.members):
        if name != VICTIM:
            shared = pair.shared_secret(split_part(name, session.parts[name])[1])
            key = keys.mask_key(shared, session.sid, VICTIM.encode(), name.encode())
            terms.append(Mask(key, -1 if index < i else 1))
    apply(loaded, terms)
    vector = form.unload(loaded, phase="")
    assert np.array_equal(vector[: federation.config().layout.committed], encoded(federation, VICTIM))


def second_set(tape: Tape, name: str, *, without: str) -> bytes:
    """A consistency request for a set that leaves one survivor out."""
    return edit(
        tape.requests["consistency"][name],
        ME,
        Statement,
        lambda body: replace(body, entries=tuple(e for e in body.entries if e.name != without)),
    )


def test_a_client_signs_one_set_only_even_after_a_restart() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("consistency")
    tape.answer("c000")
    again = federation.client("c000")
    again.join(tape.requests["advertise"]["c000"], federation.updates["c000"])
    for phase in ("share-keys", "masked-input"):
        again.receive(tape.requests[phase]["c000"])
    with pytest.raises(AlreadyReleased):
        again.receive(second_set(tape, "c000", without=VICTIM))


def test_a_client_repeats_what_it_has_released_and_releases_nothing_else_even_after_a_restart() -> None:
    """Bound to the set, and not to the request's bytes: a release that a crash has lost is given again."""
    federation = Federation(5)
    tape = Tape.start(federation).until("unmask")
    released = tape.answer("c000")
    again = federation.client("c000")
    again.join(tape.requests["advertise"]["c000"], federation.updates["c000"])
    for phase in ("share-keys", "masked-input", "consistency"):
        assert again.receive(tape.requests[phase]["c000"]) == tape.responses[phase]["c000"]
    fewer = edit(
        tape.requests["unmask"]["c000"], ME, Agreed, lambda body: replace(body, signatures=body.signatures[1:])
    )
    for request in (fewer, tape.requests["unmask"]["c000"], fewer):
        assert again.receive(request) == released
    smaller = second_set(tape, "c000", without=VICTIM)
    with pytest.raises(AlreadyReleased):
        again.receive(smaller)


def test_two_sets_cant_both_be_signed_by_a_quorum() -> None:
    """Half the clients are shown a set without the victim, half one with it. Neither half is a quorum."""
    federation = Federation(10)
    tape = Tape.start(federation).until("consistency")
    signatures: dict[bool, list[Signature]] = {True: [], False: []}
    for i, name in enumerate(n for n in federation.names if n != VICTIM):
        whole = i % 2 == 0
        request = tape.requests["consistency"][name] if whole else second_set(tape, name, without=VICTIM)
        response = tape.client(name).receive(request)
        signatures[whole].append(decode(Signature, header_of(response or b"").body, 1024))
    for whole, name in ((True, "c000"), (False, "c002")):
        agreed = encode(Agreed(tuple(signatures[whole]), b""))
        sid = tape.aggregator.session.sid
        request = forge(tape.requests["consistency"][name], ME, phase="unmask", body=agreed, session=sid)
        with pytest.raises(TooFewClients) as caught:
            tape.client(name).receive(request)
        assert caught.value.phase == "consistency"
    everything = tuple(sorted(signatures[True] + signatures[False], key=lambda item: item.name))
    request = forge(tape.requests["consistency"]["c000"], ME, phase="unmask", body=encode(Agreed(everything, b"")))
    with pytest.raises(BadSignature):
        tape.client("c000").receive(request)


def test_nothing_is_released_without_a_quorum_of_distinct_signers() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("unmask")

    def few(body: Agreed) -> Agreed:
        return replace(body, signatures=body.signatures[:3])

    def twice(body: Agreed) -> Agreed:
        return replace(body, signatures=body.signatures[:3] + body.signatures[2:3])

    def swapped(body: Agreed) -> Agreed:
        first, second, *rest = body.signatures
        changed = replace(first, signature=second.signature)
        return replace(body, signatures=(changed, second, *rest))

    request = tape.requests["unmask"]["c000"]
    for change, error in ((few, TooFewClients), (twice, DuplicateMessage), (swapped, BadSignature)):
        with pytest.raises(error):
            tape.client("c000").receive(edit(request, ME, Agreed, change))
    assert tape.client("c000").receive(request)


def test_nothing_is_released_before_a_set_is_signed() -> None:
    tape = Tape.start(Federation(5)).until("unmask")
    early = Tape.start(Federation(5)).until("consistency")
    with pytest.raises((WrongPhase, WrongContext)):
        early.client("c000").receive(tape.requests["unmask"]["c000"])


# --- two sums that differ by one client -----------------------------------------------------------------------


def test_two_rounds_over_almost_the_same_clients_would_give_one_away() -> None:
    """Why a client that has signed joins no second attempt: the difference of two honest sums is one update."""
    federation = Federation(6, backend="plain")
    whole = Tape.start(federation).finish()
    federation.stores = Federation(6).stores
    rest = Tape.start(federation, {VICTIM: "masked-input"}, attempt=1).finish()
    values = federation.config().layout.committed
    assert np.array_equal(whole.sums[:values] - rest.sums[:values], encoded(federation, VICTIM))


@pytest.mark.parametrize("backend", ["masking", "plain"])
@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 1},
        {"round": 1},
    ],
)
def test_a_client_that_has_signed_joins_no_other_attempt(backend: str, changes: dict[str, object]) -> None:
    federation = Federation(5, backend=backend)
    Tape.start(federation).until("consistency").answer("c000")
    again = Tape.start(federation, **changes)
    with pytest.raises(TaskSpent):
        federation.client("c000").join(again.requests["advertise"]["c000"], federation.updates["c000"])


def test_a_client_that_has_signed_joins_no_other_attempt_from_a_model_that_only_the_aggregator_knows() -> None:
    federation = Federation(5)
    Tape.start(federation).until("consistency").answer("c000")
    again = Tape.start(federation, attempt=1, start_model=bytes([7] * 32))
    with pytest.raises(PolicyViolation):
        federation.client("c000").join(again.requests["advertise"]["c000"], federation.updates["c000"])


def test_a_client_that_has_signed_joins_again_from_a_new_model() -> None:
    federation = Federation(5)
    Tape.start(federation).until("consistency").answer_all()
    again = Tape.start(federation, round=1, start_model=bytes([7] * 32))
    assert again.finish().participants == tuple(federation.names)


def test_a_client_that_has_not_signed_joins_the_next_attempt() -> None:
    federation = Federation(5)
    Tape.start(federation).until("consistency")
    assert Tape.start(federation, attempt=1).finish().participants == tuple(federation.names)


# --- train first: the input is bound by the first message -----------------------------------------------------


def test_a_client_is_bound_to_its_update_by_its_first_message() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    tape.answer("c000")
    other = [array + 1 for array in federation.updates["c000"]]
    with pytest.raises(AlreadyReleased):
        federation.client("c000").join(tape.requests["advertise"]["c000"], other)


def test_a_client_is_bound_to_one_session() -> None:
    """Shown two sets of advertisements, before and after a restart, it answers the first only."""
    federation = Federation(10)
    tape = Tape.start(federation).until("share-keys")
    tape.answer("c000")
    smaller = Tape.start(federation, {"c009": "advertise"})
    smaller.until("share-keys")
    again = federation.client("c000")
    again.join(smaller.requests["advertise"]["c000"], federation.updates["c000"])
    with pytest.raises(AlreadyReleased):
        again.receive(smaller.requests["share-keys"]["c000"])


def test_resending_after_a_restart_means_the_identical_bytes() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("unmask")
    again = federation.client("c000")
    assert (
        again.join(tape.requests["advertise"]["c000"], federation.updates["c000"])
        == tape.responses["advertise"]["c000"]
    )
    for phase in ("share-keys", "masked-input", "consistency"):
        assert again.receive(tape.requests[phase]["c000"]) == tape.responses[phase]["c000"]


# --- different views of the participants ----------------------------------------------------------------------


def swap_key(listed: AdvertisementList) -> AdvertisementList:
    """Put a key of the aggregator's own in the place of a client's."""
    item = listed.advertisements[3]
    body = item.body[:-32] + KeyPair.from_secret(b"k" * 32).public
    return replace(
        listed, advertisements=(*listed.advertisements[:3], replace(item, body=body), *listed.advertisements[4:])
    )


def drop(count: int):  # type: ignore[no-untyped-def]
    def change(listed: AdvertisementList) -> AdvertisementList:
        return replace(listed, advertisements=listed.advertisements[:-count])

    return change


def double(listed: AdvertisementList) -> AdvertisementList:
    return replace(listed, advertisements=(*listed.advertisements, listed.advertisements[-1]))


@pytest.mark.parametrize(
    ("change", "error"),
    [(swap_key, BadSignature), (drop(1), WrongContext), (drop(3), TooFewClients), (double, PolicyViolation)],
)
def test_a_client_refuses_advertisements_that_are_not_everybodys(change, error) -> None:  # type: ignore[no-untyped-def]
    tape = Tape.start(Federation(5)).until("share-keys")
    request = tape.requests["share-keys"]["c000"]
    with pytest.raises(error):
        tape.client("c000").receive(edit_first(request, ME, change))
    assert tape.client("c000").receive(request), "the genuine request is still answered"


def test_a_client_left_out_of_the_advertisements_goes_no_further() -> None:
    federation = Federation(10)
    tape = Tape.start(federation).until("share-keys")
    without = Tape.start(federation, {"c000": "advertise"}).until("share-keys")
    stolen = forge(without.requests["share-keys"]["c001"], ME, recipient="c000")
    with pytest.raises(PolicyViolation, match="own advertisement"):
        tape.client("c000").receive(stolen)


def test_clients_with_different_views_derive_unrelated_masks() -> None:
    """What is left of a split view is noise: the two ends of a pair do not even agree on their mask."""
    secret, peer = KeyPair.from_secret(b"a" * 32), KeyPair.from_secret(b"b" * 32)
    shared = secret.shared_secret(peer.public)
    assert keys.mask_key(shared, b"sid-1", b"a", b"b") != keys.mask_key(shared, b"sid-2", b"a", b"b")


def test_different_models_for_different_clients_are_different_sessions() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    other = Tape.start(federation, start_model=bytes([1] * 32))
    tape.answer("c000")
    with pytest.raises(AlreadyReleased):
        federation.client("c000").join(other.requests["advertise"]["c000"], federation.updates["c000"])
    response = other.answer("c001")
    with pytest.raises(WrongContext) as caught:
        tape.deliver(response)
    assert caught.value.culprit == "c001"


# --- edges ----------------------------------------------------------------------------------------------------


def keep(count: int):  # type: ignore[no-untyped-def]
    def change(body: Edges) -> Edges:
        return replace(body, edges=body.edges[:count])

    return change


def spoil(field: str):  # type: ignore[no-untyped-def]
    def change(body: Edges) -> Edges:
        value = getattr(body.edges[0], field)
        return replace(body, edges=(replace(body.edges[0], **{field: bytes(len(value))}), *body.edges[1:]))

    return change


def test_a_client_with_too_few_confirmed_peers_sends_nothing() -> None:
    """Withholding confirmations would leave an input with masks known to the colluders only."""
    tape = Tape.start(Federation(10)).until("masked-input")
    with pytest.raises(TooFewClients) as caught:
        tape.client("c000").receive(edit(tape.requests["masked-input"]["c000"], ME, Edges, keep(4)))
    assert caught.value.phase == "masked-input"


@pytest.mark.parametrize("field", ["confirmation", "sealed", "mask_hash", "seed_hash"])
def test_an_altered_edge_is_not_used(field: str) -> None:
    tape = Tape.start(Federation(5)).until("masked-input")
    tape.client("c000").receive(edit(tape.requests["masked-input"]["c000"], ME, Edges, spoil(field)))
    assert side(tape, "c000")._active == [2, 3, 4]


def test_relayed_peers_out_of_order_or_unknown_are_refused() -> None:
    tape = Tape.start(Federation(5)).until("masked-input")
    request = tape.requests["masked-input"]["c000"]
    for change in (
        lambda body: replace(body, edges=body.edges[::-1]),
        lambda body: replace(body, edges=(*body.edges, replace(body.edges[-1], peer=9))),
        lambda body: replace(body, edges=(replace(body.edges[0], peer=0), *body.edges[1:])),
    ):
        with pytest.raises(PolicyViolation) as caught:
            tape.client("c000").receive(edit(request, ME, Edges, change))
        assert caught.value.culprit == "aggregator"


def test_a_client_refuses_a_set_in_which_too_few_of_its_masks_remain() -> None:
    """Confirmations withheld by the aggregator: the input is out, but the client signs no set that would unmask it."""
    federation = Federation(10)
    tape = Tape.start(federation).until("masked-input")
    tape.client("c000").receive(edit(tape.requests["masked-input"]["c000"], ME, Edges, keep(6)))
    assert side(tape, "c000")._active == [1, 2, 3, 4, 5, 6]
    with pytest.raises(TooFewClients):
        side(tape, "c000").agree(("c000", "c001", "c002", "c007", "c008", "c009"))


# --- two key pairs --------------------------------------------------------------------------------------------


def test_one_key_pair_for_both_purposes_would_open_sealed_shares() -> None:
    """Why there are two: the mask key of a client that drops out is rebuilt, and with it any channel made from it."""
    tape = Tape.start(Federation(5)).until("masked-input")
    session = tape.aggregator.session
    lost = session.members[4]
    rebuilt = side(tape, lost)._mask
    edge = tape.aggregator._side._edges[0][4]
    sender = session.members[0].encode()

    naive = KeyPair.from_secret(b"s" * 32)
    sealed = keys.seal(naive.shared_secret(rebuilt.public), session.sid, sender, lost.encode(), b"share")
    opened = keys.unseal(rebuilt.shared_secret(naive.public), session.sid, sender, lost.encode(), sealed)
    assert opened == b"share", "shares sealed to the mask key open once that key is rebuilt"

    for public in split_part("c000", session.parts["c000"]):
        with pytest.raises(keys.KeyAgreementError):
            keys.unseal(
                rebuilt.shared_secret(public),
                session.sid,
                sender,
                lost.encode(),
                edge.sealed,
                edge.mask_hash,
                edge.seed_hash,
            )


# --- requests that are not what they seem ---------------------------------------------------------------------


def test_a_client_checks_who_a_request_is_from_and_for() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    request = tape.requests["advertise"]["c000"]
    update = federation.updates["c000"]
    for altered, error in (
        (forge(request, identity("mallory")), BadSignature),
        (forge(request, identity("mallory"), sender="mallory"), UnknownSender),
        (forge(request, identity("c001"), sender="c001"), UnknownSender),
        (tape.requests["advertise"]["c001"], UnknownSender),
        (forge(request, ME, version=2), MalformedMessage),
        (forge(request, ME, session=bytes(32)), WrongContext),
        (forge(request, ME, bulk=b"extra"), MalformedMessage),
        (request[:-1], MalformedMessage),
        (request + b"\0", MalformedMessage),
        (b"", MalformedMessage),
    ):
        with pytest.raises(error):
            federation.client("c000").join(altered, update)
    assert federation.client("c000").join(request, update)


@pytest.mark.parametrize(
    ("pins", "word"),
    [
        ({"clip": 4.0}, "clip"),
        ({"min_clients": 2}, "min_clients"),
        ({"backend": "plain"}, "backend"),
        ({"bits": 15}, "bits"),
    ],
)
def test_a_client_refuses_another_policy_than_it_has_pinned(pins: dict[str, object], word: str) -> None:
    """The aggregator can't choose the thresholds, let alone a backend that hides nothing."""
    ours, theirs = Federation(5), Federation(5, policy_changes={k: v for k, v in pins.items() if k != "backend"})
    if "backend" in pins:
        theirs = Federation(5, backend="plain")
    with pytest.raises(TrustError, match=word):
        ours.client("c000").join(Tape.start(theirs).requests["advertise"]["c000"], ours.updates["c000"])


def test_a_client_refuses_another_cohort_than_it_has_pinned() -> None:
    """A cohort of made-up members would leave the one honest client alone with the aggregator."""
    federation = Federation(5)
    crowd = Federation(6)
    with pytest.raises(TrustError):
        federation.client("c000").join(Tape.start(crowd).requests["advertise"]["c000"], federation.updates["c000"])


def test_a_client_that_trained_from_another_model_does_not_join() -> None:
    federation = Federation(5)
    request = Tape.start(federation).requests["advertise"]["c000"]
    with pytest.raises(WrongContext, match="another model"):
        federation.client("c000").join(request, federation.updates["c000"], start_model=bytes([1] * 32))


def test_requests_out_of_turn_are_refused_and_lose_nothing() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("consistency")
    client = tape.client("c000")
    assert client.receive(tape.requests["share-keys"]["c000"]) == tape.responses["share-keys"]["c000"]
    for phase in ("masked-input", "advertise"):
        with pytest.raises(WrongPhase):
            client.receive(tape.requests[phase]["c000"])
    foreign = Tape.start(Federation(5, task="other")).until("consistency")
    with pytest.raises(WrongContext):
        client.receive(foreign.requests["consistency"]["c000"])
    assert client.receive(tape.requests["consistency"]["c000"])


def test_a_client_signs_no_set_with_a_wrong_entry_of_its_own() -> None:
    tape = Tape.start(Federation(5)).until("consistency")
    request = tape.requests["consistency"]["c000"]

    def alter(body: Statement) -> Statement:
        return replace(body, entries=(replace(body.entries[0], value=bytes(32)), *body.entries[1:]))

    def leave_out(body: Statement) -> Statement:
        return replace(body, entries=body.entries[1:])

    def stranger(body: Statement) -> Statement:
        return replace(body, entries=(*body.entries, replace(body.entries[0], name="zzz")))

    def shrink(body: Statement) -> Statement:
        return replace(body, entries=body.entries[:2])

    for change, error in (
        (alter, PolicyViolation),
        (leave_out, PolicyViolation),
        (stranger, UnknownSender),
        (shrink, TooFewClients),
    ):
        with pytest.raises(error):
            tape.client("c000").receive(edit(request, ME, Statement, change))


# --- the result -----------------------------------------------------------------------------------------------


def test_a_client_refuses_a_result_that_is_not_what_was_committed_to() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    evidence = tape.finish()
    honest = {envelope.recipient: envelope.data for envelope in tape.aggregator.results()}
    sums = bytearray(evidence.to_bytes())
    sums[-4 * evidence.sums.size] ^= 1
    with pytest.raises(VerificationError):
        tape.client("c000").finish(forge(honest["c000"], ME, bulk=bytes(sums)))
    other = Tape.start(Federation(5, seed=1), round=1)
    other.finish()
    foreign = next(envelope.data for envelope in other.aggregator.results() if envelope.recipient == "c000")
    with pytest.raises(SecureAggError):
        tape.client("c000").finish(foreign)
    assert tape.client("c000").finish(honest["c000"]).record == tape.aggregator.verified.record


@pytest.mark.parametrize("kind", ["advertisements", "agreement"])
def test_only_the_very_signatures_that_a_client_has_seen_are_not_checked_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that knows a session by its id, or a quorum by what is signed, would keep evidence that convinces nobody
    else: the session is the honest one, and the altered signature nobody's.
    """
    federation = Federation(5)
    tape = Tape.start(federation)
    evidence = tape.finish()
    client = tape.client("c000")
    honest = next(envelope.data for envelope in tape.aggregator.results() if envelope.recipient == "c000")
    first, *others = getattr(evidence, kind)
    altered = replace(first, signature=first.signature[:-1] + bytes([first.signature[-1] ^ 1]))
    lie = dataclasses.replace(evidence, **{kind: (altered, *others)})
    with pytest.raises(VerificationError, match="signature"):
        client.finish(forge(honest, ME, bulk=lie.to_bytes()))
    checked = []
    real = identity_module.verify_signature
    for module in (messages, agreement):
        monkeypatch.setattr(module, "verify_signature", lambda *args, **named: checked.append(real(*args, **named)))
    assert client.finish(honest).record == tape.aggregator.verified.record
    assert len(checked) == 1, "the result's own"


def test_an_exclusion_after_acceptance_can_be_shown() -> None:
    """An aggregator that answers an input with a receipt and drops it is convicted by its own signature."""
    federation = Federation(5)
    tape = Tape.start(federation).until("masked-input")
    tape.answer_all(but=("c004",))
    response = tape.answer("c004")
    accepted = Acceptance("c004", tape.aggregator.session.commitment_hashes["c004"], header_of(response).bulk_digest)
    receipt = tape.aggregator._asking.message("c004", "receipt", encode(accepted)).data
    tape.client("c004").receive(receipt)
    tape.local.silent = {"c004": "consistency"}
    tape.advance()
    evidence = tape.finish()
    assert "c004" not in evidence.participants
    auditor = Auditor(federation.trust)
    assert tape.client("c004").receipts["aggregator"] == receipt
    assert auditor.show_exclusion(receipt, evidence) == "c004"
    taken = tape.client("c000").receipts["aggregator"]
    assert taken is not None
    for wrong in (taken, forge(receipt, identity("c004")), receipt[:-1], tape.requests["unmask"]["c000"]):
        with pytest.raises(VerificationError):
            auditor.show_exclusion(wrong, evidence)
    with pytest.raises(TrustError):
        Auditor().show_exclusion(receipt, evidence)


def test_a_receipt_for_another_input_is_refused() -> None:
    tape = Tape.start(Federation(5)).until("consistency")
    other = tape.aggregator._asking.message("c000", "receipt", encode(Acceptance("c000", bytes(32), bytes(32)))).data
    with pytest.raises(PolicyViolation):
        tape.client("c000").receive(other)


def test_a_forged_configuration_is_refused() -> None:
    federation = Federation(5)
    request = Tape.start(federation).requests["advertise"]["c000"]
    config = federation.config()
    loose = replace(config, attempt=5)
    assert isinstance(loose, RoundConfig)
    with pytest.raises(WrongContext):
        federation.client("c000").join(forge(request, ME, body=loose.to_bytes()), federation.updates["c000"])
