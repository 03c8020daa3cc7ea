"""The pictures of whole rounds, each with its cell, its repetitions and the load. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from benchmarks.load import count, together
from benchmarks.measure.cells import AGGREGATOR, CLIENT, VERIFICATION, Cell, Setting
from benchmarks.report import palette
from benchmarks.report.canvas import Canvas, Caption, Picture, logarithmic
from benchmarks.report.palette import INK
from benchmarks.report.tables import at_base, between, factor, milliseconds
from benchmarks.timing import Samples

_AXES: Final = {"params": "parameters", "clients": "clients"}
_FIELDS: Final = ("params", "clients", "bits", "lost")
_BASELINES: Final = ("plain FedAvg", "local training")
_WIDTH: Final = 9.0
_BAR: Final = 0.38
_EDGE: Final = 1.25
_ROOM: Final = 4.0
"""Space beside the bars for their figures, as a factor: those axes are logarithmic."""
_LETTER_PERCENT: Final = 1.05
"""Width of a letter inside the bars of phases."""
_ERROR_BARS: Final = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}


def pictures(cells: Sequence[Cell], stamp: str = "") -> list[Picture]:
    """All that the cells give: growth along an axis only where it has several values.

    Args:
        cells: of one run, the base first.
        stamp: the machine, in a few words.
    """
    base = at_base(cells)
    found = [_overhead(base, stamp), _breakdown(base, stamp), _verification(base, stamp), _traffic(base, stamp)]
    for axis in _AXES:
        along = _along(cells, axis)
        if len({_at(cell, axis) for cell in along}) > 1:
            found.append(_growth(along, axis, stamp))
    return found


def _at(cell: Cell, axis: str) -> int:
    value: int = getattr(cell.setting, axis)
    return value


def _along(cells: Sequence[Cell], axis: str) -> list[Cell]:
    """The cells that differ from the base along one axis only."""
    others = [field for field in _FIELDS if field != axis]
    return [
        cell
        for cell in cells
        if cell.setting.norms == cells[0].setting.norms
        and all(_at(cell, field) == _at(cells[0], field) for field in others)
    ]


def _caption(title: str, cells: Sequence[Cell], stamp: str, *, of: str = "", how: str = "") -> Caption:
    """``of``: where the cells are of several points; ``how``: where no seconds are shown."""
    backends = list(dict.fromkeys(cell.setting.backend for cell in cells))
    spread = "error bars: first to third quartile" if len(cells[0].rounds) > 1 else "no spread is known"
    return Caption(
        title,
        f"{', '.join(backends)}: {of or cells[0].setting.point}",
        how or f"Medians of {_rounds(cells)}; {spread}",
        together(cell.load for cell in cells),
        stamp,
    )


def _rounds(cells: Sequence[Cell]) -> str:
    repeats = sorted({len(cell.rounds) for cell in cells})
    return count(repeats[0], "round") if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]} rounds"


def _reach(samples: Iterable[Samples]) -> list[list[float]]:
    """How far each bar of error reaches to the left and to the right of its median."""
    found = [(each.median, each.quartiles) for each in samples]
    return [[middle - low for middle, (low, _) in found], [high - middle for middle, (_, high) in found]]


def _milli(samples: Iterable[float]) -> Samples:
    return Samples(tuple(samples)).scaled(1e3)


def _overhead(base: Sequence[Cell], stamp: str) -> Picture:
    """One panel beside plain FedAvg's averaging, and one beside local training, where that was measured."""
    titles = {"× plain FedAvg, which only averages": [cell.beside_plain for cell in base]}
    training = [each for cell in base if (each := cell.beside_training)]
    if len(training) == len(base):
        titles["× local training of the same model"] = training
    canvas = Canvas(_caption("Work of all parties together, in multiples", base, stamp), _WIDTH, 0.4 * len(base) + 1.0)
    names = [cell.setting.backend for cell in base]
    for axes, (title, multiples) in zip(canvas.row(len(titles), share_names=True), titles.items(), strict=True):
        medians = [each.median for each in multiples]
        bars = axes.barh(
            names,
            medians,
            xerr=_reach(multiples),
            error_kw=_ERROR_BARS,
            color=[palette.color(name) for name in names],
            height=0.6,
        )
        axes.bar_label(bars, [f"{factor(value)} ×" for value in medians], padding=4, color=INK, fontsize=9)
        logarithmic(axes.xaxis, min(1.0, *medians) / 2, max(1.0, *medians) * 2 * _ROOM)
        axes.axvline(1, zorder=0.5, color=INK, linestyle=_stroke(axes, canvas), linewidth=1)
        axes.set_xlabel(f"{title} (log)")
    axes.invert_yaxis()
    said = "; ".join(
        f"{title}: " + ", ".join(f"{name} {factor(each.median)}" for name, each in zip(names, multiples, strict=True))
        for title, multiples in titles.items()
    )
    return canvas.picture("overhead", f"{said}.")


