"""What the parties compute. Runs in every party's process, with its own shares.

**Opening under a mask.** For each coordinate x, shared modulo 2^64, the provider deals a uniform r = low + 2^q·high of
64 bits, as words and with low's q bits also under exclusive or. The parties open c = x + r: uniform, whatever x is.

**Range.** Of c − r the low q bits, y, are computed by a subtraction circuit on q bits. They are in range by
construction, and x is in range exactly if x = y modulo 2^64. The borrow b of the circuit gives y as words too:
y = c mod 2^q − low + 2^q·b. So each coordinate has a shared word x − y which has to be 0. 64 random subset sums of
these words, the subsets chosen by coins that nobody knew when the shares were sent, are 0 if all are; if one isn't,
each sum is 0 with probability at most 1/2 (with that word and without it can't both give 0), independently. A circuit
tests that all 64 are 0: it accepts an out-of-range vector with probability at most 2^-64, and refuses none in range. No
share, however chosen, has another effect than the vector it sums up to.

**Norm.** Σ(x − m)² = Σ(c − m)² − 2Σ(c − m)·r + Σr², where the provider deals the last sum. Of a vector in range it is
below 2^63 (refused at configuration otherwise), and so is the bound: the sign of their difference modulo 2^64 is
exact. For a vector out of range it means nothing and is overruled by the range's bit.

**Comparison** is on the planes of y. All pairs of clients are compared, each client's rank is the count of those before
it (of equal values the earlier client's comes first, so ranks are a permutation), and those with middle ranks are
added.

Of CrypTen's own, AND, product and the conversion of words to bits are used; the latter is exact for every word. Its
comparison isn't: it takes the sign of the difference, which is wrong from differences of 2^63 on (and its equality
test, with three parties or more, at 2^63).

Opened are, but for values under fresh uniform masks, only what ``_disclose`` opens: one bit for each client, and the
result's words, rerandomised by a sharing of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from mpc.optional import Optional
from secure_agg.backends.crypten.engine import circuits
from secure_agg.backends.crypten.engine.circuits import Plane, public
from secure_agg.backends.crypten.engine.jobs import (
    JUDGE,
    MEDIAN,
    SUM,
    TRIMMED_SUM,
    JobHeader,
    Layout,
    Outcome,
    Vector,
)
from secure_agg.backends.crypten.engine.kernels import WORD, add_subset_sums, from_planes, to_planes
from secure_agg.backends.crypten.engine.provider import KeyStreamProvider
from secure_agg.backends.crypten.engine.randomness import JobKeys, Words

torch: Any = Optional("torch", "mpc")

CHUNK_WORDS: Final = 1 << 19
"""Words of client data worked on at a time (4 MiB)."""

_SUMS: Final = 64  # subset sums of the zero test: its error is 2^-64


@dataclass(frozen=True)
class Party:
    """What a computation runs on.

    Attributes:
        crypten: the loaded module.
        rank: this party; 0 stands in for public values.
        keys: of this job.
        provider: this party's side of it.
    """

    crypten: Any
    rank: int
    keys: JobKeys
    provider: KeyStreamProvider

    def arithmetic(self, words: Words) -> Any:
        """Words modulo 2^64 as CrypTen's shares."""
        return self.crypten.mpc.primitives.ArithmeticSharedTensor.from_shares(public(words), precision=0)

    def plane(self, words: Words) -> Plane:
        """Words under exclusive or as CrypTen's shares."""
        return self.crypten.mpc.primitives.BinarySharedTensor.from_shares(public(words))


def _words(tensor: Any) -> Words:
    words: Words = tensor.numpy().view(np.uint64)
    return words


def _open_masked(shared: Any) -> Words:
    """Open what is uniform whatever the data: only ever applied to values under fresh masks."""
    return _words(shared.reveal())


def _disclose(shared: Any) -> Words:
    """Open an output."""
    shared.share = shared.share.contiguous()
    return _words((shared + shared.PRZS(shared.size())).reveal())


