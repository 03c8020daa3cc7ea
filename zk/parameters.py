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

**The sketch's commitment** (``zk.norm.commitment``) has randomness of 2 bits. Binding as above, at w = 2 + ceil(log2 n)
and one more. Hiding from the posterior of one of two honest clients given their sum: one coordinate in eight is then
known, the others have 2, 3 or 4 equally likely values. Such small secrets are also open to *hybrid* attacks, which
guess some coordinates, those with 2 values first: with Babai's nearest plane and a meeting in the middle
(Howgrave-Graham 2007), counted as if it always met and cost nothing but a square root, and on the dual lattice
(Albrecht 2017; MATZOV 2022), counted as if all guesses were weighed at one unit each. The least of the
three is what is quoted.

**The norm proof's soundness** is ``proof_soundness``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from mpc.digits import Runs
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


def width(bits: int, clients: int, runs: Runs | None = None) -> int:
    """w = max(bits, b_s) + ceil(log2 clients), or what packed elements take: sums of so many vectors are below 2^w."""
    return max(noise_bits(bits, clients) + (clients - 1).bit_length(), runs.width if runs else 0)


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
        if _CORE_SVP * block > best[0]:
            break  # no reduction with larger blocks is cheaper
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
    samples = np.arange(16, rank * N + 1, 16)
    dimension = secret + samples + 1
    volume = samples / dimension * _LOG_P
    for block in range(60, 4000, 2):
        if np.any(deviation + math.log2(block) / 2 <= (2 * block - dimension - 1) * _log2_delta(block) + volume):
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
        runs: how data coordinates lie in the elements that are hashed; None where each is one.
    """

    bits: int
    clients: int
    columns: int
    rank: int
    width: int
    binding: float
    hiding: float
    runs: Runs | None = None

    def elements(self, coordinates: int) -> int:
        """Elements that so many data coordinates are hashed as: where they are packed, those of the runs."""
        return self.runs.elements if self.runs else coordinates

    def pack(self, values: Vector) -> Vector:
        """The elements that data coordinates, or sums of them, are hashed as.

        Raises:
            ValueError: they are packed, and as many as others.
        """
        return self.runs.pack_residues(values) if self.runs else values

    def unpack(self, elements: Vector, out: Vector) -> None:
        """Fill ``out`` with the coordinates that elements, or a sum of them, are.

        Raises:
            ValueError: they are packed, and some element holds more than its digits.
        """
        if self.runs:
            self.runs.unpack(elements, out)
        else:
            out[:] = elements


@functools.lru_cache(maxsize=256)
def choose(bits: int, clients: int, coordinates: int, runs: Runs | None = None) -> Parameters:
    """The smallest rank that is secure for sums of ``clients`` vectors of ``coordinates`` entries of ``bits`` bits.

    Args:
        runs: of these entries, in bases above every such sum: so many are hashed as one element.

    Raises:
        InsecureParametersError: sums wider than 27 bits, or an estimate below 128 bits.
    """
    w = width(bits, clients, runs)
    elements = runs.elements if runs else coordinates
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
    return Parameters(bits, clients, columns, rank, w, binding, hiding, runs)


SKETCH_NOISE_BITS: Final = 2
"""Bits of the sketch commitment's random coordinates: 1 would show half of a sum of two, more cost bytes."""
SKETCH_CLIENTS: Final = {1: 1 << 10, 2: 1 << 18}
"""The most clients for each rank of the sketch's commitment: binding of 147 and 135 bits."""
SKETCH_BLOCKS: Final = {1: 6, 2: 8}
"""Blocks of its randomness for each rank: hiding of 134 and 172 bits."""


def sketch_rank(clients: int) -> int:
    """The rank of the sketch's commitment for sums of so many.

    Raises:
        InsecureParametersError: more than 2^18 clients.
    """
    for rank, most in SKETCH_CLIENTS.items():
        if clients <= most:
            return rank
    raise InsecureParametersError(f"{clients} clients: a sketch's commitment binds sums of {most} at most")


def sketch_binding_bits(rank: int, clients: int) -> float:
    """Estimated bits of binding of the sketch's commitment, for two differences of sums of ``clients`` of them."""
    width = SKETCH_NOISE_BITS + (clients - 1).bit_length()
    return binding_bits(rank, width + 1, SKETCH_BLOCKS[rank] * N)


def _posterior(bits: int) -> dict[int, float]:
    """How many values one of two uniform numbers of so many bits still can have, given their sum, and how often."""
    size, chance = 1 << bits, dict[int, float]()
    for total in range(2 * size - 1):
        values = min(total + 1, 2 * size - 1 - total)
        chance[values] = chance.get(values, 0.0) + values / size**2
    return chance


def _guessed(unknown: dict[int, float], guesses: int) -> tuple[float, float, float]:
    """What is left once the coordinates with the fewest values are guessed: coordinates, sum of the logarithms of their
    deviations, and the bits that were guessed.
    """
    left = deviations = entropy = 0.0
    rest = float(guesses)
    for values, count in sorted(unknown.items()):
        taken = min(rest, count)
        rest -= taken
        entropy += taken * math.log2(values)
        left += count - taken
        deviations += (count - taken) * math.log2((values**2 - 1) / 12) / 2
    return left, deviations, entropy


