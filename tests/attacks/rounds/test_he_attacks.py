"""Attacks on rounds under homomorphic encryption. Each works against a naive protocol, then fails against this one."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import numpy as np
import pytest
import tenseal as ts
from support.federation import Federation, Tape, bulk_of, edit, forge, header_of, identity, replace

from mpc.keystream import KeyStream
from mpc.paillier import packing as paillier_packing
from mpc.paillier import threshold as threshold_paillier
from mpc.paillier.paillier import Encryptor
from mpc.ring import Vector, from_bytes
from secure_agg import backends
from secure_agg.backends.contract import Opener
from secure_agg.backends.homomorphic import lattice, lattice_parameters, lattice_wire
from secure_agg.backends.homomorphic.backend import CiphertextPart, bound_nonce
from secure_agg.backends.homomorphic.lattice_backend import LatticeOpener
from secure_agg.backends.homomorphic.paillier_scheme import (
    CommitteeOpener,
    InnerNonces,
    PaillierOpener,
    PaillierScheme,
)
from secure_agg.errors import (
    AlreadyReleased,
    BadCommitment,
    BadInput,
    BadShare,
    BadSignature,
    ConfigError,
    KeyHolderFault,
    OperatorLost,
    RemoteProtocolError,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    Unattributed,
)
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Option, Policy
from secure_agg.protocol.evidence import Opened, OpeningRequest
from secure_agg.protocol.messages import Agreed, HiddenInput, decode, encode
from secure_agg.roles.keyholder import KeyHolder

VICTIM, CHEAT, HOLDER = "c001", "c002", "keyholder-1"
ME = identity("aggregator")
OPTIONS: dict[str, dict[str, int]] = {"bfv": {}, "ckks": {}, "paillier": {"modulus_bits": 2048}}
WHOLE = list(OPTIONS)
LATTICE = ["bfv", "ckks"]
COMMITTEE = {"modulus_bits": 2048, "holders": 4}
NEXT = {"round": 1, "start_model": bytes([7] * 32)}


def federation(backend: str, **changes: Any) -> Federation:
    if backend == "committee":
        return Federation(5, backend="paillier", options=COMMITTEE, policy_changes={"bits": 8}, **changes)
    return Federation(5, backend=backend, options=OPTIONS[backend], **changes)


def encoded(of: Federation, name: str) -> Vector:
    """The integers that a client's update encodes to: what an attacker is after."""
    out = np.empty(of.config().layout.committed, dtype=np.uint32)
    FixedPoint(of.policy).encode(of.updates[name], 1, bytes(32), out)
    return out


def decrypted(of: Federation, data: bytes, clients: int) -> Vector:
    """What a naive key holder answers: the decryption of whatever it is handed."""
    opener: Opener = of.openers[HOLDER]
    if isinstance(opener, LatticeOpener):
        vector = lattice.decrypt(opener._key, data, clients)
    else:
        assert isinstance(opener, PaillierOpener)
        scheme = PaillierScheme(of.config(), opener._key.public)
        vector = scheme.packing.unpack(opener._key.decrypt(scheme.parse(data)), scheme.length)
    return vector[: of.config().layout.committed]


def counted(of: Federation, data: bytes, clients: int) -> bytes:
    """A lattice vector whose header claims to be a sum of so many."""
    if of.backend not in LATTICE:
        return data
    fields = list(lattice_wire.HEADER.unpack_from(data))
    fields[3] = clients
    return lattice_wire.HEADER.pack(*fields) + data[lattice_wire.HEADER.size :]


def passed(answer: bytes) -> bool:
    return decode(Opened, header_of(answer).body, 16).passed


def asks(tape: Tape, bulk: bytes) -> bytes:
    """The aggregator's genuine request, signed anew, for another ciphertext."""
    return forge(tape.requests["decrypt"][HOLDER], ME, bulk=bulk)


def is_counted(holder: KeyHolder, of: Federation) -> bool:
    """Whether one bit counts against the key, and an honest next round is opened all the same."""
    tape = Tape.start(federation(of.backend), **NEXT).until("decrypt")
    before = holder.failures
    return passed(holder.receive(tape.requests["decrypt"][HOLDER])) and before == holder.failures == 1


