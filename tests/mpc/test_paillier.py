"""Paillier: exact sums of packed vectors, exchange with stock phe, and nothing malformed is taken in."""

from __future__ import annotations

import math
import secrets

import gmpy2
import numpy as np
import phe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paillier import N2, PACKING, PUBLIC, SECRET, N, P, Q, vector_of

from mpc.keystream import KeyStream
from mpc.paillier.montgomery import FixedBase, to_limbs
from mpc.paillier.packing import (
    Accumulator,
    PackedRuns,
    Packing,
    decrypt_vector,
    encoded_bytes,
    encrypt_vector,
    parse_vector,
    write_vector,
)
from mpc.paillier.paillier import Encryptor, PaillierError, PublicKey, SecretKey, generate
from mpc.ring import Vector

pytestmark = pytest.mark.slow  # compiles the Montgomery kernels, and works with keys of 2,048 bits


@pytest.fixture(scope="module")
def encryptor() -> Encryptor:
    return Encryptor(PUBLIC)


def stream(seed: int = 0) -> KeyStream:
    return KeyStream(seed.to_bytes(32, "little"))


def encrypt(encryptor: Encryptor, vector: Vector, packing: Packing = PACKING, seed: int = 0, first: int = 0) -> bytes:
    start, count = first // packing.slots, packing.ciphertexts(vector.size)
    return encrypt_vector(encryptor, packing, vector, encryptor.obfuscators(stream(seed), start, count), first=first)


# --- arithmetic


@pytest.mark.parametrize("n", [N, (1 << 2047) + 3, (1 << 2048) - 1], ids=["random", "smallest", "largest"])
def test_table_powers_and_blinding_are_modular_arithmetic(n: int) -> None:
    bases = [secrets.randbelow(n * n), n * n - 1]
    messages = [0, 1, n - 1, secrets.randbelow(n)]
    exponents = [0, 1, (1 << 128) - 1, secrets.randbits(128)]
    rows = np.stack([np.frombuffer(e.to_bytes(16, "little"), dtype=np.uint8) for e in exponents])
    for base in bases:
        table = FixedBase(base, n, 16)
        out = table.blind(table.powers(rows), np.stack([to_limbs(m, 32) for m in messages]))
        for row, e, m in zip(out, exponents, messages, strict=True):
            assert int.from_bytes(row.tobytes(), "little") == pow(base, e, n * n) * (1 + m * n) % (n * n)


