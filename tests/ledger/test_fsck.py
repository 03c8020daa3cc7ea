"""``ledger fsck``: every kind of damage is named, and only what the rest of the ledger proves is repaired."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from support.records.hand_made import evidence_of, fill, make_record, sha256

import secure_agg
from secure_agg import Identity, Ledger
from secure_agg.cli import main
from secure_agg.errors import LedgerDamaged, LedgerError
from secure_agg.ledger.database import NewLeaf
from secure_agg.ledger.fsck.fsck import fsck
from secure_agg.ledger.fsck.report import Kind
from secure_agg.tlog.cosignature import WitnessKey, cosign
from zk import merkle

WITNESS = Identity("w", sha256("witness"))
RECORDS = 7


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of hand-made records of two tasks, with a cosignature."""
    path = tmp_path_factory.mktemp("filled") / "rounds.db"
    with Ledger(path) as ledger:
        fill(ledger, 4)
        fill(ledger, 2, "other")
        fill(ledger, 1)
        head = ledger.head()
        line = cosign(WITNESS, "w.example", head.checkpoint, 1_700_000_000)
        note = head.note(ledger.log_public, (line,)).to_bytes()
        ledger.add_cosignatures(note, [WitnessKey("w.example", WITNESS.public)])
    return path


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    shutil.copytree(filled.parent, tmp_path / "copy")
    return tmp_path / "copy" / filled.name


def execute(path: Path, *statements: str) -> None:
    """Change a ledger's file behind its back."""
    db = sqlite3.connect(path)
    with db:
        for statement in statements:
            assert db.execute(statement).rowcount != 0
    db.close()


def tables(path: Path) -> dict[str, list[object]]:
    db = sqlite3.connect(path)
    names = ("leaves", "nodes", "heads", "cosignatures", "approved")
    content: dict[str, list[object]] = {
        name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()  # noqa: S608
        for name in names
    }
    db.close()
    return content


def files(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.parent.rglob("*")) if file.is_file()}


def kinds(path: Path, *, repair: bool = False) -> list[Kind]:
    return [finding.kind for finding in fsck(path, repair=repair).findings]


# Sound


@pytest.mark.parametrize("repair", [False, True])
def test_nothing_is_found_in_a_sound_ledger_and_nothing_is_changed(copy: Path, repair: bool) -> None:
    before = files(copy)
    report = fsck(copy, repair=repair)
    assert (report.findings, report.sound, report.size) == ((), True, RECORDS)
    with Ledger(copy, read_only=True) as ledger:
        assert report.root == ledger.head().root
    assert files(copy) == before


def test_an_empty_ledger_is_sound(tmp_path: Path) -> None:
    Ledger(tmp_path / "rounds.db").close()
    report = fsck(tmp_path / "rounds.db")
    assert (report.findings, report.size, report.root) == ((), 0, merkle.EMPTY_ROOT)


def test_what_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        fsck(tmp_path / "rounds.db")
    assert list(tmp_path.iterdir()) == []


# Repaired


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["UPDATE leaves SET leaf_hash = zeroblob(32) WHERE idx = 3"], "row of record 3"),
        (["UPDATE leaves SET round = 50 WHERE idx = 3"], "row of record 3"),
        (["UPDATE leaves SET task = 'third' WHERE idx = 4"], "row of record 4"),
        (
            ["UPDATE leaves SET round = 50 WHERE idx = 1", "UPDATE leaves SET round = 1 WHERE idx = 3"],
            "row of record 1",
        ),
        (["UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 1"], "node 1 of level 1"),
        (["DELETE FROM nodes"], "node 0 of level 1"),
        (["UPDATE nodes SET idx = 9 WHERE level = 2 AND idx = 0"], "node 9 of level 2"),
        (["INSERT INTO nodes VALUES (5, 0, zeroblob(32))"], "node 0 of level 5"),
        (["UPDATE heads SET root = zeroblob(32) WHERE size = 4"], "head of size 4"),
        (["UPDATE heads SET root = zeroblob(32) WHERE size = 0"], "head of size 0"),
        (["DELETE FROM heads WHERE size = 7"], "head of size 7"),
        (["UPDATE heads SET signature = zeroblob(64) WHERE size = 7"], "head of size 7"),
    ],
)
def test_what_follows_from_the_rest_is_made_as_it_was(copy: Path, statements: list[str], message: str) -> None:
    sound = tables(copy)
    execute(copy, *statements)
    damaged = tables(copy)
    report = fsck(copy)
    assert not report.sound
    assert {finding.kind for finding in report.findings} == {Kind.REPAIRABLE}
    assert any(message in finding.where + finding.what for finding in report.findings)
    assert tables(copy) == damaged
    assert fsck(copy, repair=True).sound
    assert tables(copy) == sound
    assert fsck(copy).findings == ()


