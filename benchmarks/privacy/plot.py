"""The picture of the suite ``privacy``: errors of means beside the Gaussian's, and accuracy by ε. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.report import palette
from benchmarks.report.canvas import Canvas, Caption, logarithmic
from benchmarks.results import Report, Row, short_stamp
from secure_agg.pictures import BLUE, GREEN, PINK, VERMILION

_SIZE: Final = (12.0, 4.4)
_COLORS: Final = (BLUE, VERMILION, GREEN, PINK)


def draw(report: Report, path: Path) -> tuple[Path, Path]:
    """Write the picture as SVG and as PNG beside it.

    Args:
        report: of the suite.
        path: of one of the files; its suffix is replaced.

    Raises:
        OSError: they can't be written.
    """
    caption = Caption(
        "Differential privacy: what noise costs",
        "norm 10, 250 values, delta 1e-5; softmax regression, 20 rounds",
        "Left: squared error of a mean as a multiple of one trusted party's Gaussian noise, were all clients' counted "
        f"on; means of {_runs(report)}. Right: accuracy, medians of as many; dashed: without noise",
        report.loads,
        short_stamp(report.machine),
        exact=True,  # errors are no times: other work on the machine changes none of them
    )
    canvas = Canvas(caption, *_SIZE)
    left, right = canvas.row(2)
    _means(left, [row for row in report.rows if row.key.startswith("means.")])
    _training(right, [row for row in report.rows if row.key.startswith("training.")])
    for axes in (left, right):
        axes.set_xlabel("epsilon")
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    return canvas.picture("privacy", "Errors and accuracies by epsilon.").save(path)


def _runs(report: Report) -> str:
    found = sorted({row.samples for row in report.rows if row.key.startswith("means.")})
    return f"{' or '.join(map(str, found)) or 'no'} runs"


def _lines(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(".".join(row.key.split(".")[: 3 if row.key.startswith("means") else 2]), []).append(row)
    return found


def _epsilon(row: Row) -> float:
    skipped = 3 if row.key.startswith("means") else 2
    return float(".".join(row.key.split(".")[skipped:]))


def _means(axes: Any, rows: list[Row]) -> None:
    for place, (key, line) in enumerate(sorted(_lines(rows).items())):
        _, clients, bits = key.split(".")
        axes.plot(
            [_epsilon(row) for row in line],
            [row.derived for row in line],
            marker="o" if clients == "100" else "s",
            linestyle="-" if clients == "100" else "--",
            color=_COLORS[place % len(_COLORS)],
            label=f"n = {int(clients):,}, {bits} bits",
        )
    if rows:
        logarithmic(axes.xaxis, 0.5, 10, [0.75, 1, 2, 4, 6])
        axes.set_ylim(1.0, max(1.5, *(row.derived or 0.0 for row in rows)))
    axes.set_ylabel("× central Gaussian")


def _training(axes: Any, rows: list[Row]) -> None:
    for place, (key, line) in enumerate(sorted(_lines(rows).items())):
        color = _COLORS[place % len(_COLORS)]
        axes.plot([_epsilon(row) for row in line], [row.median for row in line], marker="o", color=color)
        axes.lines[-1].set_label(key.split(".", 1)[1])
        if line[0].peer_median is not None:
            axes.axhline(line[0].peer_median, color=palette.light(color), linestyle="--", linewidth=1)
    if rows:
        logarithmic(axes.xaxis, 0.4, 16, [0.5, 1, 2, 4, 8])
    axes.set_ylabel("accuracy")
