"""Parties that are no members and have a say: what one of them, or who proposes a key, can take from others."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from secure_agg.errors import RequestRepeated
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.epochs.desk import ACCEPTS, DECIDES, Desk
from secure_agg.service.gate import OF_STRANGERS, Gate, Strangers
from secure_agg.service.interface.app import Connection, Interface
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Post

NOTHING = hashlib.sha256(b"").digest()
ADDRESSES = {"flood": "192.0.2.1", "clinic": "198.51.100.7"}
EVE = Identity.generate("eve")


class Service:
    """A service's requests with a desk that is given; time stands still."""

    def __init__(self, desk: Any, *members: Identity) -> None:
        server = Identity.generate("s")
        roster = Roster({member.name: member.public for member in members})
        self.gate = Gate(server, "t", lambda: (roster,), Strangers(lambda: 0.0), clock=lambda: 0.0)
        nonce, pinned = secrets.token_bytes(32), Roster({"s": server.public})
        self.to = wire.check_greeting(self.gate.greet(nonce, b"c"), nonce, "t", b"c", pinned)
        self.desk = desk

    def signed(self, who: Identity, path: str, counter: int) -> str:
        return wire.authorize(who, self.to, "t", path, counter, NOTHING)

    def client(self) -> httpx.AsyncClient:
        served: Any = SimpleNamespace(gate=self.gate, post=Post(asyncio.get_running_loop()), desk=self.desk)
        app = Interface({wire.place("t"): served}, b"c", Monitor(), lambda *_: None, ADDRESSES.__getitem__).app()

        async def named(scope: Any, receive: Any, send: Any) -> None:
            name = dict(scope["headers"])[b"x-connection"].decode()
            await app({**scope, "state": {"connection": Connection(name)}}, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(named), base_url="http://s")


def path_of(what: str) -> str:
    return f"/v1/{wire.place('t')}/{what}"


def test_a_key_proposed_for_somebodys_name_takes_no_counter_from_it() -> None:
    """A member proposes a key of its own for a newcomer, and asks by it with the last counter that there is: the real
    newcomer could accept nothing any more.
    """
    service, mallory = Service(None), Identity.generate("eve")
    rosters = [Roster({"eve": mallory.public}), Roster({"eve": EVE.public})]

    def ask(who: Identity, counter: int) -> str:
        return service.gate.admit_guest(service.signed(who, "/p", counter), "/p", NOTHING, rosters).name

    ask(mallory, (1 << 63) - 1)
    assert ask(EVE, 1) == "eve"
    with pytest.raises(RequestRepeated) as caught:  # by whoever has recorded it
        ask(EVE, 1)
    assert (caught.value.last, caught.value.culprit) == (1, None)


def test_who_asks_for_epochs_from_one_address_keeps_no_other_out() -> None:
    """Each such request was counted three times for all strangers, and once for its address."""
    guests = {DECIDES: [Roster({EVE.name: EVE.public})], ACCEPTS: [Roster({EVE.name: EVE.public})]}
    service, path = Service(SimpleNamespace(guests=lambda: guests)), path_of("proposals")
    stranger = Identity.generate("eve")

    async def asked() -> tuple[set[int], int]:
        async with service.client() as client:
            found = set()
            for number in range(OF_STRANGERS[1] // 3 + 10):
                headers = {"authorization": service.signed(stranger, path, number), "x-connection": "flood"}
                found.add((await client.post(path, headers=headers)).status_code)
            greeting = await client.post(path_of("hello"), content=bytes(32), headers={"x-connection": "clinic"})
            return found, greeting.status_code

    assert asyncio.run(asked()) == ({401, 429}, 200)


def test_what_is_proposed_leaves_threads_to_rounds() -> None:
    """A proposal of thousands of keys takes seconds: a few at once had all threads, and no member was answered."""
    ann, working, let = Identity.generate("ann"), threading.Semaphore(0), threading.Event()

    def slowly() -> bytes:
        working.release()
        let.wait(300)
        return wire.list_offers({})

    service, path = Service(SimpleNamespace(proposals=slowly), ann), path_of("proposals")

    async def asked() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        async with service.client() as client:
            try:
                asking = [
                    asyncio.ensure_future(
                        client.post(
                            path, headers={"authorization": service.signed(ann, path, n), "x-connection": "clinic"}
                        )
                    )
                    for n in range(1, 4)
                ]
                while not working.acquire(blocking=False):
                    await asyncio.sleep(0)
                for _ in range(100):  # the others are as far as they come
                    await asyncio.sleep(0)
                await asyncio.wait_for(asyncio.to_thread(int), 120)  # as a round's payload is made
            finally:
                let.set()
            return [answer.status_code for answer in await asyncio.gather(*asking)]

    assert asyncio.run(asked()) == [200, 200, 200]


def test_polls_do_not_wait_until_proposals_are_counted(tmp_path: Path) -> None:
    """Every poll asks how many lie open; while a proposal of thousands of keys is read each of them had a thread."""
    home: Any = SimpleNamespace(path=tmp_path)
    desk, counting, let = Desk(home), threading.Event(), threading.Event()

    def opened() -> dict[bytes, Any]:
        counting.set()
        let.wait(300)
        return {b"a": None, b"b": None}

    desk._offers.open = opened  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(desk.waiting)
            assert counting.wait(120)
            assert pool.submit(desk.waiting).result(120) == 0
        finally:
            let.set()
        assert first.result(120) == 2
    assert desk.waiting() == 2


def test_a_folder_of_proposals_that_can_not_be_read_ends_no_poll(tmp_path: Path) -> None:
    (tmp_path / "offers").write_text("no folder")
    home: Any = SimpleNamespace(path=tmp_path, task="t")
    assert Desk(home).waiting() == 0
