"""A real job in NVFlare's simulator: every site is a process of its own, and answers from its own table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secure_agg.ledger.log import Ledger
from secure_agg.roles.trust import Trust

AGES = {f"site-{place}": np.random.default_rng(place).integers(20, 100, 40) for place in (1, 2, 3)}
LIMIT_S = 240
JOB = """
import sys
from pathlib import Path
from nvflare.recipe import SimEnv
from secure_agg.plugins.nvflare.statistics import StatisticsRecipe

root = Path(sys.argv[1])
span = {"column": "age", "lower": 0, "upper": 128}
median = {"function": "quantile", "q": 0.5, "bins": 4, "rounds": 1, **span}
questions = {"average": {"function": "mean", **span}, "median": median}
recipe = StatisticsRecipe("ages", questions, min_clients=3, train_timeout=60.0, phase_timeout=60.0, tables=root)
recipe.execute(SimEnv(num_clients=3, workspace_root=str(root / "work")))
"""


@pytest.mark.long
def test_a_job_ends_with_what_numpy_has_of_all_records(tmp_path: Path) -> None:
    for name, ages in AGES.items():
        (tmp_path / f"{name}.csv").write_text("age\n" + "\n".join(map(str, ages)) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S
    )
    results = list((tmp_path / "work").rglob("statistics.json"))
    assert len(results) == 1, done.stdout[-10_000:] + done.stderr[-2000:]
    found, pooled = json.loads(results[0].read_text()), np.concatenate(list(AGES.values()))
    assert abs(found["average"]["value"] - pooled.mean()) <= found["average"]["error"]
    assert abs(found["median"]["value"] - np.quantile(pooled, 0.5, method="inverted_cdf")) <= found["median"]["error"]
    assert found["median"]["participants"] == list(AGES)
    (homes,) = (tmp_path / "work" / "secure-agg-simulation").glob("run-*")
    with Ledger(homes / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(homes / "trust.json")).size == 2
