"""The crypten engine against numpy, against clients that send anything, and against processes that die or hang.

Party processes are real; one pool for each number of parties does all the jobs that don't end it.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pace.effort import examples

from mpc.ring import P
from mpc.words import Words
from secure_agg import extras
from secure_agg.backends.crypten.engine import Layout, NormBound, Parties, Range, launcher, nursery
from secure_agg.backends.crypten.engine.channel import Channel, ChannelClosed
from secure_agg.backends.crypten.engine.jobs import Done, JobHeader, Ping, Pong, Ready, read_answer, read_order
from secure_agg.backends.crypten.engine.kernels import add_subset_sums, from_planes, to_planes, words_for
from secure_agg.backends.crypten.engine.party import _unpack
from secure_agg.backends.crypten.engine.randomness import JobKeys, Stream
from secure_agg.errors import ConfigError, LocalProtocolError, MalformedMessage, RoundAborted

# Looked for and not imported: who only collects these tests has no use for PyTorch.
pytestmark = pytest.mark.skipif(
    not all(map(extras.is_there, ("torch", "omegaconf"))), reason="CrypTen's requirements aren't installed"
)

TEST_DATA = np.random.default_rng(20240)


def split(values: npt.ArrayLike, parties: int) -> list[Words]:
    """Shares of any integers modulo 2^64."""
    matrix = np.array([[int(value) % 2**64 for value in row] for row in np.asarray(values, dtype=object)], np.uint64)
    return split_words(matrix, parties)


def split_words(matrix: Words, parties: int) -> list[Words]:
    shares = [TEST_DATA.integers(0, 2**64, matrix.shape, dtype=np.uint64) for _ in range(parties - 1)]
    last = matrix.copy()
    for share in shares:
        last -= share
    return [*shares, last]


def random_values(clients: int, bits: int, length: int) -> npt.NDArray[np.int64]:
    return TEST_DATA.integers(0, 2**bits, (clients, length))


@pytest.fixture(scope="module")
def three() -> Iterator[Parties]:
    with Parties(3) as parties:
        yield parties


@pytest.fixture(scope="module")
def two() -> Iterator[Parties]:
    with Parties(2) as parties:
        yield parties


@pytest.fixture(params=["two", "three"])
def pool(request: pytest.FixtureRequest) -> Parties:
    parties: Parties = request.getfixturevalue(request.param)
    return parties


def count_of(pool: Parties) -> int:
    return len(pool.pids) - 1


# --- exact results ------------------------------------------------------------------------------------------


@examples(4, 30)
def test_norm_bounded_sum_is_numpys(pool: Parties, examples: int) -> None:
    @settings(max_examples=examples)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        clients = data.draw(st.integers(1, 6), "clients")
        bits, more = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)), "bits")
        length, extra = data.draw(st.tuples(st.integers(1, 150), st.integers(1, 70)), "lengths")
        values = np.concatenate([random_values(clients, bits, length), random_values(clients, more, extra)], axis=1)
        centre = random_values(1, bits, length)[0]
        norms = ((values[:, :length] - centre) ** 2).sum(axis=1)
        squared = int(norms[0]) - data.draw(st.integers(0, 1), "below the first norm")
        layout = Layout((Range(length, bits), Range(extra, more, normed=False)))
        result = pool.norm_bounded_sum(
            split_words(values.astype(np.uint64), count_of(pool)), layout, NormBound(max(squared, 0), centre)
        )
        assert result.accepted == tuple(norms <= max(squared, 0))
        assert result.addends == sum(result.accepted)
        if result.addends:
            assert np.array_equal(result.values, values[list(result.accepted)].sum(axis=0))
        else:
            assert result.values.size == 0

    check()


@examples(4, 30)
def test_trimmed_mean_and_median_are_numpys_with_ties(pool: Parties, examples: int) -> None:
    @settings(max_examples=examples)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        clients = data.draw(st.integers(1, 9), "clients")
        trim = data.draw(st.integers(0, (clients - 1) // 2), "trim")
        bits = data.draw(st.sampled_from([1, 2, 3, 17, 32]), "bits")  # few bits: many ties
        length = data.draw(st.integers(1, 130), "length")
        values = random_values(clients, bits, length)
        ordered = np.sort(values, axis=0)
        layout, shares = Layout((Range(length, bits),)), split_words(values.astype(np.uint64), count_of(pool))
        trimmed = pool.trimmed_mean(shares, layout, trim)
        assert trimmed.accepted == (True,) * clients
        assert trimmed.addends == clients - 2 * trim
        assert np.array_equal(trimmed.values, ordered[trim : clients - trim].sum(axis=0))
        median = pool.median(shares, layout)
        assert median.addends == 2 - clients % 2
        assert np.array_equal(median.values, ordered[(clients - 1) // 2 : clients // 2 + 1].sum(axis=0))

    check()


def test_vectors_of_several_chunks_and_widths_are_worked_through(three: Parties) -> None:
    layout = Layout((Range(70_001, 16), Range(50_000, 3), Range(1, 24)))
    values = np.concatenate([random_values(9, part.bits, part.count) for part in layout.ranges], axis=1)
    result = three.trimmed_mean(split_words(values.astype(np.uint64), 3), layout, 2)
    assert np.array_equal(result.values, np.sort(values, axis=0)[2:7].sum(axis=0))


def test_as_many_clients_as_there_may_be(three: Parties) -> None:
    values = random_values(64, 4, 70)
    median = three.median(split_words(values.astype(np.uint64), 3), Layout((Range(70, 4),)))
    assert np.array_equal(median.values, np.sort(values, axis=0)[31:33].sum(axis=0))


def test_the_unchecked_sum_is_modulo_2_64(pool: Parties) -> None:
    values = TEST_DATA.integers(0, 2**64, (4, 33), dtype=np.uint64)
    result = pool.mpc_sum(split_words(values, count_of(pool)))
    assert np.array_equal(result.values.view(np.uint64), values.sum(axis=0, dtype=np.uint64))


def test_norms_up_to_2_63_are_compared_exactly(three: Parties) -> None:
    top = 2**31 - 1
    layout = Layout((Range(1, 31), Range(1, 31)))
    shares = split([[top, top], [top, top - 1], [0, 0]], 3)
    assert three.judge(shares, layout, NormBound(2 * top**2)) == (True, True, True)
    assert three.judge(shares, layout, NormBound(2 * top**2 - 1)) == (False, True, True)
    assert three.judge(shares, layout, NormBound(0)) == (False, False, True)
    assert three.judge(shares, layout, NormBound(2**63 - 1)) == (True, True, True)


# --- clients that send anything -----------------------------------------------------------------------------

BITS, LENGTH = 16, 130
OUT_OF_RANGE = (
    *(2**BITS, 2**BITS + 1, 2**24, 2**31, 2**32, 3 * 2**32, 2**33, 2**48, 2**62, 2**63 - 1, 2**63, 2**63 + 1),
    *(2**64 - 1, 2**64 - 2**15, 2**64 - 2**16, 2**64 - 2**32, P, 2 * P, 5 * P, P * P, 2**64 - P, 2**64 // P * P),
)


@pytest.mark.parametrize("position", [0, 63, 64, LENGTH - 1])
def test_no_value_out_of_range_gets_in(three: Parties, position: int) -> None:
    values = np.full((len(OUT_OF_RANGE) + 2, LENGTH), 2**15, dtype=np.uint64)
    values[1:-1, position] = OUT_OF_RANGE
    values[-1, position] = 2**BITS - 1
    layout = Layout((Range(LENGTH, BITS),))
    result = three.norm_bounded_sum(split_words(values, 3), layout, NormBound(2**62, 2**15))
    assert result.accepted == (True, *[False] * len(OUT_OF_RANGE), True)
    assert np.array_equal(result.values, values[0].astype(np.int64) + values[-1].astype(np.int64))


@examples(5, 40)
def test_no_pattern_of_values_out_of_range_gets_in(three: Parties, examples: int) -> None:
    @settings(max_examples=examples)
    @given(
        places=st.lists(st.integers(0, LENGTH - 1), min_size=1, max_size=4, unique=True),
        values=st.lists(st.integers(2**BITS, 2**64 - 1), min_size=4, max_size=4),
    )
    def check(places: list[int], values: list[int]) -> None:
        matrix = random_values(3, BITS, LENGTH).astype(np.uint64)
        matrix[1, places] = values[: len(places)]
        assert three.judge(split_words(matrix, 3), Layout((Range(LENGTH, BITS),))) == (True, False, True)

    check()


def test_deviations_that_cancel_in_a_sum_are_seen(three: Parties) -> None:
    matrix = np.zeros((4, LENGTH), dtype=np.uint64)
    matrix[0, :2] = 2**63  # their sum is 0 modulo 2^64
    matrix[1, [3, 100]] = 2**40, 2**64 - 2**40
    matrix[2, :] = 2**63
    assert three.judge(split_words(matrix, 3), Layout((Range(LENGTH, BITS),))) == (False, False, False, True)


def test_norms_that_wrap_don_t_pass(three: Parties) -> None:
    """Coordinates of 2^32 have norm 0 modulo 2^64; a sum of four squares of 2^31 has too."""
    matrix = np.zeros((4, 8), dtype=np.uint64)
    matrix[0, :] = 2**32
    matrix[1, :4] = 2**31
    matrix[2, :] = 2**63
    assert three.judge(split_words(matrix, 3), Layout((Range(8, BITS),)), NormBound(0)) == (False,) * 3 + (True,)


def test_ranges_differ_and_unnormed_coordinates_are_checked_too(three: Parties) -> None:
    layout = Layout((Range(64, 4), Range(10, 8, normed=False)))
    matrix = np.zeros((4, 74), dtype=np.uint64)
    matrix[0, 63] = 16  # beyond 4 bits, though within 8
    matrix[1, 64:] = 255  # much norm, if it counted
    matrix[2, 73] = 256
    assert three.judge(split_words(matrix, 3), layout, NormBound(0)) == (False, True, False, True)


def test_clients_out_of_range_are_left_out_of_trimming(three: Parties) -> None:
    values = random_values(7, BITS, 20).astype(np.uint64)
    values[2, 19], values[5, 0] = 2**63, 2**64 - 1
    good = np.sort(np.delete(values, [2, 5], axis=0), axis=0)
    layout, shares = Layout((Range(20, BITS),)), split_words(values, 3)
    accepted = (True, True, False, True, True, False, True)
    trimmed, median = three.trimmed_mean(shares, layout, 1), three.median(shares, layout)
    assert (trimmed.accepted, trimmed.addends) == (accepted, 3)
    assert np.array_equal(trimmed.values, good[1:4].sum(axis=0))
    assert (median.accepted, median.addends) == (accepted, 1)
    assert np.array_equal(median.values, good[2])
    too_few = three.trimmed_mean(shares, layout, 3)
    assert (too_few.accepted, too_few.addends, too_few.values.size) == (accepted, 0, 0)


def test_nobody_in_range_gives_no_values(pool: Parties) -> None:
    shares, layout = split([[2**20], [-1]], count_of(pool)), Layout((Range(1, 16),))
    for result in (
        pool.median(shares, layout),
        pool.trimmed_mean(shares, layout, 0),
        pool.norm_bounded_sum(shares, layout, NormBound(2**62)),
    ):
        assert (result.accepted, result.addends, result.values.size) == ((False, False), 0, 0)


# --- what is refused before anything is sent ----------------------------------------------------------------


def test_settings_that_could_overflow_or_mean_nothing_are_refused(three: Parties) -> None:
    shares = split(np.zeros((3, 2), dtype=int), 3)
    layout = Layout((Range(2, 16),))
    for refused in (
        lambda: Layout(()),
        lambda: Layout((Range(0, 8),)),
        lambda: Layout((Range(1, 33),)),
        lambda: three.judge(shares, Layout((Range(2, 32),)), NormBound(1)),  # a norm can reach 2^65
        lambda: three.judge(shares, Layout((Range(2, 32, normed=False),)), NormBound(1)),
        lambda: three.judge(shares, layout, NormBound(2**63)),
        lambda: three.judge(shares, layout, NormBound(-1)),
        lambda: three.judge(shares, layout, NormBound(1, 2**16)),
        lambda: three.judge(shares, layout, NormBound(1, -1)),
        lambda: three.judge(shares, layout, NormBound(1, np.zeros(3, dtype=np.int64))),
        lambda: three.judge(shares, layout, NormBound(1, np.zeros(2))),  # type: ignore[arg-type]
        lambda: three.trimmed_mean(shares, layout, 2),
        lambda: three.trimmed_mean(shares, layout, -1),
        lambda: three.judge(split(np.zeros((65, 2), dtype=int), 3), layout),
        lambda: Parties(1),
        lambda: Parties(6),
        lambda: Parties(3, timeout=0),
    ):
        with pytest.raises(ConfigError):
            refused()
    assert three.judge(shares, layout) == (True, True, True)  # the pool is as it was


def test_shares_of_another_count_shape_or_type_are_refused(three: Parties) -> None:
    good = split(np.zeros((3, 2), dtype=int), 3)
    layout = Layout((Range(2, 16),))
    bad: Any
    for bad in (
        good[:2],
        [*good, good[0]],
        [],
        [good[0], good[1], good[2][:, :1]],
        [good[0], good[1][:2], good[2]],
        [good[0], good[1].astype(np.uint32), good[2]],
        [good[0], good[1].astype(np.float64), good[2]],
        [words[0] for words in good],
    ):
        with pytest.raises(MalformedMessage):
            three.judge(bad, layout)
    assert three.judge(good, layout) == (True, True, True)


def test_a_closed_pool_refuses_work() -> None:
    with pytest.raises(LocalProtocolError):
        Parties(2).judge(split([[1]], 2), Layout((Range(1, 8),)))


# --- a party's own checks of what comes over its channel ----------------------------------------------------


def test_a_party_refuses_a_job_that_isn_t_one() -> None:
    ranges = (Range(2, 8),)
    shares, centre = np.zeros(4, np.uint64), np.zeros(2, np.uint64)
    for job, bulk in (
        (JobHeader("median", 2, ranges), shares[:3]),
        (JobHeader("median", 2, ranges), np.zeros(5, np.uint64)),
        (JobHeader("judge", 2, ranges, bounded=True, squared=1), shares),
    ):
        with pytest.raises(MalformedMessage):
            _unpack(job, bulk)
    for job, bulk in (
        (JobHeader("mean", 2, ranges), shares),
        (JobHeader("judge", 2, ranges, squared=1), shares),
        (JobHeader("median", 2, ranges, trim=1), shares),
        (JobHeader("norm-bounded-sum", 2, ranges), shares),
        (JobHeader("median", 2, ranges, bounded=True), np.concatenate([shares, centre])),
        (JobHeader("judge", 0, ranges), shares[:0]),
        (JobHeader("judge", 2, (Range(2, 8), Range(-2, 8))), shares[:0]),
    ):
        with pytest.raises(ConfigError):
            _unpack(job, bulk)


def test_frames_are_checked_before_memory_is_taken() -> None:
    for lengths in ((1 << 20, 0), (1, 2**62), (1, 12), (1, 8 * 5)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(lengths[0].to_bytes(4, "little") + lengths[1].to_bytes(8, "little"))
            with pytest.raises(MalformedMessage):
                Channel(ours).receive(4)


def test_a_channel_that_closes_in_a_frame_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall((1).to_bytes(4, "little"))
        theirs.close()
        with pytest.raises(ChannelClosed):
            Channel(ours).receive(4)


def test_frames_come_as_they_went() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bulk = (np.arange(3, dtype=np.uint64), np.arange(2, dtype=np.uint64))
        Channel(theirs).send(b"header", bulk)
        header, words = Channel(ours).receive(5)
    assert header == b"header"
    assert np.array_equal(words, [0, 1, 2, 0, 1])


def test_only_canonical_frames_are_read() -> None:
    good = msgspec.msgpack.encode(Ping())
    assert read_order(good) == Ping()
    for bad in (b"", good + b"\0", msgspec.msgpack.encode(Pong()), b"\xdc\x00\x01\xa4Ping", b"\xff" * 9):
        with pytest.raises(MalformedMessage):
            read_order(bad)
    with pytest.raises(MalformedMessage):
        read_answer(good)


# --- the pieces ---------------------------------------------------------------------------------------------


@given(bits=st.integers(1, 64), rows=st.integers(1, 3), count=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_planes_are_the_numbers_bits(bits: int, rows: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**64, (rows, count), dtype=np.uint64)
    planes = to_planes(values, bits)
    assert planes.shape == (bits, rows, words_for(count))
    for i in (0, count // 2, count - 1):
        assert int(planes[bits - 1, 0, i // 64]) >> i % 64 & 1 == int(values[0, i]) >> (bits - 1) & 1
    assert np.array_equal(from_planes(planes, count), values & np.uint64(2**bits - 1))


def test_subset_sums_are_of_what_the_coins_choose() -> None:
    values = TEST_DATA.integers(0, 2**64, (2, 50), dtype=np.uint64)
    coins = TEST_DATA.integers(0, 2**64, 50, dtype=np.uint64)
    sums = np.zeros((2, 64), np.uint64)
    add_subset_sums(values, coins, sums)
    for i in range(64):
        chosen = values[:, (coins >> np.uint64(i) & np.uint64(1)).astype(bool)]
        assert np.array_equal(sums[:, i], chosen.sum(axis=1, dtype=np.uint64))


def job_keys(parties: int, different: tuple[int, int] | None = None) -> list[JobKeys]:
    """Keys of all parties, those of one pair different on demand."""

    def pair(a: int, b: int) -> Stream:
        low, high = sorted((a, b))
        return Stream(bytes([low, high, (low, high) == different]) + bytes(29))

    other = Stream(bytes(32))
    return [
        JobKeys(rank, other, [pair(rank, peer) for peer in range(parties) if peer != rank], other, other)
        for rank in range(parties)
    ]


@pytest.mark.parametrize("parties", [2, 3, 4, 5])
def test_zero_shares_are_of_zero_and_every_pair_has_a_part(parties: int) -> None:
    added = [keys.zero_sum((5,)) for keys in job_keys(parties)]
    assert not np.any(np.sum(added, axis=0, dtype=np.uint64))
    assert not np.any(np.bitwise_xor.reduce([keys.zero_xor((5,)) for keys in job_keys(parties)]))
    for a in range(parties):
        for b in range(a + 1, parties):
            changed = [keys.zero_sum((5,)) for keys in job_keys(parties, different=(a, b))]
            assert [not np.array_equal(x, y) for x, y in zip(added, changed, strict=True)] == [
                rank in (a, b) for rank in range(parties)
            ]


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_the_provider_deals_what_it_says(parties: int) -> None:
    from secure_agg.backends.crypten.engine.provider import Kind, Request, _shapes, corrections

    def dealt(request: Request) -> list[tuple[Words, ...]]:
        """All parties' shares of each value."""
        streams = [[Stream(bytes([rank]) * 32) for rank in range(parties)] for _ in range(2)]
        corrected = corrections(request, streams[0])
        free, rest = _shapes(request)
        values = [tuple(stream.draw(*shape) for stream in streams[1]) for shape in free]
        for shape, first in zip(rest, corrected, strict=True):
            streams[1][0].skip()
            values.append((first, *(stream.draw(*shape) for stream in streams[1][1:])))
        return values

    def added(shares: tuple[Words, ...]) -> Words:
        total: Words = np.sum(shares, axis=0, dtype=np.uint64)
        return total

    def crossed(shares: tuple[Words, ...]) -> Words:
        total: Words = np.bitwise_xor.reduce(shares)
        return total

    a, b, c = map(added, dealt(Request(Kind.PRODUCT, 2, 70)))
    assert np.array_equal(a * b, c)
    a, b = map(added, dealt(Request(Kind.SQUARE, 2, 70)))
    assert np.array_equal(a * a, b)
    a, b, c = map(crossed, dealt(Request(Kind.AND, 2, 70)))
    assert np.array_equal(a & b, c)
    binary, words = dealt(Request(Kind.BIT, 2, 70))
    assert np.array_equal(crossed(binary) & np.uint64(1), added(words))
    packed, words = dealt(Request(Kind.BITS, 2, 70))
    assert np.array_equal(from_planes(crossed(packed)[np.newaxis], 70), added(words))
    planes, high, low, squares = dealt(Request(Kind.MASKS, 2, 70, 9))
    assert np.array_equal(from_planes(crossed(planes), 70), added(low))
    whole = added(low) + (added(high) << np.uint64(9))
    assert np.array_equal((whole * whole).sum(axis=1, dtype=np.uint64), added(squares))


