"""Correlated randomness from a process that is no party.

Every correlation is a sharing of numbers with a known relation. All shares but one come from keys that the provider
gives each party for a job; the last, that of party 0, is what makes the relation true, and is sent to it: the
*correction*. The provider is asked with sizes alone and sees no data.

It must not collude with any party: with what it knows, the values that a party sees opened, and masked by them, are
the clients' updates. It follows the protocol (wrong correlations give wrong results, unnoticed).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from mpc.optional import Optional
from secure_agg.backends.crypten.engine import link
from secure_agg.backends.crypten.engine.jobs import MAX_BITS, MAX_WORDS
from secure_agg.backends.crypten.engine.kernels import from_planes, words_for
from secure_agg.backends.crypten.engine.link import Place
from secure_agg.backends.crypten.engine.randomness import Stream, Words
from secure_agg.errors import LocalProtocolError, MalformedMessage

torch: Any = Optional("torch", "mpc")


class Kind(IntEnum):
    """What the provider can be asked for."""

    END = 0
    PRODUCT = 1
    """Words a, b, a·b."""
    SQUARE = 2
    """Words a, a²."""
    AND = 3
    """64-bit words a, b, a & b, under exclusive or."""
    BIT = 4
    """One bit to a word: under exclusive or, and as a word modulo 2^64."""
    BITS = 5
    """Bits, packed: under exclusive or, and each as a word."""
    MASKS = 6
    """Uniform words r for opening x + r: the low bits of r as planes under exclusive or, r's two parts as words, and
    the sum of r² over each row."""


class Request(NamedTuple):
    """A request: how many rows of how many columns, and the low bits of masks."""

    kind: Kind
    rows: int = 0
    columns: int = 0
    bits: int = 0


_SHAPE: Final = len(Request._fields)


@dataclass(frozen=True)
class Masks:
    """This party's share of masks r = low + 2^bits · high.

    Attributes:
        planes: the bits of low, (bits, rows, words).
        low, high: (rows, count) modulo 2^64.
        squares: sums of r² over rows, (rows).
    """

    planes: Words
    low: Words
    high: Words
    squares: Words

    def whole(self, bits: int) -> Words:
        """r, (rows, count)."""
        return self.low + (self.high << np.uint64(bits))


def _shapes(request: Request) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Shapes of what is drawn freely by all, and of what is corrected, in the order of the draws."""
    rows, count, bits = request.rows, request.columns, request.bits
    plane = (rows, words_for(count))
    match request.kind:
        case Kind.PRODUCT | Kind.AND:
            return [(rows, count), (rows, count)], [(rows, count)]
        case Kind.SQUARE | Kind.BIT:
            return [(rows, count)], [(rows, count)]
        case Kind.BITS:
            return [plane], [(rows, count)]
        case _:
            return [(bits, *plane), (rows, count)], [(rows, count), (rows,)]


def _sum(parts: list[Words]) -> Words:
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total


def _xor(parts: list[Words]) -> Words:
    total = parts[0].copy()
    for part in parts[1:]:
        total ^= part
    return total


_ONE: Final = np.uint64(1)


def _related(request: Request, free: list[list[Words]]) -> list[Words]:
    """The corrected values in clear, from all parties' free draws."""
    match request.kind:
        case Kind.PRODUCT:
            return [_sum(free[0]) * _sum(free[1])]
        case Kind.SQUARE:
            return [_sum(free[0]) ** 2]
        case Kind.AND:
            return [_xor(free[0]) & _xor(free[1])]
        case Kind.BIT:
            return [_xor(free[0]) & _ONE]
        case Kind.BITS:
            return [from_planes(_xor(free[0])[np.newaxis], request.columns)]
        case _:
            low = from_planes(_xor(free[0]), request.columns)
            whole = low + (_sum(free[1]) << np.uint64(request.bits))
            whole *= whole
            return [low, whole.sum(axis=1, dtype=np.uint64)]


def corrections(request: Request, streams: list[Stream]) -> list[Words]:
    """Party 0's part of the corrected values. ``streams``: one for each party."""
    free_shapes, corrected_shapes = _shapes(request)
    free = [[stream.draw(*shape) for stream in streams] for shape in free_shapes]
    values = _related(request, free)
    for value, shape in zip(values, corrected_shapes, strict=True):
        streams[0].skip()
        for stream in streams[1:]:
            if request.kind == Kind.AND:
                value ^= stream.draw(*shape)
            else:
                value -= stream.draw(*shape)
    return values


def serve_job(crypten: Any, place: Place) -> None:
    """Answer requests of one job, until party 0 says that it is done.

    Raises:
        MalformedMessage: a request that is none, or is too large.
        RuntimeError: PyTorch's; a party is gone or silent for too long.
    """
    streams = link.deal_keys(crypten, place)
    while True:
        words = link.receive(crypten, _SHAPE, 0)
        request = _read(words)
        if request.kind == Kind.END:
            return
        values = corrections(request, streams)
        link.send(crypten, np.concatenate([value.reshape(-1) for value in values]), 0)


