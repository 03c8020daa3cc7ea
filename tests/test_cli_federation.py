"""``secure-agg federation``: what it makes opens, and starts as it says; what it is told wrongly leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from secure_agg.cli import exits, main
from secure_agg.config import Option
from secure_agg.plugins import federation
from secure_agg.plugins.home import ClientHome, ServerHome
from secure_agg.trust import Trust


class Outcome(NamedTuple):
    """What the command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``secure-agg`` in this process."""

    def command(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            main(list(map(str, arguments)))
        code = exit_.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return command


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
            assert (home.name, home.task, home.checks_model) == (name, "lungs", False)
            assert home.trust == Trust.load(document["trust"])


def test_a_member_joins_with_its_own_key(run: Run, tmp_path: Path) -> None:
    key, folder = tmp_path / "own.key", tmp_path / "all"
    public = run("keygen", "own", "--out", key, "--json").document["public"]
    made = run("federation", "init", folder, *three("north", "east"), "--client-key", f"own={public}", "--json")
    assert sorted(made.document["clients"]) == ["east", "north"]
    mine = ("--name", "own", "--identity", key, "--trust", made.document["trust"])
    joined = run("federation", "join", tmp_path / "home", *mine, "--json").document
    assert joined["public"] == public
    with ClientHome.open(joined["home"]) as home:
        assert (home.name, home.checks_model) == ("own", True)
    assert "exists already" in run("federation", "join", tmp_path / "home", *mine).err
    other = run("federation", "join", tmp_path / "other", "--name", "north", *mine[2:])
    assert (other.code, other.out) == (exits.USAGE, "")
    assert "not the one in the roster" in other.err
    assert not (tmp_path / "other").exists()


def test_people_read_what_to_do_next_and_no_secret(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    additive = ("--backend", "additive", "--aggregators", 2)
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
        (("--backend", "additive", "--aggregators", 2), ["aggregator-1", "aggregator-2"]),
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
        ((*three(), "--aggregators", 3), "no option 'aggregators'"),
        ((*three(), "--backend", "nothing"), "nothing"),
        ((*three(), "--bits", 40), "bits"),
        ((*three(), "--client", "a/b"), "can't name a folder"),
    ):
        refused = run("federation", "init", folder, *arguments)
        assert (refused.code, refused.out) == (exits.USAGE, ""), said
        assert said in refused.err
        assert not folder.exists()
