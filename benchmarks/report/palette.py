"""Which colour means what, the same in every picture: a colour is a backend, a light tone its second figure.

What is no backend is grey: text and lines, plain FedAvg and local training (by their strokes), and others' libraries.
The hues are those of ``secure_agg.pictures``; markers say the same without colour.
"""

from __future__ import annotations

import zlib
from typing import Final

from secure_agg.pictures import BLUE, GREEN, INK, OLIVE, ORANGE, PINK, SKY, VERMILION, WARNING, light

__all__ = ["INK", "OTHERS", "PLAIN_STROKE", "TRAINING_STROKE", "WARNING", "color", "light", "marker", "on"]

OTHERS: Final = "#a6a6a6"
"""Other people's libraries, used in their usual way."""
PLAIN_STROKE: Final = "--"
"""Of the line for plain FedAvg."""
TRAINING_STROKE: Final = ":"
"""Of the line for local training."""
_BACKENDS: Final = {
    "masking": (BLUE, "o"),
    "additive": (ORANGE, "s"),
    "bfv": (GREEN, "D"),
    "ckks": (PINK, "^"),
    "paillier": (SKY, "v"),
    "crypten": (VERMILION, "P"),
    "plain": (OLIVE, "X"),
}
_SPARE: Final = (("#8c564b", "*"), ("#7b4fb5", "h"), ("#3f5f7f", "<"), ("#6b8e23", ">"))
"""For backends of other packages: chosen by the name alone, so that it is the same in every picture too."""
_DARK_GROUND: Final = 0.45


def color(backend: str) -> str:
    """A backend's colour."""
    return _style(backend)[0]


def marker(backend: str) -> str:
    """A backend's marker, as matplotlib names them."""
    return _style(backend)[1]


def _style(backend: str) -> tuple[str, str]:
    return _BACKENDS.get(backend) or _SPARE[zlib.crc32(backend.encode()) % len(_SPARE)]


def on(ground: str) -> str:
    """Black or white, whichever is readable on a colour."""
    red, green, blue = ((part / 255) ** 2.2 for part in _parts(ground))
    return "#ffffff" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < _DARK_GROUND**2.2 else "#000000"


def _parts(full: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(full.removeprefix("#"))
    return red, green, blue
