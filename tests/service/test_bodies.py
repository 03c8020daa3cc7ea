"""Bodies of requests: their length, their speed, and that they are what was signed."""

from __future__ import annotations

import asyncio
import hashlib
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.service.world import a_world

from secure_agg.errors import MalformedMessage
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.service import server
from secure_agg.service.certificate import own_certificate
from secure_agg.service.interface import bodies
from secure_agg.service.post import IN_MEMORY


class Coming:
    """A request whose body comes in pieces; the last one never where it is None."""

    def __init__(self, *pieces: bytes | None, length: str | None = None, **headers: str) -> None:
        size = str(sum(len(piece or b"") for piece in pieces)) if length is None else length
        self.headers = {"content-length": size} | headers
        self._pieces = pieces

    async def stream(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if piece is None:
                await asyncio.Event().wait()
            yield piece or b""


def taken(request: Any, most: int, digest: bytes | None = None) -> bytes:
    async def read() -> bytes:
        with await bodies.body_of(request, most, digest) as file:
            return file.read()

    return asyncio.run(read())


def test_a_body_is_taken_in_as_it_came_whatever_its_length() -> None:
    assert taken(Coming(b""), 0) == b""
    long = [b"a" * IN_MEMORY, b"b" * 17]
    digest = hashlib.sha256(b"".join(long)).digest()
    assert taken(Coming(*long), IN_MEMORY + 17, digest) == b"".join(long)


@pytest.mark.parametrize(
    ("request_", "most", "why"),
    [
        (Coming(b"abc"), 2, "above 2"),
        (Coming(b"", length="99999999999999"), 1000, "above 1000"),
        (Coming(b"abc", length="2"), 9, "not the one that was signed"),
        (Coming(b"abc", length="4"), 9, "not the one that was signed"),
        (Coming(b"abc", length="-1"), 9, "how long"),
        (Coming(b"abc", length="٣"), 9, "how long"),
        (Coming(b"abc", length="9" * 16), 9, "how long"),
        (Coming(b"abc", **{"transfer-encoding": "chunked"}), 9, "how long"),
    ],
)
def test_a_body_that_is_unfit_is_refused(request_: Any, most: int, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        taken(request_, most)


def test_another_body_than_was_signed_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="not the one that was signed"):
        taken(Coming(b"abc"), 9, hashlib.sha256(b"abd").digest())


def test_a_body_is_waited_for_no_longer_than_it_is_wanted() -> None:
    with pytest.raises(MalformedMessage, match="does not come"):
        asyncio.run(bodies.body_of(Coming(b"abc", None, length="4"), 9, None, 0.01))  # type: ignore[arg-type]


def test_a_connection_keeps_a_small_buffer(tmp_path: Path) -> None:
    """Of 320 kB that each of 2,000 members took 256 were asyncio's, for reading; a record of TLS has 16."""
    with a_world(max_weight=8) as world, ServerHome.open(world.server) as home:
        server.inner_server(None, str(tmp_path / "socket"), own_certificate(home))
    assert SSLProtocol.max_size <= server.TLS_BUFFER


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_S", 0.05)
    with pytest.raises(MalformedMessage, match="does not come"):
        taken(Coming(b"abc", None, length="4"), 9)
