"""Two successors of one epoch: whoever has authorised both is at fault, and anybody can be shown."""

from __future__ import annotations

from secure_agg.protocol.epoch import Authorised, EpochEvidence
from secure_agg.protocol.fault import TWO_EPOCHS, FaultProof
from secure_agg.protocol.messages import encode
from secure_agg.roles.epochs.checking import check_authority
from secure_agg.roles.epochs.pins import authority
from secure_agg.roles.trust import Trust


def two_epochs(trust: Trust, first: EpochEvidence, second: EpochEvidence) -> tuple[FaultProof, ...]:
    """Proofs of fault against everybody who has authorised both: more than f where both have a quorum.

    Args:
        trust: what is in force in the epoch that both follow.

    Returns:
        In id order; none where they are one epoch.

    Raises:
        VerificationError: one of them is not authorised.
    """
    bodies = [first.says, second.says]
    if bodies[0].digest == bodies[1].digest or bodies[0].previous_epoch != bodies[1].previous_epoch:
        return ()
    for evidence in (first, second):
        check_authority(trust, evidence)
    voters, _ = authority(trust, bodies[0].task)
    signed = [{item.name: item.signature for item in evidence.authorisations} for evidence in (first, second)]

    def exhibit(which: int, name: str) -> bytes:
        body = bodies[which]
        return encode(Authorised(body.task, body.previous_epoch, body.digest, signed[which][name]))

    return tuple(
        FaultProof(
            kind=TWO_EPOCHS,
            culprit=name,
            public=voters[name],
            config=b"",
            setup=b"",
            exhibits=(exhibit(0, name), exhibit(1, name)),
        )
        for name in voters
        if name in signed[0] and name in signed[1]
    )
