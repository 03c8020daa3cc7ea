"""The ledger's storage, with hand-made records: what it refuses, what survives, and what damage is noticed.

Rounds that were really run, and their evidence, are in test_ledger_audit.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.records.hand_made import add, fill, make_record, sha256

from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    TrustError,
    VerificationError,
)
from secure_agg.ledger import audit as audit_module
from secure_agg.ledger import connection
from secure_agg.ledger.database import Database, NewLeaf
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.config import NO_DIGEST, Policy
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.identity import Identity, KeyDirectory, Roster
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.head import SignedHead
from zk import merkle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rounds.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


@pytest.fixture
def storage_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits check everything but what hand-made evidence can't prove."""
    verified = SimpleNamespace(pinned=frozenset({"policy"}), proofs=0)
    config = SimpleNamespace(policy=SimpleNamespace(privacy=None))
    monkeypatch.setattr(audit_module, "_check_evidence", lambda *_: (verified, config))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of seven records of two tasks, to be copied and damaged."""
    path = tmp_path_factory.mktemp("filled") / "rounds.db"
    with Ledger(path) as ledger:
        fill(ledger, 4)
        fill(ledger, 2, "other")
        fill(ledger, 1)
    return path


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Path:
    """A copy of ``filled`` that a test may damage."""
    shutil.copytree(filled.parent, tmp_path / "copy")
    return tmp_path / "copy" / filled.name


def execute(path: Path, statement: str, *values: object) -> None:
    """Change a ledger's file behind its back."""
    db = sqlite3.connect(path)
    with db:
        assert db.execute(statement, values).rowcount != 0
    db.close()


# What a new ledger is


def test_a_new_ledger_is_empty_and_signed(ledger: Ledger, path: Path) -> None:
    head = ledger.head()
    head.verify(ledger.log_public)
    assert (len(ledger), head.size, head.root) == (0, 0, merkle.EMPTY_ROOT)
    assert ledger
    assert ledger.origin == f"secure-agg/{hashlib.sha256(ledger.log_public).hexdigest()[:16]}"
    assert ledger.trust == Trust(log=ledger.log_public, origin=ledger.origin)
    assert list(ledger.records()) == []
    assert ledger.last("task") is None
    assert ledger.find("task", 0) is None
    assert {entry.name for entry in path.parent.iterdir()} >= {
        "rounds.db",
        "rounds.db.keys",
        "rounds.db.trust.json",
    }
    assert all(key.stat().st_mode & 0o077 == 0 for key in Path(f"{path}.keys").iterdir())


def test_an_origin_is_chosen_once(path: Path) -> None:
    with Ledger(path, origin="example.org/rounds") as ledger:
        assert ledger.origin == ledger.head().origin == "example.org/rounds"
    Ledger(path, origin="example.org/rounds").close()
    with pytest.raises(ConfigError, match=r"example\.org/rounds"):
        Ledger(path, origin="example.org/other")


@pytest.mark.parametrize("origin", ["two\nlines", "a space", "a+b", "", "é", "x" * 129])
def test_an_origin_is_one_printable_word(origin: str) -> None:
    with pytest.raises(ConfigError, match="origin"):
        SignedHead.sign(Identity.generate("log"), origin, 0, merkle.EMPTY_ROOT)


# Appending and reading


def test_records_come_back_and_every_receipt_verifies(ledger: Ledger) -> None:
    records: list[RoundRecord] = []
    for round in range(9):
        records.append(make_record(round, records[-1] if records else None))
        receipt = add(ledger, records[-1])
        receipt.verify(records[-1].to_bytes(), ledger.verifier_key)
        assert (receipt.index, receipt.checkpoint) == (round, ledger.head().checkpoint)
    assert list(ledger.records()) == records
    assert ledger.record(4) == records[4]
    assert ledger.last("task") == records[8]
    assert ledger.find("task", 5) == 5
    assert ledger.find("task", 9) is None
    assert ledger.head().root == merkle.root([record.to_bytes() for record in records])
    for size in range(10):
        assert ledger.head_at(size).root == merkle.root([record.to_bytes() for record in records[:size]])
        for index in range(size):
            ledger.receipt(index, size).verify(records[index].to_bytes(), ledger.verifier_key)
        for later in range(size, 10):
            merkle.verify_consistency(
                size,
                later,
                ledger.head_at(size).root,
                ledger.head_at(later).root,
                ledger.consistency(size, later),
            )


