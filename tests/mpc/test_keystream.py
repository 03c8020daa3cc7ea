"""Key derivation and key streams against published vectors and independent slow constructions."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from mpc import keystream
from mpc.framing import frame
from mpc.keystream import CHUNK, KeyStream, derive_key
from mpc.ring import P, Vector

KEY = bytes(range(32))
SECRET = bytes(range(100, 132))


@pytest.fixture(autouse=True, params=["galois", "counter"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of making a stream, whichever is the faster one here."""
    monkeypatch.setattr(keystream, "galois_is_faster", lambda: request.param == "galois")


def aes_blocks(key: bytes, counters: bytes) -> bytes:
    """AES-256 of every 16-byte counter block."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher itself
    return encryptor.update(counters) + encryptor.finalize()


def reference_words(key: bytes, stream: int, count: int) -> Vector:
    """A stream's first words: AES of (stream, 0), (stream, 1), … with both halves big endian."""
    halves = np.empty((-(-count // 4), 2), dtype=">u8")
    halves[:, 0] = stream
    halves[:, 1] = np.arange(len(halves))
    return np.frombuffer(aes_blocks(key, halves.tobytes()), dtype="<u4")[:count].astype(np.uint32)


def reference_residues(words: Vector, count: int) -> list[int]:
    """Low 31 bits of word after word, those from p on skipped."""
    return list(itertools.islice((word for word in (words & 0x7FFFFFFF).tolist() if word < P), count))


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, sections 2.2 and 2.3."""
    pseudo_random_key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    out = block = b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


def filled(stream: KeyStream, number: int, count: int) -> Vector:
    out = np.empty(count, dtype=np.uint32)
    stream.residues(number, out)
    return out


# --- AES in counter mode ------------------------------------------------------------------------------------


def test_the_reference_block_cipher_gives_the_nist_counter_mode_vector() -> None:
    """SP 800-38A, F.5.5: CTR-AES256, the four output blocks."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    start = int.from_bytes(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), "big")
    counters = b"".join((start + i).to_bytes(16, "big") for i in range(4))
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    cipher = bytes(a ^ b for a, b in zip(aes_blocks(key, counters), plain, strict=True))
    assert cipher.hex() == (
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )


@pytest.mark.parametrize("stream", [0, 1, 255, 2**32, 2**64 - 1])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 2047, 2048, 2049, 2050, 2051, 5000, CHUNK - 1, CHUNK, CHUNK + 3])
def test_a_stream_is_aes_of_its_number_and_a_counter(stream: int, count: int) -> None:
    words = np.empty(count, dtype=np.uint32)
    KeyStream(KEY).words(stream, words)
    assert np.array_equal(words, reference_words(KEY, stream, count))


def test_a_stream_longer_than_a_chunk_goes_on_counting() -> None:
    words = np.empty(2 * CHUNK + 5, dtype=np.uint32)
    KeyStream(KEY).words(3, words)
    assert np.array_equal(words, reference_words(KEY, 3, words.size))


def test_reading_a_stream_again_starts_at_its_beginning() -> None:
    keys = KeyStream(KEY)
    first, _, again = filled(keys, 5, 10), filled(keys, 6, 3), filled(keys, 5, 10)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_stream_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        KeyStream(bytes(length))


def test_repr_hides_the_key() -> None:
    assert repr(KeyStream(KEY)) == "KeyStream(<secret>)"


# --- residues and bounded integers --------------------------------------------------------------------------


def rejected_positions(stream: int) -> list[int]:
    return np.flatnonzero((reference_words(KEY, stream, CHUNK) & 0x7FFFFFFF) >= P).tolist()


@pytest.fixture(scope="module")
def stream_with_rejections() -> int:
    """The first stream of ``KEY`` that skips three words of its first chunk or more."""
    return next(stream for stream in itertools.count() if len(rejected_positions(stream)) >= 3)


def test_a_chunk_with_several_rejections_is_the_words_below_p(stream_with_rejections: int) -> None:
    words = reference_words(KEY, stream_with_rejections, CHUNK + 64)
    assert filled(KeyStream(KEY), stream_with_rejections, CHUNK).tolist() == reference_residues(words, CHUNK)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("beyond", [0, 1, 2])
def test_rejections_at_the_very_end_are_replaced_by_what_follows(
    stream_with_rejections: int, which: int, beyond: int
) -> None:
    """A size that ends at a rejected word makes the refill itself hit one."""
    size = rejected_positions(stream_with_rejections)[which] + beyond
    words = reference_words(KEY, stream_with_rejections, size + 64)
    assert filled(KeyStream(KEY), stream_with_rejections, size).tolist() == reference_residues(words, size)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("beyond", [0, 1, 5000])
def test_adding_residues_is_adding_what_they_are(
    stream_with_rejections: int, which: int, beyond: int, sign: int
) -> None:
    """Where a word is rejected inside, at the end and in the refill; and at the edges of Z_p."""
    size = rejected_positions(stream_with_rejections)[which] + beyond
    total = np.resize(np.array([0, 1, P - 1], dtype=np.uint32), size)
    noise = filled(KeyStream(KEY), stream_with_rejections, size).astype(np.int64)
    expected = (total.astype(np.int64) + sign * noise) % P
    KeyStream(KEY).add_residues(stream_with_rejections, total, sign, np.empty(size, dtype=np.uint32))
    assert np.array_equal(total, expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("word", [0, 1, P - 1])
@pytest.mark.parametrize("start", [0, 1, P - 1])
def test_residues_are_added_modulo_p_at_its_edges(word: int, start: int, sign: int) -> None:
    """``[word, P]`` makes the kernel skip a word, ``[word, word]`` does not."""
    for words in ([word, P], [word, word], [word | 1 << 31, word]):
        total = np.array([start, start], dtype=np.uint32)
        added = keystream._add_residues(np.array(words, dtype=np.uint32), total, sign < 0)
        kept = [w & 0x7FFFFFFF for w in words if w & 0x7FFFFFFF < P]
        assert added == len(kept)
        assert total.tolist() == [(start + sign * w) % P for w in kept] + [start] * (2 - added)


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_a_vector_is_its_chunks_each_from_a_stream_of_its_own(length: int) -> None:
    vector = KeyStream(KEY).residue_vector(length)
    starts = range(0, length, CHUNK)
    chunks = [filled(KeyStream(KEY), c, min(CHUNK, length - start)) for c, start in enumerate(starts)]
    assert vector.tolist() == [value for chunk in chunks for value in chunk.tolist()]


@pytest.mark.parametrize("bits", [1, 8, 16, 24, 31, 32])
def test_bounded_integers_are_the_low_bits_of_the_words(bits: int) -> None:
    out = np.empty(1000, dtype=np.uint32)
    KeyStream(KEY).bounded(9, bits, out)
    assert out.tolist() == [word % 2**bits for word in reference_words(KEY, 9, 1000).tolist()]


@pytest.mark.parametrize("bucket_of", ["high", "low"])
def test_residues_fill_256_buckets_evenly(bucket_of: str) -> None:
    """Chi-square with 255 degrees of freedom: mean 255, deviation 23. The key is fixed, and so the outcome."""
    values = KeyStream(SECRET).residue_vector(1 << 20).astype(np.uint64)
    buckets = values * 256 // P if bucket_of == "high" else values % 256
    counts = np.bincount(buckets.astype(np.int64), minlength=256)
    expected = values.size / 256
    assert 150 < float(((counts - expected) ** 2 / expected).sum()) < 380


def test_residues_are_below_p() -> None:
    assert int(KeyStream(SECRET).residue_vector(1 << 20).max()) < P


# --- key derivation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "salt", "info", "expected"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["case-1", "case-3"],
)
def test_the_reference_derivation_gives_the_rfc_5869_vectors(secret: str, salt: str, info: str, expected: str) -> None:
    assert hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), 42).hex() == expected


@given(st.binary(min_size=32, max_size=80), st.text(st.characters(codec="utf-8")), st.lists(st.binary()))
def test_a_derived_key_is_hkdf_without_salt_over_the_frame(secret: bytes, label: str, context: list[bytes]) -> None:
    assert derive_key(secret, label, *context) == hkdf(secret, b"", frame(label, *context), 32)


@pytest.mark.parametrize("length", [0, 1, 16, 31])
def test_a_short_secret_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes"):
        derive_key(bytes(length), "label")


@pytest.mark.parametrize(
    ("label", "context"),
    [("label2", (b"ab", b"c")), ("label", (b"a", b"bc")), ("label", (b"abc",)), ("label", (b"ab", b"c", b""))],
)
def test_labels_and_contexts_separate_keys(label: str, context: tuple[bytes, ...]) -> None:
    assert derive_key(SECRET, label, *context) != derive_key(SECRET, "label", b"ab", b"c")


def test_secrets_separate_keys() -> None:
    assert derive_key(SECRET, "label") != derive_key(KEY, "label")
