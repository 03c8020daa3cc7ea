"""Which values of a group are sent in a round: a public random part, the same for every client.

Value i has a 64-bit number, words 2i and 2i + 1 of the key D("support", ctx, group)'s streams, the low word first, 2^15
values to a stream; sent are the m values with the least numbers, of equal ones those that come first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpc.keystream import CHUNK, KeyStream
from secure_agg.errors import LocalProtocolError
from zk.transcript import digest


def support_key(context: bytes, group: str) -> bytes:
    """The key of a group's numbers: public, and fixed only once the configuration is.

    Args:
        context: the configuration's digest.
        group: its name.
    """
    return digest("support", context, group.encode())


def support(key: bytes, size: int, sent: int) -> npt.NDArray[np.int64]:
    """The indices of the values that are sent.

    Args:
        key: from ``support_key``.
        size: values of the group.
        sent: m, 1 to ``size``.

    Returns:
        int64 of shape (m,), increasing.

    Raises:
        LocalProtocolError: m is out of range.
    """
    if not 1 <= sent <= size:
        raise LocalProtocolError(f"{sent} of {size} values can't be sent")
    if sent == size:
        return np.arange(size, dtype=np.int64)
    numbers, stream = np.empty(size, dtype=np.uint64), KeyStream(key)
    words = np.empty(CHUNK, dtype=np.uint32)
    for number, start in enumerate(range(0, size, CHUNK // 2)):
        part = numbers[start : start + CHUNK // 2]
        drawn = words[: 2 * part.size]
        stream.words(number, drawn)
        part[:] = drawn[0::2].astype(np.uint64) | (drawn[1::2].astype(np.uint64) << np.uint64(32))
    last = np.partition(numbers, sent - 1)[sent - 1]
    below, equal = np.flatnonzero(numbers < last), np.flatnonzero(numbers == last)
    return np.sort(np.concatenate([below, equal[: sent - below.size]]))
