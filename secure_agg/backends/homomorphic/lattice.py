"""Exact sums under lattice encryption: BFV and CKKS through TenSEAL, which runs Microsoft SEAL 4.

Call order::

    parameters = choose(scheme, bits, clients, total)      # refuses what would not be exact and secure
    secret = keygen(parameters)                            # key holder
    public = PublicKey.from_bytes(secret.public_bytes(), parameters)      # clients and aggregator
    data = encrypt(public, vector)                         # each client
    accumulator.add(data) …; total = accumulator.total()   # aggregator, public material only
    sums = decrypt(secret, total, clients)                 # key holder: uint32, equal to numpy's sum

**Why the noisy CKKS value never leaves ``decrypt``.** A CKKS decryption is c_0 + c_1·s: message plus noise. Whoever
knows the ciphertext and that exact value has a linear equation in the secret key, and a few of them are the
key (Li, Micciancio 2021, https://eprint.iacr.org/2020/1533). Here slots hold integers, the noise is kept within
1/4 of one, and only the rounded integers are returned. They are a function of the inputs alone and say nothing of
the noise. A value that is not within 1/4 of an integer is an error, whose text holds no number from the decryption.
BFV rounds by itself, but its failures depend on the noise in the same way: a key holder must not say why it
refused, nor go on with a key after a failure.

TenSEAL draws all randomness of keys and ciphertexts from the operating system and accepts no seed: encrypting
twice gives different bytes, so a client that must repeat a message keeps the bytes. It has no threshold mode: one
party holds the whole key.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpc.optional import Optional
from mpc.ring import Vector
from secure_agg.backends.homomorphic import lattice_wire as wire
from secure_agg.backends.homomorphic.lattice_keys import PublicKey, SecretKey, keygen
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, DUMMIES, LatticeParameters
from secure_agg.backends.homomorphic.lattice_pool import Slots, encrypt_all
from secure_agg.backends.homomorphic.seal_format import open_stream
from secure_agg.errors import BadInput, LocalProtocolError, MalformedMessage, UpdateError
from secure_agg.protocol.refusal import LIBRARY_ERRORS

if TYPE_CHECKING:
    import tenseal as ts
else:
    ts = Optional("tenseal", "he")

__all__ = [
    "Accumulator",
    "PublicKey",
    "SecretKey",
    "decrypt",
    "encrypt",
    "from_tenseal",
    "keygen",
    "to_tenseal",
]

_EXACT = 2.0**53
"""Sums in CKKS slots are below it, so that a float64 holds them."""
_SCHEMES = (BFV, CKKS)  # in the order of lattice_worker.SLOT_TYPES


def encrypt(public: PublicKey, vector: Vector) -> bytes:
    """Encrypt a vector, chunk by chunk.

    Args:
        vector: ``uint32``, ``total`` entries in [0, 2^b).

    Returns:
        The ciphertext vector in ``lattice_wire``'s framing.

    Raises:
        UpdateError: the vector has another shape or dtype, or an entry is out of range.
    """
    parameters = public.parameters
    if vector.dtype != np.uint32 or vector.shape != (parameters.total,):
        raise UpdateError(f"a vector is uint32 of shape ({parameters.total},), not {vector.dtype} {vector.shape}")
    if int(vector.max()) >> parameters.bits:
        raise UpdateError(f"an entry of the vector is not below 2^{parameters.bits}")
    out = io.BytesIO()  # its getvalue hands the buffer over without a copy
    out.write(wire.header(parameters, public.digest, 1))
    for index, stream in enumerate(_encrypt_chunks(public, vector)):
        out.write(wire.chunk(index, stream))
    return out.getvalue()


class Accumulator:
    """Adds ciphertext vectors, holding one sum in memory. It has public material only."""

    def __init__(self, public: PublicKey) -> None:
        self._public = public
        self._sum: list[Any] = []
        self._count = 0

    @property
    def count(self) -> int:
        """Vectors added so far."""
        return self._count

    def add(self, data: bytes | memoryview) -> None:
        """Add a client's vector, chunk by chunk: no second set of ciphertexts is ever held. After an error what was
        added is loaded again and subtracted, which leaves the sum as it was, residue by residue.

        Raises:
            LocalProtocolError: ``total`` has been called, or n_max vectors have been added.
            WrongContext: for other parameters or under another key.
            MalformedMessage: not a client's vector, or a chunk that is no fresh ciphertext of these parameters.
            BadInput: it cancels what is there: a chunk was derived from another client's.
        """
        parameters = self._public.parameters
        if self._count >= parameters.clients:
            raise LocalProtocolError(f"{parameters.clients} vectors have been added, or the total has been taken")
        clients, streams = wire.split(data, parameters, self._public.digest)
        if clients != 1:
            raise MalformedMessage(f"a sum of {clients} vectors where a client's belongs")
        if self._count == 0:
            self._sum = [_load(self._public, stream) for stream in streams]
        else:
            self._add_all(streams)
        self._count += 1

    def _add_all(self, streams: Iterable[memoryview]) -> None:
        added: list[tuple[Any, memoryview]] = []
        try:
            for total, stream in zip(self._sum, streams, strict=True):
                other = _load(self._public, stream)
                added.append((total, stream))
                total.add_(other)
        except (MalformedMessage, *LIBRARY_ERRORS) as error:
            for total, stream in added:
                total.sub_(_load(self._public, stream))
            if isinstance(error, MalformedMessage):
                raise
            # SEAL refuses a sum whose second polynomial is zero, once it has added.
            raise BadInput("a ciphertext cancels the sum of the others") from error

    def total(self) -> bytes:
        """The sum as a ciphertext vector. Each chunk is dropped as it is written: nothing can be added after.

        Raises:
            LocalProtocolError: nothing has been added, or the total has been taken.
        """
        if not self._sum:
            raise LocalProtocolError("there is no sum: nothing has been added, or the total has been taken")
        out = io.BytesIO()
        out.write(wire.header(self._public.parameters, self._public.digest, self._count))
        self._sum.reverse()
        for index in range(self._public.parameters.chunks):
            chunk = _serialized(self._sum.pop(), self._public.parameters)
            out.write(wire.chunk(index, chunk))
        self._count = self._public.parameters.clients
        return out.getvalue()


def check(public: PublicKey, data: bytes | memoryview, clients: int) -> None:
    """Check a ciphertext vector as far as public data tell: that it is the sum of ``clients`` vectors, chunk by chunk.

    Raises:
        WrongContext: for other parameters or under another key.
        MalformedMessage: not a ciphertext vector, not one of ``clients`` vectors, or a chunk that is no ciphertext.
    """
    counted, streams = wire.split(data, public.parameters, public.digest)
    if counted != clients:
        raise MalformedMessage(f"a sum of {counted} vectors where one of {clients} belongs")
    for stream in streams:
        _load(public, stream)


def decrypt(secret: SecretKey, data: bytes | memoryview, clients: int) -> Vector:
    """Decrypt the sum of ``clients`` vectors.

    Returns:
        ``uint32`` of shape (total,): the exact sums, equal to numpy's. The noisy CKKS values are dropped here,
        see the module's text.

    Raises:
        WrongContext: for other parameters or under another key.
        MalformedMessage: not a ciphertext vector, or not one of ``clients`` vectors.
        BadInput: a slot holds no sum of ``clients`` values, or is not within 1/4 of an integer: some ciphertext
            in it was not made by ``encrypt``. The text says no more, nor may the key holder. BFV has hardly any
            room between valid sums: what was not made by ``encrypt`` is mostly left to the aggregate check.
    """
    parameters = secret.parameters
    counted, streams = wire.split(data, parameters, secret.public.digest)
    if counted != clients:
        raise MalformedMessage(f"a sum of {counted} vectors where one of {clients} belongs")
    sums = np.empty(parameters.total, dtype=np.uint32)
    step = parameters.chunk_values
    for start, stream in zip(range(0, parameters.total, step), streams, strict=True):
        slots = _load(secret.public, stream, secret.context).decrypt()
        sums[start : start + step] = _unpack(slots, parameters, clients)[: parameters.total - start]
    return sums


def to_tenseal(data: bytes | memoryview, public: PublicKey) -> list[bytes]:
    """The ciphertexts of a vector, each as ``tenseal.bfv_vector_from`` or ``ckks_vector_from`` reads it.

    Slot j of chunk i holds the coordinates i·chunk_values + m·(slots − 4) + j for m = 0 … k − 1, as digits in base B
    from the least significant; CKKS slots are lower by ``offset`` per client, and the last four slots are dummies.

    Raises:
        WrongContext: for other parameters or under another key.
        MalformedMessage: not a ciphertext vector.
    """
    _, streams = wire.split(data, public.parameters, public.digest)
    return [wire.envelope(stream, public.parameters) for stream in streams]


def from_tenseal(vectors: Iterable[bytes], public: PublicKey) -> bytes:
    """A client's vector from what stock TenSEAL's ``serialize`` made of all its chunks, in ``to_tenseal``'s
    layout. Every slot has to be filled: TenSEAL writes the number of filled ones into its envelope.

    Raises:
        MalformedMessage: a chunk is no TenSEAL vector for these parameters, or there are too few or many.
    """
    parameters = public.parameters
    streams = [wire.open_envelope(vector, parameters) for vector in vectors]
    if len(streams) != parameters.chunks:
        raise MalformedMessage(f"{len(streams)} TenSEAL vectors, not {parameters.chunks}")
    for stream in streams:
        _load(public, stream)
    head = wire.header(parameters, public.digest, 1)
    return b"".join((head, *(wire.chunk(index, stream) for index, stream in enumerate(streams))))


def _encrypt_chunks(public: PublicKey, vector: Vector) -> Iterator[bytes]:
    parameters, kind, context = public.parameters, _vector(public.parameters.scheme), public.context.data
    step = parameters.chunk_values
    serialised = encrypt_all(
        public.plain,
        _SCHEMES.index(parameters.scheme),
        parameters.chunks,
        lambda index: _pack(vector[index * step : (index + 1) * step], parameters),
        lambda slots: kind(context, slots.tolist()).serialize(),
    )
    for data in serialised:
        yield wire.open_envelope(data, parameters)


def _pack(values: Vector, parameters: LatticeParameters) -> Slots:
    """A plaintext's slots: the values as digits, then the dummies."""
    width = parameters.slots - DUMMIES
    digits = np.zeros(parameters.packed * width, dtype=np.int64)
    digits[: values.size] = values
    slots = np.zeros(parameters.slots, dtype=np.int64)
    for digit in digits.reshape(parameters.packed, width)[::-1]:
        slots[:width] *= parameters.base
        slots[:width] += digit
    bound = parameters.plain_modulus or parameters.packed_limit + 1
    slots[width:] = [secrets.randbelow(bound) for _ in range(DUMMIES)]
    if parameters.scheme == CKKS:
        return (slots - parameters.offset).astype(np.float64)  # below 2^53: exact
    slots[slots > parameters.plain_modulus // 2] -= parameters.plain_modulus  # SEAL's batching is signed
    return slots


def _unpack(slots: list[int] | list[float], parameters: LatticeParameters, clients: int) -> Vector:
    """The sums in decrypted slots."""
    width = parameters.slots - DUMMIES
    if parameters.scheme == CKKS:
        noisy = np.array(slots[:width], dtype=np.float64)
        if not np.all(np.abs(noisy) < _EXACT):  # also false for what is not a number
            raise BadInput("the decryption is not a sum of valid ciphertexts")
        rounded = np.rint(noisy)
        if not np.all(np.abs(noisy - rounded) < 1 / 4):
            raise BadInput("the decryption is not a sum of valid ciphertexts")
        packed = rounded.astype(np.int64) + clients * parameters.offset
    else:
        packed = np.array(slots[:width], dtype=np.int64)
        packed[packed < 0] += parameters.plain_modulus
    sums: npt.NDArray[np.int64] = np.empty((parameters.packed, width), dtype=np.int64)
    for digit in sums:
        packed, digit[:] = np.divmod(packed, parameters.base)
    if packed.any() or int(sums.max()) > clients * ((1 << parameters.bits) - 1):
        raise BadInput("the decryption is not a sum of valid ciphertexts")
    return sums.astype(np.uint32).reshape(-1)


def _vector(scheme: str) -> Any:
    """TenSEAL's compiled vectors: the Python classes around them first copy every input through a PlainTensor, a
    quarter of the time of an encryption.
    """
    return ts._ts_cpp.BFVVector if scheme == BFV else ts._ts_cpp.CKKSVector


def _load(public: PublicKey, stream: bytes | memoryview, context: ts.Context | None = None) -> Any:
    """A TenSEAL vector from a stream, in ``context`` or the key's own. SEAL is given what has been read of it.

    Raises:
        MalformedMessage: it is no fresh ciphertext of these parameters, nor a sum of such.
    """
    parameters = public.parameters
    context = context or public.context
    try:
        plain = open_stream(stream, public.form.ciphertext)
        return _vector(parameters.scheme)(context.data, wire.envelope(plain, parameters))
    except (MalformedMessage, *LIBRARY_ERRORS) as error:
        why = str(error) if isinstance(error, MalformedMessage) else type(error).__name__
        raise MalformedMessage(f"a chunk is no ciphertext of these parameters: {why}") from error


def _serialized(vector: Any, parameters: LatticeParameters) -> bytes:
    return wire.open_envelope(vector.serialize(), parameters)