def _nearest_plane_cost(samples: int, unknown: float, deviations: float, slope: float) -> float:
    """-log2 of the probability that Babai's nearest plane finds the rest on a reduced basis."""
    lengths = (samples * _LOG_P - deviations) / unknown + slope * (unknown - 1 - 2 * np.arange(int(unknown)))
    within = [_log2_within(2.0 ** (min(length, 20.0) - 1)) if length > -40 else -60.0 for length in lengths[::-1]]
    return -sum(within)


def _distinguishing_cost(samples: int, unknown: float, deviations: float, block: int) -> tuple[float, float]:
    """log2 of the number of short vectors of the dual lattice that an attack needs, and of those that a sieve gives."""
    secret, slope = unknown - samples, _log2_delta(block)
    dimension = np.arange(256, samples + 1, 16) + secret
    length = float(np.min(slope * dimension + secret / dimension * _LOG_P)) + math.log2(4 / 3) / 2
    best = 4 * math.pi**2 * 4 ** (deviations / unknown + length - _LOG_P) / math.log(2)
    return best, _SIEVE_VECTORS * block


@functools.lru_cache(maxsize=16)
def sketch_hiding_bits(rank: int, side: int) -> dict[str, float]:
    """Estimated bits of hiding of the sketch's commitment when all but two clients collude and the sum is known.

    Args:
        rank: of the commitment.
        side: coordinates beside the sketch.

    Returns:
        By attack: ``primal``, ``hybrid``, ``dual``.
    """
    samples = (rank + 1) * N + side
    chances = _posterior(SKETCH_NOISE_BITS)
    unknown = {values: SKETCH_BLOCKS[rank] * N * chance for values, chance in chances.items() if values > 1}
    count, deviations, _ = _guessed(unknown, 0)
    primal = hybrid = dual = math.inf
    guessed = {guesses: _guessed(unknown, guesses) for guesses in range(0, 400, 4)}
    for block in range(250, 1200, 10):  # hardly any cheaper on a finer grid, which the two below are
        slope, reduction = _log2_delta(block), _CORE_SVP * block
        for guesses in range(0, 400, 20):
            left, deviation, entropy = guessed[guesses]
            if reduction < hybrid and entropy / 2 < hybrid:
                cost = max(reduction, entropy / 2) + _nearest_plane_cost(samples, left, deviation, slope)
                hybrid = min(hybrid, cost)
    used = np.arange(256, samples + 1, 4)
    for block in range(250, 1200):
        slope, reduction = _log2_delta(block), _CORE_SVP * block
        if primal == math.inf and np.any(
            deviations / count + math.log2(block) / 2
            <= (2 * block - (count - samples + used) - 2) * slope + used * _LOG_P / (count - samples + used + 1)
        ):
            primal = reduction
        for left, deviation, entropy in guessed.values():
            if reduction < dual and entropy < dual:
                needed, given = _distinguishing_cost(samples, left, deviation, block)
                needed += math.log2(max(1.0, 2 * entropy * math.log(2)))
                dual = min(dual, max(reduction + max(0.0, needed - given), entropy, needed))
    return {"primal": primal, "hybrid": hybrid, "dual": dual}


@dataclass(frozen=True)
class ProofSoundness:
    """Bits of soundness of a norm proof: a false one is accepted with probability 2^-total for each challenge that its
    prover draws.

    Attributes:
        columns: of the event that all queried columns agree though too few do.
        challenge: of a challenge that lets a false statement, or words that are no codewords, agree.
        total: of either.
    """

    columns: float
    challenge: float
    total: float


def proof_soundness(length: int, degree: int, queries: int, extension: int) -> ProofSoundness:
    """The soundness of the norm proof, from theorems alone: nothing beyond the unique-decoding radius is used.

    Let a = length − ⌊(length − degree)/2⌋, the agreement that decodes uniquely. Rows are words that may be anything.

    1. If a random combination over F (of p^extension elements) of the rows and their mask agrees in a columns with a
       polynomial of degree < ``degree`` with probability above length/|F|, the rows and the mask are codewords on one
       set of at least a columns (Ben-Sasson, Carmon, Ishai, Kopparty, Saraf 2020, theorem 1.6).
    2. Then another polynomial than the combination of those codewords agrees in fewer than a columns; and each column
       outside the set agrees with that combination with probability 1/|F|: (length − a)/|F| in all.
    3. On the set, the claimed polynomials of the other two tests less what the codewords give are polynomials of
       degree < 2 · degree − 1, and have to agree with the tests' own masks, which may be any words: at most L
       polynomials agree with one in a columns (Johnson's bound, which needs a² > length · (2 · degree − 2)). A false
       equation, or a row that is not of bits, needs the difference to be one of L values that were fixed before the
       challenge: L/|F| each.
    4. Else fewer than a columns agree, and all ``queries`` different ones that are opened are among them.

    Raises:
        InsecureParametersError: a code so short that Johnson's bound says nothing.
    """
    a = length - (length - degree) // 2
    squares = a * a - length * (2 * degree - 2)
    if squares <= 0:
        raise InsecureParametersError(f"a code of length {length} for degree {degree} has no list to decode")
    candidates = length * (a - (2 * degree - 2)) // squares
    field = extension * _LOG_P
    challenge = field - math.log2(length + (length - a) + 2 * candidates)
    columns = sum(math.log2((length - i) / (a - 1 - i)) for i in range(queries))
    return ProofSoundness(columns, challenge, -math.log2(2.0**-columns + 2.0**-challenge))
