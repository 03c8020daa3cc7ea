"""Nodes and a server in one process, joined by payloads: what a framework does, without a framework.

Every payload is handled by a new ``Participant`` over a home that is opened anew, as in a new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_agg.plugins.coordinator import Coordinator, Payload
from secure_agg.plugins.home import ClientHome
from secure_agg.plugins.parcels import JOIN
from secure_agg.plugins.participant import Participant, Trained

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
        order = ("hello", "join", "step", "result")
        first = self.silent.get(name)
        return first is not None and (order.index(kind), place) >= (order.index(first[0]), first[1])

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        """What a node's new process says."""
        with ClientHome.open(self.homes[name]) as home:
            participant = Participant(home)
            if kind != JOIN:
                return participant.handle(payload)
            model = self.model[name] if isinstance(self.model, Mapping) else self.model
            return participant.handle(payload, model, lambda: self._train(name, model))

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