# --- (a) one client's ciphertext instead of the sum -----------------------------------------------------------


@pytest.mark.parametrize("backend", WHOLE)
def test_one_clients_ciphertext_is_not_decrypted_for_the_aggregator(backend: str) -> None:
    tape = Tape.start(federation(backend)).until("decrypt")
    single = bulk_of(tape.responses["masked-input"][VICTIM])
    naive = decrypted(tape.federation, single, 1)
    assert np.array_equal(naive, encoded(tape.federation, VICTIM)), "a decryption oracle gives an update away"

    holder = tape.local.holders[HOLDER]
    answer = holder.receive(asks(tape, counted(tape.federation, single, 5)))
    assert not passed(answer)
    assert bulk_of(answer) == b"", "one bit and nothing else"
    assert is_counted(holder, tape.federation)


def test_a_committee_member_decrypts_only_the_product_it_has_made_itself() -> None:
    tape = Tape.start(federation("committee")).until("decrypt")
    single = bulk_of(tape.responses["masked-input"][VICTIM])
    openers = tape.federation.openers
    shares = {name: opener._share for name, opener in openers.items() if isinstance(opener, CommitteeOpener)}
    scheme = PaillierScheme(tape.federation.config(), shares[HOLDER].key)
    ciphertexts = scheme.parse(single)
    members = (HOLDER, "keyholder-2", "keyholder-3")
    partials = {name: threshold_paillier.partial_decrypt(shares[name], ciphertexts) for name in members}
    plain = threshold_paillier.combine(scheme.key, partials, len(ciphertexts))  # type: ignore[arg-type]
    naive = scheme.packing.unpack(plain, scheme.length)[: tape.federation.config().layout.committed]
    assert np.array_equal(naive, encoded(tape.federation, VICTIM)), "members that decrypt what they are handed"

    one = Encryptor(scheme.public).encrypt([0] * len(ciphertexts), KeyStream(bytes(32)))
    zeros = single[: scheme.packing.header_bytes()] + scheme.public.serialise(one)
    for bulk in (single, single * 5, b"".join((zeros, single, zeros, zeros, zeros))):
        with pytest.raises((BadCommitment, RemoteProtocolError)):
            tape.local.holders[HOLDER].receive(asks(tape, bulk))

    def alone(asked: OpeningRequest) -> OpeningRequest:
        at = [opening.name for opening in asked.openings].index(VICTIM)
        nonces = decode(InnerNonces, asked.backend, 4096).nonces
        return replace(asked, openings=asked.openings[at : at + 1], backend=encode(InnerNonces((nonces[at],))))

    request = edit(tape.requests["decrypt"][HOLDER], ME, OpeningRequest, alone, bulk=single)
    with pytest.raises(TooFewClients):
        tape.local.holders[HOLDER].receive(request)
    assert tape.answer(HOLDER), "refusing cost nothing"


# --- (b) a ciphertext made from others' -----------------------------------------------------------------------


def inverse_of_the_others(tape: Tape) -> bytes:
    """Paillier: the inverse of the product of everybody's but the victim's and the cheat's own ciphertexts."""
    opener = tape.federation.openers[HOLDER]
    assert isinstance(opener, PaillierOpener)
    scheme = PaillierScheme(tape.federation.config(), opener._key.public)
    n_squared = int(scheme.public.n_squared)
    product = [1] * scheme.packing.ciphertexts(scheme.length)
    for name, response in tape.responses["masked-input"].items():
        if name not in (VICTIM, CHEAT):
            values = scheme.parse(bulk_of(response))
            product = [int(total * value % n_squared) for total, value in zip(product, values, strict=True)]
    inverted = [pow(value, -1, n_squared) for value in product]
    header = bulk_of(tape.responses["masked-input"][VICTIM])[: scheme.packing.header_bytes()]
    return header + scheme.public.serialise(inverted)


