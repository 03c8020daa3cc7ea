"""Exchange with stock ``phe`` (python-paillier): same modulus, same generator, ciphertexts as plain integers.

The keys carry over by their numbers: ``phe.PaillierPublicKey(public.n)`` and
``phe.PaillierPrivateKey(phe_public, secret.p, secret.q)``; the other way round a key of ``phe`` is taken if its primes
are as :class:`mpc.paillier.paillier.SecretKey` wants them. ``phe.EncryptedNumber(phe_public, ciphertext)`` wraps a
single ciphertext of :meth:`mpc.paillier.paillier.Encryptor.encrypt`. This module needs the objects only, not the
package.
"""

from __future__ import annotations

from typing import Protocol

from mpc.paillier.packing import Packing, parse_vector, write_vector
from mpc.paillier.paillier import PublicKey
from mpc.ring import Vector


class PhePublicKey(Protocol):
    """What is used of ``phe.PaillierPublicKey``."""

    n: int

    def raw_encrypt(self, plaintext: int) -> int:
        """Encrypt an integer in [0, n)."""


class PhePrivateKey(Protocol):
    """What is used of ``phe.PaillierPrivateKey``."""

    @property
    def public_key(self) -> PhePublicKey:
        """The key to encrypt under."""

    def raw_decrypt(self, ciphertext: int) -> int:
        """The plaintext in [0, n)."""


def encrypt_vector(key: PhePublicKey, packing: Packing, vector: Vector, *, first: int = 0) -> bytes:
    """What :func:`mpc.paillier.packing.encrypt_vector` makes, encrypted by ``phe``.

    Raises:
        PaillierError: a modulus that is refused, an entry too large, an empty or misplaced piece.
    """
    rows = packing.pack(vector)
    ciphertexts = [key.raw_encrypt(int.from_bytes(row.astype("<u8").tobytes(), "little")) for row in rows]
    return write_vector(PublicKey(int(key.n)), packing, ciphertexts, vector.size, first=first)


def decrypt_vector(key: PhePrivateKey, packing: Packing, data: bytes, length: int, *, first: int = 0) -> Vector:
    """What :func:`mpc.paillier.packing.decrypt_vector` returns, decrypted by ``phe``.

    Raises:
        PaillierError: as that function.
    """
    ciphertexts = parse_vector(PublicKey(int(key.public_key.n)), packing, data, length, first=first)
    return packing.unpack([key.raw_decrypt(int(c)) for c in ciphertexts], length)
