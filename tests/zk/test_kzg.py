"""KZG commitments: the ceremony's powers, openings, what is refused; checked against ckzg, another implementation."""

from __future__ import annotations

import functools
import hashlib
import secrets
from importlib import resources
from pathlib import Path
from typing import Any

import ckzg
import eth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from mpc.ntt import N
from mpc.ring import P
from secure_agg.errors import VerificationError
from secure_agg.ledger.evm import statement
from zk import kzg
from zk.commitment import Commitment, add

pytestmark = pytest.mark.slow  # loads the ceremony of EIP-4844 twice

R = kzg.MODULUS
INFINITY = bytes([0xC0]) + bytes(47)
scalars = st.integers(0, R - 1)
polynomials = st.lists(scalars, min_size=0, max_size=9)


@functools.cache
def trusted_setup() -> Any:
    """Ethereum's, as py-evm carries it for its own point-evaluation precompile."""
    return ckzg.load_trusted_setup(str(Path(eth.__file__).parent / "_utils" / "kzg_trusted_setup.txt"), 0)


# The powers


def test_every_power_is_tau_times_the_one_before() -> None:
    first, (g2, tau_g2) = kzg.powers()
    assert (len(first), first[0], g2) == (kzg.MAX_COEFFICIENTS, G1Point(), G2Point())
    assert tau_g2 != g2
    # One check for all: of a random combination, a wrong power fails it but for a chance of 2^-128.
    weights = [Scalar(secrets.randbits(128)) for _ in first[1:]]
    lower = G1Point.multiexp_unchecked(list(first[:-1]), weights)
    upper = G1Point.multiexp_unchecked(list(first[1:]), weights)
    assert GT.pairing_check([lower, -upper], [tau_g2, g2])
    assert not GT.pairing_check([lower, -lower], [tau_g2, g2])


def test_a_changed_file_of_powers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = resources.files("zk").joinpath("ceremony/powers.txt").read_bytes()
    monkeypatch.setattr(kzg, "_POWERS_SHA256", hashlib.sha256(data + b"\n").hexdigest())
    with pytest.raises(kzg.KzgError, match="install it again"):
        kzg.powers.__wrapped__()


# Against ckzg


