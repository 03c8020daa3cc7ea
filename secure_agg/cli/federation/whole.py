"""``secure-agg federation``, whole: what makes homes, and what changes a task that is running."""

from __future__ import annotations

from typing import Final

import typer

from secure_agg.cli.epochs import changing, floors
from secure_agg.cli.federation import homes, joining, last_model
from secure_agg.cli.terminal.epilog import epilog

app = typer.Typer(
    no_args_is_help=True,
    help="Make the homes that the service, Flower and NVFlare work from, and change them by epochs.",
    epilog=epilog("secure-agg federation init homes --client clinic-a --client clinic-b --client clinic-c"),
)

app.command(
    "init",
    epilog=epilog(
        "secure-agg federation init homes --client clinic-a --client clinic-b --client clinic-c",
        "secure-agg federation init homes --client-key clinic-a=HEX --client-key clinic-b=HEX --min-clients 2",
        "secure-agg federation init homes --client a --client b --client c --client d --client e --sample 3 "
        "--corruption-rate 0 --beacon beacon --pulses https://api.drand.sh/HASH",
    ),
)(homes.init)
app.command(
    "join",
    epilog=epilog("secure-agg federation join home --name clinic-a --identity clinic-a.key --trust trust.json"),
)(joining.join)
app.command("model", epilog=epilog("secure-agg federation model homes/server --out model.npz"))(last_model.model)
app.command(
    "propose",
    epilog=epilog(
        "secure-agg federation propose homes/server --join clinic-d=HEX --out next.epoch",
        "secure-agg federation propose rounds.db --clip 0.5 --out next.epoch",
        "secure-agg federation propose home --leave clinic-b --url https://coordinator.example:8470",
        "secure-agg federation propose homes/server --restart second --model start.npz --out next.epoch",
    ),
)(changing.propose)
app.command(
    "approve",
    epilog=epilog(
        "secure-agg federation approve next.epoch --home home",
        "secure-agg federation approve DIGEST --home home --url https://coordinator.example:8470",
        "secure-agg federation approve next.epoch --name clinic-d --identity clinic-d.key --trust trust.json",
    ),
)(changing.approve)
app.command(
    "status",
    epilog=epilog(
        "secure-agg federation status homes/server",
        "secure-agg federation status home --url https://coordinator.example:8470",
        "secure-agg federation status homes/server a.epoch b.epoch --submit",
        "secure-agg federation status homes/server --epochs epochs.file",
    ),
)(changing.status)
app.command(
    "floor",
    epilog=epilog(
        "secure-agg federation floor home",
        "secure-agg federation floor home --floor min_clients=5 --floor clip=0.5:2 --witness-age 86400",
    ),
)(floors.floor)

FEDERATION: Final[typer.Typer] = app
"""The group with all of its commands."""
