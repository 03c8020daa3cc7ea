"""Malicious and broken clients: each is refused with a typed error that names phase and culprit, and the rest go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation, Tape, bulk_of, edit, forge, header_of, identity, replace
from support.refusals import CHEAT, NOBODY, refused

from mpc import ring
from mpc.keys import KeyPair
from mpc.ring import P, Vector
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.wire import Edge, KeyShares, MaskedPart, Released
from secure_agg.errors import (
    BadCommitment,
    BadInput,
    BadKey,
    BadShare,
    BadSignature,
    DealerFault,
    Disputed,
    DuplicateMessage,
    MalformedMessage,
    RemoteProtocolError,
    Unattributed,
    UnknownSender,
    VerificationError,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import Advertisement, HiddenInput, Signature, decode, encode
from secure_agg.protocol.session import Session
from secure_agg.roles.client import client, committing
from secure_agg.roles.client.committing import Committed
from zk import aggregate, commitment
from zk.aggregate import AggregateStatement
from zk.commitment import Commitment

Change = Callable[[Any], Any]


# --- form: any phase, any backend -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "phase"),
    [("masking", phase) for phase in ("advertise", "share-keys", "masked-input", "consistency", "unmask")]
    + [("plain", phase) for phase in ("advertise", "masked-input", "consistency")],
)
def test_malformed_and_misdirected_messages_are_refused_in_every_phase(backend: str, phase: str) -> None:
    federation = Federation(5, backend=backend)
    tape = Tape.start(federation).until(phase)
    good = tape.answer(CHEAT)
    me = identity(CHEAT)
    cases: list[tuple[bytes, type[RemoteProtocolError], str | None]] = [
        (b"", MalformedMessage, None),
        (good[:3], MalformedMessage, None),
        (good[:-1], MalformedMessage, None),
        (good + b"\0", MalformedMessage, None),
        (b"\xff" * len(good), MalformedMessage, None),
        (forge(good, me, version=2), MalformedMessage, CHEAT),
        (forge(good, me, phase="lunch"), WrongPhase, CHEAT),
        (forge(good, me, session=bytes(32)), WrongContext, CHEAT),
        (forge(good, me, recipient="c003"), UnknownSender, CHEAT),
        (forge(good, identity("mallory"), sender="mallory"), UnknownSender, "mallory"),
        (forge(good, identity("c003")), BadSignature, CHEAT),
        (forge(good, None, signature=bytes(64)), BadSignature, CHEAT),
        (forge(good, None, signature=b""), BadSignature, CHEAT),
        (forge(good, me, body=header_of(good).body + b"\0"), MalformedMessage, CHEAT),
        (forge(good, me, body=b""), MalformedMessage, CHEAT),
        (forge(good, me, bulk=bulk_of(good) + bytes(4)), MalformedMessage, CHEAT),
    ]
    for message, error, culprit in cases:
        refused(tape, message, error, culprit)
    tape.deliver(good)
    refused(tape, good, DuplicateMessage)
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    assert tape.finish().participants == tuple(federation.names)


def test_messages_of_another_round_or_attempt_are_refused() -> None:
    federation = Federation(5)
    old = Tape.start(federation).until("masked-input")
    old.answer_all()
    federation.stores = Federation(5).stores
    tape = Tape.start(federation, attempt=1)
    refused(tape, old.responses["advertise"][CHEAT], WrongContext)
    tape.until("masked-input")
    refused(tape, old.responses["masked-input"][CHEAT], WrongContext)


def test_a_client_that_dropped_out_does_not_come_back() -> None:
    tape = Tape.start(Federation(5), {CHEAT: "share-keys"}).until("masked-input")
    late = forge(tape.responses["advertise"][CHEAT], identity(CHEAT), phase="masked-input")
    refused(tape, late, UnknownSender)


# --- advertise ------------------------------------------------------------------------------------------------


def keys_as(channel: bytes, mask: bytes) -> Change:
    return lambda body: replace(body, backend=channel + mask)


LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


@pytest.mark.parametrize("bad", [*LOW_ORDER, (2**255 - 19).to_bytes(32, "little"), b"\xff" * 32])
@pytest.mark.parametrize("place", [0, 1])
def test_low_order_and_non_canonical_keys_are_refused(bad: bytes, place: int) -> None:
    tape = Tape.start(Federation(5))
    good = tape.answer(CHEAT)
    fine = KeyPair.from_secret(b"x" * 32).public
    change = keys_as(bad, fine) if place == 0 else keys_as(fine, bad)
    refused(tape, edit(good, identity(CHEAT), Advertisement, change), BadKey)


def test_a_key_of_somebody_else_is_refused() -> None:
    """Reflection and copying: a mask shared with oneself, or with a key one does not hold, would not cancel."""
    tape = Tape.start(Federation(5))
    tape.deliver(tape.answer("c000"))
    theirs = decode(Advertisement, header_of(tape.responses["advertise"]["c000"]).body, 1024).backend
    good = tape.answer(CHEAT)
    own = decode(Advertisement, header_of(good).body, 1024).backend
    for part in (theirs, theirs[32:] + own[32:], own[:32] + theirs[:32]):
        refused(tape, edit(good, identity(CHEAT), Advertisement, keys_as(part, b"")), DuplicateMessage, NOBODY)
    refused(tape, edit(good, identity(CHEAT), Advertisement, keys_as(own[:32], own[:32])), BadKey)


def test_a_copied_commitment_hash_is_refused() -> None:
    tape = Tape.start(Federation(5))
    tape.deliver(tape.answer("c000"))
    theirs = decode(Advertisement, header_of(tape.responses["advertise"]["c000"]).body, 1024).commitment_hash
    good = tape.answer(CHEAT)
    copied = edit(good, identity(CHEAT), Advertisement, lambda body: replace(body, commitment_hash=theirs))
    refused(tape, copied, DuplicateMessage, NOBODY)


# --- commitments that depend on others' -----------------------------------------------------------------------


def test_revealing_commitments_at_once_would_let_the_last_client_choose_the_result() -> None:
    """Why every client first signs a hash: with C = h(wanted) − (the others' sum) any result passes the check."""
    federation = Federation(3)
    config = federation.config()
    layout, rank = config.layout, config.commitment.rank

    def both(x: int, s: int) -> tuple[Vector, Vector]:
        return np.full(layout.committed, x, np.uint32), np.full(layout.randomness, s, np.uint32)

    others = [commitment.commit(*both(i, i), rank) for i in (5, 9)]
    wanted, opened = both(12345, 7)
    chosen = commitment.commit(wanted, opened, rank).elements.copy()
    for other in others:
        ring.subtract_from(chosen, other.elements)
    statement = AggregateStatement(config.commitment, config.policy.top, (*others, Commitment(chosen)), wanted, opened)
    aggregate.check(statement)


def test_a_commitment_that_was_not_fixed_from_the_start_is_refused() -> None:
    tape = Tape.start(Federation(5)).until("masked-input")
    good = tape.answer(CHEAT)
    chosen = commitment.commit(np.zeros(14, np.uint32), np.zeros(2560, np.uint32), 3)

    def other(body: HiddenInput) -> HiddenInput:
        return replace(body, commitment=chosen.to_bytes())

    def nonce(body: HiddenInput) -> HiddenInput:
        return replace(body, nonce=bytes(32))

    def long(body: HiddenInput) -> HiddenInput:
        return replace(body, commitment=body.commitment + bytes(4))

    def large(body: HiddenInput) -> HiddenInput:
        return replace(body, commitment=b"\xff\xff\xff\xff" + body.commitment[4:])

    for change in (other, nonce, long, large):
        refused(tape, edit(good, identity(CHEAT), HiddenInput, change), BadCommitment)
    tape.deliver(good)


def test_a_copied_commitment_does_not_open_its_own_hash() -> None:
    tape = Tape.start(Federation(5)).until("masked-input")
    tape.deliver(tape.answer("c000"))
    theirs = decode(HiddenInput, header_of(tape.responses["masked-input"]["c000"]).body, 1 << 20)
    good = tape.answer(CHEAT)

    def copy(body: HiddenInput) -> HiddenInput:
        return replace(body, commitment=theirs.commitment, nonce=theirs.nonce)

    refused(tape, edit(good, identity(CHEAT), HiddenInput, copy), BadCommitment)


# --- masked inputs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [P, P + 1, 2**32 - 1])
def test_an_element_that_is_not_canonical_is_refused(value: int) -> None:
    tape = Tape.start(Federation(5, policy_changes={"bits": 24})).until("masked-input")  # not packed
    good = tape.answer(CHEAT)
    bulk = value.to_bytes(4, "little") + bulk_of(good)[4:]
    refused(tape, forge(good, identity(CHEAT), bulk=bulk), BadInput)


def one_more(hidden: bytes) -> bytes:
    """Every element of Z_p."""
    changed = (np.frombuffer(hidden, "<u4").astype(np.uint64) + 1) % P
    return changed.astype("<u4").tobytes()


def words_more(by: int) -> Callable[[bytes], bytes]:
    """Every word."""
    return lambda hidden: (np.frombuffer(hidden, "<u8") + np.uint64(by)).tobytes()


@pytest.mark.parametrize("backend", ["masking", "plain"])
@pytest.mark.parametrize(
    ("bits", "alter"), [(24, one_more), (8, words_more(1)), (8, words_more(1 << 63)), (2, words_more(1 << 40))]
)
def test_an_input_that_is_not_what_was_committed_to_ends_the_round_and_names_nobody(
    backend: str, bits: int, alter: Callable[[bytes], bytes]
) -> None:
    tape = Tape.start(Federation(5, backend=backend, policy_changes={"bits": bits})).until("masked-input")
    good = tape.answer(CHEAT)
    tape.aggregator.receive(forge(good, identity(CHEAT), bulk=alter(bulk_of(good))))
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    with pytest.raises(Unattributed) as caught:
        tape.finish()
    assert isinstance(caught.value.__cause__, VerificationError)
    assert tape.aggregator.state == "aborted"
    assert tape.aggregator.evidence is None


def test_a_mask_that_only_one_end_used_is_refused_at_the_second_end() -> None:
    tape = Tape.start(Federation(10)).until("masked-input")
    for name in ("c000", "c001"):
        tape.deliver(tape.answer(name))

    def deny(body: HiddenInput) -> HiddenInput:
        part = decode(MaskedPart, body.backend, 1 << 16)
        return replace(body, backend=encode(replace(part, active=part.active[1:])))

    good = tape.answer(CHEAT)
    refused(tape, edit(good, identity(CHEAT), HiddenInput, deny), Disputed, NOBODY)


def test_masks_with_strangers_are_refused() -> None:
    tape = Tape.start(Federation(5), {"c004": "share-keys"}).until("masked-input")
    good = tape.answer(CHEAT)

    def claim(*active: int) -> Change:
        def change(body: HiddenInput) -> HiddenInput:
            part = decode(MaskedPart, body.backend, 1 << 16)
            return replace(body, backend=encode(replace(part, active=active)))

        return change

    for active in ((0, 1, 3, 4), (0, 1, 2, 3), (1, 0, 3), (0, 0, 1, 3), (0, 1, 3, 99), (-1, 0, 1, 3)):
        refused(tape, edit(good, identity(CHEAT), HiddenInput, claim(*active)), MalformedMessage)


# --- shares ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda body: replace(body, edges=body.edges[1:]),
        lambda body: replace(body, edges=body.edges[::-1]),
        lambda body: replace(body, edges=(*body.edges, body.edges[0])),
        lambda body: replace(body, edges=(replace(body.edges[0], sealed=b""), *body.edges[1:])),
        lambda body: replace(body, edges=(replace(body.edges[0], confirmation=bytes(15)), *body.edges[1:])),
        lambda body: replace(body, edges=(replace(body.edges[0], seed_hash=b""), *body.edges[1:])),
        lambda body: replace(body, own_hash=b""),
    ],
)
def test_key_shares_of_another_form_are_refused(change: Change) -> None:
    tape = Tape.start(Federation(5)).until("share-keys")
    good = tape.answer(CHEAT)
    refused(tape, edit(good, identity(CHEAT), KeyShares, change), MalformedMessage)


