"""The coordinates that the lattice schemes encrypt: x, then s in pieces as narrow as the values, so that all fit alike.

A coordinate of s has b_s bits (``zk.parameters``). Where values have fewer, b, it is cut into pieces of b bits: the
vector goes on with the lowest b bits of each, then with the next, until all are there. Sums of pieces are put together
as the pieces were cut, and no piece of a sum is wider than a sum of values. Where a norm is bounded s' comes last, as
it is: its 2 bits are less than a value's.
"""

from __future__ import annotations

import numpy as np

from mpc.ring import P, Vector
from secure_agg.protocol.config import Policy, RoundConfig
from zk.parameters import noise_bits


def pieces(policy: Policy) -> int:
    """Into how many pieces a coordinate of s is cut."""
    return -(-noise_bits(policy.bits, policy.max_clients) // policy.bits)


def length(config: RoundConfig) -> int:
    """Coordinates that are encrypted."""
    layout = config.layout
    return layout.committed + pieces(config.policy) * layout.randomness + layout.sketch


def split(config: RoundConfig, vector: Vector) -> Vector:
    """x ‖ s ‖ s' as it is encrypted."""
    layout, count, bits = config.layout, pieces(config.policy), config.policy.bits
    if count == 1:
        return vector
    values, randomness, sketch = np.split(vector, [layout.committed, layout.committed + layout.randomness])
    low = np.uint32((1 << bits) - 1)
    return np.concatenate([values, *((randomness >> np.uint32(bits * i)) & low for i in range(count)), sketch])


def join(config: RoundConfig, sums: Vector) -> Vector:
    """The sum X ‖ T ‖ T', from that of what was encrypted.

    Raises:
        ValueError: it is the sum of none: a coordinate of T is not below p.
    """
    layout, count, bits = config.layout, pieces(config.policy), config.policy.bits
    if count == 1:
        return sums
    values, cut, sketch = np.split(sums, [layout.committed, layout.committed + count * layout.randomness])
    total = np.zeros(layout.randomness, dtype=np.uint64)
    for i, piece in enumerate(cut.reshape(count, -1)):
        total += piece.astype(np.uint64) << np.uint64(bits * i)
    if int(total.max()) >= P:
        raise ValueError("a sum of random coordinates is not below p")
    return np.concatenate([values, total.astype(np.uint32), sketch])