def _stroke(axes: Any, canvas: Canvas) -> str:
    first = axes is canvas.figure.axes[0]
    return palette.PLAIN_STROKE if first else palette.TRAINING_STROKE


def _breakdown(base: Sequence[Cell], stamp: str) -> Picture:
    """Stacked by phase, each bar as long as the other: what takes most shows in any backend."""
    bars = [(cell, role) for cell in base for role in cell.roles]
    how = (
        "Full colour: commitment and checks, which verification is made of. Short phases are not named. "
        f"Medians of {_rounds(base)}, in brackets their quartiles"
    )
    caption = _caption("Where the time goes: one party of each role, by phase", base, stamp, how=how)
    (axes,) = (canvas := Canvas(caption, _WIDTH, 0.3 * len(bars) + 0.7)).row()
    for place, (cell, role) in enumerate(bars):
        whole, left = sum(cost.median for cost in cell.of(role)), 0.0
        full = palette.color(cell.setting.backend)
        for cost in cell.of(role):
            part = 100 * cost.median / whole
            ground = full if cost.phase in VERIFICATION else palette.light(full)
            axes.barh(place, part, left=left, color=ground, edgecolor="white", linewidth=0.8, height=0.74)
            if part > _LETTER_PERCENT * (len(cost.phase) + 1):
                style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": palette.on(ground)}
                axes.text(left + part / 2, place, cost.phase, **style)
            left += part
        shown = f"{milliseconds(cell.seconds(role))} ({between(Samples(cell.samples(role)))})"
        axes.text(101, place, shown, va="center", color=INK, fontsize=8)
    axes.set_yticks(range(len(bars)), [f"{cell.setting.backend}, {role}" for cell, role in bars])
    axes.set_xlim(0, 128)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("percent of one party's seconds; beside a bar all of them")
    axes.set_ylim(len(bars) - 0.4, -0.6)
    said = "; ".join(
        f"{cell.setting.backend}, {role}: most in {max(cell.of(role), key=lambda cost: cost.median).phase}"
        for cell, role in bars
    )
    return canvas.picture("breakdown", f"{said}.")


def _pairs(
    axes: Any, base: Sequence[Cell], series: Mapping[str, Sequence[Samples]], label: Any, *, spread: bool = True
) -> None:
    """Two bars a backend: the first in its colour, the second in its light tone."""
    for shift, (name, samples) in zip((-0.2, 0.2), series.items(), strict=True):
        full = [palette.color(cell.setting.backend) for cell in base]
        values = [each.median for each in samples]
        bars = axes.barh(
            [place + shift for place in range(len(base))],
            values,
            xerr=_reach(samples) if spread else None,
            error_kw=_ERROR_BARS,
            height=_BAR,
            color=full if shift < 0 else [palette.light(each) for each in full],
        )
        axes.bar_label(bars, [f"{label(value)} {name}" for value in values], padding=4, color=INK, fontsize=8)
    axes.set_yticks(range(len(base)), [cell.setting.backend for cell in base])
    axes.set_ylim(len(base) - 0.4, -0.6)


def _verification(base: Sequence[Cell], stamp: str) -> Picture:
    how = f"Unverified: without commitment and checks. {_caption('', base, stamp).how}"
    caption = _caption("What verification costs a client", base, stamp, how=how)
    (axes,) = (canvas := Canvas(caption, _WIDTH, 0.6 * len(base) + 1.0)).row()
    verified = [_milli(cell.samples(CLIENT)) for cell in base]
    without = [_milli(cell.samples(CLIENT, verified=False)) for cell in base]
    series = {"verified": verified, "unverified": without}
    _pairs(axes, base, series, lambda value: milliseconds(value / 1e3))
    shown = [each.median for each in (*without, *verified)]
    trained = [1e3 * value for cell in base for value in cell.training]
    if trained:
        shown.append(Samples(tuple(trained)).median)
        _line(axes, shown[-1], palette.TRAINING_STROKE, "local training of the same model")
    logarithmic(axes.xaxis, min(shown) / 2, max(shown) * _ROOM)
    axes.set_xlabel("milliseconds of one client (log)")
    ratios = {c.setting.backend: c.seconds(CLIENT) / c.seconds(CLIENT, verified=False) for c in base}
    said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return canvas.picture("verification", f"Verified over unverified, by backend: {said}.")


def _line(axes: Any, at: float, stroke: str, label: str) -> None:
    axes.axvline(at, color=INK, linestyle=stroke, linewidth=1.2, label=label)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)


