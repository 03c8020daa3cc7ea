"""Key files: what is saved opens a real round after loading, and only its own passphrase, task and holder open it."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from support.federation import identity, names
from support.paillier import P, Q

from mpc.paillier import threshold as threshold_paillier
from secure_agg import backends
from secure_agg.backends.contract import Backend, Opener
from secure_agg.backends.homomorphic.paillier_scheme import PaillierSecret
from secure_agg.errors import BadKey, ConfigError, RemoteProtocolError
from secure_agg.local import keystore
from secure_agg.local.keystore import KeyFile, KeyHeader, ScryptParameters
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.client.client import Client
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust

CLIENTS = names(4)
HOLDERS = ("holder-1", "holder-2", "holder-3")
PASSPHRASE = "correct horse battery staple"  # noqa: S105 - a test's own
KINDS: dict[str, tuple[str, dict[str, int]]] = {
    "bfv": ("bfv", {}),
    "ckks": ("ckks", {}),
    "paillier": ("paillier", {"modulus_bits": 2048}),
    "committee": ("paillier", {"holders": 3, "modulus_bits": 2048}),
}


@pytest.fixture(scope="module", autouse=True)
def fast_safe_primes() -> Iterator[None]:
    """Safe primes of 1,024 bits take seconds: two were found before."""
    primes = itertools.cycle((P, Q))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threshold_paillier, "safe_prime", lambda _: next(primes))
        yield


class Dealt:
    """A pinned task whose key somebody has made."""

    def __init__(self, kind: str, task: str = "task") -> None:
        name, options = KINDS[kind]
        keyed = backends.load(name).keys
        assert keyed is not None
        self.task, self.backend = task, keyed
        self.policy = Policy.default(
            len(CLIENTS), backend=name, options=tuple(Option(k, v) for k, v in sorted(options.items()))
        )
        self.names = HOLDERS[: self.backend.seats(self.policy).count]
        operators = ("aggregator", *HOLDERS)
        self.trust = Trust(
            tasks={task: TaskTrust(Roster({name: identity(name).public for name in CLIENTS}), self.policy)},
            operators=Roster({name: identity(name).public for name in operators}),
        )
        self.openers = self.backend.generate(self.config(), self.names)

    def config(self, setup: bytes = b"") -> RoundConfig:
        return Task(self.task, self.trust).next_round(((5,), (2, 3)), setup=setup)

    def save(self, folder: Path) -> dict[str, Path]:
        paths = {name: folder / name for name in self.names}
        for name, path in paths.items():
            keystore.save(
                path, self.openers[name], backend=self.backend.name, task=self.task, holder=name, passphrase=PASSPHRASE
            )
        return paths

    def load(self, path: Path, holder: str = HOLDERS[0], passphrase: str = PASSPHRASE) -> Opener:
        return keystore.load(path, self.policy, task=self.task, holder=holder, passphrase=passphrase)

    def round(self, openers: dict[str, Opener]) -> Evidence:
        """A whole round that these openers open."""
        public = openers[self.names[0]].public
        issued = KeyCertificate.issue(self.backend.name, self.task, public, [identity(name) for name in self.names])
        setup = issued.to_bytes()
        config = self.config(setup_digest(setup))
        aggregator = Task(self.task, self.trust).lead(identity("aggregator"), config, setup)
        clients = {name: Client(identity(name), self.trust) for name in CLIENTS}
        holders = {name: KeyHolder(identity(name), self.trust, opener, issued) for name, opener in openers.items()}
        updates = {name: [np.full(5, i / 8), np.ones((2, 3))] for i, name in enumerate(CLIENTS)}
        return LocalRound(aggregator, clients, updates, holders=holders).run()


@functools.cache
def task_of(kind: str) -> Dealt:
    return Dealt(kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file for bfv, made once: each takes 128 MiB of scrypt."""
    return task_of("bfv").save(tmp_path_factory.mktemp("made"))[HOLDERS[0]]


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test to alter."""
    return Path(shutil.copy2(made, tmp_path / made.name))


def rewrite(path: Path, **changes: object) -> None:
    """Replace fields of a key file's header; the sealed secret stays."""
    file = decode(KeyFile, path.read_bytes(), keystore.MAX_FILE_BYTES)
    header = msgspec.structs.replace(file.header, **changes)
    path.write_bytes(encode(KeyFile(header, file.nonce, file.sealed)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind == "committee" else kind for kind in KINDS]
)
def test_a_loaded_key_opens_a_real_round(kind: str, tmp_path: Path) -> None:
    task = task_of(kind)
    paths = task.save(tmp_path)
    loaded = {name: task.load(path, name) for name, path in paths.items()}
    assert {name: opener.public for name, opener in loaded.items()} == {
        name: opener.public for name, opener in task.openers.items()
    }
    evidence = task.round(loaded)
    assert evidence.participants == tuple(CLIENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_shows_nothing_of_the_secret_and_is_its_owners_alone(kind: str, tmp_path: Path) -> None:
    task = task_of(kind)
    for name, path in task.save(tmp_path).items():
        secret = task.openers[name].secret_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert all(secret[i : i + 16] not in path.read_bytes() for i in range(0, len(secret) - 16, 1024))
        assert len(repr(task.openers[name])) < 200
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path / name for name in task.names), "no temporary file is left"


