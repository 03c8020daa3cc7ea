"""The picture of the suite ``he``: time, size and memory of the usual ways and of the backends. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.load import count
from benchmarks.report import palette
from benchmarks.report.canvas import Canvas, Caption, logarithmic
from benchmarks.report.palette import INK
from benchmarks.results import Report, Row, short_stamp

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
_SIZE: Final = (14.0, 7.2)


def draw(report: Report, path: Path) -> tuple[Path, Path]:
    """Write the picture as SVG and as PNG beside it. Memory is in it if it was measured.

    Args:
        report: of the suite, at its end or not.
        path: of one of the files; its suffix is replaced.

    Returns:
        The SVG file and the PNG file.

    Raises:
        OSError: they can't be written.
    """
    rows = {row.key: row for row in report.rows}
    memory = "memory.ckks.encrypt" in rows
    chosen = report.parameters
    caption = Caption(
        "Homomorphic encryption of one update",
        f"ckks, bfv, paillier: {chosen['params']:,} parameters, {chosen['bits']} bits, sums of up to "
        f"{chosen['clients']} clients, {chosen['modulus_bits']}-bit Paillier modulus",
        f"Grey: the library's usual way. Medians of {count(int(chosen['repeat']), 'repetition')}; error bars: first to "
        "third quartile, where a figure was measured more than once. Vertical axes are logarithmic; lower is better",
        report.loads,
        short_stamp(report.machine),
    )
    canvas = Canvas(caption, *_SIZE)
    wide = ["memory"] if memory else []
    panels = canvas.mosaic([["encrypt", "bytes", *wide], ["add", "decrypt", *wide]])
    _bars(panels["encrypt"], rows, "{}.encrypt", "Encrypt and serialise", "seconds", "s")
    _bars(panels["bytes"], rows, "{}.bytes", "Size of the ciphertexts", "bytes per parameter", "B")
    _bars(panels["add"], rows, "{}.add", "Add one client's vector", "seconds", "s")
    sampled = " (paillier: extrapolated)" if rows["paillier.decrypt"].note else ""
    _bars(panels["decrypt"], rows, "{}.decrypt", "Decrypt the sum" + sampled, "seconds", "s")
    if memory:
        _bars(panels["memory"], rows, "memory.{}.encrypt", "Peak memory of encrypting", "megabytes", "MB")
    for axes in panels.values():
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.5)
    said = "; ".join(f"{row.name} {_figure(_value(row))}" for row in report.rows if row.unit == "ms")
    return canvas.picture("he", f"Seconds: {said}.").save(path)


def _value(row: Row) -> float:
    if row.unit == "ms":
        return row.median / _KILO
    return row.median if row.unit == "MB" or row.derived is None else row.derived


def _reach(rows: list[Row]) -> list[list[float]]:
    """How far each bar of error reaches below and above; nowhere where there is one value or only a size."""
    spreads = [(row, row.spread or (row.median, row.median)) for row in rows]
    factors = [_value(row) / row.median if row.median else 0.0 for row in rows]
    below = [(row.median - low) * by for (row, (low, _)), by in zip(spreads, factors, strict=True)]
    above = [(high - row.median) * by for (row, (_, high)), by in zip(spreads, factors, strict=True)]
    return [below, above]


def _drawn(axes: Any, places: list[Any], rows: list[Row], colors: list[str], unit: str, width: float) -> list[float]:
    """Bars with their figures, and bars of error."""
    values = [_value(row) for row in rows]
    bars = axes.bar(
        places,
        values,
        yerr=_reach(rows),
        error_kw={"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5},
        color=colors,
        width=width,
    )
    axes.bar_label(bars, [f"{_figure(value)} {unit}".strip() for value in values], padding=3, fontsize=8, color=INK)
    return values


def _bars(axes: Any, rows: dict[str, Row], pattern: str, title: str, label: str, unit: str) -> None:
    found = {name: rows[pattern.format(name)] for name in _SCHEMES if pattern.format(name) in rows}
    colors = [palette.OTHERS if name in _PEERS else palette.color(name) for name in found]
    values = _drawn(axes, [_SCHEMES[name] for name in found], list(found.values()), colors, unit, 0.65)
    _scale(axes, values)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(label)


def _scale(axes: Any, values: list[float]) -> None:
    logarithmic(axes.yaxis, min(values) / 2, max(values) * _HEADROOM)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.3g}"
