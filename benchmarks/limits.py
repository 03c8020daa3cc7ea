"""What the machine itself can do, by the same libraries and in pieces of the same size as the kernels use.

Nothing here depends on secure-agg's arithmetic: AES-256 in counter mode into a buffer that exists, by plain CTR or by
GCM, whichever is faster on this machine, an addition of 32-bit words in place, one SHA-256 over the update, one copy of
it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.results import Row
from benchmarks.timing import Samples
from mpc import parallel
from mpc.keystream import CHUNK, galois_is_faster
from mpc.ring import ELEMENT_BYTES, Vector, byte_view

_ZEROS = memoryview(bytes(ELEMENT_BYTES * CHUNK))
_TAG = 16


def _stream() -> Callable[[memoryview], object]:
    """Fills a buffer of a chunk or less, and a tag's room behind it, with a key stream."""
    key = os.urandom(32)
    if galois_is_faster():
        galois = AESGCM(key)
        return lambda view: galois.encrypt_into(bytes(12), _ZEROS[: len(view) - _TAG], None, view)
    counter = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return lambda view: counter.update_into(_ZEROS[: len(view) - _TAG], view[:-_TAG])


class Limits:
    """The machine's limits for an update of a given size. Each method is one repetition."""

    def __init__(self, update: npt.NDArray[np.float32]) -> None:
        """``update`` is what is hashed and copied; vectors of its length are filled and added to."""
        self._update = update
        self._copy = np.empty_like(update)
        self._vector: Vector = np.zeros(update.size, dtype=np.uint32)
        self._chunks = -(-update.size // CHUNK)

    def sha256(self) -> bytes:
        """One SHA-256 over the update."""
        return hashlib.sha256(self._update.data).digest()

    def copy(self) -> None:
        """One copy of the update."""
        np.copyto(self._copy, self._update)

    def keystream(self) -> None:
        """AES-256 in counter mode, a 32-bit word for each parameter, on one core."""
        self._work(0, self._chunks, streams=1, add=False)

    def keystream_all_cores(self) -> None:
        """The same on all cores."""
        parallel.map_ranges(lambda first, last: self._work(first, last, streams=1, add=False), self._chunks)

    def add(self) -> None:
        """``np.add`` in place, a 32-bit word for each parameter, on one core."""
        noise = np.ones(min(CHUNK, self._vector.size), dtype=np.uint32)
        for chunk in range(self._chunks):
            part = self._part(chunk)
            np.add(part, noise[: part.size], out=part)

    def masking(self, streams: int) -> None:
        """So many times keystream and addition, over the whole vector and on all cores: what masks cost at least."""
        parallel.map_ranges(lambda first, last: self._work(first, last, streams=streams, add=True), self._chunks)

    def _part(self, chunk: int) -> Vector:
        return self._vector[chunk * CHUNK : (chunk + 1) * CHUNK]

    def _work(self, first: int, last: int, *, streams: int, add: bool) -> None:
        fill = [_stream() for _ in range(streams)]
        scratch = np.empty(min(CHUNK, self._vector.size) + _TAG // ELEMENT_BYTES, dtype=np.uint32)
        for chunk in range(first, last):
            part = self._part(chunk)
            noise, view = scratch[: part.size], byte_view(scratch[: part.size + _TAG // ELEMENT_BYTES])
            for stream in fill:
                stream(view)
                if add:
                    np.add(part, noise, out=part)


def rows(samples: dict[str, Samples], parameters: int) -> list[Row]:
    """The rows of the limits, from samples under their methods' names."""
    names = {
        "keystream": "AES-256 keystream, one core",
        "keystream_all_cores": f"AES-256 keystream, all cores ({parallel.cores()})",
        "add": "uint32 addition in place, one core",
        "sha256": "SHA-256 of the float32 update",
        "copy": "copy of the update",
    }
    gigabytes = ELEMENT_BYTES * parameters / 1e9
    return [
        Row.timed(f"limit.{key}", name, samples[key], derived=gigabytes / samples[key].median, derived_unit="GB/s")
        for key, name in names.items()
    ]
