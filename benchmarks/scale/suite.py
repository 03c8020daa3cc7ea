"""Suite ``scale``: how a round grows with the parameters and with the clients, beside what the cost model predicts.

The model's constants are measured in the same run, so that both sides are of the same machine at the same load.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console

from benchmarks.federation import FEWEST_CLIENTS, Federation
from benchmarks.report.report import Report, Row, Target, machine
from benchmarks.scale.round import Measured, measure
from benchmarks.suite import Suite, UsageError
from secure_agg.planning import calibration
from secure_agg.planning.constants import Constants
from secure_agg.planning.prediction import AGGREGATOR, CLIENT, Prediction, predict
from secure_agg.planning.setting import BACKENDS, Setting

_FEW: Final = 5
"""Clients while parameters grow."""
_SHORT: Final = 10_000
"""Parameters while clients grow, or fewer where that is the most."""
_MOST: Final = {"ckks": 1_000_000, "bfv": 1_000_000, "paillier": 10_000}
"""Parameters above which a backend takes too long here; the others have no such limit."""
_METERED: Final = ("masking", "additive", "plain")
"""Backends whose memory shows: libraries' own does not."""
_WITHIN: Final = 1.5
_QUICK: Final = ("--params", "10000", "--clients", "10", "--repeat", "1")


@dataclass(frozen=True)
class ScaleOptions:
    """What the suite is run with.

    Attributes:
        params: the most model parameters.
        clients: the most clients.
        repeat: rounds of each size, the fastest of which counts.

    Raises:
        UsageError: one is out of range.
    """

    params: int
    clients: int
    repeat: int

    def __post_init__(self) -> None:
        if self.params < 1 or self.repeat < 1 or self.clients < FEWEST_CLIENTS:
            raise UsageError(
                f"--params {self.params} and --repeat {self.repeat} must be 1 or more, --clients {self.clients} "
                f"{FEWEST_CLIENTS} or more"
            )

    def sizes(self, backend: str) -> list[tuple[int, int, int]]:
        """Parameters, clients, and clients lost: first growth with the parameters, then with the clients."""
        most = min(self.params, _MOST.get(backend, self.params))
        few, short = min(_FEW, self.clients), min(_SHORT, most)
        found = [(size, few, 0) for size in _decades(short, most)]
        counts = [*(count for count in (3, 10, 30) if count < self.clients), self.clients]
        found += [(short, count, 0) for count in counts if count != few]
        if self.clients > 10 * FEWEST_CLIENTS and backend != "paillier":
            found.append((short, self.clients, self.clients // 10))
        return found


def _decades(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 10
    yield last


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=10_000_000, metavar="N", help="the most parameters (%(default)s)")
    parser.add_argument("--clients", type=int, default=100, metavar="N", help="the most clients (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, metavar="R", help="rounds of each size (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="also measure what each role allocates (minutes)")


def _run(arguments: argparse.Namespace) -> Report:
    options = ScaleOptions(arguments.params, arguments.clients, arguments.repeat)
    stamp = machine("tenseal", "gmpy2")
    progress = Console(stderr=True)
    with progress.status("constants of this machine"):
        constants = calibration.measure()
    rows: list[Row] = []
    for backend in BACKENDS:
        with progress.status(f"{backend}: warming up"):
            measure(_federation(backend, 1000, FEWEST_CLIENTS))
        for params, clients, lost in options.sizes(backend):
            with progress.status(f"{backend}: {params:,} parameters, {clients} clients, {lost} lost"):
                rows += cell(backend, params, clients, lost, options.repeat, constants)
        if arguments.memory and backend in _METERED:
            with progress.status(f"{backend}: memory"):
                rows += memory(backend, min(options.params, 1_000_000), min(_FEW, options.clients), constants)
                rows += memory(backend, min(options.params, _SHORT), options.clients, constants)
    return Report("scale", stamp, asdict(options), tuple(rows))


def _federation(backend: str, params: int, clients: int) -> Federation:
    return Federation.of(clients, params, backend=backend)


def _predicted(federation: Federation, lost: int, constants: Constants) -> Prediction:
    config, count = federation.config, len(federation.names)
    operator = next((len(name) for name in (*federation.holders, *federation.sharing)), 0)
    setting = Setting(config.policy.backend, config.layout.values, count, dropout=lost / count, operator_bytes=operator)
    return predict(setting, constants)


def cell(backend: str, params: int, clients: int, lost: int, repeat: int, constants: Constants) -> list[Row]:
    """Rounds of one size: seconds of each role, and bytes, each beside its prediction."""
    federations = [_federation(backend, params, clients) for _ in range(repeat)]
    rounds = [measure(federation, lost=lost) for federation in federations]
    found = _predicted(federations[0], lost, constants)
    key, note = f"scale.{backend}.{params}.{clients}.{lost}", _note(params, clients, lost)
    rows = []
    for role in found.roles:
        seconds = [one.seconds[role] for one in rounds]
        best, model = 1e3 * min(seconds), 1e3 * found.processor(role)
        rows.append(
            Row(
                key=f"{key}.{role}.seconds",
                name=f"{backend}, {role}: processor time",
                unit="ms",
                median=best,
                spread=(best, 1e3 * max(seconds)) if repeat > 1 else None,
                samples=repeat,
                derived=1e6 * best / params,
                derived_unit="ns/param",
                peer="predicted",
                peer_median=model,
                ratio=best / model,
                targets=(Target("ratio", _WITHIN),),
                note=note,
            )
        )
    return [*rows, *_traffic(key, backend, rounds[0], found, params, note)]


def _traffic(key: str, backend: str, measured: Measured, found: Prediction, params: int, note: str) -> Iterator[Row]:
    figures = {
        f"{CLIENT}.sent": ("a client sends", measured.sent, found.sent(CLIENT)),
        f"{CLIENT}.received": ("a client receives", measured.received, found.received(CLIENT)),
    }
    for role in found.roles:
        if role not in (CLIENT, AGGREGATOR):
            both = found.sent(role) + found.received(role)
            figures[f"{role}.bytes"] = (f"a {role} sends and receives", measured.operator, both)
    for figure, (name, size, model) in figures.items():
        yield Row(
            key=f"{key}.{figure}",
            name=f"{backend}: {name}",
            unit="bytes",
            median=size,
            derived=size / params,
            derived_unit="B/param",
            peer="predicted",
            peer_median=model,
            ratio=size / model,
            targets=(Target("ratio", 1.01),),
            note=note,
        )


def memory(backend: str, params: int, clients: int, constants: Constants) -> list[Row]:
    """What each role allocates at most in one round, beside its prediction."""
    federation = _federation(backend, params, clients)
    measured, found = measure(federation, memory=True), _predicted(federation, 0, constants)
    return [
        Row(
            key=f"scale.{backend}.{params}.{clients}.{role}.memory",
            name=f"{backend}, {role}: memory at most",
            unit="MB",
            median=held / 1e6,
            derived=held / params,
            derived_unit="B/param",
            peer="predicted",
            peer_median=found.memory[role] / 1e6,
            ratio=held / found.memory[role],
            targets=(Target("ratio", _WITHIN),),
            note=_note(params, clients, 0),
        )
        for role, held in measured.memory.items()
    ]


def _note(params: int, clients: int, lost: int) -> str:
    return f"{params:,} parameters, {clients} clients" + (f", {lost} lost" if lost else "")


SUITE: Final = Suite("growth with parameters and clients, beside the cost model", _add_arguments, _run, _QUICK)
