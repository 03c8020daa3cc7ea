"""Who was there in which phase of a round, and for how long: from its evidence, and a log of whoever led it.

Evidence says of each member whether it advertised, is in the sum, and signed the set. A log of the coordinator, of
``secure-agg serve`` with or without ``--log-json``, of Flower or of NVFlare, has besides a line for each phase, with
seconds and bytes, and one for each member that was lost. A log is nobody's signature: what it adds is as good as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secure_agg import backends
from secure_agg.backends.contract import PhaseKind
from secure_agg.errors import ConfigError
from secure_agg.protocol.evidence import Evidence

THERE: Final = "there"
SILENT: Final = "silent"
UNKNOWN: Final = "unknown"
_MOST: Final = 64 << 20
"""Bytes of a log that are read, at most."""
# A log is anybody's file: numbers have as many digits as they can have, and no name is looked for from each of its
# characters anew, so that a line of megabytes is read once.
_PHASE: Final = re.compile(
    r"round (?P<round>[0-9]{1,19}) of (?P<task>'[^']*'|\"[^\"]*\"), phase (?P<phase>[\w-]+): "
    r"(?P<answered>[0-9]{1,9}) of [0-9]{1,9} clients in (?P<seconds>[0-9]{1,9}\.[0-9]{1,9}) s, "
    r"(?P<bytes>[0-9]{1,18}) bytes"
)
_LOST: Final = re.compile(
    r"(?<!\S)(?P<member>\S+) is out of the round in phase (?P<phase>[\w-]+):"
    r"|an answer of (?P<refused>\S+) was refused:"
)


@dataclass(frozen=True)
class PhaseOfRound:
    """A phase that clients have a part in.

    Attributes:
        name: as the specification has it.
        answered: how many did; None where neither evidence nor log says so.
        seconds: from its first request until the aggregator went on; None without a log.
        received: bytes of all answers; None without a log.
    """

    name: str
    answered: int | None
    seconds: float | None = None
    received: int | None = None


@dataclass(frozen=True)
class Timeline:
    """One round.

    Attributes:
        phases: in order.
        members: of each member of the cohort, in id order, ``there``, ``silent`` or ``unknown`` for each phase. Who
            is silent once stays so.
    """

    phases: tuple[PhaseOfRound, ...]
    members: dict[str, tuple[str, ...]]

    def silent_since(self, member: str) -> str | None:
        """The phase in which a member fell silent, or those of which one is it: ``share-keys or masked-input``. None
        where there is none.
        """
        states = self.members[member]
        if SILENT not in states:
            return None
        last = states.index(SILENT)
        first = states.index(UNKNOWN) if UNKNOWN in states[:last] else last
        return " or ".join(phase.name for phase in self.phases[first : last + 1])

    def document(self) -> dict[str, Any]:
        """The same as JSON types."""
        return {
            "phases": [
                {"phase": each.name, "answered": each.answered, "seconds": each.seconds, "bytes": each.received}
                for each in self.phases
            ],
            "silent": {name: since for name in self.members if (since := self.silent_since(name))},
        }


def timeline(evidence: Evidence, log: Path | None = None) -> Timeline:
    """The timeline of a round.

    Args:
        evidence: the round's; it is not verified here.
        log: of whoever led it, of this round and any others.

    Raises:
        ConfigError: the log can't be read, is above 64 MiB, or has nothing of this round.
    """
    config = evidence.config
    phases = [each for each in backends.load(config.policy.backend).phases(config) if not each.kind.of_operators]
    told, lost = _told(log, config.task, config.round) if log else ({}, {})
    known = {
        PhaseKind.ADVERTISE: {each.name for each in evidence.advertisements},
        PhaseKind.INPUT: set(evidence.participants),
        PhaseKind.AGREE: {each.name for each in evidence.agreement},
    }
    names = [member.name for member in evidence.cohort]
    if not known[PhaseKind.AGREE] & set(names):
        del known[PhaseKind.AGREE]  # operators have signed
    if log:  # what nobody was asked in this round
        phases = [each for each in phases if each.name in told or not each.optional]
    else:
        phases = [each for each in phases if not each.optional]
    members = {}
    for name in names:
        states = [_state(name, each.kind, known) for each in phases]
        gone = next((place for place, each in enumerate(phases) if lost.get(name) == each.name), None)
        members[name] = _filled(states, gone, told=bool(log))
    return Timeline(tuple(_phase(each.name, place, members, told) for place, each in enumerate(phases)), members)


def _state(name: str, kind: PhaseKind, known: dict[PhaseKind, set[str]]) -> str:
    if kind not in known:
        return UNKNOWN
    return THERE if name in known[kind] else SILENT


def _filled(states: list[str], gone: int | None, *, told: bool) -> tuple[str, ...]:
    """What follows for the phases in between: who was there later was there; who is silent stays so."""
    last = max((place for place, state in enumerate(states) if state == THERE), default=-1)
    found = [THERE if place <= last else state for place, state in enumerate(states)]
    silent = next((place for place, state in enumerate(found) if state == SILENT), len(found))
    if gone is not None and gone > last:
        silent = min(gone, silent)
        found[last + 1 : silent] = [THERE] * (silent - last - 1)
    elif told and silent == len(found):
        found[last + 1 :] = [THERE] * (len(found) - last - 1)  # the log names everybody who was lost
    found[silent:] = [SILENT] * (len(found) - silent)
    return tuple(found)


def _phase(name: str, place: int, members: dict[str, tuple[str, ...]], told: dict[str, re.Match[str]]) -> PhaseOfRound:
    line = told.get(name)
    if line:
        return PhaseOfRound(name, int(line["answered"]), float(line["seconds"]), int(line["bytes"]))
    states = [found[place] for found in members.values()]
    return PhaseOfRound(name, None if UNKNOWN in states else states.count(THERE))


def _told(path: Path, task: str, number: int) -> tuple[dict[str, re.Match[str]], dict[str, str]]:
    """What a log says of a round: the line of each phase, and in which phase members were lost. Of several attempts
    the last.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(f"log {path} can't be read: {error.strerror}") from error
    if len(data) > _MOST:
        raise ConfigError(f"log {path} has more than {_MOST} bytes")
    told: dict[str, re.Match[str]] = {}
    lost: dict[str, str] = {}
    pending: dict[str, str] = {}
    for message in _messages(data.decode("utf-8", errors="replace").splitlines()):
        if left := _LOST.search(message):
            pending[left["member"] or left["refused"]] = left["phase"] or ""
        elif line := _PHASE.search(message):
            # Members are lost in a phase before its own line comes.
            if line["task"][1:-1] == task and int(line["round"]) == number:
                if line["phase"] in told:  # it begins anew
                    told, lost = {}, {}
                told[line["phase"]] = line
                lost |= {name: line["phase"] for name, phase in pending.items() if phase in ("", line["phase"])}
            pending = {}
    if not told:
        raise ConfigError(f"log {path} has no phase of round {number} of task {task!r}")
    return told, lost


def _messages(lines: Iterable[str]) -> Iterable[str]:
    """The text of each line: of JSON its ``message``."""
    for line in lines:
        if line.startswith("{"):
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(document, dict) and isinstance(document.get("message"), str):
                yield document["message"]
        else:
            yield line