def negated_others(tape: Tape) -> bytes:
    """BFV: minus the sum of everybody's but the victim's and the cheat's own ciphertexts."""
    opener = tape.federation.openers[HOLDER]
    assert isinstance(opener, LatticeOpener)
    public = opener._key.public
    sums: list[Any] = []
    for name, response in tape.responses["masked-input"].items():
        if name not in (VICTIM, CHEAT):
            vectors = [ts.bfv_vector_from(public.context, d) for d in lattice.to_tenseal(bulk_of(response), public)]
            sums = [total + vector for total, vector in zip(sums, vectors, strict=True)] if sums else vectors
    zero = ts.bfv_vector(public.context, [0] * public.parameters.slots)
    return lattice.from_tenseal([(zero - total).serialize() for total in sums], public)


DERIVED = {"paillier": inverse_of_the_others, "bfv": negated_others}


@pytest.mark.parametrize("backend", list(DERIVED))
def test_a_ciphertext_derived_from_others_is_not_bound_by_a_commitment_and_refused(backend: str) -> None:
    """Naively the "sum" is the victim's update alone. The nonce that was signed at first fixes the ciphertext."""
    tape = Tape.start(federation(backend)).until("masked-input")
    tape.answer_all(but=(CHEAT,))
    good = tape.answer(CHEAT)
    derived = DERIVED[backend](tape)
    scheme = tape.aggregator._side._scheme  # type: ignore[attr-defined]
    naive = scheme.summing()
    for name, response in tape.responses["masked-input"].items():
        naive.add(derived if name == CHEAT else bulk_of(response))
    assert np.array_equal(decrypted(tape.federation, naive.total(), 5), encoded(tape.federation, VICTIM))

    def rebound(body: HiddenInput) -> HiddenInput:
        """The best it can do: a nonce that binds the new ciphertext, but does not open what it signed."""
        inner = decode(CiphertextPart, body.backend, 64).nonce
        return replace(body, nonce=bound_nonce(inner, hashlib.sha256(derived).digest()))

    for message in (
        forge(good, identity(CHEAT), bulk=derived),
        edit(good, identity(CHEAT), HiddenInput, rebound, bulk=derived),
    ):
        with pytest.raises(BadCommitment) as caught:
            tape.deliver(message)
        assert caught.value.culprit == CHEAT
    tape.deliver(good)
    tape.advance()
    assert tape.finish().participants == tuple(tape.federation.names)


@pytest.mark.parametrize("backend", WHOLE)
def test_a_copied_ciphertext_is_refused(backend: str) -> None:
    tape = Tape.start(federation(backend)).until("masked-input")
    tape.answer(VICTIM)
    theirs = tape.responses["masked-input"][VICTIM]
    body = header_of(theirs).body
    good = tape.answer(CHEAT)
    for copied in (
        forge(good, identity(CHEAT), bulk=bulk_of(theirs)),
        forge(good, identity(CHEAT), body=body, bulk=bulk_of(theirs)),
    ):
        with pytest.raises(BadCommitment):
            tape.deliver(copied)
    tape.deliver(good)


def test_a_client_that_encrypts_something_else_than_it_committed_to_stops_the_round_only() -> None:
    """It can't be named: the key holder says one bit. The result is none, and nothing is told of anybody."""
    of = federation("paillier")
    tape = Tape.start(of)
    cheat = tape.client(CHEAT)
    config = of.config()
    with pytest.MonkeyPatch.context() as patch:
        honest = PaillierScheme.encrypt
        patch.setattr(PaillierScheme, "encrypt", lambda self, vector, key: honest(self, vector ^ np.uint32(1), key))
        tape.answer(CHEAT)
    assert cheat.state == "consistency"
    assert config.context == tape.aggregator.config.context
    tape.deliver(tape.responses["advertise"][CHEAT])
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    with pytest.raises(Unattributed) as caught:
        tape.finish()
    assert caught.value.culprit is None
    assert tape.aggregator.evidence is None


# --- (c) watch whether a disturbed sum still decrypts ---------------------------------------------------------


