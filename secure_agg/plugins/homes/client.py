"""A node's home: what it keeps on its own disk, and believes.

It is made by the node's owner, and named in the node's own configuration. Nothing that a framework delivers, job or
message, changes what is in it: that is how a node is safe from whoever submits a job.

Beside what every home has: ``trust.json``, ``journal/`` (the attempt under way), ``chain/`` (the model it has come to)
and ``receipts/`` (who has accepted its inputs). In ``attempts.db`` stands what it has bound itself to.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.plugins.homes.chain import Chain
from secure_agg.plugins.homes.folder import (
    STORE_FILE,
    Home,
    Settings,
    check_rules,
    new_folder,
    read_identity,
    read_settings,
)
from secure_agg.plugins.homes.journal import Journal, Key
from secure_agg.protocol.identity import Identity
from secure_agg.roles.trust import Trust
from zk.transcript import digest

TRUST_FILE: Final = "trust.json"
_MAX_RECEIPT: Final = 1 << 16
_MOST_RECEIPTS: Final = 128
"""Of one attempt: a key signs one acceptance in as many ways as it likes, and no backend has as many operators."""


class _ClientSettings(Settings, frozen=True, forbid_unknown_fields=True, tag="secure-agg-client/2"):
    """Of a node's home."""


class ClientHome(Home):
    """A node's home.

    Attributes:
        trust: what it has pinned.
        journal: of the attempt under way.
        chain: of the task's models, as far as this node has come.
        others: see ``Home``.
    """

    def __init__(self, path: Path, settings: _ClientSettings, identity: Identity, trust: Trust) -> None:
        """Use ``open`` or ``create``."""
        super().__init__(path, settings, identity)
        self.trust = trust
        largest = trust.task(self.task).policy.max_parameters
        self.journal = Journal(path / "journal", largest)
        self.chain = Chain(path / "chain", self.task, largest, self.optimizer)

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
            ConfigError: there is something at ``path``, identity and pins do not belong together, a model is pinned
                in a home that takes any, or the beacon's first pulse that draws is there already.
        """
        _check_member(identity, trust, task)
        if (beacon := trust.tasks[task].beacon) is not None:
            beacon.check_ahead(time.time())
        check_rules(checks_model, start_model, optimizer)
        pinned = None if start_model is None else start_model.hex()
        settings = _ClientSettings(identity.name, task, checks_model, pinned, optimizer, weight_key)
        with new_folder(Path(path), settings, identity) as folder:
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
        settings = read_settings(path, _ClientSettings, "a node's")
        if not (path / STORE_FILE).exists():  # it would be made anew
            raise ConfigError(f"{path} has no {STORE_FILE}: without it, this node could be made to answer twice")
        identity, trust = read_identity(path, settings.name), Trust.load(path / TRUST_FILE)
        _check_member(identity, trust, settings.task)
        return ClientHome(path, settings, identity, trust)

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


def _check_member(identity: Identity, trust: Trust, task: str) -> None:
    if task not in trust.tasks:
        raise ConfigError(f"task {task!r} is not pinned: {', '.join(map(repr, trust.tasks)) or 'no task is'}")
    if trust.tasks[task].roster.get(identity.name) != identity.public:
        raise ConfigError(f"the identity of {identity.name!r} is not the one in the roster pinned for task {task!r}")
    if trust.log is None:
        raise ConfigError("no ledger's key is pinned: this node could not tell whether a result is recorded")
