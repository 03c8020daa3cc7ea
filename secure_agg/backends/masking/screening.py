"""What everybody computes alike where inputs are screened: the challenge, and what a report says.

All accepted inputs are fixed by one root before the challenge is drawn from it: five random functionals φ of the
commitment, modulo p. Of client i with the masked vector y_i, the self mask b_i and the masks r_ij

    φ(y_i) = φ(C_i) + φ(b_i) ± Σ_j φ(r_ij)

where φ(C_i) is public. Where a norm is bounded φ is also of C'_i, all but the sketch in it. i reports φ(b_i) and every
φ(r_ij), and is bound to them by its signature. Nothing of its vector is told by that: φ of it is public anyway, and
given that the masks are as uniform as before.

The sketch's part of C'_i is tested in the same way where the sum shows that somebody's is of another vector: by five
functionals of it that are drawn from the inputs and that sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mpc import ring
from mpc.framing import frame
from mpc.keystream import derive_key
from mpc.ring import P, Vector
from secure_agg.backends.contract import Session
from secure_agg.backends.masking.rules import SCREEN_SKETCHES, sketches_at_once, tests_sketches
from secure_agg.backends.masking.rules import form as carried
from secure_agg.backends.masking.wire import FailedSum, Report, ScreenedInput
from secure_agg.errors import VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.norm.wire import sketch_digest
from zk import aggregate, merkle
from zk.aggregate import AggregateStatement
from zk.commitment import Commitment, add
from zk.functional import COUNT, Functional, Sketched
from zk.norm.commitment import NOISE_TOP, SketchCommitment
from zk.norm.commitment import add as add_sketches
from zk.norm.commitment import commit as commit_sketch
from zk.norm.sketch import WIDEST, sketch, sketch_key
from zk.parameters import sketch_rank
from zk.sketch_functional import SketchRowsFunctional
from zk.transcript import DIGEST_BYTES, digest


def input_value(commitment: bytes, vector_digest: bytes, sketched: bytes = b"") -> bytes:
    """What an accepted input is known by: it fixes the masked vector, and what it commits to.

    Args:
        sketched: where a norm is bounded, what C'_i and its proof are known by.
    """
    return digest("screened-input", commitment, vector_digest, *([sketched] if sketched else []))


def inputs_root(session: Session, inputs: Sequence[ScreenedInput]) -> bytes:
    """Of all accepted inputs, in order."""
    return merkle.root([frame("screened", session.members[item.client].encode(), item.value) for item in inputs])


def challenge(config: RoundConfig, sid: bytes, root: bytes) -> Tests:
    """The functionals that follow from the accepted inputs."""
    layout, bound, sketched = config.layout, config.norm_bound, None
    if bound is not None:
        # Digits of packed elements are no linear function of them, nor are sketches: see ``tests_sketches``.
        side = 0 if config.commitment.runs else layout.limbs + layout.counts
        sketched = Sketched(sketch_rank(bound.clients), layout.values, side)
    tests = Functional(digest("screening", sid, root), config.commitment.rank, layout.elements, sketched)
    return Joint(tests, sketch_challenge(config, sid, root)) if sketches_at_once(config) else tests


def failed_root(root: bytes, total: bytes) -> bytes:
    """What is reported on where a sum has failed: the accepted inputs, and the sum."""
    return digest("failed-sum", root, hashlib.sha256(total).digest())


def sketch_challenge(config: RoundConfig, sid: bytes, failed: bytes) -> SketchRowsFunctional:
    """The functionals of sketches that follow from a sum that has failed; or from the accepted inputs, where sketches
    are tested with them.

    Raises:
        VerificationError: sketches are not tested in such rounds.
    """
    layout, bound = config.layout, config.norm_bound
    if bound is None or not (tests_sketches(config) or sketches_at_once(config)):
        raise VerificationError("no sketches are tested in this round")
    return SketchRowsFunctional(
        digest("screening-sketches", sid, failed),
        sketch_key(sid),
        sketch_rank(bound.clients),
        layout.bounded,
        layout.hashed + layout.sketch,
        config.policy.half,
    )


def sketch_fails(config: RoundConfig, sid: bytes, sketches: Sequence[SketchCommitment], total: Vector) -> bool:
    """Whether sketches are of other vectors than were summed. Of a sum that is out of range, or T' that is, or opens no
    Σ t_0, these show nothing.
    """
    layout, n = config.layout, len(sketches)
    noise = total[layout.hashed :]
    if int(total[: layout.bounded].max(initial=0)) >= WIDEST or int(noise.max(initial=0)) > n * NOISE_TOP:
        return False
    found = sketch(sketch_key(sid), total[: layout.bounded], n * (config.policy.half))
    opened = commit_sketch(found, np.zeros(0, dtype=np.uint32), noise, sketches[0].rank).ring
    committed = add_sketches(sketches).ring
    return np.array_equal(opened[:-1], committed[:-1]) and not np.array_equal(opened[-1], committed[-1])


def check_failed(
    session: Session, listed: Mapping[int, bytes], shown: FailedSum, members: Collection[int] | None = None
) -> None:
    """Check that a sum is the one that its inputs commit to, and is not what their sketches are of: then somebody has
    committed to a sketch of another vector.

    Args:
        listed: the accepted inputs' values, by client.
        members: whose sum it has to be, if that is known.

    Raises:
        VerificationError: it is not so.
    """
    config, indices = session.config, [item.client for item in shown.inputs]
    if not indices or indices != sorted(set(indices)) or members not in (None, set(indices)):
        raise VerificationError("the sum is not of the set, in order, each client once")
    committed, form = [], carried(config)
    try:
        for item in shown.inputs:
            value = input_value(item.commitment, item.vector, sketch_digest(item.sketch, item.proof))
            if listed.get(item.client) != value:
                raise VerificationError("an input is another than was accepted")
            committed.append(decode_committed(config, item.commitment, item.sketch))
        total = ring.from_bytes(shown.total)
        if total.size != form.elements:
            raise VerificationError(f"a sum of {total.size} elements, not {form.elements}")
        sums, layout = form.unload(total, phase=SCREEN_SKETCHES), config.layout
        values, randomness = sums[: layout.committed], sums[layout.committed : layout.committed + layout.randomness]
        hashes = tuple(item.hashed for item in committed)
        aggregate.check(
            AggregateStatement(
                config.commitment, config.policy.top, hashes, values, randomness, ranges=config.layout.runs
            )
        )
    except ValueError as error:  # AggregateError is one
        raise VerificationError(f"the sum is not what was committed to: {error}") from error
    sketches = [item.sketch for item in committed if item.sketch is not None]
    if len(sketches) != len(committed) or not sketch_fails(config, session.sid, sketches, total):
        raise VerificationError("the sum's sketch is what was committed to")


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


def decode_committed(config: RoundConfig, commitment: bytes, sketched: bytes) -> Committed:
    """Decode both strictly; the latter is empty where no norm is bounded.

    Raises:
        ValueError: one is none.
    """
    hashed, bound = Commitment.from_bytes(commitment, config.commitment.rank), config.norm_bound
    if bound is None:
        return Committed(hashed, None)
    return Committed(hashed, SketchCommitment.from_bytes(sketched, sketch_rank(bound.clients), bound.side))


def add_committed(items: Sequence[Committed]) -> Committed:
    """What a sum of inputs commits to. At least one."""
    sketches = [item.sketch for item in items if item.sketch is not None]
    return Committed(add([item.hashed for item in items]), add_sketches(sketches) if sketches else None)


class Tests(Protocol):
    """Functionals of what an input commits to, in the vector, and in masks: ``Functional`` says how."""

    def of_commitment(
        self, commitment: Commitment, sketch: SketchCommitment | None = None, summands: int = 1
    ) -> Vector: ...

    def of(self, keys: Sequence[bytes], vectors: Sequence[Vector] = ()) -> npt.NDArray[np.uint32]: ...


class Joint(NamedTuple):
    """Two kinds of functionals that are tested together, by their sum: whatever is wrong, it hides behind five random
    residues.
    """

    first: Tests
    second: Tests

    def of_commitment(
        self, commitment: Commitment, sketch: SketchCommitment | None = None, summands: int = 1
    ) -> Vector:
        """See ``Functional``."""
        return _sum(*(part.of_commitment(commitment, sketch, summands) for part in self))

    def of(self, keys: Sequence[bytes], vectors: Sequence[Vector] = ()) -> npt.NDArray[np.uint32]:
        """See ``Functional``."""
        return _sum(*(part.of(keys, vectors) for part in self))


def _sum(left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return ((left.astype(np.uint64) + right) % P).astype(np.uint32)


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


def explains(functional: Tests, me: int, masked: npt.NDArray[np.uint32], committed: Committed, said: Values) -> bool:
    """Whether a report and the commitments together are what the masked vector says.

    Args:
        masked: φ of the masked vector.
    """
    total = functional.of_commitment(*committed).astype(np.int64) + said.own
    for peer, value in said.peers.items():
        total += value.astype(np.int64) if me < peer else -value.astype(np.int64)
    return bool(np.array_equal(total % P, masked))