def test_a_ciphertext_is_what_the_definition_says(encryptor: Encryptor) -> None:
    h = PUBLIC.obfuscator_base()
    exponent = np.empty(32, dtype=np.uint32)  # 1,024 bits: half the modulus'
    stream(5).words(3, exponent)
    a = int.from_bytes(exponent.tobytes(), "little")
    assert encryptor.encrypt([42], stream(5), first=3) == [(1 + 42 * N) * pow(h, a, N2) % N2]
    assert math.gcd(h, N) == 1
    assert pow(h, (P - 1) * (Q - 1) // 4, N2) == 1  # a square and an n-th power


def test_decryption_inverts_encryption_and_sums(encryptor: Encryptor) -> None:
    plain = [0, 1, N - 1, N // 2, secrets.randbelow(N)]
    ciphertexts = encryptor.encrypt(plain, stream())
    assert SECRET.decrypt(ciphertexts) == plain
    assert SECRET.decrypt([math.prod(ciphertexts) % N2]) == [sum(plain) % N]
    assert SECRET.decrypt([]) == []


def test_the_same_stream_gives_the_same_bytes_and_another_different_ones(encryptor: Encryptor) -> None:
    vector = vector_of(200)
    assert encrypt(encryptor, vector) == encrypt(encryptor, vector)
    assert encrypt(encryptor, vector) != encrypt(encryptor, vector, seed=1)
    pieces = [encrypt(encryptor, vector[i : i + PACKING.slots], first=i) for i in range(0, 200, PACKING.slots)]
    assert (
        b"".join(piece[PACKING.header_bytes() :] for piece in pieces)
        == encrypt(encryptor, vector)[PACKING.header_bytes() :]
    )


# --- packing


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_packing_round_trips(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 32), "bits")
    clients = data.draw(st.integers(1, 1 << (32 - bits)), "clients")
    packing = Packing((1 << bits) - 1, clients, data.draw(st.sampled_from([2048, 3072]), "modulus"))
    length = data.draw(st.integers(0, 400), "length")
    vector = vector_of(length, seed=bits)[:length] if bits > 16 else vector_of(length, seed=bits, bits=bits)
    plaintexts = [int.from_bytes(row.tobytes(), "little") for row in packing.pack(vector)]
    assert all(m.bit_length() <= packing.modulus_bits - 2 for m in plaintexts)
    assert np.array_equal(packing.unpack(plaintexts, length), vector)


def test_slots_hold_the_largest_sum() -> None:
    packing = Packing(0xFFFF, 128, 2048)
    assert (packing.slot_bits, packing.slots) == (23, 88)
    rows = packing.pack(np.full(100, 0xFFFF, dtype=np.uint32))
    sums = [128 * int.from_bytes(row.tobytes(), "little") for row in rows]
    assert np.array_equal(packing.unpack(sums, 100), np.full(100, 128 * 0xFFFF, dtype=np.uint32))


def test_packing_refuses_what_does_not_fit() -> None:
    for bits, clients in ((0, 3), (16, 0), (33, 1), (16, (1 << 16) + 2)):
        with pytest.raises(PaillierError, match="do not fit slots"):
            Packing((1 << bits) - 1, clients, 2048)
    with pytest.raises(PaillierError, match="entry 3 is 65536"):
        PACKING.pack(np.array([1, 2, 3, 65536], dtype=np.uint32))
    for bad in (np.zeros(3, dtype=np.int64), np.zeros((2, 2), dtype=np.uint32)):
        with pytest.raises(PaillierError, match="no vector of uint32"):
            PACKING.pack(bad)
    with pytest.raises(PaillierError, match="1 plaintexts, not the 2"):
        PACKING.unpack([0], 89)
    for stray in (1 << 2047, 1 << (88 * 23), N - 1):
        with pytest.raises(PaillierError, match="outside its slots"):
            PACKING.unpack([stray], 88)
    with pytest.raises(PaillierError, match="outside its slots"):
        PACKING.unpack([1 << 23], 1)
    for long in (-1, 1 << 2048):
        with pytest.raises(PaillierError, match="longer than"):
            PACKING.unpack([long], 1)


def test_runs_have_slots_as_wide_as_their_own_sums(encryptor: Encryptor) -> None:
    """And a header that says each of them; the sums of one run never reach another's plaintexts."""
    runs = PackedRuns(((Packing(2, 100, 2048), 1000), (Packing(1023, 100, 2048), 60), (Packing(3, 100, 2048), 1)))
    assert [packing.slot_bits for packing, _ in runs.parts] == [8, 17, 9]
    assert runs.ciphertexts(runs.length) == 4 + 1 + 1
    rng = np.random.default_rng(9)
    vectors = [np.concatenate([rng.integers(0, p.top + 1, n, dtype=np.uint32) for p, n in runs.parts]) for _ in "ab"]
    vectors.append(np.concatenate([np.full(n, p.top, dtype=np.uint32) for p, n in runs.parts]))
    accumulator = Accumulator(PUBLIC, runs, runs.length)
    for seed, vector in enumerate(vectors):
        obfuscators = encryptor.obfuscators(stream(seed), 0, 6)
        data = encrypt_vector(encryptor, runs, vector, obfuscators)
        assert len(data) == encoded_bytes(PUBLIC, runs, runs.length) == 32 + 3 * 32 + 6 * 512
        accumulator.add(data)
    assert np.array_equal(decrypt_vector(SECRET, runs, accumulator.total(), runs.length), np.sum(vectors, axis=0))
    for at in range(32, 128, 8):
        other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(PaillierError, match="top, clients, first, length"):
            accumulator.add(other)
    assert accumulator.summands == 3


def test_runs_refuse_what_is_none_of_theirs() -> None:
    runs = PackedRuns(((PACKING, 100), (Packing(3, 100, 2048), 5)))
    with pytest.raises(PaillierError, match="one number of clients"):
        PackedRuns(((PACKING, 1), (Packing(3, 99, 2048), 5)))
    with pytest.raises(PaillierError, match="a piece of runs holds all 105"):
        Accumulator(PUBLIC, runs, 100)
    with pytest.raises(PaillierError, match="a piece of runs holds all 105"):
        Accumulator(PUBLIC, runs, 105, first=88)
    with pytest.raises(PaillierError, match="104 coordinates, not the 105"):
        runs.pack(vector_of(104))
    with pytest.raises(PaillierError, match="entry 0 is 4, above 3"):
        runs.pack(np.concatenate([vector_of(100), np.full(5, 4, dtype=np.uint32)]))
    for plaintexts, length in (([0, 0], 105), ([0, 0, 0], 104)):
        with pytest.raises(PaillierError, match="are none of 105 in runs"):
            runs.unpack(plaintexts, length)
    with pytest.raises(PaillierError, match="outside its slots"):
        runs.unpack([0, 0, 1 << 45], 105)


# --- sums


@settings(max_examples=8, deadline=None)
@given(bits=st.integers(1, 16), clients=st.integers(1, 5), length=st.integers(1, 200), seed=st.integers(0, 1 << 30))
def test_sums_equal_numpy(encryptor: Encryptor, bits: int, clients: int, length: int, seed: int) -> None:
    packing = Packing((1 << bits) - 1, clients, 2048)
    vectors = [vector_of(length, seed + i, bits) for i in range(clients)]
    accumulator = Accumulator(PUBLIC, packing, length)
    for i, vector in enumerate(vectors):
        accumulator.add(encrypt(encryptor, vector, packing, seed=i))
    assert accumulator.summands == clients
    total = decrypt_vector(SECRET, packing, accumulator.total(), length)
    assert total.dtype == np.uint32
    assert np.array_equal(total, np.sum(vectors, axis=0, dtype=np.uint32))


def test_an_accumulator_takes_no_more_summands_than_its_slots() -> None:
    packing = Packing(0xFFFF, 2, 2048)
    accumulator = Accumulator(PUBLIC, packing, 1)
    with pytest.raises(PaillierError, match="no ciphertexts"):
        accumulator.total()
    data = write_vector(PUBLIC, packing, [1], 1)
    accumulator.add(data)
    accumulator.add(data)
    with pytest.raises(PaillierError, match="room for 2"):
        accumulator.add(data)


# --- bad input


def test_what_is_no_ciphertext_is_refused_and_named() -> None:
    good = 1 + N
    for bad in (0, N2, N2 + 5, -1):
        with pytest.raises(PaillierError, match="ciphertext 1 is not in") as caught:
            PUBLIC.check([good, bad])
        assert caught.value.index == 1
    for bad in (N, P, 5 * Q, P * P):
        with pytest.raises(PaillierError, match="ciphertext 2 is no unit") as caught:
            PUBLIC.check([good, good, bad, good])
        assert caught.value.index == 2
        with pytest.raises(PaillierError, match="no unit"):
            SECRET.decrypt([bad])


def test_malformed_pieces_change_nothing(encryptor: Encryptor) -> None:
    length = 100
    good = encrypt(encryptor, vector_of(length))
    assert len(good) == encoded_bytes(PUBLIC, PACKING, length)
    accumulator = Accumulator(PUBLIC, PACKING, length)
    accumulator.add(good)
    before = accumulator.total()
    size = PUBLIC.ciphertext_bytes
    zero, large, factor = (x.to_bytes(size, "little") for x in (0, N2, 3 * P))
    bad = {
        "^0 bytes, not": b"",
        "not the 1088": good[:-1],
        "bytes, not": good + b"\0",
        "not the 1088 of": good[:-size],
        "another key": bytes([good[0] ^ 1]) + good[1:],
        "top": good[:32] + (17).to_bytes(8, "little") + good[40:],
        "clients": good[:40] + (101).to_bytes(8, "little") + good[48:],
        "first": good[:48] + (88).to_bytes(8, "little") + good[56:],
        "length": good[:56] + (101).to_bytes(8, "little") + good[64:],
        "ciphertext 1 is not in": good[:-size] + zero,
        "ciphertext 1 is not in .1, n": good[:-size] + large,
        "ciphertext 1 is no unit": good[:-size] + factor,
    }
    for message, data in bad.items():
        with pytest.raises(PaillierError, match=message):
            accumulator.add(data)
    assert accumulator.summands == 1
    assert accumulator.total() == before


def test_another_modulus_is_refused(encryptor: Encryptor) -> None:
    other = PublicKey(int(gmpy2.next_prime(1 << 1024)) * int(gmpy2.next_prime(1 << 1023)))
    with pytest.raises(PaillierError, match="another key"):
        parse_vector(other, PACKING, encrypt(encryptor, vector_of(5)), 5)
    with pytest.raises(PaillierError, match="a packing for 3072 bits"):
        Accumulator(PUBLIC, Packing(0xFFFF, 100, 3072), 5)
    with pytest.raises(PaillierError, match="another key"):
        Encryptor(PUBLIC).encrypt_limbs(np.zeros((1, 32), np.uint64), Encryptor(other).obfuscators(stream(), 0, 1))


def test_misplaced_pieces_and_obfuscators_are_refused(encryptor: Encryptor) -> None:
    for first, length in ((1, 5), (-88, 5), (0, 0)):
        with pytest.raises(PaillierError, match="starts at a multiple of 88"):
            Accumulator(PUBLIC, PACKING, length, first=first)
    with pytest.raises(PaillierError, match="obfuscators from ciphertext 1"):
        encrypt_vector(encryptor, PACKING, vector_of(5), encryptor.obfuscators(stream(), 1, 1))
    with pytest.raises(PaillierError, match="do not fit 2 ciphertexts"):
        encrypt_vector(encryptor, PACKING, vector_of(5), encryptor.obfuscators(stream(), 0, 2))
    with pytest.raises(PaillierError, match="another number"):
        write_vector(PUBLIC, PACKING, [1, 1], 5)
    spent = encryptor.obfuscators(stream(), 0, 1)
    encrypt_vector(encryptor, PACKING, vector_of(5), spent)
    with pytest.raises(PaillierError, match="spent"):
        encrypt_vector(encryptor, PACKING, vector_of(5), spent)


def test_plaintexts_of_n_or_more_are_refused(encryptor: Encryptor) -> None:
    for bad in (-1, N, N + 1):
        with pytest.raises(PaillierError, match="not in"):
            encryptor.encrypt([bad], stream())
    with pytest.raises(PaillierError, match="plaintext 0 is not below"):
        encryptor.encrypt_limbs(to_limbs(N, 32).reshape(1, 32), encryptor.obfuscators(stream(), 0, 1))


# --- keys


def test_a_generated_key_is_of_the_length_asked_for_and_survives_storage() -> None:
    key = generate(2048)
    assert key.public.bits == 2048
    assert SecretKey.from_bytes(key.to_bytes()) == key
    assert PublicKey.from_bytes(key.public.to_bytes()) == key.public
    assert key.public.fingerprint != PUBLIC.fingerprint


def test_bad_keys_are_refused() -> None:
    for bits in (1024, 2047, 2050, 8320):
        with pytest.raises(PaillierError, match="multiple of 128"):
            generate(bits)
    prime = int(gmpy2.next_prime(3 << 2046))
    for n in (N + 1, prime, P * P):
        with pytest.raises(PaillierError, match="even, prime or a perfect power"):
            PublicKey(n)
    one_mod_four = int(gmpy2.next_prime(P))
    while one_mod_four % 4 == 3:
        one_mod_four = int(gmpy2.next_prime(one_mod_four))
    for p, q in ((P, P), (P, Q >> 8), (P, one_mod_four), (P, Q + 4)):
        with pytest.raises(PaillierError):
            SecretKey(p, q)
    for size in (0, 255, 257, 2048):
        with pytest.raises(PaillierError):
            PublicKey.from_bytes(bytes(size))
        with pytest.raises(PaillierError):
            SecretKey.from_bytes(bytes(size))


def test_secrets_stay_out_of_repr(encryptor: Encryptor) -> None:
    assert str(P) not in repr(SECRET)
    assert repr(encryptor.obfuscators(stream(), 2, 3)) == "Obfuscators(first=2, count=3, <secret>)"


# --- phe


def encrypted_by_phe(key: phe.PaillierPublicKey, vector: Vector) -> bytes:
    """What ``encrypt_vector`` makes, encrypted by stock ``phe``."""
    rows = PACKING.pack(vector)
    ciphertexts = [key.raw_encrypt(int.from_bytes(row.astype("<u8").tobytes(), "little")) for row in rows]
    return write_vector(PublicKey(int(key.n)), PACKING, ciphertexts, vector.size)


def decrypted_by_phe(key: phe.PaillierPrivateKey, data: bytes, length: int) -> Vector:
    """What ``decrypt_vector`` returns, decrypted by stock ``phe``."""
    ciphertexts = parse_vector(PublicKey(int(key.public_key.n)), PACKING, data, length)
    return PACKING.unpack([key.raw_decrypt(int(c)) for c in ciphertexts], length)


def test_phe_decrypts_what_is_made_here_and_the_other_way_round(encryptor: Encryptor) -> None:
    phe_public = phe.PaillierPublicKey(N)
    phe_secret = phe.PaillierPrivateKey(phe_public, P, Q)
    (ciphertext,) = encryptor.encrypt([77], stream())
    assert phe_secret.decrypt(phe.EncryptedNumber(phe_public, ciphertext)) == 77
    assert phe_secret.decrypt(phe_public.encrypt(5) + phe.EncryptedNumber(phe_public, ciphertext)) == 82
    assert SECRET.decrypt([phe_public.encrypt(123).ciphertext()]) == [123]

    vector = vector_of(150)
    ours = encrypt(encryptor, vector)
    theirs = encrypted_by_phe(phe_public, vector)
    assert np.array_equal(decrypted_by_phe(phe_secret, ours, 150), vector)
    assert np.array_equal(decrypt_vector(SECRET, PACKING, theirs, 150), vector)
    accumulator = Accumulator(PUBLIC, PACKING, 150)
    accumulator.add(ours)
    accumulator.add(theirs)
    assert np.array_equal(decrypted_by_phe(phe_secret, accumulator.total(), 150), 2 * vector)