@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_or_other_crypten_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch, missing: bool) -> None:
    from secure_agg.backends.crypten.engine import loader

    other: Any = types.ModuleType("crypten")
    other.__version__ = "0.5.0"
    monkeypatch.setitem(sys.modules, "crypten", None if missing else other)
    with pytest.raises(ConfigError, match=r"--no-deps crypten==0\.4\.1"):
        loader.load()


def test_nothing_is_started_without_crypten(monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_agg.backends.crypten.engine import loader

    parties = Parties(2)
    for where, attribute, value in ((extras, "is_there", lambda name: False), (loader, "VERSION", "0.4.0")):
        with monkeypatch.context() as patch:
            patch.setattr(where, attribute, value)
            with pytest.raises(ConfigError, match=r"--no-deps crypten==0\.4\.1"), parties:
                pass
        assert parties.pids == ()


def test_crypten_draws_from_key_streams_or_not_at_all() -> None:
    """In a process of its own: CrypTen's import changes settings of PyTorch."""
    program = """
import sys, torch
from secure_agg.backends.crypten.engine import loader
from secure_agg.backends.crypten.engine.randomness import JobKeys, Stream
from secure_agg.errors import LocalProtocolError
crypten = loader.load()
rng = sys.modules["crypten.common.rng"]
def refused(draw):
    try:
        draw()
    except LocalProtocolError:
        return True
assert refused(lambda: rng.generate_random_ring_element((3,)))
keys = [Stream(bytes([i]) * 32) for i in range(4)]
loader.use_keys(crypten, JobKeys(0, keys[0], [keys[1]], keys[2], keys[3]))
assert rng.generate_random_ring_element((3,)).numpy().view("uint64").tolist() == Stream(bytes(32)).draw(3).tolist()
assert refused(lambda: rng.generate_random_ring_element((3,), generator=torch.Generator()))
assert refused(lambda: rng.generate_kbit_random_tensor((3,), 1, generator=torch.Generator()))
assert set(rng.generate_kbit_random_tensor((99,), 1).tolist()) == {0, 1}
for name, module in list(sys.modules.items()):
    if name.startswith("crypten"):
        for attribute in ("generate_random_ring_element", "generate_kbit_random_tensor"):
            assert getattr(module, attribute, rng.__dict__[attribute]) is rng.__dict__[attribute], name
zero = crypten.mpc.primitives.ArithmeticSharedTensor.PRZS((2, 3)).share
assert zero.numpy().view("uint64").tolist() == Stream(bytes([1]) * 32).draw(2, 3).tolist()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# --- what is revealed ---------------------------------------------------------------------------------------


def started(channel: socket.socket, log: IO[bytes], *arguments: str) -> nursery.Child:
    """A process of another program in a party's place."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen([sys.executable, *arguments], stderr=log, pass_fds=[channel.fileno()], env=environment)


class RecordedParties(Parties):
    """Parties that write down what they exchange: copies of another process than others are."""

    def __init__(self, parties: int, records: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(parties)
        self._records = records
        patch.setenv("RECORDS", str(records))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        patch.setattr(nursery, "__name__", "support.shares.crypten_recorder")
        self._nursery = nursery.Nursery()
        patch.undo()

    def _begin(self, place: nursery.Begin, channel: socket.socket, log: IO[bytes]) -> nursery.Child:
        return self._nursery.begin(place, channel, log)

    def close(self) -> None:
        super().close()
        self._nursery.close()

    def take(self, rank: int) -> list[tuple[str, str, Words]]:
        """What a process has written down since the last call: operation, what, data."""
        taken = []
        for file in sorted((self._records / f"recorded-{rank}").glob("[0-9]*.npy")):
            _, operation, what = file.stem.split("-")
            taken.append((operation, what, np.load(file).view(np.uint64)))
            file.unlink()
        return taken


def test_nothing_but_the_stated_values_is_revealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = 100
    layout = Layout((Range(length, 8),))
    data = [np.zeros((4, length), np.uint64), random_values(4, 8, length).astype(np.uint64)]
    data[0][3, 5] = 2**63
    data[1][3, 5] = 2**63
    inner: dict[str, list[list[Words]]] = {"sum": [], "median": []}
    requests: dict[str, list[list[Words]]] = {"sum": [], "median": []}
    keys: list[bytes] = []
    with RecordedParties(3, tmp_path, monkeypatch) as parties:
        for matrix in (data[0], data[0], data[1]):
            for name in inner:
                shares = split_words(matrix, 3)
                if name == "sum":
                    result = parties.norm_bounded_sum(shares, layout, NormBound(2**40, 7))
                else:
                    result = parties.median(shares, layout)
                seen = [parties.take(rank) for rank in range(3)]
                for records in seen:
                    outputs = [words for _, what, words in records if what == "output"]
                    assert [words.tolist() for words in outputs] == [
                        [int(bit) for bit in result.accepted],
                        result.values.tolist(),
                    ]
                    assert {operation for operation, *_ in records} <= {"all_reduce", "all_gather", "send", "recv"}
                inner[name].append([words for op, what, words in seen[1] if op == "all_reduce" and what == "inner"])
                sent = [[words for op, _, words in seen[rank] if op == "send"] for rank in range(3)]
                keys += [words.tobytes() for records in seen for op, _, words in records if op == "all_gather"][:1]
                keys += [words.tobytes() for op, _, words in parties.take(3) if op == "send"][:3]  # one to each party
                requests[name].append([words for words in sent[0] if words[0] < 10])
                assert [len(words) for words in sent] == [2 + len(requests[name][-1]), 1, 0]  # the rest: pairs' keys
                keys += [words.tobytes() for words in itertools.chain(*sent) if not words[0] < 10]
    assert len(set(keys)) == len(keys) == 6 * (1 + 3 + 3)  # fresh for every job, for every pair
    for name, runs in inner.items():
        # equal data: each opening is another; other data: as many, of the same sizes
        assert [len(words) for words in runs[0]] == [len(words) for words in runs[1]]
        assert not any(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
        assert [len(words) for words in runs[0]] == [len(words) for words in runs[2]]
        for run in runs:  # each bit is as often 1 as 0, whatever the data
            words = np.concatenate(run)
            ones = np.array([int((words >> np.uint64(i) & np.uint64(1)).sum()) for i in range(64)])
            assert np.all(np.abs(ones - words.size / 2) < 7 * np.sqrt(words.size / 4)), name
        # the provider is asked the same, whatever the data
        first, *others = [[words.tolist() for words in run] for run in requests[name]]
        assert all(other == first for other in others)


def test_a_party_gets_no_other_shares_than_its_own(two: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, list[Words]]] = []
    send = Channel.send

    def recorded(self: Channel, header: bytes, bulk: Sequence[Words] = ()) -> None:
        sent.append((self.fileno(), list(bulk)))
        send(self, header, bulk)

    monkeypatch.setattr(Channel, "send", recorded)
    shares = split(random_values(3, 8, 5), 2)
    two.judge(shares, Layout((Range(5, 8),)))
    first, second, provider, *pings = sent
    assert len({first[0], second[0], provider[0]}) == 3
    assert [len(bulk) for _, bulk in (first, second, provider)] == [1, 1, 0]
    assert all(np.array_equal(seen[1][0], share) for seen, share in zip((first, second), shares, strict=True))
    assert not any(bulk for _, bulk in pings)


def test_five_parties_compute_the_same_and_a_job_one_refuses_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    values = random_values(5, 4, 70)
    with Parties(5) as parties:
        shares, layout = split_words(values.astype(np.uint64), 5), Layout((Range(70, 4),))
        assert np.array_equal(parties.median(shares, layout).values, np.sort(values, axis=0)[2])
        assert parties.judge(shares, layout, NormBound(0)) == (False,) * 5
        monkeypatch.setattr(launcher, "check_job", lambda *_: None)
        with pytest.raises(RoundAborted, match="trim is 3") as caught:
            parties.trimmed_mean(shares, layout, 3)
        assert caught.value.culprit in {f"party {rank}" for rank in range(5)}
        assert parties.pids == ()


# --- processes that die or hang -----------------------------------------------------------------------------


class StruckParties(Parties):
    """Parties of which one gets a signal in the middle of a job."""

    struck: tuple[int, signal.Signals]

    def _collect(self, kind: type[Ready | Done], limit: int) -> Any:
        if kind is Done:
            os.kill(self.pids[self.struck[0]], self.struck[1])
        return super()._collect(kind, limit)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("rank", "blow", "culprit", "seconds"),
    [
        (1, signal.SIGKILL, "party 1", 3.0),
        (2, signal.SIGKILL, "provider", 3.0),
        (0, signal.SIGSTOP, "party 0", 8.0),
    ],
)
def test_a_process_that_dies_or_hangs_in_a_job_is_named(
    rank: int, blow: signal.Signals, culprit: str, seconds: float
) -> None:
    values = random_values(10, 16, 100_000).astype(np.uint64)
    with StruckParties(2, timeout=2.0) as parties:
        parties.struck = rank, blow
        pids = parties.pids
        shares = split_words(values, 2)
        start = time.monotonic()
        with pytest.raises(RoundAborted) as caught:
            parties.median(shares, Layout((Range(100_000, 16),)))
        assert caught.value.culprit == culprit
        assert time.monotonic() - start < seconds
        assert all(gone(pid) for pid in pids)
        assert parties.pids == ()
        with pytest.raises(LocalProtocolError):
            parties.mpc_sum(shares)


def test_no_process_outlives_a_killed_launcher(tmp_path: Path) -> None:
    program = """
import sys
from secure_agg.backends.crypten.engine import Parties
with Parties(2) as parties:
    print(*parties.pids, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # nobody is left to clear it up
    ) as launcher:
        assert launcher.stdout is not None
        descriptors = [os.pidfd_open(int(pid)) for pid in launcher.stdout.readline().split()]
        launcher.kill()
    assert len(descriptors) == 3
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 20)[0]
        os.close(descriptor)


def test_a_pool_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(self: Parties, place: nursery.Begin, channel: socket.socket, log: IO[bytes]) -> nursery.Child:
        return started(channel, log, "-c", "raise SystemExit('out of order')")

    monkeypatch.setattr(Parties, "_begin", begin)
    with pytest.raises(RoundAborted, match="out of order"), Parties(2):
        pass


def test_a_nursery_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody waits for it: the next pool begins another."""
    monkeypatch.setattr(nursery, "__name__", "secure_agg.no_such_module")
    broken = nursery.Nursery()
    monkeypatch.undo()
    monkeypatch.setattr(nursery, "_shared", broken)
    with pytest.raises(RoundAborted, match=r"can't be started: exit status 1.*no_such_module"), Parties(2):
        pass
    assert not broken.is_there
    with Parties(2) as parties:
        assert len(parties.pids) == 3
    nursery.end()


def test_parties_are_copies_of_one_process_and_have_nothing_of_each_other() -> None:
    with Parties(2) as first, Parties(2) as second:
        pids = (*first.pids, *second.pids)
        parents = {status(pid, "PPid") for pid in pids}
        assert len(set(pids)) == 6
        assert len(parents) == 1
        assert parents != {str(os.getpid())}
        # Sockets: its channel, and its connections to the parties of its own pool.
        ours = [sockets(pid) for pid in first.pids]
        theirs = [sockets(pid) for pid in second.pids]
        for end, other in itertools.product(ours, theirs):
            assert not end & other
        for one, other in itertools.combinations(ours, 2):
            assert not one & other
        assert not set().union(*ours) & sockets(int(parents.pop()))


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(field))


def sockets(pid: int) -> set[str]:
    """The sockets that a process has open, by the kernel's number."""
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    return {link for link in links if link.startswith("socket:")}
