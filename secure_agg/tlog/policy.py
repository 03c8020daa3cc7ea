"""Witness policies (C2SP tlog-policy): which logs a verifier accepts, and which witnesses must have cosigned."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from secure_agg import files, formats
from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.note import Note, VerifierKey

NONE: Final = "none"
"""The predefined quorum that asks for no witness."""
MAX_POLICY: Final = 1 << 20
"""Most bytes of a policy file."""
CLOCK_TOLERANCE: Final = 300
"""Seconds that a witness's clock may be ahead of the verifier's. A cosignature from later does not count."""

_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Group:
    """A group of witnesses and of groups; it has witnessed a checkpoint if ``threshold`` of its members have."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Witnessed:
    """A checkpoint that passed.

    Attributes:
        checkpoint: signed by the log.
        witnesses: name in the policy to the POSIX time, in seconds, of the witness's newest cosignature; those
            of unknown witnesses, and of the future, are left out.
    """

    checkpoint: Checkpoint
    witnesses: Mapping[str, int]


@checked_class
@dataclass(frozen=True)
class WitnessPolicy:
    """What makes a checkpoint acceptable: a known log's signature, and a quorum of cosignatures.

    Attributes:
        logs: keys, each named like its log's origin; empty where the caller knows the log from elsewhere.
        witnesses: by their names in the policy, which need not be those in their keys.
        groups: by name, in order of definition: members are defined before.
        quorum: name of a witness or a group, or ``none``.
    """

    logs: tuple[VerifierKey, ...] = ()
    witnesses: Mapping[str, WitnessKey] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = NONE

    @staticmethod
    def k_of_n(quorum: int, witnesses: Iterable[WitnessKey], logs: Iterable[VerifierKey] = ()) -> WitnessPolicy:
        """At least ``quorum`` of the given witnesses, each named like its key; 0 asks for none.

        Raises:
            ConfigError: not 0 ≤ quorum ≤ number of witnesses, or two have one name or one public key.
        """
        builder = _Builder()
        for log in logs:
            builder.add_log(log)
        names = []
        for witness in witnesses:
            builder.add_witness(witness.name, witness)
            names.append(witness.name)
        if not 0 <= quorum <= len(names):
            raise ConfigError(f"a quorum of {quorum} is not within the {len(names)} witnesses")
        if quorum == 0:
            return builder.finish(NONE)
        group = next(name for name in ("quorum", *(f"quorum-{i}" for i in range(len(names)))) if name not in names)
        builder.add_group(group, quorum, names)
        return builder.finish(group)

    @staticmethod
    def parse(data: bytes) -> WitnessPolicy:
        """Parse a policy file.

        URLs may be given, and are not kept: what is checked here needs none.

        Raises:
            ConfigError: malformed; names the line.
        """
        if len(data) > MAX_POLICY:
            raise ConfigError(f"a policy has at most {MAX_POLICY} bytes, not {len(data)}")
        if formats.has_changed_line_ends(data, formats.POLICY):
            raise ConfigError(f"this is no policy as it was written: its {formats.CHANGED_LINE_ENDS}")
        builder = _Builder()
        quorum: str | None = None
        *lines, rest = data.split(b"\n")
        for number, line in enumerate((*lines, rest) if rest else lines, start=1):
            try:
                if number > len(lines):
                    raise ConfigError("the last line does not end with a newline")
                quorum = _parse_line(builder, line, quorum)
            except ConfigError as error:
                other = formats.instead(data, formats.POLICY)
                raise ConfigError(f"policy, line {number}: {error.args[0]}{other}") from error
        if quorum is None:
            other = formats.instead(data, formats.POLICY)
            raise ConfigError(f"the policy has no quorum line; write «quorum none» to ask for no witness{other}")
        return builder.finish(quorum)

    @staticmethod
    def load(path: str | Path) -> WitnessPolicy:
        """Read a policy file.

        Raises:
            ConfigError: see ``parse``; also for a file that can't be read.
        """
        return WitnessPolicy.parse(files.read(Path(path), MAX_POLICY, "policy file"))

    def verify(self, note: Note, log: VerifierKey | None = None, *, now: float | None = None) -> Witnessed:
        """Check a checkpoint.

        Args:
            note: the checkpoint.
            log: the log that the caller expects. Needed where the policy lists no logs; where it lists some,
                this must be one of them.
            now: POSIX time in seconds; by default the system's.

        Raises:
            VerificationError: not a checkpoint, not of an accepted log, not signed by it, a signature of a known
                key that does not verify, or too few witnesses.
            ConfigError: the policy lists no logs and none is given.
        """
        checkpoint = Checkpoint.parse(note.text)
        logs = self._accepted(log)
        known = [key for key in logs if key.name == checkpoint.origin]
        if not known:
            raise VerificationError(
                f"the checkpoint is of log {checkpoint.origin!r}, not {' or '.join(repr(key.name) for key in logs)}"
            )
        names = {key: name for name, key in self.witnesses.items()}
        signed, times = False, dict[str, int]()
        latest = (time.time() if now is None else now) + CLOCK_TOLERANCE
        for key, line in note.verify([*known, *names]):
            if not isinstance(key, WitnessKey):
                signed = True
            elif key.public in {log.public for log in known}:
                continue  # a log is no witness of its own, by whatever name
            elif (seconds := timestamp(line.signature)) <= latest:
                times[names[key]] = max(seconds, times.get(names[key], 0))
        if not signed:
            raise VerificationError("the checkpoint is not signed by the pinned log key")
        if not self._has_quorum(times):
            found = ", ".join(sorted(times)) or "none"
            raise VerificationError(
                f"the checkpoint of size {checkpoint.size} is cosigned by {found} of {len(self.witnesses)} known "
                f"witnesses, which is not the quorum {self.quorum!r}"
            )
        return Witnessed(checkpoint, times)

    def _accepted(self, log: VerifierKey | None) -> tuple[VerifierKey, ...]:
        if log is None:
            if not self.logs:
                raise ConfigError("the policy lists no log, and no log key is given")
            return self.logs
        if self.logs and log not in self.logs:
            raise VerificationError(f"the policy does not list log {log.name!r} with this key")
        return (log,)

    def _has_quorum(self, cosigned: Iterable[str]) -> bool:
        witnessed = {NONE, *cosigned}
        for name, group in self.groups.items():  # in order of definition: no recursion, whatever the nesting
            if len(witnessed.intersection(group.members)) >= group.threshold:
                witnessed.add(name)
        return self.quorum in witnessed


