"""Where simulations lie: in a folder of whoever runs them, or nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secure_agg.errors import ConfigError
from secure_agg.plugins.homes import simulated

NAMES = ("a", "b", "c")


def test_no_homes_are_made_nor_taken_where_others_can_put_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVFlare's usual workspace is below ``/tmp``: anybody can have made this folder before."""
    root = tmp_path / "all"
    planted = root / "run-1"  # another's homes, under the name of a run that is to come
    planted.mkdir(parents=True)
    root.chmod(0o777)
    with pytest.raises(ConfigError, match="others can write"):
        simulated.make(root, "run-1", NAMES)
    root.chmod(0o755)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match="another user's"):
        simulated.make(root, "run-1", NAMES)
    assert [path.name for path in root.iterdir()] == ["run-1"]  # not even a lock


def test_a_folder_of_ones_own_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "all").symlink_to(tmp_path / "disk")
    assert (simulated.make(tmp_path / "all", "run-1", NAMES) / simulated.NOTICE_FILE).is_file()
