"""Statistics over a service as the documents show them: one member by its command, another from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.commands import running
from support.service.world import Service, environment

from secure_agg import connect, stats
from secure_agg.cli.terminal import exits
from secure_agg.ledger.log import Ledger

NORTH, SOUTH = [31, 44, 58, 60, 73, 75], [28, 35, 51, 66, 80, 82]
RULES = 'min_count = 5\nfunctions = ["mean"]\n[columns.age]\nlower = 0\nupper = 128\n'


@pytest.mark.slow
def test_two_members_ask_one_question_and_each_has_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    homes, rules, mine = tmp_path / "homes", tmp_path / "mine.toml", tmp_path / "mine.csv"
    np.savez(tmp_path / "start.npz", answers=np.zeros(64))
    rules.write_text(RULES)
    mine.write_text("age\n" + "\n".join(map(str, NORTH)) + "\n")
    words = (
        "--client",
        "north",
        "--client",
        "south",
        "--min-clients",
        2,
        "--any-model",
        "--bits",
        24,
        "--max-weight",
        1,
    )
    run = running(capsys)
    assert run("federation", "init", homes, "--task", "statistics", *words).code == exits.OK
    served = ("serve", "--home", homes / "server", "--model", tmp_path / "start.npz", "--listen", "127.0.0.1:0")
    service = Service(["-m", "secure_agg", *map(str, served), "--rounds", "1"], tmp_path / "service.log")
    try:
        question = ("stats", "mean", mine, "--column", "age", "--json", "--url", service.url, "--rules", rules)
        north = subprocess.Popen(
            [sys.executable, "-m", "secure_agg", *map(str, question), "--home", str(homes / "clients" / "north")],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        site = stats.site_of({"age": np.array(SOUTH)}, rules, tmp_path / "south.log")
        with connect(service.url, homes / "clients" / "south") as session:
            south = stats.mean(stats.MemberFederation(session, site), "age", 0, 128)
        said, log = north.communicate(timeout=600)
    finally:
        service.stop()
    assert north.returncode == exits.OK, log.decode()
    expected = np.mean(NORTH + SOUTH)
    found = json.loads(said)
    assert abs(south.value - expected) <= south.error
    assert (found["value"], found["records"], found["participants"]) == (south.value, 12, ["north", "south"]), found
    with Ledger(homes / "server" / "rounds.db", read_only=True) as ledger:
        assert ledger.audit().verified == 1
    assert (homes / "clients" / "north" / "statistics.log").exists()
    # A question that is not in the owner's rules is refused before anything is sent: the service is gone by now.
    refused = run(*question[:1], "count", mine, *question[5:], "--home", homes / "clients" / "north")
    assert (refused.code, refused.error["type"]) == (exits.USAGE, "QueryRefused")
