"""Messages and parts of the evidence that only rounds with a norm bound have.

What a client sends beside its input is inside the backend's part of it, so that rounds without a bound are as they
were. The proof itself is no part of the evidence: the client has signed its hash, and whoever wants to check it asks
for what has this hash.
"""

from __future__ import annotations

import hashlib
from typing import Final

from mpc.framing import frame
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import Opening, Wire, header_limit
from zk.transcript import digest

MAX_PROOF: Final = 1 << 17
"""Most bytes of a proof; one has 80 to 100 kB."""
_MAX_PART: Final = MAX_PROOF + (1 << 14)
"""Most bytes that a bound adds to an input's header."""


class BoundedInput(Wire, frozen=True):
    """Stands in ``HiddenInput.backend`` where a norm is bounded.

    Attributes:
        sketch: C'_i.
        proof: π_i.
        signature: by the client, of C'_i and the proof's hash: see ``signed_sketch``.
        backend: the backend's part.
    """

    sketch: bytes
    proof: bytes
    signature: bytes
    backend: bytes


class SketchedOpening(Opening, frozen=True, gc=False):
    """An opening of a round with a norm bound.

    Attributes:
        sketch: C'_i.
        proof: SHA-256 of π_i.
        signature: of both, by the client.
    """

    sketch: bytes
    proof: bytes
    signature: bytes


def opening_kind(config: RoundConfig) -> type[Opening]:
    """What openings are in a round."""
    return SketchedOpening if config.policy.norm else Opening


def proof_digest(proof: bytes) -> bytes:
    """SHA-256, which a proof is signed and stored under."""
    return hashlib.sha256(proof).digest()


def signed_sketch(session: bytes, name: str, sketch: bytes, proof: bytes) -> bytes:
    """What a client signs of its C'_i and of its proof, by the proof's hash: in this session only."""
    return frame("sketch", session, name.encode(), sketch, proof)


def sketch_digest(sketch: bytes, proof: bytes) -> bytes:
    """What C'_i and the proof's hash are known by where inputs are listed."""
    return digest("screened-sketch", sketch, proof)


def response_header_limit(config: RoundConfig) -> int:
    """Most bytes of the header of any response in a round."""
    return header_limit(config.cohort_size) + (_MAX_PART if config.policy.norm else 0)
