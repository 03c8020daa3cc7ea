"""Proofs of fault that do not depend on the backend, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from secure_agg import backends
from secure_agg.backends.contract import PhaseKind, session_id
from secure_agg.errors import (
    BadCommitment,
    BadNormProof,
    BadSignature,
    ConfigError,
    RemoteProtocolError,
    VerificationError,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.epoch import Authorised
from secure_agg.protocol.fault import BAD_NORM_PROOF, TWO_ADVERTISEMENTS, FaultProof
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import (
    ADVERTISE,
    NO_BULK,
    AdvertisementList,
    HiddenInput,
    Received,
    decode,
    header_limit,
    public_limit,
    read,
    signed_bytes,
)
from secure_agg.protocol.norm.checks import check_opening, check_proof
from secure_agg.protocol.norm.wire import BoundedInput, SketchedOpening, proof_digest, response_header_limit
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse.opening import read_exhibit
from secure_agg.roles.tree.faults import EDGE_COMMITMENT, EDGE_SEAL, check_edge_commitment, check_edge_seal
from zk.commitment import Commitment

_MAX_AUTHORISED: Final = 1 << 10


def check_common(proof: FaultProof, config: RoundConfig) -> bool:
    """Check a proof of a fault that every backend has.

    Returns:
        False where the kind is a backend's own: nothing was checked then.

    Raises:
        VerificationError: it proves nothing.
    """
    found = _CHECKS.get(proof.kind)
    if found is None:
        return False
    check, exhibits = found
    if proof.setup:
        raise VerificationError(f"a proof of kind {proof.kind!r} needs no set-up")
    if len(proof.exhibits) != exhibits:
        raise VerificationError(f"{len(proof.exhibits)} exhibits, not {exhibits}")
    try:
        check(proof, config)
    except RemoteProtocolError as error:
        raise VerificationError(f"an exhibit is none: {error.args[0]}") from error
    return True


def _check_two_advertisements(proof: FaultProof, config: RoundConfig) -> None:
    """A client that keeps its attempt store sends one advertisement for one configuration, however often it starts."""
    bodies = {
        read(
            exhibit,
            limit=header_limit(config.cohort_size),
            bulk_sizes=NO_BULK,
            session=config.context,
            phase=ADVERTISE,
            recipients=("",),
            keys={proof.culprit: proof.public},
        ).body
        for exhibit in proof.exhibits
    }
    if len(bodies) != 2:
        raise VerificationError("the two advertisements are one")


def _check_bad_norm_proof(proof: FaultProof, config: RoundConfig) -> None:
    """A client signs an input in the session of its advertisements with a proof of its norm, or does not follow the
    protocol. Its hidden vector has nothing to do with it, and is not exhibited.
    """
    try:
        backend = backends.load(config.policy.backend)
        backend.check_policy(config.policy)
    except ConfigError as error:
        raise VerificationError(str(error)) from error
    if config.policy.norm is None:
        raise VerificationError("no norm is bounded in this round")
    message, listed = proof.exhibits
    if backend.is_sparse(config):
        sid = read_exhibit(config, listed).sid
    else:
        limit = public_limit(config.cohort_size)
        sid = session_id(config, decode(AdvertisementList, listed, limit).advertisements)
    received = Received.of(message, response_header_limit(config))
    header = received.header
    phases = {phase.name for phase in backend.phases(config) if phase.kind is PhaseKind.INPUT}
    awaited = (sid, proof.culprit)
    if (header.session, header.sender) != awaited or header.phase not in phases or len(received.bulk):
        raise VerificationError("the message is no input of the culprit in this session, without its bulk")
    signed = signed_bytes(
        header.session, header.phase, header.sender, header.recipient, header.body, header.bulk_digest
    )
    verify_signature(proof.public, header.signature, signed, phase=header.phase, culprit=proof.culprit)
    body = decode(HiddenInput, header.body, len(header.body))
    bounded = decode(BoundedInput, body.backend, len(body.backend))
    try:
        commitment = Commitment.from_bytes(body.commitment, config.commitment.rank)
    except ValueError as error:
        raise VerificationError(f"the input has no commitment that a proof could be of: {error}") from error
    session = Session(config, header.session, (proof.culprit,), {proof.culprit: proof.public}, {}, {}, {}, {})
    opening = SketchedOpening(
        proof.culprit, body.commitment, body.nonce, bounded.sketch, proof_digest(bounded.proof), bounded.signature
    )
    try:
        sketch = check_opening(session, opening)
        if sketch is not None:
            check_proof(session, opening, commitment, sketch, bounded.proof)
    except (BadNormProof, BadCommitment, BadSignature):
        return
    raise VerificationError("the norm's proof is one")


def check_two_epochs(proof: FaultProof) -> str:
    """Check that somebody authorised two successors of one epoch: whoever keeps its store authorises one.

    Returns:
        The task.

    Raises:
        VerificationError: it proves nothing.
    """
    if proof.config or proof.setup or len(proof.exhibits) != 2:
        raise VerificationError("a proof about an epoch has two exhibits, and is of no round")
    try:
        first, second = (decode(Authorised, exhibit, _MAX_AUTHORISED) for exhibit in proof.exhibits)
        for said in (first, second):
            verify_signature(proof.public, said.signature, said.signed_bytes, phase="", culprit=proof.culprit)
    except RemoteProtocolError as error:
        raise VerificationError(f"an exhibit is none: {error.args[0]}") from error
    if (first.task, first.previous_epoch) != (second.task, second.previous_epoch):
        raise VerificationError("the two epochs that were authorised follow on different ones")
    if first.body == second.body:
        raise VerificationError("the two epochs that were authorised are one")
    return first.task


_CHECKS: Final[dict[str, tuple[Callable[[FaultProof, RoundConfig], None], int]]] = {
    TWO_ADVERTISEMENTS: (_check_two_advertisements, 2),
    BAD_NORM_PROOF: (_check_bad_norm_proof, 2),
    EDGE_SEAL: (check_edge_seal, 2),
    EDGE_COMMITMENT: (check_edge_commitment, 3),
}
"""By kind: the check, and the number of exhibits."""
