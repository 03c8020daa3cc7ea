"""Seconds and bytes for people."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A time: in milliseconds, seconds or hours."""
    if value < 1:
        return f"{1e3 * value:,.3g} ms"
    if value < 3 * 3600:
        return f"{value:,.1f} s"
    return f"{value / 3600:,.1f} h"


def size(value: float) -> str:
    """So many bytes: in B, kB, MB, GB or TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:,.2f} {unit}"
    return f"{value:,.0f} B"
