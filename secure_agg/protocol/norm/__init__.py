"""What a norm bound adds to a round: a sketch's commitment and a proof with every input, and how both are checked.

* ``wire``: what a client sends, what the evidence keeps of it, and what the client signs.
* ``checks``: of one client's sketch and proof, and of the sum.
"""

from secure_agg.protocol.norm.checks import NormClaim, check_opening, check_proof, check_total, statement
from secure_agg.protocol.norm.wire import (
    MAX_PROOF,
    BoundedInput,
    SketchedOpening,
    opening_kind,
    proof_digest,
    response_header_limit,
    signed_sketch,
)

__all__ = [
    "MAX_PROOF",
    "BoundedInput",
    "NormClaim",
    "SketchedOpening",
    "check_opening",
    "check_proof",
    "check_total",
    "opening_kind",
    "proof_digest",
    "response_header_limit",
    "signed_sketch",
    "statement",
]
