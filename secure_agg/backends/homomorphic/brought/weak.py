"""Whether a lattice key made elsewhere is one that the schemes' security and the bounds on noise are about.

SEAL stores keys as values: residue i modulo a prime q is the polynomial's value at ψ^(2·r(i) + 1), r reversing the bits
of i and ψ being the least primitive 2N-th root of 1 modulo q. Coefficients are found by the transform back, once for
each prime: whoever brings a key waits for a second or less.

A secret has coefficients −1, 0 and 1, a third of each; a public key (b, a) is b = −(a·s + e), where e is a rounded
normal of deviation 3.2, within six of these. With a secret that is nearly all zeros, or without e, anybody finds s.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.backends.homomorphic.seal_format import Shape

Residues = npt.NDArray[np.uint64]
_Values = npt.NDArray[Any]

_MOST_ERROR: Final = 21
"""SEAL cuts its normal off at 19.2, or takes a binomial up to 21."""
_LEAST_SHARE: Final = 0.5
"""Of a secret's coefficients two thirds are not 0, of an error's seven eighths: half is some 40 deviations away."""


def residues(plain: bytes, shape: Shape) -> Residues:
    """(polynomials, primes, N) values of an object that ``seal_format.open_stream`` has read."""
    size = 8 * shape.polynomials * len(shape.primes) * shape.degree
    found = np.frombuffer(plain, "<u8", offset=len(plain) - size)
    return found.reshape(shape.polynomials, len(shape.primes), shape.degree)


def weakness(secret: Residues, public: Residues, primes: tuple[int, ...]) -> str | None:
    """What is wrong with a pair of keys; None where nothing is.

    Args:
        secret: (primes, N).
        public: (2, primes, N), b and a.
        primes: of the places, the special one last.
    """
    for name, most, values in (
        ("secret key", 1, [secret[place].astype(object) for place in range(len(primes))]),
        ("public key's error", _MOST_ERROR, [_error(secret, public, place, q) for place, q in enumerate(primes)]),
    ):
        found = [_coefficients(value, q) for value, q in zip(values, primes, strict=True)]
        if any((each != found[0]).any() for each in found):
            return f"its {name} is not the same modulo all primes"
        if int(np.abs(found[0]).max()) > most:
            return f"its {name} has coefficients above {most}"
        share = float(np.count_nonzero(found[0])) / found[0].size
        if share < _LEAST_SHARE:
            return f"of its {name} {share:.0%} of the coefficients are not 0, where a random one has more than half"
    return None


def _error(secret: Residues, public: Residues, place: int, prime: int) -> _Values:
    b, a = (public[row, place].astype(object) for row in (0, 1))
    found: _Values = -(b + a * secret[place].astype(object)) % prime
    return found


def _coefficients(values: _Values, prime: int) -> _Values:
    """The polynomial that has these values, as integers around 0."""
    size = values.size
    root = _root(size, prime)
    turn, found = pow(root, -2, prime), values.copy()  # in the order of reversed bits already, as butterflies begin
    half = 1
    while half < size:
        step = pow(turn, size // (2 * half), prime)
        powers = _powers(step, half, prime)
        pairs = found.reshape(-1, 2, half)
        low, high = pairs[:, 0, :].copy(), pairs[:, 1, :] * powers % prime
        pairs[:, 0, :], pairs[:, 1, :] = (low + high) % prime, (low - high) % prime
        half *= 2
    found = found * _powers(pow(root, -1, prime), size, prime) * pow(size, -1, prime) % prime
    return np.where(found > prime // 2, found - prime, found)


def _powers(base: int, count: int, prime: int) -> _Values:
    found, power = [], 1
    for _ in range(count):
        found.append(power)
        power = power * base % prime
    return np.array(found, dtype=object)


def _root(size: int, prime: int) -> int:
    """The least primitive root of 1 of order 2 · size."""
    base = 2
    while pow(found := pow(base, (prime - 1) // (2 * size), prime), size, prime) != prime - 1:
        base += 1
    square, least = found * found % prime, found
    for _ in range(size):
        found = found * square % prime
        least = min(least, found)
    return least
