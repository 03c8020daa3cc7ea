"""Suite ``ledger``: what appending, proving and remembering cost, beside the disk's own limit."""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.ledger import append as ledger_append
from benchmarks.ledger import gas as ledger_gas
from benchmarks.ledger import proofs as ledger_proofs
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError

_CHAIN: Final = ("web3", "eth", "eth_tester", "py_arkworks_bls12381")
"""What the gas table takes."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leaves", type=int, default=1_000_000, metavar="N", help="records of the long log (%(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=30, metavar="R", help="repetitions (%(default)s)")
    parser.add_argument(
        "--gas",
        type=int,
        nargs="*",
        default=list(ledger_gas.CLIENTS),
        metavar="N",
        help="numbers of clients for which the contract's gas is counted (%(default)s); none without a number",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="a directory on the disk that is measured (the current one); all is removed at the end",
    )


def _run(arguments: argparse.Namespace) -> Report:
    if arguments.leaves < 2 or arguments.repeat < 1:
        raise UsageError("--leaves is at least 2, --repeat at least 1")
    if not arguments.directory.is_dir():
        raise UsageError(f"--directory {arguments.directory} is no directory")
    stamp = machine()
    progress = Console(stderr=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix=".benchmark-") as folder:
        parts = {name: Path(folder) / name for name in ("append", "proofs")}
        for part in parts.values():
            part.mkdir()
        with progress.status("appends, and the disk by hand"):
            rows += ledger_append.rows(parts["append"], arguments.repeat)
        with progress.status(f"a log of {arguments.leaves:,} records"):
            rows += ledger_proofs.rows(parts["proofs"], arguments.leaves, arguments.repeat)
    missing = {}
    absent = [module for module in _CHAIN if find_spec(module) is None]
    if absent:
        missing["gas"] = f"{', '.join(absent)} not installed"
    elif arguments.gas:
        with progress.status("gas on a chain in this process"):
            rows += ledger_gas.rows(arguments.gas)
    settings = {"leaves": arguments.leaves, "repeat": arguments.repeat, "gas": arguments.gas}
    return Report("ledger", stamp, settings, tuple(rows), missing)


SUITE: Final = Suite(
    "the ledger: appends beside the disk's own rate, proofs, memory",
    _add_arguments,
    _run,
    quick=("--leaves", "3000", "--repeat", "1", "--gas", "3"),
)