def _traffic(base: Sequence[Cell], stamp: str) -> Picture:
    counted = f"Counted, in the last of {_rounds(base)}: bytes have no spread, and no load changes them"
    caption = replace(_caption("Bytes per parameter", base, stamp, how=counted), exact=True)
    (axes,) = (canvas := Canvas(caption, _WIDTH, 0.6 * len(base) + 1.0)).row()
    series = {
        direction: [Samples((getattr(cell, direction) / cell.setting.params,)) for cell in base]
        for direction in ("sent", "received")
    }
    _pairs(axes, base, series, lambda value: f"{value:.3g}", spread=False)
    _line(axes, 4, palette.PLAIN_STROKE, "plain FedAvg, each way")
    axes.margins(x=0.12)
    axes.set_xlabel("bytes per parameter, one client, all messages of a round")
    said = ", ".join(
        f"{c.setting.backend} {c.sent / c.setting.params:.3g} and {c.received / c.setting.params:.3g}" for c in base
    )
    return canvas.picture("traffic", f"Sent and received: {said}; plain FedAvg 4 each way.")


def _growth(cells: Sequence[Cell], axis: str, stamp: str) -> Picture:
    fixed = _fixed(cells[0].setting, axis)
    canvas = Canvas(_caption(f"Growth with {_AXES[axis]}", cells, stamp, of=fixed), _WIDTH, 4.0)
    said = []
    panels = canvas.row(2)
    for axes, role in zip(panels, (CLIENT, AGGREGATOR), strict=True):
        for backend in dict.fromkeys(cell.setting.backend for cell in cells):
            line = sorted((c for c in cells if c.setting.backend == backend), key=lambda cell: _at(cell, axis))
            samples = [Samples(cell.samples(role)) for cell in line]
            places = [_at(cell, axis) for cell in line]
            style = {"color": palette.color(backend), "marker": palette.marker(backend), "markersize": 5}
            bars = {**_ERROR_BARS, "ecolor": palette.color(backend)}
            medians = [each.median for each in samples]
            axes.errorbar(places, medians, yerr=_reach(samples), label=backend, linewidth=1.5, **style, **bars)
            said.append(
                f"{backend}, {role}: {milliseconds(medians[0])} at {places[0]:,}, "
                f"{milliseconds(medians[-1])} at {places[-1]:,}"
            )
        _baseline(axes, axis, [(c, c.plain_seconds(role)) for c in cells], palette.PLAIN_STROKE, _BASELINES[0])
        trained = [(c, Samples(c.training).median) for c in cells if c.training and role == CLIENT]
        if trained:
            _baseline(axes, axis, trained, palette.TRAINING_STROKE, _BASELINES[1])
        ticks = sorted({_at(cell, axis) for cell in cells})
        logarithmic(axes.xaxis, ticks[0] / _EDGE, ticks[-1] * _EDGE, ticks)
        logarithmic(
            axes.yaxis, *(bound * edge for bound, edge in zip(axes.dataLim.intervaly, (1 / _EDGE, _EDGE), strict=True))
        )
        axes.set_xlabel(f"{_AXES[axis]} (log)")
        axes.set_title("one client" if role == CLIENT else "aggregator", color=INK, fontsize=10)
        axes.grid(color=INK, alpha=0.25, linewidth=0.5)
    panels[0].set_ylabel("seconds (log)")
    named = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    labels = sorted(named, key=_BASELINES.count)  # lines of backends first, in their order
    style = {"frameon": False, "labelcolor": INK, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1, 1)}
    panels[1].legend([named[label] for label in labels], labels, **style)
    return canvas.picture(f"growth-{axis}", f"{'; '.join(said)}.")


def _fixed(setting: Setting, axis: str) -> str:
    """The cell without what is on the axis."""
    lost = f"{setting.lost} % lost" if axis == "clients" and setting.lost else ""
    gone = lost or (f"{setting.silent} lost" if setting.silent else "")
    known = {"params": f"{setting.params:,} parameters", "clients": f"{setting.clients} clients"}
    return ", ".join(
        text for name, text in {**known, "bits": f"{setting.bits} bits", "lost": gone}.items() if text and name != axis
    )


def _baseline(axes: Any, axis: str, seconds: Sequence[tuple[Cell, float]], stroke: str, label: str) -> None:
    """A grey line of what is compared with; the least where several cells have it."""
    found: dict[int, float] = {}
    for cell, value in seconds:
        found[_at(cell, axis)] = min(value, found.get(_at(cell, axis), value))
    axes.plot(*zip(*sorted(found.items()), strict=True), stroke, color=INK, linewidth=1.2, label=label)
