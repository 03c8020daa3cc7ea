"""Records and trust as plain JSON types: the same words in every command."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import Any, Final

from secure_agg.cli.terminal.output import utc
from secure_agg.ledger.checkpoint_time import CheckpointTime
from secure_agg.privacy.accounting import BEYOND, DELTA_UNIT, EPSILON_UNIT
from secure_agg.privacy.mechanism import RATIO_UNIT
from secure_agg.protocol.claims import VERIFIED, Finding, words
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.norm.claim import NormClaim
from secure_agg.protocol.privacy.claim import PrivacyClaim, in_words
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.auditor import Verified

PINS: Final = ("policy", "roster", "beacon", "operators", "log", "witnesses")
"""What a verifier can hold itself, in the order it is shown."""


def record_document(record: RoundRecord) -> dict[str, Any]:
    """Every field of a record; bytes in hex, the sum of the commitments (kilobytes) by its size only."""
    document: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name == "commitment_sum":
            document["commitment_sum_bytes"] = len(value)
        else:
            document[name] = value.hex() if isinstance(value, bytes) else value
    return document | {"digest": record.digest().hex()}


def round_document(record: RoundRecord, evidence: Evidence) -> dict[str, Any]:
    """A record with the names and the policy that stand in its evidence."""
    taking_part = set(evidence.participants)
    said = PrivacyClaim.of(evidence.config)
    return {
        "claim": record.claim,
        **({"privacy": said.text} if said else {}),
        "record": record_document(record),
        "participants": list(evidence.participants),
        "left_out": [member.name for member in evidence.cohort if member.name not in taking_part],
        "signers": [signature.name for signature in evidence.agreement],
        "policy": evidence.config.policy.document(),
        "parameters": evidence.config.layout.parameters,
        **generation_document(evidence),
    }


def generation_document(evidence: Evidence) -> dict[str, Any]:
    """Of a later generation which it is, and who has renounced the one before; nothing of a first."""
    if not evidence.config.generation:
        return {}
    signatures = RenunciationCertificate.from_bytes(evidence.renounced).signatures
    return {
        "generation": evidence.config.generation,
        "renounced_by": [signature.name for signature in signatures],
    }


def round_fields(record: RoundRecord, evidence: Evidence) -> dict[str, str]:
    """What ``round_document`` says, for people."""
    document = round_document(record, evidence)
    limited = f"; {record.weights_lowered} counted as {record.weight_limit}, {record.weights_raised} as the least"
    return {
        "task": record.task,
        "round": f"{record.round} (attempt {record.attempt})",
        "claim": words(record.claim),
        "backend": evidence.config.policy.backend,
        "participants": f"{record.participants} of {record.cohort_size}: {', '.join(document['participants'])}",
        "left_out": ", ".join(document["left_out"]) or "nobody",
        "weight_sum": f"{record.weight_sum}{limited if record.weights_lowered or record.weights_raised else ''}",
        "error_bound": f"{record.error_bound:.3g}: rounding moves no value by more",
        **({"norm_bound": claim.text} if (claim := NormClaim.of_record(record)) else {}),
        **({"privacy": document["privacy"]} if "privacy" in document else {}),
        "parameters": str(document["parameters"]),
        **(
            {"generation": f"{document['generation']}: {len(document['renounced_by'])} have renounced the one before"}
            if "generation" in document
            else {}
        ),
        "start_model": record.start_model.hex(),
        "result_model": record.result_model.hex(),
        "digest": record.digest().hex(),
    }


def bases_document(verified: Verified) -> dict[str, Any] | None:
    """What the updates of a buffered round are differences from; None of another round."""
    if not verified.bases:
        return None
    return {
        "bases": [
            {"number": base.number, "record": base.record.hex(), "model": base.model.hex()} for base in verified.bases
        ],
        "based": dict(verified.based),
    }


def bases_text(verified: Verified) -> str:
    """The same for people: how many updates are from which base."""
    counts = {base.number: sum(number == base.number for number in verified.based.values()) for base in verified.bases}
    said = ", ".join(f"{count} from base {number}" for number, count in counts.items())
    newest = verified.bases[-1]
    return f"{said}; base {newest.number} is {newest.model.hex()[:16]}…, which the mean moves by what weights say"


def norm_document(verified: Verified) -> dict[str, Any] | None:
    """What is known of the participants' norms, and how many of the proofs of it were checked; None where none is
    bounded.
    """
    claim = verified.norm
    if claim is None:
        return None
    return {
        "bound": claim.bound,
        "factor": claim.factor / 100 or None,
        "proofs": verified.record.participants,
        "proofs_checked": verified.proofs,
        "text": verified.norm_text,
    }


def time_document(time: CheckpointTime) -> dict[str, Any]:
    """When a record came under a checkpoint: POSIX seconds, and whose clock they are of."""
    return {
        "size": time.size,
        "signed": time.signed,
        "signed_by_clock_of": "the ledger, unsigned",
        "witnessed_size": time.witnessed_size,
        "witnessed": dict(time.witnessed),
    }


def time_fields(time: CheckpointTime) -> dict[str, str]:
    """The same for people."""
    signed = "at a time that is lost" if time.signed is None else utc(time.signed)
    seen = ", ".join(f"{name} at {utc(seconds)}" for name, seconds in time.witnessed.items())
    return {
        "signed": f"{signed} in the checkpoint of size {time.size}, by the ledger's own clock, unsigned",
        "witnessed": f"{seen}, each by its own clock, in the checkpoint of size {time.witnessed_size}"
        if seen
        else "by nobody yet",
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """What a verification has come to. ``verified`` is true of what was proved against the verifier's own pins only."""
    return {
        "outcome": finding.word,
        "verified": finding.word == VERIFIED,
        "proved": finding.proved,
        "not_proved": finding.not_proved,
    }


def finding_fields(finding: Finding) -> dict[str, str]:
    """The same for people, in two lines."""
    return {"proved": finding.proved, "not_proved": finding.not_proved}


def in_order(pinned: Collection[str]) -> list[str]:
    """What was compared with the verifier's own trust, in the order of ``PINS``."""
    return [name for name in PINS if name in pinned]


_SHARES: Final = (Fraction(8, 10), Fraction(5, 10), Fraction(1, 10))
"""Of the clients that are counted on, for what is said of fewer."""


def privacy_document(rule: PrivacyRule, norm: float) -> dict[str, Any]:
    """What a policy says of privacy, and what it comes to if fewer clients are honest than it counts on."""
    rounds = rule.rounds
    fewer = {f"{float(share):g}": rule.spent_if(share, rounds) for share in _SHARES}
    text = (
        f"epsilon = {in_words(rule.epsilon)} at delta = {rule.delta / DELTA_UNIT:g} over {rounds} rounds of updates of "
        f"norm {norm:g}, by {rule.name} noise of {rule.honest} honest clients; if only half of them add theirs, "
        f"epsilon = {in_words(fewer['0.5'])}"
    )
    return {
        "mechanism": rule.name,
        "epsilon": rule.epsilon / EPSILON_UNIT,
        "delta": rule.delta / DELTA_UNIT,
        "norm": norm,
        "rounds": rounds,
        "honest": rule.honest,
        "noise_ratio": rule.ratio / RATIO_UNIT,
        "epsilon_if_share": {name: None if found >= BEYOND else found / EPSILON_UNIT for name, found in fewer.items()},
        "text": text,
    }
