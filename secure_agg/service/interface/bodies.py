"""Bodies of requests, which have to come at some speed, and of answers, which go out in pieces.

A length is known before a byte is read. What is long lies on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from secure_agg.errors import MalformedMessage
from secure_agg.service import wire
from secure_agg.service.interface.refusals import TooLong, TooSlow
from secure_agg.service.post import IN_MEMORY, Files, Item, spooled

if TYPE_CHECKING:
    from starlette.requests import Request

STALL_S: Final = 30.0
"""Seconds that a body may take beside what its length takes at ``LEAST_RATE``, and a client to read a piece."""
LEAST_RATE: Final = 1 << 14
"""Bytes a second, at least."""
PIECE: Final = 1 << 18
"""Bytes of an answer that go out at once."""


def length_of(request: Request, most: int | None = None) -> int:
    """What a request says of its body's length.

    Args:
        most: bytes; None where that is not known yet.

    Raises:
        MalformedMessage: nothing, or no number; or it is longer.
    """
    text = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise MalformedMessage("a request has to say how long its body is", phase=wire.REQUEST)
    length = int(text)
    if most is not None and length > most:
        raise TooLong(f"a body of {length} bytes, above {most}", phase=wire.REQUEST)
    return length


async def small_body(request: Request, most: int) -> bytes:
    """A body of at most so many bytes, which nobody has signed.

    Raises:
        MalformedMessage: see ``body_of``.
    """
    with await body_of(request, most, None) as file:
        return file.read()


async def body_of(request: Request, most: int, digest: bytes | None, within_s: float = math.inf) -> Files:
    """Take in a body: at its beginning, on disk where it is long.

    Args:
        most: bytes.
        digest: that it has to have; None for any.
        within_s: seconds after which nobody wants it any more.

    Raises:
        MalformedMessage: it is longer, another, or does not come in time.
    """
    length = length_of(request, most)
    file, hashed = spooled(), hashlib.sha256()
    try:
        async with asyncio.timeout(min(within_s, STALL_S + length / LEAST_RATE)):
            async for piece in request.stream():
                hashed.update(piece)
                if length > IN_MEMORY:
                    await asyncio.to_thread(file.write, piece)
                else:
                    file.write(piece)
        if file.tell() != length or (digest is not None and hashed.digest() != digest):
            raise MalformedMessage("a body is not the one that was signed", phase=wire.REQUEST)
        file.seek(0)
    except TimeoutError:
        file.close()
        raise TooSlow(f"a body of {length} bytes does not come", phase=wire.REQUEST) from None
    except BaseException:
        file.close()
        raise
    return file


def made(item: Item) -> tuple[Files, int]:
    """A payload in a file, at its beginning, and its length."""
    data, file = item.payload(), spooled()
    file.write(data)
    file.seek(0)
    return file, len(data)


async def pieces(file: Files) -> AsyncIterator[bytes]:
    """What a file holds, which is closed then."""
    try:
        while piece := file.read(PIECE):
            yield piece
    finally:
        file.close()