def test_saving_twice_gives_unrelated_files(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = task_of("bfv").save(tmp_path / "again")[HOLDERS[0]]
    first, second = (decode(KeyFile, path.read_bytes(), keystore.MAX_FILE_BYTES) for path in (saved, again))
    assert first.header.scrypt.salt != second.header.scrypt.salt
    assert first.nonce != second.nonce
    assert first.sealed != second.sealed


def test_a_key_is_never_overwritten(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        task_of("bfv").save(saved.parent)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_wrong_passphrase_and_an_altered_file_read_alike(saved: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        task_of("bfv").load(saved, passphrase=PASSPHRASE + " ")
    data = bytearray(saved.read_bytes())
    data[-100] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ConfigError) as altered:
        task_of("bfv").load(saved)
    assert str(wrong.value) == str(altered.value)
    assert "the passphrase is wrong, or the file was altered" in str(wrong.value)


@pytest.mark.parametrize("field", ["nonce", "public", "salt"])
def test_every_other_byte_of_the_file_is_authenticated_too(saved: Path, field: str) -> None:
    file = decode(KeyFile, saved.read_bytes(), keystore.MAX_FILE_BYTES)
    value = {"nonce": file.nonce, "public": file.header.public, "salt": file.header.scrypt.salt}[field]
    data = saved.read_bytes()
    saved.write_bytes(data.replace(value, bytes([value[0] ^ 1]) + value[1:]))
    with pytest.raises(ConfigError, match="does not open"):
        task_of("bfv").load(saved)


def test_a_passphrase_is_the_same_however_its_accents_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    task = task_of("paillier")
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    keystore.save(
        path, task.openers[HOLDERS[0]], backend="paillier", task="task", holder=HOLDERS[0], passphrase=composed
    )
    assert task.load(path, passphrase=decomposed).public == task.openers[HOLDERS[0]].public


@pytest.mark.parametrize("passphrase", ["", "x" * 1025])
def test_an_empty_or_endless_passphrase_is_refused(tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(ConfigError, match="1 to 1024 bytes"):
        keystore.save(
            tmp_path / "key",
            task_of("bfv").openers[HOLDERS[0]],
            backend="bfv",
            task="task",
            holder=HOLDERS[0],
            passphrase=passphrase,
        )
    assert list(tmp_path.iterdir()) == []


# --- a file for something else ------------------------------------------------------------------------------------


def test_a_key_is_for_one_task_one_holder_and_one_backend(saved: Path) -> None:
    task = task_of("bfv")
    with pytest.raises(ConfigError, match="for task 'task', not 'next'"):
        keystore.load(saved, task.policy, task="next", holder=HOLDERS[0], passphrase=PASSPHRASE)
    with pytest.raises(ConfigError, match="for key holder 'holder-1', not 'holder-2'"):
        task.load(saved, HOLDERS[1])
    with pytest.raises(ConfigError, match="for backend 'bfv', not 'ckks'"):
        keystore.load(saved, task_of("ckks").policy, task="task", holder=HOLDERS[0], passphrase=PASSPHRASE)


def test_rewriting_the_task_in_the_file_does_not_rotate_the_key(saved: Path) -> None:
    rewrite(saved, task="next")
    with pytest.raises(ConfigError, match="does not open"):
        keystore.load(saved, task_of("bfv").policy, task="next", holder=HOLDERS[0], passphrase=PASSPHRASE)


@pytest.mark.slow
def test_a_key_for_another_policy_is_refused(tmp_path: Path) -> None:
    lattice, whole, committee = (task_of(kind) for kind in ("bfv", "paillier", "committee"))
    paths = {}
    for task, name in ((lattice, "bfv"), (whole, "paillier"), (committee, "committee")):
        (tmp_path / name).mkdir()
        paths[name] = task.save(tmp_path / name)[HOLDERS[0]]
    for path, policy in (
        (paths["bfv"], msgspec.structs.replace(lattice.policy, bits=24)),
        (paths["paillier"], committee.policy),
        (paths["paillier"], msgspec.structs.replace(whole.policy, options=())),
        (paths["committee"], whole.policy),
    ):
        with pytest.raises(ConfigError, match="for another policy than the task's"):
            keystore.load(path, policy, task="task", holder=HOLDERS[0], passphrase=PASSPHRASE)


# --- a hostile file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "block", "parallel"),
    [(1 << 30, 8, 1), (1 << 17, 1 << 20, 1), (1 << 17, 8, 1 << 20), (2, 8, 1), (1 << 16, 8, 1), (-1, 8, 1), (0, 0, 0)],
)
def test_a_file_can_ask_for_no_more_and_no_less_work_than_is_reasonable(
    saved: Path, monkeypatch: pytest.MonkeyPatch, cost: int, block: int, parallel: int
) -> None:
    rewrite(saved, scrypt=ScryptParameters(bytes(16), cost, block, parallel))
    monkeypatch.setattr(Scrypt, "derive", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ConfigError, match="asks for scrypt"):
        task_of("bfv").load(saved)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o610])
