"""Settings that policies and configurations share: their limits, and how a value that was given becomes one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from secure_agg.errors import ConfigError
from secure_agg.protocol.messages import MAX_CONFIG
from zk import parameters
from zk.transcript import DIGEST_BYTES

MAX_BITS: Final = 24
MAX_WEIGHT: Final = (1 << 32) - 1
MAX_PARAMETERS: Final = 1 << 32
MAX_CLIENTS: Final = 1 << 24
MAX_OPTION: Final = (1 << 32) - 1
MAX_WEIGHT_SCALE: Final = 1 << 16
MAX_WEIGHT_SPAN: Final = 1 << 24
MAX_DIMENSIONS: Final = 32
"""Of one array: what numpy can hold."""
USELESS_ERROR: Final = 1024.0
"""In clips. Where nobody has named a limit of the error, settings under which a mean could be further off than that are
refused: nothing that is reported by rounds of such settings can be told from chance.
"""
NO_DIGEST: Final = bytes(DIGEST_BYTES)
"""Stands for "there is none": no start or base model, no instructions, no previous record."""


def check_arrays_fit(count: int) -> None:
    """Refuse more arrays than a configuration can name: each takes two bytes of it or more.

    Raises:
        ConfigError: there are more.
    """
    if 2 * count > MAX_CONFIG:
        raise ConfigError(f"a model of {count} arrays is above {MAX_CONFIG // 2}: join arrays")


def free_bits(clients: int) -> int:
    """The most bits per value whose sums over so many clients a commitment binds, at most ``MAX_BITS``."""
    widest = max(parameters.WIDTH_LIMIT.values())
    return max(2, min(MAX_BITS, widest - (max(clients, 1) - 1).bit_length()))


LEVEL: Final = "level"
"""Option: where in a tree rounds are, see ``config.tree``."""
HALVES: Final = "halves"
"""Option: every value is committed to as two numbers of half its bits, so that more of them can be summed."""


def fits(bits: int, clients: int) -> bool:
    """Whether sums over so many clients of numbers of so many bits are ones that a commitment binds."""
    return parameters.width(bits, max(clients, 1)) <= max(parameters.WIDTH_LIMIT.values())


def grid_step(clip: float, bits: int) -> float:
    """c / H."""
    return clip / ((1 << (bits - 1)) - 1)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """An integer setting, of whatever type it comes in: numpy's integers too, and floats that are integers, as JSON and
    data frames write them.

    Raises:
        ConfigError: no integer, or out of range.
    """
    number = value
    if isinstance(value, np.integer | np.floating | float) and value == value // 1:
        number = int(value)
    within(name, number, low, high)
    return int(number)


def real(name: str, value: Any) -> float:
    """A real setting, of whatever type it comes in.

    Raises:
        ConfigError: no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name} is {value!r}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{name} is {value!r}, beyond what a float holds") from None


def within(name: str, value: int, low: int, high: int) -> None:
    """Refuse a setting that is no integer in [low, high].

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}, not an integer in [{low}, {high}]")
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}, outside [{low}, {high}]")
