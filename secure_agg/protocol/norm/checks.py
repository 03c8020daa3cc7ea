"""Checks of a client's sketch and proof, and of the sum: the same for aggregator, key holder, client and auditor.

A proof that does not verify is its sender's fault, since it has signed the proof's hash; so is a sketch's commitment
that is none. That the sketches are of the vectors only the sum shows, and if it does not nobody can be named.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpc.ring import Vector
from secure_agg.errors import BadCommitment, BadNormProof, MalformedMessage, VerificationError
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import Opening
from secure_agg.protocol.norm.wire import SketchedOpening, proof_digest, signed_sketch
from secure_agg.protocol.session import Session
from zk.commitment import Commitment
from zk.norm import total
from zk.norm.bound import NormBound
from zk.norm.commitment import SketchCommitment
from zk.norm.sketch import sketch_key
from zk.norm.statement import NormProofError, NormStatement
from zk.norm.total import SketchSum, SketchSumError
from zk.norm.verifier import verify
from zk.parameters import sketch_rank


def _rank(bound: NormBound) -> int:
    return sketch_rank(bound.clients)


def check_opening(session: Session, opening: Opening, *, phase: str = "") -> SketchCommitment | None:
    """Decode the sketch's commitment of an opening and check that its client has signed it in this session.

    Returns:
        C'_i; None where no norm is bounded.

    Raises:
        MalformedMessage: there is one where no norm is bounded, or none where one is.
        BadCommitment: it is none, or not of this bound.
        BadSignature: the client has not signed it, with the proof's hash, in this session.
    """
    bound, name = session.config.norm_bound, opening.name
    if isinstance(opening, SketchedOpening) != (bound is not None):
        raise MalformedMessage("an input has a norm's proof exactly where a norm is bounded", phase=phase, culprit=name)
    if bound is None or not isinstance(opening, SketchedOpening):
        return None
    if len(opening.proof) != 32:
        raise MalformedMessage("the hash of a norm's proof is no digest", phase=phase, culprit=name)
    try:
        found = SketchCommitment.from_bytes(opening.sketch, _rank(bound), bound.side)
    except ValueError as error:
        raise BadCommitment(str(error), phase=phase, culprit=name) from error
    signed = signed_sketch(session.sid, name, opening.sketch, opening.proof)
    verify_signature(session.keys[name], opening.signature, signed, phase=phase, culprit=name)
    return found


def statement(session: Session, name: str, commitment: Commitment, sketch: SketchCommitment) -> NormStatement:
    """What a client proves in a round with a norm bound.

    Raises:
        VerificationError: no norm is bounded.
    """
    bound = session.config.norm_bound
    if bound is None:
        raise VerificationError("no norm is bounded in this round")
    return NormStatement(session.config.context, session.sid, name, commitment, sketch, bound)


def check_proof(
    session: Session,
    opening: Opening,
    commitment: Commitment,
    sketch: SketchCommitment,
    proof: bytes | memoryview,
    *,
    phase: str = "",
) -> None:
    """Check a client's proof, some milliseconds, whatever the model's size.

    Raises:
        BadNormProof: it is not the one that the client has signed, or proves nothing. Names the client.
    """
    name = opening.name
    if not isinstance(opening, SketchedOpening) or proof_digest(bytes(proof)) != opening.proof:
        raise BadNormProof("a norm's proof is not the one that was signed", phase=phase, culprit=name)
    try:
        verify(statement(session, name, commitment, sketch), proof)
    except NormProofError as error:
        raise BadNormProof(str(error), phase=phase, culprit=name) from error


def check_total(session: Session, sketches: Sequence[SketchCommitment], sums: Vector) -> None:
    """Check that what was sketched is what was summed.

    Args:
        sketches: C'_i of S.
        sums: X ‖ T ‖ T'.

    Raises:
        VerificationError: the sketches do not add up to that of the sum.
    """
    config = session.config
    bound, layout = config.norm_bound, config.layout
    if bound is None:
        return
    try:
        total.check(
            SketchSum(
                bound,
                sketch_key(session.sid),
                tuple(sketches),
                sums[: layout.bounded],
                config.policy.half,
                sums[layout.values : layout.committed],
                sums[layout.committed + layout.randomness :],
            )
        )
    except SketchSumError as error:
        raise VerificationError(f"norms are not what was proved: {error}") from error
