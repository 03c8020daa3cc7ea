"""Privacy on the command line: homes with a budget, what they say of it, and the audit that adds it up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Run, running

import secure_agg
from secure_agg import Privacy, Trust
from secure_agg.cli.terminal import exits

BUDGET = ("--privacy-epsilon", "4", "--privacy-delta", "1e-5", "--privacy-norm", "2", "--privacy-rounds", "10")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return running(capsys)


def clients(n: int) -> list[str]:
    return [word for i in range(n) for word in ("--client", f"c{i}")]


def test_homes_are_made_with_a_budget_and_say_what_fewer_honest_clients_would_leave(run: Run, tmp_path: Path) -> None:
    arguments = ("federation", "init", tmp_path / "homes", *clients(8), *BUDGET, "--min-clients", "7", "--json")
    said = run(*arguments).document["privacy"]
    assert (said["epsilon"], said["delta"], said["norm"], said["rounds"]) == (4.0, 1e-5, 2.0, 10)
    assert 4.0 < said["epsilon_if_share"]["0.8"] < said["epsilon_if_share"]["0.5"] < said["epsilon_if_share"]["0.1"]
    policy = Trust.load(tmp_path / "homes" / "trust.json").task("default").policy
    assert policy.privacy is not None
    assert (policy.clip, policy.max_weight, policy.privacy.rounds) == (2.0, 1, 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (BUDGET[:2], "--privacy-delta is missing"),
        (("--privacy-rounds", "3"), "--privacy-epsilon is missing"),
        ((*BUDGET, "--max-weight", "100"), "counts every client alike"),
        ((*BUDGET, "--norm-bound", "1"), "a norm bound and privacy exclude each other"),
        (("--privacy-epsilon", "-1", *BUDGET[2:]), "not a number above 0"),
    ],
)
def test_half_a_budget_and_what_excludes_it_are_refused(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    outcome = run("federation", "init", tmp_path / "homes", *clients(8), *arguments, "--min-clients", "7")
    assert outcome.code == exits.USAGE
    assert said in " ".join(outcome.err.split())
    assert not (tmp_path / "homes").exists()


def test_the_audit_and_the_round_say_what_was_spent(run: Run, tmp_path: Path) -> None:
    path, updates = tmp_path / "rounds.db", {f"c{i}": [np.ones(5)] for i in range(4)}
    budget = Privacy(epsilon=4.0, delta=1e-5, norm=1.0, rounds=2)
    result = secure_agg.aggregate(updates, backend="plain", privacy=budget, ledger=path)
    found = run("ledger", "audit", path, "--json").document
    assert found["privacy"]["default"]["rounds"] == 1
    assert found["privacy"]["default"]["epsilon_spent"] == result.record.spent / 1e6  # type: ignore[attr-defined]
    assert "that any client has added its noise" in found["not_proved"]
    shown = run("ledger", "show", path, "default", "0", "--json").document
    assert (shown["claim"], shown["parameters"]) == ("dp-sum", 5)
    assert "if as many add their noise as the policy counts on" in shown["privacy"]
