"""TenSEAL's contexts: which ring a key is for, and the key alone.

A context comes in the bytes of ``Context.serialize(save_secret_key=True)``, with whatever else that saved. It is read
here: SEAL is given a context that was made anew, in the form of the round's parameters, once its two keys were read
residue by residue (``lattice_keys``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from secure_agg.backends.homomorphic import lattice, seal_format
from secure_agg.backends.homomorphic import lattice_wire as wire
from secure_agg.backends.homomorphic.brought import weak
from secure_agg.backends.homomorphic.brought.rings import SCHEMES, Ring
from secure_agg.backends.homomorphic.lattice_keys import SecretKey, form_of
from secure_agg.backends.homomorphic.lattice_parameters import LatticeParameters
from secure_agg.backends.homomorphic.seal_format import open_stream
from secure_agg.errors import ConfigError, RemoteProtocolError

MAX_BYTES: Final = 1 << 27
"""With Galois keys for rotations of all powers of two a context for degree 8192 has some 40 MB."""


def serialised(key: object) -> bytes:
    """A context's bytes.

    Args:
        key: a ``tenseal.Context``, or what its ``serialize`` has made.

    Raises:
        ConfigError: it is neither, has no secret key, or is too long.
    """
    if isinstance(key, bytes | bytearray | memoryview):
        if len(key) > MAX_BYTES:
            raise ConfigError(f"a TenSEAL context of {len(key)} bytes, above {MAX_BYTES}: save it without Galois keys")
        return bytes(key)
    serialize, private = getattr(key, "serialize", None), getattr(key, "is_private", None)
    if serialize is None or private is None:
        raise ConfigError(
            f"a key of type {type(key).__name__} is no TenSEAL context: it takes a tenseal.Context, or the bytes that "
            "serialize(save_secret_key=True) has made of one"
        )
    if not private():
        raise ConfigError("the TenSEAL context has no secret key, which is what a key holder brings")
    data: bytes = serialize(save_public_key=True, save_secret_key=True, save_galois_keys=False, save_relin_keys=False)
    return data


def ring(data: bytes, scheme: str) -> Ring:
    """Which ring a serialised context is for.

    Raises:
        ConfigError: it is no context of this scheme with both keys.
    """
    _, found = _read(data, scheme)
    return found


def take_over(data: bytes, parameters: LatticeParameters) -> SecretKey:
    """The key in a serialised context, for rounds with these parameters, which are of its ring.

    Both keys are read completely, one encrypts what the other decrypts, and they are as TenSEAL makes them: see
    ``weak``.

    Raises:
        ConfigError: the parameters are not those of its ring, or its keys do not belong together or are weak.
    """
    fields, found = _read(data, parameters.scheme)
    wanted = Ring(parameters.degree, parameters.prime_bits, parameters.plain_modulus)
    if found != wanted:
        raise ConfigError(f"the TenSEAL context is for {found}, and the rounds are for {wanted}")
    form = form_of(parameters)
    if fields.parameters != form.parameters:
        raise ConfigError(
            f"the TenSEAL context is for {found}, and not with the primes that TenSEAL takes for these sizes: make one "
            f"with tenseal.context({found.call})"
        )
    try:
        key = SecretKey.from_bytes(fields._replace(settings=form.settings).to_bytes(), parameters)
        fits = _decrypts(key)
    except RemoteProtocolError as error:
        raise ConfigError(f"the TenSEAL context can't be taken over: {error}") from None
    if not fits:
        raise ConfigError("the TenSEAL context can't be taken over: its secret key is not that of its public key")
    secret = weak.residues(open_stream(fields.secret_key, form.secret_key), form.secret_key)
    public = weak.residues(open_stream(fields.public_key, form.public_key), form.public_key)
    if said := weak.weakness(secret[0], public, form.secret_key.primes):
        raise ConfigError(f"the TenSEAL context can't be taken over: {said}")
    return key


def _decrypts(key: SecretKey) -> bool:
    """Whether one full ciphertext comes back as it was."""
    small = replace(key.parameters, total=key.parameters.chunk_values)
    probe = SecretKey(small, key.context)
    top = (1 << small.bits) - 1
    vector = np.resize(np.array([top, 0, top, 1, top // 2], dtype=np.uint32), small.total)
    try:
        found = lattice.decrypt(probe, lattice.encrypt(probe.public, vector), 1)
    except RemoteProtocolError:
        return False
    return bool(np.array_equal(found, vector))


def _read(data: bytes, scheme: str) -> tuple[wire.ContextFields, Ring]:
    """The fields that are taken over, and the ring."""
    try:
        fields = wire.brought_fields(data)
        number, degree, primes, plain_modulus = seal_format.read_brought_parameters(fields.parameters)
    except RemoteProtocolError as error:
        raise ConfigError(f"this is no TenSEAL context that can be taken over: {error}") from None
    if number not in SCHEMES.values() or SCHEMES.get(scheme) != number:
        names = {value: name for name, value in SCHEMES.items()}
        raise ConfigError(f"a TenSEAL context of scheme {names.get(number, number)!r}, where {scheme!r} is awaited")
    if not fields.public_key or not fields.secret_key:
        missing = "secret" if fields.public_key else "public"
        raise ConfigError(
            f"the TenSEAL context has no {missing} key: save it with save_public_key=True, save_secret_key=True"
        )
    return fields, Ring(degree, tuple(prime.bit_length() for prime in primes), plain_modulus)
