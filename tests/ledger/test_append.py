"""Appends: several at once, cut short and taken up again, and only on a disk that is waited for."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.records.hand_made import add, evidence_of, fill, make_record

import secure_agg
from secure_agg.errors import LedgerDamaged, LedgerError, LedgerRefused, VerificationError
from secure_agg.ledger.approval import approval_text, check_approval
from secure_agg.ledger.audit import DatabaseSource, audit
from secure_agg.ledger.connection import make_durable
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.tlog.head import SignedHead
from zk import merkle


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "rounds.db") as opened:
        fill(opened, 3)
        yield opened


def following(ledger: Ledger, count: int) -> list[tuple[RoundRecord, bytes]]:
    """The next records of the task, with their evidence."""
    rounds: list[tuple[RoundRecord, bytes]] = []
    previous = ledger.last("task")
    assert previous is not None
    for _ in range(count):
        previous = make_record(previous.round + 1, previous)
        rounds.append((previous, evidence_of("task", previous.round)))
    return rounds


# Several at once


@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_several_records_enter_at_once_and_every_size_has_its_head(ledger: Ledger, count: int) -> None:
    rounds = following(ledger, count)
    receipts = ledger._append_records(rounds)
    records = [record.to_bytes() for record in ledger.records()]
    assert records[3:] == [record.to_bytes() for record, _ in rounds]
    for offset, (receipt, (record, _)) in enumerate(zip(receipts, rounds, strict=True)):
        receipt.verify(record.to_bytes(), ledger.verifier_key)
        assert (receipt.index, receipt.checkpoint.size) == (3 + offset, 4 + offset)
        assert ledger.head_at(4 + offset).root == merkle.root(records[: 4 + offset])
    fill(ledger, 1)


def test_of_several_records_all_enter_or_none(ledger: Ledger) -> None:
    first, second, third = following(ledger, 3)
    before = (ledger.head(), sorted(ledger.path.parent.rglob("*.evidence")))
    for wrong in ([first, third], [second, first], [first, first], [first, (make_record(1), b"")]):
        with pytest.raises(LedgerRefused):
            ledger._append_records(wrong)
        assert (ledger.head(), sorted(ledger.path.parent.rglob("*.evidence"))) == before
    assert ledger._append_records([]) == ()
    ledger._append_records([first, second, third])


def test_rounds_that_were_really_run_enter_at_once(tmp_path: Path) -> None:
    updates = {name: [np.arange(3.0)] for name in ("ann", "bob", "cyd")}
    with Ledger(tmp_path / "rounds.db") as ledger:
        roots = [secure_agg.aggregate(updates, backend="plain", ledger=ledger) for _ in range(2)]
        with pytest.raises(LedgerRefused, match="already"):
            ledger.append_all([result.evidence for result in roots])
        with pytest.raises(VerificationError):
            ledger.append_all([secure_agg.aggregate(updates, backend="plain").evidence])
        assert len(ledger) == 2
        assert ledger.append_all([]) == ()


def test_an_append_returns_what_its_own_check_found_and_encodes_the_evidence_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = {name: [np.arange(3.0)] for name in ("ann", "bob", "cyd")}
    result = secure_agg.aggregate(updates, backend="plain", ledger=tmp_path / "first" / "rounds.db")
    (tmp_path / "again").mkdir()
    shutil.copytree(tmp_path / "first" / "rounds.db.keys", tmp_path / "again" / "rounds.db.keys")
    encoded: list[bytes] = []

    def counted(evidence: Evidence) -> bytes:
        encoded.append(encode(evidence))
        return encoded[-1]

    encode = Evidence.to_bytes
    with Ledger(tmp_path / "again" / "rounds.db") as ledger, Ledger(tmp_path / "first" / "rounds.db") as first:
        trust = first.trust
        ledger.pin("default", trust.task("default"), trust.operators)
        monkeypatch.setattr(Evidence, "to_bytes", counted)
        appended = ledger.append(result.evidence)
        assert len(encoded) == 1
        assert ledger.evidence_path(ledger.record(0)).read_bytes() == encoded[0]
        assert appended.verified.record == ledger.record(0) == result.record
        assert {"policy", "roster", "log"} <= appended.verified.pinned
        assert np.array_equal(appended.verified.average[0], result.average[0])
        appended.receipt.verify(result.record.to_bytes(), ledger.verifier_key)


# Cut short


def cut_short(ledger: Ledger, rounds: list[tuple[RoundRecord, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the leaves are durable and their heads are not signed."""

    def fail(size: int, root: bytes) -> SignedHead:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_sign", fail)
        with pytest.raises(KeyboardInterrupt):
            ledger._append_records(rounds)


