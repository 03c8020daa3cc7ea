"""The blocks of code that documents show, and what is said of running them.

A comment before a block, which no reader sees, says what is special about it:

* ``<!-- not run: WHY -->``: the tests leave it out, for this reason.
* ``<!-- ends with CODE -->``: its last command fails, with this exit code.

In a block of ``console`` a line behind ``$`` is a command, up to the next such line if it goes on with a backslash or
in quotes; a line behind ``#`` is a remark; other lines are what it prints, in which ``…`` stands for anything. A block
with a title is a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.source_tree import ROOT

DOCUMENTS: Final = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
)
RUNNABLE: Final = ("console", "python", "bash", "sh")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n\n?)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Command:
    """One command of a block of ``console``.

    Attributes:
        text: as it is typed, of one line or several.
        output: lines that it prints among others, in order.
    """

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        language: as named behind the fence.
        title: the file that it is; empty of none.
        text: what it holds.
        line: where it begins in its document, from 1.
        section: the heading above it; empty of none.
        skipped: why the tests leave it out; empty where they don't.
        code: how its last command ends.
    """

    language: str
    title: str
    text: str
    line: int
    section: str
    skipped: str
    code: int

    @property
    def first(self) -> str:
        """Its first line, by which data name it."""
        return self.text.partition("\n")[0]


def commands(text: str, line: int) -> list[Command]:
    """Those of a block of ``console`` that begins in a line.

    Raises:
        ValueError: output before the first command.
    """
    found: list[list[str]] = []
    outputs: list[list[str]] = []
    for each in text.splitlines():
        if each.startswith("$ "):
            found.append([each[2:]])
            outputs.append([])
        elif found and not outputs[-1] and _goes_on("\n".join(found[-1])):
            found[-1].append(each)
        elif each.startswith("# ") or not (found or each):
            continue
        elif found:
            outputs[-1].append(each)
        else:
            raise ValueError(f"line {line}: {each!r} is no command")
    return [
        Command("\n".join(lines), tuple(filter(None, output))) for lines, output in zip(found, outputs, strict=True)
    ]


def blocks(document: Path) -> list[Block]:
    """All blocks of a document, in order.

    Raises:
        ValueError: a comment before a block says something else than the two things above.
    """
    text = document.read_text("utf-8")
    prose = _BLOCK.sub(lambda at: " " * len(at[0]), text)  # a comment in a shell looks like a heading
    headings = [(at.start(), at[1]) for at in _HEADING.finditer(prose)]
    found = []
    for at in _BLOCK.finditer(text):
        mark, skipped, code = at["mark"] or "", "", 0
        if mark.startswith("not run: "):
            skipped = mark.removeprefix("not run: ")
        elif mark.startswith("ends with "):
            code = int(mark.removeprefix("ends with "))
        elif mark:
            raise ValueError(f"{document.name}: {mark!r} is no mark of a block")
        line = text.count("\n", 0, at.start("language")) + 1
        section = next((name for place, name in reversed(headings) if place < at.start()), "")
        found.append(Block(at["language"], at["title"] or "", at["text"], line, section, skipped, code))
    return found


def _goes_on(command: str) -> bool:
    """Whether a shell waits for another line."""
    if command.endswith("\\"):
        return True
    plain = re.sub(r"\\.", "", command)
    quoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", plain)
    opened = len(re.findall(r"(?:^|; )(?:for|while|until) ", quoted)) - len(re.findall(r"(?:^|[;\s])done\b", quoted))
    return "'" in quoted or '"' in quoted or opened > 0