def _read(words: Words) -> Request:
    kind, rows, count, bits = (int(word) for word in words)
    if kind not in list(Kind) or bits > MAX_BITS or (kind != Kind.END and not 1 <= rows * count <= MAX_WORDS):
        raise MalformedMessage(f"no request for randomness: {(kind, rows, count, bits)}", culprit="party 0")
    return Request(Kind(kind), rows, count, bits)


# Circuits take many small batches of AND triples: they are asked for in advance, more and more.
_FIRST_STOCK: Final = 1 << 14
_LARGEST_STOCK: Final = 1 << 18


class KeyStreamProvider:
    """A party's side, behind the interface of ``crypten.mpc.provider.TupleProvider``."""

    NAME = "KeyStream"

    def __init__(self, crypten: Any, place: Place, stream: Stream) -> None:
        self._crypten, self._place, self._stream = crypten, place, stream
        self._primitives = crypten.mpc.primitives
        self._stock: list[Words] = [np.empty(0, np.uint64)] * 3
        self._order = _FIRST_STOCK

    def __repr__(self) -> str:
        return f"KeyStreamProvider(rank={self._place.rank})"

    def _ask(self, request: Request) -> list[Words]:
        """This party's shares: the free ones, then the corrected ones."""
        free, corrected = _shapes(request)
        if self._place.rank == 0:
            link.send(self._crypten, np.array(request, dtype=np.uint64), self._place.parties)
        shares = [self._stream.draw(*shape) for shape in free]
        if self._place.rank == 0:
            sizes = [int(np.prod(shape)) for shape in corrected]
            words = link.receive(self._crypten, sum(sizes), self._place.parties)
            pieces = np.split(words, np.cumsum(sizes)[:-1])
            for piece, shape in zip(pieces, corrected, strict=True):
                self._stream.skip()
                shares.append(piece.reshape(shape))
        else:
            shares += [self._stream.draw(*shape) for shape in corrected]
        return shares

    def finish(self) -> None:
        """Let the provider go on to the next job."""
        if self._place.rank == 0:
            link.send(self._crypten, np.array(Request(Kind.END), dtype=np.uint64), self._place.parties)

    def masks(self, rows: int, count: int, bits: int) -> Masks:
        """See ``Kind.MASKS``."""
        planes, high, low, squares = self._ask(Request(Kind.MASKS, rows, count, bits))
        return Masks(planes, low, high, squares)

    def packed_bits(self, rows: int, count: int) -> tuple[Words, Words]:
        """Random bits: planes (rows, words) under exclusive or, and words (rows, count) modulo 2^64."""
        packed, words = self._ask(Request(Kind.BITS, rows, count))
        return packed, words

    # --- what CrypTen's own operations ask for --------------------------------------------------------------

    def _tensors(self, kind: Kind, size: Any) -> list[Any]:
        shares = self._ask(Request(kind, 1, int(np.prod(size))))
        return [torch.from_numpy(share.reshape(tuple(size)).view(np.int64)) for share in shares]

    def _arithmetic(self, tensor: Any) -> Any:
        return self._primitives.ArithmeticSharedTensor.from_shares(tensor, precision=0)

    def _binary(self, tensor: Any) -> Any:
        return self._primitives.BinarySharedTensor.from_shares(tensor)

    def generate_additive_triple(self, size0: Any, size1: Any, op: str, *_: object, **__: object) -> tuple[Any, ...]:
        """Words a, b, a·b of one shape.

        Raises:
            LocalProtocolError: for another operation than ``mul``, or different shapes.
        """
        if op != "mul" or size0 != size1:
            raise LocalProtocolError(f"no triples for {op} of {tuple(size0)} and {tuple(size1)}")
        return tuple(map(self._arithmetic, self._tensors(Kind.PRODUCT, size0)))

    def square(self, size: Any, device: object = None) -> tuple[Any, ...]:
        """Words a and a²."""
        return tuple(map(self._arithmetic, self._tensors(Kind.SQUARE, size)))

    def generate_binary_triple(self, size0: Any, size1: Any, device: object = None) -> tuple[Any, ...]:
        """Words a, b, a & b of one shape.

        Raises:
            LocalProtocolError: different shapes.
        """
        if size0 != size1:
            raise LocalProtocolError(f"no triples for bits of {tuple(size0)} and {tuple(size1)}")
        count = int(np.prod(size0))
        if self._stock[0].size < count:  # what is left is too little: thrown away
            self._stock = [words[0] for words in self._ask(Request(Kind.AND, 1, max(count, self._order)))]
            self._order = min(2 * self._order, _LARGEST_STOCK)
        taken = [words[:count].reshape(tuple(size0)) for words in self._stock]
        self._stock = [words[count:] for words in self._stock]
        return tuple(self._binary(torch.from_numpy(words.view(np.int64))) for words in taken)

    def B2A_rng(self, size: Any, device: object = None) -> tuple[Any, Any]:  # noqa: N802 - CrypTen's name
        """A random bit to a word, as arithmetic and binary shares."""
        binary, arithmetic = self._tensors(Kind.BIT, size)
        return self._arithmetic(arithmetic), self._binary(binary & 1)

    def wrap_rng(self, size: Any, device: object = None) -> tuple[Any, Any]:
        """Truncation isn't offered: it is exact only with some probability.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("fixed-point truncation is asked for; only whole numbers are computed with")
