"""``phe`` as its documentation uses it, one ciphertext for each value, beside ``paillier``, under one and the same key.

``phe`` takes minutes to hours for a whole update: a few values are measured and the rest is extrapolated, which is
exact enough because every value costs the same.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import phe

from benchmarks.he.lattice import encoded, exact_row, largest_difference
from benchmarks.he.options import HeOptions
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved, timed
from mpc.keystream import KEY_BYTES, KeyStream
from mpc.paillier import packing as paillier_packing
from mpc.paillier import paillier
from mpc.paillier.paillier import Encryptor, Obfuscators, SecretKey
from mpc.ring import Vector

PEER: Final = "phe"
VALUES: Final = 200
"""Values that ``phe`` encrypts, adds and decrypts."""
CIPHERTEXTS: Final = 512
"""Ciphertexts that are decrypted of a vector that has more."""
_SPEEDUP: Final = 1_500.0
_MILLION_MS: Final = 4_500.0
_BYTES: Final = 6.2


class Phe:
    """The usual way, for a few values. Each method is one repetition."""

    def __init__(self, values: npt.NDArray[np.float32], secret: SecretKey) -> None:
        self._values = [float(value) for value in values[:VALUES]]
        self._public = phe.PaillierPublicKey(secret.public.n)
        self._private = phe.PaillierPrivateKey(self._public, secret.p, secret.q)
        self.size = len(self._values) * secret.public.ciphertext_bytes
        self._ciphertexts: list[Any] = []
        self._sums: list[Any] = []
        self._decrypted: list[float] = []

    def encrypt(self) -> None:
        """One ciphertext for each value."""
        self._ciphertexts = [self._public.encrypt(value) for value in self._values]

    def add(self) -> None:
        """Add one client's values."""
        sums = self._sums or self._ciphertexts
        self._sums = [total + value for total, value in zip(sums, self._ciphertexts, strict=True)]

    def decrypt(self) -> None:
        """Decrypt the sums."""
        self._decrypted = [self._private.decrypt(total) for total in self._sums]


class Paillier:
    """The backend's scheme. Each method is one repetition."""

    def __init__(self, vector: Vector, secret: SecretKey, options: HeOptions) -> None:
        self._secret, self._vector = secret, vector
        self.packing = options.packing
        self.table_seconds = timed(self._tabulate)
        self._sum = paillier_packing.Accumulator(secret.public, self.packing, vector.size)
        self._ready: Obfuscators | None = None
        self._decrypted: Vector = vector
        self.ciphertext = self.totals = b""
        self.count = self.packing.ciphertexts(vector.size)
        self.sampled = self.count if options.full else min(self.count, CIPHERTEXTS)
        self._length, self._sampled = min(vector.size, self.sampled * self.packing.slots), b""

    def _tabulate(self) -> None:
        self.encryptor = Encryptor(self._secret.public)

    def obfuscate(self) -> None:
        """What does not depend on the vector."""
        self._ready = self.encryptor.obfuscators(KeyStream(secrets.token_bytes(KEY_BYTES)), 0, self.count)

    def encrypt(self) -> None:
        """The rest: pack, blind, serialise."""
        ready, self._ready = self._ready, None
        if ready is None:
            raise ValueError("encrypting uses up what obfuscate has made")
        self.ciphertext = paillier_packing.encrypt_vector(self.encryptor, self.packing, self._vector, ready)

    def add(self) -> None:
        """Check one client's vector and add it."""
        self._sum.add(self.ciphertext)

    def total(self) -> None:
        """Serialise the sum."""
        self.totals = self._sum.total()

    def sample(self) -> None:
        """Shorten the sum to the ciphertexts that are decrypted."""
        public = self._secret.public
        values = paillier_packing.parse_vector(public, self.packing, self.totals, self._vector.size)
        self._sampled = paillier_packing.write_vector(public, self.packing, values[: self.sampled], self._length)

    def decrypt(self) -> None:
        """Check the sum, decrypt and unpack it."""
        self._decrypted = paillier_packing.decrypt_vector(self._secret, self.packing, self._sampled, self._length)

    def error(self) -> float:
        """Largest difference of a decrypted sum from numpy's."""
        exact = self._sum.summands * self._vector[: self._length].astype(np.int64)
        return largest_difference(self._decrypted, exact)


def scaled(samples: Samples, factor: float) -> Samples:
    """What a multiple of the work would take."""
    return Samples(tuple(factor * seconds for seconds in samples.seconds))


