"""A large update over three real SuperNodes: it arrives, and nobody's memory grows with the number of nodes."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.frameworks.flower_engine import Engine

from secure_agg import Ledger
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

SIZE = 25_000_000
MODEL = 4 * SIZE
NAMES = ("north", "east", "south")
ROLES = ("flower-superlink", "flower-supernode", "flwr-serverapp", "flwr-clientapp")


class Peaks:
    """The largest resident memory of a process of each role, in bytes, among the children of this process."""

    def __init__(self) -> None:
        self.of: dict[str, int] = defaultdict(int)

    def look(self, log: str) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                command = " ".join(process.cmdline())
                used = process.memory_info().rss
            except psutil.Error:
                continue
            for role in ROLES:
                if role in command:
                    self.of[role] = max(self.of[role], used)


@pytest.mark.flower_long
def test_25_million_parameters_over_three_nodes_in_bounded_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Policy.default(len(NAMES), clip=4.0, max_weight=40)
    federation.make(tmp_path / "federation", NAMES, policy, task="linear")
    homes = tmp_path / "federation" / "clients"
    nodes = {name: {"partition-id": number, "secure-agg-home": str(homes / name)} for number, name in enumerate(NAMES)}
    peaks = Peaks()
    with Engine(tmp_path / "engine", nodes) as engine:
        log = engine.run(
            {
                "home": str(tmp_path / "federation" / "server"),
                "out": str(tmp_path / "model.npz"),
                "nodes": len(NAMES),
                "rounds": 2,
                "size": SIZE,
                "phase-s": 240.0,
                "timeout-s": 240.0,
            },
            timeout_s=1500,
            watch=peaks.look,
        )
    with Ledger(tmp_path / "federation" / "server" / "rounds.db", read_only=True) as ledger:
        assert [len(ledger.evidence(record).participants) for record in ledger.records()] == [3, 3]
    assert np.load(tmp_path / "model.npz")["weights"].any()
    lines = [line for line in log.splitlines() if "phase" in line or "verified the result" in line]
    lines += [f"{role}: {peaks.of[role] / MODEL:.1f} models" for role in ROLES]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    for role in ROLES:
        assert 0 < peaks.of[role] < 24 * MODEL, role
