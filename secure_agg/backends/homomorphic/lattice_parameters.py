"""Parameters of the lattice schemes BFV and CKKS for one job only: adding n vectors of small integers exactly.

Both schemes are ring-LWE over Z_q[X]/(X^N + 1), q a product of *data primes*; keys live modulo q·P with one
*special prime* P that SEAL (4.x) drops at the end of each encryption. Everything below is computed for N = 4096, the
smallest ring in which SEAL encrypts values of this size under a public key.

**Noise of a fresh ciphertext**, per coefficient (SEAL 4 ``Encryptor::encrypt_zero_internal``; Kim, Polyakov,
Zucca 2021 for BFV). Modulo q·P it is e_0·u + e_1 + e_2·s, with s and u uniform on {−1, 0, 1}^N and each e centred
binomial of variance 21/2; dropping P divides it by P and rounds both polynomials, which adds δ_0 + δ_1·s, each
δ uniform on [−1/2, 1/2]; encoding rounds once more. |s|² and |e_0|² are fixed by the key: their mean plus 8
standard deviations is taken. So

    V = (1 + |s|²)/12 + (2/3·|e_0|² + 21/2·(1 + |s|²)) / P² + 1/12,            |s|² ≈ 2N/3,

and a sum of n has variance n·V: the terms are independent because each plaintext carries uniform dummies (below).

**BFV** decrypts exactly while the noise stays below q/(2t). A coefficient's noise is normal whatever the key, since
s enters by |s|² only: 8 standard deviations are 2^-49 per coefficient, 2^-29 over a million of them.

**CKKS** decodes slot j as the noise polynomial at a root of unity ζ_j: variance n·V·N/2 in a real slot, divided by
scale², *on average over the slots*. There δ_1·s is the product δ_1(ζ_j)·s(ζ_j), and a key fixes s(ζ_j): its slots
differ, |s(ζ_j)|²/|s|² being exponentially distributed, about 8 in the worst of a key's 2048. Over keys a slot's noise
has the mixture's tail, Laplace's: beyond r standard deviations with probability exp(-√2·r), not a normal
distribution's. 24 of them are 2^-49 again, where 8 would be one in 80,000. Double-precision transforms add about
2^-53·sqrt(log2 N) of the largest slot, 8 times that is taken. Both are kept within 1/4 of an integer.

A setting that does not fit is not offered.

**Packing.** A sum is below B = n_max·(2^b − 1) + 1, so a slot that holds integers below B^k holds k coordinates as
digits in base B, and additions never carry. k is as large as the bounds allow: 2 at 16 bits and 100 clients.

**Dummies.** The last four slots of each plaintext are uniform, so that each of its coefficients is: what the
encoder rounds off is then independent of the data, and the key holder, who sees the noise of the sum, learns
no more than the sum from it.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError
from zk.transcript import digest

BFV: Final = "bfv"
CKKS: Final = "ckks"
DUMMIES: Final = 4
SIGMAS: Final = 8
"""Standard deviations of what is normally distributed: 2^-49 is beyond."""
SLOT_SIGMAS: Final = 24
"""Standard deviations of a CKKS slot's noise, whose tail is exp(-√2·r): 2^-49 is beyond."""
MAX_TOTAL: Final = 1 << 32

