"""The picture of the suite ``he``: time, size and memory of the usual ways and of the backends. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.he.rounds import BACKENDS
from benchmarks.report.report import Report, Row

_PEER: Final = "#f28e2b"
_OURS: Final = "#0b6e99"
_HOLDER: Final = "#7fb7d1"
_GRID: Final = "#dddddd"
_KILO: Final = 1e3
_SCHEMES: Final = {
    "tenseal": "TenSEAL\nusual way",
    "ckks": "ckks",
    "bfv": "bfv",
    "phe": "phe, usual way\n(extrapolated)",
    "paillier": "paillier",
}
_PEERS: Final = ("tenseal", "phe")
_HEADROOM: Final = 4.0
"""Space above the bars for their figures, as a factor: the axes are logarithmic."""


def draw(report: Report, path: Path) -> None:
    """Write the picture as PNG, 1920 × 1080 pixels. Memory is in it if it was measured."""
    # Without pyplot: no display is looked for, and nothing of the caller's matplotlib is changed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {row.key: row for row in report.rows}
    memory = "memory.ckks.encrypt" in rows
    figure = Figure(figsize=(16, 9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    chosen, stamp = report.parameters, report.machine
    figure.suptitle(
        f"Homomorphic encryption of one update: {chosen['params']:,} parameters, {chosen['bits']} bits, "
        f"sums of up to {chosen['clients']} clients, {chosen['modulus_bits']}-bit Paillier modulus",
        fontsize=14,
        fontweight="bold",
    )
    figure.supxlabel(
        f"{stamp['cpu']}, {stamp['cores']} cores, load {stamp['load']:.2g} before. Orange: the library's usual way. "
        "Vertical axes are logarithmic; lower is better.",
        fontsize=9,
    )
    panels: dict[str, Any] = figure.subplot_mosaic(
        [["encrypt", "bytes", "memory" if memory else "round"], ["add", "decrypt", "round"]],
    )
    _bars(panels["encrypt"], rows, "{}.encrypt", "Encrypt and serialise", "seconds", "s")
    _bars(panels["bytes"], rows, "{}.bytes", "Size of the ciphertexts", "bytes per parameter", "B")
    _bars(panels["add"], rows, "{}.add", "Add one client's vector", "seconds", "s")
    sampled = " (paillier: extrapolated)" if rows["paillier.decrypt"].note else ""
    _bars(panels["decrypt"], rows, "{}.decrypt", "Decrypt the sum" + sampled, "seconds", "s")
    if memory:
        _bars(panels["memory"], rows, "memory.{}.encrypt", "Peak memory of encrypting", "megabytes", "MB")
    _round(panels["round"], rows)
    for axes in panels.values():
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=_GRID)
    figure.savefig(path)


def _value(row: Row) -> float:
    if row.unit == "ms":
        return row.median / _KILO
    return row.median if row.unit == "MB" or row.derived is None else row.derived


def _bars(axes: Any, rows: dict[str, Row], pattern: str, title: str, label: str, unit: str) -> None:
    found = {name: _value(rows[pattern.format(name)]) for name in _SCHEMES if pattern.format(name) in rows}
    colors = [_PEER if name in _PEERS else _OURS for name in found]
    bars = axes.bar([_SCHEMES[name] for name in found], list(found.values()), color=colors, width=0.65)
    axes.bar_label(bars, [f"{_figure(value)} {unit}" for value in found.values()], padding=2, fontsize=9)
    _scale(axes, list(found.values()))
    axes.tick_params(axis="x", labelsize=9)
    axes.set_title(title, fontweight="bold")
    axes.set_ylabel(label)


def _round(axes: Any, rows: dict[str, Row]) -> None:
    """Seconds of a client beside those of the operators, backend by backend."""
    roles = {"client": ("a client", _OURS), "operators": ("aggregator and key holder", _HOLDER)}
    width, values = 0.4, []
    for place, (role, (label, color)) in enumerate(roles.items()):
        heights = [_value(rows[f"round.{role}.{backend}"]) for backend in BACKENDS]
        at = [index + (place - 0.5) * width for index in range(len(BACKENDS))]
        bars = axes.bar(at, heights, width=width, color=color, label=label)
        axes.bar_label(bars, [_figure(height) for height in heights], padding=2, fontsize=8)
        values += heights
    _scale(axes, values)
    axes.set_xticks(range(len(BACKENDS)), BACKENDS)
    axes.set_title("A whole verified round", fontweight="bold")
    axes.set_ylabel("seconds")
    note = rows[f"round.client.{BACKENDS[0]}"].note.partition("; ")[2]
    axes.legend(frameon=False, fontsize=9, loc="upper left", title=note)


def _scale(axes: Any, values: list[float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 2, max(values) * _HEADROOM)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.3g}"
