"""An operator's secrets at rest: one file, encrypted under a passphrase as key holders' files are.

A file is one MessagePack array, ``[header, nonce, sealed]``, with the header as associated data; see
``secure_agg.local.keystore`` for the passphrase, its key and what they protect from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.keys import KeyPair
from secure_agg import files
from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.local.keystore import (
    NONCE_BYTES,
    ScryptParameters,
    check_scrypt,
    derive_key,
    new_scrypt,
    read_private,
)
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.transport.credentials import OperatorKeys

FORMAT: Final = "secure-agg-operator/1"
MAX_FILE_BYTES: Final = 1 << 16


class OperatorHeader(Wire, frozen=True):
    """What an operator's file says in clear, authenticated.

    Attributes:
        format: ``secure-agg-operator/1``.
        name: id of the operator.
        identity: its identity key.
        scrypt: how the encryption key follows from the passphrase.
    """

    format: str
    name: str
    identity: bytes
    scrypt: ScryptParameters


class OperatorSecrets(Wire, frozen=True):
    """What is sealed.

    Attributes:
        seed: of the identity, 32 bytes.
        tls_key: PKCS #8 in DER.
        certificate: X.509 in DER.
        channel: secret of the X25519 pair that clients seal shares to, 32 bytes; empty where there is none.
    """

    seed: bytes
    tls_key: bytes
    certificate: bytes
    channel: bytes


class OperatorFile(Wire, frozen=True):
    """The file."""

    header: OperatorHeader
    nonce: bytes
    sealed: bytes


def save(path: Path, keys: OperatorKeys, passphrase: str) -> None:
    """Encrypt an operator's secrets into a new file that only its owner can read (mode 0600), durably.

    Raises:
        ConfigError: there is a file already, or the passphrase is empty or too long.
    """
    header = OperatorHeader(FORMAT, check_id(keys.name), keys.identity.public, new_scrypt())
    channel = keys.channel.secret if keys.channel else b""
    secrets = encode(OperatorSecrets(keys.seed, keys.tls_key, keys.certificate, channel))
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(derive_key(passphrase, header.scrypt)).encrypt(nonce, secrets, encode(header))
    files.create(path, encode(OperatorFile(header, nonce, sealed)))


def load(path: Path, passphrase: str) -> OperatorKeys:
    """Decrypt what ``save`` wrote.

    Raises:
        ConfigError: it can't be read or is accessible to others, is no operator's file, asks for too much work, does
            not open under this passphrase, or holds what is not consistent.
    """
    data = read_private(path, MAX_FILE_BYTES)
    try:
        file = decode(OperatorFile, data, MAX_FILE_BYTES)
    except MalformedMessage as error:
        raise ConfigError(f"{path} is no operator's key file: {error}") from None
    header = file.header
    if header.format != FORMAT or len(file.nonce) != NONCE_BYTES:
        raise ConfigError(f"key file {path} is of format {header.format!r}, not {FORMAT!r}, or its nonce is damaged")
    check_scrypt(path, header.scrypt)
    try:
        clear = AESGCM(derive_key(passphrase, header.scrypt)).decrypt(file.nonce, file.sealed, encode(header))
    except InvalidTag:
        raise ConfigError(f"key file {path} does not open: the passphrase is wrong, or the file was altered") from None
    try:
        secrets = decode(OperatorSecrets, clear, MAX_FILE_BYTES)
        channel = KeyPair.from_secret(secrets.channel) if secrets.channel else None
        keys = OperatorKeys(header.name, secrets.seed, secrets.tls_key, secrets.certificate, channel)
        keys.check()
        if keys.identity.public != header.identity:
            raise ConfigError("another identity")
    except Exception as error:
        # Nothing of its reason is shown: it may quote the secret.
        raise ConfigError(f"key file {path} holds keys that do not belong together") from error
    return keys