def test_commitments_and_openings_are_those_of_eip_4844() -> None:
    """A polynomial in the blob's form, its values at the roots of unity in bit-reversed order, has the same commitment
    and opening as its coefficients have here.
    """
    coefficients = [secrets.randbelow(R) for _ in range(kzg.MAX_COEFFICIENTS)]
    root, values = pow(7, (R - 1) // 4096, R), []
    for i in range(4096):
        point = pow(root, int(f"{i:012b}"[::-1], 2), R)
        values.append(kzg.evaluate(coefficients, point).to_bytes(32, "big"))
    blob = b"".join(values)
    commitment, z, setup = kzg.commit(coefficients), secrets.randbelow(R), trusted_setup()
    assert ckzg.blob_to_kzg_commitment(blob, setup) == commitment
    y, proof = kzg.open_at(coefficients, z)
    assert ckzg.compute_kzg_proof(blob, z.to_bytes(32, "big"), setup) == (proof, y.to_bytes(32, "big"))


@settings(max_examples=10)
@given(polynomials, scalars)
def test_ckzg_accepts_and_refuses_the_same_openings(coefficients: list[int], z: int) -> None:
    commitment, (y, proof) = kzg.commit(coefficients), kzg.open_at(coefficients, z)
    setup = trusted_setup()
    for value in (y, (y + 1) % R):
        accepted = ckzg.verify_kzg_proof(commitment, z.to_bytes(32, "big"), value.to_bytes(32, "big"), proof, setup)
        assert accepted is (value == y)
        if accepted:
            kzg.verify(commitment, z, value, proof)
        else:
            with pytest.raises(kzg.KzgError):
                kzg.verify(commitment, z, value, proof)


# Properties


@given(polynomials, scalars)
def test_an_opening_verifies(coefficients: list[int], z: int) -> None:
    y, proof = kzg.open_at(coefficients, z)
    assert y == sum(c * pow(z, j, R) for j, c in enumerate(coefficients)) % R == kzg.evaluate(coefficients, z)
    kzg.verify(kzg.commit(coefficients), z, y, proof)


@given(polynomials, polynomials)
def test_commitments_are_linear(f: list[int], g: list[int]) -> None:
    size = max(len(f), len(g))
    total = [(a + b) % R for a, b in zip(f + [0] * (size - len(f)), g + [0] * (size - len(g)), strict=True)]
    assert kzg.add([kzg.commit(f), kzg.commit(g)]) == kzg.commit(total)


@given(polynomials)
def test_both_encodings_of_a_point_hold_the_same(coefficients: list[int]) -> None:
    commitment = kzg.commit(coefficients)
    assert kzg.compressed(kzg.uncompressed(commitment)) == commitment


def test_the_empty_polynomial_is_zero() -> None:
    assert kzg.commit([]) == kzg.commit([0, 0]) == kzg.add([]) == INFINITY
    assert kzg.uncompressed(INFINITY) == bytes(128)
    assert kzg.open_at([], 5) == (0, INFINITY)
    kzg.verify(INFINITY, 5, 0, INFINITY)


# What is refused


def test_anything_wrong_in_an_opening_is_refused() -> None:
    coefficients = [secrets.randbelow(R) for _ in range(20)]
    commitment, z = kzg.commit(coefficients), secrets.randbelow(R)
    y, proof = kzg.open_at(coefficients, z)
    kzg.verify(commitment, z, y, proof)
    for wrong in (
        (kzg.commit(coefficients[:-1]), z, y, proof),
        (commitment, z + 1, y, proof),
        (commitment, z, y + 1, proof),
        (commitment, z, y, kzg.open_at(coefficients, z + 1)[1]),
        (commitment, z, y, INFINITY),
        (INFINITY, z, y, proof),
    ):
        with pytest.raises(kzg.KzgError, match="does not prove"):
            kzg.verify(*wrong)


def _outside_the_group() -> bytes:
    """A point of the curve that is not in the group, compressed."""
    q, x = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB, 4
    while pow(x**3 + 4, (q - 1) // 2, q) != 1:
        x += 1
    data = bytearray(x.to_bytes(48, "big"))
    data[0] |= 0x80
    if G1Point.from_compressed_bytes_unchecked(bytes(data)).is_in_subgroup():
        raise AssertionError("a point outside the group")
    return bytes(data)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        bytes(48),
        bytes([0xC0]) + bytes(48),
        bytes([0xC0]) + bytes(46) + b"\1",
        bytes([0xE0]) + bytes(47),
        bytes([0x9F]) + b"\xff" * 47,
        _outside_the_group(),
    ],
    ids=["empty", "no flags", "trailing byte", "infinity with a coordinate", "infinity with a sign", "x ≥ q", "group"],
)
def test_bytes_that_are_no_point_are_refused(point: bytes) -> None:
    y, proof = kzg.open_at([1, 2], 3)
    for use in (
        lambda: kzg.verify(point, 3, y, proof),
        lambda: kzg.verify(kzg.commit([1, 2]), 3, y, point),
        lambda: kzg.add([point]),
        lambda: kzg.uncompressed(point),
    ):
        with pytest.raises(kzg.KzgError):
            use()


