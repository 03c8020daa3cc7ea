"""Lattice encryption: sums are exact or refused, parameters are within the standard, and bad bytes change nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.ring import Vector
from secure_agg.backends.homomorphic import lattice, lattice_pool, lattice_wire
from secure_agg.backends.homomorphic.lattice import Accumulator, PublicKey, SecretKey, decrypt, encrypt, keygen
from secure_agg.backends.homomorphic.lattice_parameters import (
    BFV,
    CKKS,
    DUMMIES,
    STANDARD_128_CLASSICAL,
    STANDARD_128_QUANTUM,
    LatticeParameters,
    check_standard,
    choose,
    largest_prime,
    noise_variance,
)
from secure_agg.errors import (
    BadInput,
    BadKey,
    ConfigError,
    LocalProtocolError,
    MalformedMessage,
    SecureAggError,
    UpdateError,
    WrongContext,
)

SCHEMES = (BFV, CKKS)
CHUNK_HEAD = lattice_wire.CHUNK.size
SETTINGS = [
    (2, 2),
    (2, 100),
    (4, 100),
    (8, 2),
    (8, 100),
    (13, 1000),
    (16, 3),
    (16, 100),
    (16, 256),
    (16, 2048),
    (20, 50),
    (24, 100),
]


@dataclasses.dataclass
class Party:
    """Three clients' vectors of three chunks, encrypted."""

    secret: SecretKey
    public: PublicKey
    vectors: list[Vector]
    data: list[bytes]


def vector(parameters: LatticeParameters, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).integers(0, 1 << parameters.bits, parameters.total, dtype=np.uint32)


@pytest.fixture(scope="module", params=SCHEMES)
def party(request: pytest.FixtureRequest) -> Party:
    total = 2 * choose(request.param, 16, 100, 1).chunk_values + 5
    secret = keygen(choose(request.param, 16, 100, total))
    public = PublicKey.from_bytes(secret.public_bytes(), secret.parameters)
    vectors = [vector(secret.parameters, seed) for seed in range(3)]
    return Party(secret, public, vectors, [encrypt(public, v) for v in vectors])


def summed(party: Party, data: list[bytes]) -> bytes:
    accumulator = Accumulator(party.public)
    for one in data:
        accumulator.add(one)
    return accumulator.total()


def framed(party: Party, streams: list[tuple[int, bytes]], clients: int = 1, chunks: int | None = None) -> bytes:
    parameters = party.public.parameters
    head = lattice_wire.header(parameters, party.public.digest, clients)
    if chunks is not None:
        head = head[:-4] + struct.pack("<I", chunks)
    return head + b"".join(lattice_wire.chunk(index, stream) for index, stream in streams)


def streams_of(party: Party, data: bytes) -> list[bytes]:
    return [bytes(s) for s in lattice_wire.split(data, party.public.parameters, party.public.digest)[1]]


# --- parameters


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("bits", "clients"), SETTINGS)
def test_every_setting_is_within_both_tables_of_the_standard(scheme: str, bits: int, clients: int) -> None:
    parameters = choose(scheme, bits, clients, 1000)
    modulus = math.prod(largest_prime(size, parameters.degree) for size in parameters.prime_bits)
    assert modulus.bit_length() <= STANDARD_128_CLASSICAL[parameters.degree]
    assert modulus.bit_length() <= STANDARD_128_QUANTUM[parameters.degree]


def test_a_modulus_too_wide_for_the_ring_is_refused() -> None:
    check_standard(4096, 101)
    with pytest.raises(ConfigError, match="102 bits in a ring of degree 4096 exceeds the 101 bits"):
        check_standard(4096, 102)
    with pytest.raises(ConfigError, match="exceeds the 0 bits"):
        check_standard(512, 20)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("bits", "clients"), SETTINGS)
def test_a_bound_is_exceeded_once_in_2_to_the_48_at_most(scheme: str, bits: int, clients: int) -> None:
    """Eight standard deviations of a coefficient, which is normal; a slot's noise has the tail of Laplace."""
    p = choose(scheme, bits, clients, 1000)
    modulus = math.prod(largest_prime(size, p.degree) for size in p.prime_bits[:-1])
    deviation = math.sqrt(clients * noise_variance(p.degree, p.prime_bits[-1]))
    if scheme == BFV:
        assert p.base**p.packed <= p.plain_modulus
        assert p.plain_modulus % (2 * p.degree) == 1
        assert 8 * deviation < modulus / (2 * p.plain_modulus)
    else:
        largest = clients * p.packed_limit / 2
        rounding = 2**-53 * math.sqrt(math.log2(p.degree)) * largest
        room = (1 / 4 - 8 * rounding) / (deviation * math.sqrt(p.degree / 2) / p.scale)
        assert math.exp(-math.sqrt(2) * room) <= 2**-48
        assert largest * p.scale + 8 * deviation < modulus / 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_values_share_a_slot_at_sixteen_bits_and_a_hundred_clients(scheme: str) -> None:
    assert choose(scheme, 16, 100, 1000).packed == 2
    assert choose(scheme, 16, 300, 1000).packed == 1
    assert choose(scheme, 8, 100, 1000).packed >= 2