STANDARD_128_CLASSICAL: Final = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Most bits of q·P for 128-bit security against classical attacks, by N: Albrecht et al. 2018, Homomorphic
Encryption Standard, table 1 (uniform ternary secret).
"""
STANDARD_128_QUANTUM: Final = {1024: 25, 2048: 51, 4096: 101, 8192: 202, 16384: 411, 32768: 827}
"""The same against quantum attacks: table 2 of the standard."""

_DEGREE: Final = 4096
_SPECIAL_BITS: Final = 20  # its noise term is then 2^-12 of a coefficient; any smaller prime would do as well
_PRIME_BITS: Final = 60  # SEAL's limit
_SECOND_BITS: Final = 16  # the smallest size at which a second data prime exists for N = 4096
_ERROR_VARIANCE: Final = 21 / 2
_DOUBLE: Final = 2.0**-53
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide below 3.3e24: Sorenson, Webster 2015


@dataclass(frozen=True)
class LatticeParameters:
    """A setting that ``choose`` has found secure and exact.

    Attributes:
        scheme: ``bfv`` or ``ckks``.
        bits: b; coordinates are in [0, 2^b).
        clients: n_max, most vectors that are ever added.
        total: coordinates of a vector.
        degree: N.
        prime_bits: sizes of the data primes, then of the special prime; each is the largest prime = 1
            mod 2N of its size, as in SEAL's ``CoeffModulus::Create``.
        packed: k, coordinates per slot.
        plain_modulus: t of BFV, a prime = 1 mod 2N and at least B^k; 0 for CKKS.
        scale_bits: log2 of the scale of CKKS; 0 for BFV.
    """

    scheme: str
    bits: int
    clients: int
    total: int
    degree: int
    prime_bits: tuple[int, ...]
    packed: int
    plain_modulus: int
    scale_bits: int

    @property
    def base(self) -> int:
        """B: one more than the largest sum."""
        return sums_base(self.bits, self.clients)

    @property
    def packed_limit(self) -> int:
        """The largest packed value that one client may put into a slot."""
        return digits(self.bits, self.clients, self.packed)

    @property
    def offset(self) -> int:
        """What a CKKS client subtracts from each slot, so that sums lie around zero; 0 for BFV."""
        return (self.packed_limit + 1) // 2 if self.scheme == CKKS else 0

    @property
    def slots(self) -> int:
        """Slots of a plaintext: N for BFV, N/2 for CKKS."""
        return self.degree if self.scheme == BFV else self.degree // 2

    @property
    def data_primes(self) -> int:
        """Number of data primes."""
        return len(self.prime_bits) - 1

    @property
    def chunk_values(self) -> int:
        """Coordinates per ciphertext."""
        return (self.slots - DUMMIES) * self.packed

    @property
    def chunks(self) -> int:
        """Ciphertexts per vector."""
        return -(-self.total // self.chunk_values)

    @property
    def residue_bytes(self) -> int:
        """Bytes of a ciphertext's two polynomials in memory, and before compression on the wire."""
        return 2 * self.data_primes * self.degree * 8

    @property
    def scale(self) -> float:
        """Scale of CKKS; 1 for BFV, which has none."""
        return float(1 << self.scale_bits)

    @property
    def digest(self) -> bytes:
        """32 bytes that bind every field."""
        numbers = (self.bits, self.clients, self.total, self.degree, self.packed, self.plain_modulus, self.scale_bits)
        return digest("lattice-parameters", self.scheme.encode(), struct.pack("<7Q", *numbers), bytes(self.prime_bits))


@functools.lru_cache(maxsize=64)
def choose(scheme: str, bits: int, clients: int, total: int) -> LatticeParameters:
    """The cheapest setting that adds ``clients`` vectors of ``total`` coordinates of ``bits`` bits exactly.

    Raises:
        ConfigError: the scheme is unknown, or a setting is out of range.
    """
    if scheme not in (BFV, CKKS):
        raise ConfigError(f"lattice scheme {scheme!r} is neither {BFV!r} nor {CKKS!r}")
    check_range(bits, clients, total)
    fit = _fit_bfv if scheme == BFV else _fit_ckks
    base = sums_base(bits, clients)
    packings = (k for k in range(1, _PRIME_BITS) if base**k < 1 << _PRIME_BITS)
    fits = [found for k in packings if (found := fit(bits, clients, total, k)) is not None]
    if not fits:
        raise ConfigError(f"{scheme} cannot add {clients} values of {bits} bits exactly: use fewer bits or clients")
    best = min(fits, key=lambda p: (p.data_primes / (p.slots * p.packed), -p.packed))
    check_standard(best.degree, sum(best.prime_bits))
    return best


def check_range(bits: int, clients: int, total: int) -> None:
    """Refuse sums that no setting holds.

    Raises:
        ConfigError: they are not below 2^32, or of too many coordinates.
    """
    if clients < 1 or not 1 <= bits <= 32 or sums_base(bits, clients) > 1 << 32:
        raise ConfigError(
            f"sums of {clients} values of {bits} bits do not lie within [0, 2^32): use fewer bits or fewer clients"
        )
    if not 1 <= total <= MAX_TOTAL:
        raise ConfigError(f"a vector of {total} coordinates is outside [1, {MAX_TOTAL}]")


def check_standard(degree: int, modulus_bits: int) -> None:
    """Refuse a ring and modulus outside the Homomorphic Encryption Standard's 128-bit tables, classical and quantum.

    Raises:
        ConfigError: the degree is not in the tables, or the modulus is too wide for it.
    """
    limit = min(STANDARD_128_CLASSICAL.get(degree, 0), STANDARD_128_QUANTUM.get(degree, 0))
    if modulus_bits > limit:
        raise ConfigError(
            f"a modulus of {modulus_bits} bits in a ring of degree {degree} exceeds the {limit} bits that the "
            f"homomorphic encryption standard allows for 128-bit security"
        )


