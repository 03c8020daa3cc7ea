"""What is proved of one vector, in integers, and what follows from it for the sum of many.

A client's e (values less their centre) is held to ‖e‖ ≤ B · w / M: its weight's share of the bound. It shows this of
its sketch v = R e, rounded to multiples of 2^κ:

    v = 2^κ · v_h + v_l,   −2^κ/2 ≤ v_l < 2^κ/2 (0 for κ = 0),   −1024 ≤ v_h < 1024,   ‖v_h‖ ≤ r,
    r = 13 + q,   q · M' ≤ α · w',   w' = ⌊w / 2^g⌋,  M' = ⌊M / 2^g⌋,  α = ⌈20 B / 2^κ⌉,

κ the least for which 6 B ≤ 2^(κ + 10), g what leaves M' 16 bits.

**Nobody honest is kept out** but with probability 2^-41, where a vector is no longer than a block of the sketch; then
its copies are the vector itself, with signs, and

* each v_i is sub-Gaussian with variance ‖e‖²/2, since E exp(t P_j e_j) = cosh²(t e_j / 2) ≤ exp(t² e_j² / 4): one of
  512 exceeds 6 ‖e‖ with probability below 2^10 · e^-36 < 2^-41.9;
* ‖v‖² exceeds 256 · ‖e‖² · x as rarely as a χ² of 512 degrees of freedom exceeds 512 x, at most exp(−256 (x − 1 −
  ln x)): below 2^-42.9 for x = (5/4)², which is what the 20 = 16 · 5/4 allows;
* rounding moves ‖v_h‖ by at most √512 / 2 < 11.32; whole numbers and w', M' take less than 1.11 more.

A longer vector is folded, and of it the same is shown but with 2^-39, if none of its values is larger than ‖e‖/95. Let
‖e‖ = 1. At one position of a copy stands one value of each block, in places that are independent: their squares sum to
more than ω = 1/512 with probability below (e / (ω · 16384))^(95² ω), so anywhere with less than 2^-42. Elsewhere

* v_i = Σ ±|P| e, with variance V at most ½ but for Hoeffding's bound: E exp(t v_i) ≤ exp(t²/4 + t⁴ ω/32), which at t =
  12 gives 2^10 · exp(−36 + 1.27) < 2^-40.1 for one above 6;
* a copy's squared norm W has mean 1 and variance at most 2ω, and exceeds 1.65 with probability exp(−(0.65 −
  ln 1.65)/2ω), as a χ² of 1/ω degrees of freedom does. Up to there exp(0.33 ‖v_c‖²) has a mean below (1 − 0.33 W)^-4,
  which lies below a parabola that touches it at 1: 64 such means, and Markov, give 2^-40.4 for ‖v‖² above 400.

Of longer vectors with larger single values nothing is shown but that it would take several collisions of them at once.

**How much more a cheat can have.** Of E, the total of the corrupt clients' vectors, that was fixed before R was drawn,
the sum's check shows R E = Σ v_c. Let ‖E‖ = 1. For one row of P, λ > 0 and a y of norm 1, with a standard Gaussian G,

    E exp(−λ (P_1 y)²) = E_G Π_j cos²(√(λ/2) · G y_j) ≤ sup over 0 < a ≤ 1 of φ(a),  φ(a) = E |cos(√(λ/2) a G)|^(2/a²)

for every y, by Hölder's inequality with the exponents 1/y_j²; call that sup ψ(λ), which falls. It is bounded, not
searched for: for a ≤ a_0, |cos x| ≤ exp(−(x − kπ)²/2) around each multiple of π gives φ(a) ≤ (1 + λ)^(−1/2) · Σ_k
exp(−k²π² / (a_0² (1 + λ))); above, φ(a) ≤ (a_2/a_1) · φ(a_2) for a_1 ≤ a ≤ a_2 (an exponent that is smaller, a density
that is at most a_2/a_1 times as high), on a grid.

A copy y = S_c E has W = ‖y‖² = 1 + Z, where Z sums ±±E_i E_j over ordered pairs i ≠ j that stand at one position. That
is never so within a block, and else with probability 1/16384, since rotations are uniform and independent. Signs are
too: E Z = 0 and E Z² ≤ 2/16384 = v, *whatever E is*. By Cantelli's inequality W < t has probability at most v / (v +
(1 − t)²), t < 1, and given y the copy's eight rows are independent, so that by steps t_0 = 0 < t_1 < … < 1

    E exp(−λ ‖v_c‖²) ≤ ψ(λ t_m)⁸ + Σ_i (ψ(λ t_i)⁸ − ψ(λ t_(i+1))⁸) · v / (v + (1 − t_(i+1))²) = Ψ(λ).

Copies are independent: ‖R E‖² ≤ 512 τ has probability at most (e^(8λτ) · Ψ(λ))^64. Folding costs 1.6 % of the slack.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from mpc.ring import P
from zk.norm.sketch import BLOCK, COPIES, ROWS, ROWS_EACH
from zk.parameters import SKETCH_CLIENTS

HIGH_BITS: Final = 11
"""Of each v_h: ‖v_h‖² then stays below p."""
OFFSET_R: Final = 13
SCALE_BITS: Final = 12
"""Of q and α."""
SQUARE_BITS: Final = 24
"""Of r² − ‖v_h‖²."""
WEIGHT_BITS: Final = 28
SHARE_BITS: Final = 16
"""Of w' and M'."""
MOST_SIDE: Final = 34
"""Coordinates beside the values: limbs of the weight, and counts."""
_TAIL: Final = 20  # 16 · 5/4: √256 for R's scale, and the upper tail
_PEAK: Final = 6


class BoundError(ValueError):
    """A norm bound that the proof can't be made for."""


