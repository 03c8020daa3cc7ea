"""The coordinates that are encrypted: x, then s in pieces as narrow as the values, so that all fit alike into slots.

A coordinate of s has b_s bits (``zk.parameters``). Where values have fewer, b, it is cut into pieces of b bits: the
vector goes on with the lowest b bits of each, then with the next, until all are there. Sums of pieces are put together
as the pieces were cut, and no piece of a sum is wider than a sum of values.
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
    return config.layout.committed + pieces(config.policy) * config.layout.randomness


def split(config: RoundConfig, vector: Vector) -> Vector:
    """x ‖ s as it is encrypted."""
    count, bits, committed = pieces(config.policy), config.policy.bits, config.layout.committed
    if count == 1:
        return vector
    low, randomness = np.uint32((1 << bits) - 1), vector[committed:]
    return np.concatenate([vector[:committed], *((randomness >> np.uint32(bits * i)) & low for i in range(count))])


def join(config: RoundConfig, sums: Vector) -> Vector:
    """The sum X ‖ T, from that of what was encrypted.

    Raises:
        ValueError: it is the sum of none: a coordinate of T is not below p.
    """
    count, bits, committed = pieces(config.policy), config.policy.bits, config.layout.committed
    if count == 1:
        return sums
    total = np.zeros(config.layout.randomness, dtype=np.uint64)
    for i, piece in enumerate(sums[committed:].reshape(count, -1)):
        total += piece.astype(np.uint64) << np.uint64(bits * i)
    if int(total.max()) >= P:
        raise ValueError("a sum of random coordinates is not below p")
    return np.concatenate([sums[:committed], total.astype(np.uint32)])
