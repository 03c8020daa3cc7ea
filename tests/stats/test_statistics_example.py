"""The example of three laboratories, as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.source_tree import ROOT

SCRIPT = ROOT / "examples" / "statistics" / "run.py"


@pytest.mark.slow
def test_three_laboratories_find_what_all_records_in_one_place_give(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mean_days"] == pytest.approx(found["mean_together"], abs=1e-9)
    assert found["median_survival"]["control"] > found["median_survival"]["miR-137"]
    assert found["p"] < 1e-9
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
