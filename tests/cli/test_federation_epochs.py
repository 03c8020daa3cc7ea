"""``secure-agg federation propose``, ``approve``, ``status``: files in, files out, and nothing without signatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Run
from support.plugin_rounds import Nodes

from secure_agg.cli import exits
from secure_agg.errors import TrustError
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
