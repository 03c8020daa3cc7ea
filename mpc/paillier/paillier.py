"""Paillier's cryptosystem (Paillier 1999) with generator g = n + 1, as stock ``phe`` uses it.

A ciphertext of m in [0, n) is (1 + m·n) · ρ modulo n², with ρ a random n-th power. Following Damgård, Jurik and
Nielsen (2010, "A generalization of Paillier's public-key system with applications to electronic voting", section 4.2),
ρ = h^a, with h = y^(2n) fixed by the public key and a uniform with half the modulus' bits: powers of one base, which
a table makes cheap. y is hashed from n, so nobody chose it, and each client computes h itself.

Security: decisional composite residuosity (DCR), and that h^a for such a looks like a random element that h generates;
2048 bits are worth about 112, 3072 about 128 (NIST SP 800-57 part 1, table 2). Nothing here withstands a quantum
computer. Neither needs the primes to be ≡ 3 modulo 4. With h in the place of a DCR challenge's square, the exponent
modulo n hides the message whatever group h generates, since n is prime to its order. And that half the modulus' bits
are enough of an exponent follows from factoring, for any two primes of one length, as long as h has a large order
(Goldreich and Rosen 2003, "On the security of modular exponentiation with application to the construction of
pseudorandom generators", after Håstad, Schrift and Shamir 1993). The order misses the squares' number by gcd(p − 1,
q − 1) / 2 and by chance: ``SecretKey`` bounds the former. Where it is 1, as in keys from :func:`generate`, the squares
are cyclic.
Ciphertexts are malleable by design: whoever holds one can make others from it.

Python's and GMP's big-integer arithmetic is not constant time, and secrets can't be wiped from memory.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from mpc import parallel
from mpc.framing import frame, integer
from mpc.keystream import KeyStream
from mpc.optional import Optional
from mpc.paillier import weak
from mpc.paillier.montgomery import LIMB_BITS, Digits, FixedBase, Limbs, to_limbs

if TYPE_CHECKING:
    import gmpy2
    from gmpy2 import mpz
else:
    gmpy2 = Optional("gmpy2", "paillier")

MIN_BITS: Final = 2048
DEFAULT_BITS: Final = 3072
MAX_BITS: Final = 8192
"""Longer moduli are refused: a public key must not be a way to keep its users busy."""

_PRIME_TESTS: Final = 40
_MOST_COMMON: Final = 1 << 32
"""Bound of gcd(p − 1, q − 1): two random primes reach it with a chance of some 2^-31."""
_TOO_CLOSE: Final = 100
"""|p − q| has more than bits/2 − 100 bits (FIPS 186-5, A.1.1), or Fermat's method finds them."""
_BATCH: Final = 64
"""Exponents drawn, or ciphertexts decrypted, between two visits to Python's lock."""


