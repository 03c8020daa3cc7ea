"""Groups: the named vectors that one update is made of, each with a range, bits and a weighting of its own.

A policy without groups has one, of all arrays: ``Policy.clip`` and ``Policy.bits`` are its. A policy with groups holds
them under an option, and its ``bits`` and ``clip`` are the most of any of them. Rounds without are what they were
before there were groups, byte for byte.

A clip that is not pinned follows from round to round: c = 2^(k/64 − 99) for an integer k, of each array or of a
rotated group. Its bounds are so wide that no update meets them, and a mark (see ``codec``) lies beyond.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.protocol.config.settings import MAX_BITS, grid_step, within
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire

GROUPS: Final = "groups"
"""Option: the groups of a policy."""
MAX_GROUPS: Final = 256
MAX_ADAPTIVE: Final = 4096
"""Clips that follow from round to round: all of them are in every record."""

SIGNED: Final = "signed"
COUNT: Final = "count"
KINDS: Final = (SIGNED, COUNT)
PINNED: Final = "pinned"
ADAPTIVE: Final = "adaptive"
CLIP_RULES: Final = (PINNED, ADAPTIVE)

MAX_SUPPORT: Final = 1 << 16
CLIP_STEPS: Final = 64
"""Of an adaptive clip, from one power of two to the next."""
LARGEST_STEP: Final = 2 * 99 * CLIP_STEPS
"""The most that k is: clips are from 2^-99 to 2^99."""


@checked_class
class Group(Wire, frozen=True, kw_only=True):
    """Arrays of an update with one range, one number of bits and one weighting.

    Attributes:
        name: an id.
        kind: ``signed``: values in [−clip, clip], of which the mean is decoded. ``count``: integers in [0, 2^bits − 1],
            of which the sum is.
        bits: per value, 2 to 24; of a count 1 to 24.
        clip: c; of a count 0. Where it is adaptive the first round's is the least 2^(k/64 − 99) that is no smaller.
        weighted: whether the mean is by the clients' weights; of a count never.
        rotated: whether values are multiplied with a public random rotation before they are rounded.
        support: (num, den) in lowest terms: so large a part of the values is sent in each round, drawn anew from the
            round's context; the means of the others are 0. (1, 1) sends all.
        clip_rule: ``pinned``, or ``adaptive``.
    """

    name: str
    kind: str = SIGNED
    bits: int = 8
    clip: float = 8.0
    weighted: bool = True
    rotated: bool = False
    support: tuple[int, int] = (1, 1)
    clip_rule: str = PINNED

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.name)
        where = f"of group {self.name!r}"
        if self.kind not in KINDS or self.clip_rule not in CLIP_RULES:
            raise ConfigError(
                f"group {self.name!r} is {self.kind!r} with a clip that is {self.clip_rule!r}: a kind is one of "
                f"{', '.join(KINDS)}, a clip {' or '.join(CLIP_RULES)}"
            )
        within(f"bits {where}", self.bits, 1 if self.kind == COUNT else 2, MAX_BITS)
        num, den = self.support
        within(f"support {where}, its denominator,", den, 1, MAX_SUPPORT)
        within(f"support {where}, its numerator,", num, 1, den)
        if math.gcd(num, den) != 1:
            raise ConfigError(f"support {where} is {num}/{den}, not in lowest terms")
        if self.kind == COUNT:
            for name, wrong in (
                ("clip", self.clip != 0),
                ("weighted", self.weighted),
                ("rotated", self.rotated),
                ("support", self.support != (1, 1)),
                ("clip_rule", self.clip_rule != PINNED),
            ):
                if wrong:
                    raise ConfigError(f"{name} {where} is {getattr(self, name)!r}: a count is summed as it is")
        elif not (math.isfinite(self.clip) and 1e-30 <= self.clip <= 1e30):
            raise ConfigError(f"clip {where} is {self.clip!r}, not between 1e-30 and 1e30")
        elif self.adaptive and not clip_of(0) <= self.clip <= clip_of(LARGEST_STEP):
            raise ConfigError(f"clip {where} is {self.clip!r}, where it is adaptive from 2^-99 to 2^99")

    @property
    def adaptive(self) -> bool:
        """Whether its clips follow from round to round."""
        return self.clip_rule == ADAPTIVE

    @property
    def half(self) -> int:
        """H: what a zero is encoded as; of a count 0."""
        return 0 if self.kind == COUNT else (1 << self.bits - 1) - 1

    @property
    def top(self) -> int:
        """Q: the largest integer that a value is encoded as."""
        return (1 << self.bits) - 1 if self.kind == COUNT else 2 * self.half

    @property
    def step(self) -> float:
        """c / H of its pinned, or first, clip; of a count 1."""
        return 1.0 if self.kind == COUNT else grid_step(self.clip, self.bits)

    def width(self, clients: int) -> int:
        """f: bits of a sum of so many clients' integers."""
        return (clients * self.top).bit_length()

    def sent(self, values: int) -> int:
        """How many of so many values are sent: the support's part, rounded up."""
        num, den = self.support
        return -(-values * num // den)


def check_groups(groups: Sequence[Group]) -> None:
    """Refuse groups that can't be a policy's.

    Raises:
        ConfigError: too many, not in name order, or one name twice.
    """
    if len(groups) > MAX_GROUPS:
        raise ConfigError(f"{len(groups)} groups are above {MAX_GROUPS}")
    names = [group.name for group in groups]
    if names != sorted(set(names), key=str.encode):
        raise ConfigError(f"groups {names} are not in name order, each once")


def check_within(groups: Sequence[Group], bits: int, clip: float) -> None:
    """Refuse a policy that says something else of its groups than they do.

    Raises:
        ConfigError: ``bits`` or ``clip`` is not the most of any group.
    """
    check_groups(groups)
    most, widest = most_bits(groups), most_clip(groups)
    if (bits, clip) != (most, widest):
        raise ConfigError(
            f"bits is {bits} and clip {clip:g}: where there are groups the most of any, {most}, {widest:g}"
        )


def check_one_grid(groups: Sequence[Group]) -> None:
    """Refuse groups of which no norm can be bounded.

    Raises:
        ConfigError: none is weighted, or two that are have different grids, or one that follows from round to round.
    """
    grids = {(group.bits, group.clip, group.clip_rule) for group in groups if group.weighted}
    if len(grids) != 1 or any(group.adaptive for group in groups):
        raise ConfigError(
            "a norm is bounded in steps of one grid: weighted groups then have the same bits and pinned clip, and "
            "groups with another are not weighted"
        )


def most_bits(groups: Sequence[Group]) -> int:
    """What a policy's ``bits`` are where it has these groups."""
    return max(2, *(group.bits for group in groups))


def most_clip(groups: Sequence[Group]) -> float:
    """What a policy's ``clip`` is where it has these groups: 1 where all are counts."""
    return max((group.clip for group in groups if group.kind == SIGNED), default=1.0)


@functools.cache
def _roots() -> tuple[float, ...]:
    """The doubles that are nearest to 2^(i/64): by integers, so that every machine has the same."""
    found = []
    for i in range(CLIP_STEPS):
        # floor of 2^(52 + i/64 + 1), one bit more than a double in [1, 2) has: the last one rounds, and no root but
        # the first is exact.
        power = 1 << 53 * CLIP_STEPS + i
        low, high = 1 << 53, 1 << 54
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**CLIP_STEPS <= power else (low, middle)
        found.append(math.ldexp((low + 1) // 2, -52))
    return tuple(found)


def clip_of(k: int) -> float:
    """2^(k/64 − 99), its last bit by rounding 2^(i/64) to the nearest."""
    return math.ldexp(_roots()[k % CLIP_STEPS], k // CLIP_STEPS - 99)


def step_of(clip: float) -> int:
    """The least k whose clip is no smaller, from 0 to ``LARGEST_STEP``."""
    low, high = 0, LARGEST_STEP
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if clip_of(middle) >= clip else (middle + 1, high)
    return low


GAIN: Final = 64
"""G: how many 64th parts of a doubling a clip would move if none of the clients were within it, and all should be."""
SHARE: Final = Fraction(9, 10)
"""γ: which part of the clients should be within a clip."""


def next_step(k: int, clients: int, unclipped: int) -> int:
    """The k of the round after one in which so many of the clients were within its clip.

    k + ⌊(2G(g·n − a·h) + h·n) / (2·h·n)⌋, γ = g/h: G·(γ − a/n), rounded to the nearest (Andrew et al. 2021, in the
    logarithm).
    """
    g, h = SHARE.numerator, SHARE.denominator
    moved = (2 * GAIN * (g * clients - unclipped * h) + h * clients) // (2 * h * clients)
    return min(max(k + moved, 0), LARGEST_STEP)
