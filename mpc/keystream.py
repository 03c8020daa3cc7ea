"""Pseudo-random streams: HKDF-SHA256 derives keys (RFC 5869), AES-256 in counter mode expands them.

One key gives 2^64 independent *streams*; stream c is AES-CTR from the initial counter block ``c`` (8 bytes, big endian)
‖ 0 (8 bytes). Numbered streams let any part of a long vector be made alone and in parallel. A stream is read as 32-bit
little-endian words:

* *residues* are the words' low 31 bits, those not below p skipped: exactly uniform modulo p;
* *elements modulo 2^64* are two words each, low word first;
* *bounded integers* of b bits are the words' low b bits.

Galois/counter mode (NIST SP 800-38D) encrypts by the same counter mode, from block 2 of a stream on where its nonce
is the stream's number and 4 zero bytes. OpenSSL has faster code for it on processors with wide AES instructions, so
long reads are made by it there; the tag is overwritten. The bytes are the same.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.framing import frame
from mpc.kernels.compiled import compiled
from mpc.ring import P, Vector, add_into, byte_view, subtract_from

KEY_BYTES: Final = 32
CHUNK: Final = 1 << 16
"""Elements that one stream contributes to a long vector: 256 kB, which stays in a core's cache."""

_P32: Final = np.uint32(P)
_MASK31: Final = np.uint32(0x7FFFFFFF)
_ZEROS: Final = memoryview(bytes(4 * CHUNK))
_BLOCK: Final = 16
_HEAD: Final = 2 * _BLOCK  # GCM's own nonce block and the one before it
_GALOIS_FROM: Final = 8192  # bytes; below, the calls cost more than is gained
_STEP: Final = 2048  # words that stay in the first-level cache between two looks at them


def derive_key(secret: bytes, label: str, *context: bytes) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869, no salt) from a full-strength ``secret``, bound to label and context.

    Raises:
        ValueError: a secret of fewer than 32 bytes.
    """
    if len(secret) < KEY_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes is below the {KEY_BYTES} that keys are derived from")
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=frame(label, *context)).derive(secret)


def _to_residues(words: Vector) -> int:
    """Clear the top bits in place, move the words below p to the front, return how many there are."""
    words &= _MASK31
    if int(words.max(initial=0)) < P:
        return words.size
    kept = words[words < _P32]
    words[: kept.size] = kept
    return kept.size


def _plain_add_residues(words: Vector, total: Vector, negative: bool) -> int:
    values = words & _MASK31
    values = values[: _to_residues(values)]
    (subtract_from if negative else add_into)(total[: values.size], values)
    return values.size


@compiled(or_else=_plain_add_residues)
def _add_residues(words: Vector, total: Vector, negative: bool) -> int:
    """Add the words' residues to the front of ``total``, or subtract them; returns how many there were."""
    added = 0
    for start in range(0, words.size, _STEP):
        part = words[start : start + _STEP]
        # Five words in a million are skipped: nearly every piece has none, and is added without a branch.
        worst = np.uint32(0)
        for i in range(part.size):
            worst = max(worst, np.uint32(part[i] & _MASK31))
        if worst < _P32:
            target = total[added : added + part.size]
            for i in range(part.size):
                w = np.uint32(part[i] & _MASK31)
                s = np.uint32(target[i] + (_P32 - w if negative else w))
                target[i] = min(s, np.uint32(s - _P32))
            added += part.size
        else:
            for i in range(part.size):
                w = np.uint32(part[i] & _MASK31)
                if w < _P32:
                    s = np.uint32(total[added] + (_P32 - w if negative else w))
                    total[added] = min(s, np.uint32(s - _P32))
                    added += 1
    return added


def _plain_add_words(words: npt.NDArray[np.uint64], total: npt.NDArray[np.uint64], negative: bool) -> None:
    (np.subtract if negative else np.add)(total, words[: total.size], out=total)


