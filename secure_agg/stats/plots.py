"""Pictures of histograms and survival curves, by matplotlib: of what sites have released, so of no single record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from secure_agg import pictures
from secure_agg.errors import ConfigError
from secure_agg.stats.results import Curve, Histogram, Statistic, Survival


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
        if result.noise:
            middles = (result.edges[1:] + result.edges[:-1]) / 2
            axes.errorbar(middles, result.counts, result.noise, fmt="none", ecolor=pictures.INK)
        axes.set(xlabel=pictures.plain(result.column), ylabel="records")
    else:
        for group, curve in result.curves.items():
            _draw(axes, group, curve)
        axes.set(xlabel="time", ylabel="survival", ylim=(0, 1.02))
        if len(result.curves) > 1:
            axes.legend()
    pictures.save(figure, path)


def _draw(axes: Any, group: str, curve: Curve) -> None:
    """A curve as far as it is known, and a little beyond its last time, where its last step is seen."""
    known = np.isfinite(curve.noise)
    times = np.array([0.0, *curve.times[known]])
    times = np.append(times, times[-1] + 0.02 * curve.times[-1])
    parts = [np.array([1.0, *each[known]]) for each in (curve.survival, curve.lower, curve.upper)]
    survival, lower, upper = (np.append(each, each[-1]) for each in parts)
    (line,) = axes.plot(times, survival, drawstyle="steps-post", label=pictures.plain(group))
    axes.fill_between(times, lower, upper, step="post", alpha=0.2, color=line.get_color())
