"""Sums: what one is checked by, what a check finds, and the ledger's leaf for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mpc.ring import Vector
from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.errors import (
    BadSignature,
    VerificationError,
)
from secure_agg.executing import IN_PROCESS, Executor, vectors
from secure_agg.protocol.agreement import attested_bytes
from secure_agg.protocol.claims import Finding, finding_of
from secure_agg.protocol.codec import Arrays, FixedPoint, GroupError, PrivateCodec, codec_of
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases, base_of
from secure_agg.protocol.evidence import RECORD_VERSION, Evidence, GroupRecord, RoundRecord
from secure_agg.protocol.identity import in_id_order, verify_signature
from secure_agg.protocol.messages import (
    RESULT,
    Signature,
)
from secure_agg.protocol.norm.checks import check_total
from secure_agg.protocol.norm.claim import NormClaim
from secure_agg.protocol.privacy.claim import PrivacyClaim
from secure_agg.protocol.session import Participants
from zk import aggregate, commitment
from zk.aggregate import AggregateError, AggregateStatement
from zk.commitment import Commitment


@checked_class
@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Verified:
    """What a successful check returns.

    Attributes:
        record: the ledger's leaf for this round.
        pinned: what was compared with the verifier's own trust: ``policy``, ``roster``, ``operators``,
            ``log``, ``witnesses``; empty where the evidence was checked in itself only.
        average: the weighted mean that the evidence proves.
        commitments: of the participants, encoded, by id.
        proofs: how many norm proofs were checked here: those of all participants, or fewer where the others were not at
            hand, which the aggregator has checked before. 0 where no norm is bounded.
        bases: of a buffered round, the oldest first; the newest is the model that the round's mean moves.
        based: number of the base that each participant's update is a difference from, by id; empty likewise.
    """

    record: RoundRecord
    pinned: frozenset[str]
    average: Arrays
    commitments: Mapping[str, bytes]
    proofs: int = 0
    bases: Bases = ()
    based: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        record = self.record
        return (
            f"Verified(task={record.task!r}, round={record.round}, claim={record.claim!r}, "
            f"participants={record.participants}, pinned={sorted(self.pinned)})"
        )

    @property
    def finding(self) -> Finding:
        """What this proves, and what it does not; it follows the record's claim."""
        return finding_of(self.record.claim, pinned=bool(self.pinned))

    @property
    def norm(self) -> NormClaim | None:
        """What the record says of norms; None where none is bounded."""
        return NormClaim.of_record(self.record)

    @property
    def norm_text(self) -> str:
        """What is known of the participants' norms, for people; empty where none is bounded."""
        if self.norm is None:
            return ""
        seen, all_of = self.proofs, self.record.participants
        checked = "all proofs were checked" if seen == all_of else f"{seen} of {all_of} proofs were seen and checked"
        return f"{self.norm.text}; {checked}"


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class CheckedSum:
    """A sum that is what the participants committed to, and what it decodes to: see ``RoundRecord``."""

    commitment: Commitment
    average: Arrays
    weight_sum: int
    weights_lowered: int
    weights_raised: int
    error_bound: float
    errors: tuple[GroupError, ...] = ()
    next_clips: tuple[tuple[int, ...], ...] = ()


def check_sum(
    config: RoundConfig,
    participants: Participants,
    sums: Vector,
    executor: Executor = IN_PROCESS,
    *,
    clients: int | None = None,
) -> CheckedSum:
    """The aggregate check and the codec's: X ‖ T is the exact sum, in range, and decodes to weights and means in range;
    and where a norm is bounded, that what was proved to be short is what was summed.

    Args:
        executor: hashes and decodes the sum, shard by shard.
        clients: how many vectors are summed: by default one of each participant; where these are edges, of all their
            participants.

    Raises:
        VerificationError: it is not.
    """
    layout = config.layout
    values, randomness = sums[: layout.committed], sums[layout.committed : layout.committed + layout.randomness]
    rule = backends.load(config.policy.backend).result(config.policy)
    n = len(participants.commitments) if clients is None else clients
    try:
        total = aggregate.check(
            AggregateStatement(
                config.commitment, rule.largest, participants.commitments, values, randomness, n, rule.ranges(config)
            ),
            functools.partial(vectors.commit, executor, config.context),
        )
    except AggregateError as error:
        raise VerificationError(str(error)) from error
    check_total(participants.session, participants.sketches, sums)
    codec = codec_of(config)
    average, weight_sum = codec.decode(values, n, config.shapes, executor, config.context)
    return _checked(codec, total, average, weight_sum, values, n)