@pytest.mark.parametrize(
    ("scheme", "bits", "clients", "total", "words"),
    [
        ("tfhe", 16, 10, 10, "'tfhe' is neither"),
        (BFV, 24, 300, 10, r"300 values of 24 bits do not lie within \[0, 2\^32\)"),
        (CKKS, 33, 1, 10, "33 bits"),
        (BFV, 16, 0, 10, "0 values"),
        (CKKS, 16, 10, 0, r"0 coordinates is outside \[1, "),
    ],
)
def test_what_cannot_be_exact_is_refused(scheme: str, bits: int, clients: int, total: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(scheme, bits, clients, total)


def test_our_primes_are_seals() -> None:
    for scheme in SCHEMES:
        secret = keygen(choose(scheme, 16, 100, 10))
        p = secret.parameters
        moduli = secret.context.data.seal_context().key_context_data().total_coeff_modulus_bit_count()
        assert moduli == math.prod(largest_prime(size, p.degree) for size in p.prime_bits).bit_length()


# --- exact sums


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("bits", "clients"), [(8, 100), (16, 100), (16, 256), (13, 700)])
def test_the_largest_values_of_n_max_clients_sum_exactly(scheme: str, bits: int, clients: int) -> None:
    total = choose(scheme, bits, clients, 1).chunk_values
    secret = keygen(choose(scheme, bits, clients, total))
    values = np.full(total, (1 << bits) - 1, dtype=np.uint32)
    accumulator = Accumulator(secret.public)
    for _ in range(clients):
        accumulator.add(encrypt(secret.public, values))
    assert np.array_equal(decrypt(secret, accumulator.total(), clients), values * clients)


