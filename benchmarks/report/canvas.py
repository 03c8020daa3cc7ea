"""A picture that says by itself what it is of: its title, the cell, how often and beside what load. Needs matplotlib.

Pictures travel without the page that they were in. So each names what was run above the axes; below them it says how
many repetitions there were, what the bars of error are, and the load of the machine, in red where it was too high.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Load
from benchmarks.report.palette import INK, WARNING

_HEAD: Final = 0.62
_LINE: Final = 0.165
_MARGIN: Final = 0.12
_DOTS: Final = 144
_FEW: Final = 50
"""An axis that spans less than this factor has figures between the powers of ten."""
_LETTERS: Final = 16.5
"""Letters of the text below the axes for each inch."""


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: for files and references.
        title: what it shows.
        description: for those who do not see it: what is on the axes, and the figures that matter.
        svg: the ``svg`` element alone: without ground, readable on light and dark.
        png: gives the same on white; pages do without it, so it is drawn when it is asked for.
    """

    name: str
    title: str
    description: str
    svg: str
    png: Callable[[], bytes]

    def save(self, file: Path) -> tuple[Path, Path]:
        """Write both forms beside each other.

        Args:
            file: its suffix is replaced.

        Returns:
            The SVG file and the PNG file.

        Raises:
            OSError: they can't be written.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        vector, raster = file.with_suffix(".svg"), file.with_suffix(".png")
        vector.write_text(f"{self.svg}\n", encoding="utf-8")
        raster.write_bytes(self.png())
        return vector, raster


@dataclass(frozen=True)
class Caption:
    """What every picture says besides its axes.

    Attributes:
        title: what it shows.
        of: what was run: backend, clients, parameters, bits; or all but what is on an axis.
        how: repetitions and what bars of error are.
        load: while it was measured; None where it is not known.
        stamp: the machine, in a few words.
        exact: that nothing in it is measured but counted, so that a load changes nothing.
    """

    title: str
    of: str
    how: str
    load: Load | None
    stamp: str = ""
    exact: bool = False

    @property
    def foot(self) -> str:
        """The text below the axes, but for the warning."""
        parts = (self.how, _sentence(str(self.load)) if self.load else "Load not known", self.stamp)
        return ". ".join(part for part in parts if part) + "."

    @property
    def warning(self) -> str:
        """In red; empty where there is nothing to say."""
        said = self.load.warning if self.load and not self.exact else ""
        return f"WARNING: {said}." if said else ""


class Canvas:
    """A figure with its caption around it, and axes to draw on."""

    def __init__(self, caption: Caption, width: float, height: float) -> None:
        """``width`` and ``height``, in inches, are those of the axes with their labels; the caption comes on top."""
        # Without pyplot: no display is looked for, and nothing of the caller's matplotlib is changed.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        self.caption = caption
        lines = [(line, INK) for line in textwrap.wrap(caption.foot, round(width * _LETTERS))]
        lines += [(line, WARNING) for line in textwrap.wrap(caption.warning, round(width * _LETTERS))]
        foot = _LINE * len(lines) + 2 * _MARGIN
        whole = height + _HEAD + foot
        inside = ConstrainedLayoutEngine(rect=(0, foot / whole, 1, height / whole))
        self.figure: Any = Figure(figsize=(width, whole), layout=inside)
        FigureCanvasAgg(self.figure)
        left = _MARGIN / width
        top: dict[str, Any] = {"ha": "left", "va": "top", "color": INK}
        self.figure.text(left, 1 - _MARGIN / whole, caption.title, fontsize=12, fontweight="bold", **top)
        self.figure.text(left, 1 - (_MARGIN + 0.24) / whole, caption.of, fontsize=9.5, **top)
        for place, (line, color) in enumerate(lines):
            above = foot - _MARGIN - place * _LINE
            self.figure.text(left, above / whole, line, fontsize=8, ha="left", va="top", color=color)

    def row(self, panels: int = 1, *, share_names: bool = False) -> list[Any]:
        """Axes side by side."""
        found = self.figure.subplots(1, panels, squeeze=False, sharey=share_names)[0]
        return [_plain(axes) for axes in found]

    def mosaic(self, layout: list[list[str]]) -> dict[str, Any]:
        """Axes by name, in rows."""
        return {name: _plain(axes) for name, axes in self.figure.subplot_mosaic(layout).items()}

    def picture(self, name: str, description: str) -> Picture:
        """What has been drawn. Text stays text, so that it can be read aloud and searched."""
        import matplotlib

        self.figure.get_layout_engine().execute(self.figure)
        self.figure.set_layout_engine("none")  # both forms are laid out alike, and once
        drawn = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
        with matplotlib.rc_context(settings):
            self.figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)

        def raster() -> bytes:
            dots = io.BytesIO()
            with matplotlib.rc_context(settings):
                self.figure.savefig(dots, format="png", dpi=_DOTS, facecolor="white", metadata={"Software": None})
            return dots.getvalue()

        caption = self.caption
        said = " ".join(part for part in (f"{caption.of}.", description, caption.foot, caption.warning) if part)
        return Picture(name, caption.title, said, _element(drawn.getvalue(), name), raster)


def logarithmic(axis: Any, low: float, high: float, ticks: Sequence[float] = ()) -> None:
    """Make an axis logarithmic, with plain figures where ``ticks`` are, else at powers of ten, and between few of them.

    Args:
        axis: of some axes.
        low, high: where it begins and ends.
        ticks: where its figures are; empty to choose them.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    between = (1.0, 2.0, 5.0) if high < _FEW * low else (1.0,)
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=between))
    if ticks:
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _plain(axes: Any) -> Any:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.title.set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    return axes


def _element(drawn: str, name: str) -> str:
    """The ``svg`` element alone, as large as its surroundings; names inside are made the picture's own."""
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", drawn)
    return re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", drawn).strip()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
