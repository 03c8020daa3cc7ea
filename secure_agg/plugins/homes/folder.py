"""What every home is, a node's or the server's: a folder of mode 0700 with ``home.json``, ``identity.key``,
``attempts.db`` and ``lock``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from secure_agg import files, locks
from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.local import keystore
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.ready import ready
from secure_agg.roles.memory.store import AttemptStore

SETTINGS_FILE: Final = "home.json"
STORE_FILE: Final = "attempts.db"
LOCK_FILE: Final = "lock"
IDENTITY_FILE: Final = "identity.key"
_MAX_SETTINGS: Final = 1 << 16

_S = TypeVar("_S", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="format"):
    """What ``home.json`` says; see ``Home``, but for ``start_model``, which is in hexadecimal."""

    name: str
    task: str
    checks_model: bool
    start_model: str | None = None
    optimizer: ServerOptimizer = PLAIN
    weight_key: str | None = None


class Home:
    """What homes have in common.

    Attributes:
        path: the folder.
        name: the party's id, as everybody has pinned it.
        task: it works for.
        identity: its key.
        store: durable; what it has bound itself to, or begun.
        checks_model: whether nodes refuse a model that they can't compute from the first one and the verified means.
            Homes that don't give up what protects a node's data from a server that crafts models.
        start_model: digest of the task's first model, see ``secure_agg.fl.model_files``; None where none is pinned.
        optimizer: by which the next model follows from a mean.
        weight_key: name under which apps report their number of examples, None for the framework's own. It is pinned
            since a server that could choose it would choose whose examples count.
    """

    def __init__(self, path: Path, settings: Settings, identity: Identity) -> None:
        self.path, self.name, self.task, self.identity = path, settings.name, settings.task, identity
        self.checks_model, self.optimizer = settings.checks_model, settings.optimizer
        self.weight_key = settings.weight_key
        self.start_model = read_digest(path, settings.start_model)
        self.store = AttemptStore(path / STORE_FILE)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, task={self.task!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; harmless when closed."""
        self.store.close()

    def locked(self) -> AbstractContextManager[None]:
        """Keep other threads and processes off the folder's files meanwhile; ledger and store need no such care.

        Raises:
            ConfigError: there can be no lock in the folder.
        """
        return locked_by(self.path / LOCK_FILE)


@contextmanager
def new_folder(path: Path, settings: Settings, identity: Identity) -> Iterator[Path]:
    """A new home with its identity and settings; removed again if what else it needs can't be made.

    Raises:
        ConfigError: there is something already, or the disk refuses.
    """
    with files.new_folder(path):
        identity.save(path / IDENTITY_FILE)
        files.create(path / SETTINGS_FILE, msgspec.json.format(msgspec.json.encode(settings), indent=1) + b"\n")
        yield path


def read_settings(path: Path, kind: type[_S], whose: str) -> _S:
    """What ``home.json`` says.

    Args:
        path: of the home.
        kind: of home.
        whose: it has to be, for an error.

    Raises:
        ConfigError: there is no home, it is another party's, malformed, or accessible to others.
    """
    try:
        mode = path.stat().st_mode
        if (path / "clients").is_dir() and (path / "server").is_dir():
            raise ConfigError(f"{path} is the folder of a whole federation, and {whose} home is one of those in it")
        if not (path / SETTINGS_FILE).exists():
            raise ConfigError(f"{path} is no home: its {SETTINGS_FILE} can't be read, it is not there")
    except OSError as error:
        where = path if path.is_absolute() else f"{path} (in {Path.cwd()})"
        raise ConfigError(f"{where} is no home: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"folder {path} is accessible to others: chmod 700 it")
    data = keystore.read_private(path / SETTINGS_FILE, _MAX_SETTINGS)
    try:
        return msgspec.json.decode(data, type=ready(kind))
    except msgspec.MsgspecError as error:
        if (other := _whose(data)) not in ("", whose):
            raise ConfigError(f"{path} is {other} home, and it has to be {whose}") from None
        raise ConfigError(f"{path / SETTINGS_FILE}: not as in {whose} home: {error}") from None


class _Format(msgspec.Struct):
    format: str


def _whose(data: bytes) -> str:
    """Whose home a ``home.json`` says that it is of; empty where it says nothing that is known."""
    try:
        kind = msgspec.json.decode(data, type=ready(_Format)).format.partition("/")[0]
    except msgspec.MsgspecError:
        return ""
    return {"secure-agg-client": "a node's", "secure-agg-server": "the server's"}.get(kind, "")


def read_digest(path: Path, text: str | None) -> bytes | None:
    """A start model's digest as ``home.json`` has it.

    Raises:
        ConfigError: it is none.
    """
    try:
        digested = None if text is None else bytes.fromhex(text)
    except ValueError:
        digested = b""
    if digested is not None and len(digested) != len(NO_DIGEST):
        raise ConfigError(f"{path / SETTINGS_FILE}: start_model {text!r} is no digest of {2 * len(NO_DIGEST)} digits")
    return digested


def read_identity(path: Path, name: str) -> Identity:
    """The key in a home.

    Raises:
        ConfigError: it is missing, malformed, or accessible to others.
    """
    try:
        return Identity.load(name, path / IDENTITY_FILE)
    except OSError as error:
        raise ConfigError(f"{path / IDENTITY_FILE} can't be read: {error.strerror}") from error


@contextmanager
def locked_by(path: Path) -> Iterator[None]:
    """Hold the lock in a file, which is made when missing.

    Raises:
        ConfigError: there can be none.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} can't be opened: {error.strerror}") from error
    try:
        locks.hold(descriptor)
        yield
    finally:
        os.close(descriptor)


def check_rules(checks_model: bool, start_model: bytes | None, optimizer: ServerOptimizer) -> None:
    """Refuse to pin what a home would not look at, see ``ClientHome``.

    Raises:
        ConfigError: a model is pinned where any is taken, or the digest is none.
    """
    if not checks_model and (start_model is not None or optimizer != PLAIN):
        raise ConfigError("a home that takes any model has neither a start model nor a server optimizer to pin")
    if start_model is not None and len(start_model) != len(NO_DIGEST):
        raise ConfigError(f"a start model's digest is {len(NO_DIGEST)} bytes, not {len(start_model)}")
