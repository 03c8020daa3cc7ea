"""``secure-agg federation``: what it makes opens, and starts as it says; what it is told wrongly leaves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Run
from support.records.hand_made import make_record
from support.records.logs import append

from secure_agg.cli.terminal import exits
from secure_agg.fl.model_files import read_model, start_digest
from secure_agg.fl.server_optimizers import ServerOptimizer
from secure_agg.ledger.database import NewLeaf
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.kept import keep
from secure_agg.plugins.homes.server import PHASE_S, ServerHome
from secure_agg.protocol.config import Option
from secure_agg.roles.trust import Trust


def three(*names: str) -> list[str]:
    return [word for name in names or ("north", "east", "south") for word in ("--client", name)]


def test_the_homes_open_with_the_policy_that_was_asked_for(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    asked = (
        "--clip",
        2,
        "--bits",
        20,
        "--max-weight",
        500,
        "--min-clients",
        2,
        "--task",
        "lungs",
        "--server-optimizer",
        "fedadam",
        "--server-tau",
        0.25,
        "--start-model",
        "ab" * 32,
    )
    document = run("federation", "init", folder, *three(), *asked, "--json").document
    assert document["tasks"] == ["lungs", "lungs-evaluation"]
    assert document["operators"] == {}
    with ServerHome.open(document["server"]) as server:
        policy = server.trust.task("lungs").policy
        assert (policy.backend, policy.clip, policy.bits) == ("masking", 2.0, 20)
        assert (policy.max_weight, policy.min_clients) == (500, 2)
    assert sorted(document["clients"]) == ["east", "north", "south"]
    for name, path in document["clients"].items():
        with ClientHome.open(path) as home:
            assert (home.name, home.task, home.checks_model) == (name, "lungs", True)
            assert home.start_model == bytes.fromhex("ab" * 32)
            assert home.optimizer == server.optimizer == ServerOptimizer.create("FedAdam", tau=0.25)
            assert home.trust == Trust.load(document["trust"])


def test_a_start_model_is_pinned_from_a_file(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "start.npz", layer=np.linspace(0, 1, 6).reshape(2, 3))
    digest = start_digest({"layer": np.linspace(0, 1, 6).reshape(2, 3)})
    document = run("federation", "init", tmp_path / "all", *three(), "--start-model", tmp_path / "start.npz", "--json")
    assert document.document["start_model"] == digest.hex()
    with ClientHome.open(tmp_path / "all/clients/north") as home:
        assert home.start_model == digest
    shown = run("federation", "init", tmp_path / "again", *three(), "--start-model", digest.hex())
    assert digest.hex()[:40] in shown.out.replace("\n", "")
    assert "not pinned" in run("federation", "init", tmp_path / "free", *three()).out


def test_any_model_is_asked_for_and_shown_loudly(run: Run, tmp_path: Path) -> None:
    shown = run("federation", "init", tmp_path / "all", *three(), "--any-model")
    assert "ANY" in shown.out
    with ServerHome.open(tmp_path / "all/server") as server, ClientHome.open(tmp_path / "all/clients/east") as home:
        assert (server.checks_model, home.checks_model, home.start_model) == (False, False, None)
    for more in (("--start-model", "ab" * 32), ("--server-optimizer", "FedAdam")):
        refused = run("federation", "init", tmp_path / "new", *three(), "--any-model", *more)
        assert (refused.code, refused.out) == (exits.USAGE, "")
        assert "takes any model" in refused.err
        assert not (tmp_path / "new").exists()


def test_a_member_joins_with_its_own_key(run: Run, tmp_path: Path) -> None:
    key, folder = tmp_path / "own.key", tmp_path / "all"
    public = run("keygen", "own", "--out", key, "--json").document["public"]
    made = run("federation", "init", folder, *three("north", "east"), "--client-key", f"own={public}", "--json")
    assert sorted(made.document["clients"]) == ["east", "north"]
    mine = ("--name", "own", "--identity", key, "--trust", made.document["trust"])
    rules = ("--start-model", "cd" * 32, "--server-optimizer", "FedAvgM", "--server-momentum", 0.5)
    joined = run("federation", "join", tmp_path / "home", *mine, *rules, "--json").document
    assert (joined["start_model"], joined["any_model"]) == ("cd" * 32, False)
    assert joined["public"] == public
    with ClientHome.open(joined["home"]) as home:
        assert (home.name, home.checks_model, home.start_model) == ("own", True, bytes.fromhex("cd" * 32))
        assert home.optimizer == ServerOptimizer.create("FedAvgM", momentum=0.5)
    assert "exists already" in run("federation", "join", tmp_path / "home", *mine).err
    other = run("federation", "join", tmp_path / "other", "--name", "north", *mine[2:])
    assert (other.code, other.out) == (exits.USAGE, "")
    assert "not the one in the roster" in other.err
    assert not (tmp_path / "other").exists()


def test_people_read_what_to_do_next_and_no_secret(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    additive = ("--backend", "additive", "--option", "aggregators=2")
    text = run("federation", "init", folder, *three(), *additive)
    assert text.code == exits.OK
    for shown in ("trust.json", "server", "client north", "aggregator serve", "--listen 127.0.0.1:9402"):
        assert shown in text.out
    for path in folder.rglob("passphrase"):
        assert path.read_text().strip() not in text.out
    for path in folder.rglob("identity.key"):
        assert path.read_text().strip() not in text.out
    assert Trust.load(folder / "trust.json").task("default").policy.options == (Option("aggregators", 2),)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--backend", "additive", "--option", "aggregators=2"), ["aggregator-1", "aggregator-2"]),
        (("--backend", "bfv", "--parameters", 10), ["keyholder-1"]),
    ],
)
def test_the_operators_start_as_it_says(
    run: Run, tmp_path: Path, arguments: tuple[object, ...], names: list[str]
) -> None:
    folder = tmp_path / "all"
    document = run("federation", "init", folder, *three(), *arguments, "--json").document
    assert sorted(document["operators"]) == names
    with federation.operators(folder) as running:
        for name, process in running.items():
            told = document["operators"][name]
            assert told[: -len(["--listen", "…"])] == [
                "secure-agg",
                *federation.serve_command(folder / "operators" / name),
            ]
            assert "listens on" in process.log
        with ServerHome.open(folder / "server") as server:
            assert {name: place.address for name, place in server.places().items()} == {
                name: process.endpoint.address for name, process in running.items()
            }


def test_a_wrong_command_line_leaves_nothing(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    for arguments, said in (
        (three("north", "east"), "min_clients = 3"),
        ((*three(), "--client-key", "own"), "not of the form ID=HEX"),
        ((*three(), "--client-key", "own=xyz"), "not of the form ID=HEX"),
        ((*three(), "--client-key", "own=00"), "32 bytes"),
        ((*three(), "--client-key", "a=00", "--client-key", "a=01"), "named twice"),
        ((*three(), "--backend", "bfv"), "say how many parameters"),
        ((*three(), "--option", "aggregators=3"), "no option 'aggregators': it has complete_up_to"),
        ((*three(), "--option", "aggregators"), "not of the form NAME=VALUE"),
        ((*three(), "--option", "aggregators=-3"), "not of the form NAME=VALUE"),
        ((*three(), "--backend", "additive", "--option", "aggregators=17"), "aggregators is 17, outside [2, 16]"),
        (
            (*three(), "--backend", "additive", "--option", "aggregators=3", "--option", "aggregators=4"),
            "option 'aggregators' is given twice",
        ),
        ((*three(), "--backend", "nothing"), "nothing"),
        ((*three(), "--bits", 40), "bits"),
        ((*three(), "--client", "a/b"), "can't name a folder"),
        ((*three(), "--start-model", "nowhere.npz"), "neither a file nor a digest"),
        ((*three(), "--start-model", __file__), "no model that can be read"),
        ((*three(), "--server-optimizer", "FedBest"), "none of FedAvg"),
        ((*three(), "--server-momentum", 0.5), "FedAvg has no momentum"),
        ((*three(), "--server-optimizer", "FedAdam", "--server-tau", 0), "tau of FedAdam is 0.0"),
    ):
        refused = run("federation", "init", folder, *arguments)
        assert (refused.code, refused.out) == (exits.USAGE, ""), said
        assert said in refused.err
        assert not folder.exists()


def test_the_time_of_a_phase_is_the_servers(run: Run, tmp_path: Path) -> None:
    run("federation", "init", tmp_path / "usual", *three())
    run("federation", "init", tmp_path / "slow", *three(), "--phase-seconds", 240.5)
    for name, seconds in (("usual", PHASE_S), ("slow", 240.5)):
        with ServerHome.open(tmp_path / name / "server") as home:
            assert home.phase_s == seconds
    for wrong in (0, -1, "nan", "inf"):
        refused = run("federation", "init", tmp_path / "new", *three(), "--phase-seconds", wrong)
        assert (refused.code, refused.out) == (exits.USAGE, "")
        assert "a phase takes a positive, finite number" in refused.err
        assert not (tmp_path / "new").exists()


def test_the_last_model_is_shown_and_written_once(run: Run, tmp_path: Path) -> None:
    """As after a run of rounds: under the free choice of models what was kept last is the model."""
    folder = tmp_path / "all"
    run("federation", "init", folder, *three(), "--any-model")
    early = run("federation", "model", folder)
    assert (early.code, early.out, "no verified round yet" in early.err) == (exits.USAGE, "", True)

    named = {"layer": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), "steps": np.array([3])}
    with ServerHome.open(folder / "server") as home:
        record = make_record(0, task=home.task)
        append(home.ledger, NewLeaf(home.task, 0, record.to_bytes()))
        keep(home, named)
    for place in (folder, folder / "server"):
        text, machine = run("federation", "model", place), run("federation", "model", place, "--json").document
        assert (machine["round"], machine["digest"]) == (0, start_digest(named).hex())
        assert (machine["arrays"], machine["file"]) == (2, None)
        assert machine["digest"] in text.out
        assert {line.partition("  ")[0] for line in text.out.splitlines()} == set(machine)

    out = tmp_path / "model.npz"
    assert run("federation", "model", folder, "--out", out, "--json").document["file"] == str(out)
    found = read_model(out)
    assert list(found) == list(named)
    assert all(np.array_equal(found[name], named[name]) for name in named)
    before = out.read_bytes()
    for name, said in (
        ("model.npz", "never overwritten"),
        ("model.npy", "one array as .npy"),
        ("no/m.npz", "can't be"),
    ):
        refused = run("federation", "model", folder, "--out", tmp_path / name)
        assert (refused.code, refused.out, said in refused.err) == (exits.USAGE, "", True)
    assert out.read_bytes() == before
    assert run("federation", "model", tmp_path / "nowhere").code == exits.USAGE


def test_a_norm_bound_is_pinned_with_marks_and_metrics_outside(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    asked = ("--norm-bound", 2.5, "--norm-excess", "refuse", "--clip", 1.0)
    document = run("federation", "init", folder, *three(), *asked, "--json").document
    with ServerHome.open(document["server"]) as server:
        policy = server.trust.task("default").policy
        assert policy.norm is not None
        assert (policy.norm.excess, policy.norm.outside) == ("refuse", 2)
        assert 0 < 2.5 - policy.norm_limit < 1e-6
        assert policy.option("screening", 0) == 1
    unscreened = run("federation", "init", tmp_path / "off", *three(), *asked, "--option", "screening=0", "--json")
    with ServerHome.open(unscreened.document["server"]) as server:
        assert server.trust.task("default").policy.option("screening", 1) == 0
    text = run("federation", "init", tmp_path / "other", *three(), *asked).out
    assert "every update has an L2 norm of at most 2.5" in text
    refused = run("federation", "init", tmp_path / "more", *three(), *asked, "--backend", "additive")
    assert (refused.code, (tmp_path / "more").exists()) == (exits.USAGE, False)
    assert "speak once" in refused.err
