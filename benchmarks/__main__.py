"""The command: ``python -m benchmarks SUITE [options]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks import core, he, ledger, mpc
from benchmarks.suite import Suite, UsageError

SUITES: Final[dict[str, Suite]] = {"core": core.SUITE, "he": he.SUITE, "ledger": ledger.SUITE, "mpc": mpc.SUITE}
"""Every suite by its name on the command line."""


def main(argv: list[str] | None = None) -> int:
    """Run one suite, print its table, and write its JSON file where one is asked for.

    Args:
        argv: without the program's name; the process's own arguments by default.

    Returns:
        0, also where a target was missed: the table says so, and a loaded machine is no failure.

    Raises:
        SystemExit: with status 2, options that are malformed or contradict each other.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure secure-agg on this machine.")
    choices = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    for name, suite in SUITES.items():
        options = choices.add_parser(name, help=suite.summary, description=suite.summary)
        suite.add_arguments(options)
        options.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE, as JSON")
    arguments = parser.parse_args(argv)
    try:
        report = SUITES[arguments.suite].run(arguments)
    except UsageError as error:
        parser.error(str(error))
    report.print()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(report.to_json(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
