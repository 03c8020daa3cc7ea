"""A client's proof that its vector is within the round's norm bound, once R is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpc.ring import Vector
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.norm.checks import statement
from secure_agg.protocol.norm.wire import BoundedInput, proof_digest, signed_sketch
from secure_agg.protocol.session import Session
from zk.commitment import Commitment
from zk.norm import commitment as sketches
from zk.norm.layout import NormExceeded, Witness
from zk.norm.prover import prove
from zk.norm.sketch import sketch, sketch_key
from zk.parameters import sketch_rank


@dataclass(frozen=True)
class Proved:
    """What goes with a client's input: see ``BoundedInput``."""

    sketch: bytes
    proof: bytes
    signature: bytes

    def wrap(self, part: bytes) -> BoundedInput:
        """Around the backend's part."""
        return BoundedInput(self.sketch, self.proof, self.signature, part)


def prove_norm(
    session: Session, identity: Identity, commitment: bytes, vector: Vector, derive: Callable[[str], bytes]
) -> Proved:
    """Sketch a vector, commit to that, and prove that it is short: the same bytes every time.

    Args:
        session: from which R follows.
        commitment: C_i.
        vector: x ‖ s ‖ s' of a round with a norm bound.
        derive: the attempt's secrets.

    Raises:
        LocalProtocolError: an honest vector's sketch is longer than its norm allows, which has a probability below
            2^-39 (``zk.norm.bound``); or the vector is none that this package made.
    """
    config = session.config
    bound, layout, policy = config.norm_bound, config.layout, config.policy
    if bound is None:
        raise LocalProtocolError("no norm is bounded in this round")
    rank = sketch_rank(bound.clients)
    side, randomness = vector[layout.values : layout.committed], vector[layout.committed + layout.randomness :]
    limbs, counts = side[: layout.limbs].tolist(), side[layout.limbs :].tolist()
    weight = sum(limb << policy.limb_bits * i for i, limb in enumerate(limbs))
    values = sketch(sketch_key(session.sid), vector[: layout.bounded], policy.half)
    committed = sketches.commit(values, side, randomness, rank)
    said = statement(session, identity.name, Commitment.from_bytes(commitment, config.commitment.rank), committed)
    try:
        proof = prove(said, Witness(values, randomness, weight, tuple(counts)), derive("norm-proof"))
    except NormExceeded as error:
        raise LocalProtocolError("this client's sketch is longer than its norm allows: no proof of it") from error
    encoded = committed.to_bytes()
    signature = identity.sign(signed_sketch(session.sid, identity.name, encoded, proof_digest(proof)))
    return Proved(encoded, proof, signature)
