"""Vectors of small integers as Paillier ciphertexts: many slots in one plaintext, with room for the sum.

A slot has w = value_bits + ceil(log2 clients) bits, so that the sum of all clients' values never reaches the next one;
slot 0 is the plaintext's lowest, and floor((bits − 2) / w) slots stay below n.

On the wire a piece of a vector is, all integers little endian,

    fingerprint of the public key (32 bytes) ‖ value_bits ‖ clients ‖ first ‖ length (8 bytes each)
    ‖ ceil(length / slots) ciphertexts of bits/4 bytes each,

where the piece holds the coordinates first … first + length − 1. Every field has one admissible value, which the reader
knows beforehand. A sum has the form of its summands. Nothing here is authenticated: that is the messages' business.
"""

from __future__ import annotations

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

HEADER_BYTES: Final = 32 + 4 * 8
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


@dataclass(frozen=True)
class Packing:
    """How values lie in plaintexts.

    Attributes:
        value_bits: a client's values are below 2^value_bits.
        clients: most summands.
        modulus_bits: length of n.

    Raises:
        PaillierError: a slot of more than 32 bits, or nothing to put into it.
    """

    value_bits: int
    clients: int
    modulus_bits: int

    def __post_init__(self) -> None:
        if self.value_bits < 1 or self.clients < 1 or self.slot_bits > _MAX_SLOT_BITS:
            raise PaillierError(
                f"{self.value_bits} bits summed over {self.clients} clients do not fit slots of 1 to {_MAX_SLOT_BITS}"
            )

    @property
    def slot_bits(self) -> int:
        """w, bits per slot."""
        return self.value_bits + (self.clients - 1).bit_length()

    @property
    def slots(self) -> int:
        """Values per ciphertext."""
        return (self.modulus_bits - 2) // self.slot_bits

    def ciphertexts(self, length: int) -> int:
        """Ciphertexts that a vector of this length takes."""
        return -(-length // self.slots)

    def pack(self, vector: Vector) -> Limbs:
        """The plaintexts of a vector, ``uint64[ciphertexts, modulus_bits/64]``.

        Raises:
            PaillierError: not a uint32 vector, or a value that needs more than value_bits.
        """
        if vector.dtype != np.uint32 or vector.ndim != 1:
            raise PaillierError(f"{vector.dtype}{vector.shape} is no vector of uint32")
        worst = int(vector.max(initial=0))
        if worst >> self.value_bits:
            raise PaillierError(f"entry {int(vector.argmax())} is {worst}, which is not below 2^{self.value_bits}")
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


def _header(public: PublicKey, packing: Packing, first: int, length: int) -> bytes:
    numbers = (packing.value_bits, packing.clients, first, length)
    return public.fingerprint + b"".join(integer(number) for number in numbers)


def _check_piece(public: PublicKey, packing: Packing, first: int, length: int) -> None:
    if packing.modulus_bits != public.bits:
        raise PaillierError(f"a packing for {packing.modulus_bits} bits and a modulus of {public.bits}")
    if first < 0 or first % packing.slots or length < 1:
        raise PaillierError(
            f"{length} coordinates from {first} on: a piece is not empty and starts at a multiple of {packing.slots}"
        )


def encoded_bytes(public: PublicKey, packing: Packing, length: int) -> int:
    """Length of a piece of ``length`` coordinates on the wire."""
    return HEADER_BYTES + packing.ciphertexts(length) * public.ciphertext_bytes


def encrypt_vector(
    encryptor: Encryptor, packing: Packing, vector: Vector, obfuscators: Obfuscators, *, first: int = 0
) -> bytes:
    """Encrypt the coordinates from ``first`` on, a multiple of ``packing.slots``, as one piece on the wire.

    Args:
        vector: uint32, entries below 2^value_bits.
        obfuscators: ``encryptor.obfuscators(stream, first // packing.slots, packing.ciphertexts(vector.size))``; the
            call spends them.

    Raises:
        PaillierError: an entry too large, an empty or misplaced piece, obfuscators of other ciphertexts or spent.
    """
    _check_piece(encryptor.public, packing, first, vector.size)
    plaintexts = packing.pack(vector)
    if obfuscators.first != first // packing.slots:
        raise PaillierError(f"obfuscators from ciphertext {obfuscators.first} on, not {first // packing.slots}")
    header = _header(encryptor.public, packing, first, vector.size)
    return header + encryptor.encrypt_limbs(plaintexts, obfuscators)


def parse_vector(
    public: PublicKey, packing: Packing, data: bytes | memoryview, length: int, *, first: int = 0
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
    if view[:32] != public.fingerprint:
        raise PaillierError("encrypted under another key")
    if view[:HEADER_BYTES] != _header(public, packing, first, length):
        got = [int.from_bytes(view[i : i + 8], "little") for i in range(32, HEADER_BYTES, 8)]
        raise PaillierError(
            f"(value_bits, clients, first, length) is {tuple(got)}, "
            f"not {(packing.value_bits, packing.clients, first, length)}"
        )
    return public.parse(view[HEADER_BYTES:])


def write_vector(
    public: PublicKey, packing: Packing, ciphertexts: Iterable[int], length: int, *, first: int = 0
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

    def __init__(self, public: PublicKey, packing: Packing, length: int, *, first: int = 0) -> None:
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
    secret: SecretKey, packing: Packing, data: bytes | memoryview, length: int, *, first: int = 0
) -> Vector:
    """The exact sums in one piece, uint32, each below 2^slot_bits.

    Raises:
        PaillierError: as :func:`parse_vector`, or plaintexts that are no sums of packed vectors.
    """
    ciphertexts = parse_vector(secret.public, packing, data, length, first=first)
    return packing.unpack(secret.decrypt(ciphertexts), length)
