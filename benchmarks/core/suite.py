"""Suite ``core``: one masking round, from the kernels to the memory it takes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Final

from rich.console import Console

from benchmarks.core import aggregation, bounded, client, kernels, memory, norm, screening
from benchmarks.federation import Options
from benchmarks.peers import flower as flower_peer
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError

_NEIGHBOURS: Final = 20


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=1_000_000, metavar="N", help="model parameters (%(default)s)")
    parser.add_argument(
        "--clients",
        type=int,
        default=100,
        metavar="N",
        help="headroom of the sums, and clients of the aggregator's round (%(default)s)",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        metavar="K",
        help="masks beside the client's own; the client's round has K + 1 clients "
        f"({_NEIGHBOURS}, or all others where there are fewer)",
    )
    parser.add_argument("--bits", type=int, default=16, metavar="Q", help="bits per value (%(default)s)")
    parser.add_argument("--repeat", type=int, default=15, metavar="R", help="repetitions (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory (some seconds, some 100 MB)")


def _options(arguments: argparse.Namespace) -> Options:
    neighbours = arguments.neighbours
    try:
        return Options(
            params=arguments.params,
            clients=arguments.clients,
            neighbours=min(_NEIGHBOURS, arguments.clients - 1) if neighbours is None else neighbours,
            bits=arguments.bits,
            repeat=arguments.repeat,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(arguments: argparse.Namespace) -> Report:
    options = _options(arguments)
    stamp = machine()
    progress = Console(stderr=True)
    rows: list[Row] = []
    with progress.status("limits and kernels"):
        rows += kernels.rows(options)
    with progress.status("norm proofs"):
        rows += norm.rows(options)
    with progress.status(f"a round of {options.neighbours + 1} clients, and one of them again"):
        rows += client.rows(options)
        rows += screening.rows(options)
    with progress.status("a client with and without a norm bound"):
        rows += bounded.rows(options)
    with progress.status(f"a round of {options.clients} clients"):
        rows += aggregation.rows(options)
    missing = flower_peer.missing()
    if not missing:
        with progress.status("a client of Flower's SecAgg+"):
            rows += flower_peer.rows(options)
    if arguments.memory:
        with progress.status("memory, in fresh processes"):
            rows += memory.rows()
    return Report("core", stamp, asdict(options), tuple(rows), missing)


SUITE: Final = Suite(
    "one masking round: kernels, client, aggregator, memory",
    _add_arguments,
    _run,
    quick=("--params", "20000", "--clients", "5", "--repeat", "2"),
)