def test_tasks_are_chains_of_their_own(ledger: Ledger) -> None:
    fill(ledger, 2, "a")
    fill(ledger, 3, "b")
    fill(ledger, 1, "a")
    assert [(record.task, record.round) for record in ledger.records()] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("a", 2)
    ]  # fmt: skip


def test_a_task_may_begin_and_go_on_at_any_later_round(ledger: Ledger) -> None:
    first = make_record(7)
    add(ledger, first)
    add(ledger, make_record(20, first))
    assert ledger.find("task", 20) == 1


def test_nothing_is_lost_by_closing(path: Path) -> None:
    with Ledger(path) as ledger:
        fill(ledger, 3)
        head, records = ledger.head(), list(ledger.records())
    with Ledger(path) as again:
        assert (again.head(), list(again.records())) == (head, records)
        fill(again, 1)
        assert len(again) == 4
    with pytest.raises(LedgerError, match="closed"):
        again.head()


def test_positions_that_do_not_exist_are_errors(ledger: Ledger) -> None:
    fill(ledger, 2)
    attempts: list[Callable[[], object]] = [
        lambda: ledger.record(2),
        lambda: ledger.record(-1),
        lambda: ledger.receipt(2),
        lambda: ledger.receipt(1, 1),
        lambda: ledger.receipt(0, 3),
        lambda: ledger.head_at(3),
        lambda: ledger.head_at(-1),
        lambda: ledger.head_at(2**63),
        lambda: ledger.consistency(1, 3),
        lambda: ledger.consistency(2, 1),
        lambda: ledger.consistency(-1, 1),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError) as caught:
            attempt()
        assert not isinstance(caught.value, LedgerDamaged)


# What is refused, leaving nothing behind


def snapshot(ledger: Ledger) -> tuple[object, ...]:
    files = sorted(ledger.path.parent.rglob("*.evidence"))
    return ledger.head(), list(ledger.records()), files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"round": 2}, "in the ledger already"),
        ({"round": 1}, "not after the task's last round, 2"),
        ({"start_model": bytes(32)}, "start_model 0000"),
        ({"previous_record": NO_DIGEST}, "previous_record 0000"),
        ({"task": "new"}, "not zeros"),
        ({"commitment_sum": bytes(1 << 16)}, "above 65536"),
    ],
)
def test_a_record_out_of_the_chain_is_refused_and_nothing_is_written(
    ledger: Ledger, change: dict[str, object], message: str
) -> None:
    first = make_record(0)
    second = make_record(2, first)
    add(ledger, first)
    add(ledger, second)
    before = snapshot(ledger)
    with pytest.raises(LedgerRefused, match=message):
        add(ledger, make_record(**({"round": 3, "previous": second} | change)))  # type: ignore[arg-type]
    assert snapshot(ledger) == before
    add(ledger, make_record(3, second))


def test_evidence_above_the_limit_is_refused_and_nothing_is_written(ledger: Ledger) -> None:
    ledger._evidence.limit = 5
    before = snapshot(ledger)
    with pytest.raises(LedgerRefused, match="above 5"):
        fill(ledger, 1)
    assert snapshot(ledger) == before


def test_a_failure_while_writing_leaves_the_old_head(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, 3)
    head = ledger.head()

    def power_cut(size: int, root: bytes) -> SignedHead:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "_sign", power_cut)
    with pytest.raises(KeyboardInterrupt):
        fill(ledger, 1)
    monkeypatch.undo()
    assert ledger.head() == head
    fill(ledger, 1)
    assert len(ledger) == 4


