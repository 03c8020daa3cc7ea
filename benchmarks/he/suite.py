"""Suite ``he``: the homomorphic backends beside the usual way of using TenSEAL and ``phe``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.he.options import BITS, CLIENTS, MODULUS_BITS, HeOptions
from benchmarks.load import Watch
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError, installed

PLOT: Final = Path("bench-output/he.png")
_NEEDED: Final = ("tenseal", "phe")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=1_000_000, metavar="N", help="length of a vector (%(default)s)")
    parser.add_argument("--clients", type=int, default=CLIENTS, metavar="N", help="headroom of the sums (%(default)s)")
    parser.add_argument("--bits", type=int, default=BITS, metavar="Q", help="bits per value (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, metavar="R", help="repetitions (%(default)s)")
    parser.add_argument(
        "--modulus-bits", type=int, default=MODULUS_BITS, metavar="L", help="of the Paillier keys (%(default)s)"
    )
    parser.add_argument(
        "--full", action="store_true", help="decrypt whole Paillier vectors instead of a sample (minutes)"
    )
    parser.add_argument("--memory", action="store_true", help="also measure peak memory (half a minute, some 100 MB)")
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=PLOT, metavar="FILE", help=f"also draw a picture, SVG and PNG ({PLOT})"
    )


def _options(arguments: argparse.Namespace) -> HeOptions:
    missing = [name for name in (*_NEEDED, *(["matplotlib"] if arguments.plot else [])) if not installed(name)]
    if missing:
        raise UsageError(f"{missing[0]} is not installed: run  pip install '.[bench]'")
    try:
        return HeOptions(
            params=arguments.params,
            clients=arguments.clients,
            bits=arguments.bits,
            repeat=arguments.repeat,
            modulus_bits=arguments.modulus_bits,
            full=arguments.full,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(arguments: argparse.Namespace) -> Report:
    options = _options(arguments)
    # Here and not above: the other suites have no need of the two libraries.
    from benchmarks.he import committee as he_committee
    from benchmarks.he import lattice as he_lattice
    from benchmarks.he import memory as he_memory
    from benchmarks.he import paillier as he_paillier
    from benchmarks.he import plot as he_plot

    stamp = machine(*_NEEDED, "gmpy2")
    progress = Console(stderr=True)
    rows: list[Row] = []
    with Watch() as watch:  # the picture says what the load was, before the command does
        with progress.status("TenSEAL, ckks and bfv"):
            rows += he_lattice.rows(options)
        with progress.status("phe and paillier"):
            rows += he_paillier.rows(options)
        with progress.status("a committee that shares a paillier key"):
            rows += he_committee.rows(options)
        if arguments.memory:
            with progress.status("memory, in fresh processes"):
                rows += he_memory.rows(options)
    report = Report("he", stamp, asdict(options), tuple(rows), load=watch.load)
    if arguments.plot:
        he_plot.draw(report, arguments.plot)
    return report


SUITE: Final = Suite(
    "homomorphic backends beside TenSEAL and phe", _add_arguments, _run, quick=("--params", "2000", "--repeat", "1")
)
