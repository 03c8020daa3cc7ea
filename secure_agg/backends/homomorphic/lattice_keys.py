"""Keys of the lattice schemes: TenSEAL contexts, taken over only where they hold what they should and no more."""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional
from secure_agg.backends.homomorphic import lattice_wire as wire
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, LatticeParameters
from secure_agg.backends.homomorphic.seal_format import (
    Shape,
    ciphertext_shape,
    open_stream,
    read_parameters,
    secret_key_shape,
)
from secure_agg.errors import BadKey, MalformedMessage, WrongContext
from secure_agg.protocol.refusal import LIBRARY_ERRORS

if TYPE_CHECKING:
    import tenseal as ts
else:
    ts = Optional("tenseal", "he")

_PARMS_ID: Final = struct.Struct("<4Q")


@dataclass(frozen=True)
class Form:
    """What every context and ciphertext for some parameters has in common, by this process's own SEAL.

    Attributes:
        parameters: SEAL's stream of the encryption parameters.
        settings: TenSEAL's own fields of a context.
        ciphertext, public_key, secret_key: their shapes.
    """

    parameters: bytes
    settings: bytes
    ciphertext: Shape
    public_key: Shape
    secret_key: Shape


class PublicKey:
    """What clients encrypt under and the aggregator adds under: a TenSEAL context with a public key and no other.

    Attributes:
        parameters: what it is for.
        digest: SHA-256 of its bytes; every ciphertext names it.
        form: of everything under it.
        plain: the same context with an uncompressed key: what SEAL may load.
        context: TenSEAL's object.
    """

    def __init__(self, parameters: LatticeParameters, data: bytes, form: Form, plain: bytes) -> None:
        """Use ``from_bytes``."""
        self.parameters = parameters
        self.digest = hashlib.sha256(data).digest()
        self._data = data
        self.form, self.plain = form, plain
        self.context = _load(plain)

    def __repr__(self) -> str:
        return f"PublicKey({self.parameters.scheme}, {self.digest.hex()[:16]}…)"

    @staticmethod
    def from_bytes(data: bytes, parameters: LatticeParameters) -> PublicKey:
        """Take over a serialised TenSEAL context, as ``SecretKey.public_bytes`` makes it.

        Everything but the public key itself is compared byte for byte with what these parameters give, and the key
        is read completely; SEAL sees nothing before that.

        Raises:
            BadKey: it carries a secret key, or relinearisation or Galois keys, which additions do not need.
            WrongContext: it is for other parameters, or comes from another version of TenSEAL.
            MalformedMessage: it does not decode, or is oversized.
        """
        fields, form = wire.context_fields(data), form_of(parameters)
        if fields.secret_key:
            raise BadKey("the context carries a secret key: only the key holder may ever have one")
        plain = _plain(fields, form)
        return PublicKey(parameters, data, form, plain.to_bytes())

    def to_bytes(self) -> bytes:
        """The serialised context; stock ``tenseal.context_from`` reads it."""
        return self._data


class SecretKey:
    """The key holder's key: a TenSEAL context with both keys. Its ``repr`` shows nothing of it.

    Attributes:
        parameters: what it is for.
        public: its public half.
        context: TenSEAL's object, with the secret key.
    """

    def __init__(self, parameters: LatticeParameters, context: ts.Context) -> None:
        """Use ``keygen`` or ``from_bytes``."""
        self.parameters = parameters
        self.public = PublicKey.from_bytes(_serialize(context, secret=False), parameters)
        self.context = context

    def __repr__(self) -> str:
        return f"SecretKey({self.parameters.scheme}, of {self.public!r})"

    def public_bytes(self) -> bytes:
        """The public context, for clients and the aggregator: about 92 kB."""
        return self.public.to_bytes()

    def secret_bytes(self) -> bytes:
        """The whole context with the secret key, in clear: to be stored encrypted, and nowhere else."""
        fields = wire.context_fields(_serialize(self.context, secret=True))
        # TenSEAL changes a context's flags when it is used.
        return fields._replace(settings=self.public.form.settings).to_bytes()

    @staticmethod
    def from_bytes(data: bytes, parameters: LatticeParameters) -> SecretKey:
        """Take over what ``secret_bytes`` made, read as strictly as what comes from others.

        Raises:
            BadKey: there is no secret key in it.
            WrongContext: it is for other parameters.
            MalformedMessage: it does not decode.
        """
        fields, form = wire.context_fields(data), form_of(parameters)
        if not fields.secret_key:
            raise BadKey("the context carries no secret key")
        plain = _plain(fields, form)._replace(secret_key=open_stream(fields.secret_key, form.secret_key))
        return SecretKey(parameters, _load(plain.to_bytes()))


def keygen(parameters: LatticeParameters) -> SecretKey:
    """A fresh key pair, from the operating system's randomness."""
    return SecretKey(parameters, _new_context(parameters))


def _plain(fields: wire.ContextFields, form: Form) -> wire.ContextFields:
    """A context's fields with the public key uncompressed, once it has been read."""
    if (fields.parameters, fields.settings) != (form.parameters, form.settings):
        raise WrongContext("the context is for other parameters than this round's, or of another TenSEAL version")
    return fields._replace(public_key=open_stream(fields.public_key, form.public_key))


def _load(plain: bytes) -> ts.Context:
    """Have SEAL load a context whose every byte has been checked."""
    try:
        return ts.Context.load(plain, n_threads=1)
    except LIBRARY_ERRORS as error:
        raise MalformedMessage("the context is no key of TenSEAL for its parameters") from error


def _new_context(parameters: LatticeParameters) -> ts.Context:
    context = ts.context(
        ts.SCHEME_TYPE.BFV if parameters.scheme == BFV else ts.SCHEME_TYPE.CKKS,
        parameters.degree,
        parameters.plain_modulus or None,
        list(parameters.prime_bits),
        n_threads=1,
    )
    if parameters.scheme == CKKS:
        context.global_scale = parameters.scale
    return context


def _serialize(context: ts.Context, *, secret: bool) -> bytes:
    data: bytes = context.serialize(
        save_public_key=True, save_secret_key=secret, save_galois_keys=False, save_relin_keys=False
    )
    return data


@functools.lru_cache(maxsize=16)
def form_of(parameters: LatticeParameters) -> Form:
    """What everything for these parameters has in common. It takes a key of its own, a tenth of a second."""
    context = _new_context(parameters)
    fields = wire.context_fields(_serialize(context, secret=False))
    primes, seal = read_parameters(fields.parameters), context.data.seal_context()
    key_id, data_id = _PARMS_ID.pack(*seal.key_parms_id()), _PARMS_ID.pack(*seal.first_parms_id())
    degree, data_primes = parameters.degree, primes[: parameters.data_primes]
    ntt, scale = parameters.scheme == CKKS, parameters.scale
    return Form(
        parameters=fields.parameters,
        settings=fields.settings,
        ciphertext=ciphertext_shape(data_id, data_primes, degree, ntt=ntt, scale=scale),
        public_key=ciphertext_shape(key_id, primes, degree, ntt=True, scale=1.0),
        secret_key=secret_key_shape(key_id, primes, degree),
    )
