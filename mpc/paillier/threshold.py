"""Threshold decryption for Paillier: any t of ℓ members decrypt together, fewer learn nothing.

Damgård and Jurik (2001, "A generalisation, a simplification and some applications of Paillier's probabilistic
public-key system", section 4.1, with s = 1), after Shoup (2000, "Practical threshold signatures"). With p = 2p' + 1 and
q = 2q' + 1 safe primes, n = pq and m = p'q', the exponent d ≡ 0 modulo m, ≡ 1 modulo n, is shared by a polynomial f of
degree t − 1 over the integers modulo n·m, which is the order of the cyclic group of squares modulo n². With Δ = ℓ!,
member i answers c^(2Δ·f(i)); Lagrange interpolation in the exponent, cleared of fractions by Δ, gives

    c^(4Δ²·d)  =  1 + 4Δ²·M·n   modulo n².

The ciphertexts are ordinary ones under n: encrypting, adding and packing know nothing of the shares.

**Trust.** One dealer makes the key and could decrypt everything; it must be trusted to deal honestly and to forget p,
q and the shares it dealt. It isn't needed after that. Members' answers are worth nothing without the proof in ``zk``:
combining notices damaged ones, without saying whose they are, but not one that was multiplied by some 1 + k·n.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from mpc import parallel
from mpc.framing import frame, integer
from mpc.optional import Optional
from mpc.paillier.paillier import DEFAULT_BITS, PaillierError, PublicKey, check_bits

if TYPE_CHECKING:
    import gmpy2
    from gmpy2 import mpz
else:
    gmpy2 = Optional("gmpy2", "paillier")

MAX_MEMBERS: Final = 64
"""Δ = ℓ! lengthens every exponent: 64! has 296 bits, beside 2 · bits of a share."""

_PRIME_TESTS: Final = 40
_BATCH: Final = 16
_SIEVE_BOUND: Final = 1 << 20
_SIEVE_SPAN: Final = 1 << 19


class ThresholdError(PaillierError):
    """Partial decryptions that can't be combined, or a share that isn't one. ``member`` says whose, if known."""

    def __init__(self, message: str, member: str | None = None, index: int | None = None) -> None:
        super().__init__(message, index)
        self.member = member


def _odd_primes(limit: int) -> list[int]:
    sieve = np.ones(limit, dtype=np.bool_)
    sieve[:2] = False
    for i in range(2, math.isqrt(limit) + 1):
        if sieve[i]:
            sieve[i * i :: i] = False
    return [int(prime) for prime in np.flatnonzero(sieve)[1:]]


def safe_prime(bits: int) -> int:
    """A random safe prime p = 2p' + 1 of exactly ``bits`` bits, its two highest set.

    It is the first one above a random start, so primes after long gaps are likelier: by a factor that is polynomial in
    the length, as in every incremental search (Brandt and Damgård 1992). Takes seconds at 1,024 bits, up to a minute at
    1,536.
    """
    primes = _odd_primes(_SIEVE_BOUND)
    while True:
        start = secrets.randbits(bits - 1) | 3 << (bits - 3) | 1
        alive = np.ones(_SIEVE_SPAN, dtype=np.bool_)  # of p' = start + 2k
        for r in primes:
            half = (r + 1) // 2
            alive[-start * half % r :: r] = False  # p' = 0 modulo r
            alive[-(2 * start + 1) * half * half % r :: r] = False  # p = 2·start + 1 + 4k = 0 modulo r
        for k in np.flatnonzero(alive):
            candidate = start + 2 * int(k)
            p = 2 * candidate + 1
            if p.bit_length() != bits:
                break
            if gmpy2.powmod(2, p - 1, p) == 1 and _is_safe_prime(p):
                return p


def _is_safe_prime(p: int) -> bool:
    return bool(gmpy2.is_prime(p // 2, _PRIME_TESTS) and gmpy2.is_prime(p, _PRIME_TESTS))


@dataclass(frozen=True)
class ThresholdKey:
    """What everybody knows about a shared key.

    Attributes:
        public: the key to encrypt under.
        threshold: t, the members it takes to decrypt.
        members: their names in order; member number i ≥ 1 is ``members[i - 1]``.
        base: v, a random square modulo n², which generates the group of squares (but for chance below 2^-1000).
        verification: v^(Δ·f(i)) modulo n² for each member.

    Raises:
        ThresholdError: a threshold no set can reach or of one member, names twice, numbers that don't fit.
    """

    public: PublicKey
    threshold: int
    members: tuple[str, ...]
    base: int
    verification: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_members(self.threshold, self.members)
        if len(self.verification) != len(self.members):
            raise ThresholdError(f"{len(self.verification)} verification keys of {len(self.members)} members")
        self.public.check((self.base, *self.verification))

    @property
    def delta(self) -> int:
        """Δ = ℓ!"""
        return math.factorial(len(self.members))

    def number(self, member: str) -> int:
        """The member's i ≥ 1. ThresholdError: it is none."""
        if member not in self.members:
            raise ThresholdError(f"{member!r} holds no share of this key", member)
        return self.members.index(member) + 1

    @cached_property
    def encoded(self) -> bytes:
        """All fields as one frame, to be hashed into statements."""
        size = self.public.ciphertext_bytes
        numbers = b"".join(value.to_bytes(size, "little") for value in (self.base, *self.verification))
        names = (name.encode() for name in self.members)
        return frame("paillier-threshold-key", self.public.to_bytes(), integer(self.threshold), numbers, *names)


