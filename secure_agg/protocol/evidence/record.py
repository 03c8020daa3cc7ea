"""RoundRecord, the ledger's leaf, and its forms."""

from __future__ import annotations

from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, VerificationError
from secure_agg.protocol.claims import CLAIMS, DP_SUM
from secure_agg.protocol.messages import (
    Wire,
    array_header,
    decode,
    encode,
)
from secure_agg.protocol.privacy.claim import PrivacyClaim
from zk.transcript import digest

RECORD_VERSION: Final = 2
MAX_RECORD: Final = 64 << 10


class GroupRecord(Wire, frozen=True):
    """What a record says of one group.

    Attributes:
        name: of the group.
        error_bound: more than any value of its mean can be off by rounding, in its units; 0 of a count.
        error_rms: the root of the mean square of what they are off by is at most this.
        next_clips: k of its adaptive clips in the task's next round; empty where they are pinned.
    """

    name: str
    error_bound: float
    error_rms: float
    next_clips: tuple[int, ...]


@checked_class
class RoundRecord(Wire, frozen=True, kw_only=True):
    """What the ledger holds of a round: digests, counts and the sum of the commitments; at most 64 KiB.

    Attributes:
        version: of the record's format, 2.
        claim: what is proved of the result: ``sum``, that it is the exact sum of what the participants committed to;
            ``dp-sum``, the same of vectors with noise, see ``PrivateRecord``;
            ``attested``, nothing but that the operators have signed it.
        task, round, attempt: which round.
        context: digest of the RoundConfig.
        session: sid.
        cohort_size: |G|.
        participants: |S|.
        participants_root: root over S's ids and commitments, as its members signed it.
        commitment_sum: sum of the C_i, 6 or 8 kB.
        weight_limit: M, the round's largest weight.
        weight_sum: sum of the participants' weights.
        weights_lowered, weights_raised: how many of them count as the round's largest weight, or its least, because
            theirs are above or below; 0 where the policy keeps weights.
        error_bound: more than any value of the mean can be off by rounding, from the mean of the clipped updates; of
            several groups the largest.
        next_weight_limit: what the weight limit of the task's next round has to be; 0 where the policy keeps weights.
        start_model: digest of the model that the updates are relative to.
        result_model: digest of the weighted mean.
        previous_record: digest of the task's previous record, or zeros.
        evidence: SHA-256 of the evidence, which is stored under this name.
    """

    version: int
    claim: str
    task: str
    round: int
    attempt: int
    context: bytes
    session: bytes
    cohort_size: int
    participants: int
    participants_root: bytes
    commitment_sum: bytes
    weight_limit: int
    weight_sum: int
    weights_lowered: int
    weights_raised: int
    error_bound: float
    next_weight_limit: int
    start_model: bytes
    result_model: bytes
    previous_record: bytes
    evidence: bytes

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def norm_bound(self) -> float:
        """B in the units of the update: see ``BoundedRecord``; 0 where no norm is bounded."""
        return 0.0

    @property
    def norm_factor(self) -> int:
        """See ``BoundedRecord``; 0 where no norm is bounded."""
        return 0

    @property
    def groups(self) -> tuple[GroupRecord, ...]:
        """See ``GroupedRecord``; empty where there are no groups."""
        return ()

    @property
    def next_clips(self) -> tuple[int, ...]:
        """k of all adaptive clips of the task's next round, group by group."""
        return tuple(k for group in self.groups for k in group.next_clips)

    def __repr__(self) -> str:
        return (
            f"RoundRecord(task={self.task!r}, round={self.round}, attempt={self.attempt}, claim={self.claim!r}, "
            f"participants={self.participants} of {self.cohort_size}, result_model={self.result_model.hex()[:16]}…)"
        )

    def to_bytes(self) -> bytes:
        """The leaf."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> RoundRecord:
        """Decode strictly.

        Raises:
            VerificationError: not a canonical record of a known version, or above 64 KiB.
        """
        try:
            record = decode(RoundRecord, data, MAX_RECORD)
        except MalformedMessage as error:
            raise VerificationError(f"this is no round record: {error}") from error
        if record.version != RECORD_VERSION:
            raise VerificationError(f"record version {record.version} is not {RECORD_VERSION}")
        if record.claim not in CLAIMS:
            raise VerificationError(f"a record claims {record.claim!r}")
        if isinstance(record, PrivateRecord) != (record.claim == DP_SUM):
            raise VerificationError(f"a record that claims {record.claim!r} has other fields than such a one")
        return record

    @classmethod
    def form(cls, data: bytes | memoryview) -> type[RoundRecord]:
        """An array of so many fields: those of groups, of a norm bound, of privacy are there or not."""
        begins = bytes(data[:3])
        return next((kind for kind in _FORMS if begins == array_header(kind)), RoundRecord)

    def extended(
        self,
        *,
        groups: tuple[GroupRecord, ...] = (),
        norm: tuple[float, int] | None = None,
        privacy: PrivacyClaim | None = None,
    ) -> RoundRecord:
        """This record with what its round says of groups and of norms, or of privacy, which goes with neither."""
        fields = {name: getattr(self, name) for name in RoundRecord.__struct_fields__}
        if privacy:
            return PrivateRecord(
                **fields,
                mechanism=privacy.mechanism,
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                spent=privacy.spent,
                privacy=privacy.terms,
            )
        if groups and norm:
            return GroupedBoundedRecord(**fields, groups=groups, norm_bound=norm[0], norm_factor=norm[1])
        if groups:
            return GroupedRecord(**fields, groups=groups)
        return BoundedRecord(**fields, norm_bound=norm[0], norm_factor=norm[1]) if norm else self

    def digest(self) -> bytes:
        """32 bytes; the next record of the task names it."""
        return digest("round-record", self.to_bytes())


@checked_class
class BoundedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with a norm bound.

    Attributes:
        norm_bound: every participant's update has an L2 norm, after clipping, of at most this times weight / weight
            limit, before it is counted by its weight.
        norm_factor: how many times that the corrupt participants, each of them on average, can have together, in
            hundredths: the price of proofs that do not grow with the model. 0 where no such number is known.
    """

    norm_bound: float
    norm_factor: int


@checked_class
class GroupedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with groups.

    Attributes:
        groups: those of the round, in name order.
    """

    groups: tuple[GroupRecord, ...]


@checked_class
class GroupedBoundedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with groups and a norm bound: see ``GroupedRecord`` and ``BoundedRecord``."""

    groups: tuple[GroupRecord, ...]
    norm_bound: float
    norm_factor: int


@checked_class
class PrivateRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with differential privacy; its claim is ``dp-sum``.

    Attributes:
        mechanism: ``skellam``.
        epsilon: the task's budget, in millionths.
        delta: in 10^-12.
        spent: what this round and all that are numbered before it spend together, in millionths, of a client that has
            signed once in each, had all of them this round's policy: never more than the budget. Where an epoch has
            changed the noise an audit has the true sum.
        privacy: digest of the round's numbers, D("privacy", terms).
    """

    mechanism: str
    epsilon: int
    delta: int
    spent: int
    privacy: bytes


_FORMS: Final = (GroupedRecord, BoundedRecord, GroupedBoundedRecord, PrivateRecord)
