"""Options that say which models nodes train on and how the next one follows, and what is shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import to_builtins

from secure_agg.fl.layers import Layers
from secure_agg.fl.model_files import read_model
from secure_agg.fl.server_optimizers import NAMES, ServerOptimizer

TaskOption = Annotated[str, typer.Option("--task", metavar="NAME", help="Id of the training task.")]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start-model",
        metavar="FILE|DIGEST",
        help="Pin the first model: a file (npz, npy, safetensors, PyTorch's state dict) or its digest, see "
        "secure_agg.fl.model_files. Without it the first model is the server's choice.",
    ),
]
OptimizerOption = Annotated[
    str,
    typer.Option(
        "--server-optimizer",
        metavar="NAME",
        help=f"By what every node computes the next model too: {', '.join(NAMES)}. Its settings are those of Flower's "
        "strategies by default.",
    ),
]
RateOption = Annotated[float | None, typer.Option("--server-learning-rate", metavar="ETA", help="Its learning rate.")]
MomentumOption = Annotated[float | None, typer.Option("--server-momentum", metavar="B", help="Its momentum, beta 1.")]
SecondOption = Annotated[
    float | None, typer.Option("--server-second-momentum", metavar="B", help="Its second momentum, beta 2.")
]
TauOption = Annotated[float | None, typer.Option("--server-tau", metavar="T", help="Its adaptivity, tau.")]
AnyOption = Annotated[
    bool,
    typer.Option(
        "--any-model",
        help="DANGEROUS: train on and evaluate whatever model the server hands out. A crafted one makes the sum show "
        "single records of this node's data.",
    ),
]
WeightOption = Annotated[
    str | None,
    typer.Option(
        "--weight-key",
        metavar="NAME",
        help="Name under which the app reports its number of examples, the same at all nodes and the server. By "
        "default Flower's 'num-examples', NVFlare's 'NUM_STEPS_CURRENT_ROUND'.",
    ),
]


def models(start: bytes | None, optimizer: ServerOptimizer, *, any_model: bool) -> dict[str, Any]:
    """What a home says of models, for a program."""
    pinned = None if any_model or start is None else start.hex()
    return {"start_model": pinned, "server_optimizer": to_builtins(optimizer), "any_model": any_model}


def shown(start: bytes | None, optimizer: ServerOptimizer, *, any_model: bool) -> dict[str, str]:
    """The same for people: what is not pinned is said."""
    if any_model:
        return {"any_model": "ANY: whatever the server hands out; a crafted model makes the sum show single records"}
    free = "not pinned: the first model is the server's choice, --start-model pins it"
    return {"start_model": start.hex() if start else free, "server_optimizer": f"{optimizer}, at each node"}


def optimizer_of(
    name: str, rate: float | None, momentum: float | None, second: float | None, tau: float | None
) -> ServerOptimizer:
    return ServerOptimizer.create(name, learning_rate=rate, momentum=momentum, second=second, tau=tau)


def elements(start_model: str | None) -> int | None:
    """How many elements the first model has that are averaged, where its file was given."""
    if start_model is None or not Path(start_model).is_file():
        return None
    model = read_model(start_model)
    return sum(array.size for array in Layers.of(model).floats(model))
