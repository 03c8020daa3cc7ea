"""What ``fsck`` says about a ledger's files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """How bad a finding is."""

    NOTE = "note"
    """Not as a ledger at rest looks, and harmless."""
    REPAIRED = "repaired"
    """Was wrong, and is now what the rest of the ledger proves it to have been."""
    REPAIRABLE = "repairable"
    """Wrong; the rest of the ledger proves what it has to be."""
    DAMAGE = "damage"
    """Wrong, and nothing here says what it was."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: how bad it is.
        where: the file, or the place in it.
        what: what is wrong, in plain words.
        remedy: what to do; empty where nothing has to be done.
    """

    kind: Kind
    where: str
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class FsckReport:
    """What an examination of a ledger found.

    Attributes:
        size: records under the newest head; None where the database can't be read.
        root: their tree head, recomputed from them; None where not all of them are there.
        findings: in the order in which they were made.
    """

    size: int | None
    root: bytes | None
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, or no longer."""
        return not any(finding.kind in (Kind.REPAIRABLE, Kind.DAMAGE) for finding in self.findings)


class Findings:
    """Collects findings; with ``repair`` what can be repaired is."""

    def __init__(self, repair: bool) -> None:
        """None yet."""
        self.repair = repair
        self.items: list[Finding] = []

    def note(self, where: str, what: str, remedy: str = "") -> None:
        """Something harmless."""
        self.items.append(Finding(Kind.NOTE, where, what, remedy))

    def damage(self, where: str, what: str, remedy: str) -> None:
        """Something that can't be repaired here."""
        self.items.append(Finding(Kind.DAMAGE, where, what, remedy))

    def mend(self, where: str, what: str, action: Callable[[], None]) -> None:
        """Something wrong that ``action`` puts right, if repairs are wanted."""
        if self.repair:
            action()
            self.items.append(Finding(Kind.REPAIRED, where, what))
        else:
            self.items.append(Finding(Kind.REPAIRABLE, where, what, "run fsck with --repair"))

    def undo(self) -> None:
        """Nothing was repaired after all: the database has refused."""
        if self.repair:
            self.items = [
                replace(finding, kind=Kind.REPAIRABLE) if finding.kind is Kind.REPAIRED else finding
                for finding in self.items
            ]

    def tidy(
        self,
        where: str,
        what: str,
        action: Callable[[], None],
        remedy: str = "nothing has to be done; fsck with --repair removes it",
    ) -> None:
        """Something harmless that ``action`` puts in order, if repairs are wanted."""
        if self.repair:
            action()
            self.items.append(Finding(Kind.REPAIRED, where, what))
        else:
            self.note(where, what, remedy)
