"""How a payload travels in NVFlare: as a call of auxiliary messages beside the framework's own task, or in a result.

A call and its answer go piece by piece, so that neither side nor NVFlare ever holds more than a payload and some pieces
of it, however many nodes are asked at once. A node that refuses answers with the name of its error and with nothing
else: what exactly was wrong with its update is nobody else's business, and is in its own log.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from secure_agg.errors import MalformedMessage, SecureAggError, stamping
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Refusal

TOPIC: Final = "secure_agg"
ALIVE: Final = "secure_agg.alive"
"""Topic of a message that says nothing and is answered at once."""
WHY: Final = "secure_agg.why"
"""Topic of a message that is answered with the name of the error by which the node has refused its last task."""
TRAIN: Final = "train"
"""The one task whose result may leave a node, sealed."""

PULL: Final = "pull"
_KIND: Final = "secure_agg.kind"
_CALL: Final = "secure_agg.call"
_PLACE: Final = "secure_agg.place"
_COUNT: Final = "secure_agg.count"
_PIECE: Final = "secure_agg.piece"
_REFUSAL: Final = "secure_agg.protocol.refusal"
_SEALED: Final = "secure_agg.sealed"
_MOST_PIECES: Final = parcels.MAX_PAYLOAD // parcels.PIECE


class Refused(Refusal):
    """A node has refused a payload, its own log says why; or has not answered."""


class Unreachable(Refused):
    """A node is gone."""


def call(
    send: Callable[[Shareable], Any],
    name: str,
    kind: str,
    payload: bytes,
    slot: AbstractContextManager[object],
    limit: int = parcels.SMALL,
) -> bytes:
    """Have a node answer a payload.

    Args:
        send: sends one message and returns what came back.
        name: of the node.
        kind: of the payload, see ``parcels``.
        payload: for it.
        slot: held while an answer of many pieces comes in.
        limit: most bytes of the answer, over all its pieces.

    Raises:
        Refused: it refuses, or can't be reached.
        MalformedMessage: it answers something else, or announces or sends more than ``limit``: the rest is not asked
            for.
    """
    number = uuid.uuid4().hex
    pieces = parcels.split(payload)
    for place, piece in enumerate(pieces):
        count, first = _read_reply(send(_message(kind, number, place, len(pieces), bytes(piece))), name)
    if count > max(1, -(-limit // parcels.PIECE)) or len(first) > limit:
        raise MalformedMessage(f"an answer in {count} pieces is above {limit} bytes", phase=kind, culprit=name)
    if count == 1:
        return first
    with slot:
        answer = [first]
        for at in range(1, count):
            again, more = _read_reply(send(_message(PULL, number, at, count, b"")), name)
            answer.append(more)
            if again != count or sum(map(len, answer)) > limit:
                raise MalformedMessage(f"the pieces of an answer exceed {limit} bytes", phase=kind, culprit=name)
        return parcels.join(answer, limit)


class Mailbox:
    """A node's end of calls: one at a time, a new one puts an end to that before it."""

    def __init__(self, handle: Callable[[str, bytes], bytes]) -> None:
        """``handle`` answers a payload of a kind; it may raise."""
        self._handle = handle
        self._lock = threading.Lock()
        self._call = ""
        self._incoming: list[bytes] = []
        self._answer: list[memoryview] = []

    def receive(self, message: Shareable) -> Shareable:
        """The reply to one message of a call.

        Raises:
            MalformedMessage: it is no such message, or out of order.
            Exception: whatever ``handle`` raises.
        """
        kind, number, place, count, piece = _read(message)
        with self._lock:
            if kind == PULL:
                if number != self._call or not 0 < place < len(self._answer):
                    raise MalformedMessage(f"piece {place} of an answer that isn't there is asked for")
                return self._reply(place)
            if place == 0:
                self._call, self._incoming, self._answer = number, [], []
            if number != self._call or place != len(self._incoming):
                raise MalformedMessage(f"piece {place} of a payload came, awaited was {len(self._incoming)}")
            self._incoming.append(piece)
            if place + 1 < count:
                return _message(kind, number, 0, 1, b"")
            payload, self._incoming = parcels.join(self._incoming), []
        answer = parcels.split(self._handle(kind, payload))
        with self._lock:
            if number != self._call:
                raise MalformedMessage("another call has begun before this one was answered")
            self._answer = answer
            return self._reply(0)

    def _reply(self, place: int) -> Shareable:
        return _message(PULL, self._call, place, len(self._answer), bytes(self._answer[place]))


def refuse(error: Exception) -> Shareable:
    """A node's reply where it has no answer."""
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply[_REFUSAL] = type(error).__name__ if isinstance(error, SecureAggError) else "an error outside the protocol"
    return reply


def seal(payload: bytes) -> dict[str, npt.NDArray[np.uint8]]:
    """A task's result that carries ``payload`` where parameters would be."""
    return {_SEALED: np.frombuffer(payload, dtype=np.uint8)}


def unseal(params: Any, name: str, limit: int = parcels.SMALL) -> bytes:
    """The payload in a task's result, of at most ``limit`` bytes.

    Raises:
        MalformedMessage: it is longer, or the result is anything else: the node has sent its model in clear, and it is
            not looked at.
    """
    sealed = params.get(_SEALED) if isinstance(params, dict) and len(params) == 1 else None
    if not isinstance(sealed, np.ndarray) or sealed.dtype != np.uint8 or sealed.ndim != 1:
        raise MalformedMessage(f"the training result of {name!r} is not sealed: its filter is missing", culprit=name)
    if sealed.size > limit:
        raise MalformedMessage(f"the result of {name!r} has {sealed.size} bytes, above {limit}", culprit=name)
    return sealed.tobytes()


def _message(kind: str, number: str, place: int, count: int, piece: bytes) -> Shareable:
    message = Shareable()
    message.update({_KIND: kind, _CALL: number, _PLACE: place, _COUNT: count, _PIECE: piece})
    return message


def _read(message: Shareable) -> tuple[str, str, int, int, bytes]:
    fields = tuple(message.get(key) for key in (_KIND, _CALL, _PLACE, _COUNT, _PIECE))
    match fields:
        case (str() as kind, str() as number, int() as place, int() as count, bytes() as piece):
            if 0 <= place < count <= _MOST_PIECES and len(piece) <= parcels.PIECE:
                return kind, number, place, count, piece
    raise MalformedMessage(f"no message of a call, or with a piece above {parcels.PIECE} bytes")


def check_reply(reply: Any, name: str) -> Shareable:
    """A node's reply, if it is one.

    Raises:
        Refused: it is not.
    """
    if not isinstance(reply, Shareable):
        raise Refused(f"no answer from {name!r}", culprit=name)
    code = reply.get_return_code()
    if code == ReturnCode.COMMUNICATION_ERROR:
        raise Unreachable(f"{name!r} can't be reached", culprit=name)
    if code != ReturnCode.OK:
        why = reply.get(_REFUSAL)
        why = why if isinstance(why, str) else None
        raise Refused(f"{name!r} answers {why or code}", why, culprit=name)
    return reply


def _read_reply(reply: Any, name: str) -> tuple[int, bytes]:
    """Number of pieces of the answer, and one of them."""
    with stamping(MalformedMessage, culprit=name):
        *_, count, piece = _read(check_reply(reply, name))
    return count, piece
