"""Threshold Paillier: any t members decrypt, fewer can't, and whoever answers wrongly is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from support.paillier import N2, PACKING, PUBLIC, P, Q, vector_of

from mpc.keystream import KeyStream
from mpc.paillier.packing import Accumulator, encrypt_vector, parse_vector
from mpc.paillier.paillier import Encryptor, PaillierError, SecretKey
from mpc.paillier.threshold import KeyShare, ThresholdError, ThresholdKey, combine, deal, partial_decrypt, safe_prime
from zk.partial_decryption import (
    PartialDecryptionError,
    PartialDecryptionProof,
    PartialDecryptionStatement,
    prove,
    verify,
)

pytestmark = pytest.mark.slow  # works with keys of 2,048 bits

MEMBERS = ("north", "east", "south", "west")
PLAIN = [0, 1, 424242, PUBLIC.n - 1]
CONTEXT = b"session 7, release"


@dataclasses.dataclass(frozen=True)
class Dealt:
    key: ThresholdKey
    shares: dict[str, KeyShare]
    ciphertexts: list[int]
    partials: dict[str, list[int]]

    def statement(self, member: str) -> PartialDecryptionStatement:
        return PartialDecryptionStatement(self.key, member, CONTEXT, self.ciphertexts, self.partials[member])


@pytest.fixture(scope="module")
def dealt() -> Dealt:
    key, shares = deal(3, MEMBERS, bits=2048, primes=(P, Q))
    ciphertexts = Encryptor(key.public).encrypt(PLAIN, KeyStream(bytes(32)))
    return Dealt(key, shares, ciphertexts, {name: partial_decrypt(shares[name], ciphertexts) for name in MEMBERS})


@pytest.fixture(scope="module")
def proof(dealt: Dealt) -> PartialDecryptionProof:
    return prove(dealt.shares["east"], dealt.statement("east"))


def test_any_three_of_four_decrypt(dealt: Dealt) -> None:
    for chosen in (*combinations(MEMBERS, 3), MEMBERS):
        assert combine(dealt.key, {name: dealt.partials[name] for name in chosen}, len(PLAIN)) == PLAIN


def test_two_do_not(dealt: Dealt) -> None:
    two = {name: dealt.partials[name] for name in MEMBERS[:2]}
    with pytest.raises(ThresholdError, match="2 partial decryptions, 3 are needed"):
        combine(dealt.key, two, len(PLAIN))
    lowered = dataclasses.replace(dealt.key, threshold=2)  # ignoring the rule does not help
    with pytest.raises(ThresholdError, match="do not combine"):
        combine(lowered, two, len(PLAIN))


def test_a_packed_sum_is_decrypted_by_the_members_and_by_the_whole_key(dealt: Dealt) -> None:
    encryptor, vectors = Encryptor(dealt.key.public), [vector_of(120, seed) for seed in (1, 2)]
    accumulator = Accumulator(dealt.key.public, PACKING, 120)
    for seed, vector in enumerate(vectors):
        obfuscators = encryptor.obfuscators(KeyStream(bytes([seed] * 32)), 0, 2)
        accumulator.add(encrypt_vector(encryptor, PACKING, vector, obfuscators))
    ciphertexts = parse_vector(dealt.key.public, PACKING, accumulator.total(), 120)
    partials = {name: partial_decrypt(dealt.shares[name], ciphertexts) for name in MEMBERS[1:]}
    plaintexts = combine(dealt.key, partials, 2)
    assert np.array_equal(PACKING.unpack(plaintexts, 120), vectors[0] + vectors[1])
    assert SecretKey(P, Q).decrypt(ciphertexts) == plaintexts


def test_right_answers_are_proven(dealt: Dealt, proof: PartialDecryptionProof) -> None:
    verify(dealt.statement("east"), proof)
    data = proof.to_bytes(dealt.key)
    assert PartialDecryptionProof.from_bytes(data, dealt.key, "east") == proof
    for bad in (data[:-1], data + b"\0"):
        with pytest.raises(PartialDecryptionError, match="bytes, not"):
            PartialDecryptionProof.from_bytes(bad, dealt.key, "east")


def test_a_sign_is_no_difference(dealt: Dealt) -> None:
    partials = [N2 - dealt.partials["east"][0], *dealt.partials["east"][1:]]
    statement = dataclasses.replace(dealt.statement("east"), partials=partials)
    verify(statement, prove(dealt.shares["east"], statement))
    assert combine(dealt.key, {**dealt.partials, "east": partials}, len(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    "spoil",
    [lambda d: d * 2 % N2, lambda d: d * (1 + PUBLIC.n) % N2, lambda d: pow(d, 3, N2), lambda _: 1],
    ids=["doubled", "another plaintext", "cubed", "one"],
)
def test_a_wrong_answer_names_its_member_even_with_a_proof_made_for_it(
    dealt: Dealt, spoil: Callable[[int], int]
) -> None:
    wrong = [*dealt.partials["south"][:2], spoil(dealt.partials["south"][2]), dealt.partials["south"][3]]
    statement = dataclasses.replace(dealt.statement("south"), partials=wrong)
    with pytest.raises(PartialDecryptionError, match="'south' are not proven") as caught:
        verify(statement, prove(dealt.shares["south"], statement))
    assert caught.value.member == "south"


def test_a_damaged_answer_does_not_combine(dealt: Dealt) -> None:
    wrong = {**dealt.partials, "east": [*dealt.partials["east"][:3], 2]}
    with pytest.raises(ThresholdError, match="of ciphertext 3 do not combine"):
        combine(dealt.key, wrong, len(PLAIN))


def test_a_proof_holds_for_its_own_statement_only(dealt: Dealt, proof: PartialDecryptionProof) -> None:
    good = dealt.statement("east")
    swapped = dealt.ciphertexts[::-1]
    other_key, _ = deal(3, MEMBERS, bits=2048, primes=(P, Q))
    for statement in (
        dataclasses.replace(good, context=CONTEXT + b"!"),
        dataclasses.replace(good, member="west"),
        dataclasses.replace(good, member="west", partials=dealt.partials["west"]),
        dataclasses.replace(good, ciphertexts=swapped),
        dataclasses.replace(good, ciphertexts=swapped, partials=dealt.partials["east"][::-1]),
        dataclasses.replace(good, ciphertexts=good.ciphertexts[:3], partials=good.partials[:3]),
        dataclasses.replace(good, key=other_key),
    ):
        with pytest.raises(PartialDecryptionError, match="not proven"):
            verify(statement, proof)


def test_tampered_proofs_are_refused(dealt: Dealt, proof: PartialDecryptionProof) -> None:
    flipped = bytes([proof.challenge[0] ^ 1]) + proof.challenge[1:]
    order = PUBLIC.n * (P // 2) * (Q // 2)
    for bad in (
        PartialDecryptionProof(flipped, proof.response),
        PartialDecryptionProof(proof.challenge, proof.response + 1),
        PartialDecryptionProof(bytes(16), 0),
    ):
        with pytest.raises(PartialDecryptionError, match="not proven"):
            verify(dealt.statement("east"), bad)
    for bad in (
        PartialDecryptionProof(proof.challenge[:15], proof.response),
        PartialDecryptionProof(proof.challenge, -1),
        PartialDecryptionProof(proof.challenge, proof.response + order * 2**2048),
    ):
        with pytest.raises(PartialDecryptionError, match="out of range"):
            verify(dealt.statement("east"), bad)


def test_misshapen_answers_name_their_member(dealt: Dealt, proof: PartialDecryptionProof) -> None:
    partials = dealt.partials["east"]
    for bad in (partials[:3], [*partials, 1], [0, *partials[1:]], [N2, *partials[1:]], [P, *partials[1:]]):
        statement = dataclasses.replace(dealt.statement("east"), partials=bad)
        with pytest.raises(PartialDecryptionError, match="'east'") as caught:
            verify(statement, proof)
        assert caught.value.member == "east"
        with pytest.raises(ThresholdError, match="'east'") as refused:
            combine(dealt.key, {**dealt.partials, "east": bad}, len(PLAIN))
        assert refused.value.member == "east"
    with pytest.raises(ThresholdError, match="'nobody' holds no share"):
        combine(dealt.key, {**dealt.partials, "nobody": partials}, len(PLAIN))


def test_what_is_no_ciphertext_is_nobodys_answer(dealt: Dealt, proof: PartialDecryptionProof) -> None:
    for bad in (0, N2, P):
        with pytest.raises(PaillierError, match="ciphertext 0"):
            partial_decrypt(dealt.shares["east"], [bad])
        with pytest.raises(PaillierError, match="ciphertext 0"):
            verify(dataclasses.replace(dealt.statement("east"), ciphertexts=[bad, *dealt.ciphertexts[1:]]), proof)


def test_a_member_proves_with_its_own_share_only(dealt: Dealt) -> None:
    with pytest.raises(PartialDecryptionError, match="another share"):
        prove(dealt.shares["west"], dealt.statement("east"))


def test_shares_fit_their_verification_keys_and_stay_out_of_repr(dealt: Dealt) -> None:
    share = dealt.shares["east"]
    assert str(share.value) not in repr(share)
    for member, value in (("east", share.value + 1), ("west", share.value), ("east", -1)):
        with pytest.raises(ThresholdError, match="does not fit"):
            KeyShare(dealt.key, member, value)
    with pytest.raises(ThresholdError, match="holds no share"):
        KeyShare(dealt.key, "nobody", share.value)


def test_bad_set_ups_are_refused(dealt: Dealt) -> None:
    for threshold, members in ((1, MEMBERS), (5, MEMBERS), (2, ("a", "a")), (2, [str(i) for i in range(65)])):
        with pytest.raises(ThresholdError):
            deal(threshold, members, bits=2048, primes=(P, Q))
    ordinary = (3 << 1022) + 2**30
    for primes in ((P, P), (P, Q // 2), (P, ordinary | 1), (ordinary | 1, P)):
        with pytest.raises(ThresholdError):
            deal(3, MEMBERS, bits=2048, primes=primes)
    with pytest.raises(PaillierError, match="multiple of 128"):
        deal(3, MEMBERS, bits=1024)
    with pytest.raises(ThresholdError, match="3 verification keys of 4"):
        dataclasses.replace(dealt.key, verification=dealt.key.verification[:3])
    with pytest.raises(PaillierError):
        dataclasses.replace(dealt.key, base=P)


def test_safe_primes_are_safe() -> None:
    p = safe_prime(256)  # short for the test's sake: the search is the same
    assert p.bit_length() == 256
    assert p % 4 == 3
    assert pow(2, p - 1, p) == 1
    assert pow(2, p // 2 - 1, p // 2) == 1
