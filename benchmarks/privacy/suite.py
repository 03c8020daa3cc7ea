"""Suite ``privacy``: what differential privacy costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.privacy import means, sampler, training
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError, installed

PLOT: Final = Path("benchmarks") / "results" / "privacy.svg"
_NEEDED: Final = ("sklearn", "mlxtend")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, nargs="+", default=[100, 1000], metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--epsilons", type=float, nargs="+", default=[0.75, 1.0, 2.0, 4.0, 6.0], metavar="E", help="(%(default)s)"
    )
    parser.add_argument("--bits", type=int, nargs="+", default=[10, 12, 14, 16], metavar="B", help="(%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="runs of each (%(default)s)")
    parser.add_argument("--no-training", action="store_true", help="leave out the training of models")
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=PLOT, metavar="FILE", help=f"also draw a picture, SVG and PNG ({PLOT})"
    )


def _run(arguments: argparse.Namespace) -> Report:
    if arguments.repeat < 1 or min(arguments.clients) < 10 or min(arguments.epsilons) <= 0:
        raise UsageError("--repeat is at least 1, --clients at least 10, --epsilons above 0")
    needed = [*([] if arguments.no_training else _NEEDED), *(["matplotlib"] if arguments.plot else [])]
    for name in needed:
        if not installed(name):
            raise UsageError(f"{name} is not installed: run  pip install '.[bench,examples]'")
    stamp, progress, rows, missing = machine(), Console(stderr=True), list[Row](), dict[str, str]()
    with progress.status("draws"):
        rows += sampler.rows(arguments.repeat)
    with progress.status("means"):
        rows += means.rows(arguments.clients, arguments.epsilons, arguments.bits, arguments.repeat, missing)
    if not arguments.no_training:
        with progress.status("training"):
            rows += training.rows(arguments.epsilons, arguments.repeat)
    settings = {name: getattr(arguments, name) for name in ("clients", "epsilons", "bits", "repeat")}
    report = Report("privacy", stamp, settings, tuple(rows), missing)
    if arguments.plot:
        from benchmarks.privacy import plot

        plot.draw(report, arguments.plot)
    return report


SUITE: Final = Suite(
    "privacy: what noise costs means and training, and how fast it is drawn",
    _add_arguments,
    _run,
    quick=("--clients", "10", "--epsilons", "4", "--bits", "16", "--repeat", "1", "--no-training"),
)