def _check_members(threshold: int, members: Sequence[str]) -> None:
    if not 2 <= threshold <= len(members) <= MAX_MEMBERS:
        raise ThresholdError(
            f"a threshold of {threshold} for {len(members)} members: it is at least 2, at most their number, "
            f"and that at most {MAX_MEMBERS}"
        )
    if len(set(members)) != len(members):
        raise ThresholdError("a member is named twice")


@dataclass(frozen=True)
class KeyShare:
    """One member's share f(i), in [0, n·m), of a threshold key; kept by the member, encrypted where it's stored.

    Raises:
        ThresholdError: it doesn't fit the member's verification key.
    """

    key: ThresholdKey
    member: str
    value: int = field(repr=False)

    def __post_init__(self) -> None:
        key, n_squared = self.key, self.key.public.n_squared
        expected = key.verification[key.number(self.member) - 1]
        if not 0 <= self.value < n_squared or gmpy2.powmod(key.base, key.delta * self.value, n_squared) != expected:
            raise ThresholdError(f"the share does not fit the verification key of {self.member!r}", self.member)


def deal(
    threshold: int,
    members: Sequence[str],
    *,
    bits: int = DEFAULT_BITS,
    primes: tuple[int, int] | None = None,
) -> tuple[ThresholdKey, dict[str, KeyShare]]:
    """Make a key and share it: the dealer's whole work.

    Args:
        threshold: members that it takes to decrypt, at least 2.
        members: their names, at most 64.
        bits: length of the modulus.
        primes: safe primes of bits/2 bits each that were generated before (:func:`safe_prime`); fresh by default.

    Raises:
        ThresholdError: a threshold no set can reach, names twice, primes that are not two such.
        PaillierError: a modulus length that is refused.
    """
    check_bits(bits)
    _check_members(threshold, members)
    p, q = primes or (safe_prime(bits // 2), safe_prime(bits // 2))
    n = p * q
    if p == q or p.bit_length() != q.bit_length() or n.bit_length() != bits:
        raise ThresholdError(f"not two primes with a product of {bits} bits")
    if not (_is_safe_prime(p) and _is_safe_prime(q)):
        raise ThresholdError("a prime is not a safe prime")
    m = (p // 2) * (q // 2)
    order = n * m
    public = PublicKey(n)
    secret_exponent = m * pow(m, -1, n)  # 0 modulo m, 1 modulo n
    coefficients = [secret_exponent, *(secrets.randbelow(order) for _ in range(threshold - 1))]

    def evaluate(x: int) -> int:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * x + coefficient) % order
        return value

    n_squared = public.n_squared
    base = gmpy2.powmod(secrets.randbelow(n - 1) + 1 + n * secrets.randbelow(n), 2, n_squared)
    delta = math.factorial(len(members))
    values = [evaluate(i) for i in range(1, len(members) + 1)]
    verification = tuple(int(gmpy2.powmod(base, delta * value, n_squared)) for value in values)
    key = ThresholdKey(public, threshold, tuple(members), int(base), verification)
    return key, {member: KeyShare(key, member, value) for member, value in zip(members, values, strict=True)}


def partial_decrypt(share: KeyShare, ciphertexts: Sequence[int]) -> list[int]:
    """c^(2Δ·f(i)) modulo n² for every ciphertext, on all cores.

    Raises:
        PaillierError: something that is no ciphertext (``index``).
    """
    key = share.key
    key.public.check(ciphertexts)
    n_squared = key.public.n_squared
    exponent = 2 * key.delta * share.value

    def work(first: int, last: int) -> list[int]:
        out: list[int] = []
        for start in range(first, last, _BATCH):
            values = [gmpy2.mpz(c) for c in ciphertexts[start : min(start + _BATCH, last)]]
            out += [int(d) for d in gmpy2.powmod_base_list(values, exponent, n_squared)]  # without Python's lock
        return out

    return [d for part in parallel.map_ranges(work, len(ciphertexts)) for d in part]


def check_partials(key: ThresholdKey, member: str, partials: Sequence[int], count: int) -> None:
    """Refuse an answer of the wrong form; whether it is right is the proof's business.

    Raises:
        ThresholdError: no member, another number of values, or one that is no unit modulo n²; names the member.
    """
    key.number(member)
    if len(partials) != count:
        raise ThresholdError(f"{len(partials)} partial decryptions of {count} ciphertexts from {member!r}", member)
    try:
        key.public.check(partials)
    except PaillierError as error:
        raise ThresholdError(f"a partial decryption of {member!r}: {error}", member, error.index) from error


def combine(key: ThresholdKey, partials: Mapping[str, Sequence[int]], count: int) -> list[int]:
    """The plaintexts of ``count`` ciphertexts, from the answers of the first t of these members.

    Every answer's proof must have been verified (``zk.partial_decryption``): a crafted answer changes the plaintexts.

    Raises:
        ThresholdError: fewer than t members; an answer of the wrong form; answers that give no plaintext (``index``
            says for which ciphertext, but not whose answer is to blame).
    """
    for member, values in partials.items():
        check_partials(key, member, values, count)
    if len(partials) < key.threshold:
        raise ThresholdError(f"{len(partials)} partial decryptions, {key.threshold} are needed")
    chosen = sorted(partials, key=key.number)[: key.threshold]
    weights = _lagrange_at_zero([key.number(member) for member in chosen], key.delta)
    raising = [(partials[member], 2 * w) for member, w in zip(chosen, weights, strict=True) if w > 0]
    lowering = [(partials[member], -2 * w) for member, w in zip(chosen, weights, strict=True) if w < 0]
    n, n_squared = gmpy2.mpz(key.public.n), key.public.n_squared
    scale = gmpy2.invert(4 * key.delta**2, n)

    def product(factors: list[tuple[Sequence[int], int]], index: int) -> mpz:
        out = gmpy2.mpz(1)
        for values, exponent in factors:
            out = out * gmpy2.powmod(values[index], exponent, n_squared) % n_squared
        return out

    plaintexts = []
    for index in range(count):
        combined = product(raising, index) * gmpy2.invert(product(lowering, index), n_squared) % n_squared
        if combined % n != 1:
            raise ThresholdError(f"the partial decryptions of ciphertext {index} do not combine", index=index)
        plaintexts.append(int(combined // n * scale % n))
    return plaintexts


def _lagrange_at_zero(points: Sequence[int], delta: int) -> list[int]:
    """Δ · product over j ≠ i of x_j / (x_j − x_i): integers, since Δ = ℓ! and the points are distinct in [1, ℓ]."""
    weights = []
    for i, x in enumerate(points):
        others = [other for j, other in enumerate(points) if j != i]
        weights.append(delta * math.prod(others) // math.prod(other - x for other in others))
    return weights