def test_a_released_share_that_is_not_the_one_dealt_names_its_holder() -> None:
    tape = Tape.start(Federation(5), {"c004": "masked-input"}).until("unmask")
    good = tape.answer(CHEAT)

    def first(**changes: Any) -> Change:
        return lambda body: replace(body, shares=(replace(body.shares[0], **changes), *body.shares[1:]))

    refused(tape, edit(good, identity(CHEAT), Released, first(share=bytes(36))), BadShare)
    refused(tape, edit(good, identity(CHEAT), Released, first(share=b"")), BadShare)
    stranger: Change = lambda body: replace(body, shares=(*body.shares[:-1], replace(body.shares[-1], dealer=99)))  # noqa: E731
    refused(tape, edit(good, identity(CHEAT), Released, stranger), UnknownSender)
    refused(
        tape,
        edit(good, identity(CHEAT), Released, lambda body: replace(body, shares=(*body.shares[:1], *body.shares))),
        DuplicateMessage,
    )
    tape.deliver(good)


def test_the_share_of_the_other_kind_is_refused() -> None:
    """A holder in league with the aggregator can't slip it the second share inside the protocol either."""
    tape = Tape.start(Federation(5), {"c004": "masked-input"}).until("unmask")
    cheat = tape.client(CHEAT)._joined.side
    assert isinstance(cheat, MaskingClient)
    other_kind = cheat._mask_shares[0]
    good = tape.answer(CHEAT)

    def slip(body: Released) -> Released:
        return replace(body, shares=(replace(body.shares[0], share=other_kind), *body.shares[1:]))

    refused(tape, edit(good, identity(CHEAT), Released, slip), BadShare)


