"""Reading from a socket until a point in time: a peer that sends one byte now and then gains nothing."""

from __future__ import annotations

import io
import math
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class DeadlineReader(io.RawIOBase):
    """A socket's incoming bytes. A socket's own timeout is per read; this one is for everything until it is moved.

    Attributes:
        deadline: on ``time.monotonic``'s scale; reads after it raise ``TimeoutError``.
    """

    def __init__(self, connection: socket.socket) -> None:
        """The socket stays its owner's; it is not closed before this is."""
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)
        self.deadline = math.inf

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what is there, waiting no longer than until the deadline.

        Raises:
            TimeoutError: it is over.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the peer takes too long")
        self._connection.settimeout(left if left < math.inf else None)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()
