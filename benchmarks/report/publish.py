"""``python -m benchmarks report``: a page, Markdown and the documents' table from what was measured; regressions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.files import FOLDER, read_all
from benchmarks.report import compare, markdown
from benchmarks.report.compare import Comparison
from benchmarks.results import Report
from benchmarks.suite import UsageError, installed
from secure_agg import files

SUMMARY: Final = "tables and plots of what was measured; --compare flags regressions"
DESCRIPTION: Final = (
    "Write what the suites have measured as a page and as Markdown. Exit code 1 if --compare finds a regression."
)
REGRESSION: Final = 1
_TITLE: Final = "secure-agg: what it costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "results",
        type=Path,
        nargs="*",
        default=[FOLDER],
        metavar="JSON",
        help=f"files of suites, or folders of them ({FOLDER})",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that needs nothing else")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write Markdown, and its pictures beside it, SVG and PNG"
    )
    parser.add_argument(
        "--table", "--readme", type=Path, metavar="FILE", help="replace the table between the marks in FILE"
    )  # by its older name too: others' scripts call it
    parser.add_argument("--compare", type=Path, metavar="OLD", help="flag regressions against an earlier run")
    parser.add_argument(
        "--threshold",
        type=float,
        default=compare.THRESHOLD,
        metavar="X",
        help="ratio from which on a change counts, if the quartiles are apart (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write what was asked for, and print how the runs compare.

    Returns:
        0, or 1 where a figure has become worse by more than the threshold.

    Raises:
        UsageError: there is nothing to report, or a file can't be read or written.
    """
    if arguments.threshold <= 1:
        raise UsageError(f"--threshold {arguments.threshold:g} is not above 1")
    try:
        reports = read_all(arguments.results)
        if not reports:
            raise UsageError(f"{arguments.results[0]} holds no results: run  secure-agg bench all  first")
        comparison = None
        if arguments.compare:
            comparison = compare.compare(read_all([arguments.compare]), reports, arguments.threshold)
        _write(arguments, reports, comparison)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    earlier = comparison.warnings if comparison else ()
    for warning in (*(report.warning for report in reports if report.warning), *earlier):
        print(f"WARNING: {warning}", file=sys.stderr)
    if comparison is None:
        return 0
    print(comparison.summary)
    for row in comparison.table.rows:
        print("  ".join(row))
    return REGRESSION if comparison.regressions else 0


def _write(arguments: argparse.Namespace, reports: Sequence[Report], comparison: Comparison | None) -> None:
    if arguments.table:
        rounds = next((report for report in reports if report.cells), None)
        if rounds is None:
            raise UsageError("--table shows suite rounds, which is not among the results")
        markdown.update(arguments.table, markdown.summary(rounds))
    if not arguments.html and not arguments.markdown:
        return
    if not installed("matplotlib"):
        raise UsageError("matplotlib is not installed: run  pip install '.[bench]'")
    from benchmarks.report import page, sections

    found = sections.sections(reports, comparison)
    if arguments.html:
        _save(arguments.html, page.render(_TITLE, found))
    if arguments.markdown:
        places = {}
        for picture in (picture for section in found for picture in section.pictures):
            written = picture.save(arguments.markdown.with_name(f"{arguments.markdown.stem}-{picture.name}.svg"))
            print(f"written: {written[0]}, {written[1].name}", file=sys.stderr)
            places[picture.name] = written[0].name
        _save(arguments.markdown, markdown.render(_TITLE, found, places))


def _save(file: Path, content: str) -> None:
    with files.failing(file), files.folders(file.parent):
        files.replace(file, content.encode())
    print(f"written: {file}", file=sys.stderr)
