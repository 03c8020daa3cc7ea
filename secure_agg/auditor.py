"""Role *auditor*: anyone who checks a finished round from its evidence, against what they themselves have
pinned.

Clients check a result this way before they load it, the ledger before it appends, an operator or a stranger
afterwards. It takes about the time of one commitment, and one signature check per advertisement and signer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc.ring import Vector
from secure_agg import backends
from secure_agg.agreement import Participants
from secure_agg.codec import Arrays, FixedPoint, model_digest
from secure_agg.config import RoundConfig
from secure_agg.errors import (
    ConfigError,
    PolicyViolation,
    RemoteProtocolError,
    RoundAborted,
    TrustError,
    VerificationError,
)
from secure_agg.evidence import RECORD_VERSION, Evidence, RoundRecord
from secure_agg.messages import MAX_ADVERTISEMENT, NO_BULK, RECEIPT, Acceptance, Advertisement, decode, peek, read
from secure_agg.session import check_participants
from secure_agg.trust import Trust
from zk import aggregate
from zk.aggregate import AggregateError, AggregateStatement
from zk.commitment import Commitment


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Verified:
    """What a successful check returns.

    Attributes:
        record: the ledger's leaf for this round.
        pinned: what was compared with the verifier's own trust: ``policy``, ``roster``, ``operators``,
            ``log``, ``witnesses``; empty where the evidence was checked in itself only.
        average: the weighted mean that the evidence proves.
    """

    record: RoundRecord
    pinned: frozenset[str]
    average: Arrays


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class CheckedSum:
    """A sum that is what the participants committed to, and what it decodes to."""

    commitment: Commitment
    average: Arrays
    weight_sum: int


def check_sum(config: RoundConfig, participants: Participants, sums: Vector) -> CheckedSum:
    """The aggregate check and the codec's: X ‖ T is the exact sum, in range, and decodes to weights and means in range.

    Raises:
        VerificationError: it is not.
    """
    values, randomness = sums[: config.layout.committed], sums[config.layout.committed :]
    try:
        total = aggregate.check(
            AggregateStatement(config.commitment, participants.commitments, sums=values, randomness=randomness)
        )
    except AggregateError as error:
        raise VerificationError(str(error)) from error
    average, weight_sum = FixedPoint(config.policy).decode(values, len(participants.commitments), config.shapes)
    return CheckedSum(total, average, weight_sum)


class Auditor:
    """Checks evidence. Holds nothing secret and keeps no state."""

    def __init__(self, trust: Trust | None = None) -> None:
        """``trust`` is what this verifier has pinned; without it evidence is only checked in itself."""
        self.trust = trust

    def verify(self, evidence: Evidence, *, beacon: bytes | None = None) -> Verified:
        """Check everything about a round that can be checked from public data.

        Args:
            beacon: the public randomness that drew the cohort, as the verifier knows it.

        Raises:
            TrustError: the evidence contradicts what is pinned.
            VerificationError: anything else that is not as it must be; names phase and culprit where they
                are known.
        """
        config = evidence.config
        pinned = self.trust.check(config, beacon) if self.trust else frozenset[str]()
        try:
            backend = backends.load(config.policy.backend)
            backend.check_policy(config.policy)
            if bool(config.setup) != bool(backend.holders(config.policy)):
                raise PolicyViolation(f"backend {backend.name!r} has another set-up than the configuration says")
            participants = check_participants(
                config, evidence.cohort, evidence.advertisements, evidence.openings, evidence.agreement
            )
        except (RemoteProtocolError, RoundAborted) as error:
            raise VerificationError(str(error.args[0]), phase=error.phase, culprit=error.culprit) from error
        except ConfigError as error:
            raise VerificationError(str(error)) from error
        checked = check_sum(config, participants, evidence.sums)
        average = checked.average
        if model_digest(average) != evidence.result_model:
            raise VerificationError("the result's digest is not that of the mean that the sums decode to")
        record = RoundRecord(
            version=RECORD_VERSION,
            task=config.task,
            round=config.round,
            attempt=config.attempt,
            context=config.context,
            session=participants.session.sid,
            cohort_size=config.cohort_size,
            participants=len(evidence.openings),
            participants_root=participants.root,
            commitment_sum=checked.commitment.to_bytes(),
            weight_sum=checked.weight_sum,
            start_model=config.start_model,
            result_model=evidence.result_model,
            previous_record=config.previous_record,
            evidence=evidence.digest(),
        )
        return Verified(record, pinned, average)

    def show_exclusion(self, receipt: bytes, evidence: Evidence, *, beacon: bytes | None = None) -> str:
        """Check that the aggregator accepted a client's input and left the client out all the same.

        It shows the exclusion, not its motive: of two clients that disagree about their mask one has to
            stay out.

        Returns:
            The id of the client.

        Raises:
            TrustError: this auditor has pinned no operators.
            VerificationError: the receipt is not for this round or not signed by a pinned operator, or the
                client took part.
        """
        if self.trust is None or not len(self.trust.operators):
            raise TrustError("a receipt is checked against the pinned operators: there are none")
        sid = self.verify(evidence, beacon=beacon).record.session
        try:
            header = peek(receipt, MAX_ADVERTISEMENT)
            message = read(
                receipt,
                limit=MAX_ADVERTISEMENT,
                bulk_sizes=NO_BULK,
                session=sid,
                phase=RECEIPT,
                recipients=(header.recipient,),
                keys=dict(self.trust.operators),
            )
            accepted = decode(Acceptance, message.body, len(message.body), phase=RECEIPT, culprit=header.sender)
        except RemoteProtocolError as error:
            raise VerificationError(str(error.args[0]), phase=RECEIPT, culprit=error.culprit) from error
        hashes = {
            item.name: decode(Advertisement, item.body, MAX_ADVERTISEMENT).commitment_hash
            for item in evidence.advertisements
        }
        if header.recipient != accepted.name or hashes.get(accepted.name) != accepted.commitment_hash:
            raise VerificationError("the receipt is not for an input of this round", phase=RECEIPT)
        if accepted.name in evidence.participants:
            raise VerificationError(f"{accepted.name!r} took part: it was not left out", phase=RECEIPT)
        return accepted.name


def verify(evidence: Evidence, trust: Trust | None = None, *, beacon: bytes | None = None) -> Verified:
    """Check a round's evidence; see ``Auditor.verify``.

    Raises:
        VerificationError: the evidence does not prove its result, or contradicts ``trust``.
    """
    return Auditor(trust).verify(evidence, beacon=beacon)
