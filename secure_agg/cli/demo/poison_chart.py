"""The picture of ``demo --poison``: accuracy by round, and norms beside the bound. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from secure_agg import pictures
from secure_agg.cli.demo.poison import BACKEND, HIDDEN, HONEST, MEDIAN, NORM, PLAIN, TITLES, TRIMMED, Poisoning
from secure_agg.pictures import BLUE, GREEN, INK, ORANGE, WARNING

_STYLES: Final[dict[str, dict[str, Any]]] = {
    HONEST: {"color": INK, "lw": 6, "alpha": 0.4},
    PLAIN: {"color": WARNING, "lw": 2, "marker": "X", "ms": 7, "mec": "white"},
    NORM: {"color": BLUE, "lw": 1.8, "marker": "o", "ms": 4.5},
    TRIMMED: {"color": ORANGE, "lw": 1.8, "marker": "s", "ms": 4.5},
    MEDIAN: {"color": GREEN, "lw": 1.8, "marker": "^", "ms": 5},
    HIDDEN: {"color": BLUE, "lw": 1.5, "ls": (0, (2, 2)), "marker": "o", "ms": 3.5},
}


def draw(found: Poisoning, path: Path) -> None:
    """Write the picture as PNG, 1800 × 720 pixels."""
    figure = pictures.begin(
        15,
        6,
        f"{found.attacker} poisons: {found.federation.name}, {len(found.federation.clients)} clients, "
        f"{found.parameters:,} parameters, backend {BACKEND}",
    )
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    pictures.dress(left, right)
    _accuracy(left, found)
    _norms(right, found)
    pictures.save(figure, path)


def _accuracy(axes: Any, found: Poisoning) -> None:
    numbers = range(found.training.rounds + 1)
    for name, title in TITLES.items():
        axes.plot(numbers, [100 * value for value in found.histories[name].accuracy], label=title, **_STYLES[name])
    axes.set_title("Accuracy on held-out data")
    axes.set_xlabel("rounds finished (0: the start model)")
    axes.set_ylabel("accuracy [%]")
    axes.set_xticks(list(numbers))
    axes.set_ylim(0, 101)
    axes.legend(loc="center right", frameon=True, framealpha=1.0)


def _norms(axes: Any, found: Poisoning) -> None:
    numbers = list(range(found.training.rounds))
    seen = found.rounds[NORM]
    axes.axhline(found.bound, color="black", lw=1.2, label=f"bound {found.bound:g}: above, refused")
    axes.plot(numbers, [item.poison for item in seen], label=f"{found.attacker}: refused", **_STYLES[PLAIN])
    axes.plot(numbers, [item.largest for item in seen], label="largest honest update", **_STYLES[NORM])
    axes.set_yscale("log")
    axes.set_title("Norms of updates, which nobody sees")
    axes.set_xlabel("round")
    axes.set_ylabel("L2 norm")
    axes.set_xticks(numbers)
    axes.legend(loc="center right", frameon=True, framealpha=1.0)
