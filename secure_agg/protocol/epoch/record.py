"""The leaf of an epoch, and what a leaf of the ledger can be.

It holds digests, so that a receipt of it is as short as a round's however many members there are: the roster itself is
in the evidence, which the leaf names.
"""

from __future__ import annotations

from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError, MalformedMessage, VerificationError
from secure_agg.protocol.config.settings import within
from secure_agg.protocol.epoch.body import MAX_EPOCH, check_root, start_of
from secure_agg.protocol.evidence import MAX_RECORD, RoundRecord
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire, decode, encode
from zk.transcript import DIGEST_BYTES, digest

_TAG: Final = "secure-agg/epoch-record/1"
_FILED: Final = -(1 << 40)
_DIGESTS: Final = (
    "previous_record", "previous_epoch", "body", "start_model", "base_model", "renounced", "evidence",
)  # fmt: skip


@checked_class
class EpochRecord(Wire, frozen=True, kw_only=True, tag=_TAG):
    """What the ledger holds of an epoch: the task's next record, as a round's would be.

    Attributes:
        task: the root task.
        epoch: from 1.
        previous_record: digest of the task's record before, a round's or an epoch's; zeros for none.
        previous_epoch, body: digests of the epoch before, and of this one's body.
        rounds: number that the task's next round has; numbers go on across epochs.
        generation, renounced: what the next round's configuration has to say: see ``RoundConfig``.
        start_model, base_model: likewise.
        next_weight_limit: likewise; 0 where the policy keeps weights.
        evidence: SHA-256 of the epoch's evidence.
    """

    task: str
    epoch: int
    previous_record: bytes
    previous_epoch: bytes
    body: bytes
    rounds: int
    generation: int
    renounced: bytes
    start_model: bytes
    base_model: bytes
    next_weight_limit: int
    evidence: bytes

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.task)
        check_root(self.task)
        within("epoch", self.epoch, 1, MAX_EPOCH)
        within("rounds", self.rounds, 0, 2**53)
        within("generation", self.generation, 0, 2**32)
        within("next_weight_limit", self.next_weight_limit, 0, 2**32)
        for name in _DIGESTS:
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise ConfigError(f"{name} of an epoch's record has {len(getattr(self, name))} bytes")

    def __repr__(self) -> str:
        return f"EpochRecord(task={self.task!r}, epoch={self.epoch}, body={self.body.hex()[:16]}…)"

    @property
    def next_clips(self) -> tuple[int, ...]:
        """None: after an epoch adaptive clips begin again."""
        return ()

    @property
    def round(self) -> int:
        """Number of the task's last round before it, −1 for none."""
        return self.rounds - 1

    @property
    def restarts(self) -> bool:
        """Whether a new training begins with it."""
        return self.start_model == start_of(self.body)

    @property
    def result_model(self) -> bytes:
        """What the next round starts from, as after a round."""
        return self.start_model

    @property
    def filed(self) -> int:
        """Where a round's record is filed under its number: no round's."""
        return _FILED - self.epoch

    def to_bytes(self) -> bytes:
        """The leaf."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> EpochRecord:
        """Decode strictly.

        Raises:
            VerificationError: not a canonical record of an epoch.
        """
        try:
            return decode(EpochRecord, data, MAX_RECORD)
        except MalformedMessage as error:
            raise VerificationError(f"this is no epoch's record: {error}") from error

    def digest(self) -> bytes:
        """32 bytes; the task's next record names it."""
        return digest("epoch-record", self.to_bytes())


Record = RoundRecord | EpochRecord
"""What a leaf of the ledger is."""


def read_leaf(data: bytes | memoryview) -> Record:
    """Decode a leaf strictly: an array of at most fifteen fields is an epoch's, a round's has more.

    Raises:
        VerificationError: neither.
    """
    if bytes(data[:1]) and bytes(data[:1])[0] >> 4 == 9:
        return EpochRecord.from_bytes(data)
    return RoundRecord.from_bytes(data)


def filed_under(record: Record) -> int:
    """The number that a record is filed under in its task."""
    return record.filed if isinstance(record, EpochRecord) else record.round
