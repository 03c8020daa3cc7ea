"""Somebody who asks a service who it is, over and over, so that nobody else can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace
from typing import Any

import httpx

from secure_agg.errors import TooManyRequests
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.gate import OF_STRANGERS, Gate, Strangers
from secure_agg.service.interface.app import Connection, Interface
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Post
from secure_agg.transport.entrance import Entrance

ADDRESSES = {"flood": "192.0.2.1", "clinic": "198.51.100.7"}


def test_greetings_without_end_from_one_address_keep_no_other_out() -> None:
    """A single connection had all greetings of a service to itself, 200 a second."""

    async def greeted(*names: str) -> list[int]:
        strangers = Strangers(lambda: 0.0)
        gate = Gate(Identity.generate("s"), "t", lambda: (Roster({}),), strangers)
        served: Any = SimpleNamespace(gate=gate, post=Post(asyncio.get_running_loop()))
        app = Interface({wire.place("t"): served}, b"c", Monitor(), lambda *_: None, ADDRESSES.__getitem__).app()

        async def named(scope: Any, receive: Any, send: Any) -> None:
            name = dict(scope["headers"])[b"x-connection"].decode()
            await app({**scope, "state": {"connection": Connection(name)}}, receive, send)

        with contextlib.suppress(TooManyRequests):
            for _ in range(OF_STRANGERS[1]):
                strangers.take(ADDRESSES["flood"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(named), base_url="http://s") as client:
            path = f"/v1/{wire.place('t')}/hello"
            asked = [client.post(path, content=bytes(32), headers={"x-connection": name}) for name in names]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(greeted("flood", "clinic")) == [429, 200]


def test_the_door_knows_where_a_connection_comes_from() -> None:
    async def found() -> tuple[str, str]:
        entrance = Entrance(1)
        try:
            path = entrance.inner.removeprefix("unix:")
            inside = await asyncio.start_unix_server(lambda *_: None, path)
            port = await entrance.open("127.0.0.1", 0)
            with socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.9", 0)) as connection:
                connection.sendall(b"x")
                while not entrance._open:
                    await asyncio.sleep(0)
                known = entrance.whence(f"{path[:-4]}1"), entrance.whence("99")
            inside.close()
            return known
        finally:
            await entrance.close()

    assert asyncio.run(found()) == ("127.0.0.9", "")
