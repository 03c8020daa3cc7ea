"""Multiplication modulo n² in compiled kernels that release Python's global lock.

A residue modulo n² is kept as two digits in base n, x = x₀ + x₁·n with 0 ≤ x₀, x₁ < n, and a *number* is such a
pair as ``uint64[2, limbs]``, little endian. Montgomery's method (Montgomery 1985) then works modulo n only. With
R = 2^(64 · limbs) and m the Montgomery quotient of a₀·b₀, that is a₀·b₀ = R·t − m·n,

    a·b·R⁻¹  =  t + n · ((a₀·b₁ + a₁·b₀ − m)·R⁻¹ mod n)   modulo n²,

which takes 5·limbs² word products where the method modulo n² itself takes 8·limbs². Everything is linear in R: a
product of a number in Montgomery form (x·R) and a plain one is plain.

The kernels' time does not depend on the values but for the last subtractions; which table entries are read does.

They copy word by word (``_copy``): an assignment of arrays, ``a[:] = b``, can fail on their shapes, and for the text
of that error numba compiles its strings, which takes several times as long as everything else here.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import Instruction, compiled
from mpc.optional import Optional

ir: Any = Optional("llvmlite.ir", "paillier")
types: Any = Optional("numba.types", "paillier")

LIMB_BITS: Final = 64
WINDOW_BITS: Final = 8
"""Exponent bits per table row. At 2048 bits, 8 means 17 MB and 128 products a power, 10 means 54 MB and 103."""

Limbs = npt.NDArray[np.uint64]
Digits = npt.NDArray[np.uint8]

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


@Instruction
def _multiply_add(typing_context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """(low, high) words of a·b + c + d, which always fits into two: numba itself has no 128-bit product."""
    word = types.uint64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(2 * LIMB_BITS)
        a, b, c, d = (builder.zext(argument, wide) for argument in arguments)
        total = builder.add(builder.add(builder.mul(a, b), c), d)
        low = builder.trunc(total, ir.IntType(LIMB_BITS))
        high = builder.trunc(builder.lshr(total, ir.Constant(wide, LIMB_BITS)), ir.IntType(LIMB_BITS))
        return context.make_tuple(builder, signature.return_type, (low, high))

    return types.UniTuple(word, 2)(word, word, word, word), generate


@compiled()
def _subtract(a: Limbs, top: np.uint64, n: Limbs) -> np.uint64:
    """Subtract n from a + top·R ≥ n, in place; returns the new top word."""
    borrow = _ZERO
    for j in range(n.size):
        difference = np.uint64(a[j] - n[j])
        under = _ONE if a[j] < n[j] else _ZERO
        under |= _ONE if difference < borrow else _ZERO
        a[j] = difference - borrow
        borrow = under
    return np.uint64(top - borrow)


@compiled()
def _is_below(a: Limbs, top: np.uint64, n: Limbs) -> bool:
    if top:
        return False
    for j in range(n.size - 1, -1, -1):
        if a[j] != n[j]:
            return bool(a[j] < n[j])
    return False


@compiled()
def _copy(number: Limbs, out: Limbs) -> None:
    for digit in range(2):
        for j in range(out.shape[1]):
            out[digit, j] = number[digit, j]


@compiled()
def _multiply(a: Limbs, b: Limbs, n: Limbs, inverse: np.uint64, start: Limbs, out: Limbs, quotient: Limbs) -> None:
    """``out = a · b · R⁻¹`` modulo n²; ``out`` is neither a nor b. ``inverse`` is −n⁻¹ modulo 2^64.

    The second digit's sum begins at ``start`` = 2n − R + 1 and takes in the complements ~m word by word, together
    2n − m: the same modulo n as −m, and not negative.
    """
    limbs = n.size
    a0, a1, b0, b1 = a[0], a[1], b[0], b[1]
    t = out[0]
    for j in range(limbs):
        t[j] = _ZERO
    top = _ZERO
    # t = (a₀·b₀ + m·n) / R, a word of b₀ at a time: q makes the lowest word zero, and all others move down by one.
    for i in range(limbs):
        low, carry_a = _multiply_add(a0[0], b0[i], t[0], _ZERO)
        q = np.uint64(low * inverse)
        quotient[i] = q
        low, carry_n = _multiply_add(q, n[0], low, _ZERO)
        for j in range(1, limbs):
            low, carry_a = _multiply_add(a0[j], b0[i], t[j], carry_a)
            low, carry_n = _multiply_add(q, n[j], low, carry_n)
            t[j - 1] = low
        t[limbs - 1], top = _multiply_add(_ONE, carry_a, carry_n, top)
    extra = _ZERO  # t = t mod n + extra · n
    while not _is_below(t, top, n):
        top = _subtract(t, top, n)
        extra += _ONE

    # The second digit likewise, with two products in one pass. Its quotient is not needed by anybody.
    u = out[1]
    for j in range(limbs):
        u[j] = start[j]
    top = _ZERO
    for i in range(limbs):
        low, carry_a = _multiply_add(a0[0], b1[i], u[0], ~quotient[i])
        low, carry_b = _multiply_add(a1[0], b0[i], low, _ZERO)
        q = np.uint64(low * inverse)
        low, carry_n = _multiply_add(q, n[0], low, _ZERO)
        for j in range(1, limbs):
            low, carry_a = _multiply_add(a0[j], b1[i], u[j], carry_a)
            low, carry_b = _multiply_add(a1[j], b0[i], low, carry_b)
            low, carry_n = _multiply_add(q, n[j], low, carry_n)
            u[j - 1] = low
        low, high = _multiply_add(_ONE, carry_a, carry_b, carry_n)
        u[limbs - 1], more = _multiply_add(_ONE, low, top, _ZERO)
        top = np.uint64(high + more)
    for j in range(limbs):  # what the first digit had too much of n
        u[j], extra = _multiply_add(_ONE, u[j], extra, _ZERO)
    top += extra
    while not _is_below(u, top, n):
        top = _subtract(u, top, n)


@compiled()
def _fill_table(one: Limbs, base: Limbs, n: Limbs, inverse: np.uint64, start: Limbs, table: Limbs) -> None:
    """``table[i, d]`` = base^(d · 2^(8i)), all in Montgomery form."""
    quotient = np.empty(n.size, np.uint64)
    step = np.empty((2, n.size), np.uint64)
    _copy(base, step)
    last = table.shape[1] - 1
    for i in range(table.shape[0]):
        _copy(one, table[i, 0])
        for d in range(last):
            _multiply(table[i, d], step, n, inverse, start, table[i, d + 1], quotient)
        _multiply(table[i, last], table[i, 1], n, inverse, start, step, quotient)


@compiled()
def _powers(table: Limbs, digits: Digits, n: Limbs, inverse: np.uint64, start: Limbs, out: Limbs) -> None:
    """``out[k]`` = product over i of ``table[i, digits[k, i]]``, in Montgomery form."""
    quotient = np.empty(n.size, np.uint64)
    spare = np.empty((2, n.size), np.uint64)
    for k in range(digits.shape[0]):
        _copy(table[0, digits[k, 0]], spare)
        for i in range(1, digits.shape[1]):
            _multiply(spare, table[i, digits[k, i]], n, inverse, start, out[k], quotient)
            _copy(out[k], spare)
        _copy(spare, out[k])


@compiled()
def _blind(numbers: Limbs, messages: Limbs, n: Limbs, inverse: np.uint64, start: Limbs) -> None:
    """``numbers[k]``: from the Montgomery form of x to the 2·limbs words of x · (1 + messages[k]·n) mod n²."""
    limbs = n.size
    quotient = np.empty(limbs, np.uint64)
    factor = np.empty((2, limbs), np.uint64)
    for j in range(limbs):
        factor[0, j] = _ZERO
    factor[0, 0] = _ONE
    product = np.empty((2, limbs), np.uint64)
    for k in range(messages.shape[0]):
        for j in range(limbs):
            factor[1, j] = messages[k, j]
        _multiply(numbers[k], factor, n, inverse, start, product, quotient)
        words = numbers[k].reshape(2 * limbs)
        for j in range(limbs):
            words[j], words[limbs + j] = product[0, j], _ZERO
        for i in range(limbs):
            carry = _ZERO
            for j in range(limbs):
                words[i + j], carry = _multiply_add(product[1, i], n[j], words[i + j], carry)
            words[i + limbs] = carry  # untouched until now: nothing is lost


def to_limbs(value: int, limbs: int) -> Limbs:
    """A non-negative integer as ``limbs`` 64-bit words, least significant first. OverflowError: it is longer."""
    return np.frombuffer(value.to_bytes(8 * limbs, "little"), dtype="<u8").astype(np.uint64)


class FixedBase:
    """Powers of one public base modulo n² from a table (Brickell, Gordon, McCurley and Wilson 1992).

    Args:
        base: in [0, n²).
        n: odd, its bit length a multiple of 64 (n > R/2).
        exponent_bytes: the exponents' length.

    The table has 256 entries of 2·n's length per exponent byte: 17 MB for 128 bytes and n of 2048 bits, 38 MB for
    192 and 3072. A power is one product per exponent byte, the same number whatever the exponent.
    """

    def __init__(self, base: int, n: int, exponent_bytes: int) -> None:
        self._limbs = n.bit_length() // LIMB_BITS
        radix = 1 << n.bit_length()
        self._n = to_limbs(n, self._limbs)
        self._inverse = np.uint64(-pow(n, -1, 1 << LIMB_BITS) % (1 << LIMB_BITS))
        self._start = to_limbs(2 * n - radix + 1, self._limbs)
        self._table = np.empty((exponent_bytes, 1 << WINDOW_BITS, 2, self._limbs), dtype=np.uint64)
        one, first = (
            np.stack([to_limbs(digit, self._limbs) for digit in reversed(divmod(x * radix % (n * n), n))])
            for x in (1, base)
        )
        _fill_table(one, first, self._n, self._inverse, self._start, self._table)

    @property
    def table_bytes(self) -> int:
        """Memory that the table takes."""
        return self._table.nbytes

    def powers(self, exponents: Digits) -> Limbs:
        """base^e for every row of little-endian exponent bytes.

        Returns:
            uint64[rows, 2, limbs], numbers in Montgomery form, for :meth:`blind`.
        """
        out = np.empty((exponents.shape[0], 2, self._limbs), dtype=np.uint64)

        def work(first: int, last: int) -> None:
            digits, part = exponents[first:last], out[first:last]
            _powers(self._table, digits, self._n, self._inverse, self._start, part)

        parallel.map_ranges(work, exponents.shape[0])
        return out

    def blind(self, powers: Limbs, messages: Limbs) -> Limbs:
        """x · (1 + message·n) modulo n², for each x of :meth:`powers` (overwritten) and each message below n.

        Returns:
            uint64[rows, 2 · limbs], plain integers, least significant word first; a view of ``powers``.
        """

        def work(first: int, last: int) -> None:
            _blind(powers[first:last], messages[first:last], self._n, self._inverse, self._start)

        parallel.map_ranges(work, powers.shape[0], minimum=16)
        return powers.reshape(powers.shape[0], 2 * self._limbs)
