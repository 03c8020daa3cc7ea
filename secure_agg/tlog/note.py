"""Signed notes (C2SP signed-note v1.0.0): a text, and lines of signatures by named keys.

A note's text says nothing until one of the reader's own keys has verified it: ``Note.verify``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from secure_agg import formats
from secure_agg.arguments import checked_class
from secure_agg.errors import BadSignature, ConfigError, VerificationError
from secure_agg.protocol.identity import check_public_key, verify_signature

MAX_NOTE: Final = 1 << 18
"""Most bytes of a note: sixteen signatures of 5 kB, which every reader must accept, fill less than half."""
MAX_SIGNATURES: Final = 100
"""Most signature lines of a note; Go's reader has the same limit."""
KEY_ID_BYTES: Final = 4

_DASH: Final = "\N{EM DASH} "
_MAX_VKEY: Final = 1024  # characters


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Undo ``encode_base64``; every other spelling of the same bytes is refused.

    Raises:
        ValueError: other characters, missing padding, or bits set that no byte holds.
    """
    data = base64.b64decode(text.encode("ascii"), validate=True)
    if encode_base64(data) != text:
        raise ValueError("base64 is not canonical")
    return data


def is_text(text: str) -> bool:
    """Whether a note can hold ``text``: no control character but newline, and no lone surrogate."""
    return not any((c < " " and c != "\n") or "\ud800" <= c <= "\udfff" for c in text)


def check_key_name(name: str) -> str:
    """Return ``name`` if it can name a key: not empty, no Unicode space, no ``+``, no control character.

    Raises:
        ConfigError: it can't.
    """
    if not name or "+" in name or any(c.isspace() for c in name) or not is_text(name):
        raise ConfigError(f"key name {name!r} is empty, or holds a space, a '+' or a control character")
    return name


@dataclass(frozen=True)
class SignatureLine:
    """One signature of a note, by whom its line says. Nothing is verified.

    Attributes:
        name: of the key.
        key_id: 4 bytes.
        signature: at least one byte; what it holds is the key's type's to say.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise ConfigError(f"a signature line has a key id of {KEY_ID_BYTES} bytes, and a signature")

    def __str__(self) -> str:
        """The line, without its newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}"

    @staticmethod
    def parse(line: str) -> SignatureLine:
        """Parse a line without its newline.

        Raises:
            VerificationError: it is no signature line.
        """
        name, separator, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            if not line.startswith(_DASH) or not separator:
                raise ValueError("it is not a dash, a key name and base64")
            data = decode_base64(encoded)
            return SignatureLine(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
        except ValueError as error:  # a ConfigError is one
            raise VerificationError(f"a note has a malformed signature line: {error}") from error


@checked_class
@dataclass(frozen=True)
class VerifierKey:
    """The public half of an Ed25519 key that signs note texts (signature type 0x01).

    Attributes:
        name: of the key; for a log's key, the log's origin.
        public: 32 bytes.
    """

    ALGORITHM: ClassVar[int] = 0x01

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        check_public_key(self.public)

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ key). It tells keys apart; it does not bind them."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed()).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """The verifier key as text: ``name+id in hex+base64(type ‖ key)``."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed())}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a verifier key of this type.

        Raises:
            ConfigError: malformed, of another signature type, an id that is not the key's, or an unfit key.
        """
        if len(text) > _MAX_VKEY:
            raise ConfigError(f"a verifier key has at most {_MAX_VKEY} characters, not {len(text)}")
        name, _, rest = text.partition("+")
        key_id, separator, encoded = rest.partition("+")
        try:
            data = decode_base64(encoded)
        except ValueError:
            data = b""
        if not separator or not data:
            ends = ": a line end, or CRLF, is at its end" if text.endswith(("\r", "\n")) else ""
            raise ConfigError(f"verifier key {text!r} is not of the form name+hex+base64{ends}")
        if data[0] != cls.ALGORITHM:
            raise ConfigError(f"verifier key {text!r} has signature type {data[0]:#04x}, not {cls.ALGORITHM:#04x}")
        key = cls(name, data[1:])
        if key_id != key.key_id.hex():
            raise ConfigError(f"verifier key {text!r} has the id {key_id!r}, its name and key have {key.key_id.hex()}")
        return key

    def verify(self, text: str, signature: bytes) -> None:
        """Check that ``signature`` is this key's on the note text.

        Raises:
            VerificationError: it is not.
        """
        self._verify_message(signature, text.encode())

    def line(self, signature: bytes) -> SignatureLine:
        """The line of a signature by this key."""
        return SignatureLine(self.name, self.key_id, signature)

    def made(self, line: SignatureLine) -> bool:
        """Whether a line claims to be by this key; the claim is checked by ``verify``."""
        return (line.name, line.key_id) == (self.name, self.key_id)

    def _typed(self) -> bytes:
        return bytes([self.ALGORITHM]) + self.public

    def _verify_message(self, signature: bytes, message: bytes) -> None:
        try:
            verify_signature(self.public, signature, message, phase="ledger", culprit=self.name)
        except BadSignature as error:
            raise VerificationError(f"a signature line of key {self.name!r} does not verify") from error


@checked_class
@dataclass(frozen=True)
class Note:
    """A text with signature lines, well-formed and unverified.

    Attributes:
        text: what is signed; ends with a newline.
        signatures: at least one.
    """

    text: str
    signatures: tuple[SignatureLine, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or not is_text(self.text):
            raise ConfigError("a note's text ends with a newline, is UTF-8, and holds no other control character")
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise ConfigError(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(self.signatures)}")

    def __repr__(self) -> str:
        names = ", ".join(line.name for line in self.signatures[:4])
        more = f", and {len(self.signatures) - 4} more" if len(self.signatures) > 4 else ""
        return f"Note({self.text[:80]!r}, signed by {names}{more})"

    def to_bytes(self) -> bytes:
        """The one encoding."""
        lines = "".join(f"{line}\n" for line in self.signatures)
        return f"{self.text}\n{lines}".encode()

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Note:
        """Parse strictly: ``to_bytes`` of the result is ``data``.

        Raises:
            VerificationError: longer than ``MAX_NOTE``, not UTF-8, a control character, no blank line before
                the signatures, a malformed signature line, or too many of them.
        """
        if len(data) > MAX_NOTE:
            raise VerificationError(f"a note has at most {MAX_NOTE} bytes, not {len(data)}")
        if formats.has_changed_line_ends(data, formats.NOTE):
            raise VerificationError(f"malformed note: its {formats.CHANGED_LINE_ENDS}")
        other = formats.instead(data, formats.NOTE)
        try:
            content = bytes(data).decode("utf-8")
        except UnicodeDecodeError as error:
            raise VerificationError(f"a note is UTF-8, this is not{other}") from error
        text, separator, lines = content.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise VerificationError(
                f"a note is a text, an empty line and signature lines that end with a newline{other}"
            )
        *signatures, _ = lines.split("\n", MAX_SIGNATURES + 1)
        try:
            return Note(text + "\n", tuple(map(SignatureLine.parse, signatures)))
        except ConfigError as error:
            raise VerificationError(f"malformed note: {error}") from error

    def verify(self, keys: Iterable[VerifierKey]) -> tuple[tuple[VerifierKey, SignatureLine], ...]:
        """Check every signature that claims to be by one of ``keys``; the lines of other keys are ignored.

        Args:
            keys: those that the reader knows and trusts.

        Returns:
            The verified lines with their keys, in the note's order. One key may have several.

        Raises:
            VerificationError: a known key's line does not verify, or no line is of a known key.
            ConfigError: two different keys of one name and id are given.
        """
        known: dict[tuple[str, bytes], VerifierKey] = {}
        for key in keys:
            if known.setdefault((key.name, key.key_id), key) != key:
                raise ConfigError(f"two keys have the name {key.name!r} and the id {key.key_id.hex()}")
        verified: list[tuple[VerifierKey, SignatureLine]] = []
        for line in self.signatures:
            signer = known.get((line.name, line.key_id))
            if signer is not None:
                signer.verify(self.text, line.signature)
                verified.append((signer, line))
        if not verified:
            raise VerificationError("no signature of the note is by a known key")
        return tuple(verified)