def disturbed(tape: Tape) -> bytes:
    """The encrypted sum with one more in its first slot."""
    data, opener = bulk_of(tape.requests["decrypt"][HOLDER]), tape.federation.openers[HOLDER]
    if isinstance(opener, PaillierOpener):
        public = opener._key.public
        size, at = public.ciphertext_bytes, PaillierScheme(tape.federation.config(), public).packing.header_bytes()
        first = int.from_bytes(data[at : at + size], "little")
        plus_one = first * (1 + public.n) % int(public.n_squared)
        return data[:at] + plus_one.to_bytes(size, "little") + data[at + size :]
    assert isinstance(opener, LatticeOpener)
    public = opener._key.public
    load = ts.bfv_vector_from if tape.federation.backend == "bfv" else ts.ckks_vector_from
    first, *rest = [load(public.context, chunk) for chunk in lattice.to_tenseal(data, public)]
    more = [0] * public.parameters.slots
    more[0] = 1
    altered = first + more if tape.federation.backend == "bfv" else plus(first, more, public)
    vectors = [altered.serialize(), *(vector.serialize() for vector in rest)]
    return counted(tape.federation, lattice.from_tenseal(vectors, public), 5)


def plus(vector: Any, more: list[int], public: lattice.PublicKey) -> Any:
    return vector + ts.ckks_vector(public.context, more, scale=public.parameters.scale)


@pytest.mark.parametrize("backend", WHOLE)
def test_watching_for_aborts_gives_one_bit_once(backend: str) -> None:
    """Naively each query tells whether a guess about the sum, or about the key's noise, was right; here the first wrong
    one is the last of its round, and it is counted: so many, and the key is retired.
    """
    tape = Tape.start(federation(backend)).until("decrypt")
    data = bulk_of(tape.requests["decrypt"][HOLDER])
    moved = decrypted(tape.federation, disturbed(tape), 5).astype(np.int64)
    right = decrypted(tape.federation, data, 5).astype(np.int64)
    assert (moved - right)[0] == 1, "the oracle follows the aggregator's hand"
    assert not np.any((moved - right)[1:])

    holder = tape.local.holders[HOLDER]
    guess = asks(tape, disturbed(tape))
    answer = holder.receive(guess)
    assert not passed(answer)
    assert holder.receive(guess) == answer, "the same bit again says nothing more, and is not counted again"
    with pytest.raises(AlreadyReleased):
        holder.receive(asks(tape, data))
    restarted = tape.federation.holder()
    assert restarted.receive(guess) == answer
    with pytest.raises(AlreadyReleased):
        restarted.receive(asks(tape, data))
    assert is_counted(restarted, tape.federation)


# --- (d) the noise of approximate decryptions -----------------------------------------------------------------


def test_the_noise_that_would_give_a_ckks_key_away_is_never_released() -> None:
    """A raw decryption is message + noise = c0 + c1·s: with the ciphertext a linear equation in the key s, and some of
    them are the key (Li and Micciancio 2021). Raw values are noisy; what is released is exact integers, a function of
    the clients' inputs alone.
    """
    tape = Tape.start(federation("ckks")).until("decrypt")
    opener = tape.federation.openers[HOLDER]
    assert isinstance(opener, LatticeOpener)
    data, key = bulk_of(tape.requests["decrypt"][HOLDER]), opener._key
    raw = np.array(ts.ckks_vector_from(key.context, lattice.to_tenseal(data, key.public)[0]).decrypt())
    noise = raw - np.rint(raw)
    assert np.count_nonzero(noise) > 0.99 * noise.size, "naively released, every slot holds noise"
    assert 0 < np.abs(noise).max() < 1 / 4

    answer = tape.answer(HOLDER)
    assert passed(answer)
    released = from_bytes(bulk_of(answer))
    exact = sum(encoded(tape.federation, name).astype(np.int64) for name in tape.federation.names)
    assert np.array_equal(released[: exact.size], exact)  # type: ignore[union-attr]
    again = Tape.start(federation("ckks")).until("decrypt")
    assert bulk_of(again.requests["decrypt"][HOLDER]) != data, "other ciphertexts, other noise"
    values = exact.size  # type: ignore[union-attr]
    assert np.array_equal(from_bytes(bulk_of(again.answer(HOLDER)))[:values], released[:values])