class BadDealer(MaskingClient):
    """Deals consistent shares of secrets that are not the ones it uses."""

    spoiled = "seed"

    def _share_keys(self) -> KeyShares:
        seed, mask = self._seed, self._mask
        if self.spoiled == "seed":
            self._seed = bytes(32)
        else:
            self._mask = KeyPair(bytes([1]) * 32, self._mask.public)
            self._secrets = lambda peer: self._true_secrets(peer, mask)  # type: ignore[method-assign]
        shares = super()._share_keys()
        self._seed, self._mask = seed, mask
        return shares

    def _true_secrets(self, peer: int, mask: KeyPair) -> tuple[bytes, bytes]:
        channel_key, mask_key = self._public(peer)
        return self._channel.shared_secret(channel_key), mask.shared_secret(mask_key)


@pytest.mark.parametrize(("spoiled", "silent"), [("seed", {}), ("mask", {CHEAT: "masked-input"})])
def test_valid_shares_of_a_wrong_secret_name_their_dealer(spoiled: str, silent: dict[str, str]) -> None:
    federation = Federation(5)
    tape = Tape.start(federation, silent).until("share-keys")
    side = tape.client(CHEAT)._joined.side
    side.__class__ = type("Spoiled", (BadDealer,), {"spoiled": spoiled})
    with pytest.raises(DealerFault) as caught:
        tape.finish()
    assert (caught.value.culprit, caught.value.phase) == (CHEAT, "unmask")


