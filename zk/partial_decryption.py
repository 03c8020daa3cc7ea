"""The statement "these are member i's partial decryptions of those ciphertexts", and its proof.

With s the member's share, v_i = v^(Δs) its verification key, c_k the ciphertexts and d_k the answers, the claim is
d_k² = c_k^(4Δs) for all k: equality of discrete logarithms in the group of squares modulo n² (Chaum and Pedersen
1992; Shoup 2000, section 3; Damgård and Jurik 2001, section 4.1), made non-interactive by hashing (Fiat and Shamir).
The square is what is combined, so a wrong sign of d_k changes nothing and goes unnoticed.

One proof serves all ciphertexts. Coefficients e_k of 128 bits are drawn from the hash of the whole statement, answers
included, and the proof is for C = (product of c_k^(e_k))^(4Δ) and D = (product of d_k^(e_k))².

**Soundness.** n is a product of two safe primes, so the group of squares is cyclic of order p·q·p'·q', and each of
these primes exceeds 2^1000. If some d_k² is wrong, d_k² / c_k^(4Δs) is not 1 and so of order above 2^1000; whatever the
other coefficients, at most one e_k in [0, 2^128) makes D = C^s all the same. For D ≠ C^s at most one 128-bit challenge
can be answered, since the difference of two is invertible modulo the order. Either chance is 2^-128 for each hash that
the prover tries. Everything rests on that order: **it does not hold for a modulus with small factors in p − 1 or
q − 1**, and whether n has any can't be checked; the dealer, who is trusted at set-up, vouches for it. v generates the
group but for chance below 2^-1000, which makes s unique.

**Zero knowledge**, statistically: the response hides challenge · s under 128 more random bits.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from mpc.framing import integer
from mpc.keystream import KeyStream
from mpc.optional import Optional
from mpc.paillier.threshold import KeyShare, ThresholdError, ThresholdKey, check_partials
from zk.transcript import Transcript

if TYPE_CHECKING:
    import gmpy2
    from gmpy2 import mpz
else:
    gmpy2 = Optional("gmpy2", "paillier")

CHALLENGE_BYTES: Final = 16
_CHALLENGE_BITS: Final = 8 * CHALLENGE_BYTES
_HIDING_BITS: Final = 128
_COEFFICIENT_BYTES: Final = 16


class PartialDecryptionError(ValueError):
    """A member's answer or its proof is wrong. ``member`` names it."""

    def __init__(self, message: str, member: str) -> None:
        super().__init__(message)
        self.member = member


@dataclass(frozen=True)
class PartialDecryptionStatement:
    """ "In this context, ``partials`` are this member's answers to ``ciphertexts``."

    Attributes:
        key: the shared key, with the verification keys.
        member: whose answers they are.
        context: bytes of the session and step; a proof holds in its own context only.
        ciphertexts: what was to be decrypted.
        partials: the answers, in the same order.
    """

    key: ThresholdKey
    member: str
    context: bytes
    ciphertexts: Sequence[int]
    partials: Sequence[int]

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that bind every field of the statement."""
        size = self.key.public.ciphertext_bytes
        transcript = Transcript("paillier-partial-decryption-statement")
        transcript.absorb("key", self.key.encoded).absorb("number", integer(self.key.number(self.member)))
        transcript.absorb("context", self.context)
        transcript.absorb("ciphertexts", b"".join(int(c).to_bytes(size, "little") for c in self.ciphertexts))
        transcript.absorb("partials", b"".join(int(d).to_bytes(size, "little") for d in self.partials))
        return transcript.digest()


@dataclass(frozen=True)
class PartialDecryptionProof:
    """The challenge (16 bytes) and the response r + challenge · s, an integer."""

    challenge: bytes
    response: int

    def to_bytes(self, key: ThresholdKey) -> bytes:
        """Challenge ‖ response, little endian, of a length that depends on the key's only."""
        return self.challenge + self.response.to_bytes(_response_bytes(key), "little")

    @staticmethod
    def from_bytes(data: bytes, key: ThresholdKey, member: str) -> PartialDecryptionProof:
        """The proof of its encoding. PartialDecryptionError: another length; it names ``member``, who sent it."""
        expected = CHALLENGE_BYTES + _response_bytes(key)
        if len(data) != expected:
            raise PartialDecryptionError(f"a proof of {len(data)} bytes, not {expected}, from {member!r}", member)
        return PartialDecryptionProof(data[:CHALLENGE_BYTES], int.from_bytes(data[CHALLENGE_BYTES:], "little"))


def _mask_bits(key: ThresholdKey) -> int:
    return 2 * key.public.bits + _CHALLENGE_BITS + _HIDING_BITS


def _response_bytes(key: ThresholdKey) -> int:
    return _mask_bits(key) // 8 + 1  # r + challenge · s has at most one bit more than r


