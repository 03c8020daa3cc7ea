"""The page's colours by the formulas of WCAG 2.2: text at least 4.5 to 1, what outlines a control at least 3 to 1."""

from __future__ import annotations

import re
from typing import Final

import pytest
from support.source_tree import ROOT

STYLE: Final = (ROOT / "explorer" / "src" / "ui" / "page.css").read_text("utf-8")
TEXT: Final = (
    *((ink, paper) for ink in ("ink", "quiet", "link", "good", "bad", "warn") for paper in ("paper", "back")),
    *((ink, f"{kind}-back") for kind in ("good", "bad", "warn") for ink in (kind, "ink", "quiet", "link")),
    ("back", "ink"),
    ("paper", "link"),
)
OUTLINES: Final = (("quiet", "paper"), ("quiet", "back"), ("link", "paper"), ("link", "back"))


def themes() -> dict[str, dict[str, str]]:
    """Colours by name, of both themes; the dark one has all of them."""
    light, dark, *_ = re.findall(r":root \{([^}]*)\}", STYLE)
    found = {"light": light, "dark": dark}
    return {name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text)) for name, text in found.items()}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    more, less = sorted((luminance(one), luminance(other)), reverse=True)
    return (more + 0.05) / (less + 0.05)


def test_black_on_white_is_all_there_is() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_controls_stand_out_in_both_themes(theme: str) -> None:
    colours = themes()[theme]
    assert colours.keys() == themes()["light"].keys()
    for pairs, least in ((TEXT, 4.5), (OUTLINES, 3.0)):
        weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert {pair: round(ratio, 2) for pair, ratio in weak.items() if ratio < least} == {}
