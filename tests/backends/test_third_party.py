"""A backend of another distribution: found by its entry point, in this process and in every other, by name alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.third_party import SPLIT, installed

import secure_agg
from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.local.staff import AGGREGATORS, usual_names
from secure_agg.protocol.config import Option, Policy


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(SPLIT, folder):
        yield folder


def test_it_is_listed_with_all_that_it_says_of_itself(site: Path) -> None:
    assert "split" in backends.names()
    paths = os.pathsep.join((str(site), str(SPLIT / "src"), *filter(None, sys.path)))
    run = subprocess.run(
        [sys.executable, "-m", "secure_agg", "backends", "--json"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(run.stdout)["backends"]["split"]
    assert said["summary"] == backends.load("split").trust.summary
    assert said["operators"] == "share holders"
    assert said["options"]["holders"]["high"] == 5


def test_its_own_operators_are_staffed_without_anybody_knowing_it() -> None:
    policy = Policy.default(3, backend="split", options=Option.list({"holders": 4}))
    assert usual_names(policy) == AGGREGATORS[:4]


def test_its_options_are_checked_as_it_declares_them() -> None:
    updates = {name: [np.zeros(3)] for name in ("a", "b", "c")}
    with pytest.raises(ConfigError, match=r"holders is 6, outside \[2, 5\]"):
        secure_agg.aggregate(updates, backend="split", options={"holders": 6})
    with pytest.raises(ConfigError, match=r"backend 'split' has no option 'speed': it has holders"):
        secure_agg.aggregate(updates, backend="split", options={"speed": 1})


def test_a_round_of_it_is_verified_by_somebody_else(site: Path, tmp_path: Path) -> None:
    """Another process, which has the same packages, needs the evidence and what is pinned."""
    result = secure_agg.aggregate(
        {name: [np.full(3, float(number))] for number, name in enumerate(("a", "b", "c"))},
        backend="split",
        ledger=tmp_path / "rounds.db",
    )
    assert np.allclose(result.average[0], 1.0, atol=1e-3)
    (tmp_path / "round.evidence").write_bytes(result.evidence.to_bytes())
    paths = os.pathsep.join((str(site), str(SPLIT / "src"), *filter(None, sys.path)))
    command = ["verify", str(tmp_path / "round.evidence"), "--trust", str(tmp_path / "rounds.db.trust.json")]
    subprocess.run(
        [sys.executable, "-m", "secure_agg", *command],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        check=True,
    )
