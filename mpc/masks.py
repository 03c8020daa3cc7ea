"""Adding and removing many mask streams at once.

The sum goes over the vector in chunks that stay in a core's cache; every stream adds its part of the chunk
before the next chunk is touched, and the cores take different chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.keystream import CHUNK, KeyStream


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


def chunk_size(dtype: np.dtype[Any]) -> int:
    """Elements of a vector that one numbered stream masks."""
    return CHUNK // 2 if dtype == np.uint64 else CHUNK


def apply(vector: npt.NDArray[Any], masks: Sequence[Mask], *, first: int = 0) -> None:
    """``vector += sum of sign · PRG(key)``, in place (Bonawitz et al. 2017, figure 4, round 2).

    Args:
        vector: ``uint32``: elements of Z_p, modulo p; ``uint64``: modulo 2^64, each element of a mask then two of the
            stream's words, low word first, and every chunk half as long.
        first: of a longer vector's chunks the one that ``vector`` begins with.
    """
    if vector.dtype not in (np.uint32, np.uint64):
        raise ValueError(f"a vector of {vector.dtype} is masked in neither ring")
    words = vector.dtype == np.uint64
    size = chunk_size(vector.dtype)

    def work(start: int, stop: int) -> None:
        streams = [(KeyStream(mask.key), mask.sign) for mask in masks]
        scratch = np.empty(min(CHUNK, vector.nbytes // 4), dtype=np.uint32)
        for chunk in range(start, stop):
            part = vector[chunk * size : (chunk + 1) * size]
            for stream, sign in streams:
                if words:
                    stream.add_words(first + chunk, part, sign, scratch[: 2 * part.size])
                else:
                    stream.add_residues(first + chunk, part, sign, scratch[: part.size])

    parallel.map_ranges(work, -(-vector.size // size))
