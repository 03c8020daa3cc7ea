"""Flower's own processes: a ServerApp asks questions of statistics, and each node answers from its operator's table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.frameworks.flower_engine import Engine

from secure_agg import Ledger, Trust
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

ASKED = Path(__file__).parents[2] / "support" / "frameworks" / "flower_statistics"
AGES = {name: np.random.default_rng(place).integers(20, 100, 40) for place, name in enumerate(("north", "south"))}


@pytest.mark.flower_long
def test_a_run_ends_with_what_numpy_has_of_all_records(tmp_path: Path) -> None:
    policy = Policy.default(2, clip=1.0, bits=24, max_weight=1, min_clients=2)
    federation.make(tmp_path / "federation", list(AGES), policy, task="statistics", checks_model=False)
    nodes: dict[str, dict[str, object]] = {}
    for name, ages in AGES.items():
        home, table = tmp_path / "federation" / "clients" / name, tmp_path / f"{name}.csv"
        (home / "statistics.toml").write_text("[columns.age]\nlower = 0\nupper = 128\n")
        table.write_text("age\n" + "\n".join(map(str, ages)) + "\n")
        nodes[name] = {"secure-agg-home": str(home), "secure-agg-table": str(table)}
    config = {
        "home": str(tmp_path / "federation" / "server"),
        "out": str(tmp_path / "found.json"),
        "phase-s": 90.0,  # each node's first messages start Python there: a minute on a loaded machine
        "timeout-s": 180.0,
    }
    with Engine(tmp_path / "engine", nodes) as engine:
        engine.run(config, app=ASKED, timeout_s=900)
    found = json.loads((tmp_path / "found.json").read_text())
    pooled = np.concatenate(list(AGES.values()))
    assert (found["count"], found["sites"]) == (pooled.size, list(AGES))
    assert abs(found["median"] - np.quantile(pooled, 0.5, method="inverted_cdf")) <= found["error"]
    with Ledger(tmp_path / "federation" / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(tmp_path / "federation" / "trust.json")).size == 2
