"""The sketch v = R e: 512 numbers that show how long a vector is, whatever its length.

R = P S comes from a public key, which must be fixed after the vector is. S *folds* the vector 64 times: copy c of it is
y_c, 16,384 numbers, the sum of all blocks of so many values, each with random signs and rotated at random. P has eight
rows for each copy, with independent entries −1, 0, 1 of probabilities ¼, ½, ¼. ‖R e‖² is then 256 · ‖e‖² on average,
and for *every* e so rarely far below it that ``zk.norm.bound`` can say how rarely. (Folding: Charikar, Chen,
Farach-Colton 2002, with rotations for hashes; P: Achlioptas 2003. The tails are our own, see there.)

Random words are 32 bits. The copies are in four groups of sixteen; copy c of group g is y_{16 g + c}.

* Stream g of the key: word ((8 c + i) · 2 + h) · 512 + l holds in bit t the h-th of the two bits (h = 0: plus) whose
  difference is the entry of row 8 · (16 g + c) + i at position 512 t + l.
* Stream 4 (m + 1) + g is for blocks 4 m … 4 m + 3. Word (4 c + u) · 512 + l holds in bit 4 j + q whether block 4 m + q
  is subtracted at position 512 (8 u + j) + l. Word 2^15 + 4 c + q, modulo 16,384, is the rotation r of this block: at
  position k stands its value k + r, modulo 16,384.

One word of signs serves four blocks, so that each number of a copy is loaded once for four additions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import compiled
from mpc.keystream import KeyStream
from mpc.ring import Vector
from zk.transcript import digest

ROWS: Final = 512
WIDEST: Final = 1 << 27
"""Above every coordinate of a sum that a commitment binds."""
BLOCK: Final = 1 << 14
"""Values that are folded onto each other; a vector that is no longer is not folded."""
COPIES: Final = 64
ROWS_EACH: Final = ROWS // COPIES

GROUPS: Final = 4
GROUP_COPIES: Final = COPIES // GROUPS
GROUP_WORDS: Final = BLOCK // 32
FOLDED: Final = 4
"""Blocks that one stream, and one pass over a group's copies, are for."""
SIGNS: Final = GROUP_COPIES * FOLDED * GROUP_WORDS  # words of signs, before those of rotations
TURNS: Final = GROUP_COPIES * FOLDED
ENTRIES: Final = GROUP_COPIES * ROWS_EACH * 2 * GROUP_WORDS  # words of a group's rows
_SPAN: Final = 4 * FOLDED
"""Blocks that stay in a core's cache while its groups take them."""

Sketch = npt.NDArray[np.int64]
Integers = npt.NDArray[Any]
"""int32, or int64 where sums need it."""


def sketch_key(session: bytes) -> bytes:
    """The key of R in a session, 32 bytes: nobody knows it before the session's id is fixed."""
    return digest("norm-sketch", session)


def _bits(words: Vector) -> npt.NDArray[np.bool_]:
    """Bit t of word l at [..., t, l]."""
    return ((words[..., None, :] >> np.arange(32, dtype=np.uint32)[:, None]) & np.uint32(1)).astype(np.bool_)


def signs_of(words: Vector) -> npt.NDArray[np.bool_]:
    """Whether values are subtracted, by the words of a stream for four blocks: [c, t // 8, t % 8, q, l] for block q at
    position 512 t + l of copy c.
    """
    return _bits(words[:SIGNS].reshape(GROUP_COPIES, FOLDED, GROUP_WORDS)).reshape(
        GROUP_COPIES, FOLDED, 8, FOLDED, GROUP_WORDS
    )


def entries_of(words: Vector) -> npt.NDArray[np.int8]:
    """A group's rows of P, −1, 0 or 1: [c, i, position]."""
    bits = _bits(words.reshape(GROUP_COPIES, ROWS_EACH, 2, GROUP_WORDS)).reshape(GROUP_COPIES, ROWS_EACH, 2, BLOCK)
    return bits[:, :, 0].astype(np.int8) - bits[:, :, 1].astype(np.int8)


def _plain_fold(blocks: Integers, words: Vector, copies: Integers) -> None:
    for c, negative in enumerate(signs_of(words)):
        for q in range(FOLDED):
            rotation = int(words[SIGNS + FOLDED * c + q]) % BLOCK
            part = np.roll(blocks[q, :BLOCK], -rotation)
            copies[c] += np.where(negative[:, :, q].reshape(-1), -part, part)


def _plain_project(copies: Integers, words: Vector, rows: Sketch) -> None:
    for c, entries in enumerate(entries_of(words)):
        rows[c] = entries.astype(np.int64) @ copies[c].astype(np.int64)


