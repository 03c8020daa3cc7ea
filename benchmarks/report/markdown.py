"""The report as Markdown, and the block in the README that the command keeps up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import tables
from benchmarks.report.sections import Section
from benchmarks.report.tables import Table
from benchmarks.rounds.cells import Cell
from secure_agg import files

BEGIN: Final = "<!-- benchmarks: written by `secure-agg bench report --readme` -->"
END: Final = "<!-- end of benchmarks -->"


def render(title: str, sections: Sequence[Section], pictures: Mapping[str, str]) -> str:
    """The whole report.

    Args:
        title: of the report.
        sections: what it says.
        pictures: by the pictures' names, where their files are.
    """
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += section.text
        parts += [
            f"![{picture.title}. {picture.description}]({pictures[picture.name]})" for picture in section.pictures
        ]
        parts += [f"**{_escaped(each.caption)}**\n\n{table(each)}" for each in section.tables]
    return "\n\n".join(parts) + "\n"


def table(found: Table) -> str:
    """One table, without its caption."""
    rule = ("---" if place < found.words else "--:" for place in range(len(found.columns)))
    lines = [map(_escaped, found.columns), rule, *(map(_escaped, row) for row in found.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def summary(machine: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """The block for the README: one table, with its machine."""
    found = tables.costs(cells)
    stamp = f"{machine['cpu']}, {machine['cores']} cores, Python {str(machine['python']).partition(' ')[0]}"
    stamp += f", numpy {machine['numpy']}, {str(machine['date'])[:10]}"
    return f"{found.caption}. On {stamp}; medians.\n\n{table(found)}"


def update(file: Path, block: str) -> None:
    """Replace what is between the two marks in a file.

    Raises:
        OSError: it can't be read or written.
        ValueError: a mark is missing, or there are several.
    """
    text = file.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{file} needs the lines {BEGIN!r} and {END!r} once each, in this order")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    files.replace(file, f"{before}{BEGIN}\n\n{block}\n\n{END}{after}".encode())
