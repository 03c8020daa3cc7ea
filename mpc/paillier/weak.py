"""Primes whose product is soon factored, though they are large, of one length and apart: as some generators make them.

Random primes are none of these: the chances are below 2^-80. Not found: whatever else a generator that wants to be
found out may do. The primes' owner has to trust the one that made them.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional

if TYPE_CHECKING:
    import gmpy2
    from gmpy2 import mpz
else:
    gmpy2 = Optional("gmpy2", "paillier")

SMALL: Final = 1 << 16
_LEAST_ROUGH: Final = 256
"""Bits that p − 1 and p + 1 have without their factors below 2^16, at least."""
_MOST_MULTIPLE: Final = 32


@functools.cache
def small_primes() -> mpz:
    """The product of all primes below 2^16."""
    return gmpy2.primorial(SMALL)


def weakness(p: int, q: int, too_close: int) -> str | None:
    """What makes the product of two primes of one length easy to factor; None where nothing is found.

    Args:
        p, q: the primes.
        too_close: a · p and b · q, for small a and b, differ before so many of their first bits: else Lehman's method
            (1974) finds them, which is Fermat's for a = b = 1.
    """
    for prime in (p, q):
        for beside, method in ((prime - 1, "p - 1"), (prime + 1, "p + 1")):
            if _rough(beside).bit_length() < _LEAST_ROUGH:
                return f"{method} has nearly no factors above 2^16: Pollard's and Williams's methods find such primes"
    for a, b in itertools.product(range(1, _MOST_MULTIPLE + 1), repeat=2):
        if math.gcd(a, b) == 1 and abs(a * p - b * q).bit_length() <= p.bit_length() - too_close:
            return f"{a} times one prime is close to {b} times the other: Lehman's method finds such primes"
    return None


def _rough(value: int) -> mpz:
    """What is left of a number without its factors below 2^16."""
    rest = gmpy2.mpz(value)
    while (common := gmpy2.gcd(rest, small_primes())) > 1:
        rest //= common
    return rest
