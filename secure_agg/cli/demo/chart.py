"""The demo's picture: accuracy by round, and what a secure round costs. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from secure_agg import pictures
from secure_agg.cli.demo.costs import Costs, milliseconds
from secure_agg.cli.demo.experiment import Experiment
from secure_agg.pictures import BLUE, GREEN, INK, ORANGE, WARNING

_SECURE: Final = BLUE
_PLAIN: Final = ORANGE
_HOLDER: Final = GREEN
_CENTRALISED: Final = INK
_LOST: Final = WARNING
_KILO: Final = 1e3


def draw(experiment: Experiment, costs: Costs, backend: str, path: Path) -> None:
    """Write the picture as PNG, 1800 × 720 pixels."""
    federation = experiment.federation
    figure = pictures.begin(
        15,
        6,
        f"Federated training on {federation.name}: {len(federation.clients)} clients, "
        f"{experiment.parameters:,} parameters, backend {backend}",
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.35, 1.0, 0.75))
    pictures.dress(left)
    pictures.dress(middle, grid="x")
    pictures.dress(right, grid="y")
    _accuracy(left, experiment)
    _seconds(middle, costs)
    _bytes(right, costs)
    pictures.save(figure, path)


def _accuracy(axes: Any, experiment: Experiment) -> None:
    """Accuracy after each round; plain is drawn wide beneath secure, since the two should coincide."""
    numbers = range(len(experiment.secure.accuracy))

    def percent(values: tuple[float, ...]) -> list[float]:
        return [100 * value for value in values]

    axes.plot(numbers, percent(experiment.centralised.accuracy), ":", color=_CENTRALISED, lw=2, label="centralised")
    axes.plot(numbers, percent(experiment.plain.accuracy), "-", color=_PLAIN, lw=6, alpha=0.55, label="plain FedAvg")
    secure = percent(experiment.secure.accuracy)
    axes.plot(numbers, secure, "-o", color=_SECURE, lw=1.8, ms=4.5, label="secure FedAvg")
    lost = sorted(experiment.losses)
    if lost:
        axes.plot(
            [number + 1 for number in lost],
            [secure[number + 1] for number in lost],
            "X",
            color=_LOST,
            ms=9,
            mec="white",
            label="a client fell silent",
        )
    # Named along a line down to the axis: there the curves, which rise early, leave room.
    for number in lost:
        loss = experiment.losses[number]
        axes.axvline(number + 1, color=_LOST, lw=0.8, ls=(0, (2, 3)), zorder=1)
        axes.text(
            number + 1,
            0.02,
            f"{loss.client}: {experiment.label(loss.phase)} ",
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="right",
            va="bottom",
            fontsize=8,
            color=_LOST,
        )
    axes.set_title("Accuracy on held-out data")
    axes.set_xlabel("rounds finished (0: the start model)")
    axes.set_ylabel("accuracy [%]")
    axes.set_xticks(list(numbers))
    axes.set_ylim(None, 101)
    axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.58), frameon=True, framealpha=1.0)


def _seconds(axes: Any, costs: Costs) -> None:
    names = [step.name for step in costs.steps]
    bars = [
        ([step.client_s * _KILO for step in costs.steps], _SECURE, "one client"),
        ([step.aggregator_s * _KILO for step in costs.steps], _PLAIN, "aggregator and ledger"),
        ([step.holder_s * _KILO for step in costs.steps], _HOLDER, "one key holder"),
    ]
    bars = [bar for bar in bars if any(bar[0])]
    rows = range(len(names))
    widest = max(max(values) for values, _, _ in bars)
    for place, (values, colour, label) in enumerate(bars):
        offset = 0.8 * ((place + 0.5) / len(bars) - 0.5)
        axes.barh([row + offset for row in rows], values, height=0.76 / len(bars), color=colour, label=label)
        for row, value in enumerate(values):
            if value:
                axes.text(value + 0.01 * widest, row + offset, milliseconds(value / _KILO), va="center", fontsize=7.5)
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * widest)
    axes.set_title("Time per phase of one round")
    axes.set_xlabel("milliseconds, median over rounds")
    axes.legend(loc="upper right", frameon=True, framealpha=1.0)


def _bytes(axes: Any, costs: Costs) -> None:
    kinds = list(costs.secure_bytes)
    labels = {"upload": "sent", "download": "received\nduring round", "result": "received\nwith result"}
    pairs = ((-0.2, costs.plain_bytes, _PLAIN, "plain FedAvg"), (0.2, costs.secure_bytes, _SECURE, "secure FedAvg"))
    for offset, amounts, colour, label in pairs:
        heights = [amounts[kind] / _KILO for kind in kinds]
        axes.bar([i + offset for i in range(len(kinds))], heights, width=0.38, color=colour, label=label)
        for i, height in enumerate(heights):
            axes.text(i + offset, height, f"{height:.1f}", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(kinds)), [labels[kind] for kind in kinds])
    axes.set_title("Data per client and round")
    axes.set_ylabel("kilobytes, median over rounds")
    axes.legend(loc="upper left", frameon=True, framealpha=1.0)
