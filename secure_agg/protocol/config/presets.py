"""Settings for usual federations, in one place: what each is for, and what it costs in trust is ``Policy.bearable``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from secure_agg.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """Arguments of ``Policy.default``.

    Attributes:
        text: whom it is for.
        settings: by name; whatever else is named takes their place.
    """

    text: str
    settings: Mapping[str, Any]


PRESETS: Final[Mapping[str, Preset]] = {
    "hospitals": Preset(
        "tens of sites that know each other and are nearly always there: all are in each round, one in ten may be "
        "missing, and about three in ten corrupt",
        {"dropout": 0.1},
    ),
    "devices": Preset(
        "many clients of which some are always away: a public beacon draws 300 for each round, two in five may be "
        "missing, and one in twenty of all corrupt",
        {"dropout": 0.4, "cohort_size": 300, "corruption_rate": 0.05},
    ),
    "audit": Preset(
        "results that outsiders rely on: all are in each round, one in five may be missing, and no sum is opened of "
        "fewer than five",
        {"dropout": 0.2, "min_clients": 5},
    ),
}


def preset(name: str) -> Preset:
    """One of them.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"{name!r} is no preset: {', '.join(PRESETS)}")
    return PRESETS[name]
