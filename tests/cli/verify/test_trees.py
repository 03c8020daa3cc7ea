"""Trees on the command line: what is walked, and what is believed by signatures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from support.commands import Run

import secure_agg
from secure_agg import Ledger
from secure_agg.cli.terminal import exits

REGIONS = {"north": ["a", "b", "c"], "south": ["d", "e", "f"], "west": ["g", "h", "i"]}


def test_verify_and_audit_say_how_much_of_a_tree_they_have_seen(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    rng = np.random.default_rng(0)
    result = secure_agg.aggregate({name: [rng.normal(size=9)] for name in "abcdefghi"}, edges=REGIONS, ledger=path)
    with Ledger(path, read_only=True) as ledger:
        evidence = ledger.evidence_path(result.record)
    trust = f"{path}.trust.json"

    seen = run("verify", evidence, "--trust", trust, "--json").document
    assert (seen["outcome"], seen["tree"]["saw_all"]) == ("verified", True)
    assert seen["record"]["participants"] == 9
    assert seen["tree"]["edges"]["south"] == {"participants": 3, "cohort_size": 3, "seen": True}
    alone = tmp_path / "alone.evidence"
    shutil.copy(evidence, alone)
    found = run("verify", alone, "--trust", trust)
    assert found.code == 0
    assert "0 of 3 edges were checked down to their clients" in found.out.replace("\n", " ")
    assert "quorum of its members" in found.out.replace("\n", " ")
    assert "all 3 edges" in run("verify", alone, "--trust", trust, "--proofs", f"{path}.evidence").out
    assert run("verify", alone, "--without-trust").code == exits.VERIFICATION_FAILED
    assert run("verify", evidence, "--without-trust").code == 0
    model = tmp_path / "mean.npz"
    assert run("verify", evidence, "--trust", trust, "--export", model).code == 0
    assert run("verify", evidence, "--trust", trust, "--model", model).code == 0

    audited = run("ledger", "audit", path, "--trust", trust, "--json").document
    assert (audited["verified"], audited["edges"]) == (1, 3)
    assert "3 walked" in run("ledger", "audit", path, "--trust", trust).out
    assert "9 of 9" in run("ledger", "show", path, "default", "0").out
    assert run("ledger", "fsck", path).code == 0

    edge = next(file for file in (tmp_path / "rounds.db.evidence").rglob("*.evidence") if file != evidence)
    edge.unlink()
    assert not run("verify", evidence, "--trust", trust, "--json").document["tree"]["saw_all"]
    assert run("ledger", "audit", path, "--trust", trust).code == exits.LEDGER_DAMAGED
    assert run("ledger", "fsck", path).code == exits.LEDGER_DAMAGED
