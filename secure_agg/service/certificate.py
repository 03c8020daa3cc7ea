"""The server's TLS certificate, and what a client makes of it.

A certificate says nothing here: no authority vouches for a server, and no name of a host is believed. A client takes
whichever certificate a connection shows, as the only one that it goes on with, and has the server sign it, together
with random bytes of the client's, by the identity that everybody has pinned: see ``wire.check_greeting``. So a server
makes its own, or has one from anywhere, and may change it whenever it likes.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from secure_agg import files
from secure_agg.errors import ConfigError
from secure_agg.local import keystore
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.transport.credentials import new_certificate

KEY_FILE: Final = "service.key"
CERTIFICATE_FILE: Final = "service.pem"
_MAX_FILE: Final = 1 << 18


class Certificate(NamedTuple):
    """A certificate and its key, in files as TLS libraries take them.

    Attributes:
        chain: PEM; the server's own certificate first.
        key: PEM, not encrypted.
        der: the server's own certificate.
    """

    chain: Path
    key: Path
    der: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers and ``openssl x509 -fingerprint`` have it, without colons."""
        return hashlib.sha256(self.der).hexdigest()


def own_certificate(home: ServerHome) -> Certificate:
    """The certificate in a home; made when it is first asked for.

    Raises:
        ConfigError: it can't be read or written, or its key is accessible to others.
    """
    key, chain = home.path / KEY_FILE, home.path / CERTIFICATE_FILE
    with home.locked():
        if not chain.exists():
            secret, certificate = new_certificate(home.identity.public)
            clear = serialization.NoEncryption()
            files.replace(
                key,
                serialization.load_der_private_key(secret, None).private_bytes(
                    Encoding.PEM, serialization.PrivateFormat.PKCS8, clear
                ),
                mode=0o600,
            )
            files.replace(chain, x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM))
    return given_certificate(chain, key)


def given_certificate(chain: Path, key: Path) -> Certificate:
    """A certificate in files that their owner has from elsewhere.

    Raises:
        ConfigError: they can't be read, are none, or the key is accessible to others.
    """
    keystore.read_private(key, _MAX_FILE)
    try:
        first = x509.load_pem_x509_certificates(files.read(chain, _MAX_FILE, "certificate"))[0]
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{chain} holds no certificate in PEM: {error}") from None
    return Certificate(chain, key, first.public_bytes(Encoding.DER))


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """What a server's TLS is told: version 1.2 or later, and this certificate.

    Raises:
        ConfigError: the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate.chain, certificate.key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{certificate.key} is not the key of {certificate.chain}: {error}") from None
    return context


def shown_certificate(host: str, port: int, timeout_s: float) -> bytes:
    """The certificate that a server shows, in DER. Nothing is sent to it, and nothing of it believed.

    Raises:
        OSError: there is no server, or it does not answer in time.
    """
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, port), timeout=timeout_s))


def client_context(der: bytes) -> ssl.SSLContext:
    """What a client's TLS is told: this very certificate, whoever has issued it and whatever host it names.

    Raises:
        ssl.SSLError: it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=der)
    return context
