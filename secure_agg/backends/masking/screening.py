"""What everybody computes alike where inputs are screened: the challenge, and what a report says.

All accepted inputs are fixed by one root before the challenge is drawn from it: five random functionals φ of the
commitment, modulo p. Of client i with the masked vector y_i, the self mask b_i and the masks r_ij

    φ(y_i) = φ(C_i) + φ(b_i) ± Σ_j φ(r_ij)

where φ(C_i) is public. i reports φ(b_i) and every φ(r_ij), and is bound to them by its signature. Nothing of its vector
is told by that: φ of it is public anyway, and given that the masks are as uniform as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mpc import ring
from mpc.framing import frame
from mpc.keystream import derive_key
from mpc.ring import P, Vector
from secure_agg.backends.contract import Session
from secure_agg.backends.masking.wire import Report, ScreenedInput
from secure_agg.protocol.config import RoundConfig
from zk import merkle
from zk.commitment import Commitment
from zk.functional import COUNT, Functional
from zk.transcript import DIGEST_BYTES, digest


def input_value(commitment: bytes, vector_digest: bytes) -> bytes:
    """What an accepted input is known by: it fixes the masked vector, and what it commits to."""
    return digest("screened-input", commitment, vector_digest)


def inputs_root(session: Session, inputs: Sequence[ScreenedInput]) -> bytes:
    """Of all accepted inputs, in order."""
    return merkle.root([frame("screened", session.members[item.client].encode(), item.value) for item in inputs])


def challenge(config: RoundConfig, sid: bytes, root: bytes) -> Functional:
    """The functionals that follow from the accepted inputs."""
    return Functional(digest("screening", sid, root), config.commitment.rank, config.layout.elements)


def self_mask_key(sid: bytes, owner: str, seed: bytes) -> bytes:
    """The stream key of a client's self mask."""
    return derive_key(seed, "self-mask", sid, owner.encode())


class Values(NamedTuple):
    """A report, read.

    Attributes:
        root: of the inputs that it is about.
        seed_hash: of the self mask's seed.
        own: φ of the self mask.
        peers: φ of each peer's mask, by the peer.
    """

    root: bytes
    seed_hash: bytes
    own: Vector
    peers: dict[int, Vector]


def read_report(report: Report, me: int, members: int) -> Values:
    """Check the form of a report.

    Args:
        me: who has signed it.
        members: |U|.

    Raises:
        ValueError: what no client that follows the protocol signs.
    """
    peers = report.peers
    if list(peers) != sorted(set(peers)) or any(not 0 <= peer < members or peer == me for peer in peers):
        raise ValueError("the peers of a report are not in order, each another client")
    if (len(report.root), len(report.seed_hash)) != (DIGEST_BYTES, DIGEST_BYTES):
        raise ValueError("a report has no root, or no hash of a seed")
    values = ring.from_bytes(report.values)
    if values.size != (1 + len(peers)) * COUNT:
        raise ValueError(f"{values.size} residues in a report of {len(peers)} peers")
    own, *others = values.reshape(-1, COUNT)
    return Values(report.root, report.seed_hash, own, dict(zip(peers, others, strict=True)))


def explains(
    functional: Functional, me: int, masked: npt.NDArray[np.uint32], commitment: Commitment, said: Values
) -> bool:
    """Whether a report and the commitment together are what the masked vector says.

    Args:
        masked: φ of the masked vector.
    """
    total = functional.of_commitment(commitment).astype(np.int64) + said.own
    for peer, value in said.peers.items():
        total += value.astype(np.int64) if me < peer else -value.astype(np.int64)
    return bool(np.array_equal(total % P, masked))
