"""What a party keeps on its own disk, and believes: a node's home and the server's, a folder of mode 0700 each.

A node's home is made by its owner, and named in the node's own configuration. Nothing that a framework delivers, job
or message, changes what is in it: that is how a node is safe from whoever submits a job.

A node: ``home.json`` (its id, its task), ``identity.key``, ``trust.json``, ``attempts.db`` (what it has bound itself
to), ``journal/`` (the attempt under way), ``chain/`` (the model it has come to), ``receipts/`` (who has accepted
its inputs), ``lock``.

The server: ``home.json``, ``identity.key``, ``rounds.db`` with what belongs to a ledger beside it, its trust file
among that, ``attempts.db``, ``chain/`` and ``start/`` (the model that its task has come to, and the first). For a
backend with operators also ``operator.key`` under the passphrase in ``passphrase``, and ``operators.json``: where each
operator listens, and its card. For a homomorphic one ``certificate``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from secure_agg import backends, files, locks
from secure_agg.errors import ConfigError, RemoteProtocolError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.ledger.log import Ledger
from secure_agg.local import keystore
from secure_agg.plugins.homes.chain import Chain
from secure_agg.plugins.homes.journal import Journal, Key
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import MAX_SETUP, decode
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import MAX_CARD, OperatorCard, OperatorKeys
from secure_agg.transport.share_holders import aggregator_set
from zk.transcript import digest

TRUST_FILE: Final = "trust.json"
KEY_FILE: Final = "operator.key"
PASSPHRASE_FILE: Final = "passphrase"  # noqa: S105 - a file's name
CERTIFICATE_FILE: Final = "certificate"
CONNECT_S: Final = 10.0
"""How long all operators together have to answer before a round begins."""
_SETTINGS: Final = "home.json"
_IDENTITY: Final = "identity.key"
_STORE: Final = "attempts.db"
_LOCK: Final = "lock"
_LEDGER: Final = "rounds.db"
_OPERATORS: Final = "operators.json"
_MAX_SETTINGS: Final = 1 << 16
_MAX_OPERATORS: Final = 64 * 2 * MAX_CARD
_MAX_RECEIPT: Final = 1 << 16

_S = TypeVar("_S", bound=msgspec.Struct)


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="format"):
    """What ``home.json`` says.

    Attributes:
        name: the party's id.
        task: it works for.
    """

    name: str
    task: str


class _ClientSettings(_Settings, frozen=True, forbid_unknown_fields=True, tag="secure-agg-client/2"):
    """``checks_model``, ``start_model`` in hexadecimal, ``optimizer``, ``weight_key``: see ``ClientHome``."""

    checks_model: bool
    start_model: str | None = None
    optimizer: ServerOptimizer = PLAIN
    weight_key: str | None = None


class _ServerSettings(_Settings, frozen=True, forbid_unknown_fields=True, tag="secure-agg-server/2"):
    """``checks_model``, ``optimizer`` and ``weight_key``: what the nodes' homes are made with."""

    checks_model: bool
    optimizer: ServerOptimizer = PLAIN
    weight_key: str | None = None


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an operator's process is.

    Attributes:
        address: ``HOST:PORT``.
        card: what it is known by there, see ``OperatorCard``.
    """

    address: str
    card: bytes


class ClientHome:
    """A node's home.

    Attributes:
        path: the folder.
        name: id of the client, as everybody has pinned it.
        task: it takes part in.
        identity: its key.
        trust: what it has pinned.
        store: durable; what it has bound itself to.
        journal: of the attempt under way.
        checks_model: whether it refuses a model that it can't compute from the first one and the verified means. A home
            that doesn't gives up what protects its data from a server that crafts models.
        start_model: digest of the task's first model, see ``secure_agg.fl.model_files``; None where none is pinned.
        optimizer: by which the next model follows from a mean.
        chain: of the task's models, as far as this node has come.
        weight_key: name under which the app reports its number of examples, None for the framework's own. It is pinned
            here since a server that could choose it would choose whose examples count.
    """

    def __init__(self, path: Path, settings: _ClientSettings, identity: Identity, trust: Trust) -> None:
        """Use ``open`` or ``create``."""
        self.path, self.name, self.task = path, settings.name, settings.task
        self.weight_key = settings.weight_key
        self.checks_model, self.optimizer = settings.checks_model, settings.optimizer
        self.start_model = _digest(path, settings.start_model)
        self.identity, self.trust = identity, trust
        self.store = AttemptStore(path / _STORE)
        largest = trust.task(self.task).policy.max_parameters
        self.journal = Journal(path / "journal", largest)
        self.chain = Chain(path / "chain", self.task, largest, self.optimizer)

    def __repr__(self) -> str:
        return f"ClientHome({self.name!r}, task={self.task!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; harmless when closed."""
        self.store.close()

    def locked(self) -> AbstractContextManager[None]:
        """Keep other threads and processes off journal and chain meanwhile; the store needs no such care.

        Raises:
            ConfigError: there can be no lock in the folder.
        """
        return _locked(self.path / _LOCK)

    @staticmethod
    def create(
        path: str | Path,
        identity: Identity,
        trust: Trust,
        task: str,
        *,
        checks_model: bool = True,
        start_model: bytes | None = None,
        optimizer: ServerOptimizer = PLAIN,
        weight_key: str | None = None,
    ) -> ClientHome:
        """Make a home.

        Args:
            path: of a folder that is not there yet.
            identity: the client's, under which the task's roster has it.
            trust: what it pins; with the ledger's key, or it could not tell whether a result is recorded.
            task: it takes part in.
            checks_model, start_model, optimizer, weight_key: see ``ClientHome``.

        Raises:
            ConfigError: there is something at ``path``, identity and pins do not belong together, or a model is pinned
                in a home that takes any.
        """
        _check_member(identity, trust, task)
        check_rules(checks_model, start_model, optimizer)
        pinned = None if start_model is None else start_model.hex()
        settings = _ClientSettings(identity.name, task, checks_model, pinned, optimizer, weight_key)
        with _new_folder(Path(path), settings, identity) as folder:
            trust.save(folder / TRUST_FILE)
            return ClientHome(folder, settings, identity, trust)

    @staticmethod
    def open(path: str | Path) -> ClientHome:
        """Open a home.

        Raises:
            ConfigError: something is missing, malformed, or accessible to others, or the identity is not the one that
                is pinned for the task.
            StoreError: the store can't be opened.
        """
        path = Path(path)
        settings = _read_settings(path, _ClientSettings)
        if not (path / _STORE).exists():  # it would be made anew
            raise ConfigError(f"{path} has no {_STORE}: without it, this node could be made to answer twice")
        identity, trust = _read_identity(path, settings.name), Trust.load(path / TRUST_FILE)
        _check_member(identity, trust, settings.task)
        return ClientHome(path, settings, identity, trust)

    def keep_receipt(self, key: Key, sender: str, receipt: bytes | memoryview) -> Path:
        """Keep what shows that somebody has accepted this client's input; the same again changes nothing.

        Args:
            key: of the attempt.
            sender: id of who has signed it.
            receipt: its message.

        Raises:
            ConfigError: above 64 KiB.
        """
        task, number, attempt = key
        if len(receipt) > _MAX_RECEIPT:
            raise ConfigError(f"a receipt of {len(receipt)} bytes, above {_MAX_RECEIPT}")
        folder = self.path / "receipts"
        folder.mkdir(mode=0o700, exist_ok=True)
        which = digest("receipt-file", task.encode(), sender.encode(), bytes(receipt)).hex()[:32]
        path = folder / f"round-{number:06d}-attempt-{attempt}-{which}"
        if not path.exists():
            files.create(path, bytes(receipt))
        return path


