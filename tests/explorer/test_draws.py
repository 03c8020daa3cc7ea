"""Who was drawn, and by what: a pinned beacon's pulse, what the reader knows, or what nothing here vouches for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.beacons import rehearsal
from support.explorer.browser import publish
from support.explorer.core import Core, in_node
from support.trees import BEACON, Forestry

import secure_agg

CHAIN = rehearsal(range(1, 65))


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def compared(said: dict[str, Any]) -> tuple[str, str]:
    """Of check 1, and whether anything else is wrong."""
    found = {check["number"]: check["state"] for check in said["checks"]}
    return found.pop("1"), "good" if set(found.values()) <= {"passed", "skipped"} else "bad"


def altered(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    pins = json.loads(text)
    change(pins["tasks"]["default"])
    return json.dumps(pins)


@pytest.mark.slow
def test_cohorts_of_a_ledger_are_drawn_by_the_pinned_beacon_or_by_what_the_reader_knows(
    core: Core, tmp_path: Path
) -> None:
    path = tmp_path / "rounds.db"
    updates = {f"c{i:02}": [np.full(3, i / 8)] for i in range(8)}
    made = secure_agg.aggregate(updates, sample=5, corruption_rate=0.0, beacon=CHAIN, ledger=path, backend="plain")
    own = Path(f"{path}.trust.json").read_text("utf-8")
    evidence, pulse = made.evidence.to_bytes(), made.evidence.config.beacon

    def of(trust: str, beacon: bytes | None = None) -> tuple[str, str]:
        return compared(core("evidence", evidence=evidence, trust=trust, beacon=beacon))

    assert of(own) == ("passed", "good")
    assert of(altered(own, lambda task: task["beacon"].update(first=2))) == ("failed", "good")
    unpinned = altered(own, lambda task: task.pop("beacon"))
    assert of(unpinned) == ("unknown", "good")
    assert core.verdict(evidence, unpinned) is None
    assert of(unpinned, pulse) == ("passed", "good")
    assert of(unpinned, pulse[::-1]) == ("failed", "good")
    # Who is pinned is compared all the same.
    assert of(altered(unpinned, lambda task: task["roster"].popitem())) == ("failed", "good")
    core("open", files=publish(path, tmp_path / "public"), trust=unpinned, seen=None)
    assert compared(core("round", index=0)) == ("unknown", "good")
    assert compared(core("round", index=0, beacon=pulse)) == ("passed", "good")


def test_edges_that_are_drawn_are_compared_with_what_the_reader_knows(core: Core) -> None:
    forestry = Forestry({"a": 3, "b": 3}, backend="plain", top_backend="plain", shapes=((2,),), drawn=True)
    played = forestry.round()
    evidence = played.run().to_bytes()
    edges = [item.to_bytes() for item in played.evidence()]
    trust = forestry.trust.to_json()
    for beacon, state in ((BEACON, "passed"), (None, "unknown"), (bytes(32), "failed")):
        said = core("evidence", evidence=evidence, trust=trust, beacon=beacon, beside=edges)
        assert compared(said) == (state, "good")
        assert said["good"] == (state == "passed")
