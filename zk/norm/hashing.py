"""SHA-256 (FIPS 180-4) of many messages of one length at once: a tree has 8,191 hashes, each of some dozen bytes.

Sixteen messages go through the rounds side by side, one vector register wide; one by one, most of the time would go
into the calls. Without numba they go one by one, by ``hashlib``.
"""

from __future__ import annotations

import hashlib
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled

LANES: Final = 16
_BLOCK: Final = 64
_DIGEST: Final = 32

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    low, high = 0, value
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle - 1)
    return low


# The first 32 bits of the fractions of the primes' cube and square roots.
_ROUNDS: Final[Words] = np.array([_cube_root(prime << 96) % (1 << 32) for prime in _primes(64)], dtype=np.uint32)
_START: Final[Words] = np.array([isqrt(prime << 64) % (1 << 32) for prime in _primes(8)], dtype=np.uint32)


def _plain_hash(padded: Words, size: int, out: Words) -> None:
    data = padded.astype("<u4", copy=False).tobytes()
    step = len(data) // padded.shape[0]
    digests = [hashlib.sha256(data[start : start + size]).digest() for start in range(0, len(data), step)]
    out[:] = np.frombuffer(b"".join(digests), dtype=">u4").reshape(out.shape)


@compiled(or_else=_plain_hash)
def _hash(padded: Words, size: int, out: Words) -> None:
    """``out[i]`` = the hash of the first ``size`` bytes of message i, which is padded to whole blocks. Its words are
    read as little endian, and turned round here: that is one instruction.
    """
    w, state = np.empty((_BLOCK, LANES), dtype=np.uint32), np.empty((8, LANES), dtype=np.uint32)
    a, b, c, d = w[0].copy(), w[0].copy(), w[0].copy(), w[0].copy()
    e, f, g, h = w[0].copy(), w[0].copy(), w[0].copy(), w[0].copy()
    for first in range(0, padded.shape[0], LANES):
        lanes = min(LANES, padded.shape[0] - first)
        for i in range(8):
            for lane in range(LANES):
                state[i, lane] = _START[i]
        for block in range(padded.shape[1] // 16):
            for lane in range(lanes):
                for t in range(16):
                    x = padded[first + lane, 16 * block + t]
                    x = ((x & np.uint32(0x00FF00FF)) << np.uint32(8)) | ((x >> np.uint32(8)) & np.uint32(0x00FF00FF))
                    w[t, lane] = (x << np.uint32(16)) | (x >> np.uint32(16))
            for t in range(16, 64):
                for i in range(LANES):
                    x, y = w[t - 15, i], w[t - 2, i]
                    s0 = ((x >> np.uint32(7)) | (x << np.uint32(25))) ^ ((x >> np.uint32(18)) | (x << np.uint32(14)))
                    s1 = ((y >> np.uint32(17)) | (y << np.uint32(15))) ^ ((y >> np.uint32(19)) | (y << np.uint32(13)))
                    s0, s1 = s0 ^ (x >> np.uint32(3)), s1 ^ (y >> np.uint32(10))
                    w[t, i] = np.uint32(w[t - 16, i] + s0 + w[t - 7, i] + s1)
            a[:], b[:], c[:], d[:] = state[0], state[1], state[2], state[3]
            e[:], f[:], g[:], h[:] = state[4], state[5], state[6], state[7]
            for t in range(64):
                for i in range(LANES):
                    x, y = e[i], a[i]
                    s1 = ((x >> np.uint32(6)) | (x << np.uint32(26))) ^ ((x >> np.uint32(11)) | (x << np.uint32(21)))
                    s0 = ((y >> np.uint32(2)) | (y << np.uint32(30))) ^ ((y >> np.uint32(13)) | (y << np.uint32(19)))
                    s1 ^= (x >> np.uint32(25)) | (x << np.uint32(7))
                    s0 ^= (y >> np.uint32(22)) | (y << np.uint32(10))
                    choice = (x & f[i]) ^ (~x & g[i])
                    majority = (y & b[i]) ^ (y & c[i]) ^ (b[i] & c[i])
                    total = np.uint32(h[i] + s1 + choice + _ROUNDS[t] + w[t, i])
                    d[i] = np.uint32(d[i] + total)
                    h[i] = np.uint32(total + s0 + majority)
                a, b, c, d, e, f, g, h = h, a, b, c, d, e, f, g
            for i in range(LANES):
                state[0, i] += a[i]
                state[1, i] += b[i]
                state[2, i] += c[i]
                state[3, i] += d[i]
                state[4, i] += e[i]
                state[5, i] += f[i]
                state[6, i] += g[i]
                state[7, i] += h[i]
        for lane in range(lanes):
            for i in range(8):
                out[first + lane, i] = state[i, lane]


def hash_rows(prefix: int, *parts: Bytes) -> Bytes:
    """SHA-256 of each row: a byte, and the row of each part after it.

    Args:
        prefix: the first byte of every message.
        parts: uint8, shape (n, any), n ≥ 1.

    Returns:
        uint8, shape (n, 32).
    """
    n, size = parts[0].shape[0], 1 + sum(part.shape[1] for part in parts)
    padded = np.empty((n, -(-(size + 9) // _BLOCK) * _BLOCK), dtype=np.uint8)
    padded[:, 0], padded[:, size:], at = prefix, 0, 1
    for part in parts:
        padded[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    padded[:, size] = 0x80
    padded[:, -8:] = np.frombuffer((8 * size).to_bytes(8, "big"), dtype=np.uint8)
    out = np.empty((n, _DIGEST // 4), dtype=np.uint32)
    _hash(padded.view("<u4").astype(np.uint32, copy=False), size, out)
    return out.astype(">u4").view(np.uint8)