@compiled(or_else=_plain_add_words)
def _add_words(words: npt.NDArray[np.uint64], total: npt.NDArray[np.uint64], negative: bool) -> None:
    for i in range(total.size):
        total[i] = total[i] - words[i] if negative else total[i] + words[i]


def _counter_mode(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()


@functools.cache
def galois_is_faster() -> bool:
    """Whether this machine makes a chunk faster by GCM than by CTR: 2.5 times as fast, or two thirds. Tried once."""
    counter, galois, out = _counter_mode(bytes(KEY_BYTES)), AESGCM(bytes(KEY_BYTES)), bytearray(len(_ZEROS) + _BLOCK)

    def fastest(operation: Callable[[], object]) -> int:
        times = []
        for _ in range(5):
            start = time.perf_counter_ns()
            operation()
            times.append(time.perf_counter_ns() - start)
        return min(times)

    return fastest(lambda: galois.encrypt_into(bytes(12), _ZEROS, None, out)) < fastest(
        lambda: counter.update_into(_ZEROS, memoryview(out)[: len(_ZEROS)])
    )


class KeyStream:
    """The streams of one 32-byte key. Not thread-safe: a thread makes its own."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream key has {KEY_BYTES} bytes, not {len(key)}")
        self._counter = _counter_mode(key)
        self._galois = AESGCM(key) if galois_is_faster() else None

    def __repr__(self) -> str:
        return "KeyStream(<secret>)"

    def _seek(self, stream: int, block: int) -> None:
        self._counter.reset_nonce(stream.to_bytes(8, "big") + block.to_bytes(8, "big"))

    def _read(self, view: memoryview) -> None:
        """Go on where the last ``_read`` ended."""
        for start in range(0, len(view), len(_ZEROS)):
            piece = view[start : start + len(_ZEROS)]
            self._counter.update_into(_ZEROS[: len(piece)], piece)

    def words(self, stream: int, out: Vector) -> None:
        """Fill ``out`` with the first 32-bit words of a stream."""
        view = byte_view(out)
        done = 0
        if self._galois is not None and len(view) >= _GALOIS_FROM:
            end = min(len(view), len(_ZEROS)) // _BLOCK * _BLOCK
            nonce = stream.to_bytes(8, "big") + bytes(4)
            self._galois.encrypt_into(nonce, _ZEROS[: end - _HEAD - _BLOCK], None, view[_HEAD:end])
            self._seek(stream, 0)
            self._read(view[:_HEAD])
            done = end - _BLOCK  # the tag was written there
        self._seek(stream, done // _BLOCK)
        self._read(view[done:])

    def residues(self, stream: int, out: Vector) -> None:
        """Fill ``out`` with the first elements of Z_p of a stream."""
        self.words(stream, out)
        kept = _to_residues(out)
        while kept < out.size:  # for a full chunk this happens once in four, and almost never twice
            tail = out[kept:]
            self._read(byte_view(tail))
            kept += _to_residues(tail)

    def add_residues(self, stream: int, total: Vector, sign: int, scratch: Vector) -> None:
        """``total += sign · the first elements of Z_p of a stream``, in place; sign is 1 or −1.

        Args:
            scratch: as long as ``total``; overwritten.
        """
        self.words(stream, scratch)
        added = _add_residues(scratch, total, sign < 0)
        while added < total.size:
            more = scratch[: total.size - added]
            self._read(byte_view(more))
            added += _add_residues(more, total[added:], sign < 0)

    def add_words(self, stream: int, total: npt.NDArray[np.uint64], sign: int, scratch: Vector) -> None:
        """``total += sign · the first elements modulo 2^64 of a stream``, in place; sign is 1 or −1.

        Args:
            scratch: twice as long as ``total``; overwritten.
        """
        self.words(stream, scratch)
        _add_words(scratch.view("<u8").astype(np.uint64, copy=False), total, sign < 0)

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
