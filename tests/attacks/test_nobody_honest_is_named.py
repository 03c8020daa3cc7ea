"""Whom an error names, whatever others send, withhold or relay: never a party that keeps to the protocol.

======================================  ==========================================  ================================
what is wrong                           who may have caused it                      who is named
======================================  ==========================================  ================================
a message breaks a rule by itself       its signer                                  the signer
a share against its dealer's hash       its holder                                  the holder (``BadShare``)
good shares rebuild a wrong secret      its dealer, whose signature binds both      the dealer (``DealerFault``)
a mask in one of two inputs only        either end of the edge                      nobody (``Disputed``)
too many edges denied                   either ends, or all                         nobody (``Disputed``)
too few say that they hold good shares  the dealer, or those who say so             nobody (``Unattributed``)
a key or commitment hash shown twice    either of the two                           nobody (``DuplicateMessage``)
a sum that fails its check              any client                                  nobody (``Unattributed``)
what a request only relays              who has signed the request: an honest       the aggregator
                                        aggregator checks what it relays
what evidence or a set-up holds         whoever has put it together                 nobody
an operator does not answer             itself, or the network                      it, as lost (``OperatorLost``)
======================================  ==========================================  ================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest
from support.federation import Federation, Tape, edit, edit_first, forge, header_of, identity, replace
from support.refusals import CHEAT

from mpc.keys import CONFIRMATION_BYTES
from secure_agg.backends.masking.aggregator import MaskingAggregator
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.wire import Edge, KeyShares
from secure_agg.errors import (
    BadInput,
    DealerFault,
    Disputed,
    DuplicateMessage,
    RemoteProtocolError,
    Unattributed,
    VerificationError,
)
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.evidence import OpeningRequest
from secure_agg.protocol.messages import Advertisement, AdvertisementList, Agreed, Statement
from secure_agg.roles import auditor

ME = identity("aggregator")
VICTIM, LOST = "c001", "c004"
HOLDER = "keyholder-1"

Spoil = Callable[[Edge], Edge]
SPOILERS: dict[str, Spoil] = {
    "confirmation": lambda edge: replace(edge, confirmation=bytes(CONFIRMATION_BYTES)),
    "sealed share": lambda edge: replace(edge, sealed=edge.sealed[::-1]),
    "hash": lambda edge: replace(edge, seed_hash=bytes(32)),
}


class Framer(MaskingClient):
    """Sends its victim something bad, so that the victim has to deny the edge; and may drop the edge itself."""

    spoil: Spoil
    drops: bool

    def _share_keys(self) -> KeyShares:
        shares = super()._share_keys()
        victim = self._index[VICTIM]
        edges = tuple(self.spoil(edge) if edge.peer == victim else edge for edge in shares.edges)  # type: ignore[call-arg]
        return KeyShares(edges, shares.own_hash)

    def _open_shares(self, edge: Edge, channel: bytes) -> tuple[bytes, bytes] | None:
        if self.drops and edge.peer == self._index[VICTIM]:
            return None
        return super()._open_shares(edge, channel)


def framed(n: int, what: str, *, drops: bool, silent: dict[str, str] | None = None) -> Tape:
    """A round up to the inputs in which the cheat has framed its victim."""
    tape = Tape.start(Federation(n), silent).until("share-keys")
    cheat = type("Cheat", (Framer,), {"spoil": staticmethod(SPOILERS[what]), "drops": drops})
    tape.client(CHEAT)._joined.side.__class__ = cheat
    return tape.until("masked-input")


# --- shares that somebody says are bad ------------------------------------------------------------------------


@pytest.mark.parametrize("what", SPOILERS)
def test_a_victim_of_bad_shares_is_not_named_when_its_own_are_too_few(what: str) -> None:
    """The cheat and one more honest client are missing among those who hold the victim's shares."""
    tape = framed(5, what, drops=True, silent={LOST: "masked-input"})
    tape.answer_all()
    with pytest.raises(Unattributed) as caught:
        tape.advance()
    assert (caught.value.culprit, caught.value.phase) == (None, "consistency")
    assert not isinstance(caught.value, DealerFault)
    assert Tape.start(tape.federation, attempt=1).finish(), "nobody has signed, so all can go on"


