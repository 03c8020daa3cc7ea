"""TenSEAL as its tutorials use it, beside ``ckks`` and ``bfv``.

The usual way: N = 8192, moduli of 60, 40 and 40 bits, scale 2^40, one ``ckks_vector`` for every 4,096 values, which is
all the slots that a ciphertext has. It encrypts the float32 update; the backends encrypt the encoded integers.
Adding and decrypting start from bytes on either side, as they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tenseal as ts

from benchmarks.federation import update
from benchmarks.he.options import HeOptions
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved, timed
from mpc.ring import Vector
from secure_agg.backends.homomorphic import lattice, lattice_parameters, lattice_pool
from secure_agg.backends.homomorphic.lattice import PublicKey
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Policy

PEER: Final = "TenSEAL"
SLOTS: Final = 4096
_DEGREE: Final = 8192
_MODULI: Final = (60, 40, 40)
_SCALE: Final = 2.0**40
_SPEEDUP: Final = {CKKS: 2.0, BFV: 4.0}
_BYTES: Final = {CKKS: 32.0, BFV: 8.2}


class TenSeal:
    """The usual way of encrypting an update. Each method is one repetition."""

    def __init__(self, values: npt.NDArray[np.float32]) -> None:
        self._context = ts.context(ts.SCHEME_TYPE.CKKS, _DEGREE, coeff_mod_bit_sizes=list(_MODULI))
        self._context.global_scale = _SCALE
        self._values = values
        self._sums: list[Any] = []
        self.added = 0
        self.ciphertexts: list[bytes] = []
        self.totals: list[bytes] = []
        self.decrypted: list[list[float]] = []

    def encrypt(self) -> None:
        """Encrypt and serialise."""
        self.ciphertexts = [
            ts.ckks_vector(self._context, self._values[start : start + SLOTS]).serialize()
            for start in range(0, self._values.size, SLOTS)
        ]

    def add(self) -> None:
        """Load one client's vector and add it."""
        loaded = [ts.ckks_vector_from(self._context, data) for data in self.ciphertexts]
        if self._sums:
            for total, vector in zip(self._sums, loaded, strict=True):
                total += vector
        else:
            self._sums = loaded
        self.added += 1

    def total(self) -> None:
        """Serialise the sum."""
        self.totals = [total.serialize() for total in self._sums]

    def decrypt(self) -> None:
        """Load the sum and decrypt it."""
        self.decrypted = [ts.ckks_vector_from(self._context, data).decrypt() for data in self.totals]

    def error(self) -> float:
        """Largest difference of a decrypted sum from the exact one."""
        exact = self.added * self._values.astype(np.float64)
        return float(np.abs(np.concatenate(self.decrypted) - exact).max())


class Lattice:
    """One of the backends' schemes. Each method is one repetition."""

    def __init__(self, scheme: str, vector: Vector, options: HeOptions) -> None:
        self.scheme = scheme
        self.parameters = lattice_parameters.choose(scheme, options.bits, options.clients, vector.size)
        self._secret = lattice.keygen(self.parameters)
        # Clients and the aggregator have the public key from bytes.
        self.public = PublicKey.from_bytes(self._secret.public_bytes(), self.parameters)
        self._vector = vector
        self._sum = lattice.Accumulator(self.public)
        self.added = 0
        self.ciphertext = self.totals = b""
        self._decrypted: Vector = vector

    def encrypt(self) -> None:
        """Encrypt and serialise."""
        self.ciphertext = lattice.encrypt(self.public, self._vector)

    def add(self) -> None:
        """Check one client's vector and add it."""
        self._sum.add(self.ciphertext)
        self.added += 1

    def total(self) -> None:
        """Serialise the sum."""
        self.totals = self._sum.total()

    def decrypt(self) -> None:
        """Check the sum and decrypt it to integers."""
        self._decrypted = lattice.decrypt(self._secret, self.totals, self.added)

    def error(self) -> float:
        """Largest difference of a decrypted sum from numpy's."""
        return largest_difference(self._decrypted, self.added * self._vector.astype(np.int64))


def largest_difference(sums: npt.NDArray[Any], exact: npt.NDArray[np.int64]) -> float:
    """Between sums and the exact ones."""
    return float(np.abs(sums.astype(np.int64) - exact).max())