def test_a_cosignature_that_does_not_verify_is_removed(copy: Path) -> None:
    execute(copy, "UPDATE cosignatures SET signature = zeroblob(72)")
    assert kinds(copy) == [Kind.REPAIRABLE]
    assert kinds(copy, repair=True) == [Kind.REPAIRED]
    assert tables(copy)["cosignatures"] == []


def test_an_index_that_does_not_fit_its_table_is_made_anew(copy: Path) -> None:
    db = sqlite3.connect(copy, isolation_level=None)
    (page, size) = (
        db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_leaves_1'").fetchone()[0],
        db.execute("PRAGMA page_size").fetchone()[0],
    )
    db.close()
    content = bytearray(copy.read_bytes())
    begin = content.index(b"task", (page - 1) * size)
    assert begin < page * size
    content[begin : begin + 4] = b"taak"
    copy.write_bytes(content)
    assert Kind.REPAIRABLE in kinds(copy)
    assert fsck(copy, repair=True).sound
    assert fsck(copy).findings == ()


def test_a_lost_or_broken_note_of_the_newest_head_is_written_anew(copy: Path) -> None:
    note = Path(f"{copy}.head")
    content = note.read_bytes()
    note.unlink()
    assert kinds(copy) == [Kind.NOTE]
    fsck(copy, repair=True)
    assert note.read_bytes() == content
    for broken in (b"", content[:-5], b"\xff" * 100):
        note.write_bytes(broken)
        assert set(kinds(copy)) == {Kind.NOTE}
        fsck(copy, repair=True)
        assert note.read_bytes() == content


def test_leftovers_of_killed_processes_are_removed_and_nothing_else_is(copy: Path) -> None:
    kept = files(copy)
    own = [
        copy.parent / f".{copy.name}-0123456789abcdef",
        copy.parent / f".{copy.name}-0123456789abcdef-wal",
        copy.parent / f".{copy.name}.trust.json-0123456789abcdef",
        Path(f"{copy}.keys") / f".{next(Path(f'{copy}.keys').glob('log-*.key')).name}-0123456789abcdef",
        Path(f"{copy}.keys") / f".client-{'0' * 32}.key-0123456789abcdef",
        next(Path(f"{copy}.evidence").rglob("*.evidence")).parent / ".new-0123456789abcdef",
    ]
    others = [copy.parent / "notes.txt", copy.parent / f"{copy.name}.bak", Path(f"{copy}.keys") / "other.key"]
    for file in own + others:
        file.write_bytes(b"x")
    assert kinds(copy) == [Kind.NOTE] * len(own)
    assert kinds(copy, repair=True) == [Kind.REPAIRED] * len(own)
    assert files(copy) == kept | {str(file): b"x" for file in others}


def leave_unfinished(path: Path) -> bytes:
    """Cut an append short between its two transactions; returns the root that it was to get."""
    with Ledger(path) as ledger:
        record = make_record(50, ledger.last("task"))
        ledger._evidence.put(evidence_of("task", 50))

        def killed(size: int, root: bytes) -> object:
            raise KeyboardInterrupt

        leaf = NewLeaf("task", 50, record.to_bytes())
        with pytest.raises(KeyboardInterrupt), ledger._database.exclusive():
            ledger._database.append([leaf], killed, ledger._approve)  # type: ignore[arg-type]
        return merkle.root([r.to_bytes() for r in (*ledger.records(), record)])