def rows(options: HeOptions) -> list[Row]:
    """Encrypting, adding, decrypting, each in turn with the peer's."""
    values, vector = encoded(options)
    secret = paillier.generate(options.modulus_bits)
    peer, ours = Phe(values, secret), Paillier(vector, secret, options)
    more = options.params / min(options.params, VALUES)
    first = interleaved({"phe": peer.encrypt, "obfuscate": ours.obfuscate, "blind": ours.encrypt}, options.repeat)
    ours.add()  # the first vector is kept, not added
    second = interleaved({"phe": peer.add, "paillier": ours.add}, options.repeat)
    total = Samples((timed(ours.total),))
    ours.sample()
    third = interleaved({"phe": peer.decrypt, "paillier": ours.decrypt}, options.repeat)
    whole = first["obfuscate"] + first["blind"]
    usual = [scaled(samples["phe"], more) for samples in (first, second, third)]
    opened = scaled(third["paillier"], ours.count / ours.sampled)
    return [
        *_peer_rows(options, usual, peer.size * more),
        _time(options, "encrypt", "encrypt and serialise", whole, usual[0], _key_note(ours), _encrypt_targets(options)),
        _time(
            options, "blind", "encrypt, from obfuscators made before", first["blind"], None, "part of the line above"
        ),
        _time(options, "add", _ADD, second["paillier"], usual[1]),
        _time(options, "total", "serialise the sum", total, None),
        _time(options, "decrypt", "decrypt the sum", opened, usual[2], _sample_note(ours)),
        _size_row(options, ours, peer.size * more),
        Row(
            key="paillier.table",
            name="paillier: the encryptor's table",
            unit="MB",
            median=ours.encryptor.table_bytes / 1e6,
            derived=1e3 * ours.table_seconds,
            derived_unit="ms to make",
            note="once for each key and process; not in the times above",
        ),
        exact_row(
            "paillier",
            "paillier: error of a decrypted sum",
            ours.error(),
            f"against numpy's, of {2 + options.repeat} vectors"
            + ("" if ours.sampled == ours.count else f", in {ours.sampled} of {ours.count:,} ciphertexts"),
        ),
    ]


_ADD: Final = "add one client's vector"


def _key_note(ours: Paillier) -> str:
    p = ours.packing
    return f"{p.modulus_bits}-bit modulus, {p.slots} values of {p.slot_bits} bits in each of {ours.count:,} ciphertexts"


def _sample_note(ours: Paillier) -> str:
    if ours.sampled == ours.count:
        return ""
    return f"extrapolated from {ours.sampled} of {ours.count:,} ciphertexts; --full decrypts all"


def _encrypt_targets(options: HeOptions) -> tuple[Target, ...]:
    if not options.stated_key:
        return ()
    return Target("speedup", _SPEEDUP), Target("median", _MILLION_MS * options.millions)


def _time(
    options: HeOptions,
    key: str,
    name: str,
    samples: Samples,
    usual: Samples | None,
    note: str = "",
    targets: tuple[Target, ...] = (),
) -> Row:
    return Row.timed(
        f"paillier.{key}",
        f"paillier: {name}",
        samples,
        derived=1e9 * samples.median / options.params,
        derived_unit="ns/param",
        peer=(f"{PEER}, extrapolated", usual) if usual else None,
        targets=targets,
        note=note,
    )


def _peer_rows(options: HeOptions, usual: list[Samples], size: float) -> list[Row]:
    measured = min(options.params, VALUES)
    note = f"the usual way: a {options.modulus_bits}-bit modulus, one ciphertext a value; extrapolated from {measured}"
    names = {"encrypt": "encrypt", "add": _ADD, "decrypt": "decrypt the sum"}
    times = [
        Row.timed(
            f"phe.{key}",
            f"{PEER}: {name}",
            samples,
            derived=1e9 * samples.median / options.params,
            derived_unit="ns/param",
            note=note,
        )
        for (key, name), samples in zip(names.items(), usual, strict=True)
    ]
    return [
        *times,
        Row(
            key="phe.bytes",
            name=f"{PEER}: size of an encrypted vector",
            unit="bytes",
            median=size,
            derived=size / options.params,
            derived_unit="B/param",
            note="the ciphertexts alone, without exponents",
        ),
    ]


def _size_row(options: HeOptions, ours: Paillier, peer: float) -> Row:
    size = len(ours.ciphertext)
    return Row(
        key="paillier.bytes",
        name="paillier: size of an encrypted vector",
        unit="bytes",
        median=size,
        derived=size / options.params,
        derived_unit="B/param",
        peer=PEER,
        peer_median=peer,
        ratio=size / peer,
        targets=(Target("derived", _BYTES),) if options.stated_key else (),
    )
