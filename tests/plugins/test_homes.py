"""A home opens for what its owner has put there, and for nothing else; a federation's homes belong together."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from secure_agg.errors import ConfigError, SecureAggError, StoreError
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import Place, ServerHome
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.trust import Trust

CLIENTS = ("north", "east", "south")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes") / "federation"
    federation.make(folder, CLIENTS, Policy.default(3), task="task")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "federation")


def config(home: ServerHome, **changes: Any) -> RoundConfig:
    trust = home.trust
    values: dict[str, Any] = {
        "task": home.task,
        "round": 0,
        "policy": trust.task(home.task).policy,
        "cohort": trust.cohort(home.task),
        "shapes": ((5,),),
        "operators": trust.operators,
        "log_key": trust.log,
    }
    return RoundConfig.create(**values | changes)


def test_everybody_pins_the_same_and_the_ledger_with_it(folder: Path) -> None:
    with ServerHome.open(folder / "server") as server:
        assert sorted(server.trust.tasks) == ["task", "task" + EVALUATION]
        assert server.trust.log == server.ledger.log_public
        assert server.trust.origin == server.ledger.origin
        assert Trust.load(folder / "trust.json") == server.trust
        for name in CLIENTS:
            with ClientHome.open(folder / "clients" / name) as home:
                assert (home.name, home.task, home.checks_model) == (name, "task", True)
                assert home.trust == server.trust
                assert home.trust.task("task").roster[name] == home.identity.public
        with server.staff(config(server)) as (staffed, setup, holders):
            assert (staffed, setup, holders) == (config(server), b"", {})


def test_secrets_are_their_owners_alone(folder: Path) -> None:
    with ServerHome.open(folder / "server"), ClientHome.open(folder / "clients" / "north") as home:
        home.keep_receipt(("task", 0, 0), "aggregator", b"receipt")
        secret = ["identity.key", "attempts.db", "home.json", "operators.json", "receipts"]
        found = [path for path in folder.rglob("*") if path.name in secret or path.suffix == ".key"]
        assert len(found) >= 13
        for path in [folder, folder / "server", *(folder / "clients").iterdir(), *found]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_an_identity_is_not_shown(folder: Path) -> None:
    with ClientHome.open(folder / "clients" / "north") as home:
        shown = f"{home!r} {home.identity!r} {home.journal!r}"
    assert (folder / "clients/north/identity.key").read_text().strip() not in shown
    assert "ClientHome('north', task='task')" in shown


def test_a_receipt_is_kept_once(folder: Path) -> None:
    with ClientHome.open(folder / "clients" / "north") as home:
        first = home.keep_receipt(("task", 7, 1), "aggregator", b"receipt")
        assert home.keep_receipt(("task", 7, 1), "aggregator", memoryview(b"receipt")) == first
        other = home.keep_receipt(("task", 7, 1), "aggregator", b"another")
        assert first.read_bytes() == b"receipt"
        assert other != first
        assert first.name.startswith("round-000007-attempt-1-")
        with pytest.raises(ConfigError, match="above 65536"):
            home.keep_receipt(("task", 7, 1), "aggregator", bytes(70000))


def test_receipts_of_one_attempt_do_not_fill_a_disk(folder: Path) -> None:
    """A server signs one acceptance in as many ways as it likes, and may send each."""
    with ClientHome.open(folder / "clients" / "north") as home:
        first = home.keep_receipt(("task", 8, 1), "aggregator", b"0")
        for number in range(1, 128):
            home.keep_receipt(("task", 8, 1), "aggregator", str(number).encode())
        with pytest.raises(ConfigError, match="of one attempt"):
            home.keep_receipt(("task", 8, 1), "aggregator", b"128")
        assert home.keep_receipt(("task", 8, 1), "aggregator", b"0") == first
        assert home.keep_receipt(("task", 8, 11), "aggregator", b"0") != first
        assert len(list(first.parent.glob("round-000008-*"))) == 129


def edit(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text())
    document |= changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def test_a_node_refuses_a_home_that_is_not_as_its_owner_made_it(folder: Path) -> None:
    own = folder / "clients" / "north"

    def stranger(home: Path) -> None:
        (home / "identity.key").unlink()
        Identity.generate("north").save(home / "identity.key")

    def pin(**changes: Any) -> Any:
        return lambda home: replace(Trust.load(home / "trust.json"), **changes).save(home / "trust.json")

    for number, (spoil, said) in enumerate(
        (
            (lambda home: home.chmod(0o755), "accessible to others: chmod 700"),
            (lambda home: (home / "home.json").chmod(0o644), "accessible to others"),
            (lambda home: (home / "identity.key").chmod(0o640), "accessible to others"),
            (lambda home: (home / "attempts.db").unlink(), "could be made to answer twice"),
            (lambda home: (home / "identity.key").unlink(), "can't be read"),
            (lambda home: (home / "trust.json").unlink(), "can't be read"),
            (lambda home: (home / "home.json").unlink(), "can't be read"),
            (stranger, "not the one in the roster"),
            (lambda home: edit(home / "home.json", task="other"), "'other' is not pinned"),
            (lambda home: edit(home / "home.json", name="east"), "not the one in the roster"),
            (lambda home: edit(home / "home.json", checks_model=None), "checks_model"),
            (lambda home: edit(home / "home.json", checks_model="no"), "bool"),
            (lambda home: edit(home / "home.json", checks_models=False), "unknown field"),
            (lambda home: edit(home / "home.json", format="secure-agg-client/1"), "secure-agg-client/1"),
            (lambda home: edit(home / "home.json", start_model="ab" * 31), "no digest of 64 digits"),
            (lambda home: edit(home / "home.json", start_model="no digest"), "no digest of 64 digits"),
            (lambda home: edit(home / "home.json", start_model=7), "start_model"),
            (lambda home: edit(home / "home.json", optimizer={"name": "FedBest"}), "FedBest"),
            (lambda home: edit(home / "home.json", optimizer={"name": "FedAvg", "tau": 1.0}), "has no tau"),
            (lambda home: (home / "home.json").write_text("no"), "home.json"),
            (pin(log=None, origin=None), "no ledger's key is pinned"),
            (pin(tasks={}), "no task is"),
        )
    ):
        home = shutil.copytree(own, folder / f"spoilt-{number}")
        spoil(home)
        with pytest.raises(ConfigError, match=said):
            ClientHome.open(home)
    (own / "attempts.db").chmod(0o604)
    with pytest.raises(StoreError, match="accessible to others"):
        ClientHome.open(own)
    with pytest.raises(ConfigError, match="is no home"):
        ClientHome.open(folder / "nowhere")
    with pytest.raises(ConfigError, match="is a node's home, and it has to be the server"):
        ServerHome.open(own)
    with pytest.raises(ConfigError, match="is the server's home, and it has to be a node's"):
        ClientHome.open(folder / "server")


@pytest.mark.parametrize(("file", "said"), [("rounds.db", "has no ledger"), ("attempts.db", "has no attempts.db")])
def test_a_server_without_its_memory_does_not_begin_another(folder: Path, file: str, said: str) -> None:
    (folder / "server" / file).unlink()
    with pytest.raises(ConfigError, match=said):
        ServerHome.open(folder / "server")
    assert not (folder / "server" / file).exists()


def test_a_server_is_a_pinned_operator_with_a_pinned_task(folder: Path, tmp_path: Path) -> None:
    stranger = folder / "server" / "identity.key"
    stranger.unlink()
    Identity.generate("aggregator").save(stranger)
    with pytest.raises(ConfigError, match="not the pinned operator 'aggregator'"):
        ServerHome.open(folder / "server")
    ServerHome.create(tmp_path / "empty", Identity.generate("aggregator"), "task").close()
    with pytest.raises(ConfigError, match="is not pinned"):
        ServerHome.open(tmp_path / "empty")


def test_homes_are_never_overwritten(folder: Path) -> None:
    with ClientHome.open(folder / "clients" / "north") as home:
        before = (home.path / "identity.key").read_bytes()
        with pytest.raises(ConfigError, match="exists already"):
            ClientHome.create(home.path, home.identity, home.trust, "task")
        with pytest.raises(ConfigError, match="exists already"):
            ServerHome.create(home.path, home.identity, "task")
        with pytest.raises(ConfigError, match="exists already"):
            federation.make(folder, CLIENTS, Policy.default(3))
        assert (home.path / "identity.key").read_bytes() == before


def test_members_bring_their_keys(tmp_path: Path) -> None:
    own = Identity.generate("own/key")
    trust = federation.make(
        tmp_path / "all", CLIENTS, Policy.default(4), client_keys={"own/key": own.public}, checks_model=False
    )
    assert trust.task("default").roster["own/key"] == own.public
    assert sorted(path.name for path in (tmp_path / "all/clients").iterdir()) == sorted(CLIENTS)
    with ClientHome.create(tmp_path / "mine", own, trust, "default", checks_model=False) as home:
        assert not home.checks_model
    with pytest.raises(ConfigError, match="not the one in the roster"):
        ClientHome.create(tmp_path / "yours", Identity.generate("own/key"), trust, "default")
    assert not (tmp_path / "yours").exists()


def test_what_can_not_become_a_federation_leaves_nothing(tmp_path: Path) -> None:
    key = Identity.generate("north").public
    for clients, policy, given, said in (
        (("a/b", "c", "d"), Policy.default(3), {}, "can't name a folder"),
        (("..", "c", "d"), Policy.default(3), {}, "can't name a folder"),
        (CLIENTS, Policy.default(3), {"client_keys": {"north": key}}, "'north' is named twice"),
        ((*CLIENTS, "north"), Policy.default(4), {}, "'north' is named twice"),
        (CLIENTS, Policy.default(3, backend="bfv"), {}, "say how many parameters"),
        (CLIENTS, msgspec.structs.replace(Policy.default(3), backend="none"), {}, "none"),
        (CLIENTS, Policy.default(3, options=(Option("aggregators", 3),)), {}, "no option"),
        (CLIENTS, Policy.default(3, backend="additive", options=(Option("aggregators", 9),)), {}, "9 operators"),
    ):
        with pytest.raises(ConfigError, match=said):
            federation.make(tmp_path / "new", clients, policy, **given)
        assert not (tmp_path / "new").exists()


def test_operators_that_work_in_one_process_are_refused(folder: Path, tmp_path: Path) -> None:
    policy = Policy.default(3, backend="crypten", options=(Option("norm_bound_milli", 1000),))
    with pytest.raises(ConfigError, match="in one process"):
        federation.make(tmp_path / "new", CLIENTS, policy)
    with (
        ServerHome.open(folder / "server") as home,
        pytest.raises(ConfigError, match="in one process"),
        home.staff(config(home, policy=policy)),
    ):
        pytest.fail("it has staff")


def test_a_round_without_its_operators_does_not_begin(folder: Path) -> None:
    with ServerHome.open(folder / "server") as home:
        additive = config(home, policy=Policy.default(3, backend="additive"))
        bfv = config(home, policy=Policy.default(3, backend="bfv"))
        for policy, said in ((additive, "0|aggregators"), (bfv, "certificate .* can't be read")):
            with pytest.raises(SecureAggError, match=said), home.staff(policy):
                pytest.fail("it has staff")
        home.place({"aggregator-1": Place("127.0.0.1:9", b"no card")})
        with pytest.raises(ConfigError, match=r"what .* says of the operators is unfit"), home.staff(additive):
            pytest.fail("it has staff")
        (home.path / "operators.json").write_text('{"aggregator-1": {"address": 1}}')
        with pytest.raises(ConfigError, match=r"operators\.json"), home.staff(additive):
            pytest.fail("it has staff")


def test_a_roster_is_of_members_with_keys_of_their_own(tmp_path: Path) -> None:
    key = Identity.generate("a").public
    with pytest.raises(ConfigError, match="same identity key"):
        federation.make(tmp_path / "new", CLIENTS, Policy.default(5), client_keys={"a": key, "b": key})
    assert not (tmp_path / "new").exists()
    assert Roster({"a": key})["a"] == key
