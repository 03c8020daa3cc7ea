"""The check on the sum: X is the sum of vectors whose sketches were committed to.

Beside ``zk.aggregate``, and from public data alone:

    A_0 T' = Σ t_0,   Σ t_1 − A_1 T' = R (X − n · centre),   Σ t_2 − A_2 T' = the side's sums   modulo p,

every entry of T' at most 3 n, none of R (X − n · centre) larger in size than n of one client can be, which is below
p/2, and none of the side's sums more than n clients can have, which is below p: so the congruences are equalities.
There is no tolerance, and nobody honest is kept out. Since T' opens Σ C' in one way only, R E = Σ v_c for the total E
of whatever the corrupt clients put in, by whatever way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpc.ring import Vector
from zk.norm import commitment
from zk.norm.bound import NormBound
from zk.norm.commitment import NOISE_TOP, SketchCommitment
from zk.norm.sketch import Sketch, sketch
from zk.parameters import sketch_rank


class SketchSumError(ValueError):
    """A sum that is not the one whose sketches were committed to.

    Attributes:
        check: which one failed: ``commitments``, ``randomness``, ``side``, ``sketch`` or ``relation``.
    """

    def __init__(self, check: str, text: str) -> None:
        super().__init__(text)
        self.check = check


@dataclass(frozen=True)
class SketchSum:
    """ "The sketch of X, and the side's sums, are what these commitments commit to together."

    Attributes:
        bound: of the round.
        key: of R.
        commitments: C' of each summand.
        values: X, the summed values only, uint32, each below 2^27.
        centre: what stands for zero in one vector.
        side: the sums of limbs and counts, uint32.
        randomness: T', the sum of the s', uint32.
    """

    bound: NormBound
    key: bytes
    commitments: tuple[SketchCommitment, ...]
    values: Vector
    centre: int
    side: Vector
    randomness: Vector


def check(statement: SketchSum) -> Sketch:
    """Check ranges and the linear relation.

    Returns:
        R (X − n · centre).

    Raises:
        SketchSumError: no summands, more than the bound is for, or a commitment of another shape (check
            ``commitments``); an entry of T' above 3 n, or too few (``randomness``); sums of limbs or counts (``side``),
            values, or a sketch of them (``sketch``), beyond what n clients can reach; the relation does not hold
            (``relation``).
    """
    bound, n = statement.bound, len(statement.commitments)
    rank = sketch_rank(bound.clients)
    if not 1 <= n <= bound.clients:
        raise SketchSumError("commitments", f"{n} sketch commitments, outside [1, {bound.clients}]")
    if any(item.rank != rank or item.side != bound.side for item in statement.commitments):
        raise SketchSumError("commitments", f"a sketch commitment is not of rank {rank} with {bound.side} beside it")
    top = int(statement.randomness.max(initial=0))
    if statement.randomness.size != commitment.randomness_length(rank) or top > n * NOISE_TOP:
        raise SketchSumError(
            "randomness",
            f"T' has {statement.randomness.size} coordinates of up to {top}; {n} clients have "
            f"{commitment.randomness_length(rank)} of at most {n * NOISE_TOP}",
        )
    if statement.side.size != bound.side:
        raise SketchSumError("side", f"{statement.side.size} sums beside the values, not {bound.side}")
    for i, (value, most) in enumerate(zip(statement.side.tolist(), bound.side_tops, strict=True)):
        if not 0 <= value <= n * most:
            raise SketchSumError("side", f"sum {i} beside the values is {value}; {n} clients reach {n * most}")
    try:
        total = sketch(statement.key, statement.values, n * statement.centre)
    except ValueError as error:
        raise SketchSumError("sketch", str(error)) from error
    worst = int(np.abs(total).max())
    if worst > n * bound.offset:
        raise SketchSumError(
            "sketch",
            f"an entry of the sum's sketch is {worst}, above {n * bound.offset}, the most that {n} clients can reach",
        )
    if commitment.commit(total, statement.side, statement.randomness, rank) != commitment.add(statement.commitments):
        raise SketchSumError(
            "relation", "the sketch commitments do not add up to the sketch of the sum: it is of something else"
        )
    return total
