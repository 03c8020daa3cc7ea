"""Ed25519 identities (RFC 8032), where they are kept, and the roster of a federation."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mpc.framing import frame, integer
from secure_agg import files, formats
from secure_agg.arguments import checked_class
from secure_agg.errors import BadSignature, ConfigError
from secure_agg.protocol.id_characters import UNICODE, is_id_character
from zk import merkle
from zk.transcript import digest

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_MAX_KEY_FILE: Final = 1 << 12
MAX_ID_BYTES: Final = 128

_FIELD: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _FIELD) % _FIELD
# y-coordinates of the eight points of small order (RFC 8032 leaves accepting them open; a signature under
# one proves nothing).
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    }
)


class Named(Protocol):
    """What belongs to a party and has its id."""

    @property
    def name(self) -> str:
        """The id."""


_Party = TypeVar("_Party", bound=Named)


def check_id(name: str) -> str:
    """Return ``name`` if it can be an id: 1–128 bytes of UTF-8 in normal form C, of the characters of Unicode 14.0 but
    those of categories C* (``id_characters``).

    Raises:
        ConfigError: it can't.
    """
    if not isinstance(name, str):
        raise ConfigError(f"an id is a string, not {type(name).__name__}")
    return _check_text(name)


@functools.lru_cache(maxsize=4096)
def _check_text(name: str) -> str:
    """Once for each: a round's few names are met thousands of times."""
    encoded = name.encode("utf-8", "surrogatepass")
    if not 1 <= len(encoded) <= MAX_ID_BYTES:
        raise ConfigError(f"an id has 1 to {MAX_ID_BYTES} bytes, not {len(encoded)}")
    strange = next((char for char in name if not is_id_character(char)), None)
    if strange is not None:
        raise ConfigError(f"id {name!r} holds U+{ord(strange):04X}, a control character or none of Unicode {UNICODE}")
    if unicodedata.normalize("NFC", name) != name:
        raise ConfigError(f"id {name!r} is not in Unicode normal form C")
    return name


@functools.lru_cache(maxsize=1 << 15)  # more than a roster has, or none of it would be there the next time
def check_public_key(raw: bytes) -> bytes:
    """Return ``raw`` if it is the canonical encoding of a point that is not of small order.

    Raises:
        ConfigError: wrong length, not reduced, of small order, or not on the curve.
    """
    if len(raw) != KEY_BYTES:
        raise ConfigError(f"an identity key has {KEY_BYTES} bytes, not {len(raw)}")
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        raise ConfigError("an identity key is not canonical or has small order")
    # x² = (y² − 1) / (d·y² + 1) has a root exactly if (y² − 1)·(d·y² + 1) is a square (Euler's criterion).
    if pow((y * y - 1) * (_D * y * y + 1), (_FIELD - 1) // 2, _FIELD) != 1:
        raise ConfigError("an identity key is not on the curve")
    return raw


def verify_signature(public: bytes, signature: bytes, message: bytes, *, phase: str, culprit: str | None) -> None:
    """Check an Ed25519 signature.

    Args:
        culprit: whom the error names; None where somebody else than its owner may have spoilt the signature.

    Raises:
        BadSignature: it does not verify, or is not canonical.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise BadSignature("a signature does not verify under the pinned key", phase=phase, culprit=culprit) from None


@checked_class
class Identity:
    """A party's long-term signing key, with its name."""

    def __init__(self, name: str, secret: bytes) -> None:
        """``secret`` is the 32-byte Ed25519 seed; use ``Identity.generate`` for a new one."""
        self.name = check_id(name)
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    @staticmethod
    def generate(name: str, *, entropy: Callable[[int], bytes] = os.urandom) -> Identity:
        """A new identity."""
        return Identity(name, entropy(KEY_BYTES))

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, public={self.public.hex()[:16]}…)"

    def sign(self, message: bytes) -> bytes:
        """64 bytes, deterministic."""
        return self._key.sign(message)

    def secret(self) -> bytes:
        """The seed, 32 bytes: for processes of this identity's owner, and nobody else."""
        return self._key.private_bytes_raw()

    def save(self, path: str | Path) -> None:
        """Write the seed, in hex, to a new file that only its owner can read (mode 0600), durably and all at once.

        Raises:
            FileExists: there is a file already; a key is never overwritten.
            ConfigError: it can't be written.
        """
        files.create(Path(path), f"{self.secret().hex()}\n".encode())

    @staticmethod
    def load(name: str, path: str | Path) -> Identity:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: it can't be read, holds no 64 hexadecimal digits, or is readable by others than its owner.
        """
        try:
            with Path(path).open("rb") as file:
                mode, data = os.fstat(file.fileno()).st_mode, file.read(_MAX_KEY_FILE)
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            reason = getattr(error, "strerror", error)
            raise ConfigError(f"identity file {path} can't be read: {reason}") from error
        if mode & 0o077:
            raise ConfigError(f"key file {path} is accessible to others: chmod 600 it")
        text = data.decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            # What it is instead is said, never what it holds.
            raise ConfigError(f"key file {path} does not hold 64 hexadecimal digits{formats.instead(data, '')}")
        return Identity(name, bytes.fromhex(text))


class KeyDirectory:
    """Identities by name in a directory of mode 0700: one file each, named by a hash, so that any id is a file name."""

    def __init__(self, path: Path) -> None:
        """Nothing is created before the first key is."""
        self.path = path

    def get(self, role: str, name: str) -> Identity:
        """The identity of that role and name; made and saved when missing. Roles keep an aggregator apart
        from a client of its name.
        """
        found = self.find(role, name)
        if found is not None:
            return found
        with contextlib.suppress(FileExistsError):  # another process was faster: its key is the key
            self.add(role, Identity.generate(name))
        return Identity.load(name, self.locate(role, name))

    def find(self, role: str, name: str) -> Identity | None:
        """The identity of that role and name; None where there is none."""
        path = self.locate(role, name)
        return Identity.load(name, path) if os.path.exists(path) else None

    def add(self, role: str, identity: Identity) -> None:
        """Save a new identity under that role and its name.

        Raises:
            FileExists: there is one already.
            ConfigError: it can't be written.
        """
        with files.failing(self.path), files.folders(self.path, mode=0o700):
            identity.save(self.locate(role, identity.name))

    def locate(self, role: str, name: str) -> Path:
        """The file of that role's and name's identity, whether it is there or not."""
        check_id(name)
        return self.path / f"{role}-{digest('key-file', role.encode(), name.encode()).hex()[:32]}.key"


@dataclass(frozen=True)
class Member:
    """An id and its identity key."""

    name: str
    public: bytes

    def encode(self) -> bytes:
        """The leaf of the roster's tree."""
        return frame("member", self.name.encode(), self.public)