class _Builder:
    """A policy in the making: each name and key is checked as it comes."""

    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, WitnessKey] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()

    def add_log(self, key: VerifierKey) -> None:
        if any(key.public == other.public for other in self._logs):
            raise ConfigError(f"log {key.name!r} has the public key of another log")
        self._logs.append(key)

    def add_witness(self, name: str, key: WitnessKey) -> None:
        self._define(name)
        if any(key.public == other.public for other in self._witnesses.values()):
            raise ConfigError(f"witness {name!r} has the public key of another witness")
        self._witnesses[name] = key

    def add_group(self, name: str, threshold: int, members: Iterable[str]) -> None:
        listed = tuple(members)
        for member in listed:
            if member == NONE:
                raise ConfigError(f"{NONE!r} can't be a member of a group")
            self._require(member)
            if member in self._members:
                raise ConfigError(f"{member!r} is listed as a group's member twice")
            self._members.add(member)
        self._define(name)
        if not 1 <= threshold <= len(listed):
            raise ConfigError(f"a threshold of {threshold} is not within the group's {len(listed)} members")
        self._groups[name] = Group(threshold, listed)

    def finish(self, quorum: str) -> WitnessPolicy:
        """The policy; the quorum's name has been checked."""
        return WitnessPolicy(tuple(self._logs), self._witnesses, self._groups, quorum)

    def require_quorum(self, name: str) -> None:
        if name != NONE:
            self._require(name)

    def _define(self, name: str) -> None:
        if name == NONE or name in self._witnesses or name in self._groups:
            raise ConfigError(f"the name {name!r} is taken")

    def _require(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise ConfigError(f"no witness or group {name!r} is defined before")


def _parse_line(builder: _Builder, line: bytes, quorum: str | None) -> str | None:
    """Take one line over; returns the quorum's name once it is known."""
    if found := _FORBIDDEN.search(line):
        raise ConfigError(f"the octet {found[0][0]:#04x} is not allowed")
    # Octets above 0x7f are opaque: two names are equal if their octets are.
    words: list[str] = re.findall(r"[^ \t]+", line.decode("utf-8", "surrogateescape"))
    match words:
        case []:
            pass
        case [first, *_] if first.startswith("#"):
            pass
        case ["log", key] | ["log", key, _]:
            builder.add_log(VerifierKey.parse(key))
        case ["witness", name, key] | ["witness", name, key, _]:
            builder.add_witness(name, WitnessKey.parse(key))
        case ["group", name, threshold, member, *members]:
            builder.add_group(name, _threshold(threshold, 1 + len(members)), (member, *members))
        case ["quorum", name]:
            if quorum is not None:
                raise ConfigError("there is a second quorum line")
            builder.require_quorum(name)
            return name
        case _:
            _refuse(words[0])
    return quorum


def _threshold(word: str, members: int) -> int:
    if word in ("all", "any"):
        return members if word == "all" else 1
    if not _THRESHOLD.fullmatch(word):
        raise ConfigError(f"{word!r} is not «all», «any» or a number from 1 without leading zeros")
    return int(word)


_FORMS: Final = {
    "log": "log <vkey> [<url>]",
    "witness": "witness <name> <vkey> [<url>]",
    "group": "group <name> all|any|<k> <name>...",
    "quorum": "quorum <name>",
}


def _refuse(keyword: str) -> NoReturn:
    if keyword in _FORMS:
        raise ConfigError(f"the line is not of the form «{_FORMS[keyword]}»")
    raise ConfigError(f"{keyword!r} is not one of {', '.join(_FORMS)}")
