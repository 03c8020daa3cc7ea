"""A ledger and its page on this machine, for this machine's browser: the standard library's server on 127.0.0.1.

It reads, from two or three folders, files whose names are those of a publication, and nothing else; it answers only
requests that name this very address, so that no other site can have a browser read it by a name of its own.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from secure_agg._version import __version__
from secure_agg.errors import ConfigError
from secure_agg.explorer.site import INDEX

HOST: Final = "127.0.0.1"
REQUEST_SECONDS: Final = 30.0
"""For a request to arrive, and an answer to be taken."""

_NAMES: Final = re.compile(
    r"/(index\.html|site\.json|checkpoint"
    r"|tile/(entries|[0-9]{1,2})(/x[0-9]{3})*/[0-9]{3}(\.p/[0-9]{1,3})?"
    r"|evidence/[0-9a-f]{2}/[0-9a-f]{64}\.evidence"
    r"|faults/[0-9a-f]{64}\.fault)"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SiteServer(ThreadingHTTPServer):
    """Serves folders as one site, from threads of its own."""

    daemon_threads = True

    def __init__(self, folders: Sequence[Path], port: int = 0) -> None:
        """Listen at once; requests are answered between entering and leaving it as a context.

        Args:
            folders: each file is taken from the first that has it.
            port: 0 for a free one.

        Raises:
            ConfigError: it can't listen there.
        """
        self.folders = tuple(folders)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"the explorer can't listen on {HOST}, port {port}: {error}") from error
        self._loop = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="explorer")

    @property
    def authority(self) -> str:
        """Address and port, as requests have to name them."""
        return f"{HOST}:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.authority}/"

    def __enter__(self) -> Self:
        self._loop.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.shutdown()
        self.server_close()
        self._loop.join()


class _Handler(BaseHTTPRequestHandler):
    server: SiteServer
    server_version = f"secure-agg/{__version__}"
    sys_version = ""
    protocol_version = "HTTP/1.0"
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without its content."""
        self._answer(with_body=False)

    def log_message(self, *_: Any) -> None:
        """Nothing: requests are the reader's own."""

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get_all("Host") != [self.server.authority]:
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        name = f"/{INDEX}" if self.path == "/" else self.path
        path = self._find(name[1:]) if _NAMES.fullmatch(name) else None
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            self.send_response(HTTPStatus.OK)
            html = path.name == INDEX
            self.send_header("Content-Type", "text/html; charset=utf-8" if html else "application/octet-stream")
            self.send_header("Content-Length", str(path.stat().st_size))
            self._end()
            if with_body:
                shutil.copyfileobj(file, self.wfile)

    def _find(self, name: str) -> Path | None:
        return next((path for folder in self.server.folders if (path := folder / name).is_file()), None)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self._end()

    def _end(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