class ShareSpoiler(MaskingClient):
    """Seals other shares than it vouches for."""

    def _share_keys(self) -> KeyShares:
        shares = super()._share_keys()
        spoiled = tuple(
            Edge(edge.peer, edge.confirmation, edge.sealed[::-1], edge.mask_hash, edge.seed_hash)
            if edge.peer == 0
            else edge
            for edge in shares.edges
        )
        return KeyShares(spoiled, shares.own_hash)


def test_a_receiver_checks_its_share_at_once_and_leaves_the_edge_out() -> None:
    """The dealer used the mask and the receiver did not: the second of the two is refused, the others finish."""
    tape = Tape.start(Federation(10)).until("share-keys")
    tape.client(CHEAT)._joined.side.__class__ = ShareSpoiler
    tape.until("masked-input")
    tape.answer_all(but=(CHEAT,))
    refused(tape, tape.answer(CHEAT), Disputed, NOBODY)
    tape.advance()
    assert CHEAT not in tape.finish().participants


# --- signatures of the set ------------------------------------------------------------------------------------


def test_a_signature_of_another_set_or_another_signer_is_refused() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("consistency")
    good = tape.answer(CHEAT)
    session = tape.aggregator.session
    assert isinstance(session, Session)
    other = tape.answer("c003")
    theirs = decode(Signature, header_of(other).body, 1024)
    for body in (theirs, Signature(CHEAT, theirs.signature), Signature(CHEAT, bytes(64)), Signature(CHEAT, b"")):
        with pytest.raises((BadSignature, UnknownSender)) as caught:
            tape.deliver(forge(good, identity(CHEAT), body=encode(body)))
        assert caught.value.culprit == CHEAT
    tape.deliver(good)


@pytest.mark.parametrize("backend", ["plain", "masking", "additive"])
def test_what_one_client_can_do_to_the_mean_is_bounded_by_the_clip_only(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit that the threat model states: single updates are not checked, so that a client is not held to its share
    of the mean. Beyond the clip the round stops, and nobody is named.
    """
    federation, honest = Federation(5, backend=backend), committing.commit_update
    its = federation.updates[CHEAT]
    largest = federation.policy.top // 2

    def commit(config: RoundConfig, update: Sequence[npt.NDArray[Any]], *rest: Any) -> Committed:
        made = honest(config, update, *rest)
        if update is not its:
            return made
        vector, setting, size = made.vector.copy(), config.commitment, config.layout.committed
        sums = sum(int(np.rint(of[0].flat[0] / federation.policy.step)) for of in federation.updates.values())
        vector[0] += aim - sums
        made_of_it = commitment.commit(setting.pack(vector[:size]), vector[size:], setting.rank)
        return Committed(vector, made_of_it, made.encoded)

    monkeypatch.setattr(client, "commit_update", commit)
    aim = 4 * largest
    done = federation.round()
    done.run()
    assert done.aggregator.verified is not None
    share = federation.policy.clip / 5
    assert done.aggregator.verified.average[0].flat[0] == pytest.approx(4 * share, rel=1e-3)

    aim = 5 * largest + 20
    again = federation.round(round=1, start_model=bytes([7] * 32))
    with pytest.raises(Unattributed) as caught:
        again.run()
    assert caught.value.culprit is None