class PaillierError(ValueError):
    """A key, plaintext or ciphertext that no honest party makes. ``index`` says which ciphertext, if one."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


def check_bits(bits: int) -> None:
    """Refuse modulus lengths outside [2048, 8192] or that are no multiple of 128.

    Raises:
        PaillierError: such a length.
    """
    if not MIN_BITS <= bits <= MAX_BITS or bits % (2 * LIMB_BITS):
        raise PaillierError(f"a modulus of {bits} bits is not a multiple of 128 in [{MIN_BITS}, {MAX_BITS}]")


@dataclass(frozen=True)
class PublicKey:
    """The modulus n; g = n + 1 is implied.

    Raises:
        PaillierError: n is even, prime, a perfect power, has a factor below 2^16, or is of a length that
            :func:`check_bits` refuses. That n is the product of two large primes can't be seen, and concerns its owner
            only, who checks it: :class:`SecretKey`.
    """

    n: int

    def __post_init__(self) -> None:
        check_bits(self.n.bit_length())
        if self.n % 2 == 0 or gmpy2.is_power(self.n) or gmpy2.is_prime(self.n):
            raise PaillierError("the modulus is even, prime or a perfect power, so it's not a product of two primes")
        if gmpy2.gcd(self.n, weak.small_primes()) != 1:
            raise PaillierError(
                f"the modulus has a factor below {weak.SMALL}, so it's not a product of two large primes"
            )

    @property
    def bits(self) -> int:
        """Length of n."""
        return self.n.bit_length()

    @property
    def ciphertext_bytes(self) -> int:
        """Length of one ciphertext on the wire: twice the modulus'."""
        return self.bits // 4

    @cached_property
    def n_squared(self) -> mpz:
        """The ciphertexts' modulus."""
        return gmpy2.mpz(self.n) ** 2

    @cached_property
    def fingerprint(self) -> bytes:
        """32 bytes that bind the key."""
        return hashlib.sha256(frame("paillier-public-key", self.to_bytes())).digest()

    def to_bytes(self) -> bytes:
        """n, little endian, bits/8 bytes."""
        return self.n.to_bytes(self.bits // 8, "little")

    @staticmethod
    def from_bytes(data: bytes) -> PublicKey:
        """The key of its encoding.

        Raises:
            PaillierError: leading zeros, or a modulus that is refused.
        """
        if not MIN_BITS <= 8 * len(data) <= MAX_BITS:
            raise PaillierError(f"a modulus of {len(data)} bytes is outside [{MIN_BITS // 8}, {MAX_BITS // 8}]")
        public = PublicKey(int.from_bytes(data, "little"))
        if public.bits != 8 * len(data):
            raise PaillierError("the modulus is not encoded in its own length")
        return public

    def obfuscator_base(self) -> int:
        """h = y^(2n) modulo n², y the SHA-256 counter stream of n, 128 bits longer than n, modulo n.

        Raises:
            PaillierError: y shares a factor with n, so that n is no key.
        """
        blocks = -(-(self.bits + 128) // 256)
        stream = b"".join(
            hashlib.sha256(frame("paillier-obfuscator-base", self.to_bytes(), integer(i))).digest()
            for i in range(blocks)
        )
        y = int.from_bytes(stream, "little") % self.n
        if gmpy2.gcd(y, self.n) != 1:
            raise PaillierError("the modulus has a small factor")
        return int(gmpy2.powmod(y, 2 * self.n, self.n_squared))

    def check(self, ciphertexts: Sequence[int], first: int = 0) -> None:
        """Refuse whatever is no ciphertext: each must lie in [1, n²) and be a unit modulo n².

        One greatest common divisor serves the whole batch. ``first`` is the number of the first, for the error.

        Raises:
            PaillierError: naming the first bad one in ``index``.
        """
        n, n_squared = gmpy2.mpz(self.n), self.n_squared
        product = gmpy2.mpz(1)
        for index, c in enumerate(ciphertexts, first):
            if not 0 < c < n_squared:
                raise PaillierError(f"ciphertext {index} is not in [1, n²)", index)
            product = product * (c % n) % n
        if gmpy2.gcd(product, n) != 1:
            index = next(i for i, c in enumerate(ciphertexts, first) if gmpy2.gcd(c, n) != 1)
            raise PaillierError(f"ciphertext {index} is no unit: it shares a factor with the modulus", index)

    def parse(self, data: bytes | memoryview, first: int = 0) -> list[mpz]:
        """The ciphertexts in ``data``, little endian, ``ciphertext_bytes`` each, all checked.

        Raises:
            PaillierError: no whole number of ciphertexts, or one that :meth:`check` refuses.
        """
        size = self.ciphertext_bytes
        if len(data) % size:
            raise PaillierError(f"{len(data)} bytes are no whole number of {size}-byte ciphertexts")
        values = [gmpy2.mpz(int.from_bytes(data[i : i + size], "little")) for i in range(0, len(data), size)]
        self.check(values, first)
        return values

    def serialise(self, ciphertexts: Iterable[int]) -> bytes:
        """What :meth:`parse` reads.

        Raises:
            PaillierError: a value that :meth:`check` refuses.
        """
        values = list(ciphertexts)
        self.check(values)
        return b"".join(int(c).to_bytes(self.ciphertext_bytes, "little") for c in values)


def generate_prime(bits: int) -> int:
    """A random prime of exactly ``bits`` bits, its two highest set, ≡ 3 modulo 4."""
    while True:
        candidate: int = secrets.randbits(bits) | 3 << (bits - 2) | 3
        if gmpy2.is_prime(candidate, _PRIME_TESTS):
            return candidate


@dataclass(frozen=True)
class SecretKey:
    """The two primes, of one length, made here or by stock ``phe`` or anybody.

    Those from :func:`generate` are ≡ 3 modulo 4 with gcd(p − 1, q − 1) = 2; others need not be, see the module's text.
    Since the primes have one length, neither divides the other's p − 1, so that n is prime to φ(n).

    Raises:
        PaillierError: p and q are not two primes of one length, are too close to each other, p − 1 and q − 1 have too
            much in common, or ``weak`` finds how to factor their product. It says which lengths, and no more of them.
    """

    p: int = field(repr=False)
    q: int = field(repr=False)

    def __post_init__(self) -> None:
        lengths = self.p.bit_length(), self.q.bit_length()
        if self.p < 2 or self.q < 2 or lengths[0] != lengths[1]:
            raise PaillierError(f"the primes have {lengths[0]} and {lengths[1]} bits: they are to be of one length")
        check_bits((self.p * self.q).bit_length())
        if abs(self.p - self.q).bit_length() <= lengths[0] - _TOO_CLOSE:
            raise PaillierError(
                f"the primes agree in more than their first {_TOO_CLOSE} bits: their product is easily factored"
            )
        if not (gmpy2.is_prime(self.p, _PRIME_TESTS) and gmpy2.is_prime(self.q, _PRIME_TESTS)):
            raise PaillierError("a factor of the modulus is not prime")
        if (common := int(gmpy2.gcd(self.p - 1, self.q - 1))) > _MOST_COMMON:
            raise PaillierError(
                f"p - 1 and q - 1 have a common divisor of {common.bit_length()} bits, above "
                f"{_MOST_COMMON.bit_length() - 1}: no two random primes have"
            )
        if said := weak.weakness(self.p, self.q, _TOO_CLOSE):
            raise PaillierError(said)

    @cached_property
    def public(self) -> PublicKey:
        """The key to encrypt under."""
        return PublicKey(self.p * self.q)

    def to_bytes(self) -> bytes:
        """p ‖ q, little endian, of one length: to be stored encrypted only."""
        size = self.p.bit_length() // 8
        return self.p.to_bytes(size, "little") + self.q.to_bytes(size, "little")

    @staticmethod
    def from_bytes(data: bytes) -> SecretKey:
        """The key of its encoding. PaillierError: the primes are refused."""
        size = len(data) // 2
        if not MIN_BITS <= 8 * len(data) <= MAX_BITS or len(data) % 2:
            raise PaillierError(f"a secret key of {len(data)} bytes")
        return SecretKey(int.from_bytes(data[:size], "little"), int.from_bytes(data[size:], "little"))

    def decrypt(self, ciphertexts: Sequence[int]) -> list[int]:
        """The plaintexts in [0, n), modulo p and q apart (Paillier 1999, section 7), on all cores.

        Raises:
            PaillierError: a value that :meth:`PublicKey.check` refuses.
        """
        self.public.check(ciphertexts)
        n, p, q = self.public.n, gmpy2.mpz(self.p), gmpy2.mpz(self.q)
        q_inverse = gmpy2.invert(q, p)

        def residues(values: list[mpz], prime: mpz, other: mpz) -> list[mpz]:
            """L(c^(prime−1) mod prime²) / L(g^(prime−1) mod prime²); the divisor is −other modulo prime."""
            square = prime * prime
            scale = gmpy2.invert(-other, prime)
            raised = gmpy2.powmod_base_list([c % square for c in values], prime - 1, square)  # without Python's lock
            return [(u - 1) // prime * scale % prime for u in raised]

        def work(first: int, last: int) -> list[int]:
            out: list[int] = []
            for start in range(first, last, _BATCH):
                values = [gmpy2.mpz(c) for c in ciphertexts[start : min(start + _BATCH, last)]]
                pairs = zip(residues(values, p, q), residues(values, q, p), strict=True)
                out += [int((b + q * ((a - b) * q_inverse % p)) % n) for a, b in pairs]
            return out

        return [m for part in parallel.map_ranges(work, len(ciphertexts)) for m in part]


def generate(bits: int = DEFAULT_BITS) -> SecretKey:
    """A fresh key with a modulus of exactly ``bits`` bits; under a second for 3072.

    Raises:
        PaillierError: a length that :func:`check_bits` refuses.
    """
    check_bits(bits)
    while True:
        p, q = generate_prime(bits // 2), generate_prime(bits // 2)
        if p != q and gmpy2.gcd(p - 1, q - 1) == 2:
            return SecretKey(p, q)


class Obfuscators:
    """ρ = h^a for consecutive ciphertexts of one vector; it serves one encryption and is spent."""

    def __init__(self, public: PublicKey, first: int, powers: Limbs) -> None:
        self.public = public
        self.first = first
        self._powers: Limbs | None = powers
        self._count: int = powers.shape[0]

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Obfuscators(first={self.first}, count={self._count}, <secret>)"

    def take(self) -> Limbs:
        """The powers, for the one that encrypts. PaillierError: they were taken before."""
        if self._powers is None:
            raise PaillierError("these obfuscators are spent: two ciphertexts with one obfuscator give both away")
        powers, self._powers = self._powers, None
        return powers


class Encryptor:
    """Encrypts under one public key; making one builds the table of :class:`mpc.paillier.montgomery.FixedBase`.

    Randomness is a key stream of one vector's own: stream c gives the exponent of ciphertext c, so the same stream
    gives the same bytes again, and using it for two different vectors gives their difference away.
    """

    def __init__(self, public: PublicKey) -> None:
        self.public = public
        self._exponent_bytes = public.bits // 16
        self._base = FixedBase(public.obfuscator_base(), public.n, self._exponent_bytes)

    @property
    def table_bytes(self) -> int:
        """Memory that the table takes: 17 MB at 2048 bits, 38 MB at 3072."""
        return self._base.table_bytes

    def obfuscators(self, randomness: KeyStream, first: int, count: int) -> Obfuscators:
        """ρ for the ciphertexts first … first + count − 1 of a vector: nearly all of an encryption's work, and it can
        be done before the vector is known. 4 · bits/8 bits each are kept in memory.
        """
        words = np.empty((count, self._exponent_bytes // 4), dtype=np.uint32)
        for row in range(count):
            randomness.words(first + row, words[row])
        digits: Digits = words.astype("<u4", copy=False).view(np.uint8)
        return Obfuscators(self.public, first, self._base.powers(digits))

    def encrypt_limbs(self, plaintexts: Limbs, obfuscators: Obfuscators) -> bytes:
        """Encrypt plaintexts given as ``uint64[count, bits/64]``, least significant word first.

        Returns:
            The ciphertexts for :meth:`PublicKey.parse`.

        Raises:
            PaillierError: a plaintext of n or more, or obfuscators of another key, another number, or spent.
        """
        limbs = self.public.bits // LIMB_BITS
        if plaintexts.dtype != np.uint64 or plaintexts.shape != (len(obfuscators), limbs):
            raise PaillierError(
                f"plaintexts {plaintexts.dtype}{plaintexts.shape} do not fit {len(obfuscators)} ciphertexts"
            )
        if obfuscators.public != self.public:
            raise PaillierError("obfuscators of another key")
        top = plaintexts[:, -1] >= to_limbs(self.public.n, limbs)[-1]  # only there can one reach n
        for row in np.flatnonzero(top):
            if int.from_bytes(plaintexts[row].astype("<u8").tobytes(), "little") >= self.public.n:
                raise PaillierError(f"plaintext {row} is not below the modulus", int(row))
        return self._base.blind(obfuscators.take(), plaintexts).astype("<u8", copy=False).tobytes()

    def encrypt(self, plaintexts: Sequence[int], randomness: KeyStream, first: int = 0) -> list[int]:
        """Encrypt single integers in [0, n), as ciphertexts first, first + 1, … of the stream.

        Each is what ``phe.EncryptedNumber(phe.PaillierPublicKey(n), ciphertext)`` takes, and
        ``phe.PaillierPrivateKey.raw_decrypt`` decrypts.

        Raises:
            PaillierError: a plaintext out of range.
        """
        limbs = self.public.bits // LIMB_BITS
        if any(not 0 <= m < self.public.n for m in plaintexts):
            raise PaillierError("a plaintext is not in [0, n)")
        rows = np.array([to_limbs(m, limbs) for m in plaintexts], dtype=np.uint64).reshape(len(plaintexts), limbs)
        data = self.encrypt_limbs(rows, self.obfuscators(randomness, first, len(plaintexts)))
        size = self.public.ciphertext_bytes
        return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