def test_naively_the_denials_of_a_cheat_would_name_its_victim() -> None:
    """What the set shows: the victim's shares are too few, and nothing of why."""
    tape = framed(5, "confirmation", drops=True, silent={LOST: "masked-input"})
    tape.answer_all()
    side = tape.aggregator._side
    assert isinstance(side, MaskingAggregator)
    holders = {name: sum(me in active for active in side._active.values()) for name, me in side._index.items()}
    assert min(holders, key=lambda name: (holders[name], name)) == VICTIM


@pytest.mark.parametrize("what", SPOILERS)
@pytest.mark.parametrize("first", [VICTIM, CHEAT])
def test_of_two_ends_that_disagree_the_second_is_left_out_and_neither_named(what: str, first: str) -> None:
    tape = framed(10, what, drops=False)
    second = CHEAT if first == VICTIM else VICTIM
    tape.deliver(tape.answer(first))
    with pytest.raises(Disputed) as caught:
        tape.deliver(tape.answer(second))
    assert (caught.value.culprit, caught.value.phase) == (None, "masked-input")
    assert isinstance(caught.value, BadInput)
    tape.answer_all(but=(first, second))
    tape.advance()
    assert second not in tape.finish().participants


@pytest.mark.parametrize("n", [3, 4])
def test_denying_more_peers_than_may_be_corrupt_names_nobody(n: int) -> None:
    """Where none may be corrupt, one cheat makes its victim deny one too many."""
    tape = framed(n, "confirmation", drops=True)
    with pytest.raises(Disputed) as caught:
        tape.deliver(tape.answer(VICTIM))
    assert caught.value.culprit is None


# --- what two have shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [slice(0, 32), slice(32, 64)], ids=["channel", "mask"])
def test_whoever_shows_a_copied_key_second_is_not_named(half: slice) -> None:
    tape = Tape.start(Federation(5))
    good, theirs = tape.answer(VICTIM), tape.answer(CHEAT)
    stolen = msgspec.msgpack.decode(header_of(good).body)[1][half]

    def copy(body: Advertisement) -> Advertisement:
        part = bytearray(body.backend)
        part[half] = stolen
        return replace(body, backend=bytes(part))

    tape.deliver(edit(theirs, identity(CHEAT), Advertisement, copy))
    with pytest.raises(DuplicateMessage) as caught:
        tape.deliver(good)
    assert caught.value.culprit is None


def test_whoever_shows_a_copied_commitment_hash_second_is_not_named() -> None:
    tape = Tape.start(Federation(5))
    good, theirs = tape.answer(VICTIM), tape.answer(CHEAT)
    stolen = msgspec.msgpack.decode(header_of(good).body)[0]
    tape.deliver(edit(theirs, identity(CHEAT), Advertisement, lambda body: replace(body, commitment_hash=stolen)))
    with pytest.raises(DuplicateMessage) as caught:
        tape.deliver(good)
    assert caught.value.culprit is None


# --- what is only relayed -------------------------------------------------------------------------------------


def altered_advertisement(listed: AdvertisementList) -> AdvertisementList:
    first, *rest = listed.advertisements
    return replace(listed, advertisements=(replace(first, signature=bytes(64)), *rest))


def copied_advertisement(listed: AdvertisementList) -> AdvertisementList:
    first, second, *rest = listed.advertisements
    return replace(listed, advertisements=(first, replace(second, body=first.body), *rest))


@pytest.mark.parametrize("change", [altered_advertisement, copied_advertisement])
def test_a_client_names_the_aggregator_for_advertisements_that_it_relays(
    change: Callable[[AdvertisementList], AdvertisementList],
) -> None:
    tape = Tape.start(Federation(5)).until("share-keys")
    with pytest.raises(RemoteProtocolError) as caught:
        tape.client("c003").receive(edit_first(tape.requests["share-keys"]["c003"], ME, change))
    assert caught.value.culprit == ME.name


