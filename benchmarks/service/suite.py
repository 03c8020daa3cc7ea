"""Suite ``service``: rounds over HTTPS on this machine, members included."""

from __future__ import annotations

import argparse
from typing import Final

from rich.console import Console

from benchmarks.results import Report, Row, machine
from benchmarks.service.world import Measured, measure
from benchmarks.suite import Suite, UsageError, installed

_KB: Final = 1e3


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--members",
        type=int,
        nargs="+",
        default=[8, 24],
        metavar="N",
        help="members, all on this machine (%(default)s)",
    )
    parser.add_argument("--params", type=int, default=10_000, metavar="D", help="of the model (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="after a first one (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, metavar="P", help="that members share (%(default)s)")


def _run(arguments: argparse.Namespace) -> Report:
    if min(arguments.members) < 3 or min(arguments.rounds, arguments.params, arguments.processes) < 1:
        raise UsageError("--members is at least 3; --rounds, --params and --processes at least 1")
    if not installed("uvicorn") or not installed("httpcore"):
        raise UsageError("the extra 'service' is not installed")
    stamp, progress = machine(), Console(stderr=True)
    rows: list[Row] = []
    for members in arguments.members:
        with progress.status(f"{members} members of a service"):
            processes = min(arguments.processes, members)
            rows += _rows(measure(members, arguments.params, arguments.rounds, processes))
    settings = {name: getattr(arguments, name) for name in ("members", "params", "rounds", "processes")}
    return Report("service", stamp, settings, tuple(rows), {})


def _rows(found: Measured) -> list[Row]:
    key = f"service.{found.members}"
    return [
        Row.timed(
            f"{key}.round",
            f"a round of {found.members} members, from result to result",
            found.round_s,
            note="wall time; all members compute on this machine, and verify the result",
        ),
        Row(
            key=f"{key}.service",
            name="of that the service's processor",
            unit="ms",
            median=1e3 * found.service_s,
            note="with its start, by round",
        ),
        Row(key=f"{key}.received", name="one member sends", unit="kB", median=found.received / _KB),
    ]


SUITE: Final = Suite(
    "service: rounds over HTTPS, all members on this machine",
    _add_arguments,
    _run,
    quick=("--members", "3", "--rounds", "1", "--params", "100"),
)
