"""What the contract checks of packed commitments and their openings, off the chain: by ckzg, another implementation."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ckzg
import numpy as np
from py_arkworks_bls12381 import G1Point

from mpc.ntt import N
from mpc.ring import P
from secure_agg.ledger.evm.statement import MAX_CLIENTS, MAX_MEMBERS, RANKS, SLOT_BITS, SLOTS, Domain, SumStatement
from zk import kzg

R = kzg.MODULUS


@functools.cache
def trusted_setup() -> Any:
    """Ethereum's, as py-evm carries it for its own point-evaluation precompile."""
    found = importlib.util.find_spec("eth")  # whose import takes seconds, for a file beside it
    return ckzg.load_trusted_setup(
        str(Path(str(found and found.origin)).parent / "_utils" / "kzg_trusted_setup.txt"), 0
    )


def _point(wide: bytes) -> G1Point:
    if len(wide) != 128 or any(wide[:16]) or any(wide[64:80]):
        raise ValueError("no point in the form of EIP-2537")
    return G1Point.from_xy_bytes_be(wide[16:64] + wide[80:]) if any(wide) else G1Point.identity()


def compressed(wide: bytes) -> bytes:
    """A point in the 48 bytes of EIP-4844."""
    return _point(wide).to_compressed_bytes()


def small(*coefficients: int) -> bytes:
    """A commitment in 48 bytes."""
    return compressed(kzg.commit(coefficients))


def add(points: Sequence[bytes]) -> bytes:
    """The sum of points of 128 bytes, in 48."""
    return sum(map(_point, points), G1Point.identity()).to_compressed_bytes()


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """f(z), by its definition, as a sum over z's powers."""
    total, power = 0, 1
    for coefficient in coefficients:
        total, power = total + coefficient * power, power * point % R
    return total % R


def opens(commitment: bytes, z: int, y: int, proof: bytes) -> bool:
    """Whether the point-evaluation precompile takes an opening."""
    numbers = z.to_bytes(32, "big"), y.to_bytes(32, "big")
    return bool(ckzg.verify_kzg_proof(commitment, *numbers, proof, trusted_setup()))


def scalars_for(rank: int) -> int:
    """Scalars that hold a commitment of this rank."""
    return -(-rank * N // SLOTS)


def unpack(sums: Sequence[int]) -> bytes:
    """The sum of commitments as a record holds it: the slots modulo p, 4 bytes each, little endian.

    Raises:
        ValueError: not as many scalars as a commitment has, or a bit above the last slot.
    """
    rank = {scalars_for(rank): rank for rank in RANKS}.get(len(sums))
    if rank is None or any(not 0 <= scalar < 1 << SLOTS * SLOT_BITS for scalar in sums):
        raise ValueError("no packed commitment")
    slots = [scalar >> SLOT_BITS * i & ((1 << SLOT_BITS) - 1) for scalar in sums for i in range(SLOTS)]
    if any(slots[rank * N :]):
        raise ValueError("there is something above the last residue")
    return np.array([slot % P for slot in slots[: rank * N]], dtype="<u4").tobytes()


def holds(statement: SumStatement, domain: Domain, opening: bytes) -> bool:
    """Whether the contract takes these entries and sums."""
    places = [entry.place for entry in statement.entries]
    if not 2 <= len(places) <= min(statement.members, MAX_CLIENTS) or statement.members > MAX_MEMBERS:
        return False
    if places != sorted(set(places)) or places[-1] >= statement.members:
        return False
    try:
        unpack(statement.sums)
    except ValueError:
        return False
    z = statement.point(domain)
    return opens(add([entry.point for entry in statement.entries]), z, evaluate(statement.sums, z), opening)