def test_two_heads_of_one_size_are_impossible(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, 2)
    before = (ledger.head(), list(ledger.records()))

    def repeat_a_size(size: int, root: bytes) -> SignedHead:
        return SignedHead.sign(Identity.generate("log"), ledger.origin, size - 1, root)

    monkeypatch.setattr(ledger, "_sign", repeat_a_size)
    with pytest.raises(LedgerDamaged, match=r"heads\.size"):
        fill(ledger, 1)
    assert (ledger.head(), list(ledger.records())) == before
    assert ledger._database.leaf(2) is None  # what was written before the head was refused is gone with it


# Many writers


def test_threads_that_append_at_once_make_one_chain(path: Path) -> None:
    with Ledger(path) as ledger:
        threads = [threading.Thread(target=fill, args=(ledger, 5, f"task {i}")) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ledger) == 20
        assert ledger.head().root == merkle.root([record.to_bytes() for record in ledger.records()])


def test_one_writer_at_a_time_checks_and_extends_a_chain(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    with Ledger(path) as first, Ledger(path) as second:
        with first._database.exclusive(), pytest.raises(LedgerError, match="locked"):
            fill(second, 1)
        fill(second, 1)
        assert len(first) == 1


WRITER = """
import sys
from support.records.hand_made import add, make_record
from secure_agg.errors import LedgerRefused
from secure_agg.ledger.log import Ledger
path, task = sys.argv[1:]
with Ledger(path) as ledger:
    for _ in range(5):
        previous = ledger.last(task)
        add(ledger, make_record(previous.round + 1 if previous else 0, previous, task=task))
    refused = 0
    previous = None
    for round in range(5):
        record = make_record(round, previous, task="contested")
        try:
            add(ledger, record)
        except LedgerRefused:
            refused += 1
        previous = record
print(refused)
"""


def test_processes_that_append_at_once_make_one_chain(path: Path, storage_audit: None) -> None:
    Ledger(path).close()
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"task {i}"],
            stdout=subprocess.PIPE,
            cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        )
        for i in range(2)
    ]
    refused = [int(writer.communicate(timeout=600)[0]) for writer in writers]
    assert sum(refused) == 5  # each contested round was appended by exactly one of the two
    with Ledger(path, read_only=True) as ledger:
        assert ledger.audit().tasks == {"task 0": 5, "task 1": 5, "contested": 5}


# Opening


def test_an_auditor_needs_no_key_and_can_write_nothing(copy: Path, storage_audit: None) -> None:
    shutil.rmtree(f"{copy}.keys")
    with Ledger(copy, read_only=True) as ledger:
        assert ledger.audit(ledger.trust).size == 7
        with pytest.raises(LedgerRefused, match="reading only"):
            add(ledger, make_record(8, ledger.last("task")))
        with pytest.raises(LedgerRefused, match="reading only"):
            ledger.pin("new", task_trust("a", "b", "c"), Roster({}))
    assert not Path(f"{copy}.keys").exists()
    with pytest.raises(LedgerError, match="signing key"):
        Ledger(copy)


