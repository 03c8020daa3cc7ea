"""What everybody computes alike where inputs are screened: the challenge, and what a report says.

All accepted inputs are fixed by one root before the challenge is drawn from it: five random functionals φ of the
commitment, modulo p. Of client i with the masked vector y_i, the self mask b_i and the masks r_ij

    φ(y_i) = φ(C_i) + φ(b_i) ± Σ_j φ(r_ij)

where φ(C_i) is public. Where a norm is bounded φ is also of C'_i, all but the sketch in it. i reports φ(b_i) and every
φ(r_ij), and is bound to them by its signature. Nothing of its vector is told by that: φ of it is public anyway, and
given that the masks are as uniform as before.
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
from zk.commitment import Commitment, add
from zk.functional import COUNT, Functional, Sketched
from zk.norm.commitment import SketchCommitment
from zk.norm.commitment import add as add_sketches
from zk.parameters import sketch_rank
from zk.transcript import DIGEST_BYTES, digest


def input_value(commitment: bytes, vector_digest: bytes, sketch: bytes = b"") -> bytes:
    """What an accepted input is known by: it fixes the masked vector, and what it commits to.

    Args:
        sketch: where a norm is bounded, what C'_i and its proof are known by.
    """
    return digest("screened-input", commitment, vector_digest, *([sketch] if sketch else []))


def inputs_root(session: Session, inputs: Sequence[ScreenedInput]) -> bytes:
    """Of all accepted inputs, in order."""
    return merkle.root([frame("screened", session.members[item.client].encode(), item.value) for item in inputs])


def challenge(config: RoundConfig, sid: bytes, root: bytes) -> Functional:
    """The functionals that follow from the accepted inputs."""
    layout, bound, sketched = config.layout, config.norm_bound, None
    if bound is not None:
        # Digits of packed elements are no linear function of them.
        side = 0 if config.commitment.digits else layout.limbs + layout.counts
        sketched = Sketched(sketch_rank(bound.clients), layout.values, side)
    return Functional(digest("screening", sid, root), config.commitment.rank, layout.elements, sketched)


def self_mask_key(sid: bytes, owner: str, seed: bytes) -> bytes:
    """The stream key of a client's self mask."""
    return derive_key(seed, "self-mask", sid, owner.encode())


class Committed(NamedTuple):
    """What an input commits to.

    Attributes:
        hashed: C_i.
        sketch: C'_i, where a norm is bounded.
    """

    hashed: Commitment
    sketch: SketchCommitment | None


def decode_committed(config: RoundConfig, commitment: bytes, sketch: bytes) -> Committed:
    """Decode both strictly; the latter is empty where no norm is bounded.

    Raises:
        ValueError: one is none.
    """
    hashed, bound = Commitment.from_bytes(commitment, config.commitment.rank), config.norm_bound
    if bound is None:
        return Committed(hashed, None)
    return Committed(hashed, SketchCommitment.from_bytes(sketch, sketch_rank(bound.clients), bound.side))


def add_committed(items: Sequence[Committed]) -> Committed:
    """What a sum of inputs commits to. At least one."""
    sketches = [item.sketch for item in items if item.sketch is not None]
    return Committed(add([item.hashed for item in items]), add_sketches(sketches) if sketches else None)


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
    functional: Functional, me: int, masked: npt.NDArray[np.uint32], committed: Committed, said: Values
) -> bool:
    """Whether a report and the commitments together are what the masked vector says.

    Args:
        masked: φ of the masked vector.
    """
    total = functional.of_commitment(*committed).astype(np.int64) + said.own
    for peer, value in said.peers.items():
        total += value.astype(np.int64) if me < peer else -value.astype(np.int64)
    return bool(np.array_equal(total % P, masked))
