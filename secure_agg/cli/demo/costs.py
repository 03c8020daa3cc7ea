"""What protection cost in the demo: seconds and bytes, beside plain averaging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from secure_agg.cli.demo.experiment import Experiment

FLOAT_BYTES: Final = 4
"""A parameter in plain FedAvg: float32."""


def _figures(experiment: Experiment) -> list[tuple[str, ...]]:
    """A step of a round with its figures in ``Result.stats``: the seconds of one client, of the aggregator and of one
    key holder, and the bytes that one client sends and receives.
    """
    phases = (phase.name for phase in experiment.phases)
    return [
        ("encode", "client.encode_s", "", "", "", ""),
        ("commit", "client.commit_s", "", "", "", ""),
        *(
            (
                experiment.label(phase),
                f"client.{phase}_s",
                f"aggregator.{phase}_s",
                f"keyholder.{phase}_s",
                f"client.{phase}_upload_bytes",
                f"client.{phase}_download_bytes",
            )
            for phase in phases
        ),
        ("verify result", "client.verify_s", "verify_s", "", "", "client.result_bytes"),
        ("append to ledger", "", "ledger.append_s", "", "", ""),
    ]


@dataclass(frozen=True)
class Step:
    """What one step of a round takes.

    Attributes:
        client_s: of one client, on average.
        aggregator_s: of the aggregator, which runs the ledger.
        holder_s: of one key holder, on average; 0 for a backend without.
        upload_bytes, download_bytes: sent and received by one client, on average.
    """

    name: str
    client_s: float
    aggregator_s: float
    holder_s: float
    upload_bytes: float
    download_bytes: float


@dataclass(frozen=True)
class Costs:
    """Medians over the rounds.

    Attributes:
        steps: in their order.
        secure_bytes, plain_bytes: of one client in one round: ``upload``, ``download``, and ``result``, what
            it receives once the round is over.
        secure_s, plain_s: a round's averaging, all parties in one process.
        training_s: a round's local training, all clients.
    """

    steps: tuple[Step, ...]
    secure_bytes: Mapping[str, float]
    plain_bytes: Mapping[str, float]
    secure_s: float
    plain_s: float
    training_s: float


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with two decimals, without a unit."""
    return f"{1e3 * seconds:.2f}" if seconds >= 1e-5 else "<0.01"


def costs(experiment: Experiment) -> Costs:
    """What the secure training's rounds cost."""
    known = experiment.rounds[0].stats
    model = float(FLOAT_BYTES * experiment.parameters)
    return Costs(
        steps=tuple(
            Step(name, *(experiment.typical(figure) for figure in figures))
            for name, *figures in _figures(experiment)
            if any(figure in known for figure in figures)
        ),
        secure_bytes={kind: experiment.typical(f"client.{kind}_bytes") for kind in ("upload", "download", "result")},
        plain_bytes={"upload": model, "download": 0.0, "result": model},
        secure_s=median(item.secure_s for item in experiment.rounds),
        plain_s=median(item.plain_s for item in experiment.rounds),
        training_s=experiment.secure.local_s / experiment.training.rounds,
    )