@settings(max_examples=15, deadline=None)
@given(
    scheme=st.sampled_from(SCHEMES),
    bits=st.integers(2, 24),
    clients=st.integers(1, 5),
    headroom=st.integers(1, 40),
    total=st.integers(1, 9000),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_equal_numpys(scheme: str, bits: int, clients: int, headroom: int, total: int, seed: int) -> None:
    secret = keygen(choose(scheme, bits, clients * headroom, total))
    vectors = [vector(secret.parameters, seed + i) for i in range(clients)]
    accumulator = Accumulator(secret.public)
    for one in vectors:
        accumulator.add(encrypt(secret.public, one))
    sums = decrypt(secret, accumulator.total(), clients)
    assert sums.dtype == np.uint32
    assert np.array_equal(sums, np.sum(vectors, axis=0, dtype=np.uint32))


def test_ckks_noise_is_what_the_analysis_says() -> None:
    secret = keygen(choose(CKKS, 16, 100, 2 * 2044))
    p = secret.parameters
    errors = []
    for seed in range(8):
        (chunk,) = lattice.to_tenseal(encrypt(secret.public, vector(p, seed)), secret.public)
        slots = np.array(ts.ckks_vector_from(secret.context, chunk).decrypt())
        errors.append((slots - np.rint(slots)) * p.scale)
    model = math.sqrt(noise_variance(p.degree, p.prime_bits[-1]) * p.degree / 2)
    assert 0.8 * model < np.std(errors) < 1.05 * model


def test_ckks_noise_in_a_slot_has_laplaces_tail_and_no_normal_one() -> None:
    """A key makes some of its slots noisier than others, for good: a normal tail would have 6 in 10 million here."""
    p = choose(CKKS, 16, 2, 1)
    errors = []
    for _ in range(16):
        secret = keygen(p)
        for _ in range(24):
            (chunk,) = lattice.to_tenseal(encrypt(secret.public, vector(p)), secret.public)
            slots = np.array(ts.ckks_vector_from(secret.context, chunk).decrypt())[:-DUMMIES]
            errors.append(slots - np.rint(slots))
    beyond = np.mean(np.abs(errors) > 5 * np.std(errors))
    assert 0.7 < beyond / math.exp(-math.sqrt(2) * 5) < 1.4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_million_coordinates_in_a_slot_each_sum_exactly(scheme: str) -> None:
    """Eight standard deviations of a slot's noise would lose this sum nearly always."""
    secret = keygen(choose(scheme, 24, 2, 1_000_000))
    vectors = [vector(secret.parameters, seed) for seed in range(2)]
    accumulator = Accumulator(secret.public)
    for one in vectors:
        accumulator.add(encrypt(secret.public, one))
    assert np.array_equal(decrypt(secret, accumulator.total(), 2), vectors[0] + vectors[1])


def test_a_data_prime_four_bits_smaller_does_not_decrypt() -> None:
    p = choose(BFV, 16, 100, 8000)
    small = dataclasses.replace(p, prime_bits=(p.prime_bits[0] - 4, p.prime_bits[1]))
    secret = keygen(small)
    accumulator = Accumulator(secret.public)
    for _ in range(p.clients):
        accumulator.add(encrypt(secret.public, vector(small)))
    try:
        sums = decrypt(secret, accumulator.total(), p.clients)
    except BadInput:
        return
    assert not np.array_equal(sums, vector(small) * p.clients)


def test_a_ckks_value_off_an_integer_is_an_error_that_says_nothing() -> None:
    secret = keygen(dataclasses.replace(choose(CKKS, 16, 100, 4000), scale_bits=12))
    data = encrypt(secret.public, vector(secret.parameters))
    with pytest.raises(BadInput) as caught:
        decrypt(secret, data, 1)
    assert not any(character.isdigit() for character in str(caught.value))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chunk_costs_what_is_promised(scheme: str) -> None:
    total = choose(scheme, 16, 100, 1).chunk_values
    public = keygen(choose(scheme, 16, 100, total)).public
    assert len(encrypt(public, vector(public.parameters))) / total <= (8.2 if scheme == BFV else 32)


def test_encrypting_twice_gives_other_bytes_and_fresh_dummies(party: Party) -> None:
    assert encrypt(party.public, party.vectors[0]) != party.data[0]
    first, second = (lattice._pack(party.vectors[0][:10], party.public.parameters) for _ in range(2))
    assert np.array_equal(first[:-DUMMIES], second[:-DUMMIES])
    assert not np.array_equal(first[-DUMMIES:], second[-DUMMIES:])


@pytest.mark.parametrize(
    "change",
    [lambda v: v[:-1], lambda v: v.astype(np.uint64), lambda v: np.where(np.arange(v.size) == 7, 1 << 16, v)],
)
def test_an_unfit_vector_is_refused(party: Party, change: Callable[[Vector], Vector]) -> None:
    changed = change(party.vectors[0])
    with pytest.raises(UpdateError):
        encrypt(party.public, changed.astype(np.uint32) if changed.dtype == np.int64 else changed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_helper_processes_encrypt_the_same_vector_and_may_die(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice_pool, "WORTHWHILE", 2)
    monkeypatch.setattr(lattice_pool, "_SHARE", 2)
    monkeypatch.setattr(lattice_pool, "cores", lambda: 2)
    secret = keygen(choose(scheme, 16, 100, 12 * choose(scheme, 16, 100, 1).chunk_values - 3))
    values = vector(secret.parameters)
    lattice_pool.close()
    lattice_pool._start()
    (helper,) = lattice_pool._helpers
    while not helper.ready():
        pass
    assert np.array_equal(decrypt(secret, encrypt(secret.public, values), 1), values)
    assert helper._key == secret.public.plain
    helper._process.kill()
    helper._process.wait()
    assert np.array_equal(decrypt(secret, encrypt(secret.public, values), 1), values)
    assert helper not in lattice_pool._helpers
    lattice_pool.close()


# --- keys


def test_keys_survive_storage_and_repr_shows_nothing(party: Party) -> None:
    stored = party.secret.secret_bytes()
    restored = SecretKey.from_bytes(stored, party.secret.parameters)
    assert np.array_equal(decrypt(restored, party.data[0], 1), party.vectors[0])
    assert restored.public_bytes() == party.secret.public_bytes()
    assert "object at" not in repr(restored)
    assert len(repr(restored)) < 80


def test_public_material_holds_no_other_key(party: Party) -> None:
    context = ts.context_from(party.public.to_bytes())
    assert context.is_public()
    assert not context.has_galois_keys()
    assert not context.has_relin_keys()
    with pytest.raises(BadKey, match="no secret key"):
        SecretKey.from_bytes(party.public.to_bytes(), party.public.parameters)


def test_a_context_that_carries_more_than_a_public_key_is_refused(party: Party) -> None:
    parameters = party.public.parameters
    with pytest.raises(BadKey, match="secret key"):
        PublicKey.from_bytes(party.secret.secret_bytes(), parameters)
    with pytest.raises(BadKey, match="relinearisation"):
        PublicKey.from_bytes(party.secret.context.serialize(save_secret_key=False), parameters)


def test_foreign_and_damaged_contexts_are_refused(party: Party) -> None:
    data, parameters = party.public.to_bytes(), party.public.parameters
    for other in (choose(BFV, 8, 30, 10), choose(CKKS, 8, 30, 10)):
        with pytest.raises(WrongContext):
            PublicKey.from_bytes(keygen(other).public_bytes(), parameters)
    for damaged in (data[:-20], data + b"\x00", data + data, b"", os.urandom(500)):
        with pytest.raises((MalformedMessage, WrongContext)):
            PublicKey.from_bytes(damaged, parameters)
    with pytest.raises((MalformedMessage, WrongContext)):
        SecretKey.from_bytes(party.secret.secret_bytes()[:-9], parameters)


# --- bad input


def bad_vectors(party: Party) -> dict[str, bytes]:
    data = party.data[1]
    first, second, third = streams_of(party, data)
    seal = first[:16]
    blocks = b"\x02\x00\x10\x00" * 20000  # runs of 128 KiB each: 2.6 GB from 80 kB
    frame = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", party.public.parameters.residue_bytes + 97) + blocks
    bomb = seal[:8] + struct.pack("<Q", 16 + len(frame[:60000])) + frame[:60000]
    huge = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 1 << 31) + blocks[:400]
    return {
        "empty": b"",
        "truncated header": data[:40],
        "truncated chunk": data[:-1],
        "trailing byte": data + b"\x00",
        "oversized": data + bytes(lattice_wire.largest_vector(party.public.parameters)),
        "no magic": b"X" + data[1:],
        "chunk missing": framed(party, [(0, first), (1, second)]),
        "fewer chunks declared": framed(party, [(0, first), (1, second)], chunks=2),
        "reordered": framed(party, [(1, second), (0, first), (2, third)]),
        "repeated": framed(party, [(0, first), (0, first), (2, third)]),
        "a sum": framed(party, [(0, first), (1, second), (2, third)], clients=2),
        "no clients": framed(party, [(0, first), (1, second), (2, third)], clients=0),
        "last chunk damaged": data[:-500] + bytes(500),
        "stream of noise": framed(party, [(0, first), (1, second), (2, os.urandom(len(third)))]),
        "no compression": framed(party, [(0, first), (1, second), (2, third[:5] + b"\x00" + third[6:])]),
        "bomb": framed(party, [(0, first), (1, second), (2, bomb)]),
        "huge content": framed(
            party, [(0, first), (1, second), (2, seal[:8] + struct.pack("<Q", 16 + len(huge)) + huge)]
        ),
        "public key as ciphertext": framed(
            party, [(0, first), (1, second), (2, lattice_wire.context_fields(party.public.to_bytes()).public_key)]
        ),
    }


def test_malformed_vectors_leave_the_sum_as_it_was(party: Party) -> None:
    accumulator = Accumulator(party.public)
    accumulator.add(party.data[0])
    for name, bad in bad_vectors(party).items():
        with pytest.raises(MalformedMessage):
            accumulator.add(bad)
        assert accumulator.count == 1, name
    accumulator.add(party.data[2])
    expected = party.vectors[0] + party.vectors[2]
    assert np.array_equal(decrypt(party.secret, accumulator.total(), 2), expected)


def test_flipped_bits_are_refused_or_change_nothing_else(party: Party) -> None:
    rng = np.random.default_rng(5)
    accumulator = Accumulator(party.public)
    for _ in range(60):
        bad = bytearray(party.data[0])
        bad[int(rng.integers(0, 300))] ^= 1 << int(rng.integers(0, 8))
        try:
            accumulator.add(bytes(bad))
        except SecureAggError:
            continue
    assert accumulator.count < 60


def test_another_key_or_setting_is_refused(party: Party) -> None:
    accumulator = Accumulator(party.public)
    parameters = party.public.parameters
    other = keygen(parameters)
    with pytest.raises(WrongContext, match="another key"):
        accumulator.add(encrypt(other.public, party.vectors[0]))
    with pytest.raises(WrongContext, match="another key"):
        decrypt(other, party.data[0], 1)
    shorter = keygen(choose(parameters.scheme, 16, 100, parameters.total - 1))
    with pytest.raises(WrongContext, match="another parameters"):
        accumulator.add(encrypt(shorter.public, party.vectors[0][:-1]))
    assert accumulator.count == 0


def test_a_ciphertext_that_cancels_another_changes_nothing(party: Party) -> None:
    chunks = lattice.to_tenseal(party.data[0], party.public)
    context = party.secret.context
    kind = lattice._vector(party.public.parameters.scheme)
    honest = [kind(context.data, chunk) for chunk in chunks]
    fresh = lattice.to_tenseal(party.data[1], party.public)
    zero_minus_first = honest[2].sub(honest[2].add(kind(context.data, chunks[2]))).serialize()
    bad = lattice.from_tenseal([fresh[0], fresh[1], zero_minus_first], party.public)
    accumulator = Accumulator(party.public)
    accumulator.add(party.data[0])
    with pytest.raises(BadInput, match="cancels"):
        accumulator.add(bad)
    accumulator.add(party.data[2])
    expected = party.vectors[0] + party.vectors[2]
    assert np.array_equal(decrypt(party.secret, accumulator.total(), 2), expected)


def test_order_of_calls_and_headroom(party: Party) -> None:
    accumulator = Accumulator(party.public)
    with pytest.raises(LocalProtocolError):
        accumulator.total()
    accumulator.add(party.data[0])
    total = accumulator.total()
    with pytest.raises(LocalProtocolError):
        accumulator.add(party.data[1])
    with pytest.raises(LocalProtocolError):
        accumulator.total()
    with pytest.raises(MalformedMessage, match="a sum of 1 vectors where one of 2"):
        decrypt(party.secret, total, 2)
    full = keygen(choose(party.public.parameters.scheme, 16, 1, 10))
    accumulator = Accumulator(full.public)
    accumulator.add(encrypt(full.public, np.arange(10, dtype=np.uint32)))
    with pytest.raises(LocalProtocolError, match="1 vectors have been added"):
        accumulator.add(encrypt(full.public, np.arange(10, dtype=np.uint32)))


def test_a_sum_out_of_range_is_an_error(party: Party) -> None:
    total = summed(party, party.data[:2])
    streams = streams_of(party, total)
    understated = framed(party, list(enumerate(streams)), clients=1)
    with pytest.raises(BadInput):
        decrypt(party.secret, understated, 1)


# --- stock TenSEAL


def test_stock_tenseal_decrypts_our_chunks(party: Party) -> None:
    p = party.public.parameters
    context = ts.context_from(party.secret.secret_bytes())
    read = ts.bfv_vector_from if p.scheme == BFV else ts.ckks_vector_from
    width, start = p.slots - DUMMIES, 0
    for chunk in lattice.to_tenseal(party.data[0], party.public):
        packed = np.rint(np.array(read(context, chunk).decrypt()[:width])).astype(np.int64) + p.offset
        if p.plain_modulus:
            packed %= p.plain_modulus
        values = np.concatenate([packed // p.base**digit % p.base for digit in range(p.packed)])
        expected = party.vectors[0][start : start + p.chunk_values]
        assert np.array_equal(values[: expected.size], expected)
        start += p.chunk_values


def test_chunks_of_stock_tenseal_add_and_decrypt_here(party: Party) -> None:
    p = party.public.parameters
    context = ts.context_from(party.public.to_bytes())
    values = party.vectors[1]
    chunks = []
    for start in range(0, p.total, p.chunk_values):
        slots = lattice._pack(values[start : start + p.chunk_values], p).tolist()
        made = ts.bfv_vector(context, slots) if p.scheme == BFV else ts.ckks_vector(context, slots)
        chunks.append(made.serialize())
    data = lattice.from_tenseal(chunks, party.public)
    assert np.array_equal(
        decrypt(party.secret, summed(party, [party.data[0], data]), 2), party.vectors[0] + party.vectors[1]
    )
    with pytest.raises(MalformedMessage, match="2 TenSEAL vectors, not 3"):
        lattice.from_tenseal(chunks[:2], party.public)
    with pytest.raises(MalformedMessage, match="holds a field twice"):
        lattice.from_tenseal([*chunks[:2], chunks[2] + b"\x0a\x00"], party.public)
    with pytest.raises(MalformedMessage, match="not a TenSEAL vector"):
        lattice.from_tenseal([*chunks[:2], chunks[2] + b"\x38\x00"], party.public)
