"""Vectors of small integers as Paillier ciphertexts: many slots in one plaintext, with room for the sum.

A slot has w bits, those of clients · top, so that the sum of all clients' values never reaches the next one; slot 0 is
the plaintext's lowest, and floor((bits − 2) / w) slots stay below n. Coordinates of several ranges are *runs*, one
after the other, each with slots of its own from a new plaintext on.

On the wire a piece of a vector is, all integers little endian,

    fingerprint of the public key (32 bytes) ‖ of each run top ‖ clients ‖ first ‖ length (8 bytes each)
    ‖ of each run ceil(length / slots) ciphertexts of bits/4 bytes each,

where the piece holds the coordinates first … first + length − 1 of its run. Every field has one admissible value, which
the reader knows beforehand. A sum has the form of its summands. Nothing here is authenticated: that is the messages'
business.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mpc import parallel
from mpc.framing import integer
from mpc.kernels.compiled import compiled
from mpc.paillier.montgomery import LIMB_BITS, Limbs, to_limbs
from mpc.paillier.paillier import Encryptor, Obfuscators, PaillierError, PublicKey, SecretKey
from mpc.ring import Vector

if TYPE_CHECKING:
    from gmpy2 import mpz

_FINGERPRINT_BYTES: Final = 32
_FIELD_BYTES: Final = 8
_MAX_SLOT_BITS: Final = 32
_LIMB: Final = np.uint64(LIMB_BITS)


@compiled()
def _pack(values: Vector, slots: int, slot_bits: int, out: Limbs) -> None:
    """Add the values to ``out[row]``, all zero, ``slots`` of them a row."""
    for row in range(out.shape[0]):
        for slot in range(min(slots, values.size - row * slots)):
            value = np.uint64(values[row * slots + slot])
            position = np.uint64(slot * slot_bits)
            word, shift = position // _LIMB, position % _LIMB
            out[row, word] |= value << shift
            if shift + np.uint64(slot_bits) > _LIMB:
                out[row, word + np.uint64(1)] |= value >> (_LIMB - shift)


@compiled()
def _unpack(rows: Limbs, slots: int, slot_bits: int, out: Vector) -> bool:
    """Read the slots into ``out``; whether nothing is left in the rows beyond them."""
    mask = (np.uint64(1) << np.uint64(slot_bits)) - np.uint64(1)
    clean = True
    for row in range(rows.shape[0]):
        used = min(slots, out.size - row * slots)
        for slot in range(used):
            position = np.uint64(slot * slot_bits)
            word, shift = position // _LIMB, position % _LIMB
            value = rows[row, word] >> shift
            if shift + np.uint64(slot_bits) > _LIMB:
                value |= rows[row, word + np.uint64(1)] << (_LIMB - shift)
            out[row * slots + slot] = np.uint32(value & mask)
        end = np.uint64(used * slot_bits)
        word, shift = end // _LIMB, end % _LIMB
        clean &= rows[row, word] >> shift == 0
        for other in range(word + np.uint64(1), rows.shape[1]):
            clean &= rows[row, other] == 0
    return clean


class Plaintexts(ABC):
    """How a vector lies in plaintexts.

    Attributes:
        clients: most summands.
        modulus_bits: length of n.
    """

    clients: int
    modulus_bits: int

    @abstractmethod
    def ciphertexts(self, length: int) -> int:
        """Ciphertexts that a vector of this length takes."""

    @abstractmethod
    def fields(self, first: int, length: int) -> tuple[int, ...]:
        """Of each run top, clients, first and length, of a piece that begins with coordinate ``first``."""

    @abstractmethod
    def place(self, first: int, length: int) -> int:
        """The number of the piece's first ciphertext.

        Raises:
            PaillierError: it is empty, or no piece begins there.
        """

    @abstractmethod
    def pack(self, vector: Vector) -> Limbs:
        """The plaintexts of a vector, ``uint64[ciphertexts, modulus_bits/64]``.

        Raises:
            PaillierError: not a uint32 vector, of another length than it has to be, or a value out of range.
        """

    @abstractmethod
    def unpack(self, plaintexts: Sequence[int], length: int) -> Vector:
        """The vector that was packed, or the sum of those whose ciphertexts were multiplied.

        Raises:
            PaillierError: not the plaintexts of so long a vector: another number, or bits outside its slots.
        """

    def header_bytes(self) -> int:
        """Bytes of a piece before its ciphertexts."""
        return _FINGERPRINT_BYTES + _FIELD_BYTES * len(self.fields(0, 0))


@dataclass(frozen=True)
class Packing(Plaintexts):
    """One run.

    Attributes:
        top: a client's values are at most that.
        clients: most summands.
        modulus_bits: length of n.

    Raises:
        PaillierError: a slot of more than 32 bits, or nothing to put into it.
    """

    top: int
    clients: int
    modulus_bits: int

    def __post_init__(self) -> None:
        if self.top < 1 or self.clients < 1 or self.slot_bits > _MAX_SLOT_BITS:
            raise PaillierError(
                f"values up to {self.top} summed over {self.clients} clients do not fit slots of 1 to {_MAX_SLOT_BITS} "
                "bits"
            )

    @property
    def slot_bits(self) -> int:
        """w, bits per slot."""
        return (self.clients * self.top).bit_length()

    @property
    def slots(self) -> int:
        """Values per ciphertext."""
        return (self.modulus_bits - 2) // self.slot_bits

    def ciphertexts(self, length: int) -> int:
        """Ciphertexts that a vector of this length takes."""
        return -(-length // self.slots)

    def fields(self, first: int, length: int) -> tuple[int, ...]:
        """See ``Plaintexts``."""
        return self.top, self.clients, first, length

    def place(self, first: int, length: int) -> int:
        """A piece begins where a plaintext does."""
        if first < 0 or first % self.slots or length < 1:
            raise PaillierError(
                f"{length} coordinates from {first} on: a piece is not empty and starts at a multiple of {self.slots}"
            )
        return first // self.slots

    def pack(self, vector: Vector) -> Limbs:
        """The plaintexts of a vector, ``uint64[ciphertexts, modulus_bits/64]``.

        Raises:
            PaillierError: not a uint32 vector, or a value above ``top``.
        """
        if vector.dtype != np.uint32 or vector.ndim != 1:
            raise PaillierError(f"{vector.dtype}{vector.shape} is no vector of uint32")
        worst = int(vector.max(initial=0))
        if worst > self.top:
            raise PaillierError(f"entry {int(vector.argmax())} is {worst}, above {self.top}")
        out = np.zeros((self.ciphertexts(vector.size), self.modulus_bits // LIMB_BITS), dtype=np.uint64)

        def work(first: int, last: int) -> None:
            part = np.ascontiguousarray(vector[first * self.slots : last * self.slots])
            _pack(part, self.slots, self.slot_bits, out[first:last])

        parallel.map_ranges(work, out.shape[0], minimum=1024)
        return out

    def unpack(self, plaintexts: Sequence[int], length: int) -> Vector:
        """The vector that was packed, or the sum of those whose ciphertexts were multiplied.

        Raises:
            PaillierError: not the plaintexts of so long a vector: another number, or bits outside its slots.
        """
        if len(plaintexts) != self.ciphertexts(length):
            raise PaillierError(
                f"{len(plaintexts)} plaintexts, not the {self.ciphertexts(length)} of {length} coordinates"
            )
        limbs = self.modulus_bits // LIMB_BITS
        if any(not 0 <= m < 1 << self.modulus_bits for m in plaintexts):
            raise PaillierError(f"a plaintext is longer than {self.modulus_bits} bits")
        rows = np.array([to_limbs(m, limbs) for m in plaintexts], dtype=np.uint64).reshape(len(plaintexts), limbs)
        out = np.empty(length, dtype=np.uint32)
        if not _unpack(rows, self.slots, self.slot_bits, out):
            raise PaillierError("a plaintext has bits outside its slots: it is no sum of so many packed vectors")
        return out


@dataclass(frozen=True)
class PackedRuns(Plaintexts):
    """Several runs, as one piece: of all coordinates, or of none.

    Attributes:
        parts: how each run is packed, for as many clients and a modulus as long as the others, and how long it is.
    """

    parts: tuple[tuple[Packing, int], ...]

    def __post_init__(self) -> None:
        if len({(packing.clients, packing.modulus_bits) for packing, _ in self.parts}) != 1:
            raise PaillierError("runs of one vector are for one number of clients and one length of a modulus")

    @property
    def clients(self) -> int:  # type: ignore[override]  # what is written here follows from the runs
        """Most summands."""
        return self.parts[0][0].clients

    @property
    def modulus_bits(self) -> int:  # type: ignore[override]
        """Length of n."""
        return self.parts[0][0].modulus_bits

    @property
    def length(self) -> int:
        """Coordinates of all runs."""
        return sum(length for _, length in self.parts)

    def ciphertexts(self, length: int) -> int:
        """Those of all runs; ``length`` is that of all."""
        return sum(packing.ciphertexts(each) for packing, each in self.parts)

    def fields(self, first: int, length: int) -> tuple[int, ...]:
        """See ``Plaintexts``."""
        return tuple(itertools.chain.from_iterable(packing.fields(0, each) for packing, each in self.parts))

    def place(self, first: int, length: int) -> int:
        """There is one piece."""
        if first or length != self.length:
            raise PaillierError(f"{length} coordinates from {first} on: a piece of runs holds all {self.length}")
        return 0

    def pack(self, vector: Vector) -> Limbs:
        """Run by run."""
        if vector.size != self.length:
            raise PaillierError(f"{vector.size} coordinates, not the {self.length} of the runs")
        ends = list(itertools.accumulate(length for _, length in self.parts))
        rows = [
            packing.pack(vector[end - length : end]) for (packing, length), end in zip(self.parts, ends, strict=True)
        ]
        return np.concatenate(rows)

    def unpack(self, plaintexts: Sequence[int], length: int) -> Vector:
        """Run by run."""
        if length != self.length or len(plaintexts) != self.ciphertexts(length):
            raise PaillierError(
                f"{len(plaintexts)} plaintexts of {length} coordinates are none of {self.length} in runs"
            )
        found, start = [], 0
        for packing, each in self.parts:
            stop = start + packing.ciphertexts(each)
            found.append(packing.unpack(plaintexts[start:stop], each))
            start = stop
        return np.concatenate(found)


def _header(public: PublicKey, packing: Plaintexts, first: int, length: int) -> bytes:
    return public.fingerprint + b"".join(integer(number) for number in packing.fields(first, length))


def _check_piece(public: PublicKey, packing: Plaintexts, first: int, length: int) -> int:
    """The number of its first ciphertext."""
    if packing.modulus_bits != public.bits:
        raise PaillierError(f"a packing for {packing.modulus_bits} bits and a modulus of {public.bits}")
    return packing.place(first, length)


def encoded_bytes(public: PublicKey, packing: Plaintexts, length: int) -> int:
    """Length of a piece of ``length`` coordinates on the wire."""
    return packing.header_bytes() + packing.ciphertexts(length) * public.ciphertext_bytes


def encrypt_vector(
    encryptor: Encryptor, packing: Plaintexts, vector: Vector, obfuscators: Obfuscators, *, first: int = 0
) -> bytes:
    """Encrypt the coordinates from ``first`` on, a multiple of ``packing.slots``, as one piece on the wire.

    Args:
        vector: uint32, entries in the packing's range.
        obfuscators: ``encryptor.obfuscators(stream, first // packing.slots, packing.ciphertexts(vector.size))``; the
            call spends them.

    Raises:
        PaillierError: an entry too large, an empty or misplaced piece, obfuscators of other ciphertexts or spent.
    """
    place = _check_piece(encryptor.public, packing, first, vector.size)
    plaintexts = packing.pack(vector)
    if obfuscators.first != place:
        raise PaillierError(f"obfuscators from ciphertext {obfuscators.first} on, not {place}")
    header = _header(encryptor.public, packing, first, vector.size)
    return header + encryptor.encrypt_limbs(plaintexts, obfuscators)


def parse_vector(
    public: PublicKey, packing: Plaintexts, data: bytes | memoryview, length: int, *, first: int = 0
) -> list[mpz]:
    """The ciphertexts of one piece, which must be exactly the one asked for; size and header are checked first.

    Raises:
        PaillierError: of another size, key, packing or place, or with something that is no ciphertext (``index``).
    """
    _check_piece(public, packing, first, length)
    expected = encoded_bytes(public, packing, length)
    if len(data) != expected:
        raise PaillierError(f"{len(data)} bytes, not the {expected} of {length} coordinates")
    view = memoryview(data).cast("B")
    if view[:_FINGERPRINT_BYTES] != public.fingerprint:
        raise PaillierError("encrypted under another key")
    end = packing.header_bytes()
    if view[:end] != _header(public, packing, first, length):
        places = range(_FINGERPRINT_BYTES, end, _FIELD_BYTES)
        got = tuple(int.from_bytes(view[at : at + _FIELD_BYTES], "little") for at in places)
        raise PaillierError(f"(top, clients, first, length) is {got}, not {packing.fields(first, length)}")
    return public.parse(view[end:])


def write_vector(
    public: PublicKey, packing: Plaintexts, ciphertexts: Iterable[int], length: int, *, first: int = 0
) -> bytes:
    """What :func:`parse_vector` reads, from ciphertexts made elsewhere.

    Raises:
        PaillierError: an empty or misplaced piece, another number of ciphertexts, or something that is none.
    """
    _check_piece(public, packing, first, length)
    data = _header(public, packing, first, length) + public.serialise(ciphertexts)
    if len(data) != encoded_bytes(public, packing, length):
        raise PaillierError(f"another number of ciphertexts than the {packing.ciphertexts(length)} of {length}")
    return data


class Accumulator:
    """Adds up one piece of many clients' vectors as they arrive; memory is that of one.

    Args:
        length: coordinates in the piece.
        first: its first coordinate, a multiple of ``packing.slots``.
    """

    def __init__(self, public: PublicKey, packing: Plaintexts, length: int, *, first: int = 0) -> None:
        _check_piece(public, packing, first, length)
        self._public, self._packing, self._length, self._first = public, packing, length, first
        self._totals: list[mpz] = []
        self._summands = 0

    @property
    def summands(self) -> int:
        """How many were added."""
        return self._summands

    def add(self, data: bytes | memoryview) -> None:
        """Add one client's piece; everything is checked before anything changes.

        Raises:
            PaillierError: as :func:`parse_vector`, or one summand more than the slots have room for.
        """
        if self._summands == self._packing.clients:
            raise PaillierError(f"the slots have room for {self._summands} summands and hold that many")
        values = parse_vector(self._public, self._packing, data, self._length, first=self._first)
        n_squared = self._public.n_squared
        if self._summands:
            values = [total * value % n_squared for total, value in zip(self._totals, values, strict=True)]
        self._totals, self._summands = values, self._summands + 1

    def total(self) -> bytes:
        """The encrypted sum, a piece of the same form. PaillierError: nothing was added."""
        if not self._summands:
            raise PaillierError("the sum of no ciphertexts is not encrypted")
        return write_vector(self._public, self._packing, self._totals, self._length, first=self._first)


def decrypt_vector(
    secret: SecretKey, packing: Plaintexts, data: bytes | memoryview, length: int, *, first: int = 0
) -> Vector:
    """The exact sums in one piece, uint32, each below 2^slot_bits.

    Raises:
        PaillierError: as :func:`parse_vector`, or plaintexts that are no sums of packed vectors.
    """
    ciphertexts = parse_vector(secret.public, packing, data, length, first=first)
    return packing.unpack(secret.decrypt(ciphertexts), length)
