"""Measures what one of each operation takes here, by the code that the roles run.

Processor time and not the clock's, and the least of some repetitions: what else runs on the machine counts as little
as can be. About five seconds.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc import keys, masks, parallel, ring, shamir
from mpc.keys import KeyPair
from mpc.keystream import KeyStream
from mpc.masks import Mask
from mpc.ntt import LANES, N
from mpc.paillier import packing as paillier_packing
from mpc.paillier import paillier
from mpc.paillier.packing import Packing
from mpc.paillier.paillier import Encryptor
from secure_agg.backends.additive import wire as additive_wire
from secure_agg.backends.contract import hidden_vector
from secure_agg.backends.homomorphic import lattice_parameters
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS
from secure_agg.backends.masking import wire as masking_wire
from secure_agg.backends.masking.rules import MASKED_INPUT, SHARE_KEYS
from secure_agg.local.rounds import LocalRound
from secure_agg.planning.constants import Constants
from secure_agg.planning.prediction import AGGREGATOR, CLIENT, predict
from secure_agg.planning.setting import Setting
from secure_agg.planning.work import Operation
from secure_agg.protocol.agreement import Agreement
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster, verify_signature
from secure_agg.protocol.messages import (
    ADVERTISE,
    NO_BULK,
    RESULT,
    AdvertisementList,
    Envelope,
    decode,
    encode,
    read,
    write,
)
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.participants import open_commitment, open_session
from secure_agg.roles.trust import TaskTrust, Trust
from zk import commitment
from zk.commitment import randomness_length

_COORDINATES: Final = 1 << 23  # so large that new memory is new, as for the models whose seconds matter
_CLIENTS: Final = 16
_BITS: Final = 16
_RANK: Final = 3
_GROUP: Final = LANES * N  # coordinates that a commitment works on at once
_STREAMS: Final = 4
_HOLDERS: Final = 64
_THRESHOLD: Final = 43
_REPEAT: Final = 7
_CHUNKS: Final = 4
_KEY: Final = bytes(range(32))

DIFFERENCES: Final = frozenset(
    {
        Operation.JOIN,
        Operation.ANSWER,
        Operation.HANDLE,
        *(Operation(f"{scheme}-{what}") for scheme in (BFV, CKKS) for what in ("add", "store")),
    }
)
"""Measured as the difference of two times, and 0 where that is lost in the noise."""

Figures = dict[Operation, float]


def measure() -> Constants:
    """All of them."""
    figures = _round(_vectors())
    figures |= _lattice(BFV) | _lattice(CKKS)
    figures |= _paillier()
    return Constants(_machine(), parallel.cores(), {item: figures[item] for item in Operation})


class _TimedRound(LocalRound):
    """A round without operators that adds up what its clients take until the result."""

    clients_seconds = 0.0

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        """As in any round."""
        start = time.process_time()
        try:
            return super().answer(request, phase)
        finally:
            self.clients_seconds += time.process_time() - start


def _besides(figures: Figures, clients: float, aggregator: float) -> Figures:
    """What is left of a whole round's seconds when all that is counted by itself is taken away.

    Args:
        figures: of everything else.
        clients: seconds of each until the result, in the round of ``_round``.
        aggregator: its seconds.
    """
    known = dict.fromkeys(Operation, 0.0) | figures
    found = predict(Setting("masking", 1, _CLIENTS, _BITS), Constants("", 1, known))
    phases = {share.phase: share.processor for share in found.shares if share.role == CLIENT}
    counted = sum(seconds for phase, seconds in phases.items() if phase != RESULT)
    answers = len(phases) - 2  # joining is counted by itself, and the result is not in it
    return {
        Operation.ANSWER: max(0.0, clients - counted) / answers,
        Operation.HANDLE: max(0.0, aggregator - found.processor(AGGREGATOR)) / ((answers + 1) * _CLIENTS),
    }


def _machine() -> str:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {parallel.cores()} cores, Python {platform.python_version()}"


def _least(operation: Callable[[], object], each: float = 1.0, repeat: int = _REPEAT) -> float:
    """Processor seconds of the fastest repetition, by ``each`` of the operations that it consists of."""
    operation()  # compiled, and in memory
    found = []
    for _ in range(repeat):
        start = time.process_time()
        operation()
        found.append(time.process_time() - start)
    return min(found) / each


def _vectors() -> Figures:
    """What grows with the parameters."""
    values = np.random.default_rng(0).standard_normal(_COORDINATES, dtype=np.float32)
    codec = FixedPoint(Policy.default(_CLIENTS, bits=_BITS))
    encoded = np.empty(_COORDINATES + codec.limbs, dtype=np.uint32)
    codec.encode([values], 1, _KEY, encoded)
    sums = encoded * np.uint32(_CLIENTS)
    noise = np.ones(randomness_length(_RANK), dtype=np.uint32)
    data, total = ring.byte_view(encoded), np.zeros_like(encoded)
    size = float(len(data))
    terms = [Mask(_KEY, 1 if i % 2 else -1) for i in range(_STREAMS)]
    groups = -(-(encoded.size + noise.size) // _GROUP) * _GROUP
    return {
        Operation.ENCODE: _least(
            lambda: codec.encode([values], 1, _KEY, np.empty(encoded.size, dtype=np.uint32)), _COORDINATES
        ),
        Operation.COMMIT: _least(lambda: commitment.commit(encoded, noise, _RANK), groups),
        Operation.MASK: _least(lambda: masks.apply(total, terms), _STREAMS * total.size),
        Operation.ADD: _least(
            lambda: ring.add_into(total, hidden_vector(data, phase="", culprit="")), float(total.size)
        ),
        Operation.DECODE: _least(lambda: codec.decode(sums, _CLIENTS, ((_COORDINATES,),)), _COORDINATES),
        Operation.RANGE: _least(lambda: int(sums.max()), _COORDINATES),
        Operation.COPY: _least(lambda: b"".join((b"x", data)), size),
        Operation.HASH: _least(lambda: hashlib.sha256(data).digest(), size),
        Operation.SEAL: _least(lambda: AESGCM(_KEY).encrypt(bytes(12), data, b""), size),
    }


def _round(vectors: Figures) -> Figures:
    """What grows with the clients, in a round of masking with one parameter; with ``vectors`` and what shares take."""
    names = [f"client-{i:04d}" for i in range(_CLIENTS)]
    identities = {name: Identity.generate(name) for name in names}
    operator = Identity.generate("aggregator")
    cohort = Roster({name: one.public for name, one in identities.items()})
    policy = Policy.default(_CLIENTS, bits=_BITS)
    operators = Roster({operator.name: operator.public})
    trust = Trust({"task": TaskTrust(cohort, policy)}, operators)
    config = RoundConfig.create(task="task", round=0, policy=policy, cohort=cohort, shapes=((1,),), operators=operators)
    update = [np.zeros(1, dtype=np.float32)]

    def play() -> tuple[Aggregator, dict[str, Client], float, float, float]:
        clients = {name: Client(one, trust, clock=time.process_time) for name, one in identities.items()}
        aggregator = Aggregator(operator, config, cohort, operators=operators)
        start = time.process_time()
        first = aggregator.start()[0]
        Client(identities[first.recipient], trust).join(first.data, update, start_model=config.start_model)
        joined = time.process_time() - start
        fresh = Aggregator(operator, config, cohort, operators=operators)
        local = _TimedRound(fresh, clients, dict.fromkeys(names, update))
        start = time.process_time()
        local.run()
        for _ in fresh.results():
            pass
        whole = time.process_time() - start
        return fresh, clients, joined, local.clients_seconds / _CLIENTS, whole - local.clients_seconds

    play()
    played = [play() for _ in range(5)]
    aggregator, clients, *_ = min(played, key=lambda one: one[2])
    joined, answered, handled = (min(column) for column in list(zip(*played, strict=True))[2:])
    session, evidence = aggregator.session, aggregator.evidence
    if session is None or evidence is None:
        raise RuntimeError("a round without faults has ended without a result")
    items = evidence.advertisements
    body = encode(AdvertisementList(items, b""))
    rule = Agreement()
    statement = rule.statement(session, {one.name: one.commitment for one in evidence.openings})
    opening = evidence.openings[0]
    signed = rule.signed_bytes(session.sid, statement)
    vote = evidence.agreement[0]
    sent = write(operator, session.sid, ADVERTISE, names[0], b"")
    spent = [client.timings.seconds for client in clients.values()]

    def peers(phase: str) -> float:
        return min(one[phase] for one in spent) / (_CLIENTS - 1)

    def receive() -> None:
        read(
            sent,
            limit=len(sent),
            bulk_sizes=NO_BULK,
            session=session.sid,
            phase=ADVERTISE,
            recipients=(names[0],),
            keys={operator.name: operator.public},
        )

    figures = vectors | _secrets()
    member = _least(lambda: Roster(dict(cohort)).root(), _CLIENTS)
    committing = vectors[Operation.COMMIT] * _GROUP
    figures |= {
        Operation.HEADER: _least(lambda: decode(AdvertisementList, encode(AdvertisementList(items, b"")), 1 << 20))
        / len(body),
        Operation.SEND: _least(lambda: write(operator, session.sid, ADVERTISE, names[0], b"")),
        Operation.RECEIVE: _least(receive),
        Operation.SCAN: _least(lambda: dict(cohort), _CLIENTS),
        Operation.JOIN: max(0.0, joined - committing - _CLIENTS * member),
        Operation.MEMBER: member,
        Operation.ADVERTISEMENT: _least(lambda: open_session(config, cohort, items), _CLIENTS),
        Operation.DEAL: peers(SHARE_KEYS),
        Operation.TAKE: peers(MASKED_INPUT),
        Operation.ENTRY: _least(lambda: rule.root(statement), _CLIENTS),
        Operation.VERIFY: _least(
            lambda: verify_signature(cohort[vote.name], vote.signature, signed, phase="", culprit=vote.name)
        ),
        Operation.OPENING: _least(lambda: open_commitment(session, opening.name, opening.commitment, opening.nonce)),
    }
    return figures | _besides(figures, answered, handled)


def _secrets() -> Figures:
    """What a share, an edge and a letter take."""
    points = list(range(1, _HOLDERS + 1))
    one, other = KeyPair.from_secret(_KEY), KeyPair.from_secret(bytes(reversed(_KEY)))
    share = bytes(shamir.SHARE_BYTES)

    def reveal() -> None:
        masking_wire.share_hash(_KEY, masking_wire.SELF_SEED, "one", "other", share)
        ring.from_bytes(share)

    def letter() -> None:
        key = additive_wire.share_key(one.shared_secret(other.public), _KEY, "one", "other")
        additive_wire.key_hash(_KEY, "one", "other", key)
        additive_wire.seal_small(key, _KEY, "one", "other", share, share)

    return {
        Operation.SHARE: _least(
            lambda: shamir.split([_KEY, _KEY], _THRESHOLD, points, KeyStream(_KEY)),
            2 * shamir.LIMBS * _HOLDERS * _THRESHOLD,
        ),
        Operation.REVEAL: _least(reveal),
        Operation.LOST_EDGE: _least(lambda: keys.mask_key(one.shared_secret(other.public), _KEY, b"one", b"other")),
        Operation.LETTER: _least(letter),
    }


def _lattice(scheme: str) -> Figures:
    """A scheme's ciphertexts, for each prime of the data modulus."""
    from secure_agg.backends.homomorphic import lattice  # TenSEAL takes long to import

    one = lattice_parameters.choose(scheme, _BITS, _CLIENTS, 1)
    parameters = lattice_parameters.choose(scheme, _BITS, _CLIENTS, _CHUNKS * one.chunk_values)
    secret = lattice.keygen(parameters)
    public_bytes = secret.public_bytes()
    public = lattice.PublicKey.from_bytes(public_bytes, parameters)
    vector = np.ones(parameters.total, dtype=np.uint32)
    data = lattice.encrypt(public, vector)
    each = float(parameters.chunks * parameters.data_primes)
    summed = lattice.Accumulator(public)
    summed.add(data)
    load = _least(lambda: lattice.check(public, data, 1), each)
    add = _least(lambda: summed.add(data), each)

    def store() -> None:
        closing = lattice.Accumulator(public)
        closing.add(data)
        closing.total()

    return {
        Operation.LATTICE_KEY: _least(lambda: lattice.PublicKey.from_bytes(public_bytes, parameters)),
        Operation(f"{scheme}-encrypt"): _least(lambda: lattice.encrypt(public, vector), each),
        Operation(f"{scheme}-load"): load,
        Operation(f"{scheme}-add"): max(0.0, add - load),
        Operation(f"{scheme}-store"): max(0.0, _least(store, each) - load),
        Operation(f"{scheme}-decrypt"): _least(lambda: lattice.decrypt(secret, data, 1), each),
    }


