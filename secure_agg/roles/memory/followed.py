"""The epochs that a node or an operator has followed, on its own disk: ``epochs/`` in its home, one file for each.

What was pinned when the home was made stays as it is; every epoch since is beside it, and the newest is in force. Which
body was followed as which epoch stands in the attempt store too, where nothing is written twice.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import SecureAggError, StoreError, VerificationError
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import CONTINUE, RESTART, EpochBody, EpochEvidence, EpochRecord
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.epochs.following import MAX_STEP, Place, Step, Steps, Where, follow
from secure_agg.roles.epochs.forks import two_epochs
from secure_agg.roles.epochs.pins import epoch_digest, under
from secure_agg.roles.memory import bonds
from secure_agg.roles.memory import epochs as memory
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.tlog.checkpoint import Checkpoint

_log = logging.getLogger("secure_agg.roles")

_CHECKPOINT: Final = "checkpoint"
_SHOWN: Final = "shown"
_MAX_CHECKPOINT: Final = 1 << 12


@dataclass(frozen=True)
class After:
    """What follows on a round's record.

    Attributes:
        record: digest of the task's newest record then.
        epoch: the newest epoch's record among what follows, None where nothing does.
        restarted: digest of the model that a new training has begun from since; None where none has.
    """

    record: bytes
    epoch: EpochRecord | None
    restarted: bytes | None


class FollowedEpochs:
    """One node's, or one operator's. Whoever uses it keeps other threads and processes off it."""

    def __init__(
        self,
        folder: Path,
        first: Trust,
        name: str,
        task: str,
        store: AttemptStore,
        floor: Floor | None = None,
        *,
        asks_owner: bool = True,
    ) -> None:
        """
        Args:
            folder: of the epochs; made with the first of them.
            first: what was pinned when the home was made.
            name: the node's id.
            task: the root task.
            store: of the home.
            floor: what the owner has pinned; by default see ``Floor.of``.
            asks_owner: whether what is below the floor waits for the owner. Not for an operator, who gives no data:
                those whose data it is have looked at their own floors before they closed the epoch before.

        Raises:
            StoreError: an epoch that was followed can't be read, or is another.
        """
        self.folder, self.first, self.task = folder, first, task
        self._name, self._store, self._asks_owner = name, store, asks_owner
        pins = first.task(task)
        self.floor = floor or Floor.of(pins.policy, len(pins.roster))
        self._records: list[EpochRecord] = []
        self._bodies: list[EpochBody] = []
        self._evidence: list[EpochEvidence] = []
        while (path := self._path(len(self._records) + 1 + pins.epoch)).exists():
            self._load(path)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.epoch"

    def _load(self, path: Path) -> None:
        try:
            step = decode(Step, files.read(path, MAX_STEP, "epoch"), MAX_STEP)
            record, evidence = EpochRecord.from_bytes(step.record), EpochEvidence.from_bytes(step.evidence)
            body = evidence.says
        except SecureAggError as error:
            raise StoreError(f"{path}: {error.args[0]}") from error
        if self._store.get((self._name, self.task, "epochs"), f"epoch {record.epoch}") != record.body:
            raise StoreError(f"{path} is not the epoch {record.epoch} that was followed")
        if body.digest != record.body or record.epoch != self.number + 1:
            raise StoreError(f"{path} is damaged: its record is not of its epoch, or of another than its name says")
        self._records.append(record)
        self._bodies.append(body)
        self._evidence.append(evidence)

    # --- what is in force ---------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Of the epoch in force."""
        return self.first.task(self.task).epoch + len(self._records)

    @property
    def is_led_back(self) -> bool:
        """Whether the epoch after the one in force was followed before, as the store has it: the folder is another one
        since, or has lost its files.
        """
        return self._store.get((self._name, self.task, "epochs"), f"epoch {self.number + 1}") is not None

    @property
    def history(self) -> tuple[tuple[EpochRecord, EpochBody], ...]:
        """All that were followed, in order."""
        return tuple(zip(self._records, self._bodies, strict=True))

    @property
    def newest(self) -> EpochRecord | None:
        """The record of the epoch in force; None where it is the first."""
        return self._records[-1] if self._records else None

    @property
    def says(self) -> EpochBody | None:
        """The body of the epoch in force; None where it is the first."""
        return self._bodies[-1] if self._bodies else None

    @property
    def trust(self) -> Trust:
        """What is in force."""
        return self.at(self.number)

    @property
    def most_members(self) -> int:
        """Of the largest roster that was ever in force here."""
        sizes = (len(body.roster) for body in self._bodies)
        return max(len(self.first.task(self.task).roster), *sizes, 0)

    def at(self, number: int) -> Trust:
        """What was in force in an epoch that was followed.

        Raises:
            VerificationError: it was not.
        """
        begun = self.first.task(self.task).epoch
        if not begun <= number <= self.number:
            raise VerificationError(f"epoch {number} of task {self.task!r} was not followed here, {self.number} is")
        return under(self.first, self._evidence[number - begun - 1]) if number > begun else self.first

    @property
    def where(self) -> Where:
        """How far this node has come."""
        seen = self.seen
        return Where(self.number, epoch_digest(self.trust, self.task), seen.size if seen else 0)

    def after(self, record: bytes) -> After:
        """Where the task has come to after a round's record, by the epochs that follow on it.

        Args:
            record: its digest, zeros before the first.
        """
        newest, restarted = None, None
        for known, body in zip(self._records, self._bodies, strict=True):
            if known.previous_record == record:
                record, newest = known.digest(), known
                restarted = body.base_model if body.mode == RESTART else restarted
        return After(record, newest, restarted)

    @property
    def training_from(self) -> int:
        """Number below which no round is of the training in force: what a node has kept of one does not go on."""
        pairs = zip(self._records, self._bodies, strict=True)
        return max((known.rounds for known, body in pairs if body.mode == RESTART), default=0)

    def may_have_given(self, identity: Identity, start_model: bytes) -> EpochRecord | None:
        """An epoch that has begun from a model, for whose sake nobody could close the one before for all, and in which
        this node's key was not there yet: its owner may have given an update of that model under another one. It does
        not matter how many epochs have begun since.

        Returns:
            The newest such epoch's record; None where there is none.
        """
        for record, body in reversed(self.history):
            unclosed = record.renounced == NO_DIGEST and body.mode == CONTINUE and record.start_model == start_model
            before = self.at(record.epoch - 1).task(self.task).roster if unclosed else None
            if before is not None and before.get(identity.name) != identity.public:
                return record
        return None

    # --- following ----------------------------------------------------------------------------------------------

    @property
    def seen(self) -> Checkpoint | None:
        """The newest checkpoint that this node has seen, and that begins with those before.

        Raises:
            StoreError: it can't be read.
        """
        return self._read(_CHECKPOINT)

    def _read(self, name: str) -> Checkpoint | None:
        path = self.folder / name
        if not path.exists():
            return None
        try:
            return Checkpoint.parse(files.read(path, _MAX_CHECKPOINT, "checkpoint").decode())
        except (SecureAggError, UnicodeDecodeError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error

    def saw(self, checkpoint: Checkpoint) -> None:
        """Take note of a checkpoint of a verified receipt. It comes without a proof that it begins with what was seen
        before, so nothing is measured by it but how old a ledger may be that is shown later.

        Raises:
            VerificationError: of as many records as one that was seen, and of another history.
        """
        seen, shown = self.seen, self._read(_SHOWN)
        for known in (seen, shown):
            if known is not None and checkpoint.size == known.size and checkpoint.root != known.root:
                raise VerificationError(f"two ledgers of {known.size} records: this one has another history")
        if seen is None:
            self._keep(_CHECKPOINT, checkpoint.text.encode())
        elif checkpoint.size > max(seen.size, shown.size if shown else 0):
            self._keep(_SHOWN, checkpoint.text.encode())

    def follow(self, steps: Steps, *, newest_s: float | None = None) -> None:
        """Go on by epochs, one after the other; those that are followed already are compared.

        Raises:
            VerificationError: see ``following.follow``; or an epoch is another than was followed as the one of its
                number, and then proofs of fault are kept beside the epochs.
            TrustError: it is below this node's floor, and its owner has not approved it.
        """
        for step in steps.steps:
            evidence = EpochEvidence.from_bytes(step.evidence)
            body = evidence.says
            if body.epoch <= self.number:
                self._compare(evidence)
                continue
            place = Place(self.trust, self._records[-1] if self._records else None, self.seen)
            place, body = follow(place, self.task, step, newest_s=newest_s)
            if place.checkpoint is not None:
                self._check_shown(place.checkpoint)
            self.check_floor(body)
            if place.record is None or place.checkpoint is None:
                raise VerificationError("an epoch that was followed has a record")
            if self._store.put((self._name, self.task, "epochs"), f"epoch {body.epoch}", body.digest) != body.digest:
                raise VerificationError(f"another epoch {body.epoch} of task {self.task!r} was followed here before")
            bonds.learn_epoch(self._store, self._name, place.record, evidence.closure)
            self._keep(self._path(body.epoch).name, encode(step))
            self._keep(_CHECKPOINT, place.checkpoint.text.encode())
            self._records.append(place.record)
            self._bodies.append(body)
            self._evidence.append(evidence)
            _log.info("%s follows epoch %d of %r", self._name, body.epoch, self.task)

    def _check_shown(self, checkpoint: Checkpoint) -> None:
        shown = self._read(_SHOWN)
        if shown is not None and checkpoint.size < shown.size:
            raise VerificationError(
                f"a checkpoint of {checkpoint.size} records, and {shown.size} were seen before: an old ledger is shown"
            )
        if shown is not None and checkpoint.size == shown.size and checkpoint.root != shown.root:
            raise VerificationError(f"two ledgers of {shown.size} records: this one has another history")

    def check_floor(self, body: EpochBody) -> None:
        """Refuse an epoch that is below this node's floor, unless its owner has approved it.

        Raises:
            TrustError: it is.
        """
        if self._asks_owner and not memory.is_approved(self._store, self._name, self.task, body.digest):
            self.floor.check(self._looked_at(), body)

    def approve(self, body: EpochBody) -> None:
        """The owner has looked at this epoch, and wants it followed."""
        memory.approve_by_hand(self._store, self._name, self.task, body.digest)

    def _looked_at(self) -> Trust:
        """What was in force in the newest epoch that the owner has looked at."""
        for body in reversed(self._bodies):
            if memory.is_approved(self._store, self._name, self.task, body.digest):
                return self.at(body.epoch)
        return self.first

    def _compare(self, evidence: EpochEvidence) -> None:
        body = evidence.says
        begun = self.first.task(self.task).epoch
        if body.task != self.task or body.epoch <= begun:
            return
        known = self._bodies[body.epoch - begun - 1]
        if known.digest == body.digest:
            return
        other = decode(Step, files.read(self._path(body.epoch), MAX_STEP, "epoch"), MAX_STEP)
        proofs = two_epochs(self.at(body.epoch - 1), EpochEvidence.from_bytes(other.evidence), evidence)
        for proof in proofs:
            with contextlib.suppress(FileExistsError):
                files.create(
                    self.folder / f"{body.digest.hex()[:16]}-{proof.public.hex()[:16]}.fault", proof.to_bytes()
                )
        raise VerificationError(
            f"another epoch {body.epoch} of task {self.task!r} than this node follows: "
            f"{', '.join(proof.culprit for proof in proofs) or 'nobody'} authorised both"
        )

    def _keep(self, name: str, data: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace(self.folder / name, data, mode=0o600)
