"""The aggregate check: X ‖ T is the exact sum of what the commitments commit to.

The *statement* is data and hashes to one digest; the *check* is a function over it. Given the commitments,
at most one (X, T) passes unless module-SIS is broken, so the aggregate is fixed before anything is opened.

What it does not prove: that any single update is honest or in range (only the sum is), or that the list of
commitments holds everybody who wanted in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpc.framing import integer
from mpc.ntt import N
from mpc.ring import Vector, to_bytes
from zk import commitment
from zk.commitment import Commitment
from zk.parameters import Parameters, noise_top
from zk.transcript import Transcript


class AggregateError(ValueError):
    """The claimed sum is not the sum of what was committed to, or lies outside the range that makes it unique."""


@dataclass(frozen=True)
class AggregateStatement:
    """ "X ‖ T is the sum of the n vectors in these n commitments."

    Attributes:
        parameters: the commitment's setting.
        top: the most that a data coordinate of one vector is.
        commitments: C_i of each summand, in the order of their ids.
        sums: X, the summed data coordinates, uint32. Padding to whole blocks is implied and zero.
        randomness: T, the summed random coordinates, uint32.
        vectors: how many vectors the commitments are of together, where one may be of a sum; 0: of one each.
        ranges: (length, top) of data coordinates next to each other, in order, where they differ; no top is above
            ``top``. Empty: all have it.
    """

    parameters: Parameters
    top: int
    commitments: tuple[Commitment, ...]
    sums: Vector
    randomness: Vector
    vectors: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    def digest(self) -> bytes:
        """32 bytes that bind every field of the statement."""
        transcript = Transcript("aggregate-statement")
        transcript.absorb("bits", integer(self.parameters.bits)).absorb("clients", integer(self.parameters.clients))
        transcript.absorb("rank", integer(self.parameters.rank)).absorb("top", integer(self.top))
        parts = self.parameters.runs.parts if self.parameters.runs else ()
        transcript.absorb("packing", b"".join(integer(digits.base) + integer(digits.count) for digits, _ in parts))
        if len(parts) > 1:
            transcript.absorb("runs", b"".join(integer(length) for _, length in parts))
        for item in self.commitments:
            transcript.absorb("commitment", item.to_bytes())
        if self.vectors not in (0, len(self.commitments)):
            transcript.absorb("vectors", integer(self.vectors))
        for length, top in self.ranges:
            transcript.absorb("range", integer(length) + integer(top))
        transcript.absorb("sums", to_bytes(self.sums)).absorb("randomness", to_bytes(self.randomness))
        return transcript.digest()


def _check_range(name: str, values: Vector, limit: int, first: int = 0) -> None:
    if values.dtype != np.uint32:
        raise AggregateError(f"{name} is {values.dtype}, not uint32")
    worst = int(values.max(initial=0))
    if worst > limit:
        where = first + int(values.argmax())
        raise AggregateError(f"{name}[{where}] is {worst}, above {limit}, the most that the clients together can reach")


def check(
    statement: AggregateStatement, commit: Callable[[Vector, Vector, int], Commitment] = commitment.commit
) -> Commitment:
    """Check ranges and the linear relation h(X ‖ T) = sum of C_i, with X packed as the parameters say.

    Args:
        commit: computes h, for whoever has others do it.

    Returns:
        The sum of the commitments.

    Raises:
        AggregateError: a top that the parameters were not estimated for, too many or no summands, an entry above
            n · top, n being the vectors, or a relation that does not hold.
    """
    parameters, count = statement.parameters, len(statement.commitments)
    n = statement.vectors or count
    # That only one sum opens the commitments is an estimate for so many clients, so many columns and entries so small:
    # all of that is checked before the relation itself.
    if not 1 <= count <= n <= parameters.clients:
        raise AggregateError(f"{count} commitments of {n} vectors, outside [1, {parameters.clients}]")
    if any(item.rank != parameters.rank for item in statement.commitments):
        raise AggregateError(f"a commitment is not of rank {parameters.rank}")
    if not 1 <= statement.top < 1 << parameters.bits:
        raise AggregateError(f"a coordinate of up to {statement.top} has more than {parameters.bits} bits")
    first, size = 0, statement.sums.size
    ranges = statement.ranges or ((size, statement.top),)
    if sum(length for length, _ in ranges) != size or any(not 1 <= top <= statement.top for _, top in ranges):
        raise AggregateError(f"ranges {ranges} are none of {size} coordinates of up to {statement.top}")
    for length, top in ranges:
        _check_range("X", statement.sums[first : first + length], n * top, first)
        first += length
    _check_range("T", statement.randomness, n * noise_top(parameters.bits, parameters.clients))
    if statement.randomness.size != commitment.randomness_length(parameters.rank):
        raise AggregateError(f"T has {statement.randomness.size} coordinates")
    if parameters.runs and parameters.runs.values != statement.sums.size:
        raise AggregateError(f"X has {statement.sums.size} coordinates, not the {parameters.runs.values} of its runs")
    if (commitment.blocks_for(parameters.elements(statement.sums.size)) + parameters.rank + 2) * N > parameters.columns:
        raise AggregateError(f"X has {statement.sums.size} coordinates, more than the parameters were estimated for")
    total = commitment.add(list(statement.commitments))
    if commit(parameters.pack(statement.sums), statement.randomness, parameters.rank) != total:
        raise AggregateError("h(X ‖ T) is not the sum of the commitments: the aggregate is not what was committed to")
    return total
