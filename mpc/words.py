"""The ring of integers modulo 2^64: that of multi-party computation on machine words, and of masked packed vectors.

Elements are ``uint64``, and on the wire 8 bytes, little endian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector

Words = npt.NDArray[np.uint64]


def expand_words(key: bytes, length: int) -> Words:
    """The vector that a share's key stands for: stream c gives the elements [c · CHUNK/2, (c + 1) · CHUNK/2), each from
    two 32-bit words, low word first.
    """
    out = np.empty(length, dtype="<u8")
    halves = out.view("<u4")

    def work(first: int, last: int) -> None:
        stream = KeyStream(key)
        for chunk in range(first, last):
            stream.words(chunk, halves[chunk * CHUNK : (chunk + 1) * CHUNK])

    parallel.map_ranges(work, -(-halves.size // CHUNK))
    return out.astype(np.uint64, copy=False)


def last_share(vector: Vector, keys: Sequence[bytes]) -> Words:
    """What the keys' shares leave of a vector: with it they sum up to the vector modulo 2^64."""
    share = vector.astype(np.uint64)
    for key in keys:
        share -= expand_words(key, vector.size)
    return share


def words_from_bytes(data: bytes | memoryview, length: int) -> Words:
    """A view of ``length`` little-endian elements.

    Raises:
        ValueError: another number of bytes.
    """
    if len(data) != 8 * length:
        raise ValueError(f"{len(data)} bytes are no {length} elements of 8")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False)


def words_to_bytes(words: Words) -> memoryview:
    """The elements, 8 bytes each, little endian, without copying."""
    return words.astype("<u8", copy=False).data.cast("B")