def noise_variance(degree: int, special_bits: int) -> float:
    """V: variance of a fresh ciphertext's noise per coefficient, see the module's text."""
    secret = 2 * degree / 3 + SIGMAS * math.sqrt(2 * degree / 9)
    errors = _ERROR_VARIANCE * (degree + SIGMAS * math.sqrt(2 * degree))
    at_key_level = errors * 2 / 3 + _ERROR_VARIANCE * (1 + secret)
    return (1 + secret) / 12 + at_key_level / 4.0 ** (special_bits - 1) + 1 / 12


def bfv_noise(degree: int, special_bits: int, clients: int) -> float:
    """Bound of a coefficient's noise in a sum; q has to exceed 2t times that."""
    return SIGMAS * math.sqrt(clients * noise_variance(degree, special_bits))


def ckks_scale(degree: int, special_bits: int, clients: int, largest: float) -> tuple[float, int] | None:
    """The smallest scale that keeps slots within 1/4 of an integer.

    Args:
        largest: bound of a slot's sum.

    Returns:
        What q has to exceed, and log2 of the scale; None where double precision decides, and no scale helps.
    """
    margin = 1 / 4 - SIGMAS * _DOUBLE * math.sqrt(math.log2(degree)) * largest
    if margin < 1 / 8:
        return None
    deviation = math.sqrt(clients * noise_variance(degree, special_bits))
    scale_bits = math.ceil(math.log2(SLOT_SIGMAS * deviation * math.sqrt(degree / 2) / margin))
    return 2 * (largest * 2.0**scale_bits + SIGMAS * deviation), scale_bits


def largest_prime(bits: int, degree: int) -> int:
    """The largest prime below 2^bits that is 1 mod 2·degree.

    Raises:
        ConfigError: there is none of that size.
    """
    step = 2 * degree
    for candidate in range((1 << bits) - step + 1, 1 << (bits - 1), -step):
        if is_prime(candidate):
            return candidate
    raise ConfigError(f"there is no prime of {bits} bits that is 1 mod {step}")


def _fit_bfv(bits: int, clients: int, total: int, packed: int) -> LatticeParameters | None:
    """The smallest data prime that decrypts ``packed`` digits, or None if there is none of 60 bits."""
    modulus = _smallest_prime(sums_base(bits, clients) ** packed, _DEGREE)
    primes = _primes_above(2 * modulus * bfv_noise(_DEGREE, _SPECIAL_BITS, clients))
    if primes is None or len(primes) > 1:  # SEAL has no plaintext modulus that would need two
        return None
    return LatticeParameters(
        BFV, bits, clients, total, _DEGREE, (*primes, _SPECIAL_BITS), packed, plain_modulus=modulus, scale_bits=0
    )


def _fit_ckks(bits: int, clients: int, total: int, packed: int) -> LatticeParameters | None:
    """The smallest scale that keeps slots within 1/4 of an integer, and the data primes that it needs; or None."""
    needed = ckks_scale(_DEGREE, _SPECIAL_BITS, clients, clients * (digits(bits, clients, packed) + 1) / 2)
    if needed is None:
        return None
    bound, scale_bits = needed
    primes = _primes_above(bound)
    if primes is None:
        return None
    return LatticeParameters(
        CKKS, bits, clients, total, _DEGREE, (*primes, _SPECIAL_BITS), packed, plain_modulus=0, scale_bits=scale_bits
    )


def _primes_above(bound: float) -> tuple[int, ...] | None:
    """Sizes of the fewest data primes whose product exceeds ``bound``, or None if two are too few."""
    for bits in range(max(_SPECIAL_BITS + 1, math.floor(math.log2(bound))), _PRIME_BITS + 1):
        if largest_prime(bits, _DEGREE) > bound:
            return (bits,)
    pair = (_PRIME_BITS, _SECOND_BITS)
    return pair if math.prod(largest_prime(bits, _DEGREE) for bits in pair) > bound else None


def sums_base(bits: int, clients: int) -> int:
    """B: one more than the largest sum."""
    return clients * ((1 << bits) - 1) + 1


def digits(bits: int, clients: int, packed: int) -> int:
    """``packed`` digits in base B, each the largest value of one client."""
    return sum(((1 << bits) - 1) * sums_base(bits, clients) ** digit for digit in range(packed))


def _smallest_prime(bound: int, degree: int) -> int:
    """The smallest prime not below ``bound`` that is 1 mod 2·degree."""
    step = 2 * degree
    candidate = -(-(bound - 1) // step) * step + 1
    while not is_prime(candidate):
        candidate += step
    return candidate


def is_prime(n: int) -> bool:
    """Miller–Rabin, deterministic for n below 3.3e24."""
    if n < 2 or any(n % p == 0 for p in _WITNESSES):
        return n in _WITNESSES
    twos = ((n - 1) & -(n - 1)).bit_length() - 1
    for witness in _WITNESSES:
        x = pow(witness, (n - 1) >> twos, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True