# --- (e), (f) lying key holders -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", WHOLE)
def test_a_key_holder_that_lies_about_the_sum_is_named(backend: str) -> None:
    tape = Tape.start(federation(backend)).until("decrypt")
    answer = tape.answer(HOLDER)
    lie = from_bytes(bulk_of(answer)).copy()
    lie[0] += 1
    naive = FixedPoint(tape.federation.policy).decode(
        lie[: tape.federation.config().layout.committed], 5, tape.federation.shapes
    )
    assert naive, "a plausible mean"
    tape.deliver(forge(answer, identity(HOLDER), bulk=lie.astype("<u4").tobytes()))
    with pytest.raises(KeyHolderFault) as caught:
        tape.advance()
    assert (caught.value.culprit, caught.value.phase) == (HOLDER, "decrypt")
    assert tape.aggregator.evidence is None


@pytest.mark.parametrize("backend", WHOLE)
def test_a_key_holder_that_says_nothing_stops_the_round(backend: str) -> None:
    tape = Tape.start(federation(backend)).until("decrypt")
    with pytest.raises(OperatorLost) as caught:
        tape.advance()
    assert (caught.value.culprit, caught.value.phase) == (HOLDER, "decrypt")


def test_a_member_that_decrypts_wrongly_is_named_and_the_others_finish() -> None:
    tape = Tape.start(federation("committee")).until("decrypt")
    good = tape.answer(HOLDER)
    opener = tape.federation.openers[HOLDER]
    assert isinstance(opener, CommitteeOpener)
    public = opener._share.key.public
    first = int.from_bytes(bulk_of(good)[: public.ciphertext_bytes], "little")
    shifted = int(first * (1 + public.n) % public.n_squared).to_bytes(public.ciphertext_bytes, "little")
    other = tape.answer("keyholder-2")
    for wrong in (
        forge(good, identity(HOLDER), bulk=shifted + bulk_of(good)[len(shifted) :]),
        forge(good, identity(HOLDER), bulk=bulk_of(other)),
        forge(good, identity(HOLDER), body=header_of(other).body, bulk=bulk_of(other)),
        forge(good, identity(HOLDER), bulk=bytes(len(bulk_of(good)))),
    ):
        with pytest.raises(BadShare) as caught:
            tape.deliver(wrong)
        assert (caught.value.culprit, caught.value.phase) == (HOLDER, "decrypt")
    tape.deliver(other)
    tape.answer_all(but=(HOLDER, "keyholder-2"))
    tape.advance()
    assert tape.finish().participants == tuple(tape.federation.names)


def test_fewer_members_than_the_threshold_open_nothing() -> None:
    tape = Tape.start(federation("committee")).until("decrypt")
    tape.deliver(tape.answer("keyholder-3"))
    with pytest.raises(OperatorLost, match="1 operators are left, 3 are needed") as caught:
        tape.advance()
    assert caught.value.phase == "decrypt"
    assert tape.aggregator.evidence is None


def test_a_member_that_refuses_is_not_missed_where_the_others_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    local = federation("committee").round()

    def refuse(request: bytes) -> bytes:
        raise AlreadyReleased("the sum was given out before", phase="decrypt")

    monkeypatch.setattr(local.holders[HOLDER], "receive", refuse)
    assert local.run().participants == tuple(local.clients)
    assert isinstance(local.refusals[HOLDER], AlreadyReleased)


