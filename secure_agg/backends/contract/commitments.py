"""How a commitment is hashed before it is shown, how it is opened, and the session that follows from the hashes."""

from __future__ import annotations

from collections.abc import Sequence

from mpc.framing import integer
from secure_agg.errors import BadCommitment
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import SignedAdvertisement, encode
from secure_agg.protocol.session import Session
from zk import merkle
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES, digest


def commitment_hash(config: RoundConfig, name: str, commitment: bytes, nonce: bytes) -> bytes:
    """D_i, where a backend makes it from nothing else: H(task, round, attempt, id, C_i, nonce)."""
    attempt = (integer(config.round), integer(config.attempt))
    return digest("commitment-hash", config.task.encode(), *attempt, name.encode(), commitment, nonce)


def open_commitment(session: Session, name: str, commitment: bytes, nonce: bytes) -> Commitment:
    """Decode a revealed commitment and check that ``commitment_hash`` of it is what its owner signed.

    Raises:
        BadCommitment: not canonical, or not what was hashed.
    """
    try:
        opened = Commitment.from_bytes(commitment, session.config.commitment.rank)
    except ValueError as error:
        raise BadCommitment(f"{error}", culprit=name) from error
    hashed = commitment_hash(session.config, name, commitment, nonce)
    if len(nonce) != DIGEST_BYTES or hashed != session.commitment_hashes[name]:
        raise BadCommitment("a commitment does not open the hash signed for it", culprit=name)
    return opened


def session_id(config: RoundConfig, advertisements: Sequence[SignedAdvertisement] | None) -> bytes:
    """sid = H(ctx, root of all signed advertisements, in id order); see ``sparse_session_id`` where clients choose
    their peers.

    Args:
        advertisements: None where clients speak once, and nothing that they say can be in it: sid = H(ctx).
    """
    if advertisements is None:
        return digest("session", config.context)
    root = merkle.root([encode(advertisement) for advertisement in advertisements])
    return digest("session", config.context, integer(len(advertisements)), root)