@compiled(or_else=_plain_fold)
def _fold(blocks: Integers, words: Vector, copies: Integers) -> None:
    """Add four blocks to each of sixteen copies, by the words of one stream. Each block is followed by its beginning,
    so that it goes on at its end: shape (4, BLOCK + 512).
    """
    for c in range(GROUP_COPIES):
        at = SIGNS + FOLDED * c
        r0, r1, r2, r3 = np.int64(words[at]), np.int64(words[at + 1]), np.int64(words[at + 2]), np.int64(words[at + 3])
        for t in range(32):
            first = t * GROUP_WORDS
            a0, a1, a2, a3 = (first + r0) % BLOCK, (first + r1) % BLOCK, (first + r2) % BLOCK, (first + r3) % BLOCK
            p0, p1 = blocks[0, a0 : a0 + GROUP_WORDS], blocks[1, a1 : a1 + GROUP_WORDS]
            p2, p3 = blocks[2, a2 : a2 + GROUP_WORDS], blocks[3, a3 : a3 + GROUP_WORDS]
            at = (FOLDED * c + t // 8) * GROUP_WORDS
            signs, target = words[at : at + GROUP_WORDS], copies[c, first : first + GROUP_WORDS]
            b0 = np.uint32(1 << (t % 8) * FOLDED)
            b1, b2, b3 = np.uint32(b0 << 1), np.uint32(b0 << 2), np.uint32(b0 << 3)
            for i in range(GROUP_WORDS):  # a test and two additions under a mask, for sixteen numbers at once
                s, w, x, y, z = signs[i], p0[i], p1[i], p2[i], p3[i]
                w = -w if s & b0 else w
                x = -x if s & b1 else x
                y = -y if s & b2 else y
                z = -z if s & b3 else z
                target[i] += (w + x) + (y + z)


@compiled(or_else=_plain_project)
def _project(copies: Integers, words: Vector, rows: Sketch) -> None:
    """``rows[c, i]`` = row i of copy c of P, times the copy. ``copies`` has room for sums of 32 of its numbers."""
    lanes = np.empty_like(copies[0, :GROUP_WORDS])
    for c in range(GROUP_COPIES):
        for i in range(ROWS_EACH):
            at = (ROWS_EACH * c + i) * 2 * GROUP_WORDS
            plus, minus = words[at : at + GROUP_WORDS], words[at + GROUP_WORDS : at + 2 * GROUP_WORDS]
            lanes[:] = 0
            for t in range(32):
                part, bit = copies[c, t * GROUP_WORDS : (t + 1) * GROUP_WORDS], np.uint32(1 << t)
                for lane in range(GROUP_WORDS):
                    x = part[lane]
                    lanes[lane] += (x if plus[lane] & bit else 0) - (x if minus[lane] & bit else 0)
            total = np.int64(0)
            for lane in range(GROUP_WORDS):
                total += lanes[lane]
            rows[c, i] = total


def sketch(key: bytes, values: Vector, centre: int) -> Sketch:
    """R (values − centre), exactly.

    Args:
        key: of R, see ``sketch_key``.
        values: uint32 below 2^27, any length up to 2^32.
        centre: what stands for zero in ``values``, in [0, 2^27).

    Returns:
        int64, shape (512,).

    Raises:
        ValueError: a value or a centre of more than 27 bits.
    """
    most, least = max(int(values.max(initial=0)), centre), min(int(values.min(initial=WIDEST)), centre)
    if not 0 <= centre <= most < WIDEST:
        raise ValueError(f"a coordinate of {most} or a centre of {centre} is not in [0, {WIDEST})")
    count = -(-values.size // BLOCK)
    reach = 32 * count * max(most - centre, centre - least)  # of any sum that is made here, but for the last
    kind = np.int32 if reach < 1 << 31 else np.int64

    def work(start: int, stop: int) -> Sketch:
        stream, words = KeyStream(key), np.empty(ENTRIES, dtype=np.uint32)
        of_blocks = words[: SIGNS + TURNS]
        copies[start:stop] = 0
        blocks = np.empty((min(_SPAN, -(-count // FOLDED) * FOLDED), BLOCK + GROUP_WORDS), dtype=kind)
        for first in range(0, count, _SPAN):
            _load(values, centre, first, blocks)
            for group in range(start, stop):
                for at in range(0, min(_SPAN, count - first), FOLDED):
                    stream.words(GROUPS * ((first + at) // FOLDED + 1) + group, of_blocks)
                    _fold(blocks[at : at + FOLDED], of_blocks, copies[group])
        rows = np.empty((stop - start, GROUP_COPIES, ROWS_EACH), dtype=np.int64)
        for group in range(start, stop):
            stream.words(group, words)
            _project(copies[group], words, rows[group - start])
        return rows.reshape(-1)

    copies = np.empty((GROUPS, GROUP_COPIES, BLOCK), dtype=kind)  # in one piece: 4 MB have large pages
    return np.concatenate(parallel.map_ranges(work, GROUPS))


def _load(values: Vector, centre: int, first: int, blocks: Integers) -> None:
    """Blocks from ``first`` on, less the centre; zeros after the last value."""
    for q, block in enumerate(blocks):
        part = values[(first + q) * BLOCK : (first + q + 1) * BLOCK]
        np.subtract(part, centre, out=block[: part.size], dtype=block.dtype, casting="unsafe")
        block[part.size :] = 0
        block[BLOCK:] = block[: block.size - BLOCK]
