"""Rounds with a norm bound on the command line: what is proved, and how many of the proofs were seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from support.commands import Run

import secure_agg
from secure_agg import Ledger
from secure_agg.cli.terminal import exits


def test_verify_and_audit_say_how_many_proofs_they_have_seen(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    rng = np.random.default_rng(0)
    secure_agg.aggregate({name: [rng.normal(size=9)] for name in "abc"}, ledger=path, norm_bound=5.0)
    with Ledger(path, read_only=True) as ledger:
        record = ledger.last("default")
        assert record is not None
        evidence = ledger.evidence_path(record)
    trust = f"{path}.trust.json"

    seen = run("verify", evidence, "--trust", trust, "--json").document["norm"]
    assert (seen["proofs"], seen["proofs_checked"], seen["factor"]) == (3, 3, 2.23)
    assert 0 < 5 - seen["bound"] < 1e-5
    alone = tmp_path / "alone.evidence"
    shutil.copy(evidence, alone)
    assert run("verify", alone, "--trust", trust, "--json").document["norm"]["proofs_checked"] == 0
    assert "0 of 3 proofs were seen" in run("verify", alone, "--trust", trust).out.replace("\n", " ")
    found = run("verify", alone, "--trust", trust, "--proofs", f"{path}.evidence")
    assert "all proofs were checked" in found.out.replace("\n", " ")

    audited = run("ledger", "audit", path, "--trust", trust, "--json").document
    assert audited["norm_proofs"] == 3
    assert "norm bound" in run("ledger", "show", path, "default", "0").out
    sound = run("ledger", "fsck", path)
    assert sound.code == 0

    proof = next(file for file in (tmp_path / "rounds.db.evidence").rglob("*.evidence") if file != evidence)
    proof.unlink()
    assert run("verify", evidence, "--trust", trust, "--json").document["norm"]["proofs_checked"] == 2
    assert run("ledger", "audit", path, "--trust", trust).code == exits.LEDGER_DAMAGED
    assert run("ledger", "fsck", path).code == exits.LEDGER_DAMAGED


def test_proofs_are_for_rounds_with_a_norm_bound(run: Run, tmp_path: Path) -> None:
    result = secure_agg.aggregate({name: [np.zeros(3)] for name in "abc"})
    path = tmp_path / "bare.evidence"
    path.write_bytes(result.evidence.to_bytes())
    refused = run("verify", path, "--without-trust", "--proofs", tmp_path)
    assert (refused.code, "norm bound" in refused.err) == (exits.USAGE, True)
    assert run("verify", path, "--without-trust", "--json").document["norm"] is None