def test_an_append_that_was_cut_short_is_no_damage_and_the_next_writer_finishes_it(copy: Path) -> None:
    root = leave_unfinished(copy)
    with Ledger(copy, read_only=True) as ledger:
        assert len(ledger) == RECORDS
        assert ledger.find("task", 50) is None
    for repair in (False, True):
        assert kinds(copy, repair=repair) == [Kind.NOTE]
    Ledger(copy).close()
    with Ledger(copy, read_only=True) as ledger:
        assert (len(ledger), ledger.head().root) == (RECORDS + 1, root)
    assert fsck(copy, repair=True).sound
    assert fsck(copy).findings == ()


def test_nobody_without_the_key_gets_a_record_signed_as_one_that_was_cut_short(copy: Path) -> None:
    leave_unfinished(copy)
    execute(copy, "UPDATE approved SET approval = zeroblob(64)")
    with pytest.raises(LedgerDamaged, match="never approved"):
        Ledger(copy)
    assert kinds(copy, repair=True) == [Kind.DAMAGE]
    execute(copy, "DELETE FROM approved")
    report = fsck(copy)
    assert [(finding.kind, finding.where) for finding in report.findings if finding.kind is Kind.DAMAGE] == [
        (Kind.DAMAGE, f"record {RECORDS}")
    ]


# Records that evidence proves


def test_a_lost_record_is_brought_back_from_its_evidence(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    updates = {name: [np.arange(3.0)] for name in ("ann", "bob", "cyd")}
    for _ in range(3):
        secure_agg.aggregate(updates, backend="plain", ledger=path)
    sound = tables(path)
    for statements in (
        ["UPDATE leaves SET record = zeroblob(100) WHERE idx = 1"],
        ["DELETE FROM leaves WHERE idx = 0"],
        ["DELETE FROM leaves WHERE idx = 2", "DELETE FROM heads WHERE size = 3"],
    ):
        execute(path, *statements)
        assert not fsck(path).sound
        assert fsck(path, repair=True).sound
        assert tables(path) == sound
    with Ledger(path) as ledger:
        ledger.audit()


# Damage


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["UPDATE leaves SET record = zeroblob(100) WHERE idx = 3"], "record 3 is not what its head was signed for"),
        (["DELETE FROM leaves WHERE idx = 3"], "record 3 is missing"),
        (["UPDATE leaves SET record = zeroblob(1000000) WHERE idx = 3"], "too big"),
        (["UPDATE heads SET signature = zeroblob(64) WHERE size = 2"], "fsck signs nothing"),
        (["DELETE FROM heads WHERE size = 0"], "fsck signs nothing"),
        (["INSERT INTO heads VALUES (-3, zeroblob(32), zeroblob(64))"], "not so many records"),
        (["INSERT INTO leaves SELECT 7, task, 99, record, leaf_hash FROM leaves WHERE idx = 6"], "never approved"),
        (["DROP TABLE nodes"], "no such table"),
        (["DELETE FROM nodes WHERE level = 1 AND idx = 0", "DROP TABLE cosignatures"], "no such table"),
        (["UPDATE ledger SET version = 9"], "schema version 9"),
        (["UPDATE ledger SET origin = 'another/log'"], "fsck signs nothing"),
        (["DELETE FROM leaves WHERE idx = 6", "DELETE FROM heads WHERE size = 7"], "was given out: it was lost"),
    ],
)
def test_what_nothing_proves_is_named_and_left_as_it_is(copy: Path, statements: list[str], message: str) -> None:
    execute(copy, *statements)
    for repair in (False, True):
        report = fsck(copy, repair=repair)
        assert not report.sound
        damage = [finding for finding in report.findings if finding.kind is Kind.DAMAGE]
        assert any(message in finding.what for finding in damage), damage
        assert all(finding.remedy for finding in damage)


def test_nothing_is_said_to_be_repaired_that_the_database_has_not_kept(copy: Path) -> None:
    execute(copy, "DELETE FROM nodes WHERE level = 1 AND idx = 0", "DROP TABLE cosignatures")
    assert set(kinds(copy, repair=True)) == {Kind.REPAIRABLE, Kind.DAMAGE}


