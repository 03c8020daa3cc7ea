"""Suite ``mpc``: the backends that share updates among several operators, beside CrypTen and the machine's limits."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Final

from rich.console import Console

from benchmarks.mpc.options import MpcOptions
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError, installed
from secure_agg.errors import ConfigError

CRYPTEN_INSTALL: Final = "pip install '.[mpc]'  and  pip install --no-deps crypten==0.4.1"
CRYPTEN: Final = f"crypten is not installed: run  {CRYPTEN_INSTALL}"
GRPC: Final = "grpc is not installed: run  pip install '.[operators]'"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=1_000_000, metavar="N", help="parameters of sums (%(default)s)")
    parser.add_argument("--clients", type=int, default=10, metavar="N", help="clients of a round (%(default)s)")
    parser.add_argument(
        "--aggregators", type=int, default=3, metavar="K", help="who share every update, 2 to 5 (%(default)s)"
    )
    parser.add_argument("--bits", type=int, default=16, metavar="Q", help="bits per value (%(default)s)")
    parser.add_argument(
        "--function-params",
        type=int,
        default=100_000,
        metavar="N",
        help="parameters of norm check, trimmed mean and median (%(default)s)",
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="repetitions (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory (some seconds, some 100 MB)")


def _options(arguments: argparse.Namespace) -> MpcOptions:
    try:
        return MpcOptions(
            params=arguments.params,
            clients=arguments.clients,
            aggregators=arguments.aggregators,
            bits=arguments.bits,
            function_params=arguments.function_params,
            repeat=arguments.repeat,
        )
    except (ValueError, ConfigError) as error:
        raise UsageError(str(error)) from error


def _run(arguments: argparse.Namespace) -> Report:
    options = _options(arguments)
    # Here and not above: the other suites have no need of what these import.
    from benchmarks.mpc import client as mpc_client
    from benchmarks.mpc import memory as mpc_memory
    from benchmarks.mpc import round as mpc_round

    crypten, grpc = installed("crypten"), installed("grpc")
    stamp = machine(*(["crypten", "torch"] if crypten else []), *(["grpcio"] if grpc else []))
    progress = Console(stderr=True)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    with progress.status("limits, and a client of backend additive"):
        rows += mpc_client.rows(options)
    with progress.status("rounds of backend additive"):
        rows += mpc_round.rows(options, with_peer=crypten)
    if grpc:
        from benchmarks.mpc import processes as mpc_processes

        with progress.status("the same over aggregators in processes of their own"):
            rows += mpc_processes.rows(options)
    else:
        missing["processes"] = GRPC
    if crypten:
        from benchmarks.mpc import functions as mpc_functions

        with progress.status("norm check, trimmed mean and median under CrypTen"):
            rows += mpc_functions.rows(options)
    else:
        missing["crypten"] = CRYPTEN
    if arguments.memory:
        with progress.status("memory, in fresh processes"):
            rows += mpc_memory.rows(options)
    return Report("mpc", stamp, asdict(options), tuple(rows), missing)


SUITE: Final = Suite(
    "backends that share updates among operators, beside CrypTen",
    _add_arguments,
    _run,
    quick=("--params", "2000", "--clients", "5", "--function-params", "300", "--repeat", "1"),
)
