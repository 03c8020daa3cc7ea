"""Homes of every party are looked at; what they hold in secret is not shown."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from support.epochs import TASK, Changing

from secure_agg import Policy, Privacy, Trust, aggregate, check
from secure_agg.errors import ConfigError
from secure_agg.plugins.homes import federation, kept
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.preflight.unprotected import gaps
from secure_agg.privacy import accounting
from secure_agg.protocol.config import Option
from secure_agg.protocol.config.privacy import RATIO
from secure_agg.roles.epochs.budgets import Past, Renewal, renewed
from secure_agg.roles.memory.spending import spend

NAMES = ("ann", "bob", "cyd", "dan", "eve")
PRIVATE = Privacy(epsilon=4, delta=1e-5, norm=1.0, rounds=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation with a budget, of which one client has signed two rounds."""
    where = tmp_path_factory.mktemp("preflight") / "homes"
    policy = Policy.default(5, privacy=PRIVATE)
    federation.make(where, NAMES, policy, start_model=bytes(range(32)))
    with ServerHome.open(where / "server") as home:
        kept.keep_first(home, {"model": np.zeros((6, 10))})
    with ClientHome.open(where / "clients" / "bob") as home:
        for number in range(2):
            config: Any = SimpleNamespace(policy=policy, task="default", epoch=0, round=number, attempt=0)
            spend(home.store, "bob", config, phase="consistency")
    return where


def test_every_home_is_looked_at(folder: Path) -> None:
    for path, kind, parameters in (
        (folder / "server", "server", 60),
        (folder / "clients" / "ann", "client", None),
        (folder, "federation", 60),
    ):
        report = check(path)
        assert report.fits
        assert (report.subject.clients, report.subject.task, report.subject.parameters) == (5, "default", parameters)
        assert report.subject.party is not None
        assert report.subject.party.kind == kind
        assert report.subject.pins is not None
        assert report.subject.pins.log
    pinned = check(folder / "trust.json", parameters=60)
    assert pinned.subject.party is None
    assert pinned.figures["quorum"].value == check(folder).figures["quorum"].value
    assert check(Trust.load(folder / "trust.json")).subject.clients == 5


def test_what_a_client_has_signed_is_spent(folder: Path) -> None:
    rule = check(folder).subject.policy.privacy
    assert rule is not None
    bob, ann = check(folder / "clients" / "bob"), check(folder / "clients" / "ann")
    assert (bob.measured.epsilon_now, ann.measured.epsilon_now) == (rule.spent(2), 0)
    assert bob.figures["rounds"].value == rule.rounds - 2
    assert "'bob'" in bob.subject.spent_by
    whole = check(folder)
    assert whole.measured.epsilon_now == rule.spent(2)  # of whoever has spent most


def test_nothing_secret_is_shown(folder: Path) -> None:
    text = "".join(json.dumps(check(path).document()) for path in (folder, folder / "server", folder / "clients/bob"))
    secrets = [path.read_text().strip() for path in folder.rglob("identity.key")]
    assert len(secrets) == 6
    assert all(secret not in text for secret in secrets)
    public = [key.hex() for key in Trust.load(folder / "trust.json").task("default").roster.values()]
    assert all(key not in text for key in public)


def test_nothing_is_changed(folder: Path) -> None:
    def files() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}

    before = files()
    check(folder)
    assert files() == before


def test_what_homes_leave_open_is_said(folder: Path, tmp_path: Path) -> None:
    def names(path: Path) -> set[str]:
        report = check(path)
        return {gap.name for gap in gaps(report.subject, report.measured)}

    assert {"keys", "split view", "noise", "honesty"} <= names(folder)
    assert "keys" not in names(folder / "server")
    assert not {"models", "first model"} & names(folder / "server")
    federation.make(tmp_path / "any", NAMES, Policy.default(5), checks_model=False)
    assert "models" in names(tmp_path / "any" / "clients" / "ann")
    federation.make(tmp_path / "free", NAMES, Policy.default(5, norm_bound=1.0))
    assert "first model" in names(tmp_path / "free" / "server")
    assert "influence" not in names(tmp_path / "free" / "server")
    assert "influence" in names(tmp_path / "any")


def test_a_ledger_tells_its_models_size_and_what_was_spent(tmp_path: Path) -> None:
    updates = {name: [np.zeros((7, 10))] for name in NAMES}
    aggregate(updates, ledger=tmp_path / "rounds.db", privacy=PRIVATE)
    report = check(tmp_path / "rounds.db")
    rule = report.subject.policy.privacy
    assert rule is not None
    assert (report.subject.parameters, report.subject.clients) == (70, 5)
    assert report.measured.epsilon_now == rule.spent(1)
    assert report.figures["rounds"].value == rule.rounds - 1


def test_rounds_before_an_epoch_are_counted_at_the_noise_that_they_had(tmp_path: Path) -> None:
    """A larger budget with more noise for its rounds: those before had less, and spent more than the new ones do."""
    task = Changing(tmp_path, 5, privacy=Privacy(epsilon=4, delta=1e-5, norm=1.0, rounds=2))
    before = task.trust.task(TASK).policy
    task.round()
    policy = renewed(before, 5, Past.of([(0, before)], 1), Renewal(epsilon=4.5, rounds=4))
    task.change(policy=policy)
    task.round()
    task.ledger.close()
    old, new = before.privacy, policy.privacy
    assert old is not None
    assert new is not None
    assert old.ratio < new.ratio
    found = check(task.path)
    assert dict(found.subject.spent) == {old.ratio: 1, new.ratio: 1}
    naive = accounting.spent({new.ratio: 2}, new.delta, new.epsilon)
    assert found.measured.epsilon_now is not None
    assert naive < found.measured.epsilon_now
    assert found.figures["rounds"].value == Past(2, found.subject.spent).left(new)


