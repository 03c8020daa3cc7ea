"""Rings that keys made elsewhere are for, and what sums fit into one.

Where a policy names no ring, ``lattice_parameters.choose`` takes the cheapest; here degree and primes are given, and
what is left to choose is how many coordinates a slot holds and, for CKKS, the scale. The bounds are those of
``lattice_parameters``: all hold for any degree, and for any number of data primes with their product in the place of q.

A policy names a ring by options: ``degree``; ``primes``, the sizes of up to four primes as pairs of decimal digits, so
60404060 is [60, 40, 40, 60]; ``more_primes``, the sizes of up to four more; and for BFV ``plain_modulus``. As TenSEAL
has it, the last prime is the special one, which only keys have. Each prime is one of the largest of its size that are
1 modulo 2N, as SEAL's ``CoeffModulus::Create`` takes them.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secure_agg.backends.contract import OptionRule
from secure_agg.backends.homomorphic.lattice_parameters import (
    BFV,
    CKKS,
    STANDARD_128_CLASSICAL,
    STANDARD_128_QUANTUM,
    LatticeParameters,
    bfv_noise,
    check_range,
    ckks_scale,
    digits,
    is_prime,
    sums_base,
)
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import MAX_OPTION, Policy

SCHEMES: Final[Mapping[str, int]] = {BFV: 1, CKKS: 2}
"""SEAL's numbers of them."""
DEGREES: Final = (4096, 8192, 16384)
"""Smaller ones hold no sums; a vector's key and ciphertexts for a larger one have tens of megabytes."""
_SIZES: Final = range(16, 61)
_MOST_PRIMES: Final = 8
_FIRST: Final = 4
_PAIR: Final = 100
_MOST_DIGITS: Final = 60

DEGREE: Final = OptionRule(
    "degree", DEGREES[0], DEGREES[-1], "degree of the ring of a key made elsewhere", usual="the cheapest setting"
)
PRIMES: Final = OptionRule(
    "primes", 1616, 60606060, "sizes of up to four primes of its modulus, two digits each", usual="none"
)
MORE_PRIMES: Final = OptionRule("more_primes", 16, 60606060, "sizes of its further primes", usual="none")
PLAIN_MODULUS: Final = OptionRule("plain_modulus", 2, MAX_OPTION, "its plaintext modulus", usual="none")


