"""Keys of the lattice schemes: TenSEAL contexts, taken over only where they hold what they should and no more."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional
from secure_agg.backends.homomorphic import lattice_wire as wire
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, LatticeParameters
from secure_agg.errors import BadKey, MalformedMessage, WrongContext

if TYPE_CHECKING:
    import tenseal as ts
else:
    ts = Optional("tenseal")

SEAL_ERRORS: Final = (RuntimeError, ValueError, IndexError)
"""What SEAL's exceptions become."""

_PUBLIC_KEY, _RELIN_KEYS, _GALOIS_KEYS, _PRIVATE = (2, 1), (2, 4), (2, 5), (3,)  # see wire.context_fields


class PublicKey:
    """What clients encrypt under and the aggregator adds under: a TenSEAL context with a public key and no
    other.

    Attributes:
        parameters: what it is for.
        digest: SHA-256 of its bytes; every ciphertext names it.
        context: TenSEAL's object.
    """

    def __init__(self, parameters: LatticeParameters, data: bytes, context: ts.Context) -> None:
        """Use ``from_bytes``."""
        self.parameters = parameters
        self.digest = hashlib.sha256(data).digest()
        self._data = data
        self.context = context

    def __repr__(self) -> str:
        return f"PublicKey({self.parameters.scheme}, {self.digest.hex()[:16]}…)"

    @staticmethod
    def from_bytes(data: bytes, parameters: LatticeParameters) -> PublicKey:
        """Take over a serialised TenSEAL context, as ``SecretKey.public_bytes`` makes it.

        Everything but the public key itself is compared byte for byte with what these parameters give; SEAL
        sees nothing before that.

        Raises:
            BadKey: it carries a secret key, or relinearisation or Galois keys, which additions do not need.
            WrongContext: it is for other parameters, or comes from another version of TenSEAL.
            MalformedMessage: it does not decode, or is oversized.
        """
        fields = wire.context_fields(data)
        if _PRIVATE in fields:
            raise BadKey("the context carries a secret key: only the key holder may ever have one")
        if _RELIN_KEYS in fields or _GALOIS_KEYS in fields:
            raise BadKey("the context carries relinearisation or Galois keys: additions need neither")
        key = fields.pop(_PUBLIC_KEY, None)
        if key is None or fields != _shared_fields(parameters):
            raise WrongContext("the context is for other parameters than this round's, or of another TenSEAL version")
        wire.check_stream(memoryview(key), 2 * len(parameters.prime_bits) * parameters.degree * 8)
        try:
            context = ts.Context.load(data, n_threads=1)
        except SEAL_ERRORS as error:
            raise MalformedMessage("the context's public key is none for its parameters") from error
        return PublicKey(parameters, data, context)

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
        return _serialize(self.context, secret=True)

    @staticmethod
    def from_bytes(data: bytes, parameters: LatticeParameters) -> SecretKey:
        """Take over what ``secret_bytes`` made.

        Raises:
            BadKey: there is no secret key in it.
            WrongContext: it is for other parameters.
            MalformedMessage: it does not decode.
        """
        if _PRIVATE not in wire.context_fields(data):
            raise BadKey("the context carries no secret key")
        try:
            context = ts.Context.load(data, n_threads=1)
        except SEAL_ERRORS as error:
            raise MalformedMessage("the context is no key of TenSEAL") from error
        return SecretKey(parameters, context)


def keygen(parameters: LatticeParameters) -> SecretKey:
    """A fresh key pair, from the operating system's randomness."""
    return SecretKey(parameters, _new_context(parameters))


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
def _shared_fields(parameters: LatticeParameters) -> dict[tuple[int, ...], bytes]:
    """What every public context for these parameters has in common: all but the key."""
    fields = wire.context_fields(_serialize(_new_context(parameters), secret=False))
    del fields[_PUBLIC_KEY]
    return fields
