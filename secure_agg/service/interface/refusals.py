"""Refusals of a service: an error as a status and a document, and what a client makes of that.

A refusal is a service's word, and unsigned: it says what the service has not done, and nothing about anybody else.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from secure_agg import errors
from secure_agg.errors import (
    BadSignature,
    ConfigError,
    LedgerError,
    MalformedMessage,
    RequestRefused,
    RequestRepeated,
    SecureAggError,
    StoreError,
    TooManyRequests,
    UnknownSender,
    WrongContext,
)
from secure_agg.service import wire
from secure_agg.transport.failure import one_line

if TYPE_CHECKING:
    from starlette.responses import Response

MAX_REFUSAL: Final = 1 << 12
"""Most bytes of a refusal's document."""
_MAX_WORDS: Final = 1000
"""Most bytes of what it says: in JSON each may become three."""


class TooLong(MalformedMessage):
    """A body that is longer than what is asked for."""


class TooSlow(MalformedMessage):
    """A body that does not come."""


_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (TooManyRequests, 429),
    (RequestRepeated, 409),
    (WrongContext, 410),
    (UnknownSender, 403),
    (BadSignature, 401),
    (TooLong, 413),
    (TooSlow, 408),
    (MalformedMessage, 400),
    (StoreError, 503),
    (LedgerError, 503),
    (ConfigError, 503),
    (SecureAggError, 400),
)
_OWN: Final = (StoreError, LedgerError, ConfigError)
"""What is about the service's own disks and files, with their paths. In words it is in its own log."""


def refusal(error: SecureAggError) -> Response:
    """The answer, after which the connection is closed: what else is on its way is not read."""
    from starlette.responses import Response

    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    headers = {"connection": "close"}
    if isinstance(error, TooManyRequests):
        headers["retry-after"] = str(max(1, math.ceil(error.seconds)))
    if isinstance(error, RequestRepeated):
        headers[wire.AGAIN] = str(error.last)
    words = "the service's own log says why" if isinstance(error, _OWN) else str(error.args[0])
    document = {"error": kind_of(error), "message": one_line(words, _MAX_WORDS)}
    return Response(json.dumps(document), status_code=status, headers=headers, media_type="application/json")


def kind_of(error: SecureAggError) -> str:
    """Name of the nearest class that callers know."""
    kinds = (kind.__name__ for kind in type(error).__mro__ if vars(errors).get(kind.__name__) is kind)
    return next(kinds, SecureAggError.__name__)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    error: str
    message: str


def read_refusal(status: int, body: bytes, what: str) -> RequestRefused:
    """What a client raises for a refusal that no other request mends.

    Args:
        status: of the answer.
        body: the document; whoever stands before a service may send another, which is left out.
        what: was asked for.

    Returns:
        The error. It names nobody: whether the service is wrong, or this side, is not known.
    """
    name, said = "", f"status {status}"
    try:
        document: Any = msgspec.json.decode(body, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if document is not None and wire.is_reason(document.error):
        name, said = document.error, f"{document.error}: {one_line(document.message, _MAX_WORDS)} (status {status})"
    return RequestRefused(f"the service refuses {what!r}: {said}", name, status, phase=wire.REQUEST)