def encoded(options: HeOptions) -> tuple[npt.NDArray[np.float32], Vector]:
    """An update, and the same one as integers."""
    values = update(options.params)
    codec = FixedPoint(Policy.default(options.clients, bits=options.bits))
    vector = np.empty(options.params + codec.limbs, dtype=np.uint32)
    codec.encode([values], 1, bytes(32), vector)
    return values, vector[: options.params]


def rows(options: HeOptions) -> list[Row]:
    """Encrypting, adding, decrypting, each in turn with the peer's."""
    values, vector = encoded(options)
    peer, schemes = TenSeal(values), [Lattice(name, vector, options) for name in (CKKS, BFV)]
    parties: dict[str, TenSeal | Lattice] = {"tenseal": peer, **{ours.scheme: ours for ours in schemes}}

    def in_turn(operation: Callable[[TenSeal | Lattice], Callable[[], None]], repeat: int) -> dict[str, Samples]:
        return interleaved({name: operation(party) for name, party in parties.items()}, repeat)

    encrypt = in_turn(lambda party: party.encrypt, options.repeat)
    for party in parties.values():
        party.add()  # the first vector is kept, not added
    add = in_turn(lambda party: party.add, options.repeat)
    total = {name: Samples((timed(party.total),)) for name, party in parties.items()}
    decrypt = in_turn(lambda party: party.decrypt, options.repeat)
    out = []
    for name, party in parties.items():
        times = {"encrypt": encrypt, "add": add, "total": total, "decrypt": decrypt}
        out += _times(options, name, party, times)
        out += [_bytes(options, name, party, peer), _error(name, party)]
    return out


_NAMES: Final = {
    "encrypt": "encrypt and serialise",
    "add": "add one client's vector",
    "total": "serialise the sum",
    "decrypt": "decrypt the sum",
}


def _setting(party: TenSeal | Lattice) -> str:
    if isinstance(party, TenSeal):
        moduli = ", ".join(map(str, _MODULI))
        return f"the usual way: N = {_DEGREE}, [{moduli}], scale 2^40, {SLOTS:,} values a vector"
    p = party.parameters
    moduli = ", ".join(map(str, p.prime_bits))
    helped = ", on all cores" if p.chunks >= lattice_pool.WORTHWHILE else ", on one core"
    return f"N = {p.degree}, [{moduli}], {p.packed} values a slot, {p.slots:,} slots, {p.chunks} ciphertexts{helped}"


def _times(options: HeOptions, name: str, party: TenSeal | Lattice, times: dict[str, dict[str, Samples]]) -> list[Row]:
    ours = isinstance(party, Lattice)
    out = []
    for what, samples in times.items():
        wanted = what == "encrypt" and ours and options.stated
        out.append(
            Row.timed(
                f"{name}.{what}",
                f"{name if ours else PEER}: {_NAMES[what]}",
                samples[name],
                derived=1e9 * samples[name].median / options.params,
                derived_unit="ns/param",
                peer=(PEER, samples["tenseal"]) if ours else None,
                targets=(Target("speedup", _SPEEDUP[name]),) if wanted else (),
                note=_setting(party) if what == "encrypt" else "",
            )
        )
    return out


def _size(party: TenSeal | Lattice) -> int:
    return sum(map(len, party.ciphertexts)) if isinstance(party, TenSeal) else len(party.ciphertext)


def _bytes(options: HeOptions, name: str, party: TenSeal | Lattice, peer: TenSeal) -> Row:
    size, ours = _size(party), isinstance(party, Lattice)
    return Row(
        key=f"{name}.bytes",
        name=f"{name if ours else PEER}: size of an encrypted vector",
        unit="bytes",
        median=size,
        derived=size / options.params,
        derived_unit="B/param",
        peer=PEER if ours else "",
        peer_median=_size(peer) if ours else None,
        ratio=size / _size(peer) if ours else None,
        targets=(Target("derived", _BYTES[name]),) if ours and options.stated else (),
    )


def _error(name: str, party: TenSeal | Lattice) -> Row:
    if isinstance(party, TenSeal):
        return Row(
            key=f"{name}.error",
            name=f"{PEER}: error of a decrypted sum",
            unit="",
            median=party.error(),
            note=f"{party.added} updates, in their own unit",
        )
    return exact_row(
        name, f"{name}: error of a decrypted sum", party.error(), f"against numpy's, of {party.added} vectors"
    )


def exact_row(key: str, name: str, error: float, note: str) -> Row:
    """A row that says whether sums were exact."""
    return Row(key=f"{key}.error", name=name, unit="", median=error, targets=(Target("median", 0.0),), note=note)
