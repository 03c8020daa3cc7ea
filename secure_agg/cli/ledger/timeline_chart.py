"""The picture of a round's timeline: a row for each member, a column for each phase, seconds and bytes below."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from secure_agg import pictures
from secure_agg.cli.ledger.timeline import SILENT, THERE, Timeline
from secure_agg.pictures import BLUE, INK, ORANGE, WARNING

_ROWS: Final = 40
"""Members that have a row of their own, at most."""
_KILO: Final = 1e3


def draw(found: Timeline, title: str, path: Path) -> None:
    """Write the picture: PNG, SVG or PDF by its name. Of many members those who fell silent come first.

    Raises:
        ConfigError: matplotlib is missing, or the name is none of a picture.
        OSError: the file can't be written.
    """
    pictures.check(path)
    names = list(found.members)
    if len(names) > _ROWS:
        names = sorted(names, key=lambda name: found.silent_since(name) is None)[:_ROWS]
    logged = any(phase.seconds is not None for phase in found.phases)
    height = 1.6 + 0.24 * len(names) + (2.2 if logged else 0.3)
    figure = pictures.begin(max(7.0, 1.5 * len(found.phases) + 2.5), height, title)
    if logged:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(0.24 * len(names) + 0.5, 1.6))
        _amounts(below, found)
    else:
        above = figure.add_subplot()
    pictures.dress(above, grid="")
    _members(above, found, names)
    pictures.save(figure, path)


def _members(axes: Any, found: Timeline, names: list[str]) -> None:
    for row, name in enumerate(names):
        states = found.members[name]
        for column, state in enumerate(states):
            if state == THERE:
                axes.barh(row, 0.94, left=column - 0.47, height=0.6, color=BLUE)
            elif state == SILENT:
                axes.plot([column - 0.47, column + 0.47], [row, row], ":", color=INK, lw=1)
            else:
                axes.barh(row, 0.94, left=column - 0.47, height=0.6, color=pictures.light(BLUE))
        if SILENT in states:
            axes.plot(states.index(SILENT), row, "X", color=WARNING, ms=8, mec="white")
    left_out = len(found.members) - len(names)
    axes.set_yticks(range(len(names)), [pictures.plain(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.55, len(found.phases) - 0.45)
    labels = [f"{phase.name}\n{_count(phase.answered)} of {len(found.members)}" for phase in found.phases]
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.tick_params(axis="x", length=0, labeltop=True)
    axes.spines[["left", "bottom"]].set_visible(False)
    for form, color, label in (
        ("s", BLUE, "there"),
        ("s", pictures.light(BLUE), "not recorded"),
        ("X", WARNING, "silent"),
    ):
        axes.plot([], [], form, color=color, label=label)
    more = f"{left_out} more members not drawn" if left_out else None
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, title=more, title_fontsize=8)


def _amounts(axes: Any, found: Timeline) -> None:
    """Seconds on the left axis, bytes on the right one; each bar says its own."""
    other = axes.twinx()
    pictures.dress(axes, grid="")
    pictures.dress(other, grid="")
    other.spines["right"].set_visible(True)
    seconds = [phase.seconds for phase in found.phases]
    kilos = [None if phase.received is None else phase.received / _KILO for phase in found.phases]
    for at, offset, color, values, form in (
        (axes, -0.2, ORANGE, seconds, "{:.2f} s"),
        (other, 0.2, BLUE, kilos, "{:,.1f} kB"),
    ):
        heights = [value or 0 for value in values]
        bars = at.bar([place + offset for place in range(len(values))], heights, width=0.36, color=color)
        labels = ["" if value is None else form.format(value) for value in values]
        at.bar_label(bars, labels, fontsize=7, padding=2)
        at.set_ylim(0, 1.25 * max(*heights, 1e-3))
    axes.set_ylabel("seconds", color=INK)
    other.set_ylabel("bytes from all clients", color=INK)
    other.set_yticks([])
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _count(answered: int | None) -> str:
    return "?" if answered is None else str(answered)
