"""The steps of ``bfv``, ``ckks`` and ``paillier``: commit, agree, reveal, decrypt."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from mpc.paillier import packing as paillier_packing
from mpc.paillier import paillier
from mpc.paillier.packing import Packing
from secure_agg import extras
from secure_agg.backends.homomorphic import coordinates, lattice_parameters, lattice_wire
from secure_agg.backends.homomorphic.lattice_parameters import LatticeParameters
from secure_agg.planning.direct import (
    AGGREGATOR,
    Shape,
    Step,
    advertisements_bytes,
    agreeing,
    checking_participants,
    checking_sum,
    finishing,
    hiding,
    joining,
    list_bytes,
    members_bytes,
    openings_bytes,
    receiving,
    sending,
    signatures_bytes,
    statement_bytes,
)
from secure_agg.planning.encoding import DIGEST, binary, fields, listed, message, number, text
from secure_agg.planning.setting import TASK, Setting
from secure_agg.planning.work import Operation, Work, total
from secure_agg.protocol.evidence import DECRYPT


@dataclass(frozen=True)
class Scheme:
    """An encryption scheme in numbers.

    Attributes:
        ciphertexts: of a vector.
        size: bytes of an encrypted vector.
        residues: bytes of the sum in the aggregator's memory.
        key: bytes of the public key.
        loading: work of reading the public key.
        encrypting, adding, closing, checking, opening: work for a whole vector: a client's, the aggregator's for one
            input and at the end, the key holder's before and after it decides to speak.
    """

    ciphertexts: int
    size: float
    residues: float
    key: float
    loading: Work
    encrypting: Work
    adding: Work
    closing: Work
    checking: Work
    opening: Work


def scheme(setting: Setting) -> Scheme:
    """The scheme of a setting.

    Raises:
        ConfigError: sums would not be exact, or not secure.
    """
    return _paillier(setting) if setting.backend == "paillier" else _lattice(setting)


def _paillier(setting: Setting) -> Scheme:
    bits = paillier.DEFAULT_BITS
    packing = Packing(setting.bits, setting.clients, bits)
    count = packing.ciphertexts(coordinates.length(setting.config))
    return Scheme(
        ciphertexts=count,
        size=paillier_packing.HEADER_BYTES + count * bits // 4,
        residues=count * bits / 4,
        key=fields(binary(bits // 8), number(1), listed(0), binary(0), listed(0)),
        loading={Operation.PAILLIER_KEY: 2},
        encrypting={Operation.PAILLIER_ENCRYPT: count},
        adding={Operation.PAILLIER_ADD: count},
        closing={},
        checking={},
        opening={Operation.PAILLIER_DECRYPT: count},
    )


def _lattice(setting: Setting) -> Scheme:
    length = coordinates.length(setting.config)
    found = lattice_parameters.choose(setting.backend, setting.bits, setting.clients, length)
    key, chunk = _measured(replace(found, total=found.chunk_values))
    count, name = found.chunks, setting.backend
    primes = count * found.data_primes
    encrypt, load, add, store, decrypt = (
        Operation(f"{name}-{what}") for what in ("encrypt", "load", "add", "store", "decrypt")
    )
    return Scheme(
        ciphertexts=count,
        size=lattice_wire.HEADER.size + count * chunk,
        residues=count * found.residue_bytes,
        key=key,
        loading={Operation.LATTICE_KEY: 1},
        encrypting={encrypt: primes},
        adding={load: primes, add: primes},
        closing={store: primes},
        checking={load: primes},
        opening={decrypt: primes},
    )


@functools.lru_cache(maxsize=16)
def _measured(parameters: LatticeParameters) -> tuple[int, int]:
    """Bytes of a public key and of a framed chunk: SEAL compresses both, so one of each is made.

    Args:
        parameters: for a vector of one chunk.

    Raises:
        ConfigError: TenSEAL is not installed.
    """
    extras.require("he")
    from secure_agg.backends.homomorphic import lattice  # TenSEAL takes long to import, and most plans need none of it

    secret = lattice.keygen(parameters)
    public = lattice.PublicKey.from_bytes(secret.public_bytes(), parameters)
    vector = np.zeros(parameters.total, dtype=np.uint32)
    return len(secret.public_bytes()), len(lattice.encrypt(public, vector)) - lattice_wire.HEADER.size


def steps(setting: Setting) -> list[Step]:
    """Advertise, agree, reveal, decrypt, result."""
    used, everybody = scheme(setting), setting.clients
    signature = signatures_bytes(setting.operator_bytes, 1)
    certificate = round(fields(text(len(setting.backend)), text(len(TASK)), binary(round(used.key)), signature))
    shape = Shape(
        part=0,
        advertised=everybody,
        signer=setting.name_bytes,
        signatures=everybody,
        members=everybody,
        commitment=setting.commitment_bytes,
    )
    voting = list_bytes(setting, 0, everybody, statement_bytes(setting, everybody))
    agreed = fields(signatures_bytes(setting.name_bytes, everybody), binary(0))
    encrypting = total(used.loading, used.encrypting, {Operation.HASH: used.size})
    joined = joining(setting, 0, certificate, encrypting)
    sending_in: Work = {Operation.VERIFY: everybody, Operation.ENTRY: everybody}
    adding = total(used.adding, {Operation.HASH: used.size})
    return [
        replace(joined, aggregator=total(joined.aggregator, used.loading)),
        agreeing(setting, everybody, voting, {Operation.ADVERTISEMENT: everybody}),
        hiding(setting, agreed, fields(binary(DIGEST)), used.size, sending_in, adding),
        _decrypting(setting, shape, used),
        finishing(setting, shape),
    ]


def _decrypting(setting: Setting, shape: Shape, used: Scheme) -> Step:
    request = fields(
        binary(setting.config_bytes),
        members_bytes(setting),
        advertisements_bytes(setting, shape.part, shape.advertised),
        openings_bytes(setting, shape.commitment, shape.nonce),
        signatures_bytes(shape.signer, shape.signatures),
        binary(0),
    )
    response, size = fields(1), float(setting.vector_bytes)
    holder = total(
        receiving(request, used.size),
        {Operation.MEMBER: setting.clients},
        checking_participants(setting, shape),
        used.checking,
        used.opening,
        checking_sum(setting),
        sending(response, size),
    )
    return Step(
        phase=DECRYPT,
        operators=1,
        operator_request=message(DECRYPT, AGGREGATOR, setting.operator_bytes, request, used.size),
        operator_response=message(DECRYPT, setting.operator_bytes, AGGREGATOR, response, size),
        operator=holder,
        aggregator=total(used.closing, sending(request, used.size), receiving(response, size), {Operation.COPY: size}),
    )