def in_id_order(names: Iterable[str]) -> list[str]:
    """Ids in the order in which all that is sent and signed has them: by their UTF-8 bytes."""
    return sorted(names, key=str.encode)


def by_id(parties: Iterable[_Party]) -> list[_Party]:
    """Whatever has a party's id as its ``name``, in the order of ``in_id_order``."""
    return sorted(parties, key=lambda party: party.name.encode())


def is_id_order(names: Sequence[str]) -> bool:
    """Whether ids stand in that order, each once."""
    return list(names) == in_id_order(set(names))


@checked_class
class Roster(Mapping[str, bytes]):
    """Client ids and their identity keys, in id order; what every party pins before the first round.

    Ids order by their UTF-8 bytes. The *root* is the RFC 9162 tree hash over the members.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """
        Raises:
            ConfigError: an unfit id or key, or one key under two ids.
        """
        self._members = tuple(Member(name, check_public_key(keys[name])) for name in in_id_order(map(check_id, keys)))
        owners: dict[bytes, str] = {}
        for member in self._members:
            other = owners.setdefault(member.public, member.name)
            if other != member.name:
                raise ConfigError(f"{other!r} and {member.name!r} have the same identity key")
        self._keys = {member.name: member.public for member in self._members}
        self._root: bytes | None = None
        self._drawn: tuple[int, bytes, Roster] | None = None

    def __getitem__(self, name: str) -> bytes:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"Roster({len(self)} members, root={self.root().hex()[:16]}…)"

    def root(self) -> bytes:
        """32 bytes that bind every id and key."""
        if self._root is None:
            self._root = merkle.root([member.encode() for member in self._members])
        return self._root

    def sample(self, size: int, beacon: bytes) -> Roster:
        """The first ``size`` members by the hash of beacon and id.

        Raises:
            ConfigError: more than there are.
        """
        if not 1 <= size <= len(self):
            raise ConfigError(f"a cohort of {size} can't be drawn from {len(self)} members")
        last = self._drawn
        if last is not None and last[:2] == (size, beacon):
            return last[2]
        drawn = sorted(self, key=lambda name: digest("cohort", beacon, name.encode()))[:size]
        cohort = Roster({name: self[name] for name in drawn})
        self._drawn = size, beacon, cohort  # a round asks for its cohort again and again
        return cohort

    def digest(self) -> bytes:
        """The root and the size, as one digest."""
        return digest("roster", self.root(), integer(len(self)))
