"""Files appear whole or not at all, with what they hold on the disk before their name is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from secure_agg import files
from secure_agg.errors import ConfigError, FileExists


def left(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"old")
    for half in (None, "model.half"):
        with pytest.raises(ZeroDivisionError), files.whole(tmp_path / "model", half=half) as file:
            file.write(b"new" * (1 // 0))
        assert left(tmp_path) == {"model": b"old"}
    with files.whole(tmp_path / "model") as file:
        file.write(b"new")
        assert (tmp_path / "model").read_bytes() == b"old"
    assert left(tmp_path) == {"model": b"new"}


def test_what_a_crash_has_left_under_a_known_name_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "model.half").write_bytes(b"left by a crash, and longer")
    with files.whole(tmp_path / "model", half="model.half") as file:
        file.write(b"new")
    assert left(tmp_path) == {"model": b"new"}


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("fsync", "replace", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    files.replace(tmp_path / "a", b"1")
    files.create(tmp_path / "b", b"2")
    with files.whole(tmp_path / "c") as file:
        file.write(b"3")
    assert done == ["fsync", "replace", "fsync", "fsync", "link", "fsync", "fsync", "replace"]
    assert left(tmp_path) == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_file_has_the_mode_that_is_asked_for_or_what_the_process_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        for name, mode in (("private", 0o600), ("public", 0o644), ("usual", None)):
            with files.whole(tmp_path / name, mode=mode) as file:
                file.write(b"1")
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "public": 0o644, "usual": 0o640}


def test_a_new_file_takes_no_others_place(tmp_path: Path) -> None:
    files.create(tmp_path / "key", b"1")
    with pytest.raises(FileExists, match="never overwritten"):
        files.create(tmp_path / "key", b"2")
    with pytest.raises(ConfigError, match="can't be written"):
        files.replace(tmp_path / "key" / "below", b"2")
    assert left(tmp_path) == {"key": b"1"}


@pytest.mark.parametrize("name", ["rounds.db.trust.json", "n" * 200, "a-0123456789abcdef"])
def test_what_a_kill_has_left_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    with files.whole(tmp_path / name) as file:
        file.write(b"1")
        (half,) = tmp_path.iterdir()
        assert files.half_of(half.name) == name[: files.HALF_NAME]
    assert files.half_of(name) is None
    assert files.half_of(f".{name[:50]}-0123456789abcdeg") is None


def test_of_a_file_above_its_limit_one_byte_more_is_read_for_its_decoder_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "receipt").write_bytes(bytes(100))
    assert len(files.read(tmp_path / "receipt", 100, "receipt file")) == 100
    assert len(files.read(tmp_path / "receipt", 7, "receipt file")) == 8
    for path in (tmp_path / "none", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match=r"^receipt file .* can't be read: "):
            files.read(path, 100, "receipt file")