@dataclass(frozen=True)
class Ring:
    """What a lattice key is for.

    Attributes:
        degree: N.
        prime_bits: sizes of the data primes, then of the special prime.
        plain_modulus: t of BFV; 0 for CKKS.
    """

    degree: int
    prime_bits: tuple[int, ...]
    plain_modulus: int = 0

    def __str__(self) -> str:
        """As TenSEAL's users know it."""
        plain = f", plain_modulus={self.plain_modulus}" if self.plain_modulus else ""
        return f"({self.degree}, {list(self.prime_bits)}{plain})"

    @property
    def call(self) -> str:
        """The arguments of ``tenseal.context``."""
        scheme, plain = (BFV, str(self.plain_modulus)) if self.plain_modulus else (CKKS, "None")
        return f"SCHEME_TYPE.{scheme.upper()}, {self.degree}, {plain}, {list(self.prime_bits)}"

    @property
    def options(self) -> dict[str, int]:
        """The options of a policy that name it."""
        found = {DEGREE.name: self.degree, PRIMES.name: _joined(self.prime_bits[:_FIRST])}
        if self.prime_bits[_FIRST:]:
            found[MORE_PRIMES.name] = _joined(self.prime_bits[_FIRST:])
        if self.plain_modulus:
            found[PLAIN_MODULUS.name] = self.plain_modulus
        return found

    def check(self, scheme: str) -> None:
        """Refuse a ring that no key should be for, whatever is summed.

        Raises:
            ConfigError: it is less secure than 128 bits by the Homomorphic Encryption Standard, against classical and
                against quantum attacks, or SEAL has no such setting. The text says what would do.
        """
        if self.degree not in DEGREES:
            raise ConfigError(f"{self}: a ring of degree {self.degree} is none of {DEGREES}")
        if not 2 <= len(self.prime_bits) <= _MOST_PRIMES or any(size not in _SIZES for size in self.prime_bits):
            raise ConfigError(
                f"{self}: a modulus has 2 to {_MOST_PRIMES} primes of {_SIZES[0]} to {_SIZES[-1]} bits, the last of "
                "which only keys have"
            )
        self._check_security()
        if (scheme == BFV) != (self.plain_modulus != 0):
            raise ConfigError(f"{self}: {PLAIN_MODULUS.name} goes with {BFV}, and only with it")
        if scheme == BFV and not (
            self.plain_modulus <= MAX_OPTION
            and self.plain_modulus % (2 * self.degree) == 1
            and is_prime(self.plain_modulus)
        ):
            raise ConfigError(
                f"{self}: batching needs a plaintext modulus that is a prime, 1 modulo {2 * self.degree}, and below "
                f"2^32: 1032193 is one for every degree up to {DEGREES[-1] // 2}"
            )
        data_primes(self)

    def _check_security(self) -> None:
        modulus = sum(self.prime_bits)
        classical, quantum = STANDARD_128_CLASSICAL[self.degree], STANDARD_128_QUANTUM[self.degree]
        limit = min(classical, quantum)
        if modulus <= limit:
            return
        level = "below 128-bit security" if modulus > classical else "128-bit security against classical attacks only"
        wider = next((degree for degree in DEGREES if STANDARD_128_QUANTUM[degree] >= modulus), None)
        other = f", or degree {wider}, which allows {STANDARD_128_QUANTUM[wider]}" if wider else ""
        raise ConfigError(
            f"{self}: a modulus of {modulus} bits in a ring of degree {self.degree} has {level}; by the homomorphic "
            f"encryption standard 128 bits against quantum attacks allow {limit}: take primes that are "
            f"{modulus - limit} bits shorter in all{other}"
        )


def _joined(sizes: tuple[int, ...]) -> int:
    return functools.reduce(lambda joined, size: joined * _PAIR + size, sizes, 0)


