"""Suite ``trees``: bytes and processor seconds of one client of a tree, beside its model."""

from __future__ import annotations

import argparse
from typing import Final

from rich.console import Console

from benchmarks.results import Report, Row, Target, machine
from benchmarks.suite import Suite, UsageError
from benchmarks.trees.world import Measured, measure

_MB: Final = 1e6
_MOST: Final = {1_000: (0.8, 150.0), 10_000: (3.0, 1000.0)}
"""By clients: the most megabytes beside the model, and milliseconds, that one client may take."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[100, 1_000], metavar="N", help="clients of the tree (%(default)s)"
    )
    parser.add_argument("--edges", type=int, metavar="M", help="edges (about the root of the clients)")
    parser.add_argument("--bits", type=int, default=14, metavar="B", help="bits of a value (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="repetitions (%(default)s)")


def _run(arguments: argparse.Namespace) -> Report:
    if min(arguments.clients) < 8 or arguments.repeat < 1:
        raise UsageError("--clients is at least 8, --repeat at least 1")
    if arguments.edges is not None and not 2 <= arguments.edges <= min(arguments.clients) // 4:
        raise UsageError("--edges is at least 2, with 4 clients each")
    stamp, progress = machine(), Console(stderr=True)
    rows: list[Row] = []
    for clients in arguments.clients:
        with progress.status(f"a tree of {clients:,} clients"):
            rows += _rows(measure(clients, arguments.bits, arguments.repeat, arguments.edges))
    settings = {name: getattr(arguments, name) for name in ("clients", "edges", "bits", "repeat")}
    return Report("trees", stamp, settings, tuple(rows), {})


def _rows(found: Measured) -> list[Row]:
    most = _MOST.get(found.clients)
    key = f"trees.{found.clients}"
    setting = f"{found.clients:,} clients in {found.edges} edges, commitments of rank {found.rank}"
    return [
        Row(
            key=f"{key}.received",
            name="one client receives, beside the model",
            unit="MB",
            median=found.beside / _MB,
            targets=(Target("median", most[0]),) if most else (),
            note=setting,
        ),
        Row(
            key=f"{key}.received_edge",
            name="of its own edge",
            unit="MB",
            median=(found.edge_bytes - found.vectors // 2) / _MB,
        ),
        Row(
            key=f"{key}.received_tree",
            name="of the tree",
            unit="MB",
            median=(found.tree_bytes - found.vectors // 2) / _MB,
        ),
        Row(
            key=f"{key}.client",
            name="one client, all of a round",
            unit="ms",
            median=1e3 * (found.edge_s + found.tree_s.median),
            targets=(Target("median", most[1]),) if most else (),
            note="processor time",
        ),
        Row.timed(
            f"{key}.tree",
            "of that the tree's evidence",
            found.tree_s,
            peer=("the members' signatures in it, bare", found.bare_s),
            note=f"processor time; {found.signed:,} signatures",
        ),
    ]


SUITE: Final = Suite(
    "trees: what one of very many clients receives and computes",
    _add_arguments,
    _run,
    quick=("--clients", "12", "--repeat", "1", "--edges", "3"),
)
