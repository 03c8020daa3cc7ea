"""Key files: a key holder's secret at rest, encrypted under a passphrase and bound to one task.

A file is one MessagePack array, ``[header, nonce, sealed]``: the secret under AES-256-GCM, with the encoded header as
associated data, so neither can be exchanged without the other. The key comes from the passphrase by scrypt (RFC 7914)
at 128 MiB and a salt of the file's own. A file says for which backend, task and holder its key is, and is refused for
any other: a task's key is rotated by making a new file under a new name and certifying its public half; nothing is ever
overwritten.

The passphrase protects a stolen file only as far as it can't be guessed. Python can't wipe it, or the secret, from
memory.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from secure_agg import backends, files
from secure_agg.backends.contract import Opener
from secure_agg.errors import ConfigError, MalformedMessage, RemoteProtocolError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire, decode, encode
from zk.transcript import digest

FORMAT: Final = "secure-agg-key/1"
MAX_FILE_BYTES: Final = 1 << 22
"""The largest secret is a context of TenSEAL: of 130 kB, or of up to 3.2 MB where it was made elsewhere."""
MAX_PASSPHRASE_BYTES: Final = 1024

NONCE_BYTES: Final = 12

_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_COST: Final = 1 << 17
_BLOCK: Final = 8
_PARALLEL: Final = 1
# What a file may ask for: no less than is written, which would be a file that somebody else has made, and no more than
# 512 MiB in 4 passes, or a file could exhaust the machine before its authenticity is known.
_COSTS: Final = (_COST, _COST << 1, _COST << 2)
_PARALLELS: Final = range(_PARALLEL, 5)


class ScryptParameters(Wire, frozen=True):
    """How the encryption key follows from the passphrase.

    Attributes:
        salt: 16 random bytes.
        cost, block, parallel: N, r and p of RFC 7914; memory is 128·N·r bytes.
    """

    salt: bytes
    cost: int
    block: int
    parallel: int


class KeyHeader(Wire, frozen=True):
    """What a key file says of its key, in clear and authenticated.

    Attributes:
        format: ``secure-agg-key/1``.
        backend: name of the backend it is for.
        task: it is for.
        holder: id of its holder.
        public: digest of the public key, see ``public_digest``.
        scrypt: how the encryption key is derived.
    """

    format: str
    backend: str
    task: str
    holder: str
    public: bytes
    scrypt: ScryptParameters


class KeyFile(Wire, frozen=True):
    """A key file.

    Attributes:
        header: authenticated with the secret.
        nonce: 12 random bytes.
        sealed: the backend's encoding of the secret (``Opener.secret_bytes``) under AES-256-GCM.
    """

    header: KeyHeader
    nonce: bytes
    sealed: bytes


def public_digest(public: bytes) -> bytes:
    """The digest of a public key that stands in its key file."""
    return digest("key", public)


def save(path: Path, opener: Opener, *, backend: str, task: str, holder: str, passphrase: str) -> None:
    """Encrypt a secret into a new file that only its owner can read (mode 0600), durably and all at once.

    Args:
        path: where there is no file yet.
        opener: the secret.
        backend: name of the backend it is for.
        task: it is for; ``load`` refuses it for any other.
        holder: id of its holder.
        passphrase: not empty; two ways to type one accented letter are one passphrase (Unicode NFC).

    Raises:
        ConfigError: there is a file already, the passphrase is empty or too long, or a name is no id.
    """
    parameters = new_scrypt()
    header = KeyHeader(
        FORMAT, check_id(backend), check_id(task), check_id(holder), public_digest(opener.public), parameters
    )
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(derive_key(passphrase, parameters)).encrypt(nonce, opener.secret_bytes(), encode(header))
    files.create(path, encode(KeyFile(header, nonce, sealed)))


def load(path: Path, policy: Policy, *, task: str, holder: str, passphrase: str) -> Opener:
    """Decrypt what ``save`` wrote.

    Args:
        path: of the key file.
        policy: the task's, as it is pinned: it names the backend and fixes the key's parameters.
        task: awaited.
        holder: awaited.
        passphrase: the one it was saved with.

    Raises:
        ConfigError: the file can't be read or is accessible to others, is no key file, is for another backend, task,
            holder or policy, asks for too much work, or does not open under this passphrase.
    """
    file = _decode(path, read_private(path, MAX_FILE_BYTES))
    header = file.header
    for what, found, awaited in (
        ("backend", header.backend, policy.backend),
        ("task", header.task, task),
        ("key holder", header.holder, holder),
    ):
        if found != awaited:
            raise ConfigError(f"key file {path} is for {what} {found!r}, not {awaited!r}")
    try:
        secret = AESGCM(derive_key(passphrase, header.scrypt)).decrypt(file.nonce, file.sealed, encode(header))
    except InvalidTag:
        raise ConfigError(f"key file {path} does not open: the passphrase is wrong, or the file was altered") from None
    try:
        keyed = backends.load(policy.backend).keys
        if keyed is None:
            raise ConfigError(f"backend {policy.backend!r} has no key holders")
        opener = keyed.opener(policy, secret)
    except RemoteProtocolError as error:
        raise ConfigError(f"key file {path} holds a key for another policy than the task's: {error}") from None
    if public_digest(opener.public) != header.public:
        raise ConfigError(f"key file {path} holds another key than it names")
    return opener


def read_passphrase(path: Path) -> str:
    """The passphrase in a file: its first line, which is all of it.

    Raises:
        ConfigError: it can't be read or is accessible to others, is empty, too long, of several lines, or not UTF-8.
    """
    try:
        text = read_private(path, MAX_PASSPHRASE_BYTES + 2).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"passphrase file {path} is not UTF-8") from None
    lines = text.splitlines()
    if len(lines) != 1:
        raise ConfigError(f"passphrase file {path} has {len(lines)} lines, not one")
    check_passphrase(lines[0])
    return lines[0]


def check_passphrase(passphrase: str) -> bytes:
    """The bytes of a passphrase: UTF-8, normal form C.

    Raises:
        ConfigError: empty, or more than 1024 bytes.
    """
    encoded = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    if not 1 <= len(encoded) <= MAX_PASSPHRASE_BYTES:
        raise ConfigError(f"a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes, not {len(encoded)}")
    return encoded


def read_private(path: Path, limit: int) -> bytes:
    """Read a file that must be its owner's alone.

    Raises:
        ConfigError: it can't be read, is accessible to others, or longer than ``limit`` bytes.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(f"file {path} is accessible to others: chmod 600 it")
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"file {path} can't be read: {error.strerror}") from error
    if len(data) > limit:
        raise ConfigError(f"file {path} has more than {limit} bytes")
    return data