def test_a_client_names_the_aggregator_for_signatures_that_it_relays() -> None:
    tape = Tape.start(Federation(5)).until("unmask")
    for change in (
        lambda agreed: replace(agreed, signatures=(replace(agreed.signatures[0], signature=bytes(64)),) * 1
                               + agreed.signatures[1:]),
        lambda agreed: replace(agreed, signatures=(replace(agreed.signatures[0], name="a"), *agreed.signatures[1:])),
    ):  # fmt: skip
        with pytest.raises(RemoteProtocolError) as caught:
            tape.client("c003").receive(edit(tape.requests["unmask"]["c003"], ME, Agreed, change))
        assert caught.value.culprit == ME.name


def test_a_client_names_the_aggregator_for_the_set_that_it_proposes() -> None:
    tape = Tape.start(Federation(5)).until("consistency")

    def shorten(statement: Statement) -> Statement:
        first, *rest = statement.entries
        return replace(statement, entries=(replace(first, value=b"short"), *rest))

    with pytest.raises(RemoteProtocolError) as caught:
        tape.client("c003").receive(edit(tape.requests["consistency"]["c003"], ME, Statement, shorten))
    assert caught.value.culprit == ME.name


def test_a_key_holder_names_the_aggregator_for_what_it_relays() -> None:
    tape = Tape.start(Federation(5, backend="paillier", options={"modulus_bits": 2048})).until("decrypt")
    request = tape.requests["decrypt"][HOLDER]

    def opening(asked: OpeningRequest) -> OpeningRequest:
        return replace(asked, openings=(replace(asked.openings[0], nonce=bytes(32)), *asked.openings[1:]))

    def advertisement(asked: OpeningRequest) -> OpeningRequest:
        first, *rest = asked.advertisements
        return replace(asked, advertisements=(replace(first, signature=bytes(64)), *rest))

    def vote(asked: OpeningRequest) -> OpeningRequest:
        return replace(asked, agreement=(replace(asked.agreement[0], signature=bytes(64)), *asked.agreement[1:]))

    for change in (opening, advertisement, vote):
        with pytest.raises(RemoteProtocolError) as caught:
            tape.local.holders[HOLDER].receive(edit(request, ME, OpeningRequest, change))
        assert caught.value.culprit == ME.name


def test_a_client_names_the_aggregator_for_a_certificate_that_is_not_signed() -> None:
    federation = Federation(5, backend="paillier", options={"modulus_bits": 2048})
    assert federation.certificate is not None
    signed = federation.certificate.holders[0]
    forged = replace(federation.certificate, holders=(replace(signed, signature=bytes(64)),))
    tape = Tape.start(federation)
    config = federation.config(setup=setup_digest(forged.to_bytes()))
    request = forge(
        tape.requests["advertise"]["c003"], ME, body=config.to_bytes(), session=config.context, bulk=forged.to_bytes()
    )
    with pytest.raises(RemoteProtocolError) as caught:
        federation.client("c003").join(request, federation.updates["c003"])
    assert caught.value.culprit == ME.name


def test_evidence_that_somebody_has_altered_accuses_nobody() -> None:
    evidence = Tape.start(Federation(5)).finish()
    advertisement, opening, vote = evidence.advertisements[0], evidence.openings[0], evidence.agreement[0]
    for change in (
        {"advertisements": (msgspec.structs.replace(advertisement, signature=bytes(64)), *evidence.advertisements[1:])},
        {"openings": (msgspec.structs.replace(opening, nonce=bytes(32)), *evidence.openings[1:])},
        {"agreement": (msgspec.structs.replace(vote, signature=bytes(64)), *evidence.agreement[1:])},
    ):
        with pytest.raises(VerificationError) as caught:
            auditor.verify(dataclasses.replace(evidence, **change))
        assert caught.value.culprit is None
        assert "c000" in str(caught.value), "the text still says where to look"