def test_what_belongs_to_no_point_of_the_curve_never_reaches_arkworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compiled Rust, which ends by an exception that no handler of ours would catch where it is surprised."""
    kzg.powers()

    class Untouched:
        """Fails whoever hands it a point."""

        identity = G1Point.identity

        def __getattr__(self, name: str) -> None:
            raise AssertionError(f"arkworks was asked for {name}")

    field = int.from_bytes(bytes.fromhex("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f624"), "big")
    field = field << 128 | 0x1EABFFFEB153FFFFB9FEFFFFFFFFAAAB
    off_curve = next(x for x in range(100) if pow(x**3 + 4, (field - 1) // 2, field) == field - 1)
    flagged = bytes([0x80]) + off_curve.to_bytes(47, "big")
    y = bytes(16) + (2).to_bytes(48, "big")
    words = [bytes(16) + n.to_bytes(48, "big") for n in (field, 1, (1 << 384) - 1)]
    monkeypatch.setattr(kzg, "G1Point", Untouched())
    for point in (
        flagged,
        bytes([0xA0]) + flagged[1:],
        bytes(48),
        bytes([0x9F]) + b"\xff" * 47,
        bytes([0xE0]) + bytes(47),
    ):
        with pytest.raises(kzg.KzgError):
            kzg.uncompressed(point)
    for x in words:
        with pytest.raises(kzg.KzgError):
            kzg.compressed(x + y)


def test_uncompressed_bytes_that_are_no_point_are_refused() -> None:
    good = bytearray(kzg.uncompressed(kzg.commit([5])))
    for at in (0, 64, 127):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises(kzg.KzgError):
            kzg.compressed(bytes(bad))
    with pytest.raises(kzg.KzgError):
        kzg.compressed(bytes(good) + b"\0")


@pytest.mark.parametrize("value", [-1, R, 1 << 300])
def test_a_number_that_is_no_scalar_is_refused(value: int) -> None:
    y, proof = kzg.open_at([1, 2], 3)
    for use in (
        lambda: kzg.commit([value]),
        lambda: kzg.open_at([value], 3),
        lambda: kzg.open_at([1], value),
        lambda: kzg.verify(kzg.commit([1, 2]), value, y, proof),
        lambda: kzg.verify(kzg.commit([1, 2]), 3, value, proof),
    ):
        with pytest.raises(kzg.KzgError, match="not in"):
            use()


def test_a_polynomial_beyond_the_powers_is_refused() -> None:
    kzg.open_at([1] * kzg.MAX_COEFFICIENTS, 1)
    with pytest.raises(kzg.KzgError, match="343 coefficients"):
        kzg.commit([1] * (kzg.MAX_COEFFICIENTS + 1))


# Packing


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("n", [1, 2, statement.MAX_CLIENTS, 2048])
def test_packed_sums_do_not_carry(rank: int, n: int) -> None:
    """The largest residues, as many times as a slot holds: what comes out is their sum modulo p."""
    largest = np.full(rank * N, P - 1, dtype=np.uint32)
    packed = statement.pack(largest)
    assert len(packed) == statement.scalars_for(rank) <= kzg.MAX_COEFFICIENTS
    sums = statement.add_packed([packed] * n)
    assert max(sums) < 1 << 252 < R
    assert statement.unpack(sums) == np.full(rank * N, n * (P - 1) % P, dtype="<u4").tobytes()


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 4]), st.integers(2, 5))
@settings(max_examples=20)
def test_unpacked_sums_are_the_commitments_sum(seed: int, rank: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    commitments = [Commitment(rng.integers(0, P, rank * N, dtype=np.uint32)) for _ in range(n)]
    packed = [statement.decode_commitment(item.to_bytes()) for item in commitments]
    assert statement.unpack(statement.add_packed(packed)) == add(commitments).to_bytes()


def test_sums_that_are_no_packed_commitments_are_refused() -> None:
    good = list(statement.pack(np.ones(4 * N, dtype=np.uint32)))
    for bad in (good[:-1], [*good, 0], [1 << 252, *good[1:]], [-1, *good[1:]], [*good[:-1], good[-1] | 1 << 84]):
        with pytest.raises(VerificationError):
            statement.unpack(bad)


def test_bytes_that_are_no_commitment_are_refused() -> None:
    for bad in (b"", bytes(6143), bytes(10240), b"\xff" * 6144, P.to_bytes(4, "little") + bytes(6140)):
        with pytest.raises(VerificationError):
            statement.decode_commitment(bad)
