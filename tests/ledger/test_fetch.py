"""Answers of web servers that nobody trusts: limited in length and time, and nothing is followed."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from secure_agg.errors import ConfigError, LedgerError
from secure_agg.ledger.publish.fetch import WebClient, open_prefix


@contextmanager
def serving(reply: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """A server that answers as ``reply`` says, by path."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = reply(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/some/prefix/"
        finally:
            server.shutdown()
            thread.join()


def fetched(reply: Callable[[str], tuple[int, dict[str, str], bytes]], limit: int = 1000) -> bytes | None:
    with serving(reply) as url, closing(WebClient(url, seconds=120)) as client:
        return client.get("a/file", limit)


def test_a_file_is_asked_for_below_the_prefix_and_again_on_one_connection() -> None:
    paths: list[str] = []

    def reply(path: str) -> tuple[int, dict[str, str], bytes]:
        paths.append(path)
        return 200, {}, path.encode()

    with serving(reply) as url, closing(WebClient(url)) as client:
        assert [client.get(name, 100) for name in ("a", "b/c")] == [b"/some/prefix/a", b"/some/prefix/b/c"]
    assert paths == ["/some/prefix/a", "/some/prefix/b/c"]


def test_answers_are_limited_in_length_compressed_or_not() -> None:
    assert fetched(lambda _: (200, {}, b"x" * 1000)) == b"x" * 1000
    assert fetched(lambda _: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 1000))) == b"x" * 1000
    for headers, body in (
        ({}, b"x" * 1001),
        ({}, b"x" * 1_000_000),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 1001)),
        ({"Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000))),
    ):
        with pytest.raises(LedgerError, match="more than 1000 bytes"):
            fetched(lambda _, headers=headers, body=body: (200, headers, body))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (302, {"Location": "http://127.0.0.1:1/"}, b"", "answers 302"),
        (403, {}, b"no", "answers 403"),
        (206, {}, b"part", "answers 206"),
        (200, {"Content-Encoding": "br"}, b"x", "encoded as 'br'"),
        (200, {"Content-Encoding": "gzip"}, b"not gzip", "gives no answer"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"cut off", mtime=0)[:-5], "not one complete gzip"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"one", mtime=0) + b"two", "not one complete gzip"),
    ],
)
def test_an_odd_answer_is_an_error(status: int, headers: dict[str, str], body: bytes, message: str) -> None:
    def reply(_: str) -> tuple[int, dict[str, str], bytes]:
        return status, headers, body

    with pytest.raises(LedgerError, match=message):
        fetched(reply)


def test_an_answer_that_ends_early_is_an_error() -> None:
    with (
        short_server(b"four", 5) as url,
        closing(WebClient(url, seconds=120)) as client,
        pytest.raises(LedgerError, match="ends 1 bytes early"),
    ):
        client.get("file", 100)


@contextmanager
def short_server(body: bytes, claimed: int) -> Iterator[str]:
    """One answer that ends before the length that it states."""
    with odd_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % claimed + body) as url:
        yield url


@contextmanager
def odd_server(sent: bytes) -> Iterator[str]:
    """One answer, whatever it is."""

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("head", [b"\x1b]0;title\x07 \x9b31m", b"HTTP/1.1 abc \x1b[2J", b"\x1b" * 60_000])
def test_an_error_quotes_no_control_character_and_little_of_a_stranger(head: bytes) -> None:
    with (
        odd_server(head + b"\r\n\r\n") as url,
        closing(WebClient(url, seconds=120)) as client,
        pytest.raises(LedgerError) as caught,
    ):
        client.get("file", 0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_what_is_not_there_is_none() -> None:
    for status in (404, 410):
        assert fetched(lambda _, status=status: (status, {}, b"an error page")) is None  # type: ignore[misc]


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    """The server closes after each answer without saying so."""

    def answer(listener: socket.socket) -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with closing(WebClient(f"http://127.0.0.1:{listener.getsockname()[1]}")) as client:
            assert [client.get("x", 9) for _ in range(3)] == [b"ok"] * 3
        thread.join()


@pytest.mark.parametrize(
    "prefix",
    [
        "example.org", "ftp://example.org", "http://", "https://user:word@example.org", "http://example.org/?a=b",
        "http://example.org/#a", "http://example.org:99999", "http://ex ample.org", "http://exämple.org", "http://[::1",
        "file://host/path", "file:relative", "http://example.org\n",
    ],
)  # fmt: skip
def test_only_plain_urls_are_read(prefix: str) -> None:
    with pytest.raises(ConfigError):
        open_prefix(prefix)


def test_a_directory_is_read_like_a_server(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "file").write_bytes(b"x" * 10)
    reader = open_prefix((tmp_path / "a b").as_uri())
    assert reader.get("file", 10) == b"x" * 10
    assert reader.get("other", 10) is None
    assert reader.get("file/below", 10) is None
    with pytest.raises(LedgerError, match="more than 9"):
        reader.get("file", 9)
    with pytest.raises(LedgerError, match="can't be read"):
        open_prefix(tmp_path.as_uri()).get("a b", 9)
