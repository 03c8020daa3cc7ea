"""The next epoch, for whoever knows the one before: checked under it, in the ledger, after what was last seen there.

Every epoch is followed, none skipped: it is the members of each who say what comes after it. A checkpoint is kept, and
the next has to begin with it, so a party that was shown one history is never led into another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, MalformedMessage, VerificationError
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import EpochBody, EpochEvidence, EpochRecord
from secure_agg.protocol.epoch.evidence import MAX_EVIDENCE
from secure_agg.protocol.evidence import MAX_RECORD
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.roles.epochs.checking import check_evidence, record_of
from secure_agg.roles.epochs.pins import under
from secure_agg.roles.trust import Trust
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.proof import check_consistency
from secure_agg.tlog.receipt import MAX_RECEIPT, Receipt

MAX_STEP: Final = MAX_EVIDENCE + MAX_RECORD + MAX_RECEIPT + (1 << 12)
MAX_STEP_ANSWER: Final = MAX_EVIDENCE + (1 << 19)
"""Most bytes of steps that are sent at once: any one fits. Who is further behind asks again."""
MAX_STEPS: Final = 1 << 28
"""Most bytes of a file of steps."""
STEPS_FRAME: Final = 64
"""Most bytes of an encoding of steps beside theirs: its tag, and how many they are."""
_MAX_WHERE: Final = 1 << 10
_TAG: Final = "secure-agg/epoch-steps/1"


class Step(Wire, frozen=True):
    """One epoch, for whoever follows.

    Attributes:
        record: the leaf.
        evidence: that makes it an epoch.
        receipt: that it is in the ledger.
        consistency: hashes by which the receipt's tree begins with the one that the follower has seen last, see
            ``tlog.proof``; empty where it has seen none, or this very one.
    """

    record: bytes
    evidence: bytes
    receipt: bytes
    consistency: tuple[bytes, ...] = ()


class Steps(Wire, frozen=True, tag=_TAG):
    """Epochs of a task, in order: a file for whoever begins with what was pinned at first."""

    steps: tuple[Step, ...]

    def to_bytes(self) -> bytes:
        """The one encoding; it begins with the format's name."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Steps:
        """Decode strictly; check nothing else.

        Raises:
            VerificationError: no such file.
        """
        try:
            return decode(Steps, data, MAX_STEPS)
        except MalformedMessage as error:
            raise VerificationError(f"these are no epochs to follow: {error}") from error

    @staticmethod
    def load(path: Path) -> Steps:
        """A file from ``secure-agg federation status --epochs``.

        Raises:
            ConfigError: it can't be read.
            VerificationError: see ``from_bytes``.
        """
        return Steps.from_bytes(files.read(path, MAX_STEPS, "file of epochs"))


class Where(Wire, frozen=True):
    """How far a party has come, as it tells a server.

    Attributes:
        epoch: number of the epoch that it follows.
        digest: of that epoch.
        seen: size of the newest checkpoint that it has seen, 0 for none.
    """

    epoch: int
    digest: bytes
    seen: int

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Where:
        """Decode strictly.

        Raises:
            MalformedMessage: it is none.
        """
        found = decode(Where, data, _MAX_WHERE)
        if found.epoch < 0 or found.seen < 0 or len(found.digest) != len(NO_DIGEST):
            raise MalformedMessage(f"epoch {found.epoch}, {found.seen} records seen")
        return found


@checked_class
@dataclass(frozen=True)
class Place:
    """How far a party has come.

    Attributes:
        trust: what is in force.
        record: the newest epoch's; None in epoch 0.
        checkpoint: of the ledger, the newest that it has seen; None before any.
    """

    trust: Trust
    record: EpochRecord | None = None
    checkpoint: Checkpoint | None = None


def advance_checkpoint(seen: Checkpoint | None, shown: Checkpoint, proof: tuple[bytes, ...]) -> Checkpoint:
    """The newer of two checkpoints of one ledger, if one tree begins with the other.

    Args:
        seen: what was seen last.
        shown: what is shown now, verified.
        proof: that ``shown`` begins with ``seen``.

    Raises:
        VerificationError: it does not, is older, or of another log.
    """
    if seen is None:
        return shown
    if shown.origin != seen.origin:
        raise VerificationError(f"a checkpoint of {shown.origin!r}, and what was seen last is of {seen.origin!r}")
    if shown.size < seen.size:
        raise VerificationError(
            f"a checkpoint of {shown.size} records, and {seen.size} were seen before: an old ledger is shown"
        )
    if shown.size == seen.size and shown.root != seen.root:
        raise VerificationError(f"two ledgers of {seen.size} records: this one has another history")
    if shown.size > seen.size:
        check_consistency(seen.size, shown.size, seen.root, shown.root, proof)
    return shown


def follow(
    place: Place, task: str, step: Step, *, newest_s: float | None = None, now: float | None = None
) -> tuple[Place, EpochBody]:
    """Go on to the next epoch.

    Args:
        place: how far this party has come.
        task: the root task.
        step: from anybody.
        newest_s: most seconds since the newest cosignature of a pinned witness; None for any.
        now: POSIX time; by default the system's.

    Returns:
        Where it has come to, and what is in force there.

    Raises:
        VerificationError: it is not what follows, not in the ledger, not seen there by enough witnesses, or too long
            ago, or the ledger has another history than this party has seen.
    """
    trust = place.trust
    try:
        record, evidence = EpochRecord.from_bytes(step.record), EpochEvidence.from_bytes(step.evidence)
        body = evidence.says
        if body.task != task or record.task != task:
            raise VerificationError(f"an epoch of task {record.task!r}, not {task!r}")
        certificate = check_evidence(trust, evidence)
        # That the record follows on the last one is for the ledger and its auditors: where the epoch before has ended
        # is what its members have signed.
        said = certificate.statement if certificate else None
        rounds, start = (said.round, said.start_model) if said else (record.rounds, record.start_model)
        expected = record_of(trust, evidence, certificate, record.previous_record, rounds, start)
        if record != expected:
            names = [f for f in EpochRecord.__struct_fields__ if getattr(record, f) != getattr(expected, f)]
            raise VerificationError(f"the record of epoch {body.epoch} differs from its evidence in {', '.join(names)}")
        receipt = Receipt.from_bytes(step.receipt)
        witnessed = trust.verify_receipt(record, receipt, now=now)
        if newest_s is not None:
            age = (time.time() if now is None else now) - max(witnessed.witnesses.values(), default=0)
            if age > newest_s:
                raise VerificationError(
                    f"the newest cosignature under epoch {body.epoch} is {age:.0f} s old, above {newest_s:g}: an old "
                    "ledger may be shown"
                )
        checkpoint = advance_checkpoint(place.checkpoint, witnessed.checkpoint, step.consistency)
        return Place(under(trust, evidence), record, checkpoint), body
    except ConfigError as error:
        raise VerificationError(str(error.args[0])) from error