def test_an_auditor_reads_from_a_directory_that_can_not_be_written(
    copy: Path, storage_audit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Ledger(copy, read_only=True) as ledger:
        assert ledger.audit().size == 7
        assert not Path(f"{copy}-shm").exists()


def test_reading_does_not_make_a_ledger(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(path, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_an_unknown_schema_version_is_not_touched(copy: Path) -> None:
    execute(copy, "UPDATE ledger SET version = 2")
    for read_only in (False, True):
        with pytest.raises(LedgerDamaged, match="schema version 2, not 3"):
            Ledger(copy, read_only=read_only)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON heads BEGIN DELETE FROM cosignatures; END",
        "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
    ],
)
def test_a_file_that_does_something_when_it_is_used_is_not_opened(copy: Path, statement: str) -> None:
    execute(copy, statement)
    for read_only in (False, True):
        with pytest.raises(LedgerDamaged, match="which no ledger has"):
            Ledger(copy, read_only=read_only)


@pytest.mark.parametrize(
    ("table", "changed", "statement"),
    [
        ("heads", "size + 0.5 AS size, root, signature", "SELECT 1"),
        ("approved", "size, root, approval", "INSERT INTO approved VALUES ('x', zeroblob(32), zeroblob(64))"),
    ],
)
def test_a_size_that_is_no_integer_is_damage(copy: Path, table: str, changed: str, statement: str) -> None:
    """The tables of a stranger's file may have columns of any type."""
    execute(copy, f"CREATE TABLE other AS SELECT {changed} FROM {table}")  # noqa: S608
    execute(copy, f"DROP TABLE {table}")
    execute(copy, f"ALTER TABLE other RENAME TO {table}")
    execute(copy, statement)
    with pytest.raises(LedgerDamaged, match="malformed"), Ledger(copy, read_only=table == "heads") as ledger:
        len(ledger)


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100, b"SQLite format 3\0" + bytes(4096)])
def test_what_is_not_a_ledger_is_not_opened(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    Path(f"{path}.keys").mkdir(mode=0o700)
    KeyDirectory(Path(f"{path}.keys")).get("log", "log")
    for read_only in (False, True):
        with pytest.raises(LedgerDamaged):
            Ledger(path, read_only=read_only)
    assert path.read_bytes() == content


def test_another_log_key_is_not_signed_with(copy: Path) -> None:
    keys = KeyDirectory(Path(f"{copy}.keys"))
    keys.locate("log", "log").unlink()
    with pytest.raises(LedgerError, match="is not in"):
        Ledger(copy)
    assert not keys.locate("log", "log").exists(), "a refusal leaves no new key behind"
    keys.get("log", "log")
    with pytest.raises(LedgerError, match="not the one that signs"):
        Ledger(copy)


def test_a_lost_database_is_not_begun_anew_under_the_same_key(copy: Path) -> None:
    copy.unlink()
    with pytest.raises(LedgerDamaged, match="is gone"):
        Ledger(copy)
    assert not copy.exists()


def test_a_lost_trust_file_is_not_replaced_by_an_empty_one(copy: Path) -> None:
    Path(f"{copy}.trust.json").unlink()
    with pytest.raises(LedgerDamaged, match="trust file"):
        Ledger(copy)


def test_a_trust_file_of_another_log_is_noticed(copy: Path) -> None:
    Trust(log=Identity.generate("log").public).save(f"{copy}.trust.json")
    with pytest.raises(LedgerDamaged, match="another log"):
        Ledger(copy)


# Pins


def task_trust(*names: str, clip: float = 8.0) -> TaskTrust:
    identities = [Identity(name, sha256(name)) for name in names]
    roster = Roster({identity.name: identity.public for identity in identities})
    return TaskTrust(roster, Policy.default(len(names), clip=clip))


def test_a_task_is_pinned_once(ledger: Ledger) -> None:
    operators = Roster({"server": Identity.generate("server").public})
    pinned = task_trust("a", "b", "c")
    ledger.pin("task", pinned, operators)
    ledger.pin("task", pinned, operators)
    ledger.pin("second", task_trust("d", "e", "f"), operators)
    with Ledger(ledger.path, read_only=True) as reader:
        assert reader.trust == ledger.trust
    assert (ledger.trust.task("task"), ledger.trust.operators) == (pinned, operators)
    before = ledger.trust_path.read_bytes()
    with pytest.raises(ConfigError, match="clip"):
        ledger.pin("task", task_trust("a", "b", "c", clip=4.0), operators)
    with pytest.raises(ConfigError, match="roster"):
        ledger.pin("task", task_trust("a", "b", "d"), operators)
    with pytest.raises(ConfigError, match="server"):
        ledger.pin("third", task_trust("a", "b", "c"), Roster({}))
    with pytest.raises(ConfigError, match="server"):
        ledger.pin("third", task_trust("a", "b", "c"), Roster({"server": Identity.generate("server").public}))
    assert ledger.trust_path.read_bytes() == before


# Heads


def test_a_head_signs_the_text_of_a_checkpoint() -> None:
    identity = Identity("log", bytes(range(32)))
    head = SignedHead.sign(identity, "example.org/log", 7, merkle.EMPTY_ROOT)
    text = "example.org/log\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert head.checkpoint.text == text
    assert head.signature == identity.sign(text.encode())
    head.verify(identity.public)


def test_a_changed_head_does_not_verify() -> None:
    identity, other = Identity("log", bytes(range(32))), Identity("log", bytes(32))
    head = SignedHead.sign(identity, "example.org/log", 7, merkle.EMPTY_ROOT)
    for changed in (
        SignedHead("example.org/other", head.size, head.root, head.signature),
        SignedHead(head.origin, 8, head.root, head.signature),
        SignedHead(head.origin, head.size, bytes(32), head.signature),
        SignedHead(head.origin, head.size, head.root, bytes(64)),
        SignedHead.sign(other, head.origin, head.size, head.root),
    ):
        with pytest.raises(VerificationError, match="not signed by the pinned log key"):
            changed.verify(identity.public)


# Evidence


def test_evidence_is_found_by_its_hash_and_checked(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "evidence", limit=10)
    digest = store.put(b"evidence")
    assert store.put(b"evidence") == digest == hashlib.sha256(b"evidence").digest()
    assert store.get(digest) == b"evidence"
    assert [file.name for file in store.path.rglob("*") if file.is_file()] == [f"{digest.hex()}.evidence"]
    with pytest.raises(LedgerDamaged, match="missing"):
        store.get(bytes(32))
    store.locate(digest).write_bytes(b"Evidence")
    with pytest.raises(LedgerDamaged, match="other content"):
        store.get(digest)
    store.locate(digest).write_bytes(b"too much evidence")
    with pytest.raises(LedgerDamaged, match="above 10"):
        store.get(digest)
    store.put(b"evidence")
    assert store.get(digest) == b"evidence"
    with pytest.raises(LedgerRefused, match="above 10"):
        store.put(b"too much evidence")


def test_evidence_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("in the way")
    with pytest.raises(LedgerError, match="can't be written"):
        EvidenceStore(tmp_path / "evidence").put(b"evidence")


# Damage


def test_a_sound_ledger_passes_its_audit(filled: Path, storage_audit: None) -> None:
    progress: list[tuple[int, int]] = []
    with Ledger(filled, read_only=True) as ledger:
        report = ledger.audit(progress=lambda done, size: progress.append((done, size)))
        assert (report.size, report.root) == (7, ledger.head().root)
    assert report.tasks == {"task": 5, "other": 2}
    assert report.pinned == {"policy", "log"}
    assert report.evidence_bytes == sum(
        file.stat().st_size for file in Path(f"{filled}.evidence").rglob("*") if file.is_file()
    )
    assert progress == [(done, 7) for done in range(1, 8)]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE leaves SET record = zeroblob(100) WHERE idx = 3", "record 3"),
        ("UPDATE leaves SET record = 'text' WHERE idx = 3", "record 3"),
        ("UPDATE leaves SET leaf_hash = zeroblob(32) WHERE idx = 3", "record 3"),
        ("UPDATE leaves SET record = zeroblob(1000000) WHERE idx = 3", "too big"),
        ("UPDATE leaves SET round = 50 WHERE idx = 3", "record 3"),
        ("UPDATE leaves SET task = 'third' WHERE idx = 4", "record 4"),
        ("UPDATE leaves SET idx = 70 WHERE idx = 6", "record 6 is missing"),
        ("DELETE FROM leaves WHERE idx = 6", "6 leaves"),
        ("INSERT INTO leaves SELECT 7, task, 99, record, leaf_hash FROM leaves WHERE idx = 6", "8 leaves"),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 1", "node 1 of level 1"),
        ("UPDATE nodes SET hash = 'text' WHERE level = 2 AND idx = 0", "node 0 of level 2"),
        ("UPDATE nodes SET idx = 9 WHERE level = 2 AND idx = 0", "node 0 of level 2"),
        ("DELETE FROM nodes WHERE level = 2 AND idx = 0", "3 nodes"),
        ("INSERT INTO nodes VALUES (5, 0, zeroblob(32))", "5 nodes"),
        ("UPDATE heads SET root = zeroblob(32) WHERE size = 7", "head of size 7"),
        ("UPDATE heads SET root = zeroblob(32) WHERE size = 0", "head of size 0"),
        ("UPDATE heads SET signature = zeroblob(64) WHERE size = 2", "head of size 2"),
        ("UPDATE heads SET signature = zeroblob(63) WHERE size = 2", "head of size 2"),
        ("UPDATE heads SET signature = NULL WHERE size = 2", None),
        ("UPDATE heads SET size = -1 WHERE size = 2", "size 2 is missing"),
        ("DELETE FROM heads WHERE size = 7", "head of 7 was given out"),
        ("DELETE FROM heads", "no signed head"),
        ("DROP TABLE nodes", "no such table"),
    ],
)
def test_a_changed_row_is_noticed(copy: Path, storage_audit: None, statement: str, message: str | None) -> None:
    if message is None:
        with pytest.raises(sqlite3.IntegrityError):
            execute(copy, statement)
        return
    execute(copy, statement)
    with Ledger(copy, read_only=True) as ledger, pytest.raises(LedgerDamaged, match=message):
        ledger.audit()


