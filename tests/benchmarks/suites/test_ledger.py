"""The ledger's suite measures what it says, on a small log."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import SUITES, main
from benchmarks.ledger import append as ledger_append
from benchmarks.ledger import proofs as ledger_proofs
from secure_agg.ledger.log import Ledger
from zk import merkle


def test_a_synthetic_log_is_a_log(tmp_path: Path) -> None:
    ledger_proofs.build(tmp_path / "log.db", 1037)
    with Ledger(tmp_path / "log.db") as ledger:
        head = ledger.head()
        head.verify(ledger.log_public)
        assert (head.size, head.root) == (1037, merkle.root([ledger_proofs.leaf(index) for index in range(1037)]))
        receipt = ledger.receipt(500)
        receipt.verify(ledger_proofs.leaf(500), ledger.verifier_key)


def test_every_append_that_is_measured_is_one(tmp_path: Path) -> None:
    rows = {row.key: row for row in ledger_append.rows(tmp_path, 2)}
    assert set(rows) == {
        f"ledger.{name}" for name in ("disk", "append", "append_by_hand", "append_all", "append_verified")
    }
    for folder, size in (("single", 3), ("batch", 3 * ledger_append.BATCH), ("verified", 3)):
        with Ledger(tmp_path / folder / "rounds.db", read_only=True) as ledger:
            assert len(ledger) == size
    with Ledger(tmp_path / "verified" / "rounds.db", read_only=True) as ledger:
        ledger.audit()
    assert rows["ledger.append"].samples == 2


@pytest.mark.long
def test_the_suite_runs_and_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "ledger" in SUITES
    assert main(["ledger", "--leaves", "3000", "--repeat", "1", "--gas", "3", "--directory", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "inclusion proof" in shown
    assert "register, 3 clients" in shown
    assert list(tmp_path.iterdir()) == []
    for wrong in (["--leaves", "1"], ["--repeat", "0"], ["--directory", str(tmp_path / "none")]):
        with pytest.raises(SystemExit) as caught:
            main(["ledger", *wrong])
        assert caught.value.code == 2
