"""The pictures of the report, as SVG that needs nothing else: readable on light and dark ground. Needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.report.tables import at_base, milliseconds
from benchmarks.rounds.cells import AGGREGATOR, CLIENT, Cell

INK: Final = "#767676"
"""Text and lines: a grey that stands out from white and from black."""
_COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#7f7f7f")
_MARKERS: Final = "osD^vPX*"
_AXES: Final = {"params": "parameters", "clients": "clients"}
_FIELDS: Final = ("params", "clients", "bits", "lost")
_WIDTH: Final = 9.0


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: for files and references.
        title: what it shows.
        description: for those who do not see it: what is on the axes, and the figures that matter.
        svg: the ``svg`` element alone.
    """

    name: str
    title: str
    description: str
    svg: str


def pictures(cells: Sequence[Cell]) -> list[Picture]:
    """All that the cells give: growth along an axis only where it has several values."""
    base = at_base(cells)
    found = [_overhead(base), _breakdown(base), _verification(base), _traffic(base)]
    for axis in _AXES:
        along = _along(cells, axis)
        if len({_at(cell, axis) for cell in along}) > 1:
            found.append(_growth(along, axis))
    return found


def _at(cell: Cell, axis: str) -> int:
    value: int = getattr(cell.setting, axis)
    return value


def _along(cells: Sequence[Cell], axis: str) -> list[Cell]:
    """The cells that differ from the base along one axis only."""
    others = [field for field in _FIELDS if field != axis]
    return [cell for cell in cells if all(_at(cell, field) == _at(cells[0], field) for field in others)]


