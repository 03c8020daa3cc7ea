"""The example of regions and hospitals, as processes of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import secure_agg
from secure_agg import Ledger, TreeTrust

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "regions" / "regions.py"


@pytest.mark.slow
@pytest.mark.parametrize("lost", [pytest.param(None, marks=pytest.mark.long), "west"])
def test_regions_as_processes_end_with_the_mean_of_the_hospitals_that_stayed(tmp_path: Path, lost: str | None) -> None:
    folder = tmp_path / "regions"
    command = [sys.executable, str(SCRIPT), "run", str(folder), "--rounds", "1", *(["--lose", lost] if lost else [])]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("regions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    stayed = [name for region, names in example.REGIONS.items() if region != lost for name in names]
    with Ledger(folder / "centre" / "rounds.db", read_only=True) as ledger:
        report = ledger.audit()
        record = ledger.last(example.TASK)
        assert record is not None
        found = ledger.tree(record)
        assert found is not None
        verified = secure_agg.verify_tree(*found, TreeTrust(ledger.trust, example.TASK))
    assert (report.verified, report.edges) == (1, 2 if lost else 3)
    assert verified.record.participants == len(stayed)
    wanted = np.mean([example.loss_and_update(name, np.zeros(example.FEATURES))[1] for name in stayed], axis=0)
    assert np.abs(verified.average[0] - wanted).max() < record.error_bound
    assert done.stdout.count(f"all {report.edges} edges were checked") == report.edges
