"""How pictures look, wherever they are made: the demo, benchmarks, statistics, examples, and rounds of a ledger.

The hues can be told apart by those who see fewer colours (Okabe and Ito, "Color universal design", 2008). Text and
lines are of a grey that stands out from white and from black. Needs matplotlib, which is imported when a picture is
begun: without pyplot, so that no display is looked for, and nothing of the caller's matplotlib is changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from secure_agg import extras
from secure_agg.errors import ConfigError

INK: Final = "#767676"
"""Text and lines."""
WARNING: Final = "#d03b2f"
"""What must not be overlooked; readable on both grounds as well."""
BLUE: Final = "#0072b2"
ORANGE: Final = "#e69f00"
GREEN: Final = "#009e73"
PINK: Final = "#cc79a7"
SKY: Final = "#56b4e9"
VERMILION: Final = "#d55e00"
OLIVE: Final = "#b8a900"
HUES: Final = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, OLIVE, "#8c564b", "#7b4fb5", "#3f5f7f")
"""In the order in which curves take them."""
FORMS: Final = (".png", ".svg", ".pdf")
"""How the name of a picture's file ends."""
_LIGHT: Final = 0.6
_DOTS: Final = 120


def check(path: Path) -> None:
    """Say before any work is done whether a picture can be drawn into a file.

    Raises:
        ConfigError: matplotlib is missing (``MissingExtra``), or the name is none of a picture.
    """
    extras.require("plots")
    if path.suffix not in FORMS:
        raise ConfigError(f"{path} is no name of a picture: {', '.join(FORMS)}")


def begin(width: float, height: float, title: str = "") -> Any:
    """An empty matplotlib ``Figure``.

    Args:
        width, height: in inches, of 120 dots.
        title: above all axes.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    extras.require("plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(plain(title), fontsize=13, fontweight="bold")
    return figure


def dress(*axes: Any, grid: str = "both") -> None:
    """Give axes the house's lines and colours.

    Args:
        axes: matplotlib's.
        grid: ``x``, ``y``, ``both``, or ``""`` for none.
    """
    for each in axes:
        each.set_prop_cycle(color=HUES)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(INK)
        each.tick_params(color=INK, which="both")
        each.set_axisbelow(True)
        if grid:
            each.grid(axis=grid, color=INK, alpha=0.25, linewidth=0.6)


def save(figure: Any, path: Path) -> None:
    """Write a picture, the same bytes for the same picture; text stays text where the form has any.

    Raises:
        ConfigError: the name is none of a picture.
        OSError: the file can't be written.
    """
    import matplotlib

    if path.suffix not in FORMS:
        raise ConfigError(f"{path} is no name of a picture: {', '.join(FORMS)}")
    nothing = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "secure-agg"}):
        figure.savefig(path, metadata=nothing[path.suffix])


def plain(text: str) -> str:
    """Somebody's name as it is, on a picture: matplotlib would read what is between two ``$`` as a formula, and stop at
    one that is none.
    """
    return text.replace("$", r"\$")


def light(full: str) -> str:
    """The light tone of a colour, opaque: what is drawn on it is readable on any page."""
    parts = bytes.fromhex(full.removeprefix("#"))
    return "#" + "".join(f"{round(part + (255 - part) * _LIGHT):02x}" for part in parts)
