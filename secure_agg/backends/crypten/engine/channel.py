"""How a party's process and whoever gives it work talk: frames over a stream socket, one socket for each party.

A frame is ``length of header (4 bytes) ‖ length of bulk (8 bytes) ‖ header ‖ bulk``, integers little endian. Headers
are MessagePack, decoded strictly; bulks are words of 8 bytes, little endian. Both lengths are checked before memory is
taken.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from secure_agg.backends.crypten.engine.randomness import Words
from secure_agg.errors import MalformedMessage

MAX_HEADER: Final = 1 << 16
WORD_BYTES: Final = 8
_LENGTHS: Final = struct.Struct("<IQ")


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end. Sending is safe from several threads, receiving is for one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def limit_waits(self, seconds: float) -> None:
        """Let sends and receives that get nowhere for so long raise TimeoutError."""
        self._socket.settimeout(seconds)

    def send(self, header: bytes, bulk: Sequence[Words] = ()) -> None:
        """Send one frame; the arrays of the bulk follow each other.

        Raises:
            ChannelClosed: the other side is gone.
            TimeoutError: it takes nothing.
        """
        pieces = [np.ascontiguousarray(words, dtype="<u8").reshape(-1).view(np.uint8).data for words in bulk]
        lengths = _LENGTHS.pack(len(header), sum(map(len, pieces)))
        with self._sending:
            try:
                self._socket.sendall(lengths + header)
                for piece in pieces:
                    self._send_piece(piece)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(str(error)) from error

    def _send_piece(self, piece: memoryview) -> None:
        while piece:  # sendall would take the limit for the whole piece, not for standing still
            piece = piece[self._socket.send(piece) :]

    def receive(self, limit: int) -> tuple[bytes, Words]:
        """One frame, with at most ``limit`` words of bulk.

        Raises:
            ChannelClosed: the other side is gone.
            MalformedMessage: a part is too long, or the bulk no whole number of words.
            TimeoutError: the frame stops in the middle.
        """
        header_size, bulk_size = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if header_size > MAX_HEADER or bulk_size > limit * WORD_BYTES or bulk_size % WORD_BYTES:
            raise MalformedMessage(f"a frame announces {header_size} and {bulk_size} bytes: refused")
        header = self._read(header_size)
        words = np.empty(bulk_size // WORD_BYTES, dtype="<u8")
        self._read_into(words.view(np.uint8).data)
        return header, words.astype(np.uint64, copy=False)

    def _read(self, size: int) -> bytes:
        buffer = bytearray(size)
        self._read_into(memoryview(buffer))
        return bytes(buffer)

    def _read_into(self, view: memoryview) -> None:
        while view:
            try:
                count = self._socket.recv_into(view)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not count:
                raise ChannelClosed("the other side has closed")
            view = view[count:]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
