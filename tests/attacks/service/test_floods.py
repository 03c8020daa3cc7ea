"""Somebody who asks a service who it is, over and over, so that nobody else can."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from secure_agg.errors import TooManyRequests
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.gate import OF_STRANGERS, Gate, Strangers
from secure_agg.service.interface import app
from secure_agg.service.interface.app import Connection, Interface
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import OF_FETCHING, Post
from secure_agg.transport.entrance import Entrance

ADDRESSES = {"flood": "192.0.2.1", "clinic": "198.51.100.7"}


def test_greetings_without_end_from_one_address_keep_no_other_out() -> None:
    """A single connection had all greetings of a service to itself, 200 a second."""

    async def greeted(*names: str) -> list[int]:
        strangers = Strangers(lambda: 0.0)
        gate = Gate(Identity.generate("s"), "t", lambda: (Roster({}),), strangers)
        served: Any = SimpleNamespace(gate=gate, post=Post(asyncio.get_running_loop()))
        served_app = Interface({wire.place("t"): served}, b"c", Monitor(), lambda *_: None, ADDRESSES.__getitem__).app()

        async def named(scope: Any, receive: Any, send: Any) -> None:
            name = dict(scope["headers"])[b"x-connection"].decode()
            await served_app({**scope, "state": {"connection": Connection(name)}}, receive, send)

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


def test_members_of_two_tasks_with_one_name_have_connections_of_their_own() -> None:
    """Whoever takes a name in one task that somebody has in another had that one's connections closed."""
    names: list[str] = []

    async def asked() -> None:
        tasks, gates = {}, {}
        members = {task: Identity.generate("ann") for task in ("a", "b")}
        for task, ann in members.items():
            roster = Roster({"ann": ann.public})
            gates[task] = Gate(Identity.generate("s"), task, lambda roster=roster: (roster,), Strangers())
            post = Post(asyncio.get_running_loop())
            post.close()
            desk: Any = SimpleNamespace(waiting=lambda: 0)
            tasks[wire.place(task)] = cast(Any, SimpleNamespace(gate=gates[task], post=post, desk=desk))
        served_app = Interface(tasks, b"c", Monitor(), lambda _, name: names.append(name)).app()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served_app), base_url="http://s") as client:
            for task, ann in members.items():
                path = f"/v1/{wire.place(task)}/next"
                signed = wire.authorize(ann, gates[task]._greeted, task, path, 1, hashlib.sha256(b"").digest())
                assert (await client.post(path, headers={"authorization": signed})).status_code == 204

    asyncio.run(asked())
    assert len(names) == len(set(names)) == 2


def test_a_member_does_not_fetch_the_model_over_and_over() -> None:
    """It could have had fifty a second, each as long as the model, of a service that other tasks wait for."""
    ann = Identity.generate("ann")

    async def asked() -> list[int]:
        gate = Gate(Identity.generate("s"), "t", lambda: (Roster({"ann": ann.public}),), Strangers())
        post, path = Post(asyncio.get_running_loop()), f"/v1/{wire.place('t')}/model"
        rounds = SimpleNamespace(handed=(bytes(32), b"head", b"elements"))
        served: Any = SimpleNamespace(gate=gate, post=post, rounds=rounds)
        served_app = Interface({wire.place("t"): served}, b"c", Monitor(), lambda *_: None).app()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served_app), base_url="http://s") as client:
            return [
                (await client.post(path, headers={"authorization": signed})).status_code
                for signed in (
                    wire.authorize(ann, gate._greeted, "t", path, counter, hashlib.sha256(b"").digest())
                    for counter in range(1, OF_FETCHING[1] + 2)
                )
            ]

    *first, last = asyncio.run(asked())
    assert (set(first), last) == ({200}, 429)


def test_why_a_request_was_refused_is_counted_by_the_name_that_its_sender_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Bodies that are too long, or do not come, were counted as ``other``."""
    monitor = Monitor()

    async def asked() -> httpx.Response:
        served = {wire.place("t"): cast(Any, SimpleNamespace())}
        inner = Interface(served, b"c", monitor, lambda *_: None).app()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(inner), base_url="http://s") as client:
            return await client.post(f"/v1/{wire.place('t')}/hello", content=bytes(99))

    answer = asyncio.run(asked())
    assert (answer.status_code, answer.json()["error"]) == (413, "MalformedMessage")
    assert 'secure_agg_http_refused_total{error="MalformedMessage"} 1.0' in monitor.text().decode()
    assert "a request was refused: hello, 413 MalformedMessage: a body of 99 bytes, above 32" in caplog.text


def test_refusals_without_end_fill_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Each of a stranger's requests was a line, and connections cost little."""
    monkeypatch.setattr(app, "_LINES", (1e-6, 3))

    async def asked() -> set[int]:
        inner = Interface({}, b"c", Monitor(), lambda *_: None).app()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(inner), base_url="http://s") as client:
            return {(await client.post(f"/v1/{'0' * 32}/hello", content=bytes(32))).status_code for _ in range(9)}

    assert asyncio.run(asked()) == {403}
    assert caplog.text.count("a request was refused") == 3
