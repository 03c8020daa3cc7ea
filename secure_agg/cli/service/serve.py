"""``secure-agg serve``: the coordinator of any number of tasks, over HTTPS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from secure_agg.cli.terminal.logs import log_to_stderr
from secure_agg.service.logs import json_lines
from secure_agg.service.post import AWAY_S
from secure_agg.service.rounds import GATHER_S, TRAIN_S, Timing
from secure_agg.service.server import Asked, Bound, opened
from secure_agg.service.server import serve as run


def serve(
    homes: Annotated[
        list[Path], typer.Option("--home", metavar="DIR", help="A server's home, of one task; one for each task.")
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0: a free one.")
    ] = "127.0.0.1:8470",
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE", help="The model that the task begins with, until it has one."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            metavar="N",
            help="Make rounds until a task has N results, and go on serving the last one; by default for ever.",
        ),
    ] = None,
    end_seconds: Annotated[
        float | None,
        typer.Option(
            "--end-seconds",
            min=0,
            metavar="S",
            help="With --rounds: end S seconds after the last result, in which members that were away can fetch it.",
        ),
    ] = None,
    train_seconds: Annotated[
        float, typer.Option("--train-seconds", min=1, metavar="S", help="How long members have to train.")
    ] = TRAIN_S,
    phase_seconds: Annotated[
        float | None,
        typer.Option(
            "--phase-seconds", min=1, metavar="S", help="How long they have in each phase, at least; the home's."
        ),
    ] = None,
    gather_seconds: Annotated[
        float,
        typer.Option(
            "--gather-seconds", min=0, metavar="S", help="How long to wait for all once enough for a round are there."
        ),
    ] = GATHER_S,
    away_seconds: Annotated[
        float,
        typer.Option(
            "--away-seconds", min=0, metavar="S", help="How long a member may be away in a round, to be started anew."
        ),
    ] = AWAY_S,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="TLS certificate, PEM; by default the home's own."),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key, PEM, mode 0600.")] = None,
    monitor: Annotated[
        str | None,
        typer.Option(
            "--monitor",
            metavar="HOST:PORT",
            help="Metrics for Prometheus, and health, without TLS; by default nowhere.",
        ),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log as JSON, a line each, without anything secret.")
    ] = False,
) -> None:
    """Coordinate tasks over HTTPS, until SIGTERM or, with --end-seconds, until all rounds are made.

    Members connect with 'secure-agg client' or secure_agg.connect. A line of JSON on stdout says where, once requests
    are answered. A server that was killed goes on where it was when it is started again.
    """
    asked = Asked(
        homes,
        listen,
        monitor,
        model,
        certificate,
        key,
        Timing(rounds, train_seconds, gather_seconds, away_seconds, phase_seconds),
        end_seconds,
    )
    with json_lines() if log_json else log_to_stderr(), opened(asked) as found:
        asyncio.run(run(asked, found, _ready))


def _ready(bound: Bound) -> None:
    document = {
        "address": bound.address,
        "monitor": bound.monitor,
        "fingerprint": bound.fingerprint,
        "tasks": list(bound.tasks),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