def _pairs(joined: int) -> tuple[int, ...]:
    return (*_pairs(joined // _PAIR), joined % _PAIR) if joined else ()


def of_policy(policy: Policy) -> Ring | None:
    """The ring that a policy names, or None where it leaves that to us.

    Raises:
        ConfigError: it names a part of one.
    """
    named = {rule.name: rule.of(policy) for rule in (DEGREE, PRIMES, MORE_PRIMES, PLAIN_MODULUS)}
    if not any(named.values()):
        return None
    sizes = _pairs(named[PRIMES.name])
    if named[MORE_PRIMES.name] and len(sizes) < _FIRST:
        raise ConfigError(f"{MORE_PRIMES.name} goes on after four {PRIMES.name}, and these are {len(sizes)}")
    return Ring(named[DEGREE.name], sizes + _pairs(named[MORE_PRIMES.name]), named[PLAIN_MODULUS.name])


@functools.lru_cache(maxsize=16)
def data_primes(ring: Ring) -> tuple[int, ...]:
    """The primes that ciphertexts are modulo: as many of the largest of each size as SEAL takes, in no certain order.

    Raises:
        ConfigError: there are not so many of a size.
    """
    found: list[int] = []
    for size in sorted(set(ring.prime_bits)):
        count, step = ring.prime_bits.count(size), 2 * ring.degree
        candidate = (1 << size) - step + 1
        taken: list[int] = []
        while len(taken) < count:
            if candidate < 1 << (size - 1):
                raise ConfigError(f"{ring}: there are not {count} primes of {size} bits that are 1 modulo {step}")
            if is_prime(candidate):
                taken.append(candidate)
            candidate -= step
        # The special prime is one of them; the largest, for a bound that holds whichever it is.
        found += taken[1:] if size == ring.prime_bits[-1] else taken
    return tuple(found)


@functools.lru_cache(maxsize=64)
def fit(scheme: str, ring: Ring, bits: int, clients: int, total: int) -> LatticeParameters:
    """The setting in which most coordinates fit into a slot of this ring.

    Raises:
        ConfigError: the ring is refused, or sums would not be exact. The text has what is there, what is needed, and
            the smallest change that would do.
    """
    ring.check(scheme)
    check_range(bits, clients, total)
    found = _fit(scheme, ring, bits, clients, total)
    if found is None:
        raise ConfigError(f"{ring}: {_shortage(scheme, ring, bits, clients)}{_remedy(scheme, ring, bits, clients)}")
    return found


def _fit(scheme: str, ring: Ring, bits: int, clients: int, total: int) -> LatticeParameters | None:
    """The most coordinates a slot that fit, or None: one is too many."""
    found, packed = None, 1
    while packed < _MOST_DIGITS and sums_base(bits, clients) ** packed < 1 << _MOST_DIGITS:
        scale = _scale(scheme, ring, bits, clients, packed)
        if scale is None:
            break
        found = LatticeParameters(
            scheme, bits, clients, total, ring.degree, ring.prime_bits, packed, ring.plain_modulus, scale
        )
        packed += 1
    return found


def _scale(scheme: str, ring: Ring, bits: int, clients: int, packed: int) -> int | None:
    """log2 of the scale with which so many coordinates are exact, 0 for BFV; None if there is none."""
    needed = _needed(scheme, ring, bits, clients, packed)
    if needed is None or math.prod(data_primes(ring)) <= needed[0]:
        return None
    if scheme == BFV and sums_base(bits, clients) ** packed > ring.plain_modulus:
        return None
    return needed[1]


def _needed(scheme: str, ring: Ring, bits: int, clients: int, packed: int) -> tuple[float, int] | None:
    """What q has to exceed, and log2 of the scale; None where double precision does not reach."""
    special = ring.prime_bits[-1]
    if scheme == BFV:
        return 2 * ring.plain_modulus * bfv_noise(ring.degree, special, clients), 0
    return ckks_scale(ring.degree, special, clients, clients * (digits(bits, clients, packed) + 1) / 2)


def _shortage(scheme: str, ring: Ring, bits: int, clients: int) -> str:
    job, base = f"sums of {clients} values of {bits} bits", sums_base(bits, clients)
    if scheme == BFV and base > ring.plain_modulus:
        return f"{job} are below {base}, and the plaintext modulus is {ring.plain_modulus}; "
    needed = _needed(scheme, ring, bits, clients, 1)
    if needed is None:
        return f"{job} are not exact in double precision, which CKKS computes in; "
    return (
        f"{job} need data primes of {math.log2(needed[0]):.1f} bits in all with the noise of {clients} fresh "
        f"ciphertexts, and these have {math.log2(math.prod(data_primes(ring))):.1f}; "
    )


def _remedy(scheme: str, ring: Ring, bits: int, clients: int) -> str:
    """The smallest change on either side that would do."""
    ways = []
    fewer = next((b for b in range(bits - 1, 1, -1) if _fit(scheme, ring, b, clients, 1)), None)
    misfits = bisect.bisect_left(range(2, clients), True, key=lambda n: _fit(scheme, ring, bits, n, 1) is None)
    ways += [f"bits={fewer}"] if fewer else []
    ways += [f"max_clients={misfits + 1}"] if misfits else []
    if scheme == BFV and sums_base(bits, clients) > ring.plain_modulus:
        larger = _plain_modulus(sums_base(bits, clients), ring.degree)
        ways += [f"a key with plain_modulus={larger}"] if larger <= MAX_OPTION else []
    elif (needed := _needed(scheme, ring, bits, clients, 1)) is not None:
        short = math.ceil(math.log2(needed[0]) - math.log2(math.prod(data_primes(ring)))) + 1
        if sum(ring.prime_bits) + short <= STANDARD_128_QUANTUM[ring.degree]:
            ways.append(f"a key whose data primes are {short} bits longer")
    return f"what would do: {', or '.join(ways)}" if ways else "it holds no sums"


def _plain_modulus(least: int, degree: int) -> int:
    candidate = -(-(least - 1) // (2 * degree)) * 2 * degree + 1
    while not is_prime(candidate):
        candidate += 2 * degree
    return candidate
