"""``python -m benchmarks all``: every suite with its usual options, one JSON file each.

A suite whose file is there, of the same machine, versions and options, is not run again: what was cut off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.files import FOLDER, read, write
from benchmarks.load import Watch
from benchmarks.results import FORMAT, FormatError, Report, is_current, machine
from benchmarks.suite import Suite, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help="where the files go, one a suite (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="sizes that take seconds, and say little")


def measured(suite: Suite, arguments: argparse.Namespace) -> Report:
    """Run a suite; its report says with which options, and how busy the machine was. A busy one is told beforehand.

    Raises:
        UsageError: they are out of range, or something that the suite needs is not installed.
    """
    chosen = {name: str(value) for name, value in vars(arguments).items() if name not in ("suite", "json")}
    with Watch() as watch:
        if watch.load and watch.load.warning:
            Console(stderr=True).print(f"[bold red]WARNING[/bold red] {watch.load.warning}", highlight=False)
        report = suite.run(arguments)
    return replace(report, arguments=chosen, load=watch.load)


def run_all(suites: Mapping[str, Suite], arguments: argparse.Namespace) -> None:
    """Run what has not been run, in order, and print every table.

    A suite that can't run here is reported as missing, and tried again next time.

    Raises:
        UsageError: a suite's file is there and can't be read by this version.
    """
    console = Console(stderr=True)
    for place, (name, suite) in enumerate(suites.items(), start=1):
        parser = argparse.ArgumentParser(prog=name)
        suite.add_arguments(parser)
        given = parser.parse_args(suite.quick if arguments.quick else [])
        chosen = {option: str(value) for option, value in vars(given).items()}
        given.json = arguments.out / f"{name}.json"
        report = _kept(given.json, name, chosen)
        console.print(f"[bold]{place}/{len(suites)} {name}[/bold]{': measured before' if report else ''}")
        if report is None:
            try:
                report = measured(suite, given)
            except UsageError as error:
                report = Report(name, machine(), {}, (), {name: str(error)}, complete=False)
            write(given.json, report)
        report.print()


def _kept(file: Path, name: str, chosen: Mapping[str, str]) -> Report | None:
    """A complete earlier report of the same thing; a suite's own unfinished file is the suite's to read.

    Raises:
        UsageError: another version's report is there, which would be lost.
    """
    if not file.exists():
        return None
    try:
        report = read(file)
    except FormatError as error:
        raise UsageError(f"{file} is there and is {error}; or name another folder with --out") from error
    except ValueError:
        return None  # no report: measured anew
    same = (report.suite, report.format) == (name, FORMAT) and dict(report.arguments) == dict(chosen)
    return report if same and report.complete and is_current(report.machine) else None
