"""The server's home: what it keeps on its own disk, and believes.

Beside what every home has: ``rounds.db`` with what belongs to a ledger beside it, the server's trust file among that,
``chain/`` and ``start/`` (the model that its task has come to, and the first), ``model.npz`` (the last verified model
with its names, see ``kept``), ``start-…/`` (what a new training begins with), ``epoch.proposal`` (the next epoch, until
it begins) and ``rounds/``, logs of attempts that may still be finished. For a backend with operators also
``operator.key`` under the passphrase in ``passphrase``, and ``operators.json``: where each operator listens, and its
card. For a homomorphic one ``certificate``. Where cohorts are drawn, and pulses were given in a file, that: ``beacon``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from secure_agg import backends, files
from secure_agg.backends.contract import Backend
from secure_agg.errors import ConfigError, RemoteProtocolError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.ledger.log import Ledger
from secure_agg.local import keystore
from secure_agg.local.draws import Draws
from secure_agg.local.staff import staffed
from secure_agg.plugins.homes.chain import Chain
from secure_agg.plugins.homes.folder import (
    SETTINGS_FILE,
    STORE_FILE,
    Home,
    Settings,
    check_rules,
    new_folder,
    read_identity,
    read_settings,
)
from secure_agg.plugins.homes.journal import Journal
from secure_agg.protocol.certificate import KeyCertificate
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.tree import FLAT, LEVEL_NAMES, level
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.epoch.evidence import MAX_EVIDENCE
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import MAX_SETUP, decode
from secure_agg.protocol.ready import ready
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import MAX_CARD, OperatorCard, OperatorKeys
from secure_agg.transport.share_holders import aggregator_set

KEY_FILE: Final = "operator.key"
PASSPHRASE_FILE: Final = "passphrase"  # noqa: S105 - a file's name
CERTIFICATE_FILE: Final = "certificate"
BEACON_FILE: Final = "beacon"
CONNECT_S: Final = 10.0
"""How long all operators together have to answer before a round begins."""
PHASE_S: Final = 60.0
"""Seconds that nodes have to answer in a phase, unless the server's home or an argument says otherwise."""
_LEDGER: Final = "rounds.db"
_OPERATORS: Final = "operators.json"
_MODEL: Final = "model.npz"
_MAX_OPERATORS: Final = 64 * 2 * MAX_CARD