def _paillier() -> Figures:
    """Ciphertexts under a key of the default length."""
    count, few = 64, 4
    packing = Packing(_BITS, _CLIENTS, paillier.DEFAULT_BITS)
    secret = paillier.generate(paillier.DEFAULT_BITS)
    encryptor = Encryptor(secret.public)
    vector = np.ones(count * packing.slots, dtype=np.uint32)

    def encrypted(length: int) -> bytes:
        part = vector[: length * packing.slots]
        stream = KeyStream(os.urandom(32))
        return paillier_packing.encrypt_vector(encryptor, packing, part, encryptor.obfuscators(stream, 0, length))

    data, short = encrypted(count), encrypted(few)

    def add() -> None:
        summed = paillier_packing.Accumulator(secret.public, packing, vector.size)
        summed.add(data)
        summed.add(data)

    modulus = secret.public.to_bytes()
    return {
        Operation.PAILLIER_KEY: _least(lambda: paillier.PublicKey.from_bytes(modulus), repeat=3),
        Operation.PAILLIER_ENCRYPT: _least(lambda: encrypted(count), count, repeat=2),
        Operation.PAILLIER_ADD: _least(add, 2 * count, repeat=3),
        Operation.PAILLIER_DECRYPT: _least(
            lambda: paillier_packing.decrypt_vector(secret, packing, short, few * packing.slots), few, repeat=2
        ),
    }
