"""An operator's TLS key, and the card that binds its certificate to the identity that everybody has pinned.

Certificates are self-signed and pinned one by one: there is no certificate authority, and no name of a host is
believed. An operator signs its certificate with its Ed25519 identity on a *card*, which is public, exchanged before
the round and checked against the pinned operators. The certificate names the identity in turn, so that nobody can put
another's certificate on a card of its own. Keys are P-256: it is what every TLS library accepts.

A card has no date. One whose TLS key was stolen is good for as long as somebody takes it: then the operator's peers
have to be given the new card, or pin another identity.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mpc.framing import frame
from mpc.keys import KeyPair
from secure_agg import files
from secure_agg.errors import BadKey, ConfigError, MalformedMessage, UnknownSender
from secure_agg.protocol.identity import KEY_BYTES, Identity, Roster, verify_signature
from secure_agg.protocol.messages import Wire, decode, encode
from zk.transcript import digest

CONNECT: Final = "connect"
"""The phase that errors of this package name where the protocol has none: before and between messages."""
MAX_CARD: Final = 1 << 16
_MAX_CERTIFICATE: Final = 4096
# What reading a stranger's certificate raises; the exceptions of x509 have no base of their own.
_UNFIT: Final = (
    ValueError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# RFC 5280, section 4.1.2.5: "no well-defined expiration date". What ends a certificate is its card.
_FROM: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_TO: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def host_name(identity: bytes) -> str:
    """The name in the certificate of the operator with this identity key; it can't be looked up (RFC 6761)."""
    return digest("operator-host", identity).hex()[:32] + ".operator.invalid"


