"""A node's home: what it keeps on its own disk, and believes.

It is made by the node's owner, and named in the node's own configuration. Nothing that a framework delivers, job or
message, changes what is in it: that is how a node is safe from whoever submits a job.

Beside what every home has: ``trust.json``, ``epochs/`` (what has changed since), ``journal/`` (the attempt under way),
``chain/`` (the model it has come to), ``receipts/`` (who has accepted its inputs) and ``own/`` (what its app keeps of
rounds that count). In ``attempts.db`` stands what it has bound itself to.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Final

import msgspec

from secure_agg import files
from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.plugins.homes.chain import Chain
from secure_agg.plugins.homes.folder import (
    IDENTITY_FILE,
    SETTINGS_FILE,
    STORE_FILE,
    Home,
    Settings,
    check_rules,
    new_folder,
    read_identity,
    read_settings,
)
from secure_agg.plugins.homes.journal import Journal, Key
from secure_agg.plugins.homes.own import Own
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Identity
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.epochs.following import Steps
from secure_agg.roles.memory.followed import FollowedEpochs
from secure_agg.roles.trust import Trust
from zk.transcript import digest

TRUST_FILE: Final = "trust.json"
NEXT_KEY: Final = "identity.next"
"""The key that an epoch is to rotate this node's to."""
_MAX_RECEIPT: Final = 1 << 16
_MOST_RECEIPTS: Final = 128
"""Of one attempt: a key signs one acceptance in as many ways as it likes, and no backend has as many operators."""


class FloorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``Floor`` as ``home.json`` has it."""

    backends: tuple[str, ...]
    min_clients: int
    corrupt: float
    least_clip: float
    most_clip: float
    bits: int
    new_keys: float


class _ClientSettings(Settings, frozen=True, forbid_unknown_fields=True, tag="secure-agg-client/2"):
    """Of a node's home.

    Attributes:
        floor: below what its owner approves epochs by hand; None for the usual one.
        witness_age_s: most seconds since the newest cosignature under an epoch; None for any.
        start_elements: see ``ClientHome``.
    """

    floor: FloorSettings | None = None
    witness_age_s: float | None = None
    start_elements: int | None = None


class ClientHome(Home):
    """A node's home.

    Attributes:
        floor: what its owner has pinned; None for the usual one.
        epochs: those that it has followed since it was made.
        journal: of the attempt under way.
        chain: of the task's models, as far as this node has come.
        own: what its app keeps of rounds that count.
        residual: what these have not taken of its updates, where groups have a support.
        start_elements: how many elements the task's first model has; None where that is not known.
        others: see ``Home``.
    """

    def __init__(self, path: Path, settings: _ClientSettings, identity: Identity, trust: Trust) -> None:
        """Use ``open`` or ``create``."""
        super().__init__(path, settings, identity)
        floor = self.floor = None if settings.floor is None else Floor(**msgspec.structs.asdict(settings.floor))
        self._witness_age_s, self.start_elements = settings.witness_age_s, settings.start_elements
        try:
            self.epochs = FollowedEpochs(path / "epochs", trust, self.name, self.task, self.store, floor)
        except BaseException:
            self.store.close()
            raise
        largest = self.trust.task(self.task).policy.max_parameters
        self.journal = Journal(path / "journal", largest)
        self.chain = Chain(path / "chain", self.task, largest, self.optimizer)
        self.own, self.residual = Own(path), Own(path, "residual")

    @property
    def trust(self) -> Trust:
        """What is in force: what was pinned when the home was made, changed by the epochs that it has followed."""
        return self.epochs.trust

    def follow(self, steps: Steps) -> None:
        """Go on by epochs, under ``locked``; with the key that waits for the epoch in which it is this node's.

        Raises:
            VerificationError, TrustError: see ``FollowedEpochs.follow``.
        """
        self.epochs.follow(steps, newest_s=self._witness_age_s)
        waiting = self.path / NEXT_KEY
        public = self.trust.task(self.task).roster.get(self.name)
        if waiting.exists() and public != self.identity.public:
            following = Identity.load(self.name, waiting)
            if following.public == public:
                waiting.replace(self.path / IDENTITY_FILE)
                files.sync(self.path)
                self.identity = following

    def await_key(self, identity: Identity) -> None:
        """Keep a key until an epoch rotates this node's to it.

        Raises:
            FileExists: another waits already.
        """
        identity.save(self.path / NEXT_KEY)

    @property
    def next_identity(self) -> Identity | None:
        """The key that waits, if one does."""
        path = self.path / NEXT_KEY
        return Identity.load(self.name, path) if path.exists() else None

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
        floor: Floor | None = None,
        witness_age_s: float | None = None,
        epochs: Steps | None = None,
        start_elements: int | None = None,
    ) -> ClientHome:
        """Make a home.

        Args:
            path: of a folder that is not there yet.
            identity: the client's, under which the task's roster has it.
            trust: what it pins; with the ledger's key, or it could not tell whether a result is recorded.
            task: it takes part in.
            checks_model, start_model, optimizer, weight_key, start_elements: see ``ClientHome``.
            floor, witness_age_s: see ``FollowedEpochs``; by default the usual floor, and any age.
            epochs: to follow at once, for whoever joins in one of them: its owner has looked at the last of them.

        Raises:
            ConfigError: there is something at ``path``, identity and pins do not belong together, a model is pinned
                in a home that takes any, the beacon's first pulse that draws is there already, or what is in force is
                below the floor.
            VerificationError: the epochs do not follow from what is pinned, or are not in the ledger.
        """
        _check_pinned(trust, task)
        if epochs is None:  # else owners have looked at roster and beacon when they authorised the epoch
            _check_member(identity, trust, task)
            if (beacon := trust.tasks[task].beacon) is not None:
                beacon.check_ahead(time.time())
        check_rules(checks_model, start_model, optimizer)
        pinned = None if start_model is None else start_model.hex()
        least = _floor_settings(floor)
        settings = _ClientSettings(
            identity.name, task, checks_model, pinned, optimizer, weight_key, least, witness_age_s, start_elements
        )
        with new_folder(Path(path), settings, identity) as folder:
            trust.save(folder / TRUST_FILE)
            home = ClientHome(folder, settings, identity, trust)
            try:
                for step in epochs.steps if epochs is not None else ():
                    home.epochs.approve(EpochEvidence.from_bytes(step.evidence).says)
                    home.follow(Steps((step,)))
                _check_member(identity, home.trust, task)
                _check_floor(home, floor, witness_age_s)
            except BaseException:
                home.close()
                raise
            return home

    @staticmethod
    def open(path: str | Path) -> ClientHome:
        """Open a home.

        Raises:
            ConfigError: something is missing, malformed, or accessible to others, or the identity is not the one that
                is pinned for the task.
            StoreError: the store can't be opened.
        """
        path = Path(path)
        settings = read_settings(path, _ClientSettings, "a node's")
        if not (path / STORE_FILE).exists():  # it would be made anew
            raise ConfigError(f"{path} has no {STORE_FILE}: without it, this node could be made to answer twice")
        identity, trust = read_identity(path, settings.name), Trust.load(path / TRUST_FILE)
        _check_pinned(trust, settings.task)
        home = ClientHome(path, settings, identity, trust)
        try:
            _check_member(identity, home.trust, settings.task)
        except BaseException:
            home.close()
            raise
        return home

    @property
    def witness_age_s(self) -> float | None:
        """Most seconds since the newest cosignature under an epoch that is followed; None for any."""
        return self._witness_age_s

    def pin_floor(self, floor: Floor | None, witness_age_s: float | None) -> None:
        """Pin another floor from now on, under ``locked``; it is in force for whoever opens the home next.

        Args:
            floor: None for the usual one, see ``Floor.of``.
            witness_age_s: see ``witness_age_s``.

        Raises:
            ConfigError: what is in force is below it, or no cosignature is so young.
        """
        _check_floor(self, floor, witness_age_s)
        old = read_settings(self.path, _ClientSettings, "a node's")
        settings = msgspec.structs.replace(old, floor=_floor_settings(floor), witness_age_s=witness_age_s)
        document = msgspec.json.format(msgspec.json.encode(settings), indent=1)
        files.replace(self.path / SETTINGS_FILE, document + b"\n", mode=0o600)

    def keep_receipt(self, key: Key, sender: str, receipt: bytes | memoryview) -> Path:
        """Keep what shows that somebody has accepted this client's input; the same again changes nothing.

        Args:
            key: of the attempt.
            sender: id of who has signed it.
            receipt: its message.

        Raises:
            ConfigError: above 64 KiB, or beyond 128 of one attempt.
        """
        task, number, attempt = key
        if len(receipt) > _MAX_RECEIPT:
            raise ConfigError(f"a receipt of {len(receipt)} bytes, above {_MAX_RECEIPT}")
        folder = self.path / "receipts"
        folder.mkdir(mode=0o700, exist_ok=True)
        which = digest("receipt-file", task.encode(), sender.encode(), bytes(receipt)).hex()[:32]
        path = folder / f"round-{number:06d}-attempt-{attempt}-{which}"
        if not path.exists():
            if sum(1 for _ in folder.glob(f"round-{number:06d}-attempt-{attempt}-*")) >= _MOST_RECEIPTS:
                raise ConfigError(f"{_MOST_RECEIPTS} receipts of one attempt are kept at most")
            files.create(path, bytes(receipt))
        return path


def _floor_settings(floor: Floor | None) -> FloorSettings | None:
    return None if floor is None else FloorSettings(**dataclasses.asdict(floor))


def _check_floor(home: ClientHome, floor: Floor | None, witness_age_s: float | None) -> None:
    if floor is not None:
        floor.check_pins(home.trust.task(home.task))
    if witness_age_s is not None and not 0 < witness_age_s < math.inf:
        raise ConfigError(f"no cosignature is at most {witness_age_s!r} s old: it takes a positive, finite number")


def _check_member(identity: Identity, trust: Trust, task: str) -> None:
    pins = trust.tasks[task]
    if pins.epoch and identity.name not in pins.roster:
        raise ConfigError(f"{identity.name!r} is no member of task {task!r} in epoch {pins.epoch}: it has left")
    if pins.roster.get(identity.name) != identity.public:
        raise ConfigError(f"the identity of {identity.name!r} is not the one in the roster pinned for task {task!r}")


def _check_pinned(trust: Trust, task: str) -> None:
    if task not in trust.tasks:
        raise ConfigError(f"task {task!r} is not pinned: {', '.join(map(repr, trust.tasks)) or 'no task is'}")
    if trust.log is None:
        raise ConfigError("no ledger's key is pinned: this node could not tell whether a result is recorded")