def _disclose_bits(shared: Plane) -> Words:
    """Open output bits."""
    return _words((shared ^ shared.PRZS(shared.size())).reveal())


@dataclass(frozen=True)
class _Chunk:
    """Some coordinates of one width.

    Attributes:
        start, stop: among all coordinates.
        bits: q.
        normed: where they are among those that count for the norm, or None.
    """

    start: int
    stop: int
    bits: int
    normed: slice | None


def _chunks(layout: Layout, clients: int) -> Iterator[_Chunk]:
    size = max(1, CHUNK_WORDS // clients // WORD) * WORD
    start = normed = 0
    for part in layout.ranges:
        for offset in range(0, part.count, size):
            count = min(size, part.count - offset)
            at = normed + offset
            yield _Chunk(
                start + offset, start + offset + count, part.bits, slice(at, at + count) if part.normed else None
            )
        start += part.count
        normed += part.count if part.normed else 0


@dataclass
class _Judgement:
    """What is gathered on the clients while their coordinates go by.

    Attributes:
        sums: (clients, 64), zero for vectors in range.
        norms: (clients), squared.
        planes: for each chunk, the low bits of all values.
    """

    sums: Words
    norms: Words
    planes: list[list[Plane]] = field(default_factory=list)


def _examine(
    party: Party, shares: Words, chunk: _Chunk, centre: Vector | None, found: _Judgement, *, keep: bool
) -> None:
    """Range, norm and bits of one chunk."""
    bits, first = np.uint64(chunk.bits), party.rank == 0
    x = shares[:, chunk.start : chunk.stop]
    masks = party.provider.masks(x.shape[0], x.shape[1], chunk.bits)
    r = masks.whole(chunk.bits)
    c = _open_masked(party.arithmetic(x + r))
    planes, borrow = circuits.subtract(to_planes(c, chunk.bits), [party.plane(plane) for plane in masks.planes])
    if keep:
        found.planes.append(planes)
    excess = x + masks.low  # x − y
    excess -= _to_words(party, borrow, x.shape[1]) << bits
    if first:
        excess -= c & np.uint64((1 << chunk.bits) - 1)
    add_subset_sums(excess, party.keys.coins.draw(x.shape[1]), found.sums)
    if centre is not None and chunk.normed is not None:
        c -= centre[chunk.normed].view(np.uint64)
        r *= c
        found.norms -= r.sum(axis=1, dtype=np.uint64) << np.uint64(1)
        found.norms += masks.squares
        if first:
            c *= c
            found.norms += c.sum(axis=1, dtype=np.uint64)


def _to_words(party: Party, plane: Plane, count: int) -> Words:
    """Shared bits (rows, words) as words (rows, count) modulo 2^64: CrypTen's conversion, for packed bits."""
    packed, words = party.provider.packed_bits(plane.size(0), count)
    opened = from_planes(_open_masked(plane ^ party.plane(packed))[np.newaxis], count)
    # bit = opened + (1 − 2·opened)·random
    result = np.where(opened.astype(bool), -words, words)
    if party.rank == 0:
        result += opened
    return result


def _judge(
    party: Party, job: JobHeader, shares: Words, centre: Vector | None, *, keep: bool = False
) -> tuple[tuple[bool, ...], list[list[Plane]]]:
    """Open one bit for each client: in range, and within the bound if there is one."""
    found = _Judgement(np.zeros((job.clients, _SUMS), np.uint64), np.zeros(job.clients, np.uint64))
    for chunk in _chunks(Layout(job.ranges), job.clients):
        _examine(party, shares, chunk, centre, found, keep=keep)
    slack = -found.norms
    if party.rank == 0:
        slack += np.uint64(job.squared)
    both = party.arithmetic(np.concatenate([found.sums, slack[:, np.newaxis]], axis=1))
    binary = party.crypten.mpc.primitives.converters.convert(both, party.crypten.mpc.binary)
    accepted = circuits.none_is_set(binary[:, :_SUMS])
    if centre is not None:
        accepted = accepted & (circuits.top_bit(binary[:, _SUMS]) ^ 1)
    return tuple(bool(bit) for bit in _disclose_bits(accepted)), found.planes


def _add(party: Party, shares: Words, accepted: tuple[bool, ...]) -> Words:
    """Open the sum of some clients' vectors."""
    chosen = shares[np.array(accepted)]
    return _disclose(party.arithmetic(chosen.sum(axis=0, dtype=np.uint64)))


def _add_middle(party: Party, x: Words, planes: list[Plane], trim: int) -> Words:
    """Open the sums of the values with ranks in [trim, clients − trim), coordinate by coordinate; trim ≥ 1."""
    clients, count = x.shape
    pairs = [(i, j) for i in range(clients) for j in range(i + 1, clients)]
    left, right = ([pair[side] for pair in pairs] for side in range(2))
    later = circuits.greater([plane[left] for plane in planes], [plane[right] for plane in planes])
    before = [
        [later[pairs.index((i, j))] if i < j else ~later[pairs.index((j, i))] for j in range(clients) if j != i]
        for i in range(clients)
    ]
    terms = later[0].stack([later[0].stack(row) for row in before], dim=1)
    rank = circuits.count_ones(terms)
    middle = circuits.at_least(rank, trim) & ~circuits.at_least(rank, clients - trim)
    chosen = party.arithmetic(_to_words(party, middle, count)) * party.arithmetic(np.ascontiguousarray(x))
    return _disclose(party.arithmetic(_words(chosen.share).sum(axis=0, dtype=np.uint64)))


def _middle(party: Party, job: JobHeader, shares: Words) -> tuple[Outcome, Words]:
    """Trimmed sums and medians, over the clients in range."""
    accepted, kept = _judge(party, job, shares, None, keep=True)
    count = sum(accepted)
    trim = (count - 1) // 2 if job.function == MEDIAN else job.trim
    addends = count - 2 * trim
    if addends < 1 or not count:
        return Outcome(accepted, 0), np.empty(0, np.uint64)
    if trim == 0:
        return Outcome(accepted, addends), _add(party, shares, accepted)
    rows = [i for i, good in enumerate(accepted) if good]
    values = np.empty(shares.shape[1], np.uint64)
    for chunk, planes in zip(_chunks(Layout(job.ranges), job.clients), kept, strict=True):
        chosen = [plane[rows] for plane in planes]
        values[chunk.start : chunk.stop] = _add_middle(party, shares[rows, chunk.start : chunk.stop], chosen, trim)
    return Outcome(accepted, addends), values


def mpc_sum(party: Party, shares: Words) -> Words:
    """CrypTen's own sum: an ``MPCTensor`` of the shares (clients, length), summed and revealed, nothing checked."""
    tensor = party.crypten.mpc.MPCTensor.from_shares(torch.from_numpy(shares.view(np.int64)), precision=0)
    return _words(tensor.sum(0).reveal())


def compute(party: Party, job: JobHeader, shares: Words, centre: Vector | None) -> tuple[Outcome, Words]:
    """Do a job.

    Args:
        party: this one.
        job: what to compute; checked.
        shares: (clients, length).
        centre: of the norm bound, if there is one.

    Returns:
        The outcome and its words, the same at every party.

    Raises:
        RuntimeError: PyTorch's; another process is gone or silent for too long.
    """
    everybody = (True,) * job.clients
    if job.function == SUM:
        return Outcome(everybody, job.clients), mpc_sum(party, shares)
    if job.function in (TRIMMED_SUM, MEDIAN):
        return _middle(party, job, shares)
    accepted, _ = _judge(party, job, shares, centre)
    if job.function == JUDGE or not any(accepted):
        return Outcome(accepted, 0), np.empty(0, np.uint64)
    return Outcome(accepted, sum(accepted)), _add(party, shares, accepted)
