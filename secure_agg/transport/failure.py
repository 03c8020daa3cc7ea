"""A typed error on its way from one process to another: what it says, never where in the code it arose."""

from __future__ import annotations

from typing import Final

from secure_agg import errors
from secure_agg.errors import LedgerError, MalformedMessage, SecureAggError, StoreError
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.transport.credentials import CONNECT

MAX_FAILURE: Final = 4096
"""gRPC carries it in a trailer, and takes 8 KiB of those."""
_MAX_TEXT: Final = 1024
_MAX_WORD: Final = 256

_OWN: Final = (StoreError, LedgerError)
"""What is about an operator's own disks, with their paths. In words it is in that operator's log."""
_KINDS: Final = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SecureAggError)
}


class Failure(Wire, frozen=True):
    """Why a role refused a message.

    Attributes:
        kind: name of the class in ``secure_agg.errors``.
        message: in words; one line, without control characters.
        phase: of the protocol, empty where it is not known.
        culprit: id of whoever is at fault by this operator's own word, empty where it is not known.
    """

    kind: str
    message: str
    phase: str
    culprit: str

    @staticmethod
    def of(error: SecureAggError) -> Failure:
        """What is sent for an error: of a class that is not in ``secure_agg.errors`` its nearest base that is.

        Of what is about the operator's own disks its name is sent, and no words.
        """
        kind = next(base.__name__ for base in type(error).__mro__ if _KINDS.get(base.__name__) is base)
        message = str(error.args[0]) if error.args else ""
        if isinstance(error, _OWN):
            message = "the operator's own log says why"
        return Failure(kind, one_line(message), _word(error.phase), _word(error.culprit))

    def to_bytes(self) -> bytes:
        """At most 4096 bytes."""
        return encode(self)

    @staticmethod
    def read(data: bytes, operator: str) -> SecureAggError:
        """The error that an operator has answered with.

        It is that operator's word, and unsigned: a note on the error says whose. Whom it names is a claim that stands
        in the message; only the operator itself is taken at its word as the culprit.

        Raises:
            MalformedMessage: it is not one; names the operator.
        """
        failure = decode(Failure, data, MAX_FAILURE, phase=CONNECT, culprit=operator)
        words = (failure.kind, failure.message, failure.phase, failure.culprit)
        if failure.kind not in _KINDS or not all(word.isprintable() for word in words):
            raise MalformedMessage("an error of no known kind", phase=CONNECT, culprit=operator)
        own = failure.culprit == operator
        claim = f" (operator {operator!r} names {failure.culprit!r})" if failure.culprit and not own else ""
        culprit = operator if own else None
        error = _KINDS[failure.kind](failure.message + claim, phase=failure.phase or None, culprit=culprit)
        error.add_note(f"as answered by operator {operator!r}")
        return error


def one_line(text: str, limit: int = _MAX_TEXT) -> str:
    """Text with what is not printable replaced, cut to so many bytes of UTF-8."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown.encode()[:limit].decode("utf-8", "ignore")


def _word(text: str | None) -> str:
    return one_line(text or "", _MAX_WORD)
