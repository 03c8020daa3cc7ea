"""Suite ``scale``: growth of an aggregator's work, and executors beside one process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from benchmarks.results import Report, Row, machine
from benchmarks.scale import growth, received, shards, simulated, whole
from benchmarks.suite import Suite, UsageError
from secure_agg.errors import ConfigError
from secure_agg.executing import HERE, Executor, executor_of
from secure_agg.executing.named import NAMES

_FEW: Final = 60
_SHORT: Final = 20_000
_MANY: Final = 50
_FEW_ONLY: Final = "simulations of many clients were left out"
_NOT_ASKED: Final = "run it with --whole: it takes minutes and gigabytes"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _cells(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(clients), int(params)) for part in text.split(",") for clients, params in (part.split("x"),))


def _large(cells: Sequence[tuple[int, int]], executor: Executor) -> tuple[list[Row], dict[str, str]]:
    """Single large rounds: what fits, and why the rest does not."""
    rows, missing = list[Row](), dict[str, str]()
    for found in whole.rows(cells, executor):
        if isinstance(found, Row):
            rows.append(found)
        else:
            name, _, why = found.partition(": ")
            missing[name] = why
    return rows, missing


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--params", type=_numbers, default=(100_000, 250_000, 700_000, 2_000_000), metavar="N,N,…",
        help="sizes of models, two or more (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--clients", type=_numbers, default=(130, 190, 280, 400), metavar="N,N,…",
        help="sizes of cohorts, two or more; from 129 on the graph is sparse (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--streams", type=int, default=200, metavar="N", help="masks of one vector (%(default)s)")
    parser.add_argument(
        "--executor", default="processes", metavar="EXECUTOR", help=f"beside this process: {NAMES} (%(default)s)"
    )
    parser.add_argument(
        "--no-many", dest="many", action="store_false", help="leave out simulations of 1,000 and 10,000 clients"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="also what takes many minutes: 1,000 clients in one round, 10,000 in two levels, single large rounds",
    )
    parser.add_argument(
        "--cells", type=_cells, default=(), metavar="NxD,…",
        help="only these large rounds, clients x parameters, as far as the memory goes; --whole has "
        + ",".join(f"{clients}x{params}" for clients, params in whole.CELLS),
    )  # fmt: skip
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="repetitions (%(default)s)")


def _run(arguments: argparse.Namespace) -> Report:
    if len(set(arguments.params)) < 2 or len(set(arguments.clients)) < 2:
        raise UsageError("--params and --clients are two sizes or more: a law is fitted to them")
    if min(*arguments.params, *arguments.clients, arguments.streams, arguments.repeat) < 1:
        raise UsageError("--params, --clients, --streams and --repeat must be 1 or more")
    if any(clients < 2 or params < 1 for clients, params in arguments.cells):
        raise UsageError("--cells are rounds of two clients or more, and of one parameter or more")
    if arguments.cells and arguments.whole:
        raise UsageError("--cells makes these large rounds and nothing else, --whole everything")
    if arguments.executor == HERE:
        raise UsageError(f"--executor {HERE} is what the others are compared with")
    stamp, progress, rows, missing = machine(), Console(stderr=True), list[Row](), dict[str, str]()
    params, clients = sorted(arguments.params), sorted(arguments.clients)
    try:
        executor = executor_of(arguments.executor)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if arguments.cells:
        with executor, progress.status("large rounds"):
            rows, missing = _large(arguments.cells, executor)
        large = ", ".join(f"{n:,} × {d:,}" for n, d in arguments.cells)
        return Report("scale", stamp, {"cells": large, "executor": arguments.executor}, tuple(rows), missing)
    with executor:
        with progress.status(f"work by {executor!r}"):
            rows += shards.rows(params[-1], arguments.streams, executor, arguments.repeat)
            rows.append(shards.simulation(min(_MANY, clients[0]), min(_SHORT, params[0]), executor, arguments.repeat))
        with progress.status("rounds of four models and four cohorts"), executor_of(HERE) as here:
            rows += growth.rows(
                params, min(_FEW, clients[0]), clients, min(_SHORT, params[0]), here, min(2, arguments.repeat)
            )
        sizes = received.SIZES if arguments.many else received.SIZES[:2]
        with progress.status("bytes that one client receives"):
            rows += received.rows(sizes)
        for cell in simulated.CELLS:
            if not arguments.many:
                missing[simulated.name_of(*cell)] = _FEW_ONLY
            elif arguments.whole or cell[0] in simulated.QUICK:
                with progress.status(simulated.name_of(*cell)):
                    rows += simulated.rows(*cell)
            else:
                missing[simulated.name_of(*cell)] = _NOT_ASKED
        if not arguments.whole:
            missing |= {f"{n:,} × {d:,}": _NOT_ASKED for n, d in whole.CELLS}
        else:
            with progress.status("large rounds"):
                large_rows, unfit = _large(whole.CELLS, executor)
            rows += large_rows
            missing |= unfit
    chosen = {
        "params": ", ".join(map(str, params)),
        "clients": ", ".join(map(str, clients)),
        "streams": arguments.streams,
        "executor": arguments.executor,
        "repeat": arguments.repeat,
    }
    return Report("scale", stamp, chosen, tuple(rows), missing)


SUITE: Final = Suite(
    "growth of the aggregator's work, and executors beside one process",
    _add_arguments,
    _run,
    quick=(
        "--params",
        "2000,4000",
        "--clients",
        "4,6",
        "--streams",
        "5",
        "--executor",
        "processes:2",
        "--repeat",
        "1",
        "--no-many",
    ),
)
