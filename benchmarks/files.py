"""The JSON files of reports: written whole or not at all, read one by one or by the folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.results import Report
from secure_agg import files

FOLDER: Final = Path("bench-output")
"""Where results go."""


def write(file: Path, report: Report) -> None:
    """Replace a file's content; what was there stays until the new one is complete.

    Raises:
        ConfigError: it can't be written.
    """
    with files.failing(file), files.folders(file.parent):
        files.replace(file, report.to_json().encode())


def read(file: Path) -> Report:
    """One report.

    Raises:
        OSError: it can't be read.
        ValueError: it is none.
    """
    return Report.from_json(file.read_bytes())


def read_all(places: Iterable[Path]) -> list[Report]:
    """The reports in some files, and in all files ``*.json`` of some folders, in the order of their names.

    Raises:
        OSError: one can't be read.
        ValueError: one is no report, or two are of the same suite.
    """
    found: dict[str, Report] = {}
    for place in places:
        for file in sorted(place.glob("*.json")) if place.is_dir() else [place]:
            try:
                report = read(file)
            except ValueError as error:
                raise ValueError(f"{file} is {error}") from error
            if report.suite in found:
                raise ValueError(f"{file} is a second report of suite {report.suite}")
            found[report.suite] = report
    return list(found.values())
