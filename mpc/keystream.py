"""Pseudo-random streams: HKDF-SHA256 derives keys (RFC 5869), AES-256 in counter mode expands them.

One key gives 2^64 independent *streams*; stream c is AES-CTR from the initial counter block
``c`` (8 bytes, big endian) ‖ 0 (8 bytes). Numbered streams let any part of a long vector be made alone and
in parallel. A stream is read as 32-bit little-endian words:

* *residues* are the words' low 31 bits, those not below p skipped: exactly uniform modulo p;
* *bounded integers* of b bits are the words' low b bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numba import njit

from mpc.framing import frame
from mpc.ring import P, Vector, byte_view

KEY_BYTES: Final = 32
CHUNK: Final = 1 << 16
"""Elements that one stream contributes to a long vector: 256 kB, which stays in a core's cache."""

_P32: Final = np.uint32(P)
_MASK31: Final = np.uint32(0x7FFFFFFF)
_ZEROS: Final = bytes(4 * CHUNK)


def derive_key(secret: bytes, label: str, *context: bytes) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869, no salt) from a full-strength ``secret``, bound to label and
    context.

    Raises:
        ValueError: a secret of fewer than 32 bytes.
    """
    if len(secret) < KEY_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes is below the {KEY_BYTES} that keys are derived from")
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=frame(label, *context)).derive(secret)


@njit(cache=True, nogil=True)
def _to_residues(words: Vector) -> int:
    """Clear the top bits in place, move the words below p to the front, return how many there are."""
    worst = np.uint32(0)
    for i in range(words.size):
        w = words[i] & _MASK31
        words[i] = w
        worst = max(worst, w)
    if worst < _P32:
        return int(words.size)
    kept = 0
    for i in range(words.size):
        w = words[i]
        words[kept] = w
        if w < _P32:
            kept += 1
    return kept


class KeyStream:
    """The streams of one 32-byte key. Not thread-safe: a thread makes its own."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream key has {KEY_BYTES} bytes, not {len(key)}")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def __repr__(self) -> str:
        return "KeyStream(<secret>)"

    def _rewind(self, stream: int) -> None:
        self._encryptor.reset_nonce(stream.to_bytes(8, "big") + bytes(8))

    def _read(self, words: Vector) -> None:
        view = byte_view(words)
        for start in range(0, len(view), len(_ZEROS)):
            piece = view[start : start + len(_ZEROS)]
            self._encryptor.update_into(memoryview(_ZEROS)[: len(piece)], piece)

    def words(self, stream: int, out: Vector) -> None:
        """Fill ``out`` with the first 32-bit words of a stream."""
        self._rewind(stream)
        self._read(out)

    def residues(self, stream: int, out: Vector) -> None:
        """Fill ``out`` with the first elements of Z_p of a stream."""
        self._rewind(stream)
        self._read(out)
        kept = _to_residues(out)
        while kept < out.size:  # for a full chunk this happens once in four, and almost never twice
            tail = out[kept:]
            self._read(tail)
            kept += _to_residues(tail)

    def bounded(self, stream: int, bits: int, out: Vector) -> None:
        """Fill ``out`` with uniform integers in [0, 2^bits), bits ≤ 32."""
        self.words(stream, out)
        out &= np.uint32((1 << bits) - 1)

    def residue_vector(self, length: int) -> Vector:
        """A vector of residues: stream c gives the elements [c · CHUNK, (c + 1) · CHUNK)."""
        out = np.empty(length, dtype=np.uint32)
        for stream, start in enumerate(range(0, length, CHUNK)):
            self.residues(stream, out[start : start + CHUNK])
        return out
