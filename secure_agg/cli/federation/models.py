"""Options that say which models nodes train on and how the next one follows, and what is shown of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer
from msgspec import to_builtins

from secure_agg.fl.layers import Layers
from secure_agg.fl.model_files import digest_argument, read_model
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


class Pinned(TypedDict):
    """What is pinned of models where homes are made: arguments of ``ClientHome.create`` and ``federation.make``."""

    checks_model: bool
    start_model: bytes | None
    optimizer: ServerOptimizer
    weight_key: str | None
    start_elements: int | None


@dataclass(frozen=True)
class Models:
    """What these options have said.

    Attributes:
        file: the first model's, where one was given and not only its digest.
        start: the first model's digest.
        optimizer: by what the next one follows.
        any_model: nothing is pinned.
        weight_key: name of the number of examples.
    """

    file: Path | None
    start: bytes | None
    optimizer: ServerOptimizer
    any_model: bool
    weight_key: str | None

    @staticmethod
    def asked(
        start_model: str | None,
        optimizer: str,
        rate: float | None,
        momentum: float | None,
        second: float | None,
        tau: float | None,
        any_model: bool,
        weight_key: str | None,
    ) -> Models:
        """By the options, in their order.

        Raises:
            ConfigError: the optimizer has other settings, or the model can't be read.
        """
        following = ServerOptimizer.create(optimizer, learning_rate=rate, momentum=momentum, second=second, tau=tau)
        start = digest_argument(start_model) if start_model is not None else None
        file = Path(start_model) if start_model is not None and Path(start_model).is_file() else None
        return Models(file, start, following, any_model, weight_key)

    @property
    def pinned(self) -> Pinned:
        """For who makes homes."""
        return Pinned(
            checks_model=not self.any_model,
            start_model=self.start,
            optimizer=self.optimizer,
            weight_key=self.weight_key,
            start_elements=self._elements,
        )

    @property
    def _elements(self) -> int | None:
        """How many elements the first model has that are averaged, where its file was given."""
        if self.file is None:
            return None
        model = read_model(self.file)
        return sum(array.size for array in Layers.of(model).floats(model))

    @property
    def document(self) -> dict[str, Any]:
        """What a home says of models, for a program."""
        start = None if self.any_model or self.start is None else self.start.hex()
        return {"start_model": start, "server_optimizer": to_builtins(self.optimizer), "any_model": self.any_model}

    @property
    def shown(self) -> dict[str, str]:
        """The same for people: what is not pinned is said."""
        if self.any_model:
            return {
                "any_model": "ANY: whatever the server hands out; a crafted model makes the sum show single records"
            }
        free = "not pinned: the first model is the server's choice, --start-model pins it"
        return {
            "start_model": self.start.hex() if self.start else free,
            "server_optimizer": f"{self.optimizer}, at each node",
        }
