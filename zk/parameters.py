"""How secure a commitment is, and which settings are refused.

*Width* w: the random coordinates have b_s bits, 10 for up to 2^15 clients and 8 for more, or those of the data where
these are wider. Sums of n vectors then have entries below 2^w, w = max(bits, b_s) + ceil(log2 n), or more where several
values are packed into an element as digits.

**Binding.** Two openings of one hash with entries in [0, 2^w) differ by a vector of infinity norm below 2^w
in the kernel of a random k·512 × columns matrix modulo p: module-SIS in the infinity norm. Two *differences* of
such openings, which is what is left to corrupt clients of sums that hold honest ones, differ by less than 2^(w + 1),
so settings are judged at w + 1. Estimated as for Dilithium (Ducas et al. 2018, appendix C.3, and the estimates that go
with its later versions; the same model as ``SIS.lattice`` with norm=oo in the lattice estimator of Albrecht et al.):
BKZ with block size b costs 2^(0.292 b), its first vectors, 2^(0.2075 b) of them, have a known profile, and each is
short in every coordinate with a known probability. The basis is taken as it is, with its vectors (0, …, p, …, 0), or
*re-randomised*, so that these are forgotten, whichever costs less: with both, Dilithium's published block sizes come
out (423, 638, 909); with the first alone the wider ones are too hard. The 2-norm is not used at all: it promises 150
bits where sqrt(columns) · 2^w exceeds p and the bound means nothing.

*Halving.* With very many columns an attacker does better: combining about 3,500 times as many columns
halves the entries of a solution (Kothari, O'Donnell, Wu 2025, arXiv 2510.07515). Each step makes the
problem as easy as one of twice the norm: that is what is estimated. Once w plus the steps that the columns
allow reach 30, every vector is short and nothing is left.

**Hiding.** s has k + 2 blocks, so C = a public part + A·s is module-LWE of dimension 2·512 with uniform
noise of width 2^max(bits, b_s) (knapsack form). The sum of all s_i is revealed; with two honest clients s_1
is then uniform on an interval of known, varying width, on (geometric) average 2^max(bits, b_s) · e^(−1/2).
Primal attack, core-SVP. Heuristic: theorems on LWE with hints are for Gaussian noise.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from mpc.digits import Digits
from mpc.ntt import N
from mpc.ring import P, Vector

MINIMUM_BITS: Final = 128
NOISE_BITS: Final = 10
"""b_s: hiding is then estimated at 164 bits, and sums of 2^15 clients are as wide as the smallest rank allows."""
NARROW_NOISE_BITS: Final = 8
"""The same for more clients: 133 bits."""
NOISE_CLIENTS: Final = 1 << 15
WIDTH_LIMIT: Final = {3: 25, 4: 27}
"""The widest sums for each rank. Larger ranks would not help: what fails above 27 is halving, not the lattice."""
LONGEST_AT_LIMIT: Final = {3: 2**27}
"""The most columns for a rank at its widest sums; above, it is estimated below 128 bits and the next rank serves."""

_LOG_P: Final = math.log2(P)
_CORE_SVP: Final = 0.292  # Becker, Ducas, Gama, Laarhoven 2016: log2 of sieving time per dimension
_SIEVE_VECTORS: Final = 0.2075  # log2 of the number of short vectors a sieve leaves, per dimension
_HALVING_COLUMNS: Final = 3500.0


class InsecureParametersError(ValueError):
    """A setting whose estimated security is below 128 bits, or outside the limits that are safe."""


def noise_bits(bits: int, clients: int) -> int:
    """Bits of each random coordinate: b_s, or those of the data where these are wider, since the sums are then as wide
    anyway.
    """
    return max(bits, NOISE_BITS if clients <= NOISE_CLIENTS else NARROW_NOISE_BITS)


def noise_top(bits: int, clients: int) -> int:
    """The largest value of a random coordinate."""
    return (1 << noise_bits(bits, clients)) - 1


def width(bits: int, clients: int, digits: Digits | None = None) -> int:
    """w = max(bits, b_s) + ceil(log2 clients), or what packed elements take: sums of so many vectors are below 2^w."""
    return max(noise_bits(bits, clients) + (clients - 1).bit_length(), digits.width if digits else 0)


def _log2_delta(block: int) -> float:
    """log2 of the root Hermite factor of BKZ (Chen 2013)."""
    return math.log2((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) / (2 * (block - 1))


def _log2_within(bound: float) -> float:
    """log2 of the probability that a standard Gaussian lies within ±bound."""
    return math.log1p(-math.erfc(bound / math.sqrt(2))) / math.log(2)


def _profile(rows: int, log_q: float, slope: float, *, randomised: bool) -> tuple[float, float, float]:
    """What BKZ leaves of a basis of the kernel.

    Args:
        rows: of the matrix.
        log_q: log2 of the modulus.
        slope: by which the logarithms of successive vectors' lengths fall, halved.
        randomised: whether the vectors (0, …, q, …, 0) were forgotten first.

    Returns:
        log2 of the first new vector's length, the number of coordinates in which it is short, and the number of those
        before them, which are uniform modulo q.
    """
    modulus_vectors = 0.0 if randomised else rows - log_q / (4 * slope)
    if randomised or modulus_vectors < 0:
        coordinates = math.sqrt(rows * log_q / slope)
        return 2 * slope * coordinates, coordinates, 0.0
    return log_q, log_q / (2 * slope), modulus_vectors


def sis_estimate(rows: int, log_q: float, log_norm: float) -> tuple[float, int]:
    """The cheapest way known to find a short vector in the kernel of a random matrix: lattice reduction on its best
    columns, on the basis as it is or re-randomised.

    Args:
        rows: of the matrix, over the integers.
        log_q: log2 of the modulus.
        log_norm: log2 of the bound on the vector's infinity norm.

    Returns:
        log2 of the cost (core-SVP), and BKZ's block size.
    """
    best = (math.inf, 0)
    for block in range(50, 1500):
        slope = _log2_delta(block)
        for randomised in (False, True):
            top, coordinates, uniform = _profile(rows, log_q, slope, randomised=randomised)
            deviation = top - math.log2(coordinates) / 2
            log_success = (
                coordinates * _log2_within(2 ** (log_norm - deviation))
                + uniform * min(0.0, log_norm + 1 - log_q)
                + _SIEVE_VECTORS * block
            )
            best = min(best, (_CORE_SVP * block - min(0.0, log_success), block))
    return best


@functools.lru_cache(maxsize=256)
def binding_bits(rank: int, w: int, columns: int) -> float:
    """Estimated bits that it costs to find a kernel vector with entries below 2^w over ``columns`` coordinates; 0 where
    halving finds them.
    """
    width = w + max(0.0, math.log(columns / (rank * N)) / math.log(_HALVING_COLUMNS))
    return sis_estimate(rank * N, _LOG_P, width)[0] if width < 30 else 0.0


@functools.lru_cache(maxsize=64)
def hiding_bits(rank: int, bits: int) -> float:
    """Estimated bits of hiding with noise of ``bits`` bits when all but two clients collude and the sum is known."""
    deviation = bits + math.log2(math.exp(-0.5) / math.sqrt(12))
    secret = 2 * N
    for block in range(60, 4000, 2):
        slope = _log2_delta(block)
        for samples in range(16, rank * N + 1, 16):
            dimension = secret + samples + 1
            if deviation + math.log2(block) / 2 <= (2 * block - dimension - 1) * slope + samples / dimension * _LOG_P:
                return _CORE_SVP * block
    return _CORE_SVP * 4000


@dataclass(frozen=True)
class Parameters:
    """A commitment setting that has passed the estimates.

    Attributes:
        bits: bits of a data coordinate.
        clients: most vectors that are ever summed.
        columns: coordinates hashed, data, padding and randomness.
        rank: k, ring elements in a commitment.
        width: w, bits of a summed coordinate.
        binding: estimated bits, of two differences of sums (width w + 1).
        hiding: estimated bits.
        digits: how data coordinates lie in the elements that are hashed; None where each is one.
    """

    bits: int
    clients: int
    columns: int
    rank: int
    width: int
    binding: float
    hiding: float
    digits: Digits | None = None

    def elements(self, coordinates: int) -> int:
        """Elements that so many data coordinates are hashed as."""
        return self.digits.elements(coordinates) if self.digits else coordinates

    def pack(self, values: Vector) -> Vector:
        """The elements that data coordinates, or sums of them, are hashed as."""
        return self.digits.pack_residues(values) if self.digits else values


@functools.lru_cache(maxsize=256)
def choose(bits: int, clients: int, coordinates: int, digits: Digits | None = None) -> Parameters:
    """The smallest rank that is secure for sums of ``clients`` vectors of ``coordinates`` entries of ``bits`` bits.

    Args:
        digits: in a base above every such sum: so many entries are hashed as one element.

    Raises:
        InsecureParametersError: sums wider than 27 bits, or an estimate below 128 bits.
    """
    w = width(bits, clients, digits)
    elements = digits.elements(coordinates) if digits else coordinates
    sizes = {k: (-(-elements // N) + k + 2) * N for k in WIDTH_LIMIT}
    rank = next(
        (
            k
            for k, limit in sorted(WIDTH_LIMIT.items())
            if w < limit or (w == limit and sizes[k] <= LONGEST_AT_LIMIT.get(k, math.inf))
        ),
        None,
    )
    if rank is None:
        raise InsecureParametersError(
            f"sums of {clients} values of {noise_bits(bits, clients)} bits are {w} bits wide; above "
            f"{max(WIDTH_LIMIT.values())} the commitment is not binding: use fewer bits per value or fewer clients"
        )
    columns = sizes[rank]
    binding, hiding = binding_bits(rank, w + 1, columns), hiding_bits(rank, noise_bits(bits, clients))
    if min(binding, hiding) < MINIMUM_BITS:
        raise InsecureParametersError(
            f"binding is estimated at {binding:.0f} bits and hiding at {hiding:.0f} for {columns} coordinates "
            f"of width {w}; both must reach {MINIMUM_BITS}: use fewer bits per value, fewer clients or a shorter vector"
        )
    return Parameters(bits, clients, columns, rank, w, binding, hiding, digits)
