"""Settings for usual federations, in one place: what each is for, and what it costs in trust is ``Policy.bearable``.
And the policy of a buffered task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from secure_agg.errors import ConfigError
from secure_agg.protocol.config.buffer import BUFFER_HONEST, BUFFER_STALENESS
from secure_agg.protocol.config.policy import Policy
from secure_agg.protocol.config.settings import MAX_CLIENTS, whole
from secure_agg.protocol.config.terms import Option
from secure_agg.protocol.habits import USUAL_BUFFERED


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


def buffered_policy(
    clients: int,
    *,
    honest: int = 3,
    staleness: int = 4,
    max_corrupt: int | None = None,
    size: int | None = None,
    backend: str = USUAL_BUFFERED,
    options: Mapping[str, int] | None = None,
    max_weight: int = 1024,
    **settings: Any,
) -> Policy:
    """The policy of a buffered task: a sum is opened of K updates or more, whichever come first.

    Args:
        clients: members of the roster.
        honest: updates of honest clients that each sum has at least.
        staleness: τ, how many results old the model may be that an update is a difference from.
        max_corrupt: f, how many members of the whole roster may be corrupt, and all of them in one buffer; by default
            as many as are fewer than a third and leave room for ``honest`` others.
        size: K; by default the least, f + ``honest``.
        backend: one whose clients speak once.
        options: its own.
        max_weight: what an update from the newest model counts, so that older ones can count less.
        settings: other arguments of ``Policy.default``, none of them a threshold.

    Raises:
        ConfigError: a setting is out of range; says the smallest change that would do.
    """
    members = whole("clients", clients, 1, MAX_CLIENTS)
    corrupt = max(0, min((members - 1) // 3, members - whole("honest", honest, 0, MAX_CLIENTS)))
    corrupt = corrupt if max_corrupt is None else whole("max_corrupt", max_corrupt, 0, MAX_CLIENTS)
    least = corrupt + honest if size is None else whole("size", size, 0, MAX_CLIENTS)
    if least > members:
        raise ConfigError(
            f"a buffer of {least} updates, {corrupt} of them perhaps corrupt, is above the {members} members: "
            f"max_corrupt = {max(0, members - honest)} would do"
        )
    base = Policy.default(
        members,
        backend=backend,
        options=Option.list(options or {}),
        max_weight=max_weight,
        min_clients=max(2, least),
        **settings,
    )
    named = {option.name: option.value for option in base.options} | {
        BUFFER_HONEST: honest,
        BUFFER_STALENESS: staleness,
    }
    return msgspec.structs.replace(
        base, options=Option.list(named), min_clients=least, min_advertised=least, max_corrupt=corrupt
    )
