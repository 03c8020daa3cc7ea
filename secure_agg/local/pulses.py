"""Where pulses come from that draw cohorts: files, folders, and drand's HTTP API. Only whoever leads rounds asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from secure_agg.beacon.pulse import MAX_FILE, Pulse
from secure_agg.beacon.recorded import BeaconFile, PulseFolder, Pulses, find
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, LedgerError, PulseMissing
from secure_agg.ledger.publish.fetch import WebClient

PATIENCE_S: Final = 600.0
"""Seconds that a leader waits for a pulse, by default."""
_SECONDS: Final = 10.0
_AGAIN_S: Final = 1.0
_TRIES: Final = 10
"""Relays have a pulse some moments after it is due."""


class WebPulses:
    """drand's HTTP API below a URL, or anything that answers ``public/<number>`` as it does."""

    def __init__(self, prefix: str, *, seconds: float = _SECONDS) -> None:
        """
        Args:
            prefix: with the chain's hash where the server has several: ``https://api.drand.sh/<hash>``.
            seconds: for one answer.

        Raises:
            ConfigError: no http: or https: URL.
        """
        self._client = WebClient(prefix, seconds=seconds)

    def __repr__(self) -> str:
        return f"WebPulses({self._client.prefix!r})"

    def get(self, number: int) -> Pulse | None:
        """See ``Pulses``. A pulse that is still to come is answered in several ways, so any refusal is that."""
        try:
            data = self._client.get(f"public/{number}", MAX_FILE)
        except LedgerError as error:
            raise PulseMissing(str(error.args[0])) from None
        return None if data is None else Pulse.from_json(data)


def places(given: Iterable[str | os.PathLike[str]]) -> tuple[Pulses, ...]:
    """Where pulses are, by URL, folder or beacon file.

    Raises:
        ConfigError: one is nothing of that.
    """
    found: list[Pulses] = []
    for place in given:
        text = os.fspath(place)
        if text.startswith(("http://", "https://")):
            found.append(WebPulses(text))
        elif Path(text).is_dir():
            found.append(PulseFolder(Path(text)))
        else:
            found.append(BeaconFile.load(text))
    return tuple(found)


def await_pulse(
    source: BeaconSource,
    number: int,
    given: Iterable[Pulses],
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Pulse:
    """A verified pulse, once it is published.

    Args:
        source: the pinned beacon.
        number: of the pulse.
        given: where it is looked for, in this order.
        patience_s: seconds that it may be due from now.
        clock, sleep: POSIX time in seconds, and waiting for some.

    Raises:
        PulseMissing: it is due later than that, or nobody has it though it is due.
    """
    asked, due = tuple(given), source.time(number)
    if due is not None and (wait := due - clock()) > 0:
        if wait > patience_s:
            raise PulseMissing(
                f"pulse {number} is due in {wait:.0f} s, and rounds wait {patience_s:.0f} s at most: begin later, or "
                "pin a shorter step",
                due=due,
            )
        sleep(wait)
    tries = _TRIES if due is not None and clock() < due + _TRIES * source.period else 1
    while True:
        try:
            return find(source, number, asked)
        except PulseMissing:
            tries -= 1
            if not tries:
                raise
            sleep(_AGAIN_S)


def beacon_file(given: str | os.PathLike[str] | BeaconFile | BeaconSource) -> BeaconFile:
    """What a caller names as the beacon.

    Raises:
        ConfigError: a file that is no beacon file.
    """
    if isinstance(given, BeaconSource):
        return BeaconFile(given)
    if isinstance(given, BeaconFile):
        return given
    text = os.fspath(given)
    if text.startswith(("http://", "https://")):
        raise ConfigError(f"{text} is where pulses are, and a beacon is pinned by its key: name a beacon file")
    return BeaconFile.load(text)
