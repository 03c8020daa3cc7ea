"""Disks that are full or can't be written: a typed error, and nothing half-written is left, wherever it happens."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import secure_agg
from secure_agg import AttemptStore, Identity, Ledger, Policy, SecureAggError, Trust
from secure_agg.cli import main
from secure_agg.cli.terminal import exits
from secure_agg.errors import ConfigError, LedgerError, StoreError
from secure_agg.fl.model_files import write_model
from secure_agg.planning.coefficients import shipped
from secure_agg.plugins.homes import federation

UPDATES: Final = {name: [np.ones(4000)] for name in ("ann", "bob", "cyd")}
MODEL: Final = {"layer": np.ones(20_000), "bias": np.zeros(3)}

Full = Callable[[Path, int], AbstractContextManager[Path]]
"""Gives a folder, and while it is entered there is room there for so many bytes (in one file, or in all)."""


@contextlib.contextmanager
def limited(folder: Path, size: int) -> Iterator[Path]:
    """No file grows beyond so many bytes: what every system can do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes: what root can do."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None or os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    options = f"size={max(size, 4096)}"  # 0 would be no limit
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run([unmount, "-l", folder], check=True)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disks") / "rounds.db"
    secure_agg.aggregate(UPDATES, ledger=path)
    return path


@pytest.fixture(params=[limited, mounted], ids=["limited", "mounted"])
def full(request: pytest.FixtureRequest) -> Full:
    found: Full = request.param
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def make_homes(folder: Path) -> None:
    federation.make(folder / "homes", UPDATES, Policy.default(3), task="task")


WRITERS: Final[dict[str, tuple[Callable[[Path], object], type[SecureAggError] | tuple[type[SecureAggError], ...]]]] = {
    "ledger": (lambda folder: Ledger(folder / "new" / "rounds.db").close(), LedgerError),
    "home": (make_homes, (ConfigError, StoreError, LedgerError)),
    "key": (lambda folder: Identity.generate("ann").save(folder / "ann.key"), ConfigError),
    "trust": (lambda folder: Trust(tasks={}).save(folder / "trust.json"), ConfigError),
    "coefficients": (lambda folder: shipped().save(folder / "here.json"), ConfigError),
    "npz": (lambda folder: write_model(folder / "model.npz", MODEL), ConfigError),
    "npy": (lambda folder: write_model(folder / "model.npy", {"layer": MODEL["layer"]}), ConfigError),
    "pt": (lambda folder: write_model(folder / "model.pt", MODEL), ConfigError),
}
ROOM: Final = (0, 1000, 8192, 20_000, 40_000)
"""Bytes: the writers come to their limits at different places."""


@pytest.mark.parametrize("what", WRITERS)
def test_what_finds_no_room_is_a_typed_error_and_leaves_nothing(what: str, full: Full, disk: Path) -> None:
    if what == "pt":
        pytest.importorskip("torch")
    write, error = WRITERS[what]
    refused = 0
    for size in ROOM:
        with full(disk, size):
            try:
                write(disk)
            except error:
                refused += 1
                assert contents(disk) == {}, size
            for path in [*disk.rglob("*")][::-1]:
                path.rmdir() if path.is_dir() else path.unlink()
    # Whatever is of a few bytes fits into the smallest file system that can be mounted.
    assert refused or (full is mounted and what in ("key", "trust", "coefficients"))
    write(disk)  # it was the disk


@pytest.mark.parametrize("what", WRITERS)
def test_a_place_that_can_not_be_written_is_a_typed_error(what: str, disk: Path) -> None:
    if what == "pt":
        pytest.importorskip("torch")
    write, error = WRITERS[what]
    (disk / "file").write_bytes(b"content")
    for place in (disk / "file", Path("/proc/self")):  # nobody makes files there, not even root
        with pytest.raises(error):
            write(place)
    assert contents(disk) == {"file": b"content"}


@pytest.mark.parametrize("room", [0, 8192, 20_000, 40_000])
def test_a_ledger_that_has_no_room_for_a_round_holds_those_before(room: int, disk: Path) -> None:
    path = disk / "rounds.db"
    secure_agg.aggregate(UPDATES, ledger=path)
    evidence = contents(Path(f"{path}.evidence"))
    with limited(disk, room), pytest.raises(LedgerError):
        secure_agg.aggregate(UPDATES, ledger=path)
    found = {name: data for name, data in contents(Path(f"{path}.evidence")).items() if data is not None}
    assert found == {name: data for name, data in evidence.items() if data is not None}
    with Ledger(path) as log:
        assert log.audit().size == 1
    secure_agg.aggregate(UPDATES, ledger=path)
    with Ledger(path) as log:
        assert log.audit().size == 2


@pytest.mark.parametrize("room", [0, 8192, 20_000])
def test_a_store_that_has_no_room_keeps_what_it_has(room: int, disk: Path) -> None:
    scope = ("task", 0, 0)
    with AttemptStore(disk / "attempts.db") as store:
        store.put(scope, "kept", b"first")
    with limited(disk, room), contextlib.suppress(StoreError):
        with AttemptStore(disk / "attempts.db") as store:
            for number in range(64):
                store.put(scope, f"new {number}", bytes(1000))
        pytest.fail("there was room")
    with AttemptStore(disk / "attempts.db") as store:
        assert store.get(scope, "kept") == b"first"
        store.put(scope, "later", b"second")


COMMANDS: Final = {
    "export": ("ledger", "export", "{ledger}", "{out}"),
    "receipt": ("ledger", "receipt", "{ledger}", "--out", "{out}"),
    "mean": ("verify", "{evidence}", "--without-trust", "--export", "{out}.npz"),
    "keygen": ("keygen", "ann", "--out", "{out}"),
    "homes": ("federation", "init", "{out}", "--client", "ann", "--client", "bob", "--client", "cyd"),
    "operator": ("aggregator", "init", "ann", "--out", "{out}", "--passphrase-file", "{words}"),
}


@pytest.mark.parametrize("which", COMMANDS)
def test_a_command_that_finds_no_room_says_so_in_a_line_and_leaves_no_file_cut_short(
    which: str, ledger: Path, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words").write_text("correct horse battery staple\n")
    (tmp_path / "words").chmod(0o600)
    with Ledger(ledger, read_only=True) as log:  # which stays open: a reader of a database needs room of its own
        evidence = log.evidence_path(log.record(0))

        def run(place: Path) -> tuple[object, str]:
            where = {"ledger": ledger, "evidence": evidence, "out": place / "out", "words": tmp_path / "words"}
            with pytest.raises(SystemExit) as exit_:
                main([word.format(**where) for word in COMMANDS[which]])
            return exit_.value.code, capsys.readouterr().err

        whole = tmp_path / "whole"
        whole.mkdir()
        assert run(whole)[0] == exits.OK
        wanted = contents(whole)
        largest = max(len(data) for data in wanted.values() if data is not None)
        with limited(disk, largest // 2):  # keys and certificates vary in length
            code, said = run(disk)
    assert (code, said.count("\n")) == (exits.USAGE, 1), said
    assert "can't be" in said or "failed" in said
    if which == "export":  # grows by whole files, the checkpoint that names them last
        left = {name: data for name, data in contents(disk / "out").items() if data is not None}
        assert "checkpoint" not in left
        assert left == {name: contents(whole / "out")[name] for name in left}
    else:
        assert contents(disk) == {}