def test_a_corrupt_member_does_not_help_to_open_two_sums_that_differ_by_one_client() -> None:
    """Members answer once, but for whichever set they are asked. Three of four open, so any two groups that do share
    two members and one honest one, who answers one of them. With two of three, the corrupt member could help one
    honest member to open the whole sum and the other to open it without the victim.
    """
    loose = Policy.default(5, backend="paillier", options=(Option("holders", 3), Option("threshold", 2)))
    with pytest.raises(ConfigError, match="share two"):
        backends.load("paillier").check_policy(loose)
    tape = Tape.start(federation("committee")).until("decrypt")
    of, size = tape.federation, len(bulk_of(tape.requests["decrypt"][HOLDER])) // 5
    at = of.names.index(VICTIM)

    def without(asked: OpeningRequest) -> OpeningRequest:
        nonces = decode(InnerNonces, asked.backend, 4096).nonces
        return replace(
            asked,
            openings=asked.openings[:at] + asked.openings[at + 1 :],
            backend=encode(InnerNonces(nonces[:at] + nonces[at + 1 :])),
        )

    corrupt = of.openers[HOLDER]
    assert isinstance(corrupt, CommitteeOpener)
    scheme = PaillierScheme(of.config(), corrupt._share.key)
    opened = []
    for members, left_out in ((("keyholder-2", "keyholder-3"), False), (("keyholder-4",), True)):
        partials = {}
        for member in members:
            whole = tape.requests["decrypt"][member]
            less = bulk_of(whole)[: at * size] + bulk_of(whole)[(at + 1) * size :]
            smaller = edit(whole, ME, OpeningRequest, without, bulk=less)
            request, other = (smaller, whole) if left_out else (whole, smaller)
            bulk = bulk_of(request)
            answer = bulk_of(tape.local.holders[member].receive(request))
            partials[member] = [int(value) for value in scheme.public.parse(answer)]
            with pytest.raises(AlreadyReleased):
                tape.local.holders[member].receive(other)
        total = scheme.summing()
        for start in range(0, len(bulk), size):
            total.add(bulk[start : start + size])
        ciphertexts = scheme.parse(total.total())
        partials[HOLDER] = threshold_paillier.partial_decrypt(corrupt._share, ciphertexts)
        with contextlib.suppress(threshold_paillier.ThresholdError):
            opened.append(threshold_paillier.combine(corrupt._share.key, partials, len(ciphertexts)))
    assert len(opened) == 1, "one sum is open, the other is not"


# --- (g) nothing is revealed before the set is fixed ----------------------------------------------------------


@pytest.mark.parametrize("backend", WHOLE)
def test_a_client_sends_no_ciphertext_before_a_quorum_has_fixed_all_commitment_hashes(backend: str) -> None:
    """Naively the last client to commit chooses the sum; with the hashes fixed first, nobody's depends on another's."""
    tape = Tape.start(federation(backend)).until("masked-input")
    for advertised in tape.responses["advertise"].values():
        assert bulk_of(advertised) == b"", "only a hash is sent before the set is signed"
        assert len(header_of(advertised).body) < 64
    request, client = tape.requests["masked-input"][VICTIM], tape.client(VICTIM)

    def few(body: Agreed) -> Agreed:
        return replace(body, signatures=body.signatures[:3])

    def none(body: Agreed) -> Agreed:
        return replace(body, signatures=())

    def forged(body: Agreed) -> Agreed:
        first = replace(body.signatures[0], signature=body.signatures[1].signature)
        return replace(body, signatures=(first, *body.signatures[1:]))

    def own(body: Agreed) -> Agreed:
        first = replace(body.signatures[0], name="aggregator", signature=ME.sign(b"x"))
        return replace(body, signatures=(first, *body.signatures[1:]))

    def doubled(body: Agreed) -> Agreed:
        return replace(body, signatures=(body.signatures[0], *body.signatures[:3]))

    for change in (few, none, forged, own, doubled):
        with pytest.raises((TooFewClients, BadSignature, RemoteProtocolError)):
            client.receive(edit(request, ME, Agreed, change))
    answer = client.receive(request)
    assert answer is not None
    assert bulk_of(answer), "the genuine request is still answered"


def test_signatures_of_another_statement_release_nothing() -> None:
    """A quorum that signed in another session, say without this client, is no quorum here."""
    of = federation("paillier")
    tape = Tape.start(of).until("masked-input")
    other = Tape.start(federation("paillier", seed=1)).until("masked-input")
    theirs = decode(Agreed, header_of(other.requests["masked-input"][VICTIM]).body, 1 << 16)
    with pytest.raises(BadSignature):
        tape.client(VICTIM).receive(edit(tape.requests["masked-input"][VICTIM], ME, Agreed, lambda _: theirs))
    assert tape.answer(VICTIM)