class ServerHome:
    """The server's home.

    Attributes:
        path: the folder.
        name: id of the aggregator, as everybody has pinned it.
        task: it coordinates.
        identity: its key.
        ledger: which every verified round is appended to.
        store: durable; which attempts have begun.
        checks_model, optimizer, weight_key: what the nodes' homes are made with, see ``ClientHome``.
    """

    def __init__(self, path: Path, settings: _ServerSettings, identity: Identity) -> None:
        """Use ``open`` or ``create``."""
        self.path, self.name, self.task, self.identity = path, settings.name, settings.task, identity
        self.weight_key = settings.weight_key
        self.store = AttemptStore(path / _STORE)
        try:
            self.ledger = Ledger(path / _LEDGER)
        except BaseException:
            self.store.close()
            raise
        self.checks_model, self.optimizer = settings.checks_model, settings.optimizer

    def __repr__(self) -> str:
        return f"ServerHome({self.name!r}, task={self.task!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close ledger and store; harmless when closed."""
        self.ledger.close()
        self.store.close()

    @property
    def trust(self) -> Trust:
        """What the server has pinned: what its ledger verifies rounds against."""
        return self.ledger.trust

    @staticmethod
    def create(
        path: str | Path,
        identity: Identity,
        task: str,
        *,
        checks_model: bool = True,
        optimizer: ServerOptimizer = PLAIN,
        weight_key: str | None = None,
    ) -> ServerHome:
        """Make a home with an empty ledger, which pins nothing yet: ``open`` refuses it until it does.

        Args:
            path: of a folder that is not there yet.
            identity: the aggregator's.
            task: it coordinates.
            checks_model, optimizer, weight_key: see ``ClientHome``.

        Raises:
            ConfigError: there is something at ``path``.
        """
        check_rules(checks_model, None, optimizer)
        settings = _ServerSettings(identity.name, task, checks_model, optimizer, weight_key)
        with _new_folder(Path(path), settings, identity) as folder:
            return ServerHome(folder, settings, identity)

    @staticmethod
    def open(path: str | Path) -> ServerHome:
        """Open a home.

        Raises:
            ConfigError: something is missing, malformed, or accessible to others, the identity is not a pinned
                operator's, or no task is pinned.
            LedgerError, StoreError: ledger or store can't be opened.
        """
        path = Path(path)
        settings = _read_settings(path, _ServerSettings)
        identity = _read_identity(path, settings.name)
        for file, what in ((_LEDGER, "ledger "), (_STORE, "")):
            if not (path / file).exists():  # it would be made anew
                raise ConfigError(f"{path} has no {what}{file}")
        home = ServerHome(path, settings, identity)
        try:
            if settings.task not in home.trust.tasks:
                raise ConfigError(f"task {settings.task!r} is not pinned in {home.ledger.trust_path}")
            if home.trust.operators.get(home.name) != identity.public:
                raise ConfigError(f"the identity in {path} is not the pinned operator {home.name!r}")
        except BaseException:
            home.close()
            raise
        return home

    def models(self) -> tuple[Chain, Journal]:
        """The chain of the task's models, and the first of them, ``model``. Use them under ``locked``."""
        largest = self.trust.task(self.task).policy.max_parameters
        chain = Chain(self.path / "chain", self.task, largest, self.optimizer)
        return chain, Journal(self.path / "start", largest)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other threads and processes off the chain meanwhile; ledger and store need no such care.

        Raises:
            ConfigError: there can be no lock in the folder.
        """
        return _locked(self.path / _LOCK)

    def place(self, operators: Mapping[str, Place]) -> None:
        """Write down where the operators are, in place of what stood there."""
        document = msgspec.json.format(msgspec.json.encode(operators), indent=1)
        files.replace(self.path / _OPERATORS, document + b"\n", mode=0o600)

    def places(self) -> dict[str, Place]:
        """Where the operators are, by id.

        Raises:
            ConfigError: the file is missing, malformed, or accessible to others.
        """
        path = self.path / _OPERATORS
        try:
            return msgspec.json.decode(keystore.read_private(path, _MAX_OPERATORS), type=dict[str, Place])
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: {error}") from None

    @contextmanager
    def staff(self, config: RoundConfig) -> Iterator[tuple[RoundConfig, bytes, Mapping[str, OperatorRole]]]:
        """Connect to the operators that a round's backend has beside the aggregator.

        Args:
            config: of the round, without a setup.

        Yields:
            The configuration that names the operators' keys, the setup for the aggregator, and the operators' roles by
                id: the configuration as it was and nothing else for a backend that has none.

        Raises:
            ConfigError: the home lacks what the backend needs, or the backend is not served over connections.
            OperatorLost: more operators can't be reached than a round can go on without; names one.
            BadKey: somebody else answers for an operator; names it.
        """
        policy = config.policy
        backend = backends.load(policy.backend)
        backend.check_policy(policy)
        if backend.together:
            raise ConfigError(f"the operators of backend {backend.name!r} work in one process: no plug-in asks them")
        if not (backend.holders(policy) or backend.aggregators(policy)):
            yield config, b"", {}
            return
        # gRPC is an extra, which only those need who have operators.
        from secure_agg.transport.blocking import connected
        from secure_agg.transport.channel import Endpoint
        from secure_agg.transport.client import Operators

        places = self.places()
        try:
            cards = {name: OperatorCard.from_bytes(place.card) for name, place in places.items()}
            if backend.holders(policy):
                setup = self._certificate()
                names = decode(KeyCertificate, setup, len(MAX_SETUP)).names
            else:
                setup = aggregator_set(cards.values(), self.trust.operators).to_bytes()
                names = tuple(cards)
        except RemoteProtocolError as error:
            raise ConfigError(f"what {self.path} says of the operators is unfit: {error}") from error
        unknown = sorted(set(names) - set(cards))
        if unknown:
            raise ConfigError(f"where {unknown[0]!r} is does not stand in {self.path / _OPERATORS}")
        endpoints = [Endpoint(places[name].address, cards[name]) for name in names]
        least = backend.operators_needed(policy)
        with connected(Operators(self._keys, endpoints, self.trust.operators), CONNECT_S, least) as holders:
            yield msgspec.structs.replace(config, setup=setup_digest(setup)), setup, holders

    @functools.cached_property
    def _keys(self) -> OperatorKeys:
        """What operators know the server by; opening the file takes a while, so it is done once."""
        return keyfile.load(self.path / KEY_FILE, keystore.read_passphrase(self.path / PASSPHRASE_FILE))

    def _certificate(self) -> bytes:
        path = self.path / CERTIFICATE_FILE
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"certificate {path} can't be read: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
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


def _digest(path: Path, text: str | None) -> bytes | None:
    """A digest as ``home.json`` has it."""
    try:
        digested = None if text is None else bytes.fromhex(text)
    except ValueError:
        digested = b""
    if digested is not None and len(digested) != len(NO_DIGEST):
        raise ConfigError(f"{path / _SETTINGS}: start_model {text!r} is no digest of {2 * len(NO_DIGEST)} digits")
    return digested


def _check_member(identity: Identity, trust: Trust, task: str) -> None:
    if task not in trust.tasks:
        raise ConfigError(f"task {task!r} is not pinned: {', '.join(map(repr, trust.tasks)) or 'no task is'}")
    if trust.tasks[task].roster.get(identity.name) != identity.public:
        raise ConfigError(f"the identity of {identity.name!r} is not the one in the roster pinned for task {task!r}")
    if trust.log is None:
        raise ConfigError("no ledger's key is pinned: this node could not tell whether a result is recorded")


@contextmanager
def _new_folder(path: Path, settings: _Settings, identity: Identity) -> Iterator[Path]:
    """A new home with its identity and settings; removed again if what else it needs can't be made."""
    with files.new_folder(path):
        identity.save(path / _IDENTITY)
        files.create(path / _SETTINGS, msgspec.json.format(msgspec.json.encode(settings), indent=1) + b"\n")
        yield path


def _read_settings(path: Path, kind: type[_S]) -> _S:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path} is no home: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"folder {path} is accessible to others: chmod 700 it")
    try:
        return msgspec.json.decode(keystore.read_private(path / _SETTINGS, _MAX_SETTINGS), type=kind)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path / _SETTINGS}: {error}") from None


def _read_identity(path: Path, name: str) -> Identity:
    try:
        return Identity.load(name, path / _IDENTITY)
    except OSError as error:
        raise ConfigError(f"{path / _IDENTITY} can't be read: {error.strerror}") from error
