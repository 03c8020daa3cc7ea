"""Nodes and a server in one process, joined by payloads: what a framework does, without a framework.

Every payload is handled by a new ``Participant`` over a home that is opened anew, as in a new process.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.parcels import JOIN
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.phases import Payload
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy

NAMES = ("north", "east", "south", "west")
WEIGHTS = {"north": 7, "east": 3, "south": 1, "west": 10}
METRICS = {name: {"accuracy": 0.5 + 0.1 * i, "loss": 12345.75 * (i + 1)} for i, name in enumerate(NAMES)}

Model = Sequence[npt.NDArray[Any]]
Tamper = Callable[[str, str, bytes], bytes]


@dataclass
class Nodes:
    """An ``Ask`` whose nodes train by adding what ``updates`` says.

    Attributes:
        homes: folder of each node.
        updates: difference that each node's training makes.
        weights: by id, default 1.
        metrics: by id.
        instructions: what each node has been given beside the model.
        model: what the framework hands out; by node where it shows different ones.
        silent: node to the kinds and places of payloads that it leaves unanswered, like ``("step", 1)``.
        tamper_request, tamper_answer: what the network does.
        log: (kind, place, node) of everything that was answered.
        errors: what nodes have refused with.
    """

    homes: Mapping[str, Path]
    updates: Mapping[str, Model]
    model: Model | Mapping[str, Model]
    weights: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    instructions: Mapping[str, Instructions] = field(default_factory=dict)
    silent: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    tamper_request: Tamper | None = None
    tamper_answer: Tamper | None = None
    log: list[tuple[str, int, str]] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | Exception]]:
        place = self._places[kind] = self._places.get(kind, -1) + 1
        for name, make in requests:
            if name not in self.homes or self._is_silent(name, kind, place):
                continue
            payload = make()
            if self.tamper_request is not None:
                payload = self.tamper_request(kind, name, payload)
            try:
                answer = self.answer(name, kind, payload)
            except Exception as error:
                self.errors.append((name, error))
                yield name, error
                continue
            self.log.append((kind, place, name))
            yield name, self.tamper_answer(kind, name, answer) if self.tamper_answer is not None else answer

    def _is_silent(self, name: str, kind: str, place: int) -> bool:
        order = ("hello", "epoch", "close", "learn", "join", "step", "result", "renounce")
        first = self.silent.get(name)
        return first is not None and (order.index(kind), place) >= (order.index(first[0]), first[1])

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        """What a node's new process says."""
        with ClientHome.open(self.homes[name]) as home:
            participant = Participant(home)
            if kind != JOIN:
                return participant.handle(payload)
            model = self.model[name] if isinstance(self.model, Mapping) else self.model
            return participant.handle(payload, model, lambda: self._train(name, model), self.instructions.get(name))

    def _train(self, name: str, model: Model) -> Trained:
        self.trained.append(name)
        arrays = [(old + step).astype(old.dtype) for old, step in zip(model, self.updates[name], strict=True)]
        return Trained(arrays, self.weights.get(name, 1), self.metrics.get(name, {}))

    def evaluating(self) -> Evaluating:
        """The same nodes, asked to evaluate."""
        return Evaluating(self)


@dataclass
class Evaluating:
    """An ``Ask`` for evaluations."""

    nodes: Nodes

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | Exception]]:
        nodes = self.nodes
        for name, make in requests:
            if name not in nodes.homes:
                continue
            with ClientHome.open(nodes.homes[name]) as home:
                model = nodes.model[name] if isinstance(nodes.model, Mapping) else nodes.model
                trained = Trained((), nodes.weights.get(name, 1), nodes.metrics.get(name, {}))
                try:
                    yield name, Participant(home).handle(make(), model, lambda result=trained: result)
                except Exception as error:
                    nodes.errors.append((name, error))
                    yield name, error


def introduce(coordinator: Coordinator, homes: Mapping[str, Path]) -> dict[str, str]:
    """Every node's answer to the challenge, and who the coordinator takes it for."""
    found = {}
    for name, path in homes.items():
        with ClientHome.open(path) as home:
            found[name] = coordinator.identify(Participant(home).handle(coordinator.challenge()))
    return found


def weighted_mean(updates: Mapping[str, Model], weights: Mapping[str, int], names: Sequence[str]) -> list[Any]:
    """In float64, over ``names``."""
    total = sum(weights.get(name, 1) for name in names)
    count = len(next(iter(updates.values())))
    return [
        sum(weights.get(name, 1) * updates[name][i].astype(np.float64) for name in names) / total for i in range(count)
    ]


def model() -> list[np.ndarray]:
    return [np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), np.arange(5, dtype=np.float64)]


def updates(seed: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {name: [rng.uniform(-0.5, 0.5, array.shape) for array in model()] for name in NAMES}


class World:
    """A federation on disk, and its coordinator."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        rules = {key: changes.pop(key) for key in ("checks_model", "start_model", "optimizer") if key in changes}
        policy = Policy.default(len(NAMES), **{"clip": 1.0, "bits": 20, "max_weight": 16, **changes})
        federation.make(folder, NAMES, policy, task="task", parameters=17, **rules)
        self.folder, self.policy = folder, policy
        self.homes = {name: folder / "clients" / name for name in NAMES}
        self.server = ServerHome.open(folder / "server")
        self.coordinator = Coordinator(self.server)

    def nodes(self, at: list[np.ndarray] | dict[str, list[np.ndarray]], seed: int = 0, **more: Any) -> Nodes:
        return Nodes(self.homes, updates(seed), at, WEIGHTS, METRICS, **more)


@contextmanager
def a_world(**changes: Any) -> Iterator[World]:
    """A federation in memory where there is a file system for that: nothing here has to survive a power cut."""
    memory = "/dev/shm"  # noqa: S108 - the folder in it is made for its owner alone
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        made = World(Path(folder) / "federation", **changes)
        with contextlib.closing(made.server):
            yield made
