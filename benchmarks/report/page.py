"""The report as one HTML page: no script, no font, no picture from elsewhere; it can be mailed and printed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.report.canvas import Picture
from benchmarks.report.palette import INK
from benchmarks.report.sections import Section
from benchmarks.report.tables import Table

_LONG: Final = 12
"""Rows from which on a table is folded away."""
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
nav ul { columns: 2; } figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; max-height: 90vh; }
caption { font-weight: 600; text-align: left; padding: .4rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse;
  font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .3rem .6rem; }
th { text-align: left; vertical-align: bottom; } td, th.figure { text-align: right; }
td.word, th[scope=row] { text-align: left; font-weight: 400; } summary { cursor: pointer; }
strong.bad { text-decoration: underline; } .warning { border-left: .3rem solid #d03b2f; padding-left: .8rem; }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_BAD: Final = ("MISSED", "REGRESSION")


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    contents = "".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n{body}</main>\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    parts = [f'<p class="warning"><strong class="bad">WARNING</strong> {escape(text)}</p>' for text in section.warnings]
    parts += [f"<p>{escape(text)}</p>" for text in section.text]
    parts += [_picture(picture) for picture in section.pictures]
    parts += [_table(table) for table in section.tables]
    inside = "\n".join(parts)
    return f'<section id="{section.name}">\n<h2>{escape(section.title)}</h2>\n{inside}\n</section>\n'


def _picture(picture: Picture) -> str:
    """With the page's own colour of text, and read aloud as its description; its title is in it."""
    label = f' role="img" aria-label="{escape(f"{picture.title}. {picture.description}")}"'
    svg = picture.svg.replace("<svg", f"<svg{label}", 1).replace(INK, "currentColor")
    return f"<figure>\n{svg}\n</figure>"


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{"" if place < table.words else " class=figure"}>{escape(name)}</th>'
        for place, name in enumerate(table.columns)
    )
    body = "\n".join(f"<tr>{_row(table, row)}</tr>" for row in table.rows)
    caption = escape(table.caption)
    found = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n'
        f"<table>\n<caption>{caption}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )
    if len(table.rows) <= _LONG:
        return found
    return f"<details>\n<summary>{caption}: {len(table.rows)} rows</summary>\n{found}\n</details>"


def _row(table: Table, row: tuple[str, ...]) -> str:
    cells = []
    for place, text in enumerate(row):
        shown = f'<strong class="bad">{escape(text)}</strong>' if text in _BAD else escape(text)
        if place == 0:
            cells.append(f'<th scope="row">{shown}</th>')
        else:
            cells.append(f"<td class=word>{shown}</td>" if place < table.words else f"<td>{shown}</td>")
    return "".join(cells)
