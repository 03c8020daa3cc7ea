"""The draws of cohorts for the rounds that are led here: which pulse is due, and the next one where a draw is dead."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from typing import Final, NamedTuple

from secure_agg.beacon.recorded import BeaconFile, Pulses
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError
from secure_agg.local import pulses
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.round_config import MAX_DRAWS
from secure_agg.roles.task import Task

_log = logging.getLogger("secure_agg.local.draws")

Place = str | PathLike[str]


class Draw(NamedTuple):
    """What a configuration says of its cohort's draw.

    Attributes:
        draw: 0 to 15.
        beacon: signature of the pulse; empty where the whole roster is in the round.
    """

    draw: int = 0
    beacon: bytes = b""


WHOLE: Final = Draw()
"""No draw: the cohort is the whole roster."""


class Draws:
    """Where the draws of one task's rounds come from.

    Attributes:
        source: the beacon that a new task pins; None where none was named.
    """

    def __init__(
        self,
        beacon: Place | BeaconFile | BeaconSource | None = None,
        places: Place | Sequence[Place] | None = None,
        *,
        patience_s: float = pulses.PATIENCE_S,
    ) -> None:
        """
        Args:
            beacon: the beacon, or a beacon file, which may have pulses itself.
            places: where its pulses are: URLs, folders, beacon files.
            patience_s: seconds that a pulse may be due from now.

        Raises:
            ConfigError: one of them is none.
        """
        named = [] if places is None else [places] if isinstance(places, str | PathLike) else list(places)
        file = None if beacon is None else pulses.beacon_file(beacon)
        self.source = file.source if file else None
        own: tuple[Pulses, ...] = (file,) if file and file.pulses else ()
        self._places, self._patience_s = own + pulses.places(named), patience_s
        self._warned = False

    def check(self, policy: Policy) -> None:
        """Refuse a beacon for a policy that draws nothing.

        Raises:
            ConfigError: says what is missing.
        """
        if not policy.cohort_size and (self.source is not None or self._places):
            raise ConfigError("a beacon draws cohorts, and none is drawn: say how many clients are in a round, sample=")

    def draw(self, task: Task, number: int, draw: int = 0) -> Draw:
        """The draw of a round's cohort, once its pulse is there.

        Raises:
            ConfigError: no beacon is pinned, or nothing says where its pulses are.
            PulseMissing: it is not there.
        """
        if not task.policy.cohort_size:
            return WHOLE
        source = task.pins.beacon
        if source is None:
            raise ConfigError(
                f"task {task.name!r} draws {task.policy.cohort_size} clients for a round, and no beacon is pinned that "
                "draws them: name a beacon file, beacon="
            )
        if not self._places:
            raise ConfigError(
                f"task {task.name!r} draws by a beacon: name where its pulses are, pulses=, by URL or file"
            )
        if not source.period and not self._warned:
            self._warned = True
            _log.warning(
                "the beacon of %r keeps no time: a chain of one's own is worth what its key is, and whoever has that "
                "knows all cohorts beforehand",
                task.name,
            )
        found = pulses.await_pulse(source, source.number(number, draw), self._places, patience_s=self._patience_s)
        _log.info("round %d of %r, draw %d: pulse %d draws the cohort", number, task.name, draw, found.number)
        return Draw(draw, found.signature)


def is_last(draw: Draw) -> bool:
    """Whether no draw of the round follows this one."""
    return not draw.beacon or draw.draw + 1 >= MAX_DRAWS
