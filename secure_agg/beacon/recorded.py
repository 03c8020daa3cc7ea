"""Pulses in files: what a beacon has published, written down, and chains of a key of one's own.

A **beacon file** is text: on its first line what a task pins of the beacon, its ``BeaconSource`` as JSON with a format,
and on each further line a pulse as drand's HTTP API has it. A file of the first line alone is how a beacon is handed
around. In a folder each pulse is in a file of its number.

A chain of one's own is for rehearsals and tests: whoever has its key knows every cohort beforehand, and whoever makes
rounds by it can't show that nobody has. It is worth what its key is.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from secure_agg import extras, files, formats
from secure_agg.arguments import checked_class
from secure_agg.beacon.pulse import MAX_FILE, SCHEME, Pulse, message
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, PulseMissing, TrustError
from zk import bls

_FORMAT: Final = "secure-agg-beacon/1"
_MAX_BYTES: Final = 64 << 20


class Pulses(Protocol):
    """Where pulses are."""

    def get(self, number: int) -> Pulse | None:
        """The pulse of a number, not verified; None where it is not there.

        Raises:
            ConfigError: what is there is no pulse.
            PulseMissing: nothing can be said; why.
        """
        ...


@checked_class
@dataclass(frozen=True)
class BeaconFile:
    """A beacon, and those of its pulses that are written down with it.

    Attributes:
        source: what a task pins.
        pulses: by number; none where the file only hands the beacon around.
    """

    source: BeaconSource
    pulses: Mapping[int, Pulse] = field(default_factory=dict, repr=False)

    def get(self, number: int) -> Pulse | None:
        """See ``Pulses``."""
        return self.pulses.get(number)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> BeaconFile:
        """Read a file. Its pulses are verified when one of them draws.

        Raises:
            ConfigError: missing, above 64 MiB, malformed, or a pulse is there twice.
        """
        data = files.read(Path(path), _MAX_BYTES, "beacon file")
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"beacon file {path} is above {_MAX_BYTES} bytes")
        head, *lines = data.splitlines() or [b""]
        try:
            document = msgspec.json.decode(head, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ConfigError(f"{path} is no beacon file: {error}{formats.instead(data, formats.BEACON)}") from None
        if document.pop("format", None) != _FORMAT:
            raise ConfigError(f"{path} is no beacon file{formats.instead(data, formats.BEACON)}: no {_FORMAT!r}")
        pulses: dict[int, Pulse] = {}
        for line in lines:
            pulse = Pulse.from_json(line)
            if pulses.setdefault(pulse.number, pulse) is not pulse:
                raise ConfigError(f"{path} has pulse {pulse.number} twice")
        return BeaconFile(BeaconSource.from_document(document), pulses)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new file.

        Raises:
            FileExists: there is one already.
            ConfigError: it can't be written.
        """
        head = json.dumps({"format": _FORMAT} | self.source.to_document())
        lines = [self.pulses[number].to_json() for number in sorted(self.pulses)]
        files.create(Path(path), "".join(f"{line}\n" for line in (head, *lines)).encode(), mode=0o644)


@checked_class
@dataclass(frozen=True)
class PulseFolder:
    """Pulses in a folder, one file each, named by the number, with or without ``.json``."""

    path: Path

    def get(self, number: int) -> Pulse | None:
        """See ``Pulses``."""
        for name in (str(number), f"{number}.json"):
            if (file := self.path / name).is_file():
                pulse = Pulse.from_json(files.read(file, MAX_FILE, "pulse"))
                if pulse.number != number:
                    raise ConfigError(f"{file} holds pulse {pulse.number}")
                return pulse
        return None


def find(source: BeaconSource, number: int, places: Sequence[Pulses]) -> Pulse:
    """A pulse that verifies, from the first of the places that has it.

    Raises:
        PulseMissing: none has; says why, and when it is due.
    """
    reasons = []
    for place in places:
        try:
            pulse = place.get(number)
            if pulse is None:
                continue
            if pulse.number != number:
                raise ConfigError(f"pulse {pulse.number} came for {number}")
            pulse.verify(source.key)
        except (ConfigError, TrustError, PulseMissing) as error:
            reasons.append(str(error.args[0]))
        else:
            return pulse
    due = source.time(number)
    why = f": {'; '.join(reasons)}" if reasons else ""
    raise PulseMissing(f"pulse {number} of the pinned beacon is not there yet, or not recorded{why}", due=due)


def record(
    numbers: Iterable[int],
    *,
    step: int = 1,
    secret: bytes | None = None,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> BeaconFile:
    """A chain of one's own, for rehearsals and tests. Its key is forgotten, unless it was given.

    Args:
        numbers: of the pulses, the first of them ρ0.
        step: see ``BeaconSource``.
        secret: 32 bytes; drawn if left out.
        entropy: draws them.

    Raises:
        ConfigError: no number, one that is out of range, or the extra ``beacon`` is missing.
    """
    wanted = sorted(set(numbers))
    if not wanted:
        raise ConfigError("a chain has one pulse or more")
    extras.require("beacon")
    key = entropy(bls.SECRET_BYTES) if secret is None else secret
    source = BeaconSource(scheme=SCHEME, key=bls.public_key(key), first=wanted[0], step=step, genesis=0, period=0)
    return BeaconFile(source, {number: Pulse(number, bls.sign(key, message(number))) for number in wanted})