@dataclass(frozen=True)
class NormBound:
    """A norm bound of a round, checked.

    Attributes:
        clients: the most vectors that are summed.
        norm: B, the most that ‖e‖ is at the largest weight, in steps of the values.
        most_weight: M.
        least_weight: of every client.
        limb_bits: bits of each digit of the weight.
        limbs: digits in the vector, least significant first; those that M does not need are 0.
        counts: coordinates after the limbs, each 0 or 1.

    Raises:
        BoundError: not 1 ≤ least weight ≤ M < 2^28, limbs that can't hold M or of more than 28 bits, more than 34
            coordinates beside the values, a norm below 1, more than 2^18 clients, or sums that n clients could take
            around p: n times a limb has to stay below p, and n times the most that an entry of a sketch is below p/2,
            so n · B below about 2^27.
    """

    clients: int
    norm: int
    most_weight: int = 1
    least_weight: int = 1
    limb_bits: int = 1
    limbs: int = 1
    counts: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.least_weight <= self.most_weight < 1 << WEIGHT_BITS:
            raise BoundError(
                f"weights from {self.least_weight} to {self.most_weight}: a norm bound takes weights from 1 to below "
                f"2^{WEIGHT_BITS}; use a smaller max_weight"
            )
        if not 1 <= self.limb_bits <= WEIGHT_BITS or self.limbs * self.limb_bits < self.weight_bits:
            raise BoundError(
                f"{self.limbs} limbs of {self.limb_bits} bits do not hold {self.most_weight} in 1 to {WEIGHT_BITS} bits"
            )
        if self.counts < 0 or self.side > MOST_SIDE:
            raise BoundError(f"{self.limbs} limbs and {self.counts} counts: at most {MOST_SIDE} in all")
        most = max(SKETCH_CLIENTS.values())
        if not 1 <= self.clients <= most or self.norm < 1:
            raise BoundError(
                f"a norm of {self.norm} steps for {self.clients} clients: it takes 1 step and 1 to {most} clients"
            )
        if self.clients * max(self.side_tops) >= P:
            raise BoundError(
                f"{self.clients} clients with limbs of {self.limb_bits} bits: their sums reach "
                f"{self.clients * max(self.side_tops)}, not below p = {P}; use fewer bits for a limb"
            )
        if 2 * self.clients * self.offset >= P:
            raise BoundError(
                f"{self.clients} clients with a norm of {self.norm} steps each: sums of their sketches reach "
                f"{self.clients * self.offset}, not below p/2 = {P // 2}; use fewer bits per value or a smaller norm"
            )

    @property
    def shift(self) -> int:
        """κ."""
        return max(0, (_PEAK * self.norm - 1).bit_length() - (HIGH_BITS - 1))

    @property
    def rows(self) -> int:
        """Bits of an entry of v, shifted to be none below 0: κ + 11."""
        return self.shift + HIGH_BITS

    @property
    def offset(self) -> int:
        """What is added to an entry of v for that; no entry is larger in size."""
        return (1 << self.rows - 1) + (1 << self.shift) // 2

    @property
    def scale(self) -> int:
        """α."""
        return -(-_TAIL * self.norm // (1 << self.shift))

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""
        return self.most_weight.bit_length()

    @property
    def share_shift(self) -> int:
        """g."""
        return max(0, self.weight_bits - SHARE_BITS)

    @property
    def share(self) -> int:
        """M'."""
        return self.most_weight >> self.share_shift

    @property
    def side(self) -> int:
        """Coordinates beside the values."""
        return self.limbs + self.counts

    def weight_bits_of(self, limb: int) -> range:
        """The bits of the weight that a limb is made of; none where M has no such bits."""
        first = limb * self.limb_bits
        return range(min(first, self.weight_bits), min(first + self.limb_bits, self.weight_bits))

    @property
    def side_tops(self) -> tuple[int, ...]:
        """The most that each coordinate beside the values can be: limbs by their bits, then counts."""
        return (*((1 << len(self.weight_bits_of(limb))) - 1 for limb in range(self.limbs)), *(1,) * self.counts)

    def quotient(self, weight: int) -> int:
        """q of an honest client with this weight, the largest that there is."""
        return self.scale * (weight >> self.share_shift) // self.share

    def to_bytes(self) -> bytes:
        """All fields, 8 bytes little endian each, for hashing."""
        fields = (
            self.clients,
            self.norm,
            self.most_weight,
            self.least_weight,
            self.limb_bits,
            self.limbs,
            self.counts,
        )
        return b"".join(value.to_bytes(8, "little") for value in fields)

    def reach(self, weight: int) -> float:
        """More than ‖v‖/16 of a client with this weight can be, whatever it does, in steps."""
        radius = OFFSET_R + self.quotient(weight) + math.sqrt(ROWS) / 2
        return float((1 << self.shift) * radius / 16)


_EDGE: Final = 0.6  # a_0
_RATIO: Final = 1.002
_GRID: Final = tuple(_EDGE * _RATIO**i for i in range(1, math.ceil(math.log(1 / _EDGE) / math.log(_RATIO)) + 1))
_STEPS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
_MOMENTS: Final = (
    (0.5, -1.5888), (0.7, -2.0808), (1.0, -2.7201), (1.3, -3.2698), (1.6, -3.7514), (2.0, -4.3111), (2.4, -4.7658),
    (2.8, -4.9950), (3.2, -5.1520), (3.6, -5.2599), (4.0, -5.3338), (4.5, -5.3942), (5.0, -5.4317), (6.0, -5.4695),
    (8.0, -5.4902), (11.0, -5.4943), (15.0, -5.4950), (20.0, -5.4954),
)  # fmt: skip
"""λ and at least ln Ψ(λ), see ``copy_moment``: worked out once, since that takes seconds."""


def row_moment(decay: float) -> float:
    """A bound on ln E exp(−λ (P_1 y)²) for every y of norm 1, λ = ``decay``: ln ψ(λ)."""
    g = np.linspace(0.0, 12.0, 1201)  # the density is even; trapezoids are exact far beyond what is needed
    density = np.exp(-g * g / 2) * (2 / math.sqrt(2 * math.pi)) * (g[1] - g[0])
    density[0] /= 2
    peaks = 1 + 2 * sum(math.exp(-((k * math.pi / _EDGE) ** 2) / (1 + decay)) for k in range(1, 20))
    worst = peaks / math.sqrt(1 + decay)
    for a in _GRID:
        a = min(a, 1.0)
        values = np.abs(np.cos(math.sqrt(decay / 2) * a * g)) ** (2 / a**2)
        worst = max(worst, _RATIO * float(values @ density))
    return math.log(worst)


def copy_moment(decay: float) -> float:
    """A bound on ln E exp(−λ ‖v_c‖²) for the eight rows of a copy and every e of norm 1, λ = ``decay``: ln Ψ(λ)."""
    variance = 2 / BLOCK
    rows = [1.0]
    for step in _STEPS:
        rows.append(min(rows[-1], math.exp(ROWS_EACH * row_moment(decay * step))))
    total = rows[-1]
    for step, low, high in zip(_STEPS, rows, rows[1:], strict=False):
        total += (low - high) * variance / (variance + (1 - step) ** 2)
    return math.log(total)


@functools.lru_cache(maxsize=64)
def slack(bits: float) -> float:
    """By how much ‖R e‖/16 falls short of ‖e‖, but with probability 2^-bits, for every e: a factor ≥ 1; infinite
    where no such bound is known, as above 507 bits: an e of one coordinate has sketch 0 with probability 2^-512.
    """
    best = 0.0
    for decay, moment in _MOMENTS:
        best = max(best, (-bits * math.log(2) / COPIES - moment) / (ROWS_EACH * decay))
    return math.sqrt(0.5 / best) if best > 0 else math.inf


def total_factor(bound: NormBound, corrupt: int, *, failure: float = 64.0, grinding: float = 64.0) -> float:
    """How many times B · m the vectors of m corrupt clients together can have in norm, all at the largest weight.

    Args:
        bound: of the round.
        corrupt: m. They and the aggregator choose which of them are in the sum after R is known: 2^m sums.
        failure: the bound holds but with probability 2^-failure …
        grinding: … for whoever tries 2^grinding sessions, each with an R of its own.

    Returns:
        Lower slack × upper tail × what rounding leaves; infinite for more corrupt clients than a bound is known for.
    """
    return slack(failure + grinding + corrupt) * bound.reach(bound.most_weight) / bound.norm


def norm_in_steps(norm: float, clip: float, bits: int) -> int:
    """B: a bound in the values' units, as whole steps of a codec with 2^(bits − 1) − 1 of them up to ``clip``."""
    return math.floor(Fraction(norm) * ((1 << bits - 1) - 1) / Fraction(clip))


def most_bits(clients: int, norm: float, clip: float, *, most: int = 24) -> int:
    """The most bits that a value can have under a norm bound.

    Args:
        clients: the most that are summed.
        norm: of a client's update at the largest weight, in the values' units.
        clip: the most that a value is in size.
        most: to begin at.

    Raises:
        BoundError: there are none, not even 2.
    """
    for bits in range(most, 1, -1):
        try:
            NormBound(clients, norm_in_steps(norm, clip, bits))
        except BoundError:
            continue
        return bits
    raise BoundError(
        f"no number of bits per value serves {clients} clients with a norm of {norm:g} and clip {clip:g}: "
        "use fewer clients, or another norm bound"
    )
