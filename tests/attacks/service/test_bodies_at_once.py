"""A member that sends what it is asked for over and over at once, to fill the service's disk."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import secrets
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx

from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Payload
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.gate import Gate, Strangers
from secure_agg.service.interface import bodies
from secure_agg.service.interface.app import Interface
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Item, Post

SIZE = 4096


def test_a_later_answer_of_a_member_ends_the_one_before(monkeypatch: Any) -> None:
    """A body may take its time. Of eight at once, one over each connection of the member's, seven are let go of."""
    files: list[Any] = []
    spooled = bodies.spooled
    monkeypatch.setattr(bodies, "spooled", lambda: files.append(spooled()) or files[-1])
    statuses, open_files = asyncio.run(flood(8, files))
    assert open_files == 1
    assert statuses == [410] * 7 + [204]


async def flood(many: int, files: list[Any]) -> tuple[list[int], int]:
    server, ann = Identity.generate("s"), Identity.generate("ann")
    gate = Gate(server, "t", lambda: (Roster({"ann": ann.public}),), Strangers())
    nonce = secrets.token_bytes(32)
    to = wire.check_greeting(gate.greet(nonce, b"c"), nonce, "t", b"c", Roster({"s": server.public}))
    post, item = Post(asyncio.get_running_loop()), secrets.token_hex(16)
    ends = time.monotonic() + 600
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    post._put([Item(item, "ann", parcels.STEP, Payload(bytes, SIZE), None, ends, answers, 0.0)])
    task: Any = SimpleNamespace(gate=gate, post=post)
    served = Interface({wire.place("t"): task}, b"c", Monitor(), lambda *_: None).app()
    path, body, going = f"/v1/{wire.place('t')}/answer/{item}", bytes(SIZE), [asyncio.Event() for _ in range(many)]
    release = asyncio.Event()

    async def content(number: int) -> AsyncIterator[bytes]:
        yield body[: SIZE // 2]
        going[number].set()
        await (asyncio.Event() if number + 1 < many else release).wait()
        yield body[SIZE // 2 :]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://s") as client:

        async def answer(number: int) -> int:
            digest = hashlib.sha256(body).digest()
            headers = {
                "authorization": wire.authorize(ann, to, "t", path, number, digest),
                "content-digest": wire.written_digest(digest),
                "content-length": str(SIZE),
            }
            return (await client.post(path, headers=headers, content=content(number))).status_code

        asked = []
        for number in range(many):
            asked.append(asyncio.ensure_future(answer(number)))
            await going[number].wait()
        await asyncio.wait(asked[:-1], timeout=60)
        left = sum(not file.closed for file in files)
        release.set()
        last = await asked[-1]
        answers.get_nowait()[1].close()
        statuses = [each.result() if each.done() else 0 for each in asked[:-1]]
        for each in asked[:-1]:
            each.cancel()
        return [*statuses, last], left
