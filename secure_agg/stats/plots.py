"""Pictures of histograms and survival curves, by matplotlib: of what sites have released, so of no single record."""

from __future__ import annotations

from pathlib import Path

from secure_agg import extras
from secure_agg.errors import ConfigError
from secure_agg.stats.results import Histogram, Statistic, Survival


def plot(result: Statistic, path: Path) -> None:
    """Draw a histogram, or curves with their confidence intervals, into a new file: PNG, SVG or PDF by its name.

    Raises:
        ConfigError: it is neither, or matplotlib is missing.
    """
    if not extras.is_there("matplotlib"):
        raise ConfigError(f"matplotlib is not installed: {extras.command('examples')}")
    if not isinstance(result, Histogram | Survival):
        raise ConfigError(f"a {type(result).__name__} has no picture: histograms and survival curves have one")
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"{path} is no name of a picture: .png, .svg or .pdf")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    if isinstance(result, Histogram):
        axes.stairs(result.counts, result.edges, fill=True)
        axes.set_ylabel("records")
    else:
        for group, curve in result.curves.items():
            times, survival = [0.0, *curve.times], [1.0, *curve.survival]
            (line,) = axes.plot(times, survival, drawstyle="steps-post", label=group)
            axes.fill_between(curve.times, curve.lower, curve.upper, step="post", alpha=0.2, color=line.get_color())
        axes.set(xlabel="time", ylabel="survival", ylim=(0, 1.02))
        if len(result.curves) > 1:
            axes.legend()
    figure.savefig(path)
