"""The example in Flower's own processes: a ServerApp asks, and each node answers from its operator's table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lifelines.datasets import load_waltons
from support.chance.ports import free_port
from support.frameworks.flower_engine import Engine
from support.source_tree import ROOT

from secure_agg import Ledger, Trust
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

EXAMPLE = ROOT / "examples" / "flower-statistics"
NAMES = ("north", "south")


@pytest.mark.flower_long
def test_the_example_ends_with_what_pandas_has_of_all_records_over_a_channel(tmp_path: Path) -> None:
    flies, homes = load_waltons(), tmp_path / "federation"
    policy = Policy.default(2, clip=1.0, bits=24, max_weight=1, min_clients=2)
    # Each node's first messages start Python there: a minute on a loaded machine.
    federation.make(homes, list(NAMES), policy, task="statistics", checks_model=False, phase_s=90.0)
    channel, nodes = f"127.0.0.1:{free_port()}", dict[str, dict[str, object]]()
    for place, name in enumerate(NAMES):
        home, table = homes / "clients" / name, tmp_path / f"{name}.csv"
        (home / "statistics.toml").write_text("min_count = 3\n[columns.T]\nlower = 0\nupper = 128\n[columns.E]\n")
        with (home / "statistics.toml").open("a") as rules:
            rules.write('[columns.group]\nlevels = ["control", "miR-137"]\n')
        flies.iloc[place::2].to_csv(table, index=False)
        nodes[name] = {
            "secure-agg-home": str(home), "secure-agg-table": str(table), "secure-agg-channel": f"https://{channel}"
        }  # fmt: skip
    config = {"home": str(homes / "server"), "out": str(tmp_path / "found.json"), "channel": channel}
    with Engine(tmp_path / "engine", nodes) as engine:
        log = engine.run(config, app=EXAMPLE, timeout_s=900)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["flies"], found["sites"]) == (len(flies), list(NAMES)), log
    assert found["mean_days"] == pytest.approx(flies["T"].mean(), abs=1e-9)
    assert found["median_survival"]["control"] > found["median_survival"]["miR-137"]
    with Ledger(homes / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit(trust=Trust.load(homes / "trust.json")).size == 2
