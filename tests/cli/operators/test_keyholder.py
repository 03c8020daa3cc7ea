"""``secure-agg keyholder``: what it writes opens a round, under the certificate that it writes; the rest it refuses."""

from __future__ import annotations

import getpass
import json
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import phe
import pytest
import tenseal as ts
from support.commands import Run, running
from support.federation import names
from support.paillier import P, Q
from support.source_tree import ROOT

from mpc.paillier import threshold as threshold_paillier
from secure_agg.cli.terminal import exits
from secure_agg.local import keystore
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import Option, Policy
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import decode
from secure_agg.roles.client.client import Client
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard

CLIENTS = names(4)
HOLDERS = ("kim", "lee", "max")
PARAMETERS = 11
PHE = json.loads((ROOT / "tests" / "support" / "brought" / "phe.json").read_text())

pytestmark = pytest.mark.usefixtures("quick_scrypt")


@pytest.fixture
def keyholder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``secure-agg keyholder`` in this process."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # the command sets it for its own process, which here is the tests'

    return running(capsys, "keyholder")


@pytest.fixture
def run(keyholder: Run) -> Run:
    """Runs ``secure-agg keyholder init`` in this process."""
    return lambda *arguments: keyholder("init", *arguments)


class Place:
    """A folder with identities, passphrases and a trust file."""

    def __init__(self, folder: Path, backend: str, options: dict[str, int] | None = None, **changes: Any) -> None:
        self.folder, self.out, self.trust_file = folder, folder / "keys", folder / "trust.json"
        self.clients = {name: Identity.generate(name) for name in CLIENTS}
        self.operators = {name: Identity.generate(name) for name in ("aggregator", *HOLDERS)}
        given = tuple(Option(name, value) for name, value in sorted((options or {}).items()))
        self.policy = Policy.default(len(CLIENTS), backend=backend, options=given, **changes)
        self.trust = Trust(
            tasks={"task": TaskTrust(Roster({n: i.public for n, i in self.clients.items()}), self.policy)},
            operators=Roster({name: identity.public for name, identity in self.operators.items()}),
        )
        self.trust.save(self.trust_file)
        for name in HOLDERS:
            self.operators[name].save(folder / f"{name}.identity")
            self.passphrase(name).touch(0o600)
            self.passphrase(name).write_text(f"passphrase of {name}\n")

    def passphrase(self, name: str) -> Path:
        return self.folder / f"{name}.passphrase"

    def arguments(self, *holders: str, files: bool = True) -> list[object]:
        given: list[object] = ["--trust", self.trust_file, "--task", "task", "--parameters", PARAMETERS]
        for name in holders:
            given += ["--holder", f"{name}={self.folder / name}.identity"]
            if files:
                given += ["--passphrase-file", self.passphrase(name)]
        return [*given, "--out", self.out]

    def participants(self, document: Any, *, silent: str = "") -> tuple[str, ...]:
        """Those of a round that the written keys open, under the written certificate."""
        setup = Path(document["certificate"]).read_bytes()
        assert setup_digest(setup).hex() == document["setup"]
        certificate = decode(KeyCertificate, setup, len(setup))
        holders = {}
        for name, path in document["keys"].items():
            words = keystore.read_passphrase(self.passphrase(name))
            opener = keystore.load(Path(path), self.policy, task="task", holder=name, passphrase=words)
            holders[name] = KeyHolder(self.operators[name], self.trust, opener, certificate)
        task, shapes = Task("task", self.trust), ((PARAMETERS - 4,), (2, 2))
        config = task.next_round(shapes, number=3, setup=setup_digest(setup))
        aggregator = task.lead(self.operators["aggregator"], config, setup)
        clients = {name: Client(identity, self.trust) for name, identity in self.clients.items()}
        updates = {name: [np.ones(PARAMETERS - 4), np.ones((2, 2))] for name in CLIENTS}
        return LocalRound(aggregator, clients, updates, holders=holders).run().participants


@pytest.mark.parametrize("backend", ["bfv", "ckks", "paillier"])
def test_the_files_open_a_round(run: Run, tmp_path: Path, backend: str) -> None:
    options = {"modulus_bits": 2048} if backend == "paillier" else {}
    place = Place(tmp_path, backend, options)
    machine = run(*place.arguments("kim"), "--json")
    assert machine.code == exits.OK
    document = machine.document
    assert (document["backend"], document["task"], document["parameters"]) == (backend, "task", PARAMETERS)
    assert set(document["keys"]) == {"kim"}
    assert sorted(path.name for path in place.out.iterdir()) == ["certificate", "holder-1.key"]
    assert stat.S_IMODE(Path(document["keys"]["kim"]).stat().st_mode) == 0o600
    assert place.participants(document) == tuple(CLIENTS)