def test_of_a_federation_whoever_has_spent_most_counts_and_not_whoever_was_in_most_rounds(tmp_path: Path) -> None:
    policy = Policy.default(5, privacy=PRIVATE)
    rule = policy.privacy
    assert rule is not None
    quiet = tuple(Option(one.name, 50 * rule.ratio if one.name == RATIO else one.value) for one in policy.options)
    federation.make(tmp_path / "homes", NAMES, policy)
    for name, under, rounds in (("ann", policy, 2), ("bob", msgspec.structs.replace(policy, options=quiet), 3)):
        with ClientHome.open(tmp_path / "homes" / "clients" / name) as home:
            for number in range(rounds):
                config: Any = SimpleNamespace(policy=under, task="default", epoch=0, round=number, attempt=0)
                spend(home.store, name, config, phase="consistency")
    report = check(tmp_path / "homes")
    assert report.measured.epsilon_now == rule.spent(2)
    assert "'ann'" in report.subject.spent_by


@pytest.mark.usefixtures("quick_scrypt")
def test_operators_have_homes_too(tmp_path: Path) -> None:
    federation.make(tmp_path / "homes", NAMES, Policy.default(5, backend="additive"))
    report = check(tmp_path / "homes" / "operators" / "aggregator-1", parameters=100)
    assert report.subject.party is not None
    assert (report.subject.party.kind, report.subject.party.name) == ("operator", "aggregator-1")
    assert report.document()["operators"] == 3
    assert report.figures["shareholder.sent"].value


def test_a_federation_whose_homes_disagree_is_refused(tmp_path: Path) -> None:
    for name, policy in (("one", Policy.default(5)), ("two", Policy.default(5, bits=8))):
        federation.make(tmp_path / name, NAMES, policy)
    (tmp_path / "two" / "clients" / "ann").rename(tmp_path / "one" / "clients" / "zoe")
    with pytest.raises(ConfigError, match="zoe pins another policy"):
        check(tmp_path / "one")


def test_what_is_none_of_these_is_refused(folder: Path, tmp_path: Path) -> None:
    for name, data, said in (
        ("bytes", b"\xff\xfe", "neither a policy"),
        ("toml", b"clients = ", "holds no settings"),
        ("unknown", b"clients = 5\nsecret = 1", "unknown field"),
        ("json", b"{}", "holds no policy"),
        ("typed", b'clients = 5\n[policy]\nclip = "x"', "holds no settings"),
        ("limit", b"clients = 5\n[limits]\nspeed = 1", "no limit 'speed'"),
        ("deep", b"clients = 5\nx = " + b"[" * 5000 + b"]" * 5000, "holds no settings"),
        ("far", b"clients = 5\n[limits." + b".".join([b"a"] * 3000) + b"]\nb = 1", "holds no settings"),
        ("many", b"clients = 1" + b"0" * 400, "clients is 10"),
        ("group", b'clients = 5\n[[groups]]\nname = "a"\ncolour = 1', "no setting 'colour'"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=said):
            check(tmp_path / name)
    with pytest.raises(ConfigError, match="is no home"):
        check(tmp_path)
    with pytest.raises(ConfigError, match="can't be read"):
        check(tmp_path / "missing")
    with pytest.raises(ConfigError, match="'other' is not pinned"):
        check(folder / "trust.json", task="other")
    with pytest.raises(ConfigError, match="none is pinned"):
        check(Trust())


def test_settings_in_a_file_are_those_of_a_policy(tmp_path: Path) -> None:
    text = """
clients = 12
parameters = 1_000
rounds = 6
preset = "audit"
[policy]
clip = 2.0
[limits]
seconds = 60
client.sent = 1e6
"""
    (tmp_path / "settings.toml").write_text(text)
    report = check(tmp_path / "settings.toml", limits={"quorum": 3})
    assert report.subject.policy == Policy.default(12, clip=2.0, dropout=0.2, min_clients=5)
    assert report.limits == {"seconds": 60, "client.sent": 1e6, "quorum": 3}
    private = "clients = 8\n[privacy]\nepsilon = 4\ndelta = 1e-5\nnorm = 1\nrounds = 6\n"
    (tmp_path / "private.toml").write_text(private)
    assert check(tmp_path / "private.toml").subject.policy == Policy.default(8, privacy=PRIVATE)
    grouped = 'clients = 8\n[options]\ncomplete_up_to = 20\n[[groups]]\nname = "update"\nbits = 6\nclip = 1.0\n'
    (tmp_path / "grouped.toml").write_text(grouped)
    assert check(tmp_path / "grouped.toml", parameters=100).subject.policy.groups[0].bits == 6
    (tmp_path / "policy.json").write_text(json.dumps(Policy.default(7).document()))
    assert check(tmp_path / "policy.json", clients=7).subject.policy == Policy.default(7)
    with pytest.raises(ConfigError, match="of how many clients"):
        check(tmp_path / "policy.json")