def _coefficients(seed: bytes, count: int) -> list[bytes]:
    """``count`` coefficients of 128 bits, each 16 bytes little endian: stream 0 of the statement's digest."""
    words = np.empty(count * _COEFFICIENT_BYTES // 4, dtype=np.uint32)
    KeyStream(seed).words(0, words)
    data = words.astype("<u4", copy=False).tobytes()
    return [data[i : i + _COEFFICIENT_BYTES] for i in range(0, len(data), _COEFFICIENT_BYTES)]


def _multi_power(values: Sequence[int], coefficients: Sequence[bytes], modulus: mpz) -> mpz:
    """Product of values[k]^coefficients[k], a byte of every coefficient at a time (Pippenger's buckets): 16 products a
    value, where single powers take 200.
    """
    bases = [gmpy2.mpz(value) for value in values]
    out = gmpy2.mpz(1)
    for position in reversed(range(_COEFFICIENT_BYTES)):
        buckets = [gmpy2.mpz(1)] * 256
        for base, coefficient in zip(bases, coefficients, strict=True):
            digit = coefficient[position]
            buckets[digit] = buckets[digit] * base % modulus
        running = total = gmpy2.mpz(1)
        for bucket in reversed(buckets[1:]):  # bucket d is counted d times
            running = running * bucket % modulus
            total = total * running % modulus
        out = gmpy2.powmod(out, 256, modulus) * total % modulus
    return out


def _challenge(statement: PartialDecryptionStatement, a: int, b: int) -> bytes:
    size = statement.key.public.ciphertext_bytes
    transcript = Transcript("paillier-partial-decryption-proof")
    transcript.absorb("statement", statement.digest)
    transcript.absorb("a", int(a).to_bytes(size, "little")).absorb("b", int(b).to_bytes(size, "little"))
    return transcript.digest()[:CHALLENGE_BYTES]


def _combined_base(statement: PartialDecryptionStatement, coefficients: Sequence[bytes]) -> mpz:
    """C = (product of c_k^(e_k))^(4Δ)."""
    n_squared = statement.key.public.n_squared
    product = _multi_power(statement.ciphertexts, coefficients, n_squared)
    return gmpy2.powmod(product, 4 * statement.key.delta, n_squared)


def _check_form(statement: PartialDecryptionStatement) -> None:
    statement.key.public.check(statement.ciphertexts)
    try:
        check_partials(statement.key, statement.member, statement.partials, len(statement.ciphertexts))
    except ThresholdError as error:
        raise PartialDecryptionError(str(error), statement.member) from error


def prove(share: KeyShare, statement: PartialDecryptionStatement) -> PartialDecryptionProof:
    """Prove a statement about the own share's answers (``mpc.paillier.threshold.partial_decrypt``).

    Raises:
        PartialDecryptionError: the statement is about another member or key, or not of the form of one.
        PaillierError: something that is no ciphertext.
    """
    key = statement.key
    if share.key != key or share.member != statement.member:
        raise PartialDecryptionError("the statement is about another share", statement.member)
    _check_form(statement)
    n_squared = key.public.n_squared
    base = _combined_base(statement, _coefficients(statement.digest, len(statement.ciphertexts)))
    r = secrets.randbits(_mask_bits(key))
    challenge = _challenge(
        statement, gmpy2.powmod(key.base, key.delta * r, n_squared), gmpy2.powmod(base, r, n_squared)
    )
    return PartialDecryptionProof(challenge, r + int.from_bytes(challenge, "little") * share.value)


def verify(statement: PartialDecryptionStatement, proof: PartialDecryptionProof) -> None:
    """Check a member's answers, all at once.

    Raises:
        PartialDecryptionError: answers of the wrong form or number, a response out of range, or a proof that does not
            hold for this key, member, context, ciphertexts and answers. Names the member.
        PaillierError: something that is no ciphertext, which is nobody's fault here.
    """
    key, member = statement.key, statement.member
    _check_form(statement)
    if len(proof.challenge) != CHALLENGE_BYTES or not 0 <= proof.response < 1 << (_mask_bits(key) + 1):
        raise PartialDecryptionError(f"the proof of {member!r} is out of range", member)
    n_squared = key.public.n_squared
    coefficients = _coefficients(statement.digest, len(statement.ciphertexts))
    base = _combined_base(statement, coefficients)
    power = gmpy2.powmod(_multi_power(statement.partials, coefficients, n_squared), 2, n_squared)
    verification = key.verification[key.number(member) - 1]
    e = -int.from_bytes(proof.challenge, "little")
    a = gmpy2.powmod(key.base, key.delta * proof.response, n_squared) * gmpy2.powmod(verification, e, n_squared)
    b = gmpy2.powmod(base, proof.response, n_squared) * gmpy2.powmod(power, e, n_squared)
    if _challenge(statement, a % n_squared, b % n_squared) != proof.challenge:
        raise PartialDecryptionError(f"the partial decryptions of {member!r} are not proven to be right", member)