def test_nothing_is_rewritten_to_fit_a_record_that_no_head_confirms(copy: Path) -> None:
    forged = make_record(3, weight_sum=9).to_bytes()
    db = sqlite3.connect(copy)
    with db:
        db.execute("UPDATE leaves SET record = ?, leaf_hash = ? WHERE idx = 3", (forged, merkle.leaf_hash(forged)))
        db.execute("UPDATE heads SET signature = zeroblob(64) WHERE size = 4")
    db.close()
    before = tables(copy)
    report = fsck(copy, repair=True)
    assert not report.sound
    assert tables(copy) == before


def test_every_file_beside_the_database_is_looked_at(copy: Path) -> None:
    with Ledger(copy, read_only=True) as ledger:
        evidence = ledger.evidence_path(ledger.record(2))
    trust, key = Path(f"{copy}.trust.json"), next(Path(f"{copy}.keys").glob("log-*.key"))
    for file, content in (
        (evidence, b"changed"),
        (evidence, None),
        (trust, b"{}"),
        (trust, None),
        (key, b"no key"),
        (key, b"0" * 63 + b"1"),
        (copy, b"no database"),
        (copy, b""),
        (copy, None),
    ):
        before = file.read_bytes()
        file.unlink() if content is None else file.write_bytes(content)
        report = fsck(copy, repair=True)
        assert [finding.kind for finding in report.findings] == [Kind.DAMAGE], (file, content)
        file.write_bytes(before)
        assert fsck(copy).findings == ()
    key.chmod(0o644)
    assert kinds(copy) == [Kind.DAMAGE]
    key.unlink()
    assert kinds(copy) == [Kind.NOTE], "a copy without the key is an auditor's"
    shutil.rmtree(f"{copy}.keys")
    trust.unlink()
    assert set(kinds(copy)) == {Kind.NOTE}, "and so is one without its pins"


def test_two_histories_are_told_from_a_crash(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "forged").mkdir()
    shutil.copytree(f"{copy}.keys", tmp_path / "forged" / f"{copy.name}.keys")
    with Ledger(tmp_path / "forged" / copy.name) as forged:
        fill(forged, RECORDS, "forged")
    shutil.copy(tmp_path / "forged" / f"{copy.name}.head", f"{copy}.head")
    assert any("two histories" in finding.what for finding in fsck(copy).findings)
    with pytest.raises(LedgerDamaged, match="not the one that was given out"):
        Ledger(copy)


def test_an_old_copy_is_not_gone_on_with(copy: Path) -> None:
    old = copy.read_bytes()
    with Ledger(copy) as ledger:
        fill(ledger, 1)
    copy.write_bytes(old)
    with pytest.raises(LedgerDamaged, match="old copy"):
        Ledger(copy)
    with Ledger(copy, read_only=True) as ledger, pytest.raises(LedgerDamaged, match="head of 8 was given out"):
        ledger.audit()
    assert not fsck(copy, repair=True).sound


def test_evidence_of_no_record_is_said_to_be_there(copy: Path) -> None:
    with Ledger(copy) as ledger:
        ledger._evidence.put(b"evidence of a round that was never recorded")
    report = fsck(copy, repair=True)
    assert [(finding.kind, "no record names" in finding.what) for finding in report.findings] == [(Kind.NOTE, True)]
    assert report.sound


# Readers


def test_reading_and_examining_leave_no_files_behind(copy: Path) -> None:
    before = files(copy)
    with Ledger(copy, read_only=True) as ledger:
        list(ledger.records())
    fsck(copy)
    assert files(copy) == before


# The command


def test_the_command_says_what_to_do_and_exits_4_until_it_is_repaired(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["ledger", "fsck", str(copy), *arguments])
        assert isinstance(caught.value.code, int)
        return caught.value.code, capsys.readouterr().out

    assert run() == (0, f"sound: {RECORDS} records\n")
    execute(copy, "DELETE FROM nodes WHERE level = 2")
    code, out = run()
    assert code == 4
    assert "to do: run fsck with --repair" in out
    assert run("--repair")[0] == 0
    execute(copy, "DELETE FROM leaves WHERE idx = 2")
    code, out = run("--json", "--repair")
    document = json.loads(out)
    assert (code, document["sound"], document["findings"][0]["kind"]) == (4, False, "damage")
    assert "record 2 is missing" in document["findings"][0]["what"]