def _overhead(base: Sequence[Cell]) -> Picture:
    figure, axes = _canvas(0.45 * len(base) + 1.2)
    names = [cell.setting.backend for cell in base]
    bars = axes.barh(names, [cell.overhead for cell in base], color=_COLORS[0], height=0.6)
    axes.bar_label(bars, [f"{cell.overhead:,.0f} ×" for cell in base], padding=3, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(1, max(cell.overhead for cell in base) * 4)
    axes.set_xlabel("seconds of all parties together, as a multiple of plain FedAvg's (log)")
    axes.invert_yaxis()
    said = ", ".join(f"{cell.setting.backend} {cell.overhead:,.0f}" for cell in base)
    return _picture(
        figure, "overhead", "Work of all parties beside plain FedAvg", f"Multiples of plain FedAvg: {said}."
    )


def _breakdown(base: Sequence[Cell]) -> Picture:
    """Stacked by phase, each bar as long as the other: what takes most shows in any backend."""
    bars = [(cell, role) for cell in base for role in cell.roles]
    phases = list(dict.fromkeys(cost.phase for cell, role in bars for cost in cell.of(role)))
    figure, axes = _canvas(0.36 * len(bars) + 2.0)
    names = [f"{cell.setting.backend}, {role}" for cell, role in bars]
    left = [0.0] * len(bars)
    for place, phase in enumerate(phases):
        parts = []
        for cell, role in bars:
            whole = sum(cost.median for cost in cell.of(role))
            parts.append(100 * sum(cost.median for cost in cell.of(role) if cost.phase == phase) / whole)
        color, hatch = _COLORS[place % len(_COLORS)], ("", "//", "..")[place // len(_COLORS) % 3]
        axes.barh(names, parts, left=left, color=color, hatch=hatch, edgecolor="white", linewidth=0.3, label=phase)
        left = [start + part for start, part in zip(left, parts, strict=True)]
    for place, (cell, role) in enumerate(bars):
        axes.text(101, place, milliseconds(cell.seconds(role)), va="center", color=INK, fontsize=8)
    axes.set_xlim(0, 115)
    axes.set_xlabel("percent of one party's seconds; the figure beside a bar is all of them")
    axes.invert_yaxis()
    axes.legend(ncols=4, frameon=False, labelcolor=INK, fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.09))
    said = "; ".join(
        f"{cell.setting.backend}, {role}: most in {max(cell.of(role), key=lambda cost: cost.median).phase}"
        for cell, role in bars
    )
    return _picture(figure, "breakdown", "Where the time goes: one party of each role, by phase", f"{said}.")


def _verification(base: Sequence[Cell]) -> Picture:
    figure, axes = _canvas(0.6 * len(base) + 1.2)
    names = [cell.setting.backend for cell in base]
    for shift, verified, label in ((-0.2, True, "verified"), (0.2, False, "without commitment and checks")):
        seconds = [1e3 * cell.seconds(CLIENT, verified=verified) for cell in base]
        places = [place + shift for place in range(len(base))]
        bars = axes.barh(places, seconds, height=0.38, color=_COLORS[0 if verified else 1], label=label)
        axes.bar_label(bars, [milliseconds(value / 1e3) for value in seconds], padding=3, color=INK, fontsize=8)
    axes.set_yticks(range(len(base)), names)
    axes.set_xscale("log")
    axes.set_xlim(right=max(1e3 * cell.seconds(CLIENT) for cell in base) * 4)
    axes.set_xlabel("milliseconds of one client (log)")
    axes.invert_yaxis()
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    ratios = {c.setting.backend: c.seconds(CLIENT) / c.seconds(CLIENT, verified=False) for c in base}
    said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return _picture(
        figure, "verification", "What verification costs a client", f"Verified over unverified, by backend: {said}."
    )


def _traffic(base: Sequence[Cell]) -> Picture:
    figure, axes = _canvas(0.6 * len(base) + 1.2)
    names = [cell.setting.backend for cell in base]
    for shift, direction, place in ((-0.2, "sent", 0), (0.2, "received", 1)):
        sizes = [getattr(cell, direction) / cell.setting.params for cell in base]
        bars = axes.barh(
            [at + shift for at in range(len(base))], sizes, height=0.38, color=_COLORS[place], label=direction
        )
        axes.bar_label(bars, [f"{size:.3g}" for size in sizes], padding=3, color=INK, fontsize=8)
    axes.axvline(4, color=INK, linestyle="--", linewidth=1, label="plain FedAvg, each way")
    axes.set_yticks(range(len(base)), names)
    axes.margins(x=0.1)
    axes.set_xlabel("bytes per parameter, one client, all messages of a round")
    axes.invert_yaxis()
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    said = ", ".join(
        f"{c.setting.backend} {c.sent / c.setting.params:.3g} and {c.received / c.setting.params:.3g}" for c in base
    )
    return _picture(figure, "traffic", "Bytes per parameter", f"Sent and received: {said}; plain FedAvg 4 each way.")


def _growth(cells: Sequence[Cell], axis: str) -> Picture:
    figure, panels = _canvas(4.2, 2)
    said = []
    for axes, role in zip(panels, (CLIENT, AGGREGATOR), strict=True):
        for place, backend in enumerate(dict.fromkeys(cell.setting.backend for cell in cells)):
            line = sorted((_at(cell, axis), cell.seconds(role)) for cell in cells if cell.setting.backend == backend)
            style = {"color": _COLORS[place % len(_COLORS)], "marker": _MARKERS[place % len(_MARKERS)]}
            axes.plot(*zip(*line, strict=True), label=backend, linewidth=1.5, markersize=5, **style)
            (first, least), (last, most) = line[0], line[-1]
            said.append(f"{backend}, {role}: {1e3 * least:.3g} ms at {first:,}, {1e3 * most:.3g} ms at {last:,}")
        plain: dict[int, list[float]] = {}
        for cell in cells:
            plain.setdefault(_at(cell, axis), []).append(cell.plain_seconds(role))
        least_of = sorted((at, min(seconds)) for at, seconds in plain.items())
        axes.plot(*zip(*least_of, strict=True), "--", color=INK, linewidth=1, label="plain FedAvg")
        axes.set_xscale("log")
        axes.set_yscale("log")
        values = [at for at, _ in least_of]
        axes.set_xticks(values, [f"{at:,}" for at in values])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(_AXES[axis])
        axes.set_title("one client" if role == CLIENT else "aggregator", color=INK, fontsize=10)
        axes.grid(color=INK, alpha=0.25, linewidth=0.5)
    panels[0].set_ylabel("seconds")
    panels[1].legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _picture(figure, f"growth-{axis}", f"Growth with {_AXES[axis]}, log axes", f"{'; '.join(said)}.")


def _canvas(height: float, panels: int = 1) -> tuple[Any, Any]:
    # Without pyplot: no display is looked for, and nothing of the caller's matplotlib is changed.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, panels)
    for each in axes if panels > 1 else [axes]:
        each.set_facecolor("none")
        each.tick_params(colors=INK, which="both", labelsize=9)
        each.xaxis.label.set_color(INK)
        each.yaxis.label.set_color(INK)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def _picture(figure: Any, name: str, title: str, description: str) -> Picture:
    """Text stays text, so that it can be read aloud and searched; names inside are made the picture's own."""
    import matplotlib

    out = io.StringIO()
    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
    with matplotlib.rc_context(style):
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", drawn)
    return Picture(name, title, description, re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", drawn).strip())