def test_another_origin_is_noticed_and_breaks_every_head(copy: Path, storage_audit: None) -> None:
    execute(copy, "UPDATE ledger SET origin = 'another/log'")
    with Ledger(copy, read_only=True) as ledger:
        with pytest.raises(TrustError, match="'another/log'"):
            ledger.audit()
        with pytest.raises(LedgerDamaged, match="head of size 0"):
            ledger.audit(replace(ledger.trust, origin=None))
    with pytest.raises(LedgerDamaged, match="another log"):
        Ledger(copy)


def test_changed_and_missing_evidence_is_noticed(copy: Path, storage_audit: None) -> None:
    with Ledger(copy, read_only=True) as ledger:
        file = ledger._evidence.locate(ledger.record(2).evidence)
        content = file.read_bytes()
        file.write_bytes(content + b".")
        with pytest.raises(LedgerDamaged, match=r"record 2: .* other content"):
            ledger.audit()
        file.unlink()
        with pytest.raises(LedgerDamaged, match=r"record 2: .* missing"):
            ledger.audit()
        with pytest.raises(LedgerDamaged, match="missing"):
            ledger.evidence(ledger.record(2))


def test_a_file_overwritten_in_the_middle_is_noticed(copy: Path, storage_audit: None) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2 :: 97] = b"\xff" * len(content[len(content) // 2 :: 97])
    copy.write_bytes(bytes(content))
    with pytest.raises(LedgerDamaged), Ledger(copy, read_only=True) as ledger:
        ledger.audit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nodes SET hash = zeroblob(32) WHERE level = 2 AND idx = 0",
        "UPDATE leaves SET leaf_hash = zeroblob(32) WHERE idx = 6",
        "DELETE FROM heads WHERE size = 7",
        "UPDATE heads SET root = zeroblob(32) WHERE size = 7",
        "UPDATE heads SET signature = zeroblob(64) WHERE size = 7",
        "DELETE FROM nodes",
    ],
)
def test_no_head_is_signed_over_a_damaged_tree(copy: Path, statement: str) -> None:
    execute(copy, statement)
    with pytest.raises(LedgerDamaged), Ledger(copy) as ledger:
        add(ledger, make_record(0, task="new"))


