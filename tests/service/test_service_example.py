"""The example of five hospitals, as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.source_tree import ROOT

SCRIPT = ROOT / "examples" / "service" / "hospitals.py"


@pytest.mark.long
def test_five_hospitals_come_to_the_model_that_all_patients_in_one_place_make(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "run", str(tmp_path / "service"), "--rounds", "4"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rounds"] == 4
    assert found["all_have_one_model"]
    assert found["largest_difference"] < 1e-4
    assert found["accuracy"] == pytest.approx(found["accuracy_together"], abs=0.01)