def test_a_file_accessible_to_others_is_refused(saved: Path, mode: int) -> None:
    os.chmod(saved, mode)
    with pytest.raises(ConfigError, match="accessible to others: chmod 600"):
        task_of("bfv").load(saved)


def test_what_is_no_key_file_is_refused_before_any_work(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scrypt, "derive", lambda *_: pytest.fail("work was done"))
    data = saved.read_bytes()
    for other, words in (
        (b"", "is no key file"),
        (b"\x00" * 100, "is no key file"),
        (data[:-1], "is no key file"),
        (data + b"\x00", "is no key file"),
        (bytes(keystore.MAX_FILE_BYTES + 1), "has more than"),
    ):
        saved.write_bytes(other)
        with pytest.raises(ConfigError, match=words):
            task_of("bfv").load(saved)
    saved.write_bytes(data)
    rewrite(saved, format="secure-agg-key/2")
    with pytest.raises(ConfigError, match="of format 'secure-agg-key/2'"):
        task_of("bfv").load(saved)
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        task_of("bfv").load(saved.parent / "none")


@pytest.mark.parametrize("change", ["salt", "nonce"])
def test_salt_and_nonce_have_one_length(saved: Path, change: str) -> None:
    file = decode(KeyFile, saved.read_bytes(), keystore.MAX_FILE_BYTES)
    scrypt = file.header.scrypt
    short = msgspec.structs.replace(file.header, scrypt=msgspec.structs.replace(scrypt, salt=scrypt.salt[1:]))
    altered = (short, file.nonce) if change == "salt" else (file.header, file.nonce[1:])
    saved.write_bytes(encode(KeyFile(*altered, file.sealed)))
    with pytest.raises(ConfigError, match="wrong length"):
        task_of("bfv").load(saved)


def test_the_header_is_readable_without_the_passphrase(saved: Path) -> None:
    header: KeyHeader = decode(KeyFile, saved.read_bytes(), keystore.MAX_FILE_BYTES).header
    assert (header.format, header.backend, header.task, header.holder) == (
        "secure-agg-key/1",
        "bfv",
        "task",
        HOLDERS[0],
    )
    assert header.public == keystore.public_digest(task_of("bfv").openers[HOLDERS[0]].public)
    assert (header.scrypt.cost, header.scrypt.block, header.scrypt.parallel) == (1 << 17, 8, 1)


# --- secrets that do not fit --------------------------------------------------------------------------------------


def test_a_backend_without_key_holders_restores_none() -> None:
    policy = Policy.default(4)
    assert backends.load(policy.backend).keys is None


def test_a_paillier_secret_belongs_to_its_public_key_and_member() -> None:
    whole, committee = task_of("paillier"), task_of("committee")
    one = decode(PaillierSecret, whole.openers[HOLDERS[0]].secret_bytes(), 1 << 20)
    share = decode(PaillierSecret, committee.openers[HOLDERS[0]].secret_bytes(), 1 << 20)
    assert "secret" in repr(one)
    assert len(repr(one)) < 50
    replace = msgspec.structs.replace
    other = Dealt("paillier").openers[HOLDERS[0]].public
    bad: tuple[tuple[Backend, Policy, PaillierSecret], ...] = (
        (whole.backend, whole.policy, replace(one, public=other)),
        (whole.backend, whole.policy, replace(one, member=HOLDERS[0])),
        (whole.backend, whole.policy, replace(one, value=one.value[:-1])),
        (committee.backend, committee.policy, replace(share, member=HOLDERS[1])),
        (committee.backend, committee.policy, replace(share, member="nobody")),
        (committee.backend, committee.policy, replace(share, value=share.value + b"\x01")),
    )
    for backend, policy, secret in bad:
        with pytest.raises(BadKey, match="no Paillier secret"):
            backend.opener(policy, encode(secret))


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_a_lattice_secret_is_for_its_parameters(kind: str) -> None:
    task = task_of(kind)
    data = task.openers[HOLDERS[0]].secret_bytes()
    for other in (data[:8], data[:-1], data[:8] + task.openers[HOLDERS[0]].public):
        with pytest.raises(RemoteProtocolError):
            task.backend.opener(task.policy, other)
    with pytest.raises(ConfigError):
        task.backend.opener(task.policy, b"")


# --- passphrase files ---------------------------------------------------------------------------------------------


def test_a_passphrase_file_holds_one_line_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    for data in (b"caf\xc3\xa9 au lait", b"caf\xc3\xa9 au lait\n", b"caf\xc3\xa9 au lait\r\n"):
        path.write_bytes(data)
        assert keystore.read_passphrase(path) == "caf\u00e9 au lait"
    for data, words in (
        (b"", "0 lines"),
        (b"\n", "1 to 1024 bytes, not 0"),
        (b"one\ntwo\n", "2 lines"),
        (b"\xff", "not UTF-8"),
        (b"x" * 2000, "more than"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=words):
            keystore.read_passphrase(path)
    path.write_bytes(b"word")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to others"):
        keystore.read_passphrase(path)
