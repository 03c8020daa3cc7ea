"""Asking web servers that nobody trusts: every answer is limited in bytes and in time, and nothing is followed.

The standard library's client does: a handful of requests, one connection that is kept, and no dependency for those
who only verify. Proxies and redirects are left out on purpose; who needs them copies the files and reads ``file:``.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

from secure_agg._version import __version__
from secure_agg.errors import ConfigError, LedgerError
from secure_agg.ledger.publish.deadline import DeadlineReader

SECONDS: Final = 30.0
"""For one answer, from connecting on; large ones get a second more for every ``BYTES_PER_SECOND``."""
BYTES_PER_SECOND: Final = 32 << 10

_CHUNK: Final = 64 << 10
_REASON: Final = 200  # characters of an error that are passed on
_AGENT: Final = f"secure-agg/{__version__}"


@dataclass(frozen=True)
class Reply:
    """An answer as it came; a client error is an answer too.

    Attributes:
        status: HTTP's.
        content_type: without parameters, lower case; empty where there was none.
        body: at most as long as was asked for, decompressed.
    """

    status: int
    content_type: str
    body: bytes


class _Response(http.client.HTTPResponse):
    """A response that is read through a ``DeadlineReader``."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.reader = DeadlineReader(sock)
        # For the headers; before the body is read it is set again, from when the request began.
        self.reader.deadline = time.monotonic() + (sock.gettimeout() or SECONDS)
        self.fp = io.BufferedReader(self.reader)


class WebClient:
    """A URL prefix, ``http:`` or ``https:``, on one connection. Not for several threads at once."""

    def __init__(self, prefix: str, *, seconds: float = SECONDS) -> None:
        """
        Args:
            prefix: paths are appended to it after a slash.
            seconds: for one answer, see ``SECONDS``.

        Raises:
            ConfigError: not such a URL, or with credentials, a query or a fragment.
        """
        parts = _split(prefix)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{prefix!r} is not an http: or https: URL with a host")
        self.prefix = prefix.rstrip("/")
        self._seconds = seconds
        self._path = parts.path.rstrip("/")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=seconds, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
        self._connection.response_class = _Response

    def __repr__(self) -> str:
        return f"WebClient({self.prefix!r})"

    def close(self) -> None:
        """Close the connection; harmless when closed."""
        self._connection.close()

    def get(self, path: str, limit: int) -> bytes | None:
        """A file's content; None where there is none.

        Args:
            path: below the prefix.
            limit: most bytes; nothing longer is held in memory.

        Raises:
            LedgerError: no answer in time, a refusal, a redirect, or too long an answer.
        """
        reply = self._exchange("GET", path, None, limit)
        if reply.status in (404, 410):
            return None
        if reply.status != 200:
            raise LedgerError(f"{self.prefix}/{path} answers {reply.status}, not 200")
        return reply.body

    def post(self, path: str, body: bytes, limit: int) -> Reply:
        """Send ``body`` as plain text; any status is an answer.

        Raises:
            LedgerError: no answer in time, or too long a one.
        """
        return self._exchange("POST", path, body, limit)

    def _exchange(self, method: str, path: str, body: bytes | None, limit: int) -> Reply:
        kept = self._connection.sock is not None
        try:
            try:
                return self._once(method, path, body, limit)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not kept:
                    raise
            # The server has closed a connection that was kept from earlier. Every request here may arrive twice.
            self._connection.close()
            return self._once(method, path, body, limit)
        except LedgerError:
            self._connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            self._connection.close()
            raise LedgerError(f"{self.prefix}/{path} gives no answer: {_reason(error)}") from error

    def _once(self, method: str, path: str, body: bytes | None, limit: int) -> Reply:
        start = time.monotonic()
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._seconds)
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "gzip, identity"}
        if body is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        self._connection.request(method, f"{self._path}/{path}", body=body, headers=headers)
        with cast(_Response, self._connection.getresponse()) as response:
            if method == "GET" and response.status != 200:
                content = b""
                self._connection.close()  # an error page, of whatever length, is not read
            else:
                content = self._read(response, start, limit, f"{self.prefix}/{path}")
            kind = response.getheader("Content-Type") or ""
            return Reply(response.status, kind.partition(";")[0].strip().lower(), content)

    def _read(self, response: _Response, start: float, limit: int, where: str) -> bytes:
        encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise LedgerError(f"{where} is encoded as {encoding[:_REASON]!r}, which was not asked for")
        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        content = bytearray()
        received = 0
        while True:
            response.reader.deadline = start + self._seconds + received / BYTES_PER_SECOND
            chunk = response.read1(_CHUNK)
            if not chunk:
                break
            received += len(chunk)
            # Decompression stops one byte above the limit, whatever the answer would grow to.
            content += unzip.decompress(chunk, limit + 1 - len(content)) if unzip else chunk
            if len(content) > limit or received > limit + _CHUNK:
                raise LedgerError(f"{where} has more than {limit} bytes")
        if response.length:
            raise LedgerError(f"{where} ends {response.length} bytes early")
        if unzip and (not unzip.eof or unzip.unused_data):
            raise LedgerError(f"{where} is not one complete gzip stream")
        return bytes(content)


class FileReader:
    """A directory as a ``file:`` URL, read as a web server would be."""

    def __init__(self, prefix: str) -> None:
        """
        Raises:
            ConfigError: not such a URL, or it names a host.
        """
        parts = _split(prefix)
        if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
            raise ConfigError(f"{prefix!r} is not of the form file:///path")
        self.prefix = prefix.rstrip("/")
        self._directory = Path(unquote(parts.path))

    def __repr__(self) -> str:
        return f"FileReader({self.prefix!r})"

    def close(self) -> None:
        """Nothing is open between reads."""

    def get(self, path: str, limit: int) -> bytes | None:
        """A file's content; None where there is none.

        Raises:
            LedgerError: it can't be read, or has more than ``limit`` bytes.
        """
        file = self._directory / path
        try:
            with file.open("rb") as opened:
                content = opened.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LedgerError(f"{file} can't be read: {error.strerror}") from error
        if len(content) > limit:
            raise LedgerError(f"{file} has more than {limit} bytes")
        return content


def open_prefix(prefix: str) -> WebClient | FileReader:
    """What reads below a URL prefix of scheme ``http``, ``https`` or ``file``.

    Raises:
        ConfigError: it is none.
    """
    return FileReader(prefix) if prefix.startswith("file:") else WebClient(prefix)


def _reason(error: Exception) -> str:
    """What an error says: some quote the server, so it is cut and without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(error)[:_REASON]) or type(error).__name__


def _split(prefix: str) -> SplitResult:
    try:
        parts = urlsplit(prefix)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{prefix!r} is not a URL: {error}") from error
    plain = prefix.isascii() and prefix.isprintable() and " " not in prefix
    if not plain or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{prefix!r} is not a plain URL: no credentials, query, fragment or spaces")
    return parts
