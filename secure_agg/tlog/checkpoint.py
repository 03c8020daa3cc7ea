"""Checkpoints (C2SP tlog-checkpoint v1.0.0): the note text in which a log states its size and root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.tlog.note import decode_base64, encode_base64, is_text
from zk.merkle import HASH_BYTES

MAX_SIZE: Final = 2**63 - 1
"""Most leaves of a tree: sizes and indices are SQLite integers."""

_MAX_ORIGIN: Final = 1024  # bytes
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_decimal(text: str) -> int:
    """A number from 0 to ``MAX_SIZE`` in ASCII digits without leading zeros.

    Raises:
        ValueError: something else.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise ValueError(f"{text[:40]!r} is not a number from 0 to {MAX_SIZE} without leading zeros")
    return int(text)


def parse_hash(text: str) -> bytes:
    """A tree hash in canonical base64.

    Raises:
        ValueError: something else.
    """
    value = decode_base64(text)
    if len(value) != HASH_BYTES:
        raise ValueError(f"a tree hash has {HASH_BYTES} bytes, not {len(value)}")
    return value


@dataclass(frozen=True)
class Checkpoint:
    """A log's size and root, unsigned.

    Attributes:
        origin: the log's unique name; one line of at most 1024 bytes.
        size: number of leaves.
        root: 32 bytes, RFC 9162 tree head; that an empty tree has the empty root is the proofs' to check.
        extensions: further lines, which no part of this package writes or interprets; none may be empty.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_line(self.origin) or len(self.origin.encode()) > _MAX_ORIGIN:
            raise ConfigError(f"origin {self.origin[:40]!r} is not one line of 1 to {_MAX_ORIGIN} bytes of UTF-8")
        if not 0 <= self.size <= MAX_SIZE:
            raise ConfigError(f"a tree of {self.size} leaves is outside [0, {MAX_SIZE}]")
        if len(self.root) != HASH_BYTES:
            raise ConfigError(f"a tree head has {HASH_BYTES} bytes, not {len(self.root)}")
        if not all(map(_is_line, self.extensions)):
            raise ConfigError("an extension line is empty, not UTF-8, or holds a control character")

    @property
    def text(self) -> str:
        """The note text: origin, size in decimal, root in base64, extension lines, each with a newline."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @staticmethod
    def parse(text: str) -> Checkpoint:
        """Parse a note text; ``text`` of the result is the argument.

        Raises:
            VerificationError: it is no checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise VerificationError("a checkpoint has at least three lines, each with a newline")
        origin, size, root, *extensions = lines[:-1]
        try:
            return Checkpoint(origin, parse_decimal(size), parse_hash(root), tuple(extensions))
        except ValueError as error:  # a ConfigError is one
            raise VerificationError(f"malformed checkpoint: {error}") from error


def _is_line(text: str) -> bool:
    return bool(text) and "\n" not in text and is_text(text)
