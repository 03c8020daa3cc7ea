"""Whether signatures make an epoch: pure checks, for the ledger, for auditors and for everybody who follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from secure_agg.errors import BadSignature, ConfigError, RoundAborted, VerificationError
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import (
    RESTART,
    EpochBody,
    EpochEvidence,
    EpochRecord,
    Record,
    accept_bytes,
    authorise_bytes,
)
from secure_agg.protocol.identity import is_id_order, verify_signature
from secure_agg.protocol.messages import Signature
from secure_agg.protocol.renunciation import RENOUNCE, Renouncers, Renunciation, RenunciationCertificate
from secure_agg.roles.epochs.change import check_change, new_keys
from secure_agg.roles.epochs.pins import authority, closing, opened_by_members
from secure_agg.roles.trust import Trust


def check_signed(trust: Trust, evidence: EpochEvidence) -> None:
    """Check a proposal as far as it has come: that it can follow, and each signature in it, but not their number.

    Raises:
        VerificationError: it does not follow, or somebody has signed who is not asked, or has not signed this.
        ConfigError: its rounds could not be.
    """
    check_change(trust, evidence.says)
    _check_authorisations(trust, evidence)
    _check_accepted(trust, evidence)


def _check_authorisations(trust: Trust, evidence: EpochEvidence) -> None:
    body = evidence.says
    voters, _ = authority(trust, body.task)
    message = authorise_bytes(body.task, body.previous_epoch, body.digest)
    _check_signatures(evidence.authorisations, voters, lambda _: message, "authorise")


def _check_accepted(trust: Trust, evidence: EpochEvidence) -> dict[str, bytes]:
    """The signatures of new keys; returns whose they have to be."""
    body = evidence.says
    wanted = new_keys(trust, body)
    said = body.digest  # of all keys: for each of thousands anew it would take hours

    def message(name: str) -> bytes:
        return accept_bytes(body.task, said, name, wanted[name])

    _check_signatures(evidence.acceptances, wanted, message, "accept")
    return wanted


def check_authority(trust: Trust, evidence: EpochEvidence) -> None:
    """Check that enough of those who may authorise this epoch have.

    Raises:
        VerificationError: fewer, a stranger, or a signature that does not verify.
    """
    body = evidence.says
    voters, least = authority(trust, body.task)
    _check_authorisations(trust, evidence)
    if len(evidence.authorisations) < least:
        who = "administrators" if trust.task(body.task).threshold else "owners"
        raise VerificationError(
            f"epoch {body.epoch} of task {body.task!r} is authorised by {len(evidence.authorisations)} of "
            f"{len(voters)} {who}, {least} are needed"
        )


def check_acceptances(trust: Trust, evidence: EpochEvidence) -> None:
    """Check that every new or rotated key has accepted.

    Raises:
        VerificationError: one has not, or a signature does not verify.
        ConfigError: one party has two new keys.
    """
    body, wanted = evidence.says, _check_accepted(trust, evidence)
    missing = sorted(set(wanted) - {item.name for item in evidence.acceptances})
    if missing:
        raise VerificationError(
            f"the key of {missing[0]!r} is new in epoch {body.epoch} of task {body.task!r}, and it has not accepted"
        )


def _check_signatures(
    signatures: Sequence[Signature], voters: Mapping[str, bytes], message: Callable[[str], bytes], what: str
) -> None:
    if not is_id_order([item.name for item in signatures]):
        raise VerificationError(f"signatures that {what} an epoch are not in id order, each once")
    for item in signatures:
        if item.name not in voters:
            raise VerificationError(f"{item.name!r} can't {what} this epoch")
        try:
            verify_signature(voters[item.name], item.signature, message(item.name), phase="", culprit=None)
        except BadSignature as error:  # whoever has put it there is not known
            raise VerificationError(f"{item.name!r} did not {what} this epoch: {error.args[0]}") from error


def ends(trust: Trust, body: EpochBody, last: Record | None, base_model: bytes = NO_DIGEST) -> Renunciation:
    """What the members of the epoch in force renounce when they close it for this one.

    Args:
        last: the task's newest record.
        base_model: digest of the arrays that the task has come to, where updates are differences from them.
    """
    renounced = last.renounced if isinstance(last, EpochRecord) else NO_DIGEST
    return Renunciation(
        task=body.task,
        epoch=body.epoch - 1,
        round=last.round + 1 if last else 0,
        draw=0,
        cohort_root=trust.task(body.task).roster.root(),
        start_model=last.result_model if last else NO_DIGEST,
        base_model=base_model,
        generation=last.generation if isinstance(last, EpochRecord) and renounced != NO_DIGEST else 0,
        successor=body.digest,
    )


def check_goes_on(trust: Trust, body: EpochBody, generation: int) -> None:
    """Refuse an epoch of which no round could be made. Where nobody closes for all, the next round is in the first
    generation of its model; whoever was admitted to a later one, by an epoch that has begun since the last result,
    joins no such round. After a result, which is a new model, the same epoch can begin.

    Args:
        generation: that updates of the task's model are in.

    Raises:
        VerificationError: it would be such an epoch.
    """
    pins = trust.task(body.task)
    closes = opened_by_members(pins.policy) and not pins.policy.cohort_size
    if generation and not closes and body.mode != RESTART:
        raise VerificationError(
            f"epoch {body.epoch} of task {body.task!r} would go on from a model whose updates are in generation "
            f"{generation}, and nobody can close that for all: a round of epoch {pins.epoch} comes first, or a new "
            "training"
        )


def check_ready(trust: Trust, evidence: EpochEvidence) -> None:
    """Check all of a proposal but its closure, which is what its members' nodes are asked for then.

    Raises:
        VerificationError: something is missing or wrong.
    """
    try:
        check_change(trust, evidence.says)
        check_authority(trust, evidence)
        check_acceptances(trust, evidence)
    except ConfigError as error:
        raise VerificationError(str(error.args[0])) from error


def check_evidence(trust: Trust, evidence: EpochEvidence) -> RenunciationCertificate | None:
    """Check all of an epoch but its place in the task: under the one before, authorised, accepted and closed.

    Args:
        trust: what is in force before it.

    Returns:
        The certificate that closes the epoch before; None where cohorts are drawn, and nobody can.

    Raises:
        VerificationError: something is not so.
    """
    check_ready(trust, evidence)
    return _check_closure(trust, evidence)


def _check_closure(trust: Trust, evidence: EpochEvidence) -> RenunciationCertificate | None:
    body = evidence.says
    voters, least = closing(trust, body.task)
    if not voters:
        if evidence.closure:
            raise VerificationError("an epoch of drawn cohorts is closed by nobody")
        return None
    if not evidence.closure:
        raise VerificationError(
            f"epoch {body.epoch - 1} of task {body.task!r} is not closed: authority without the members' nodes changes "
            "nothing"
        )
    certificate = RenunciationCertificate.from_bytes(evidence.closure)
    check_statement(trust, body, certificate.statement)
    try:
        certificate.check(Renouncers(voters, least))
    except (RoundAborted, BadSignature) as error:
        raise VerificationError(
            f"epoch {body.epoch - 1} of task {body.task!r} is not closed: {error.args[0]}", phase=RENOUNCE
        ) from error
    return certificate


def check_statement(trust: Trust, body: EpochBody, said: Renunciation) -> None:
    """Check that a renunciation closes the epoch in force for this body, wherever the task is.

    Raises:
        VerificationError: it does not.
    """
    found = (said.task, said.epoch, said.draw, said.cohort_root, said.successor)
    if found != (body.task, body.epoch - 1, 0, trust.task(body.task).roster.root(), body.digest):
        raise VerificationError(
            f"what is renounced is epoch {said.epoch} of task {said.task!r} for "
            f"{said.successor.hex()[:16] or 'none'}…, and not epoch {body.epoch - 1} of task {body.task!r} for "
            f"{body.digest.hex()[:16]}…",
            phase=RENOUNCE,
        )


def record_of(
    trust: Trust,
    evidence: EpochEvidence,
    certificate: RenunciationCertificate | None,
    previous_record: bytes,
    rounds: int,
    start_model: bytes,
) -> EpochRecord:
    """The leaf of an epoch.

    Args:
        trust: what is in force before it.
        evidence: checked.
        certificate: from ``check_evidence``.
        previous_record, rounds, start_model: what the task's last record says: see ``EpochRecord``.
    """
    body = evidence.says
    policy, restarts = body.policy, body.mode == RESTART
    said = certificate.statement if certificate else None
    # What nobody has closed for all goes on in its generation, and whoever has given something sits out.
    goes_on = not restarts and opened_by_members(trust.task(body.task).policy)
    base = said.base_model if said else NO_DIGEST
    return EpochRecord(
        task=body.task,
        epoch=body.epoch,
        previous_record=previous_record,
        previous_epoch=body.previous_epoch,
        body=body.digest,
        rounds=rounds,
        generation=said.generation + 1 if said and goes_on else 0,
        renounced=certificate.digest() if certificate and goes_on else NO_DIGEST,
        start_model=body.start_model if restarts else start_model,
        base_model=body.base_model if restarts else base,
        next_weight_limit=policy.first_weight if policy.weight_scale else 0,
        evidence=evidence.digest(),
    )


def verify_epoch(trust: Trust, evidence: EpochEvidence, last: Record | None) -> EpochRecord:
    """Check an epoch under the one before, and at its place.

    Args:
        trust: what is in force before it.
        evidence: of the epoch.
        last: the task's newest record; None before the first.

    Returns:
        The ledger's leaf for it.

    Raises:
        VerificationError: it is not authorised, accepted or closed as it must be, or does not follow.
    """
    certificate = check_evidence(trust, evidence)
    if certificate:
        said = certificate.statement
        here = ends(trust, evidence.says, last, said.base_model)
        if said.generation < here.generation or said != replace(here, generation=said.generation):
            raise VerificationError(
                f"what was closed ends at round {said.round}, from {said.start_model.hex()[:16]}…, and the task is at "
                f"round {here.round}, from {here.start_model.hex()[:16]}…",
                phase=RENOUNCE,
            )
    start = last.result_model if last else NO_DIGEST
    previous, rounds = (last.digest(), last.round + 1) if last else (NO_DIGEST, 0)
    return record_of(trust, evidence, certificate, previous, rounds, start)


def missing(trust: Trust, evidence: EpochEvidence) -> dict[str, list[str]]:
    """Who could still sign: ids by what is asked of them. What is there has to be checked before."""
    body = evidence.says
    voters, least = authority(trust, body.task)
    authorised = {item.name for item in evidence.authorisations}
    return {
        "authorise": [name for name in voters if name not in authorised] if len(authorised) < least else [],
        "accept": sorted(set(new_keys(trust, body)) - {item.name for item in evidence.acceptances}),
    }


def merged(proposals: Sequence[EpochEvidence]) -> EpochEvidence:
    """One proposal with the signatures of several of one body.

    Raises:
        ConfigError: they are of different bodies, or there is none.
    """
    if len({item.body for item in proposals}) != 1:
        raise ConfigError(f"{len(proposals)} proposals are of {len({item.body for item in proposals})} bodies, not one")

    def union(kind: str) -> tuple[Signature, ...]:
        found = {item.name: item for proposal in proposals for item in getattr(proposal, kind)}
        return tuple(sorted(found.values(), key=lambda item: item.name.encode()))

    closure = max((item.closure for item in proposals), key=len)
    return EpochEvidence(
        body=proposals[0].body,
        authorisations=union("authorisations"),
        acceptances=union("acceptances"),
        closure=closure,
    )
