"""Key certificates: an encryption key vouched for by those who hold its secret, for one task.

The certificate is the public *setup* of a round with a homomorphic backend: its digest enters the round's
configuration, and clients check it against the identity keys they have pinned. So a key can be rotated without new
pins, and an aggregator can't slip in one of its own.
"""

from __future__ import annotations

from mpc.framing import frame
from secure_agg.errors import BadKey
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.identity import Identity, Roster, by_id, is_id_order, verify_signature
from secure_agg.protocol.messages import ADVERTISE, MAX_SETUP, Signature, Wire, decode, encode
from zk.transcript import digest


class KeyCertificate(Wire, frozen=True):
    """An encryption key, and who holds it.

    Attributes:
        backend: name of the backend it is for.
        task: it is for.
        public: the key, in the backend's encoding.
        holders: signatures of the key holders, in id order.
    """

    backend: str
    task: str
    public: bytes
    holders: tuple[Signature, ...]

    @staticmethod
    def signed_bytes(backend: str, task: str, public: bytes) -> bytes:
        """What a holder signs."""
        return frame("encryption-key", backend.encode(), task.encode(), public)

    @staticmethod
    def issue(backend: str, task: str, public: bytes, holders: list[Identity]) -> KeyCertificate:
        """A certificate signed by all holders."""
        message = KeyCertificate.signed_bytes(backend, task, public)
        return KeyCertificate(backend, task, public, tuple(Signature(h.name, h.sign(message)) for h in by_id(holders)))

    def to_bytes(self) -> bytes:
        """The round's setup."""
        return encode(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the holders, in id order."""
        return tuple(holder.name for holder in self.holders)


def setup_digest(setup: bytes | memoryview) -> bytes:
    """What stands in the configuration."""
    return digest("setup", setup)


def read_certificate(config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> KeyCertificate:
    """Decode a round's setup and check who vouches for it.

    Raises:
        MalformedMessage: not canonical, or above 16 MiB.
        BadKey: for another backend or task, without holders, or of a holder that is not pinned.
        BadSignature: of a holder. Anybody can have put it there: nobody is named.
    """
    certificate = decode(KeyCertificate, setup, len(MAX_SETUP), phase=ADVERTISE)
    if (certificate.backend, certificate.task) != (config.policy.backend, config.task):
        raise BadKey("the encryption key is for another backend or task", phase=ADVERTISE)
    names = list(certificate.names)
    if not names or not is_id_order(names):
        raise BadKey("the holders of the encryption key are not in id order, each once", phase=ADVERTISE)
    message = KeyCertificate.signed_bytes(certificate.backend, certificate.task, certificate.public)
    for holder in certificate.holders:
        if holder.name not in operators:
            raise BadKey(f"an encryption key of {holder.name!r}, who is not pinned", phase=ADVERTISE)
        verify_signature(operators[holder.name], holder.signature, message, phase=ADVERTISE, culprit=None)
    return certificate