def _decode(path: Path, data: bytes) -> KeyFile:
    """Everything about a key file that can be checked before any work is done for it."""
    try:
        file = decode(KeyFile, data, MAX_FILE_BYTES)
    except MalformedMessage as error:
        raise ConfigError(f"{path} is no key file: {error}") from None
    header, scrypt = file.header, file.header.scrypt
    if header.format != FORMAT:
        raise ConfigError(f"key file {path} is of format {header.format!r}, not {FORMAT!r}")
    if len(file.nonce) != NONCE_BYTES:
        raise ConfigError(f"key file {path} has a nonce of the wrong length")
    check_scrypt(path, scrypt)
    return file


def new_scrypt() -> ScryptParameters:
    """What every new file is written with, and a salt of its own."""
    return ScryptParameters(os.urandom(_SALT_BYTES), _COST, _BLOCK, _PARALLEL)


def check_scrypt(path: Path, scrypt: ScryptParameters) -> None:
    """Refuse what a file may not ask for, before any work is done for it.

    Raises:
        ConfigError: a salt of the wrong length, less work than is written, or more than 512 MiB in 4 passes.
    """
    if len(scrypt.salt) != _SALT_BYTES:
        raise ConfigError(f"key file {path} has a salt of the wrong length")
    if scrypt.cost not in _COSTS or scrypt.block != _BLOCK or scrypt.parallel not in _PARALLELS:
        raise ConfigError(
            f"key file {path} asks for scrypt with N = {scrypt.cost}, r = {scrypt.block}, p = {scrypt.parallel}: "
            f"N is one of {_COSTS}, r is {_BLOCK}, p at most {_PARALLELS[-1]}"
        )


def derive_key(passphrase: str, parameters: ScryptParameters) -> bytes:
    """32 bytes by scrypt.

    Raises:
        ConfigError: the passphrase is empty or too long.
    """
    material = check_passphrase(passphrase)
    kdf = Scrypt(parameters.salt, _KEY_BYTES, n=parameters.cost, r=parameters.block, p=parameters.parallel)
    return kdf.derive(material)
