"""What is particular to key holders of the homomorphic backends: their role, from the files that ``init`` has made."""

from __future__ import annotations

from pathlib import Path

from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.local import keystore
from secure_agg.protocol.certificate import KeyCertificate
from secure_agg.protocol.messages import MAX_SETUP, decode
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.transport.credentials import OperatorKeys


def build_key_holder(
    keys: OperatorKeys, trust: Trust, store: AttemptStore, *, key_file: Path, certificate: Path, passphrase: str
) -> KeyHolder:
    """The role of a key holder.

    Args:
        keys: its own.
        trust: what it has pinned.
        store: durable, and the same after a restart: it says which rounds were opened.
        key_file: its encryption key, see ``keystore``.
        certificate: for that key; it names backend and task.
        passphrase: of the key file.

    Raises:
        ConfigError: a file is missing, malformed, or for another key or holder, the task is not pinned, or this
            identity is not the pinned operator of its name.
    """
    try:
        read = decode(KeyCertificate, certificate.read_bytes(), len(MAX_SETUP))
    except OSError as error:
        raise ConfigError(f"certificate {certificate} can't be read: {error.strerror}") from error
    except MalformedMessage as error:
        raise ConfigError(f"{certificate} is no certificate: {error}") from None
    keys.check_pinned(trust.operators)
    if keys.name not in read.names:
        raise ConfigError(f"certificate {certificate} is of {', '.join(map(repr, read.names))}, not {keys.name!r}")
    if read.task not in trust.tasks:
        raise ConfigError(f"task {read.task!r}, which the certificate is for, is not pinned")
    policy = trust.task(read.task).policy
    opener = keystore.load(key_file, policy, task=read.task, holder=keys.name, passphrase=passphrase)
    return KeyHolder(keys.identity, trust, opener, read, store=store)