def _checked(
    codec: FixedPoint | PrivateCodec, total: Commitment, average: Arrays, weight_sum: int, values: Vector, n: int
) -> CheckedSum:
    bound, errors = codec.error_bound(n, weight_sum), codec.errors(n, weight_sum)
    return CheckedSum(total, average, weight_sum, *codec.limited(values), bound, errors, codec.next_clips(values, n))


def check_attested(
    config: RoundConfig, participants: Participants, sums: Vector, attestation: Sequence[Signature]
) -> CheckedSum:
    """A result that is no sum: all operators have signed it, and it decodes to something in range. No more is known.

    Raises:
        VerificationError: it is not so.
    """
    session = participants.session
    if [item.name for item in attestation] != in_id_order(session.signers):
        raise VerificationError("the result is not attested by all operators, in id order, each once")
    message = attested_bytes(session.sid, participants.root, sums)
    for item in attestation:
        try:
            verify_signature(session.signers[item.name], item.signature, message, phase=RESULT, culprit=item.name)
        except BadSignature as error:  # anybody can have put it there
            raise VerificationError(
                f"{item.name!r} did not attest the result: {error.args[0]}", phase=RESULT
            ) from error
    values, rest = sums[: config.layout.committed], sums[config.layout.committed :]
    rule = backends.load(config.policy.backend).result(config.policy)
    addends = rule.addends(len(participants.openings))
    first = 0
    for length, largest in rule.ranges(config):
        if int(values[first : first + length].max(initial=0)) > addends * largest:
            raise VerificationError("an attested result is out of range")
        first += length
    if rest.any():
        raise VerificationError("an attested result is out of range")
    codec = codec_of(config)
    average, weight_sum = codec.decode(values, addends, config.shapes)
    total = commitment.add(list(participants.commitments))
    return _checked(codec, total, average, weight_sum, values, addends)


def based_on(participants: Participants) -> dict[str, int]:
    """Of a buffered round, the number of the base that each participant's update is a difference from, by id."""
    session = participants.session
    shares = backends.load(session.config.policy.backend).shares
    if shares is None or not session.bases:
        return {}
    found = {}
    for opening in participants.openings:
        base = base_of(session.bases, shares.base_in(session.config, session.parts[opening.name]))
        if base is None:
            raise VerificationError(f"the update of {opening.name!r} is a difference from none of the round's bases")
        found[opening.name] = base.number
    return found


def record_of(
    evidence: Evidence,
    participants: Participants,
    checked: CheckedSum,
    *,
    claim: str,
    digest: bytes,
    clients: tuple[int, int] | None = None,
) -> RoundRecord:
    """The ledger's leaf of a round that was checked.

    Args:
        digest: that its evidence is stored under.
        clients: |G| and |S|: by default those of this round; of a tree's top those of all its edges.
    """
    config = evidence.config
    invited, summed = clients or (config.cohort_size, len(evidence.openings))
    record = RoundRecord(
        version=RECORD_VERSION,
        claim=claim,
        task=config.task,
        round=config.round,
        attempt=config.attempt,
        context=config.context,
        session=participants.session.sid,
        cohort_size=invited,
        participants=summed,
        participants_root=participants.root,
        commitment_sum=checked.commitment.to_bytes(),
        weight_limit=config.weight_limit,
        weight_sum=checked.weight_sum,
        weights_lowered=checked.weights_lowered,
        weights_raised=checked.weights_raised,
        error_bound=checked.error_bound,
        next_weight_limit=config.policy.next_weight_limit(summed, checked.weight_sum),
        start_model=config.start_model,
        result_model=evidence.result_model,
        previous_record=config.previous_record,
        evidence=digest,
    )
    groups = zip(checked.errors, checked.next_clips, strict=True) if config.policy.groups else ()
    said = tuple(GroupRecord(error.name, error.bound, error.rms, clips) for error, clips in groups)
    norm = NormClaim.of(config)
    return record.extended(
        groups=said, norm=(norm.bound, norm.factor) if norm else None, privacy=PrivacyClaim.of(config)
    )