@pytest.mark.parametrize("backend", WHOLE)
def test_one_ciphertext_is_sent_and_to_who_asks_again_the_same(backend: str) -> None:
    tape = Tape.start(federation(backend)).until("masked-input")
    sent = tape.answer(VICTIM)
    assert tape.client(VICTIM).receive(tape.requests["masked-input"][VICTIM]) == sent
    with pytest.raises(SecureAggError):
        tape.client(VICTIM).receive(
            edit(tape.requests["masked-input"][VICTIM], ME, Agreed, lambda body: replace(body, backend=b"x"))
        )


def test_a_request_that_the_backend_refuses_costs_the_client_nothing() -> None:
    tape = Tape.start(federation("paillier")).until("masked-input")
    request = tape.requests["masked-input"][VICTIM]
    with pytest.raises(RemoteProtocolError):
        tape.client(VICTIM).receive(edit(request, ME, Agreed, lambda body: replace(body, backend=b"x")))
    assert tape.client(VICTIM).receive(request)


# --- (h) no second attempt ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", WHOLE)
@pytest.mark.parametrize("changes", [{"attempt": 1}, {"round": 1}])
def test_a_client_that_has_signed_joins_no_other_attempt(backend: str, changes: dict[str, Any]) -> None:
    """Else the difference of two honest sums is one update."""
    of = federation(backend)
    Tape.start(of).until("consistency").answer(VICTIM)
    again = Tape.start(of, **changes)
    with pytest.raises(TaskSpent):
        of.client(VICTIM).join(again.requests["advertise"][VICTIM], of.updates[VICTIM])


@pytest.mark.parametrize("backend", WHOLE)
def test_a_client_that_has_not_signed_joins_the_next_attempt_and_a_signer_the_next_model(backend: str) -> None:
    of = federation(backend)
    Tape.start(of).until("consistency")
    assert Tape.start(of, attempt=1).finish().participants == tuple(of.names)
    assert Tape.start(of, **NEXT).finish().participants == tuple(of.names)


def test_bad_input_names_its_client() -> None:
    """Malformed ciphertexts that were bound from the start are refused on arrival, before they reach the sum."""
    of = federation("paillier")
    tape = Tape.start(of)
    with pytest.MonkeyPatch.context() as patch:
        honest = PaillierScheme.encrypt
        patch.setattr(PaillierScheme, "encrypt", lambda self, vector, key: bytes(32) + honest(self, vector, key)[32:])
        tape.answer(CHEAT)
    tape.deliver(tape.responses["advertise"][CHEAT])
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    tape.until("masked-input")
    tape.answer_all(but=(CHEAT,))
    with pytest.raises(BadInput) as caught:
        tape.deliver(tape.answer(CHEAT))
    assert (caught.value.culprit, caught.value.phase) == (CHEAT, "masked-input")
    tape.advance()
    assert CHEAT not in tape.finish().participants


@pytest.mark.parametrize("backend", WHOLE)
@pytest.mark.parametrize("error", [MemoryError, OverflowError, RuntimeError])
def test_an_exception_of_a_library_while_a_sum_is_opened_is_the_same_bit_as_every_failure(
    backend: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second kind of answer would tell what was decrypted, and an exception that no driver knows would end it."""

    def fail(*_: object) -> None:
        raise error("something of the decryption")

    tape = Tape.start(federation(backend)).until("decrypt")
    holder = tape.local.holders[HOLDER]
    if backend == "paillier":
        monkeypatch.setattr(paillier_packing, "decrypt_vector", fail)
    else:
        monkeypatch.setattr(lattice, "_unpack", fail)
    tape.deliver(holder.receive(tape.requests["decrypt"][HOLDER]))
    assert holder.failures == 1
    with pytest.raises(Unattributed) as caught:
        tape.advance()
    assert caught.value.culprit is None
    assert "something of" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e30, -1e19, 2.0**63, float("inf"), float("-inf"), float("nan")])
def test_slots_that_no_integer_holds_are_no_sum(value: float) -> None:
    parameters = lattice_parameters.choose("ckks", 8, 5, 3000)
    slots = [0.0] * parameters.slots
    slots[7] = value
    with pytest.raises(BadInput):
        lattice._unpack(slots, parameters, 5)
