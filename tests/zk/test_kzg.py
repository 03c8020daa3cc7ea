"""KZG commitments: the ceremony's powers, openings, what is refused; checked against ckzg, another implementation."""

from __future__ import annotations

import hashlib
import secrets
from importlib import resources

import ckzg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar
from support.chains.kzg_checks import add, compressed, evaluate, opens, scalars_for, small, trusted_setup, unpack

from mpc.ntt import N
from mpc.ring import P
from secure_agg.errors import VerificationError
from secure_agg.ledger.evm import statement
from zk import kzg
from zk.commitment import Commitment
from zk.commitment import add as add_commitments

pytestmark = pytest.mark.slow  # loads the ceremony of EIP-4844 twice

R = kzg.MODULUS
INFINITY = bytes([0xC0]) + bytes(47)
scalars = st.integers(0, R - 1)
polynomials = st.lists(scalars, min_size=0, max_size=9)


# The powers


def test_every_power_is_tau_times_the_one_before() -> None:
    first, data = kzg.powers(), resources.files("zk").joinpath("ceremony/powers.txt").read_text()
    g2, tau_g2 = (G2Point.from_compressed_bytes(bytes.fromhex(line)) for line in data.splitlines()[len(first) :])
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
        values.append(evaluate(coefficients, point).to_bytes(32, "big"))
    blob = b"".join(values)
    commitment, z, setup = small(*coefficients), secrets.randbelow(R), trusted_setup()
    assert ckzg.blob_to_kzg_commitment(blob, setup) == commitment
    y, proof = kzg.open_at(coefficients, z)
    assert ckzg.compute_kzg_proof(blob, z.to_bytes(32, "big"), setup) == (proof, y.to_bytes(32, "big"))


@settings(max_examples=10)
@given(polynomials, scalars)
def test_ckzg_accepts_openings_of_the_value_and_of_no_other(coefficients: list[int], z: int) -> None:
    y, proof = kzg.open_at(coefficients, z)
    assert y == evaluate(coefficients, z)
    assert opens(small(*coefficients), z, y, proof)
    assert not opens(small(*coefficients), z, (y + 1) % R, proof)


# Properties


@given(polynomials, polynomials)
def test_commitments_are_linear(f: list[int], g: list[int]) -> None:
    size = max(len(f), len(g))
    total = [(a + b) % R for a, b in zip(f + [0] * (size - len(f)), g + [0] * (size - len(g)), strict=True)]
    assert add([kzg.commit(f), kzg.commit(g)]) == small(*total)


def test_the_empty_polynomial_is_zero() -> None:
    assert kzg.commit([]) == kzg.commit([0, 0]) == bytes(128)
    assert compressed(bytes(128)) == INFINITY
    assert kzg.open_at([], 5) == (0, INFINITY)


# What is refused


@pytest.mark.parametrize("value", [-1, R, 1 << 300])
def test_a_number_that_is_no_scalar_is_refused(value: int) -> None:
    for use in (
        lambda: kzg.commit([value]),
        lambda: kzg.open_at([value], 3),
        lambda: kzg.open_at([1], value),
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
    assert len(packed) == scalars_for(rank) <= kzg.MAX_COEFFICIENTS
    sums = statement.add_packed([packed] * n)
    assert max(sums) < 1 << 252 < R
    assert unpack(sums) == np.full(rank * N, n * (P - 1) % P, dtype="<u4").tobytes()


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 4]), st.integers(2, 5))
@settings(max_examples=20)
def test_unpacked_sums_are_the_commitments_sum(seed: int, rank: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    commitments = [Commitment(rng.integers(0, P, rank * N, dtype=np.uint32)) for _ in range(n)]
    packed = [statement.decode_commitment(item.to_bytes()) for item in commitments]
    assert unpack(statement.add_packed(packed)) == add_commitments(commitments).to_bytes()


def test_bytes_that_are_no_commitment_are_refused() -> None:
    for bad in (b"", bytes(6143), bytes(10240), b"\xff" * 6144, P.to_bytes(4, "little") + bytes(6140)):
        with pytest.raises(VerificationError):
            statement.decode_commitment(bad)
