"""The report as Markdown, and the table in docs/performance.md that the command keeps up to date."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import count, together
from benchmarks.report import tables
from benchmarks.report.sections import Section
from benchmarks.report.tables import Table
from benchmarks.results import Report, short_stamp
from secure_agg import files

BEGIN: Final = "<!-- benchmarks: written by `secure-agg bench report --table` -->"
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
        parts += [f"**WARNING: {_escaped(warning)}**" for warning in section.warnings]
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


def summary(report: Report) -> str:
    """The block for a document: one table, with its machine, the rounds of each cell and the load."""
    found, base = tables.costs(report.cells), tables.at_base(report.cells)
    loads = f"; {together(cell.load for cell in base) or report.loads or 'load not known'}"
    repeats = count(min(len(cell.rounds) for cell in base), "round")
    stamp = f"On {short_stamp(report.machine)}; medians of {repeats}{loads}."
    warning = ("", *textwrap.wrap(f"**WARNING: {_escaped(report.warning)}**", 120)) if report.warning else ()
    lines = (*textwrap.wrap(f"{found.caption}.", 120), *textwrap.wrap(stamp, 120), *warning)
    return "\n".join((*lines, "", table(found)))


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
