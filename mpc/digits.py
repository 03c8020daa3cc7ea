"""Several small integers in one element: digits in a base that no sum of them reaches, so sums never carry.

Element i of a packed vector holds the values i·k … i·k + k − 1 as

    v[i·k] + v[i·k + 1]·B + … + v[i·k + k − 1]·B^(k − 1),

the last element as many as are left. Adding packed vectors adds the values, as long as each sum stays below B. Who
reads a sum that was tampered with finds other digits, or an element with more than k of them, and must not take either
for more than a claim.

Values of several ranges are *runs*, one after the other, each packed with a base of its own from a new element on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK
from mpc.ring import P, Vector
from mpc.words import Words

_P64: Final = np.uint64(P)


def _rows(values: Vector, count: int, rows: int) -> Words:
    """Values as digits of elements, the last one filled up with zeros."""
    padded = np.zeros(rows * count, dtype=np.uint64)
    padded[: values.size] = values
    return padded.reshape(rows, count)


def _plain_pack(values: Vector, base: np.uint64, count: int, out: Words) -> None:
    digits = _rows(values, count, out.size)
    out[:] = 0
    for k in reversed(range(count)):
        out[:] = out * base + digits[:, k]


@compiled(or_else=_plain_pack)
def _pack(values: Vector, base: np.uint64, count: int, out: Words) -> None:
    for i in range(out.size):
        part = values[i * count : (i + 1) * count]
        word = np.uint64(0)
        for k in range(part.size - 1, -1, -1):  # Horner's rule, from the highest digit down
            word = word * base + np.uint64(part[k])
        out[i] = word


def _plain_pack_residues(values: Vector, base: np.uint64, count: int, out: Vector) -> None:
    words = np.empty(out.size, dtype=np.uint64)
    _plain_pack(values, base, count, words)
    out[:] = words % _P64


@compiled(or_else=_plain_pack_residues)
def _pack_residues(values: Vector, base: np.uint64, count: int, out: Vector) -> None:
    """For B^k ≤ 2^32, so that 32 bits times B^k / (B − 1) stay below 2^64 whatever the values are: reduced once."""
    for i in range(out.size):
        at = i * count
        word = np.uint64(0)
        for k in range(min(at + count, values.size) - 1, at - 1, -1):
            word = word * base + np.uint64(values[k])
        out[i] = np.uint32(word % _P64)


def _plain_unpack(words: npt.NDArray[Any], base: np.uint64, count: int, out: Vector) -> int:
    rest = words.astype(np.uint64)
    digits = np.empty((words.size, count), dtype=np.uint64)
    for k in range(count):
        rest, digits[:, k] = np.divmod(rest, base)
    out[:] = digits.reshape(-1)[: out.size]
    # Digits that the last element has no room for are more than its own.
    left = rest > 0
    if words.size and digits.reshape(-1)[out.size :].any():
        left[-1] = True
    return int(left.argmax()) if left.any() else -1


@compiled(or_else=_plain_unpack)
def _unpack(words: npt.NDArray[Any], base: np.uint64, count: int, out: Vector) -> int:
    """Fill ``out``; returns the place of the first element that holds more than its digits, or −1."""
    fault = -1
    for i in range(words.size):
        part = out[i * count : (i + 1) * count]
        word = np.uint64(words[i])
        for k in range(part.size):
            rest = word // base  # one division for both: the remainder follows from it
            part[k] = np.uint32(word - rest * base)
            word = rest
        if word and fault < 0:
            fault = i
    return fault


@dataclass(frozen=True)
class Digits:
    """How values lie in elements.

    Attributes:
        base: B, more than any sum of values; at most 2^32.
        count: k, values in an element; B^k is at most 2^64.
    """

    base: int
    count: int

    def __post_init__(self) -> None:
        if not (2 <= self.base <= 1 << 32 and self.count >= 1 and self.base**self.count <= 1 << 64):
            raise ValueError(f"{self.count} digits in base {self.base} are none, or more than 64 bits hold")

    @staticmethod
    def fitting(base: int, bits: int) -> Digits:
        """As many digits as elements below 2^bits hold, and no fewer than one."""
        count = 1
        while base ** (count + 1) <= 1 << bits:
            count += 1
        return Digits(base, count)

    @property
    def width(self) -> int:
        """Bits of the largest element."""
        largest: int = self.base**self.count - 1
        return largest.bit_length()

    def elements(self, length: int) -> int:
        """Elements that hold so many values."""
        return -(-length // self.count)

    def pack(self, values: Vector, out: Words) -> None:
        """Fill ``out`` with the elements, modulo 2^64.

        Raises:
            ValueError: it has another length.
        """
        self._check_length(out.size, values.size)
        self._spread(values.size, lambda span, at: _pack(values[span], self._b, self.count, out[at]))

    def pack_residues(self, values: Vector) -> Vector:
        """Elements modulo p: exact where B^k ≤ p and every value is below B, and linear modulo p in any case.

        Raises:
            ValueError: B^k is above 2^32.
        """
        if self.count == 1:
            return values
        if self.base**self.count > 1 << 32:
            raise ValueError(f"{self.count} digits in base {self.base} are more than an element of 32 bits holds")
        out = np.empty(self.elements(values.size), dtype=np.uint32)
        self._spread(values.size, lambda span, at: _pack_residues(values[span], self._b, self.count, out[at]))
        return out

    def unpack(self, elements: Words | Vector, out: Vector) -> None:
        """Fill ``out`` with the values in the elements.

        Raises:
            ValueError: there are more or fewer elements than hold so many values, or one holds more than its digits.
        """
        self._check_length(elements.size, out.size)
        faults: list[int] = []  # of several threads

        def work(span: slice, at: slice) -> None:
            fault = _unpack(elements[at], self._b, self.count, out[span])
            if fault >= 0:
                faults.append(at.start + fault)

        self._spread(out.size, work)
        if faults:
            raise ValueError(f"element {min(faults)} holds more than its digits in base {self.base}")

    def _check_length(self, elements: int, values: int) -> None:
        if elements != self.elements(values):
            raise ValueError(f"{elements} elements, not the {self.elements(values)} that hold {values} values")

    @property
    def _b(self) -> np.uint64:
        return np.uint64(self.base)

    def _spread(self, length: int, work: Callable[[slice, slice], None]) -> None:
        """Call ``work`` with the spans of values and of the elements that hold them, over the cores."""
        step = CHUNK // self.count

        def run(first: int, last: int) -> None:
            for chunk in range(first, last):
                work(
                    slice(chunk * step * self.count, (chunk + 1) * step * self.count),
                    slice(chunk * step, (chunk + 1) * step),
                )

        parallel.map_ranges(run, -(-self.elements(length) // step))


@dataclass(frozen=True)
class Runs:
    """A vector of values of several ranges: runs in order, each with digits of its own, and elements of its own.

    Attributes:
        parts: how each run's values lie in elements, and how many they are.
    """

    parts: tuple[tuple[Digits, int], ...]

    @staticmethod
    def fitting(runs: Iterable[tuple[int, int]], bits: int) -> Runs:
        """As many digits as elements below 2^bits hold.

        Args:
            runs: of each how many values it has, and a base above all their sums.
        """
        return Runs(tuple((Digits.fitting(base, bits), length) for length, base in runs))

    @property
    def values(self) -> int:
        """Values of all runs."""
        return sum(length for _, length in self.parts)

    @property
    def elements(self) -> int:
        """Elements that hold them."""
        return sum(digits.elements(length) for digits, length in self.parts)

    @property
    def most(self) -> int:
        """The most values that an element of any run holds; 1 where each is an element, and nothing is packed."""
        return max(digits.count for digits, _ in self.parts)

    @property
    def width(self) -> int:
        """Bits of the largest element."""
        return max(digits.width for digits, _ in self.parts)

    def pack(self, values: Vector) -> Words:
        """The elements, modulo 2^64.

        Raises:
            ValueError: there are more or fewer values.
        """
        self._check(values.size, self.values, "values")
        out = np.empty(self.elements, dtype=np.uint64)
        for digits, inside, place in self._places():
            digits.pack(values[inside], out[place])
        return out

    def pack_residues(self, values: Vector) -> Vector:
        """The elements modulo p, see ``Digits.pack_residues``.

        Raises:
            ValueError: there are more or fewer values.
        """
        self._check(values.size, self.values, "values")
        parts = [digits.pack_residues(values[inside]) for digits, inside, _ in self._places()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def unpack(self, elements: Words | Vector, out: Vector) -> None:
        """Fill ``out`` with the values in the elements.

        Raises:
            ValueError: there are more or fewer than hold so many values, or one holds more than its digits.
        """
        self._check(elements.size, self.elements, "elements")
        self._check(out.size, self.values, "values")
        for digits, inside, place in self._places():
            digits.unpack(elements[place], out[inside])

    def _check(self, size: int, wanted: int, what: str) -> None:
        if size != wanted:
            raise ValueError(f"{size} {what}, not the {wanted} of {len(self.parts)} runs")

    def _places(self) -> Iterable[tuple[Digits, slice, slice]]:
        """Of each run its digits, and where its values and its elements are."""
        value = element = 0
        for digits, length in self.parts:
            elements = digits.elements(length)
            yield digits, slice(value, value + length), slice(element, element + elements)
            value, element = value + length, element + elements