class _ServerSettings(Settings, frozen=True, forbid_unknown_fields=True, tag="secure-agg-server/2"):
    """Of the server's home; what both kinds have is what the nodes' homes are made with."""

    phase_s: float = PHASE_S
    pulses: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an operator's process is.

    Attributes:
        address: ``HOST:PORT``.
        card: what it is known by there, see ``OperatorCard``.
    """

    address: str
    card: bytes


class ServerHome(Home):
    """The server's home.

    Attributes:
        ledger: which every verified round is appended to.
        phase_s: seconds that nodes have to answer in each phase in which they don't train, see ``Deadlines``.
        pulses: where the pulses are that draw cohorts: URLs of drand's HTTP API, folders, beacon files.
        others: see ``Home``.
    """

    def __init__(self, path: Path, settings: _ServerSettings, identity: Identity) -> None:
        """Use ``open`` or ``create``."""
        super().__init__(path, settings, identity)
        self.phase_s, self.pulses = settings.phase_s, settings.pulses
        try:
            self.ledger = Ledger(path / _LEDGER)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Close ledger and store; harmless when closed."""
        self.ledger.close()
        super().close()

    @property
    def trust(self) -> Trust:
        """What is in force: what its ledger verifies rounds against."""
        return self.ledger.in_force(self.task)

    @property
    def proposal_path(self) -> Path:
        """Where the next epoch is, while its members have not closed the one in force: the coordinator asks them."""
        return self.path / "epoch.proposal"

    def proposal(self) -> EpochEvidence | None:
        """The next epoch, if there is a proposal of it.

        Raises:
            VerificationError: the file is none.
        """
        path = self.proposal_path
        return EpochEvidence.from_bytes(files.read(path, MAX_EVIDENCE, "proposal")) if path.exists() else None

    @staticmethod
    def create(
        path: str | Path,
        identity: Identity,
        task: str,
        *,
        checks_model: bool = True,
        start_model: bytes | None = None,
        optimizer: ServerOptimizer = PLAIN,
        weight_key: str | None = None,
        phase_s: float = PHASE_S,
        pulses: Sequence[str] = (),
    ) -> ServerHome:
        """Make a home with an empty ledger, which pins nothing yet: ``open`` refuses it until it does.

        Args:
            path: of a folder that is not there yet.
            identity: the aggregator's.
            task: it coordinates.
            checks_model, start_model, optimizer, weight_key: see ``ClientHome``.
            phase_s, pulses: see ``ServerHome``.

        Raises:
            ConfigError: there is something at ``path``, a model is pinned in a home that takes any, or nobody can
                answer in ``phase_s``.
        """
        check_rules(checks_model, start_model, optimizer)
        check_phase_s(phase_s)
        pinned = None if start_model is None else start_model.hex()
        settings = _ServerSettings(
            identity.name, task, checks_model, pinned, optimizer, weight_key, float(phase_s), tuple(pulses)
        )
        with new_folder(Path(path), settings, identity) as folder:
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
        settings = read_settings(path, _ServerSettings, "the server's")
        try:
            check_phase_s(settings.phase_s)
        except ConfigError as error:
            raise ConfigError(f"{path / SETTINGS_FILE}: {error}") from None
        identity = read_identity(path, settings.name)
        for file, what in ((_LEDGER, "ledger "), (STORE_FILE, "")):
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
        return Chain(self.path / "chain", self.task, largest, self.optimizer), Journal(self.path / "start", largest)

    @functools.cached_property
    def draws(self) -> Draws:
        """Where the draws of cohorts come from.

        Raises:
            ConfigError: a folder or file with pulses is not there.
        """
        own = self.path / BEACON_FILE
        return Draws(places=[*([own] if own.exists() else []), *self.pulses])

    def training(self, digest: bytes) -> Journal:
        """The model that a new training has begun with, ``model``. Use it under ``locked``."""
        return Journal(self.path / f"start-{digest.hex()[:32]}", self.trust.task(self.task).policy.max_parameters)

    @property
    def model_path(self) -> Path:
        """Where the last verified model is, with its names: an ``.npz`` file, there once a round was begun."""
        return self.path / _MODEL

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
            return msgspec.json.decode(keystore.read_private(path, _MAX_OPERATORS), type=ready(dict[str, Place]))
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: {error}") from None

    @contextmanager
    def staff(self, config: RoundConfig) -> Iterator[tuple[RoundConfig, bytes, Mapping[str, OperatorRole]]]:
        """Connect to the operators that a round's backend has beside the aggregator, and show them the epochs that they
        have missed.

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
        check_apart(backend, policy)
        if not backend.seats(policy).count:
            yield config, b"", {}
            return
        # gRPC is an extra, which only those need who have operators.
        from secure_agg.transport.blocking import connected
        from secure_agg.transport.channel import Endpoint
        from secure_agg.transport.client import Operators
        from secure_agg.transport.epochs import bring

        places = self.places()
        try:
            cards = {name: OperatorCard.from_bytes(place.card) for name, place in places.items()}
            known = self.trust.operators  # whose epoch is over, or still to come, has a place and is not asked
            cards = {name: card for name, card in cards.items() if name in known}
            if backend.keys:
                setup = self._certificate()
                names = decode(KeyCertificate, setup, len(MAX_SETUP)).names
            else:
                setup = aggregator_set(cards.values(), self.trust.operators).to_bytes()
                names = tuple(cards)
        except RemoteProtocolError as error:
            raise ConfigError(f"what {self.path} says of the operators is unfit: {error}") from error
        unknown = sorted(set(names) - set(cards))
        if unknown:
            raise ConfigError(
                f"{unknown[0]!r} is no operator in the epoch in force, or where it is does not stand in "
                f"{self.path / _OPERATORS}"
            )
        endpoints = [Endpoint(places[name].address, cards[name]) for name in names]
        least = backend.seats(policy).needed
        with connected(Operators(self._keys, endpoints, self.trust.operators), CONNECT_S, least) as holders:
            bring(holders, self.ledger, config.task)
            yield staffed(config, setup), setup, holders

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


def check_apart(backend: Backend, policy: Policy) -> None:
    """Refuse a backend whose operators can't be processes of their own, and what no plug-in leads: buffered rounds, and
    those of a tree.

    Raises:
        ConfigError: as it says.
    """
    if level(policy) != FLAT:
        raise ConfigError(
            f"the policy is of the {LEVEL_NAMES[level(policy)]} of a tree: no plug-in leads its rounds, "
            "'secure_agg.roles.tree' does"
        )
    if policy.buffer is not None:
        raise ConfigError("the policy is of buffered rounds: under a framework all nodes train from the newest model")
    if backend.seats(policy).together:
        raise ConfigError(f"the operators of backend {backend.name!r} work in one process: no plug-in asks them")


def check_phase_s(seconds: float) -> None:
    """Refuse what is no time to answer in.

    Raises:
        ConfigError: no positive, finite number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigError(f"nodes can't answer in {seconds!r} seconds: a phase takes a positive, finite number")