class OperatorCard(Wire, frozen=True):
    """What an operator tells its peers about itself before the first round.

    Attributes:
        name: id of the operator.
        identity: its identity key, 32 bytes, which everybody has pinned.
        certificate: its TLS certificate, X.509 in DER.
        channel: what its role adds: for a share holder the encoding of its ``ChannelKey``,
            else empty.
        signature: of all this, by the identity key.
    """

    name: str
    identity: bytes
    certificate: bytes
    channel: bytes
    signature: bytes

    @staticmethod
    def issue(identity: Identity, certificate: bytes, channel: bytes = b"") -> OperatorCard:
        """Sign one's own card."""
        signed = _signed_bytes(identity.name, identity.public, certificate, channel)
        return OperatorCard(identity.name, identity.public, certificate, channel, identity.sign(signed))

    def check(self, operators: Roster) -> None:
        """Check the card against the pinned operators. ``channel`` is for the role that uses it to check.

        Raises:
            UnknownSender: no operator of this name is pinned.
            BadKey: another identity is, or the certificate is not one that ``new_certificate`` makes for it.
            BadSignature: it was not signed by that identity.
        """
        pinned = operators.get(self.name)
        if pinned is None:
            raise UnknownSender("a card of somebody who is no pinned operator", phase=CONNECT, culprit=self.name)
        if pinned != self.identity:
            raise BadKey("a card with another identity than the pinned one", phase=CONNECT, culprit=self.name)
        signed = _signed_bytes(self.name, self.identity, self.certificate, self.channel)
        verify_signature(pinned, self.signature, signed, phase=CONNECT, culprit=self.name)
        try:
            _check_certificate(self.certificate, host_name(self.identity))
        except _UNFIT as error:
            why = str(error) or type(error).__name__
            raise BadKey(f"the certificate on a card is unfit: {why}", phase=CONNECT, culprit=self.name) from error

    @property
    def host(self) -> str:
        """The name that the certificate must have in TLS."""
        return host_name(self.identity)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return _pem(self.certificate)

    def to_bytes(self) -> bytes:
        """The card file."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> OperatorCard:
        """Decode strictly; check nothing else.

        Raises:
            MalformedMessage: not a canonical card, or above 64 KiB.
        """
        return decode(OperatorCard, data, MAX_CARD, phase=CONNECT)

    @staticmethod
    def load(path: Path) -> OperatorCard:
        """Read a card file; check nothing else.

        Raises:
            ConfigError: it can't be read, or is no card.
        """
        try:
            return OperatorCard.from_bytes(files.read(path, MAX_CARD, "card"))
        except MalformedMessage as error:
            raise ConfigError(f"{path} is no operator's card: {error}") from None


@dataclass(frozen=True)
class OperatorKeys:
    """An operator's secrets.

    Attributes:
        name: id of the operator.
        seed: of its identity key, 32 bytes.
        tls_key: its TLS private key, PKCS #8 in DER.
        certificate: for it, X.509 in DER.
        channel: the key pair that clients seal shares to, or None.
    """

    name: str
    seed: bytes = field(repr=False)
    tls_key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    channel: KeyPair | None = None

    @staticmethod
    def generate(name: str, *, seed: bytes | None = None, share_holder: bool = False) -> OperatorKeys:
        """New keys.

        Args:
            name: id of the operator.
            seed: of an identity that is there already; a new one by default.
            share_holder: whether clients seal shares to it.
        """
        seed = os.urandom(KEY_BYTES) if seed is None else seed
        tls_key, certificate = new_certificate(Identity(name, seed).public)
        channel = KeyPair.from_secret(os.urandom(KEY_BYTES)) if share_holder else None
        return OperatorKeys(name, seed, tls_key, certificate, channel)

    @property
    def identity(self) -> Identity:
        """The signing key."""
        return Identity(self.name, self.seed)

    def check_pinned(self, operators: Roster) -> None:
        """Refuse to serve under keys that nobody would believe.

        Raises:
            ConfigError: this identity is not the pinned operator of its name.
        """
        if operators.get(self.name) != self.identity.public:
            raise ConfigError(f"the identity of {self.name!r} is not the pinned operator of that name")

    def card(self, channel: bytes = b"") -> OperatorCard:
        """The public side, with what the role adds."""
        return OperatorCard.issue(self.identity, self.certificate, channel)

    def check(self) -> None:
        """Check that the keys belong together.

        Raises:
            BadKey, ValueError: they don't.
        """
        self.card().check(Roster({self.name: self.identity.public}))
        key = serialization.load_der_private_key(self.tls_key, None)
        if key.public_key() != x509.load_der_x509_certificate(self.certificate).public_key():
            raise BadKey("the certificate is for another TLS key", phase=CONNECT, culprit=self.name)

    def tls_pair(self) -> tuple[bytes, bytes]:
        """Private key and certificate as PEM, in clear, for the TLS library."""
        key = serialization.load_der_private_key(self.tls_key, None)
        clear = serialization.NoEncryption()
        return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, clear), _pem(self.certificate)


def new_certificate(identity: bytes) -> tuple[bytes, bytes]:
    """A P-256 key and its self-signed certificate, for the operator with this identity key.

    Returns:
        The private key (PKCS #8) and the certificate (X.509), both in DER.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name(identity))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_TO)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name(identity))]), critical=False)
        # Pinned as its own root: it must not be able to vouch for another certificate.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    clear = serialization.NoEncryption()
    secret = key.private_bytes(Encoding.DER, serialization.PrivateFormat.PKCS8, clear)
    return secret, certificate.public_bytes(Encoding.DER)


def _check_certificate(data: bytes, host: str) -> None:
    """Refuse a certificate that ``new_certificate`` would not have made for this host.

    Raises:
        Any of ``_UNFIT``: as they say.
    """
    if len(data) > _MAX_CERTIFICATE:
        raise ValueError(f"it has {len(data)} bytes, above {_MAX_CERTIFICATE}")
    certificate = x509.load_der_x509_certificate(data)
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("its key is not on P-256")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if list(names) != [x509.DNSName(host)]:
        raise ValueError("it was made for another identity")
    if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("it could vouch for others")
    certificate.verify_directly_issued_by(certificate)


def _pem(certificate: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def _signed_bytes(name: str, identity: bytes, certificate: bytes, channel: bytes) -> bytes:
    return frame("operator-card", name.encode(), identity, certificate, channel)