def test_a_dealer_writes_one_file_for_each_member(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    primes = iter((P, Q))
    monkeypatch.setattr(threshold_paillier, "safe_prime", lambda _: next(primes))  # a search takes seconds
    place = Place(tmp_path, "paillier", {"holders": 3, "modulus_bits": 2048})
    given = ("lee", "max", "kim")  # in any order: each gets the file that its passphrase opens
    document = run(*place.arguments(*given), "--json").document
    assert [Path(path).name for path in document["keys"].values()] == ["holder-1.key", "holder-2.key", "holder-3.key"]
    assert tuple(document["keys"]) == given
    assert place.participants(document) == tuple(CLIENTS)


def test_people_read_where_everything_is_and_no_secret(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    text = run(*place.arguments("kim"))
    assert text.code == exits.OK
    setup = (place.out / "certificate").read_bytes()
    for words in (setup_digest(setup).hex(), str(place.out / "certificate"), str(place.out / "holder-1.key"), "kim"):
        assert words in text.out
    assert "passphrase" not in text.out


def test_a_drawn_cohort_has_a_key_too(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv", cohort_size=4, corruption_rate=0.0)
    assert run(*place.arguments("kim")).code == exits.OK


# --- keys that were made elsewhere ---------------------------------------------------------------------------------


def brought_context() -> bytes:
    made = ts.context(ts.SCHEME_TYPE.CKKS, 8192, None, [60, 40, 40, 60])
    data: bytes = made.serialize(save_public_key=True, save_secret_key=True)
    return data


RING = {"degree": 8192, "primes": 60404060}


@pytest.mark.parametrize("backend", ["ckks", "paillier"])
def test_the_files_of_a_key_that_is_brought_open_a_round(run: Run, tmp_path: Path, backend: str) -> None:
    place = Place(tmp_path, backend, RING if backend == "ckks" else {"modulus_bits": 2048})
    key = tmp_path / "brought"
    key.write_bytes(brought_context() if backend == "ckks" else json.dumps(PHE["2048-11"]).encode())
    key.chmod(0o600)
    machine = run(*place.arguments("kim"), "--from", key, "--json")
    assert machine.code == exits.OK, machine.err
    assert place.participants(machine.document) == tuple(CLIENTS)
    if backend == "paillier":  # it is that very key
        opener = keystore.load(
            Path(machine.document["keys"]["kim"]),
            place.policy,
            task="task",
            holder="kim",
            passphrase=keystore.read_passphrase(place.passphrase("kim")),
        )
        n = phe.util.base64_to_int(PHE["2048-11"]["pub"]["n"])
        assert n.to_bytes(256, "little") in opener.public


def test_a_key_that_does_not_fit_is_refused_with_the_options_that_it_needs(run: Run, tmp_path: Path) -> None:
    place, key = Place(tmp_path, "ckks"), tmp_path / "brought"
    key.write_bytes(brought_context())
    key.chmod(0o600)
    outcome = run(*place.arguments("kim"), "--from", key)
    assert outcome.code == exits.USAGE
    for words in ("no degree", "--option degree=8192", "--option primes=60404060"):
        assert words in " ".join(outcome.err.split())
    key.chmod(0o644)
    assert "accessible to others" in run(*place.arguments("kim"), "--from", key).err
    key.chmod(0o600)
    key.write_text('{"kty": "DAJ"}')
    assert "no TenSEAL context" in run(*place.arguments("kim"), "--from", key).err
    assert not place.out.exists()


# --- passphrases --------------------------------------------------------------------------------------------------


def test_without_a_file_the_passphrase_is_asked_for_twice(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "bfv")
    asked: list[str] = []
    typed = iter(["passphrase of kim", "passphrase of kim", "one", "another", ""])

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(typed)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", ask)
    machine = run(*place.arguments("kim", files=False), "--json")
    assert machine.code == exits.OK
    assert "'kim'" in asked[0]
    assert place.participants(machine.document) == tuple(CLIENTS)

    place.out = tmp_path / "other"
    assert "the passphrases differ" in run(*place.arguments("kim", files=False)).err
    assert "1 to 1024 bytes" in run(*place.arguments("kim", files=False)).err
    assert not place.out.exists()


def test_without_a_terminal_and_a_file_there_is_no_passphrase(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    outcome = run(*place.arguments("kim", files=False))
    assert (outcome.code, outcome.out) == (exits.USAGE, "")
    assert "no terminal to ask for a passphrase: use --passphrase-file" in outcome.err
    assert not place.out.exists()


# --- refused ------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_the_pins_is_refused_and_nothing_written(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    good = place.arguments("kim")
    stranger = tmp_path / "stranger.identity"
    Identity.generate("kim").save(stranger)
    (tmp_path / "open").write_text("word")
    (tmp_path / "open").chmod(0o644)

    def other(old: object, new: object) -> list[object]:
        return [new if argument == old else argument for argument in good]

    kim = f"kim={tmp_path / 'kim'}.identity"
    for arguments, words in (
        (other("task", "next"), "task 'next' is not pinned: 'task'"),
        (other(kim, "kim"), "not of the form ID=FILE"),
        (other(kim, f"kim={stranger}"), "not the pinned operator of that name"),
        (other(kim, f"zoe={stranger}"), "not the pinned operator of that name"),
        (other(kim, f"kim={tmp_path / 'none'}"), "No such file"),
        ([*good, "--holder", kim], "named twice"),
        (
            [*good, "--holder", f"lee={tmp_path / 'lee'}.identity"],
            "key holders named: 2; by its policy the task has 1 (bfv)",
        ),
        ([*good, "--passphrase-file", place.passphrase("lee")], "2 passphrase files for 1 key holders"),
        (other(place.passphrase("kim"), tmp_path / "open"), "accessible to others"),
        (other(PARAMETERS, 0), "--parameters"),
        (other(place.trust_file, tmp_path / "open"), "no trust file"),
    ):
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (exits.USAGE, "")
        assert words in outcome.err
        assert not place.out.exists()


def test_a_backend_without_key_holders_has_no_key_to_make(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "masking")
    outcome = run(*place.arguments("kim"))
    assert outcome.code == exits.USAGE
    assert "by its policy the task has 0 (masking)" in outcome.err


def test_rotating_a_key_takes_a_new_folder(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    first = run(*place.arguments("kim"), "--json").document
    before = {path: path.read_bytes() for path in place.out.iterdir()}
    assert "choose a new folder" in run(*place.arguments("kim")).err
    assert {path: path.read_bytes() for path in place.out.iterdir()} == before
    place.out = tmp_path / "keys-2"
    second = run(*place.arguments("kim"), "--json").document
    assert first["setup"] != second["setup"]
    assert place.participants(first) == place.participants(second)


def test_a_policy_that_is_not_pinned_has_no_key(run: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    replace(place.trust, tasks={}).save(place.trust_file)
    assert "no task is" in run(*place.arguments("kim")).err


# --- serving ------------------------------------------------------------------------------------------------------


def test_keys_are_made_for_an_identity_that_is_pinned(keyholder: Run, tmp_path: Path) -> None:
    place = Place(tmp_path, "bfv")
    given = ("--identity", tmp_path / "kim.identity", "--passphrase-file", place.passphrase("kim"))
    made = keyholder("keys", "kim", "--out", tmp_path / "own", *given, "--json").document
    card = OperatorCard.load(Path(made["card"]))
    card.check(place.trust.operators)
    assert card.channel == b""  # nobody seals anything to a key holder
    assert keyfile.load(Path(made["keys"]), "passphrase of kim").identity.public == place.operators["kim"].public


def test_what_is_not_this_holders_is_not_served(keyholder: Run, run: Run, tmp_path: Path) -> None:
    place, folder = Place(tmp_path, "bfv"), tmp_path / "own"
    made = run(*place.arguments("kim"), "--json").document
    for name in ("kim", "lee", "aggregator"):
        place.operators[name].save(tmp_path / f"{name}.again")
        given = ("--identity", tmp_path / f"{name}.again", "--passphrase-file", place.passphrase("kim"))
        keyholder("keys", name, "--out", folder / name, *given)
    replace(place.trust, tasks={}).save(tmp_path / "taskless")
    other = place.operators | {"kim": Identity.generate("kim")}
    replace(place.trust, operators=Roster({n: i.public for n, i in other.items()})).save(tmp_path / "other")
    coordinator = folder / "aggregator" / "operator.card"
    good = {
        "key": made["keys"]["kim"],
        "certificate": made["certificate"],
        "trust": place.trust_file,
        "coordinator": coordinator,
        "passphrase-file": place.passphrase("kim"),
        "listen": "127.0.0.1:0",
    }
    for name, changes, said in (
        ("lee", {}, "is of 'kim', not 'lee'"),
        ("kim", {"certificate": place.trust_file}, "is no certificate"),
        ("kim", {"key": made["certificate"]}, "accessible to others"),
        ("kim", {"key": folder / "kim" / "operator.key"}, "is no key file"),
        ("kim", {"trust": tmp_path / "taskless"}, "is not pinned"),
        ("kim", {"trust": tmp_path / "other"}, "not the pinned operator"),
        ("kim", {"passphrase-file": place.passphrase("lee")}, "does not open"),
    ):
        options = [word for option, value in (good | changes).items() for word in (f"--{option}", value)]
        refused = keyholder("serve", folder / name, *options)
        assert (refused.code, refused.out) == (exits.USAGE, ""), said
        assert said in refused.err
