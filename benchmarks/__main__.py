"""The command: ``python -m benchmarks SUITE [options]``, ``… all``, ``… report``, ``… fit``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks import fit
from benchmarks.core import suite as core
from benchmarks.everything import add_arguments as add_all
from benchmarks.everything import measured, run_all
from benchmarks.files import write
from benchmarks.he import suite as he
from benchmarks.ledger import suite as ledger
from benchmarks.mpc import suite as mpc
from benchmarks.peers import suite as peers
from benchmarks.plugins import suite as plugins
from benchmarks.privacy import suite as privacy
from benchmarks.report import publish
from benchmarks.rounds import suite as rounds
from benchmarks.scale import suite as scale
from benchmarks.service import suite as service
from benchmarks.suite import Suite, UsageError
from benchmarks.trees import suite as trees

SUITES: Final[dict[str, Suite]] = {
    "core": core.SUITE,
    "rounds": rounds.SUITE,
    "peers": peers.SUITE,
    "he": he.SUITE,
    "mpc": mpc.SUITE,
    "ledger": ledger.SUITE,
    "plugins": plugins.SUITE,
    "scale": scale.SUITE,
    "trees": trees.SUITE,
    "privacy": privacy.SUITE,
    "service": service.SUITE,
}
"""Every suite by its name on the command line, in the order in which ``all`` runs them."""


def parsed_by() -> argparse.ArgumentParser:
    """What every suite's options are read by."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure secure-agg on this machine.")
    choices = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    for name, suite in SUITES.items():
        options = choices.add_parser(name, help=suite.summary, description=suite.summary)
        suite.add_arguments(options)
        options.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE, as JSON")
    fit.add_arguments(choices.add_parser("fit", help=fit.SUMMARY, description=fit.SUMMARY))
    add_all(choices.add_parser("all", help="every suite, one file each", description="Every suite, one file each."))
    publish.add_arguments(choices.add_parser("report", help=publish.SUMMARY, description=publish.DESCRIPTION))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one suite or all, print tables, write JSON files; or write pages about what was measured.

    Args:
        argv: without the program's name; the process's own arguments by default.

    Returns:
        0, also where a target was missed: the table says so, and a loaded machine is no failure. 1 where
        ``report --compare`` finds a regression.

    Raises:
        SystemExit: with status 2, options that are malformed or contradict each other.
    """
    parser = parsed_by()
    arguments = parser.parse_args(argv)
    try:
        if arguments.suite == "report":
            return publish.run(arguments)
        if arguments.suite == "fit":
            return fit.run(arguments)
        if arguments.suite == "all":
            run_all(SUITES, arguments)
            return 0
        report = measured(SUITES[arguments.suite], arguments)
    except UsageError as error:
        parser.error(str(error))
    report.print()
    if arguments.json:
        write(arguments.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
