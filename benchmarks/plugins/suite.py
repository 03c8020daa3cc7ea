"""Suite ``plugins``: a round under a federated-learning framework, beside the framework's own secure aggregation."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from typing import Final

from rich.console import Console

from benchmarks.plugins.options import PluginOptions
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError
from secure_agg.errors import ConfigError

FLOWER: Final = "flwr is not installed: run  pip install '.[flower]'"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=1_000_000, metavar="N", help="model parameters (%(default)s)")
    parser.add_argument("--clients", type=int, default=10, metavar="N", help="clients of a round (%(default)s)")
    parser.add_argument(
        "--train-s", type=float, default=3.0, metavar="S", help="seconds that a client trains (%(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="repetitions (%(default)s)")


def _run(arguments: argparse.Namespace) -> Report:
    try:
        options = PluginOptions(arguments.params, arguments.clients, arguments.train_s, arguments.repeat)
    except (ValueError, ConfigError) as error:
        raise UsageError(str(error)) from error
    rows: list[Row] = []
    missing: dict[str, str] = {}
    flower = importlib.util.find_spec("flwr") is not None
    stamp = machine(*(["flwr"] if flower else []))
    if flower:
        # Here and not above: the other suites have no need of what this imports.
        from benchmarks.plugins import flower as plugins_flower

        with Console(stderr=True).status("rounds under Flower"):
            rows += plugins_flower.rows(options)
    else:
        missing["flower"] = FLOWER
    return Report("plugins", stamp, asdict(options), tuple(rows), missing)


SUITE: Final = Suite(
    "rounds under Flower, beside Flower's SecAgg+",
    _add_arguments,
    _run,
    ("--params", "2000", "--clients", "4", "--repeat", "1"),
)
