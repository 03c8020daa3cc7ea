"""A federation of Flower nodes in this process, and peers that don't do as they should."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from benchmarks.plugins.nodes import App, Nodes
from secure_agg.errors import RunStopped
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.flower import SecureGrid, secure_mod, wire
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

TASK = "flower"
Model = dict[str, npt.NDArray[Any]]
Change = Callable[[Parcel], Parcel | None]


def start(size: int = 64) -> Model:
    """A model with a layer, a scalar and a counter that is not averaged."""
    return {
        "layer": np.zeros((2, size // 2), np.float32),
        "bias": np.zeros((), np.float64),
        "batches": np.array(5, np.int64),
    }


def record(model: Mapping[str, npt.NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in model.items()})


def model_of(arrays: ArrayRecord) -> Model:
    return {name: array.numpy() for name, array in arrays.items()}


def examples(partition: int) -> int:
    return 20 + 5 * partition


def step(model: Model, partition: int) -> Model:
    """Training: half the way to the node's own model."""
    goal = np.random.default_rng(partition).uniform(0.5, 1.5, model["layer"].shape)
    return {
        "layer": (model["layer"] + 0.5 * (goal - model["layer"])).astype(np.float32),
        "bias": np.asarray(model["bias"] + 0.5 * (partition + 1 - model["bias"])),
        "batches": np.asarray(model["batches"], np.int64),
    }


@dataclass
class Seen:
    """What an app was called with."""

    trained: list[int] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    configs: list[ConfigRecord] = field(default_factory=list)


def app_of(
    mods: Sequence[Any] = (secure_mod,), *, evaluate_mods: Sequence[Any] | None = None, seen: Seen | None = None
) -> ClientApp:
    """A stock app. Without mods it is what everybody runs today."""
    app = ClientApp()
    seen = seen or Seen()

    @app.train(mods=list(mods))
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        model = model_of(message.content["arrays"])
        seen.trained.append(partition)
        seen.configs.append(message.content["config"])
        metrics = {"num-examples": examples(partition), "loss": 1.5 + partition, "count": 100_000 * (partition + 1)}
        content = RecordDict({"arrays": record(step(model, partition)), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    @app.evaluate(mods=list(mods if evaluate_mods is None else evaluate_mods))
    def evaluate(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        model = model_of(message.content["arrays"])
        seen.evaluated.append(partition)
        metrics = {"num-examples": examples(partition), "accuracy": float(model["bias"]) / (partition + 2)}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return app


@dataclass
class Fleet:
    """A federation's folder and its nodes, by roster id.

    Attributes:
        folder: of the homes.
        grid: of the nodes; node ids count from 100 in the order of the names.
        names: of the members.
    """

    folder: Path
    grid: Nodes
    names: tuple[str, ...]

    @staticmethod
    def make(
        folder: Path,
        apps: Mapping[str, App],
        *,
        rules: Mapping[str, Any] | None = None,
        parameters: int | None = None,
        weight_key: str | None = None,
        **policy: Any,
    ) -> Fleet:
        chosen = Policy.default(len(apps), **({"clip": 4.0, "max_weight": 64} | policy))
        home = folder / "federation"
        federation.make(
            home, list(apps), chosen, task=TASK, parameters=parameters, weight_key=weight_key, **(rules or {})
        )
        return Fleet(home, Fleet.nodes(home, apps), tuple(apps))

    @staticmethod
    def nodes(folder: Path, apps: Mapping[str, App]) -> Nodes:
        return Nodes(
            {
                100 + number: (app, {"partition-id": number, "secure-agg-home": str(folder / "clients" / name)})
                for number, (name, app) in enumerate(apps.items())
            }
        )

    def secure(self, strategy: Strategy, **options: Any) -> SecureGrid:
        return SecureGrid(self.grid, strategy, self.folder / "server", **({"phase_s": 30.0} | options))

    def run(
        self,
        strategy: Strategy | None = None,
        rounds: int = 1,
        model: Model | None = None,
        *,
        timeout: float = 2.0,
        **options: Any,
    ) -> Result:
        strategy = strategy or FedAvg(fraction_evaluate=0.0)
        grid = self.secure(strategy, **options)
        return strategy.start(grid, record(model or start()), num_rounds=rounds, timeout=timeout)

    def stops(self, strategy: Strategy | None = None, rounds: int = 1, **options: Any) -> str:
        """What a run says that ends by an error, as every run does of which no round is verified."""
        with pytest.raises(RunStopped) as stopped:
            self.run(strategy, rounds, **options)
        return str(stopped.value)

    def aborts(self) -> list[dict[str, Any]]:
        path = self.folder / "server" / "aborts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def members(count: int, app: App) -> dict[str, App]:
    """``count`` of them, all running the same app."""
    return {f"m{number}": app for number in range(count)}


def meddle(app: App, *, down: Change | None = None, up: Change | None = None) -> App:
    """A node between which and the server somebody changes payloads; what a change returns None for never arrives."""

    def changed(message: Message, change: Change) -> RecordDict | None:
        payload, content = wire.take(message.content)
        if payload is None:
            return message.content
        parcel = change(Parcel.from_bytes(payload))
        if parcel is None:
            return None
        return wire.put(content, parcel.to_bytes())

    def meddled(message: Message, context: Context) -> Message | None:
        if down:
            content = changed(message, down)
            if content is None:
                return None
            message.content = content
        reply = app(message, context)
        if up and reply is not None and reply.has_content():
            content = changed(reply, up)
            if content is None:
                return None
            reply.content = content
        return reply

    return meddled


def silent_from(app: App, count: int) -> App:
    """A node that falls silent after so many replies."""
    left = [count]

    def silent(message: Message, context: Context) -> Message | None:
        if not left[0]:
            return None
        left[0] -= 1
        return app(message, context)

    return silent


@contextmanager
def flower_log() -> Iterator[list[str]]:
    """What is written to Flower's own log meanwhile."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            lines.append(entry.getMessage())

    handler = Keep()
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
