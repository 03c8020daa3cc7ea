"""Peak memory of encrypting and of adding, each in a fresh process, with the helper processes that it starts.

The measured process first does the same with a short vector, so that libraries are loaded and code is compiled. A
helper counts with its whole memory: Python, numpy and TenSEAL besides its share of the work.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np

from benchmarks.he.lattice import PEER, TenSeal, encoded
from benchmarks.he.options import HeOptions
from benchmarks.measure.memory import growth, in_fresh_process
from benchmarks.results import Row
from mpc.keystream import KEY_BYTES, KeyStream
from mpc.paillier import packing as paillier_packing
from mpc.paillier import paillier
from mpc.paillier.packing import Packing
from mpc.paillier.paillier import Encryptor
from mpc.ring import ELEMENT_BYTES, Vector
from secure_agg.backends.homomorphic import lattice, lattice_parameters
from secure_agg.backends.homomorphic.lattice import PublicKey
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, LatticeParameters

_WARM: Final = 10_000
_ADDED: Final = 2


def _lattice(scheme: str, params: int, options: HeOptions) -> tuple[LatticeParameters, bytes]:
    parameters = lattice_parameters.choose(scheme, options.bits, options.clients, params)
    return parameters, lattice.keygen(parameters).public_bytes()


def _encrypt_lattice(scheme: str, options: HeOptions) -> int:
    _, vector = encoded(options)
    short = vector[:_WARM]
    lattice.encrypt(_public(scheme, short, options), short)
    public = _public(scheme, vector, options)
    return growth(lambda: lattice.encrypt(public, vector))


def _public(scheme: str, vector: Vector, options: HeOptions) -> PublicKey:
    parameters, public = _lattice(scheme, vector.size, options)
    return PublicKey.from_bytes(public, parameters)


def _encrypt_tenseal(options: HeOptions) -> int:
    values, _ = encoded(options)
    TenSeal(values[:_WARM]).encrypt()
    peer = TenSeal(values)
    return growth(peer.encrypt)


def _encrypt_paillier(modulus: bytes, options: HeOptions) -> int:
    _, vector = encoded(options)
    encryptor = Encryptor(paillier.PublicKey.from_bytes(modulus))
    _packed(encryptor, options.packing, vector[:_WARM])
    return encryptor.table_bytes + growth(lambda: _packed(encryptor, options.packing, vector))


def _packed(encryptor: Encryptor, packing: Packing, vector: Vector) -> bytes:
    stream = KeyStream(secrets.token_bytes(KEY_BYTES))
    obfuscators = encryptor.obfuscators(stream, 0, packing.ciphertexts(vector.size))
    return paillier_packing.encrypt_vector(encryptor, packing, vector, obfuscators)


def _add_lattice(scheme: str, public: bytes, data: bytes, options: HeOptions) -> int:
    short = np.zeros(_WARM, dtype=np.uint32)
    key = _public(scheme, short, options)
    warm = lattice.Accumulator(key)
    warm.add(lattice.encrypt(key, short))
    warm.total()
    parameters = lattice_parameters.choose(scheme, options.bits, options.clients, options.params)
    accumulator = lattice.Accumulator(PublicKey.from_bytes(public, parameters))

    def add() -> None:
        for _ in range(_ADDED):
            accumulator.add(data)
        accumulator.total()

    return growth(add)


def _add_paillier(modulus: bytes, data: bytes, options: HeOptions) -> int:
    accumulator = paillier_packing.Accumulator(paillier.PublicKey.from_bytes(modulus), options.packing, options.params)

    def add() -> None:
        for _ in range(_ADDED):
            accumulator.add(data)
        accumulator.total()

    return growth(add)


def rows(options: HeOptions) -> list[Row]:
    """Encrypting with the peer and every backend, then adding with every backend."""
    _, vector = encoded(options)
    secret = paillier.generate(options.modulus_bits)
    modulus = secret.public.to_bytes()
    clients = {
        "tenseal": in_fresh_process(_encrypt_tenseal, options),
        **{scheme: in_fresh_process(_encrypt_lattice, scheme, options) for scheme in (CKKS, BFV)},
        "paillier": in_fresh_process(_encrypt_paillier, modulus, options),
    }
    sums = {}
    for scheme in (CKKS, BFV):
        public = _public(scheme, vector, options)
        data = lattice.encrypt(public, vector)
        sums[scheme] = in_fresh_process(_add_lattice, scheme, public.to_bytes(), data, options)
    sums["paillier"] = in_fresh_process(
        _add_paillier, modulus, _packed(Encryptor(secret.public), options.packing, vector), options
    )
    return [
        *(_row(options, "encrypt", name, grown) for name, grown in clients.items()),
        *(_row(options, "add", name, grown) for name, grown in sums.items()),
    ]


_NOTES: Final = {
    "encrypt": "encrypt and serialise; helper processes and the paillier table included",
    "add": "load one vector, add another, serialise the sum",
}


def _row(options: HeOptions, key: str, name: str, grown: float) -> Row:
    size = ELEMENT_BYTES * options.params / 1e6
    return Row(
        key=f"memory.{name}.{key}",
        name=f"{PEER if name == 'tenseal' else name}: peak memory, {'client' if key == 'encrypt' else 'aggregator'}",
        unit="MB",
        median=grown,
        derived=1e6 * grown / options.params,
        derived_unit="B/param",
        peer="the float32 update",
        peer_median=size,
        ratio=grown / size,
        note=_NOTES[key],
    )