def rewritten(path: Path, target: Path) -> Path:
    """A ledger with the same key and another history, as its operator could make one."""
    target.mkdir()
    shutil.copytree(f"{path}.keys", target / f"{path.name}.keys")
    with Ledger(target / path.name) as forged:
        first = make_record(0, start_model=sha256("a better model"))
        add(forged, first)
        fill(forged, 8)
    return target / path.name


def test_a_rewritten_history_passes_alone_but_not_against_a_known_head(
    filled: Path, tmp_path: Path, storage_audit: None
) -> None:
    with Ledger(filled, read_only=True) as ledger:
        known, trust = ledger.head(), ledger.trust
        for size in range(8):
            ledger.audit(trust, known_head=ledger.head_at(size))
    with Ledger(rewritten(filled, tmp_path / "forged"), read_only=True) as forged:
        forged.audit(trust)
        with pytest.raises(LedgerDamaged, match="first 7 records"):
            forged.audit(trust, known_head=known)


def test_a_shortened_ledger_passes_alone_but_not_against_a_known_head(copy: Path, storage_audit: None) -> None:
    with Ledger(copy, read_only=True) as ledger:
        known = ledger.head()
    execute(copy, "DELETE FROM leaves WHERE idx = 6")
    execute(copy, "DELETE FROM heads WHERE size = 7")
    Path(f"{copy}.head").unlink()  # the operator's own note of what was given out
    with Ledger(copy, read_only=True) as ledger:
        ledger.audit()
        with pytest.raises(LedgerDamaged, match="covers 7 records, the ledger has only 6"):
            ledger.audit(known_head=known)


