"""A task's norm bound, as its policy holds it: options, which every backend has whose clients commit before R is drawn.

Rounds without a bound have none of these options, and are what they were before there were any, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from secure_agg.errors import ConfigError
from zk.norm import bound
from zk.norm.bound import BoundError, NormBound
from zk.norm.commitment import randomness_length
from zk.parameters import SKETCH_CLIENTS, sketch_rank

NORM_STEPS: Final = "norm_steps"
"""The bound B at the weight limit, in steps of the grid."""
NORM_EXCESS: Final = "norm_excess"
"""What an honest client does whose update is longer: 0 scales it down, 1 stays out of the round."""
NORM_OUTSIDE: Final = "norm_outside"
"""How many of the last arrays are no part of what is bounded: a plug-in's marks and metrics."""
NORM_OPTIONS: Final = (NORM_EXCESS, NORM_OUTSIDE, NORM_STEPS)
MAX_OUTSIDE: Final = 8
LEAST_BITS: Final = 3
"""Per value: what is appended to a vector has 2, and is summed beside the values."""

SCALE: Final = "scale"
REFUSE: Final = "refuse"
EXCESSES: Final = (SCALE, REFUSE)

_SLACKS: Final = (
    (160, 177), (192, 190), (224, 203), (256, 220), (288, 242), (320, 271), (352, 308),
    (384, 360), (416, 437), (448, 577), (480, 927), (496, 1569), (504, 3179),
)  # fmt: skip
"""Upper bounds of ``zk.norm.bound.slack``, in hundredths, by bits: integers, so that every verifier finds the same."""
_UNION: Final = 128
"""Bits that are there whoever is corrupt: 64 for the bound itself, and 64 for whoever tries sessions."""


@dataclass(frozen=True)
class NormRule:
    """What a policy says of norms.

    Attributes:
        steps: B, the most that an update's L2 norm is at the weight limit, in steps.
        excess: ``scale`` or ``refuse``.
        outside: how many of the last arrays are outside.
    """

    steps: int
    excess: str
    outside: int

    def covered(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """How many values are bounded: those of all arrays but the last ones."""
        inside = shapes[: len(shapes) - self.outside] if self.outside < len(shapes) else ()
        return sum(math.prod(shape) for shape in inside)


def sketch_length(clients: int) -> int:
    """Coordinates of s', which a vector has beside the commitment's randomness."""
    return randomness_length(sketch_rank(clients))


def steps_of(norm: float, clip: float, bits: int, clients: int) -> int:
    """B of a bound in the units of the update: whole steps, rounded down.

    Raises:
        ConfigError: it is less than one step, or more than so many clients can have.
    """
    steps = bound.norm_in_steps(norm, clip, bits)
    if steps < 1:
        raise ConfigError(
            f"norm_bound is {norm:g}, less than a step of {clip / ((1 << bits - 1) - 1):.6g}: take more bits or a "
            "larger norm_bound"
        )
    norm_bound(clients=clients, steps=steps, most_weight=1, least_weight=1, bits=bits, limbs=1, counts=0)
    return steps


def bits_for(clients: int, norm: float, clip: float, most: int) -> int:
    """The most bits per value, up to ``most``, under which a norm can be bounded.

    Raises:
        ConfigError: there are none.
    """
    try:
        found = bound.most_bits(clients, norm, clip, most=most)
    except BoundError as error:
        raise ConfigError(str(error)) from error
    if found < LEAST_BITS:
        raise ConfigError(
            f"norm_bound {norm:g} for {clients} clients with clip {clip:g} leaves {found} bits per value, fewer than "
            f"{LEAST_BITS}: take a smaller norm_bound, a larger clip or fewer max_clients"
        )
    return found


def norm_bound(
    *, clients: int, steps: int, most_weight: int, least_weight: int, bits: int, limbs: int, counts: int
) -> NormBound:
    """What is proved in a round of this weight limit.

    Raises:
        ConfigError: it can't be; says what could.
    """
    if bits < LEAST_BITS:
        raise ConfigError(f"a norm bound takes {LEAST_BITS} bits per value or more, not {bits}")
    try:
        return NormBound(clients, steps, most_weight, least_weight, bits - 1, limbs, counts)
    except BoundError as error:
        raise ConfigError(f"{error}{_ways(clients, steps, bits)}") from error


def _ways(clients: int, steps: int, bits: int) -> str:
    """The smallest changes after which so long sketches could be summed; nothing where that is not what is wrong."""

    def fits(some: int, norm: int) -> bool:
        try:
            NormBound(some, norm)
        except BoundError:
            return False
        return True

    if fits(clients, steps) or clients > max(SKETCH_CLIENTS.values()):
        return ""
    ways = []
    fewer = next((b for b in range(bits - 1, LEAST_BITS - 1, -1) if fits(clients, _coarser(steps, bits, b))), None)
    if fewer is not None:
        ways.append(f"bits = {fewer}")
    low, high = 1, steps
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(clients, middle) else (low, middle - 1)
    ways.append(f"{low / steps:.4g} of that norm_bound")
    return f": {' or '.join(ways)} would do"


def _coarser(steps: int, bits: int, fewer: int) -> int:
    """The same bound in steps of a grid with fewer bits."""
    return max(1, math.floor(Fraction(steps * ((1 << fewer - 1) - 1), (1 << bits - 1) - 1)))


def factor(proved: NormBound, corrupt: int) -> int:
    """How many times m · B the vectors of m ≤ ``corrupt`` clients have in norm together, at most, in hundredths.

    That is lower slack (2^-64 for whoever tries 2^64 sessions, and chooses among 2^corrupt sums), times upper tail,
    times what rounding leaves: ``zk.norm.bound.total_factor``, from above and in integers.

    Returns:
        0 where no such bound is known.
    """
    slack = next((found for bits, found in _SLACKS if _UNION + corrupt <= bits), 0)
    radius = bound.OFFSET_R + proved.scale + 12  # √512/2 < 12
    return -(-slack * radius * (1 << proved.shift) // (16 * proved.norm))