@pytest.mark.parametrize("count", [1, 3])
def test_the_same_call_again_gets_its_receipts(ledger: Ledger, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = following(ledger, count)
    cut_short(ledger, rounds, monkeypatch)
    assert (len(ledger), ledger.find("task", 3)) == (3, None)
    source = DatabaseSource(ledger._database, ledger._evidence)
    assert audit(source, ledger.trust, with_evidence=False).size == 3, "an audit is of what was signed"
    receipts = ledger._append_records(rounds)
    for receipt, (record, _) in zip(receipts, rounds, strict=True):
        receipt.verify(record.to_bytes(), ledger.verifier_key)
    with pytest.raises(LedgerRefused, match="already"):
        ledger._append_records(rounds)


def test_another_record_comes_after_what_was_cut_short_and_never_in_its_place(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(ledger, following(ledger, 2), monkeypatch)
    receipt = add(ledger, make_record(0, task="other"))
    assert receipt.index == 5
    assert [(record.task, record.round) for record in ledger.records()][3:] == [("task", 3), ("task", 4), ("other", 0)]
    cut_short(ledger, following(ledger, 1), monkeypatch)
    with Ledger(ledger.path) as again:
        assert len(again) == 7, "whoever opens the ledger for writing finishes it"
    assert len(ledger) == 7


def test_what_is_finished_on_opening_is_noted_as_given_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head can be cosigned and published at once, so an older copy of the database must be refused from then on."""
    folder = ledger.path.parent
    old = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-old")))
    cut_short(ledger, following(ledger, 1), monkeypatch)
    with Ledger(ledger.path) as again:
        assert len(again) == 4
    shutil.copy(f"{ledger.path}.head", old)
    with pytest.raises(LedgerDamaged, match="a head of 4 was given out"):
        Ledger(old / ledger.path.name)


def test_a_conflicting_record_is_refused_once_the_other_is_finished(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(ledger, following(ledger, 1), monkeypatch)
    rival = make_record(3, ledger.last("task"), weight_sum=4)
    with pytest.raises(LedgerRefused, match="already"):
        add(ledger, rival)


def test_what_was_cut_short_is_signed_only_as_it_was_approved(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(ledger, following(ledger, 2), monkeypatch)
    sound = ledger.path.read_bytes(), Path(f"{ledger.path}-wal").read_bytes()
    for statement in (
        "UPDATE approved SET root = zeroblob(32)",
        "UPDATE approved SET size = 4",
        "UPDATE approved SET size = 6",
        "UPDATE approved SET approval = 'text'",
        "DELETE FROM leaves WHERE idx = 4",
        "UPDATE leaves SET record = zeroblob(10) WHERE idx = 4",
    ):
        copy = ledger.path.parent / "copy" / "rounds.db"
        copy.parent.mkdir(exist_ok=True)
        for content, suffix in zip(sound, ("", "-wal"), strict=True):
            Path(f"{copy}{suffix}").write_bytes(content)
        db = sqlite3.connect(copy)
        with db:
            assert db.execute(statement).rowcount == 1
        db.close()
        for beside in (".keys", ".trust.json"):
            target = Path(f"{copy}{beside}")
            if not target.exists():
                target.symlink_to(f"{ledger.path}{beside}")
        with pytest.raises(LedgerDamaged):
            Ledger(copy)


def test_an_approval_is_no_signature_of_a_head(ledger: Ledger) -> None:
    root = ledger.head().root
    approval = ledger._approve(approval_text(ledger.origin, 3, root))
    check_approval(ledger.log_public, ledger.origin, 3, root, approval)
    for origin, size, other in (("another", 3, root), (ledger.origin, 4, root), (ledger.origin, 3, bytes(32))):
        with pytest.raises(LedgerDamaged, match="never approved"):
            check_approval(ledger.log_public, origin, size, other, approval)
    with pytest.raises(VerificationError):
        SignedHead(ledger.origin, 3, root, approval).verify(ledger.log_public)
    with pytest.raises(LedgerDamaged):
        check_approval(ledger.log_public, ledger.origin, 3, root, ledger.head().signature)


# A disk that is waited for


def test_a_file_that_sqlite_would_not_sync_is_not_written(tmp_path: Path) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(LedgerError, match="can't be written safely: SQLite has journal_mode"):
        make_durable(db, tmp_path / "rounds.db")
    db.close()


def test_a_ledger_whose_write_ahead_log_was_switched_off_gets_it_back(ledger: Ledger) -> None:
    ledger.close()
    db = sqlite3.connect(ledger.path, isolation_level=None)
    assert db.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    db.close()
    with Ledger(ledger.path) as again:
        assert again._database.rows("PRAGMA journal_mode") == [("wal",)]
        assert again._database.rows("PRAGMA synchronous") == [(2,)]
        fill(again, 1)