def test_a_head_of_another_root_is_noticed_even_if_the_log_signed_it(copy: Path, storage_audit: None) -> None:
    with Ledger(copy) as ledger:
        head = ledger._sign(4, sha256("another history"))
        execute(copy, "UPDATE heads SET root = ?, signature = ? WHERE size = 4", head.root, head.signature)
        with pytest.raises(LedgerDamaged, match="head of size 4 has another root"):
            ledger.audit()


def test_a_known_head_must_be_of_this_log(filled: Path, storage_audit: None) -> None:
    log = Identity.generate("log")
    own = KeyDirectory(Path(f"{filled}.keys")).get("log", "log")
    with Ledger(filled, read_only=True) as ledger:
        with pytest.raises(VerificationError, match="'another/log'"):
            ledger.audit(known_head=SignedHead.sign(own, "another/log", 3, ledger.head_at(3).root))
        with pytest.raises(VerificationError, match="not signed"):
            ledger.audit(known_head=SignedHead.sign(log, ledger.origin, 3, ledger.head_at(3).root))
        with pytest.raises(TrustError, match="another key"):
            ledger.audit(Trust(log=log.public))
        with pytest.raises(ConfigError, match="log's public key"):
            ledger.audit(Trust())


def test_a_broken_chain_is_noticed_even_under_good_heads(path: Path, storage_audit: None) -> None:
    first = make_record(1)
    second = make_record(2, first)
    for bad, message in (
        (make_record(3, second, start_model=bytes(32)), "record 2: .* start_model"),
        (make_record(3, second, previous_record=sha256("other")), "record 2: .* previous_record"),
        (make_record(0, second), "record 2: .* not after"),
        (make_record(0, second, task="new"), "record 2: .* not zeros"),
    ):
        directory = path.parent / sha256(message).hex()
        directory.mkdir()
        with Ledger(directory / "rounds.db") as ledger:
            add(ledger, first)
            add(ledger, second)
            with ledger._database.exclusive():
                leaf = NewLeaf(bad.task, bad.round, bad.to_bytes())
                ledger._database.append([leaf], ledger._sign, ledger._approve)
            with pytest.raises(LedgerDamaged, match=message):
                ledger.audit()


def test_two_processes_that_start_a_ledger_get_the_same_one(path: Path) -> None:
    identity = Identity.generate("log")

    def sign(size: int, root: bytes) -> SignedHead:
        return SignedHead.sign(identity, "log", size, root)

    Database.create(path, "log", identity.public, sign)
    first = path.read_bytes()
    Database.create(path, "other", identity.public, sign)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]
