"""``secure-agg federation join``: a client's home, from its own key and the pins it has been given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg.cli.epochs import floors
from secure_agg.cli.epochs.sources import followed
from secure_agg.cli.federation.models import (
    AnyOption,
    Models,
    MomentumOption,
    OptimizerOption,
    RateOption,
    SecondOption,
    StartOption,
    TaskOption,
    TauOption,
    WeightOption,
)
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.fl.server_optimizers import PLAIN
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.preflight.words import price
from secure_agg.protocol.identity import Identity
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.epochs.following import Steps
from secure_agg.roles.trust import Trust


def join(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the home.")],
    name: Annotated[str, typer.Option("--name", metavar="ID", help="Id of the client, as it is in the roster.")],
    identity: Annotated[Path, typer.Option("--identity", metavar="FILE", help="Its key, from 'secure-agg keygen'.")],
    trust: Annotated[
        Path, typer.Option("--trust", metavar="FILE", help="What it pins: look at roster, policy and keys first.")
    ],
    task: TaskOption = "default",
    start_model: StartOption = None,
    server_optimizer: OptimizerOption = PLAIN.name,
    server_learning_rate: RateOption = None,
    server_momentum: MomentumOption = None,
    server_second_momentum: SecondOption = None,
    server_tau: TauOption = None,
    any_model: AnyOption = False,
    weight_key: WeightOption = None,
    epochs: Annotated[
        Path | None,
        typer.Option("--epochs", metavar="FILE", help="Epochs since those pins, for whoever joins in one of them."),
    ] = None,
    floor: floors.FloorOption = None,
    witness_age: floors.AgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a client's home from its own key and the pins it has been given; the key is copied into it."""
    models = Models.asked(
        start_model,
        server_optimizer,
        server_learning_rate,
        server_momentum,
        server_second_momentum,
        server_tau,
        any_model,
        weight_key,
    )
    pins, steps = Trust.load(trust), Steps.load(epochs) if epochs is not None else None
    joined = (followed(pins, task, epochs) if epochs is not None else pins).task(task)
    with ClientHome.create(
        folder,
        Identity.load(name, identity),
        pins,
        task,
        epochs=steps,
        floor=floors.floor_of(floor, Floor.of(joined.policy, len(joined.roster))),
        witness_age_s=witness_age,
        **models.pinned,
    ) as home:
        document: dict[str, Any] = {
            "name": home.name,
            "task": home.task,
            "home": str(folder),
            "public": home.identity.public.hex(),
            "bearable": float(home.trust.task(task).policy.bearable(len(home.trust.task(task).roster))),
        } | models.document

    def show(console: Console) -> None:
        pins = home.trust.task(task)
        rows = {
            "name": name,
            "task": task,
            "home": f"{folder}, for 'secure-agg client --home', or its node's configuration",
            "bearable": price(pins.policy, len(pins.roster)),
        }
        show_fields(console, rows | models.shown)

    emit(document, as_json, show)
