"""A witness on HTTP (C2SP tlog-witness), limited in bytes, time and connections.

The standard library's threading server does: a witness answers a few short requests per log and round, each is one
transaction on one file, and there is nothing to wait for side by side. What that server lacks is added here: a
deadline for a whole request, a limit on bodies before they are read, and one on connections, where who comes next
takes the place of whoever has said nothing for longest. It speaks no TLS: towards the Internet it stands behind a
reverse proxy.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import socketserver
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final

from secure_agg._version import __version__
from secure_agg.admission import Admission
from secure_agg.errors import ConfigError, LedgerError
from secure_agg.ledger.publish.deadline import DeadlineReader
from secure_agg.ledger.witness.witness import MAX_REQUEST, Answer, Witness

REQUEST_SECONDS: Final = 10.0
"""For a whole request to arrive, and how long a connection may stay idle."""
MAX_CONNECTIONS: Final = 64
"""At a time; for a further one an idle one is closed, see ``Admission``."""
_THREADS: Final = 2 * MAX_CONNECTIONS
"""Connections that wait, that are being answered, and that are closed but have not noticed yet."""
_BACKLOG: Final = 128

_ADD: Final = "/add-checkpoint"
_BY_LOG: Final = re.compile(r"/([0-9a-f]{64})/(checkpoint|fork)")
_DECIMAL: Final = re.compile(r"[0-9]{1,10}")


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness from threads of its own; both of its URL prefixes are ``url``."""

    daemon_threads = False  # closing waits for requests that are being answered
    request_queue_size = _BACKLOG

    def __init__(self, witness: Witness, host: str, port: int, *, seconds: float = REQUEST_SECONDS) -> None:
        """Listen at once; requests are answered by ``start``.

        Args:
            witness: that answers.
            host: address, of IPv4 or IPv6.
            port: 0 for a free one.
            seconds: see ``REQUEST_SECONDS``.

        Raises:
            ConfigError: it can't listen there.
        """
        self.witness = witness
        self.seconds = seconds
        self._places: Admission[socket.socket] = Admission(MAX_CONNECTIONS)
        self._connections: set[socket.socket] = set()  # those whose threads have not ended
        self._lock = threading.Condition()
        self._loop = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="witness")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"the witness can't listen on {host}, port {port}: {error}") from error

    @property
    def url(self) -> str:
        """The submission and monitoring prefix."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> WitnessServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answer requests until ``stop``."""
        self._loop.start()

    def stop(self) -> None:
        """Take no more requests, finish those that have arrived, and close."""
        self.shutdown()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        self.server_close()
        self._loop.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection on a thread of its own; where all places are taken, an idle one makes room."""
        with self._lock:
            self._admit(request, client_address)
            if not self._lock.wait_for(lambda: len(self._connections) < _THREADS, self.seconds):
                self._places.leave(request)  # so many are being answered
                self.shutdown_request(request)
                return
            self._connections.add(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._release(request)
            raise

    def idle(self, request: Any, client_address: Any) -> None:
        """A connection waits for its next request."""
        with self._lock:
            self._places.leave(request)
            self._admit(request, client_address)

    def busy(self, request: Any) -> None:
        """A connection's request is there: it is not closed for another until it is answered."""
        with self._lock:
            self._places.leave(request)

    def _admit(self, request: Any, client_address: Any) -> None:
        closed = self._places.admit(request, str(client_address[0]))
        if closed is not None:
            with contextlib.suppress(OSError):
                closed.shutdown(socket.SHUT_RDWR)  # its thread, which waits for it, ends

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's work."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line: a connection that breaks is no event."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"witness: {client_address[0]}: {type(error).__name__}: {error}\n")

    def _release(self, request: Any) -> None:
        with self._lock:
            self._places.leave(request)
            self._connections.discard(request)
            self._lock.notify()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"secure-agg/{__version__}"
    sys_version = ""
    wbufsize = -1  # head and body of an answer leave together
    server: WitnessServer

    def setup(self) -> None:
        socketserver.StreamRequestHandler.setup(self)
        self.rfile.close()
        self._reader = DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self.server.idle(self.connection, self.client_address)
        self._reader.deadline = time.monotonic() + self.server.seconds
        super().handle_one_request()

    def do_POST(self) -> None:
        if self.path != _ADD:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing to post to but add-checkpoint")
            return
        length, *others = self.headers.get_all("Content-Length", [""])
        # Headers behind a malformed line are not read: one of them could give the body another end.
        if others or self.headers.defects or not _DECIMAL.fullmatch(length) or "Transfer-Encoding" in self.headers:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a request states the length of its body")
        elif int(length) > MAX_REQUEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_REQUEST} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True  # nobody is left to answer to
            else:
                self._answer(lambda: self.server.witness.add_checkpoint(body))

    def do_GET(self) -> None:
        if self.headers.defects or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read, and must not be taken for the next request
        match = _BY_LOG.fullmatch(self.path)
        if match is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing to get here but a log's checkpoint or fork")
            return
        witness = self.server.witness
        self._answer(lambda: (witness.checkpoint if match[2] == "checkpoint" else witness.fork)(match[1]))

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        # Requests come from strangers: what they send is shown without control characters.
        line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in format % args)
        sys.stderr.write(f"witness: {self.address_string()}: {line}\n")

    def _answer(self, ask: Any) -> None:
        self.server.busy(self.connection)
        try:
            answer: Answer = ask()
        except LedgerError as error:
            self.log_message("%s", str(error))
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the witness's state can't be used: nothing was cosigned")
            return
        self._send(answer)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer without having read the body, hence for the last time on this connection."""
        self.close_connection = True
        self._send(Answer(status, f"{reason}\n".encode()))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(self.server.seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
