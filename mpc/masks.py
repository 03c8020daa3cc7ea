"""Adding and removing many mask streams at once.

The sum goes over the vector in chunks that stay in a core's cache; every stream adds its part of the chunk
before the next chunk is touched, and the cores take different chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mpc import parallel
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector


@dataclass(frozen=True)
class Mask:
    """A mask vector, by its 32-byte stream key, and whether it is added (+1) or subtracted (−1)."""

    key: bytes = field(repr=False)
    sign: int

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise ValueError(f"a mask's sign is 1 or -1, not {self.sign}")

    def inverse(self) -> Mask:
        """The mask that undoes this one."""
        return Mask(self.key, -self.sign)


def apply(vector: Vector, masks: Sequence[Mask]) -> None:
    """``vector += sum of sign · PRG(key)`` modulo p, in place (Bonawitz et al. 2017, figure 4, round 2)."""

    def work(first: int, last: int) -> None:
        streams = [(KeyStream(mask.key), mask.sign) for mask in masks]
        scratch = np.empty(min(CHUNK, vector.size), dtype=np.uint32)
        for chunk in range(first, last):
            part = vector[chunk * CHUNK : (chunk + 1) * CHUNK]
            for stream, sign in streams:
                stream.add_residues(chunk, part, sign, scratch[: part.size])

    parallel.map_ranges(work, -(-vector.size // CHUNK))
