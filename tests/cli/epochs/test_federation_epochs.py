"""``secure-agg federation propose``, ``approve``, ``status``: files in, files out, and nothing without signatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Run
from support.frameworks.plugin_rounds import Nodes

from secure_agg.cli.terminal import exits
from secure_agg.errors import ConfigError, TrustError
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.proposals import read
from secure_agg.plugins.homes.server import ServerHome

NAMES = ("north", "east", "south", "west")


def a_round(folder: Path, model: list[np.ndarray], *names: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    homes = {name: folder / "clients" / name for name in names}
    updates = {name: [np.full(array.shape, 0.25) for array in model] for name in names}
    with ServerHome.open(folder / "server") as server:
        outcome = Coordinator(server).round(model, Nodes(homes, updates, model))
    return outcome.model, outcome.participants


def test_a_member_joins_by_files_that_owners_sign(run: Run, tmp_path: Path) -> None:
    folder, new = tmp_path / "all", tmp_path / "centre.key"
    run("federation", "init", folder, *(word for name in NAMES for word in ("--client", name)), "--min-clients", 2)
    model, _ = a_round(folder, [np.zeros(5)], *NAMES)
    public = run("keygen", "centre", "--out", new, "--json").document["public"]
    proposal = tmp_path / "next.epoch"
    said = run("federation", "propose", folder, "--join", f"centre={public}", "--out", proposal, "--json").document
    assert said["changes"]["joins"] == "centre"
    assert said["to_accept"] == ["centre"]
    refused = run("federation", "status", folder, proposal, "--submit", "--json")
    assert refused.code == exits.VERIFICATION_FAILED
    copies = []
    for name in NAMES[:3]:
        copies.append(tmp_path / f"{name}.epoch")
        home = folder / "clients" / name
        assert run("federation", "approve", proposal, "--home", home, "--out", copies[-1], "--json").document[
            "authorised"
        ]
    mine = ("--name", "centre", "--identity", new, "--trust", folder / "trust.json")
    copies.append(tmp_path / "centre.epoch")
    assert run("federation", "approve", proposal, *mine, "--out", copies[-1], "--json").document["accepted"]
    found = run("federation", "status", folder, *copies, "--submit", "--json").document
    assert found["proposal"]["to_accept"] == found["proposal"]["to_authorise"] == []
    model, _ = a_round(folder, model, *NAMES)
    epochs = tmp_path / "epochs"
    shown = run("federation", "status", folder, "--epochs", epochs, "--json").document
    assert (shown["epoch"], shown["members"]) == (1, 5)
    home = folder / "clients" / "centre"
    run("federation", "join", home, *mine, "--epochs", epochs, "--json")
    _, participants = a_round(folder, model, *NAMES, "centre")
    assert "centre" in participants
    with ClientHome.open(home) as opened:
        assert opened.epochs.number == 1
    assert "epoch 1" in run("federation", "status", home).out
    audit = run("ledger", "audit", folder / "server" / "rounds.db", "--trust", folder / "trust.json", "--json")
    assert (audit.document["epochs"], audit.document["verified"]) == (1, 3)


def test_what_is_proposed_wrongly_leaves_no_file(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "all", tmp_path / "next.epoch"
    run("federation", "init", folder, *(word for name in NAMES for word in ("--client", name)))
    for words in (
        ("--leave", "nobody"),
        ("--join", "centre=xx"),
        ("--restart", "second"),
        ("--bits", 99),
        ("--administrator", f"a={'ab' * 31}"),
    ):
        assert run("federation", "propose", folder, *words, "--out", out).code == exits.USAGE
        assert not out.exists()


def test_an_owner_who_signs_with_the_key_of_a_home_is_bound_by_that_homes_store(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    run("federation", "init", folder, *(word for name in NAMES for word in ("--client", name)), "--min-clients", 2)
    first, second = tmp_path / "first.epoch", tmp_path / "second.epoch"
    run("federation", "propose", folder, "--clip", 0.5, "--out", first)
    run("federation", "propose", folder, "--clip", 0.25, "--out", second)
    home = folder / "clients" / "north"
    mine = ("--name", "north", "--identity", home / "identity.key", "--trust", folder / "trust.json")
    assert run("federation", "approve", first, "--home", home, "--json").document["authorised"]
    assert run("federation", "approve", first, *mine, "--json").document["authorised"]  # the same again
    refused = run("federation", "approve", second, *mine)
    assert refused.code != 0
    assert "has authorised another epoch 1" in refused.err


def test_an_owner_pins_a_floor_when_the_home_is_made_and_another_later(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    clients = [word for name in NAMES for word in ("--client", name)]
    pinned = ("--floor", "clip=0.5:2", "--floor", "new_keys=0.5", "--witness-age", 3600)
    run("federation", "init", folder, *clients, "--min-clients", 2, *pinned)
    north, east = folder / "clients" / "north", folder / "clients" / "east"
    found = run("federation", "floor", north, "--json").document
    assert (found["least_clip"], found["most_clip"], found["new_keys"], found["witness_age_s"]) == (0.5, 2, 0.5, 3600)
    assert (found["backends"], found["min_clients"]) == (["masking"], 2)  # what is not named is as usual

    run("federation", "propose", folder, "--clip", 0.3, "--out", tmp_path / "next.epoch")
    with ClientHome.open(north) as home, pytest.raises(TrustError, match=r"clip is 0.3, outside \[0.5, 2\]"):
        home.epochs.check_floor(read(tmp_path / "next.epoch").says)
    run("federation", "floor", north, "--floor", "clip=0.25:2")
    with ClientHome.open(north) as home:
        home.epochs.check_floor(read(tmp_path / "next.epoch").says)
        assert (home.epochs.floor.new_keys, home.witness_age_s) == (0.5, 3600)  # these have stayed
    assert run("federation", "status", north, "--json").document["floor"]["least_clip"] == 0.25
    assert "0.25 to 2" in run("federation", "floor", north).out
    usual = run("federation", "floor", east, "--usual", "--json").document
    assert (usual["most_clip"], usual["witness_age_s"]) == (16, None)
    with ClientHome.open(east) as home:
        assert home.floor is None


def test_a_floor_above_what_is_pinned_or_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    clients = [word for name in NAMES for word in ("--client", name)]
    for floor, said in (
        (["min_clients=5"], "min_clients is 3, below 5"),
        (["backends=additive"], "backend 'masking' is not among 'additive'"),
        (["backends=other"], "other"),
        (["clip=2"], "not of the form"),
        (["clip=2:1"], "which is nothing"),
        (["corrupt=2"], "is no share"),
        (["bits=eight"], "not of the form"),
        (["bits=8", "bits=9"], "not of the form"),
        (["most"], "not of the form"),
    ):
        refused = run("federation", "init", folder, *clients, *(w for text in floor for w in ("--floor", text)))
        assert (refused.code, folder.exists()) == (exits.USAGE, False), floor
        assert said in " ".join(refused.err.split()), floor
    run("federation", "init", folder, *clients)
    home = folder / "clients" / "north"
    before = (home / "home.json").read_bytes()
    for words in (("--floor", "bits=30"), ("--witness-age", -1), ("--usual", "--floor", "bits=9")):
        assert run("federation", "floor", home, *words).code == exits.USAGE
        assert (home / "home.json").read_bytes() == before


def test_another_budget_counts_what_was_spent_and_says_what_it_leaves(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "all", tmp_path / "next.epoch"
    budget = ("--privacy-epsilon", 4, "--privacy-delta", 1e-5, "--privacy-norm", 1, "--privacy-rounds", 2)
    clients = [word for name in NAMES for word in ("--client", name)]
    run("federation", "init", folder, *clients, "--min-clients", 3, "--bits", 20, *budget)
    model = [np.zeros(5)]
    for _ in range(2):
        model, _ = a_round(folder, model, *NAMES)
    refused = run("federation", "propose", folder, "--privacy-rounds", 2, "--out", out)
    assert refused.code == exits.USAGE
    assert "which leaves no 2 more whose noise is of any use: epsilon = " in " ".join(refused.err.split())
    at_home = run("federation", "propose", folder / "clients" / "north", "--privacy-epsilon", 6, "--out", out)
    assert "a node's home does not know all rounds" in " ".join(at_home.err.split())
    assert not out.exists()
    words = ("--privacy-epsilon", 6, "--privacy-rounds", 2, "--out", out)
    said = run("federation", "propose", folder, *words, "--json").document
    assert said["changes"]["privacy"].startswith("epsilon = 4 at delta = 1e-05 for 2 rounds")
    assert 3.9 < said["budget"]["epsilon_spent"] <= 4 < said["budget"]["epsilon"] == 6
    assert said["budget"]["rounds_left"] == 2
    copies = []
    for name in NAMES:
        copies.append(tmp_path / f"{name}.epoch")
        home = folder / "clients" / name
        own = run("federation", "approve", out, "--home", home, "--out", copies[-1], "--json").document
        assert own["budget"]["epsilon_spent"] == said["budget"]["epsilon_spent"]
    assert run("federation", "status", folder, *copies, "--submit").code == exits.OK
    for _ in range(2):
        model, participants = a_round(folder, model, *NAMES)
        assert len(participants) == 4
    with pytest.raises(ConfigError, match="the privacy budget is spent"):
        a_round(folder, model, *NAMES)
    trust = ("--trust", folder / "trust.json")
    audit = run("ledger", "audit", folder / "server" / "rounds.db", *trust, "--json").document
    assert audit["privacy"]["default"]["rounds"] == 4
    assert 4 < audit["privacy"]["default"]["epsilon_spent"] <= 6


def test_groups_are_changed_one_by_one_and_rounds_go_on_with_others(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "all", tmp_path / "next.epoch"
    clients = [word for name in NAMES for word in ("--client", name)]
    run("federation", "init", folder, *clients, "--min-clients", 2, "--max-weight", 1, "--group", "model:bits=8,clip=1")
    model, _ = a_round(folder, [np.zeros(5)], *NAMES)
    for words, error in (
        (("--drop-group", "nobody"), "there is 'metrics', 'model'"),
        (("--group", "model:bits=99"), "outside"),
        (("--group", "metrics:bits=14,clip=1"), "hold one of the name 'metrics'"),
    ):
        refused = run("federation", "propose", folder, *words, "--out", out)
        assert refused.code == exits.USAGE
        assert error in " ".join(refused.err.split())
    changed = ("--group", "model:bits=4,clip=0.5,adaptive", "--group", "more:bits=10,clip=1,unweighted")
    said = run("federation", "propose", folder, *changed, "--out", out, "--json").document["changes"]
    assert said["group model"] == (
        "8 bits, clip 1, weighted becomes 4 bits, clip 0.5 to begin with, adaptive, weighted"
    )
    assert said["group more"] == "none becomes 10 bits, clip 1, unweighted"
    assert "options" not in said
    for name in NAMES:
        run("federation", "approve", out, "--home", folder / "clients" / name)
    assert run("federation", "status", folder, out, "--submit").code == exits.OK
    for _ in range(2):
        model, participants = a_round(folder, model, *NAMES)
        assert len(participants) == 4
    shown = run("ledger", "audit", folder / "server" / "rounds.db", "--trust", folder / "trust.json", "--json").document
    assert (shown["epochs"], shown["verified"]) == (1, 3)
