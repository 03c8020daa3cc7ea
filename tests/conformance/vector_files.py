"""Files of vectors: where they are, what makes a round the same every time, and how one is written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.trust import Trust

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "vectors"


def constant(name: str) -> Callable[[int], bytes]:
    """The attempt secret of a client."""
    return lambda size: hashlib.sha256(b"entropy of " + name.encode()).digest()[:size]


def round_files(evidence: Evidence, files: tuple[str, str]) -> dict[str, str]:
    """How vectors name the round that they are of: its files, of evidence and of pins, and the first one's digest."""
    return {"evidence": files[0], "trust": files[1], "sha256": hashlib.sha256(evidence.to_bytes()).hexdigest()}


def moved(evidence: Evidence, place: int, by: int) -> list[list[Any]]:
    """What is written over evidence, at which byte, so that another number is at a place of the sums at its end."""
    data, layout = evidence.to_bytes(), evidence.config.layout
    at = len(data) - 4 * layout.total + 4 * place
    value = int.from_bytes(data[at : at + 4], "little") + by
    return [[at, value.to_bytes(4, "little").hex()]]


def to_json(values: Mapping[str, Any]) -> str:
    """The text of a file of vectors."""
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def write_round(evidence: Evidence, trust: Trust, files: tuple[str, str, str], vectors: Mapping[str, Any]) -> None:
    """Write a round's files: its evidence, the pins, and the vectors."""
    (DIRECTORY / files[0]).write_bytes(evidence.to_bytes())
    (DIRECTORY / files[1]).write_text(trust.to_json(), "utf-8")
    (DIRECTORY / files[2]).write_text(to_json(vectors), "utf-8")
