"""What is asked of figures, and how a limit is broken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from secure_agg.errors import ConfigError
from secure_agg.preflight.figures import KINDS, LEAST, Figure, said

BEYOND: Final = "beyond"
"""The figure is on the wrong side of the limit."""
ABSENT: Final = "absent"
"""There is no such protection, or nobody can say how much of it: a limit that can't be known to hold is broken."""
REFUSED: Final = "refused"
"""The parties themselves would refuse such a round, whatever limits there are."""


@dataclass(frozen=True)
class Way:
    """A change after which everything would hold that holds now, and the limit too.

    Attributes:
        changes: settings by name, with their new values: fields of the policy, or of what is looked at.
        text: the same for people.
    """

    changes: Mapping[str, int | float]
    text: str


@dataclass(frozen=True)
class Broken:
    """A limit that does not hold.

    Attributes:
        reason: ``beyond``, ``absent`` or ``refused``.
        figure: its name; empty where no round could be.
        value: of the figure, if it has one.
        limit: that was asked for; None of what is refused.
        text: in words, with the numbers and what would do.
        ways: the smallest changes that would do, each for itself.
    """

    reason: str
    figure: str
    value: float | None
    limit: float | None
    text: str
    ways: tuple[Way, ...] = ()


def check_limits(limits: Mapping[str, Any]) -> dict[str, float]:
    """Limits by the names of figures.

    Raises:
        ConfigError: there is no such figure, or the limit is no number of 0 or more.
    """
    found: dict[str, float] = {}
    for name, value in limits.items():
        if name not in KINDS:
            raise ConfigError(f"there is no limit {name!r}: {', '.join(KINDS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"limit {name} is {value!r}, not a finite number of 0 or more")
        found[name] = float(value)
    return found


def flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A table whose names may have dots, as TOML reads them: ``client.sent = 1`` is a table in a table."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found


def keeps(figure: Figure | None, limit: float) -> bool:
    """Whether a figure is within its limit; one that nobody knows is not."""
    if figure is None or figure.value is None:
        return False
    return figure.value >= limit if figure.kind.bound == LEAST else figure.value <= limit


def broken(figure: Figure, limit: float, ways: Sequence[Way]) -> Broken:
    """What is said of a figure that is not within its limit."""
    kind = figure.kind
    do = f": {' or '.join(way.text for way in ways)} would do" if ways else "; no change of one setting would do"
    if figure.value is None:
        text = f"{kind.name}: {figure.absent}, and the limit is {said(kind, limit)}{do if ways else ''}"
        return Broken(ABSENT, kind.name, None, limit, text, tuple(ways))
    side = "below" if kind.bound == LEAST else "above"
    text = f"{kind.name}: {figure.text} {kind.text}, {side} the limit of {said(kind, limit)}{do}"
    return Broken(BEYOND, kind.name, figure.value, limit, text, tuple(ways))
