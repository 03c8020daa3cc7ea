"""A ledger as static files: what is written, what an audit from a real web server finds, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.records.logs as logs
from hypothesis import given
from hypothesis import strategies as st

import secure_agg
from secure_agg.cli import main
from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, LedgerRefused, TrustError, VerificationError
from secure_agg.ledger.audit import AuditReport, audit
from secure_agg.ledger.database import NewLeaf
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.publish import export as export_module
from secure_agg.ledger.publish.export import ExportReport
from secure_agg.ledger.publish.fetch import FileReader, open_prefix
from secure_agg.ledger.publish.published import PublishedSource
from secure_agg.ledger.witness.fork import prove_fork
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.trust import Trust
from secure_agg.tlog.cosignature import WitnessKey, cosign
from secure_agg.tlog.note import Note, VerifierKey
from secure_agg.tlog.policy import WitnessPolicy
from secure_agg.tlog.tiles import Tile, decode_bundle, decode_tile, encode_bundle, evidence_path, tiles
from zk import merkle

CLIENTS = ("ann", "bob", "cyd", "dan")
RECORDS = 520

Run = Callable[..., tuple[int, str, str]]
"""A command's arguments to its exit code, stdout and stderr."""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The form


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 999, 256), "tile/0/999"),
        (Tile(0, 1000, 256), "tile/0/x001/000"),
        (Tile(0, 1234067, 256), "tile/0/x001/x234/067"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(5, 1_000_000, 1), "tile/5/x001/x000/000.p/1"),
    ],
)
def test_a_tiles_path_is_that_of_the_specification(tile: Tile, path: str) -> None:
    """The example of C2SP tlog-tiles, and the edges."""
    assert tile.path == path
    assert tile.entries_path == re.sub("^tile/[0-9]+", "tile/entries", path)


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    """The examples of C2SP tlog-tiles, section Partial Tiles."""
    of_70000 = list(tiles(70_000))
    assert [sum(tile.level == level for tile in of_70000) for level in range(4)] == [274, 2, 1, 0]
    assert [tile for tile in of_70000 if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(tiles(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles(0)) == []


@given(st.integers(0, 200_000), st.integers(0, 2_000))
def test_growth_adds_the_tiles_that_were_not_there(size: int, more: int) -> None:
    before, after = set(tiles(size)), set(tiles(size + more))
    added = list(tiles(size + more, size))
    assert set(added) == after - before
    assert len(added) == len(set(added))
    for tile in after:
        assert tile.index * 256 + tile.width <= (size + more) >> 8 * tile.level


def test_no_tile_is_outside_the_tree() -> None:
    for bad in (lambda: list(tiles(5, 6)), lambda: Tile(0, -1, 1).path, lambda: Tile(0, 0, 0).path):
        with pytest.raises(ConfigError):
            bad()
    with pytest.raises(ConfigError):
        _ = Tile(0, 0, 257).path


@given(st.lists(st.binary(max_size=40), max_size=256), st.data())
def test_a_bundle_gives_back_its_entries(entries: list[bytes], data: st.DataObject) -> None:
    bundle = encode_bundle(entries)
    assert decode_bundle(bundle, len(entries)) == tuple(entries)
    width = data.draw(st.integers(0, len(entries)))
    assert decode_bundle(bundle, width) == tuple(entries[:width])
    with pytest.raises(VerificationError):
        decode_bundle(bundle, len(entries) + 1)
    if bundle:
        cut = data.draw(st.integers(0, len(bundle) - 1))
        with pytest.raises(VerificationError):
            decode_bundle(bundle[:cut], len(entries))


def test_a_bundle_is_strict_and_limited() -> None:
    assert encode_bundle([b"a", b"\0" * 258]) == b"\0\1a\1\2" + b"\0" * 258
    assert decode_bundle(encode_bundle([b"x" * 65535]), 1) == (b"x" * 65535,)
    for bad in (b"\0", b"\0\2a", encode_bundle([b"a"]) + b"\0", encode_bundle([b""] * 256) + b"\0\0"):
        with pytest.raises(VerificationError):
            decode_bundle(bad, 1)
    for entries in ([b"x" * 65536], [b""] * 257):
        with pytest.raises(ConfigError):
            encode_bundle(entries)


def test_a_tile_is_strict_and_limited() -> None:
    hashes = b"".join(bytes([i]) * 32 for i in range(3))
    assert decode_tile(hashes, 2) == (bytes(32), bytes([1]) * 32)
    for data, width in ((hashes, 4), (hashes[:-1], 2), (hashes + b"\0", 3), (bytes(32 * 257), 256), (b"", 1)):
        with pytest.raises(VerificationError):
            decode_tile(data, width)


# Writing


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of 520 hand-made records; their evidence is nowhere."""
    path = tmp_path_factory.mktemp("filled") / "rounds.db"
    with Ledger(path, origin="example.org/rounds") as ledger:
        logs.fill(ledger, RECORDS)
    return path


@pytest.fixture(scope="module")
def published(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it publishes, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("published") / "log"
    with Ledger(filled, read_only=True) as ledger:
        ledger.export(folder, with_evidence=False)
    return folder


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def records_of(path: Path) -> list[bytes]:
    with Ledger(path, read_only=True) as ledger:
        return [record.to_bytes() for record in ledger.records()]


def key_of(path: Path) -> VerifierKey:
    with Ledger(path, read_only=True) as ledger:
        return ledger.verifier_key


def log_only(folder: Path, key: VerifierKey, **options: Any) -> AuditReport:
    """An audit of a publication without its evidence."""
    return audit(PublishedSource(FileReader(folder.as_uri())), None, log=key, with_evidence=False, **options)


def test_a_publication_is_the_checkpoint_and_every_tile_of_its_size(filled: Path, published: Path) -> None:
    files, records = files_of(published), records_of(filled)
    leaves = [merkle.leaf_hash(record) for record in records]
    expected = {}
    for index in range(2):
        expected[f"tile/0/00{index}"] = b"".join(leaves[256 * index : 256 * index + 256])
        expected[f"tile/entries/00{index}"] = encode_bundle(records[256 * index : 256 * index + 256])
    expected["tile/0/002.p/8"] = b"".join(leaves[512:])
    expected["tile/entries/002.p/8"] = encode_bundle(records[512:])
    expected["tile/1/000.p/2"] = merkle.root(records[:256]) + merkle.root(records[256:512])
    with Ledger(filled, read_only=True) as ledger:
        expected["checkpoint"] = ledger.checkpoint()
    assert files == expected


def test_exporting_again_writes_nothing(filled: Path, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with Ledger(filled, read_only=True) as ledger:
        assert ledger.export(copy, with_evidence=False) == ExportReport(RECORDS, RECORDS, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_growth_is_published_without_touching_what_is_there(tmp_path: Path) -> None:
    """Step by step over the edge of a tile; full tiles and their partial ones stay until a full one replaces these."""
    folder = tmp_path / "log"
    inodes: dict[str, int] = {}
    with Ledger(tmp_path / "rounds.db") as ledger:
        for more, widths in ((0, []), (1, [1]), (2, [1, 3]), (252, [1, 3, 255]), (1, []), (1, []), (300, [])):
            logs.fill(ledger, more)
            since = len(ledger) - more
            done = ledger.export(folder, with_evidence=False)
            assert (done.size, done.since) == (len(ledger), since)
            partial = sorted(int(path.name) for path in folder.glob("tile/0/000.p/*"))
            assert partial == widths
            now = {name: (folder / name).stat().st_ino for name in files_of(folder) if name != "checkpoint"}
            assert all(now.get(name, inode) == inode for name, inode in inodes.items())
            inodes |= now
            assert log_only(folder, ledger.verifier_key).size == len(ledger)
        with_all = tmp_path / "anew"
        ledger.export(with_all, with_evidence=False)
    anew = files_of(with_all)
    assert {name: data for name, data in files_of(folder).items() if name in anew} == anew


def test_new_cosignatures_are_published_without_new_records(filled: Path, tmp_path: Path, copy: Path) -> None:
    shutil.copytree(filled.parent, tmp_path / "ledger")
    identity = Identity.generate("w")
    key = WitnessKey("w.example", identity.public)
    with Ledger(tmp_path / "ledger" / filled.name) as ledger:
        head = ledger.head()
        line = cosign(identity, "w.example", head.checkpoint, 1_700_000_000)
        ledger.add_cosignatures(Note(head.checkpoint.text, (line,)).to_bytes(), [key])
        assert ledger.export(copy, with_evidence=False).files == 1
        log = ledger.verifier_key
    assert log_only(copy, log).witnesses == {}
    found = log_only(copy, log, policies=[WitnessPolicy.k_of_n(1, [key])])
    assert found.witnesses == {"w.example": 1_700_000_000}


def test_an_export_that_waited_for_a_later_one_brings_nothing_old_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the ledger once the directory is its own: what was newest before may no longer be."""
    folder = tmp_path / "log"
    with Ledger(tmp_path / "rounds.db") as ledger:
        logs.fill(ledger, 2)
        locked = export_module._locked

        @contextmanager
        def later_one_first(directory: Path) -> Iterator[None]:
            monkeypatch.setattr(export_module, "_locked", locked)
            logs.fill(ledger, 1)
            ledger.export(directory, with_evidence=False)
            with locked(directory):
                yield

        monkeypatch.setattr(export_module, "_locked", later_one_first)
        assert ledger.export(folder, with_evidence=False) == ExportReport(3, 3, 0, 0)
        assert (folder / "checkpoint").read_bytes() == ledger.checkpoint()


def test_the_checkpoint_comes_last_and_a_crash_leaves_the_old_one(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is cut off at every file that it renames into place."""
    shutil.copytree(filled.parent, tmp_path / "ledger")
    folder = tmp_path / "log"
    with Ledger(tmp_path / "ledger" / filled.name) as ledger:
        ledger.export(folder, with_evidence=False)
        logs.fill(ledger, 260)
        key, rename = ledger.verifier_key, export_module.os.replace
        names: list[str] = []

        def cut(after: int) -> Callable[[Any, Any], None]:
            def renamed(source: Any, target: Path) -> None:
                names.append(target.name)
                if len(names) > after:
                    raise OSError("power cut")
                rename(source, target)

            return renamed

        for after in range(20):
            names.clear()
            monkeypatch.setattr(export_module.os, "replace", cut(after))
            try:
                ledger.export(folder, with_evidence=False)
            except LedgerError:
                assert log_only(folder, key).size == RECORDS
            else:
                break
        monkeypatch.undo()
    assert names[-1] == "checkpoint"
    assert names.count("checkpoint") == 1
    assert log_only(folder, key).size == RECORDS + 260


def test_a_first_export_that_was_cut_off_is_taken_up(
    filled: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(source: Path, target: Path) -> None:
        if target.name == "checkpoint":
            raise OSError("power cut")
        source.rename(target)

    with Ledger(filled, read_only=True) as ledger:
        monkeypatch.setattr(export_module.os, "replace", cut)
        with pytest.raises(LedgerError):
            ledger.export(tmp_path / "log", with_evidence=False)
        monkeypatch.undo()
        assert not (tmp_path / "log" / "checkpoint").exists()
        ledger.export(tmp_path / "log", with_evidence=False)
    assert files_of(tmp_path / "log") == files_of(published)


def test_a_directory_is_of_one_log(filled: Path, published: Path, copy: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "other.db") as other:
        with pytest.raises(ConfigError, match="not of this ledger"):
            other.export(copy)
        (tmp_path / "busy").mkdir()
        (tmp_path / "busy" / "index.html").write_text("mine")
        with pytest.raises(ConfigError, match=r"index\.html"):
            other.export(tmp_path / "busy")
        with pytest.raises(LedgerError, match="can't be written"):
            other.export(filled)
    assert files_of(copy) == files_of(published)


def test_a_publication_is_never_continued_by_another_history(filled: Path, copy: Path, tmp_path: Path) -> None:
    before = files_of(copy)
    for count, message in ((600, "not the first of the ledger's"), (5, "the ledger has only 5")):
        folder = tmp_path / str(count)
        shutil.copytree(f"{filled}.keys", folder / "rounds.db.keys")
        with Ledger(folder / "rounds.db", origin="example.org/rounds") as forged:
            logs.fill(forged, count, " forged")
            with pytest.raises(LedgerDamaged, match=message):
                forged.export(copy, with_evidence=False)
    assert files_of(copy) == before


def test_a_record_that_no_bundle_can_hold_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "rounds.db") as ledger:
        logs.append(ledger, NewLeaf("task", 0, bytes(65536)))
        with pytest.raises(LedgerRefused, match="65536 bytes"):
            ledger.export(tmp_path / "log", with_evidence=False)
    assert not (tmp_path / "log" / "checkpoint").exists()


# Auditing what is published, from a web server


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Python's own static file server, as a process."""
    with logs.process("0", "--bind", "127.0.0.1", "--directory", folder, module="http.server") as process:
        assert process.stdout is not None
        found = re.search(r"port ([0-9]+)", process.stdout.readline())
        assert found
        yield f"http://127.0.0.1:{found[1]}"


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of three rounds that were really run, published beside it in ``log``."""
    path = tmp_path_factory.mktemp("rounds") / "rounds.db"
    updates = {name: [np.full((2, 3), i, dtype=np.float32), np.arange(5.0)] for i, name in enumerate(CLIENTS)}
    for task in ("default", "default", "second"):
        secure_agg.aggregate(updates, backend="plain", ledger=path, task=task)
    with Ledger(path) as ledger:
        ledger.export(path.parent / "log")
    return path


@pytest.fixture(scope="module")
def server(rounds: Path) -> Iterator[str]:
    with web_server(rounds.parent / "log") as url:
        yield url


@pytest.fixture
def own(rounds: Path, tmp_path: Path) -> Path:
    """A publication of the three rounds that a test may damage."""
    return Path(shutil.copytree(rounds.parent / "log", tmp_path / "log"))


def trust_of(rounds: Path) -> Trust:
    return Trust.load(f"{rounds}.trust.json")


def full(folder: Path, trust: Trust | None, **options: Any) -> AuditReport:
    return audit(PublishedSource(FileReader(folder.as_uri())), trust, **options)


def test_what_a_web_server_serves_is_audited_like_the_ledger_itself(rounds: Path, server: str) -> None:
    trust = trust_of(rounds)
    with Ledger(rounds, read_only=True) as ledger, closing(open_prefix(server)) as files:
        progress: list[tuple[int, int]] = []
        found = audit(PublishedSource(files), trust, progress=lambda *step: progress.append(step))
        assert found == ledger.audit(trust)
    assert (found.verified, found.pinned) == (3, {"policy", "roster", "operators", "log"})
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_with_the_logs_key_alone_rounds_are_verified_in_themselves(rounds: Path, server: str) -> None:
    with closing(open_prefix(server)) as files:
        found = audit(PublishedSource(files), None, log=key_of(rounds))
    assert (found.size, found.verified, found.pinned) == (3, 3, {"log"})


def test_evidence_lies_where_the_ledger_has_it(rounds: Path) -> None:
    with Ledger(rounds, read_only=True) as ledger:
        digests = [record.evidence for record in ledger.records()]
    store = EvidenceStore(rounds.parent / "log" / "evidence")
    for digest in digests:
        assert store.locate(digest) == rounds.parent / "log" / evidence_path(digest)
        assert hashlib.sha256(store.get(digest)).digest() == digest
    assert len(list(store.path.rglob("*.evidence"))) == 3


def test_evidence_that_was_left_out_is_added_later(rounds: Path, tmp_path: Path) -> None:
    with Ledger(rounds, read_only=True) as ledger:
        ledger.export(tmp_path / "log", with_evidence=False)
        with pytest.raises(LedgerDamaged, match=r"record 0: evidence/.* is missing"):
            full(tmp_path / "log", trust_of(rounds))
        assert ledger.export(tmp_path / "log").files == 3
        assert ledger.export(tmp_path / "log").files == 0
    assert full(tmp_path / "log", trust_of(rounds)).verified == 3


def test_an_audit_holds_itself_to_the_auditors_pins(rounds: Path, own: Path) -> None:
    trust, key = trust_of(rounds), key_of(rounds)
    strangers = Roster({name: Identity.generate(name).public for name in CLIENTS})
    second = secure_agg.TaskTrust(strangers, trust.tasks["second"].policy)
    with pytest.raises(TrustError, match=r"record 2: .* roster"):
        full(own, replace(trust, tasks={**trust.tasks, "second": second}))
    with pytest.raises(TrustError, match="not the pinned log's"):
        full(own, replace(trust, log=Identity.generate("x").public))
    with pytest.raises(TrustError, match="not the pinned 'example"):
        full(own, replace(trust, origin="example.org/log"))
    with pytest.raises(TrustError, match="not the pinned 'example"):
        full(own, None, log=VerifierKey("example.org/log", key.public))
    with pytest.raises(ConfigError, match="another log key"):
        full(own, trust, log=VerifierKey(key.name, Identity.generate("x").public))
    with pytest.raises(ConfigError, match="log's public key"):
        full(own, replace(trust, log=None))
    with pytest.raises(ConfigError, match="log's public key"):
        full(own, None)
    assert full(own, trust, log=key) == full(own, trust)


def test_a_round_signed_for_another_ledger_is_noticed_with_the_key_alone(
    own: Path, rounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = VerifierKey(key_of(rounds).name, Identity.generate("x").public)
    monkeypatch.setattr(PublishedSource, "begin", lambda self, log: 3)  # as if that log had signed the checkpoint
    with pytest.raises(TrustError, match="record 0: the round's ledger key is not the pinned one"):
        full(own, None, log=key)


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("pattern", "change", "error", "message"),
    [
        ("tile/0/000.p/3", lambda data: flip(data, 33), LedgerDamaged, "tile/0/000.p/3: hash 1"),
        ("tile/0/000.p/3", lambda data: data[:-1], LedgerDamaged, "tile/0/000.p/3: a tile of width 3 has 96 bytes"),
        ("tile/0/000.p/3", None, LedgerDamaged, "tile/0/000.p/3 is missing"),
        ("tile/entries/000.p/3", None, LedgerDamaged, "tile/entries/000.p/3 is missing"),
        ("tile/entries/000.p/3", lambda data: data[:-1], LedgerDamaged, "cut off"),
        ("tile/entries/000.p/3", lambda data: b"\0\0" + data, LedgerDamaged, "record 0: this is no round record"),
        ("tile/entries/000.p/3", lambda data: flip(data, 200), LedgerDamaged, "record 0|hash 0"),
        ("checkpoint", None, LedgerDamaged, "no checkpoint"),
        ("checkpoint", lambda data: b"", LedgerDamaged, "the published checkpoint"),
        ("checkpoint", lambda data: data.replace(b"\n3\n", b"\n2\n"), TrustError, "not the pinned log's"),
        ("checkpoint", lambda data: data.replace(b"\n3\n", b"\n4\n"), TrustError, "not the pinned log's"),
        ("evidence/*/*", None, LedgerDamaged, r"record 0: evidence/.* is missing"),
        ("evidence/*/*", lambda data: flip(data, 300), LedgerDamaged, r"record 0: evidence/.* other content"),
        ("evidence/*/*", lambda data: data[:-1], LedgerDamaged, "other content"),
    ],
)
def test_whatever_is_changed_or_missing_is_noticed(
    rounds: Path,
    own: Path,
    pattern: str,
    change: Callable[[bytes], bytes] | None,
    error: type[Exception],
    message: str,
) -> None:
    for file in own.glob(pattern):
        if change is None:
            file.unlink()
        else:
            file.write_bytes(change(file.read_bytes()))
    with pytest.raises(error, match=message):
        full(own, trust_of(rounds))


@pytest.mark.parametrize(
    "name", ["tile/0/000", "tile/0/001", "tile/0/002.p/8", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/8"]
)
def test_every_tile_is_compared(filled: Path, copy: Path, name: str) -> None:
    key, good = key_of(filled), (copy / name).read_bytes()
    for place in (40, len(good) // 2, len(good) - 1):
        (copy / name).write_bytes(flip(good, place))
        with pytest.raises(LedgerDamaged, match=r"record|hash|bundle"):
            log_only(copy, key)
    (copy / name).unlink()
    with pytest.raises(LedgerDamaged, match="missing"):
        log_only(copy, key)


def test_an_operator_who_publishes_another_history_under_a_good_checkpoint_is_found_out(
    filled: Path, copy: Path, tmp_path: Path
) -> None:
    """Entries and tiles fit each other; only the root that was signed does not."""
    shutil.copytree(f"{filled}.keys", tmp_path / "forged" / "rounds.db.keys")
    with Ledger(tmp_path / "forged" / "rounds.db", origin="example.org/rounds") as forged:
        logs.fill(forged, RECORDS, " forged")
        forged.export(tmp_path / "forged" / "log", with_evidence=False)
        key = forged.verifier_key
        assert log_only(tmp_path / "forged" / "log", key).size == RECORDS  # alone it passes
        with Ledger(filled, read_only=True) as ledger:
            known = ledger.head_at(300)
            with pytest.raises(LedgerDamaged, match="first 300 records"):
                log_only(tmp_path / "forged" / "log", key, known_head=known)
            assert log_only(copy, key, known_head=known).size == RECORDS
    (tmp_path / "forged" / "log" / "checkpoint").write_bytes((copy / "checkpoint").read_bytes())
    with pytest.raises(LedgerDamaged, match="another root"):
        log_only(tmp_path / "forged" / "log", key)
    with pytest.raises(LedgerDamaged, match="another root"):
        prove_fork(PublishedSource(FileReader((tmp_path / "forged" / "log").as_uri())), known.note(key.public), key)


def test_who_kept_a_checkpoint_proves_the_fork_from_what_is_published(
    run: Run, filled: Path, copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(f"{filled}.keys", tmp_path / "rounds.db.keys")
    with Ledger(tmp_path / "rounds.db", origin="example.org/rounds") as forged:
        logs.fill(forged, RECORDS, " forged")
        forged.export(tmp_path / "log", with_evidence=False)
        key = forged.verifier_key
    url = (tmp_path / "log").as_uri()
    with Ledger(filled, read_only=True) as ledger:
        for size in (1, 256, 300, RECORDS):
            known = Note.from_bytes(ledger.checkpoint(size))
            proof = prove_fork(PublishedSource(FileReader(url)), known, key)
            fork = proof.verify(key)
            assert (fork.first.size, fork.second.size) == (size, RECORDS)
            with pytest.raises(VerificationError, match="no fork"):
                prove_fork(PublishedSource(FileReader(copy.as_uri())), known, key)
        (tmp_path / "kept").write_bytes(ledger.checkpoint(300))
    arguments = ("--key", key, "--known", tmp_path / "kept", "--without-evidence", "--fork-proof", tmp_path / "proof")
    assert run("ledger", "audit", "--from", copy.as_uri(), *arguments)[0] == 0
    assert not (tmp_path / "proof").exists()
    code, _, err = run("ledger", "audit", "--from", url, *arguments)
    assert (code, "first 300 records" in err, "proof" in err) == (4, True, True)
    code, out, _ = run("ledger", "fork", tmp_path / "proof", "--key", key, "--json")
    assert (code, json.loads(out)["forked"], json.loads(out)["first"]["size"]) == (0, True, 300)
    # Of a log that is only damaged there is nothing to prove.
    (tmp_path / "proof").unlink()
    (copy / "tile" / "0" / "001").unlink()
    assert run("ledger", "audit", "--from", copy.as_uri(), *arguments)[0] == 4
    assert not (tmp_path / "proof").exists()


def test_a_broken_chain_is_noticed_under_a_good_checkpoint(tmp_path: Path) -> None:
    with Ledger(tmp_path / "rounds.db") as ledger:
        logs.fill(ledger, 2)
        first = ledger.record(0)
        again = RoundRecord.from_bytes(first.to_bytes().replace(b"\xa4task", b"\xa4tusk"))
        logs.append(ledger, *(NewLeaf("tusk", round, again.to_bytes()) for round in range(2)))
        ledger.export(tmp_path / "log", with_evidence=False)
        with pytest.raises(LedgerDamaged, match=r"record 3: .* not after"):
            log_only(tmp_path / "log", ledger.verifier_key)


def test_a_checkpoint_needs_the_witnesses_of_the_policy(filled: Path, copy: Path) -> None:
    key, witness = key_of(filled), Identity.generate("w").public
    policy = WitnessPolicy.k_of_n(1, [WitnessKey("w.example", witness)])
    with pytest.raises(VerificationError, match="quorum"):
        log_only(copy, key, policies=[policy])
    trust = Trust(log=key.public, origin=key.name, witnesses=Roster({"w.example": witness}), quorum=1)
    with pytest.raises(VerificationError, match="quorum"):
        audit(PublishedSource(FileReader(copy.as_uri())), trust, with_evidence=False)
    with Ledger(filled, read_only=True) as ledger, pytest.raises(VerificationError, match="quorum"):
        ledger.audit(trust)


def test_an_audit_goes_on_while_the_log_is_published_anew(tmp_path: Path) -> None:
    """Partial tiles that it needs are replaced by full ones meanwhile."""
    with Ledger(tmp_path / "rounds.db") as ledger:
        logs.fill(ledger, 250)
        ledger.export(tmp_path / "log", with_evidence=False)
        source = PublishedSource(FileReader((tmp_path / "log").as_uri()))
        logs.fill(ledger, 10)
        ledger.export(tmp_path / "log", with_evidence=False)
        assert not (tmp_path / "log/tile/0/000.p").exists()
        found = audit(source, None, log=ledger.verifier_key, with_evidence=False)
    assert (found.size, found.verified) == (250, 0)


def test_evidence_above_the_auditors_limit_is_refused(rounds: Path, own: Path) -> None:
    with pytest.raises(LedgerError, match="more than 100 bytes"):
        audit(PublishedSource(FileReader(own.as_uri()), max_evidence=100), trust_of(rounds))


# The commands


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        assert isinstance(exit_.value.code, int)
        return (exit_.value.code, *capsys.readouterr())

    return command


def test_export_and_audit_from_the_command_line(run: Run, rounds: Path, tmp_path: Path) -> None:
    folder, trust, key = tmp_path / "log", Path(f"{rounds}.trust.json"), key_of(rounds)
    code, out, _ = run("ledger", "export", rounds, folder, "--json")
    assert (code, json.loads(out)["size"], json.loads(out)["key"]) == (0, 3, str(key))
    code, out, _ = run("ledger", "export", rounds, folder)
    assert (code, re.findall(r"^files +(.*)", out, re.MULTILINE)) == (0, ["0 written"])
    with web_server(folder) as url:
        code, out, _ = run("ledger", "audit", "--from", url, "--trust", trust, "--key", key, "--json")
        found = json.loads(out)
        assert (code, found["valid"], found["verified"], found["origin"]) == (0, True, 3, key.name)
        assert found["pinned"] == ["policy", "roster", "operators", "log"]
        (tmp_path / "kept").write_text(found["checkpoint"])
        code, out, _ = run("ledger", "audit", "--from", url, "--key", key, "--known", tmp_path / "kept")
        assert (code, "nothing but the log's key is pinned" in out) == (0, True)
        code, out, _ = run("ledger", "audit", "--from", url, "--key", key, "--without-evidence")
        assert (code, "no round was verified" in out) == (0, True)
        assert run("ledger", "audit", "--from", url)[0] == 2
        assert run("ledger", "audit", "--from", url, "--key", logs.Log().key)[0] == 1
        assert run("ledger", "audit", rounds, "--from", url, "--key", key)[0] == 2
        (folder / "tile" / "entries" / "000.p" / "3").write_bytes(b"")
        code, _, err = run("ledger", "audit", "--from", url, "--key", key)
        assert (code, "tile/entries/000.p/3" in err) == (4, True)
    code, _, err = run("ledger", "audit", "--from", url, "--key", key)
    assert (code, "gives no answer" in err) == (2, True)


def test_usage_errors_of_the_commands(run: Run, rounds: Path, tmp_path: Path) -> None:
    for arguments in (
        ("audit",),
        ("audit", rounds, "--key", key_of(rounds)),
        ("audit", rounds, "--without-evidence"),
        ("audit", "--from", "gopher://example.org", "--key", key_of(rounds)),
        ("audit", rounds, "--known", tmp_path / "missing"),
        ("export", tmp_path / "missing.db", tmp_path / "log"),
        (
            "cosign",
            tmp_path / "missing.db",
            "--witness",
            f"http://127.0.0.1:1={WitnessKey('w', Identity.generate('w').public)}",
        ),
        ("fork", tmp_path / "missing", "--key", key_of(rounds)),
    ):
        assert run("ledger", *arguments)[0] == 2, arguments
    assert not (tmp_path / "missing.db").exists()


def test_a_ledgers_own_audit_takes_a_known_checkpoint_too(run: Run, rounds: Path, tmp_path: Path) -> None:
    with Ledger(rounds, read_only=True) as ledger:
        (tmp_path / "kept").write_bytes(ledger.checkpoint(2))
    assert run("ledger", "audit", rounds, "--known", tmp_path / "kept")[0] == 0
    other = logs.Log()
    (tmp_path / "kept").write_bytes(other.note(2).to_bytes())
    assert run("ledger", "audit", rounds, "--known", tmp_path / "kept")[0] == 1
