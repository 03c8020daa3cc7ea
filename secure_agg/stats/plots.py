"""Pictures of histograms and survival curves, by matplotlib: of what sites have released, so of no single record."""

from __future__ import annotations

from pathlib import Path

from secure_agg import pictures
from secure_agg.errors import ConfigError
from secure_agg.stats.results import Histogram, Statistic, Survival


def plot(result: Statistic, path: Path) -> None:
    """Draw a histogram, or curves with their confidence intervals, into a new file: PNG, SVG or PDF by its name.

    Raises:
        ConfigError: it is neither, or matplotlib is missing.
    """
    pictures.check(path)
    if not isinstance(result, Histogram | Survival):
        raise ConfigError(f"a {type(result).__name__} has no picture: histograms and survival curves have one")
    figure = pictures.begin(7, 4.5)
    axes = figure.add_subplot()
    pictures.dress(axes)
    if isinstance(result, Histogram):
        axes.stairs(result.counts, result.edges, fill=True)
        axes.set_ylabel("records")
    else:
        for group, curve in result.curves.items():
            times, survival = [0.0, *curve.times], [1.0, *curve.survival]
            (line,) = axes.plot(times, survival, drawstyle="steps-post", label=pictures.plain(group))
            axes.fill_between(curve.times, curve.lower, curve.upper, step="post", alpha=0.2, color=line.get_color())
        axes.set(xlabel="time", ylabel="survival", ylim=(0, 1.02))
        if len(result.curves) > 1:
            axes.legend()
    pictures.save(figure, path)
