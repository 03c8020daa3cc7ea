"""The example in NVFlare's simulator: every site is a process of its own, and answers from its own table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lifelines.datasets import load_waltons
from support.source_tree import ROOT

from secure_agg.ledger.log import Ledger
from secure_agg.roles.trust import Trust

SITES = ["site-1", "site-2", "site-3"]
LIMIT_S = 600


def run(work: Path, *options: str) -> dict[str, Any]:
    """The results of a run of the example, whose ledger is sound."""
    done = subprocess.run(
        [sys.executable, "job.py", str(work), *options],
        cwd=ROOT / "examples" / "nvflare-statistics", capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    results = list(work.rglob("statistics.json"))
    assert len(results) == 1, done.stdout[-10_000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(results[0].read_text())
    (homes,) = (work / "secure-agg-simulation").glob("run-*")
    with Ledger(homes / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(homes / "trust.json")).size == len(found)
    return found


@pytest.mark.long
def test_the_example_ends_with_what_pandas_has_of_all_records(tmp_path: Path) -> None:
    found, lived = run(tmp_path), load_waltons()["T"]
    assert abs(found["mean"]["value"] - lived.mean()) <= found["mean"]["error"]
    assert abs(found["median"]["value"] - lived.median()) <= found["median"]["uncertain"]
    assert found["median"]["participants"] == SITES


@pytest.mark.long
def test_with_a_budget_it_ends_with_noise_that_is_stated(tmp_path: Path) -> None:
    found, lived = run(tmp_path, "--epsilon", "24")["mean"], load_waltons()["T"]
    assert found["noise"] is None or abs(found["value"] - lived.mean()) <= 8 * found["noise"]
    assert 0 < found["spent"] <= found["budget"] == 24
    assert found["participants"] == SITES
