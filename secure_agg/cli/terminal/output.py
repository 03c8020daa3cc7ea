"""Where a command writes: one result on stdout, as text or JSON, in the same words.

What a text calls something is its key in the JSON, with spaces: see ``label``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secure_agg.cli.terminal.exits import JSON_FLAG

JsonOption = Annotated[bool, typer.Option(JSON_FLAG, help="Print the result as JSON, and nothing else, on stdout.")]

_LAST_TIME: Final = 253402300799  # of year 9999, the last that a calendar date is written for
_PIPE_WIDTH: Final = 120
"""Columns where stdout is no terminal: tables for a file are not squeezed into 80."""


def stdout() -> Console:
    """The console that results go to."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False)


def emit(document: Mapping[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    """Write a command's result.

    Args:
        document: the machine-readable result: JSON types, bytes as hex.
        as_json: write ``document``; otherwise ``show`` writes the same for people.
        show: given the console.
    """
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")  # ASCII: the same bytes in every encoding
    else:
        show(stdout())


def plain(value: str) -> Text:
    """Text that is shown as it is: no markup, and no control characters that would reach the terminal."""
    return Text("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in value))


def utc(seconds: int) -> str:
    """A POSIX time for people."""
    return datetime.fromtimestamp(min(seconds, _LAST_TIME), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def label(key: str) -> str:
    """What people read for a key of the JSON: ``weight_sum`` is the weight sum."""
    return key.replace("_", " ")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the house style; columns named in ``right`` are aligned to the right.

    Columns are keys of the JSON, where the document has them; see ``label``.
    """
    made = Table(header_style="underline", box=None, pad_edge=False)
    for column in columns:
        made.add_column(label(column), justify="right" if column in right else "left", overflow="fold")
    return made


def show_fields(console: Console, rows: Mapping[str, str]) -> None:
    """Print values by name, one pair a line; never wrapped, so that paths and commands can be copied.

    Args:
        console: to write to.
        rows: by keys of the JSON, which are shown as their ``label``. What the JSON holds by names of parties, as in
            ``{"clients": {"ann": …}}``, is a row for each, ``client ann``.
    """
    width = max(map(len, rows))
    for key, value in rows.items():
        console.print(Text.assemble((label(key).ljust(width), "bold"), "  ", plain(value)), soft_wrap=True)
