"""Who holds a key that an epoch has replaced, since it was stolen, or whose member has left."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from secure_agg.errors import BadSignature, WrongContext
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Payload
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.gate import OF_MEMBER, Gate, Strangers
from secure_agg.service.interface.app import Interface
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Item, Post

NOTHING = hashlib.sha256(b"").digest()
PLACE = f"/v1/{wire.place('t')}"


class Federation:
    """Ann has a new key in the second epoch, and eve has left with the first."""

    def __init__(self) -> None:
        self.server, self.old, self.new, self.eve = map(Identity.generate, ("s", "ann", "ann", "eve"))
        first = Roster({"ann": self.old.public, "eve": self.eve.public})
        self.rosters = [Roster({"ann": self.new.public}), first]
        self.gate = Gate(self.server, "t", lambda: self.rosters, Strangers())
        nonce = secrets.token_bytes(32)
        greeting = self.gate.greet(nonce, b"c")
        self.to = wire.check_greeting(greeting, nonce, "t", b"c", Roster({"s": self.server.public}))
        self.counter = 0

    def signed(self, member: Identity, what: str, counter: int | None = None) -> str:
        self.counter = self.counter + 1 if counter is None else counter
        return wire.authorize(member, self.to, "t", f"{PLACE}/{what}", self.counter, NOTHING)

    def admit(self, member: Identity, counter: int | None = None) -> tuple[str, bool]:
        found = self.gate.admit(self.signed(member, "next", counter), f"{PLACE}/next", NOTHING, known=True)
        assert found.key == member.public
        return found.name, found.is_current


def test_a_replaced_key_is_good_until_its_successor_is_used_and_uses_nothing_of_it_up() -> None:
    there = Federation()
    for number in range(OF_MEMBER[1] - 1):
        assert there.admit(there.old, number) == ("ann", False)
    assert there.admit(there.old, (1 << 63) - 1) == ("ann", False)  # no counter of ann's is above it
    assert there.admit(there.new, 5) == ("ann", True)
    with pytest.raises(BadSignature) as caught:
        there.admit(there.old, 6)
    assert caught.value.culprit is None
    assert there.admit(there.eve, 7) == ("eve", False)


def test_a_key_that_stays_keeps_its_counter_through_an_epoch() -> None:
    there = Federation()
    header = there.signed(there.new, "next", 5)
    there.gate.admit(header, f"{PLACE}/next", NOTHING)
    there.rosters.insert(0, Roster({"ann": there.new.public, "bob": there.server.public}))
    with pytest.raises(Exception, match="not above 5"):
        there.gate.admit(header, f"{PLACE}/next", NOTHING)
    assert there.admit(there.new, 6) == ("ann", True)


async def asked(there: Federation, member: Identity) -> int:
    rounds = SimpleNamespace(handed=(bytes(32), *wire.encode_model([np.zeros(3)])))
    served: Any = SimpleNamespace(gate=there.gate, post=Post(asyncio.get_running_loop()), rounds=rounds)
    app = Interface({wire.place("t"): served}, b"c", Monitor(), lambda *_: None).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://s", verify=_TLS) as client:
        headers = {"authorization": there.signed(member, "model"), "content-length": "0"}
        return (await client.post(f"{PLACE}/model", headers=headers)).status_code


_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_whoever_has_left_is_given_no_model() -> None:
    there = Federation()
    found = [asyncio.run(asked(there, member)) for member in (there.eve, there.old, there.new)]
    assert found == [410, 410, 200]


def test_a_replaced_key_is_told_of_the_epoch_and_takes_no_part_in_rounds() -> None:
    async def fetched(kind: str, *, in_rounds: bool) -> Item | None:
        post = Post(asyncio.get_running_loop())
        asking = asyncio.ensure_future(
            asyncio.to_thread(lambda: list(post.asking(bytes(32))(kind, [("ann", Payload(b"x".__str__))], 5)))  # type: ignore[arg-type]
        )
        while post._boxes.get("ann") is None:
            await asyncio.sleep(0)
        item = await post.next("ann", 0, in_rounds=in_rounds)
        waiting = post._boxes["ann"].item
        assert waiting is not None
        if item is None:
            with pytest.raises(WrongContext):
                post.item("ann", waiting.id, in_rounds=in_rounds)
        post.answer(post.item("ann", waiting.id), "TaskSpent")
        await asking
        return item

    for kind in (parcels.JOIN, parcels.STEP, parcels.RESULT):
        assert asyncio.run(fetched(kind, in_rounds=True)) is not None
        assert asyncio.run(fetched(kind, in_rounds=False)) is None
    assert asyncio.run(fetched(parcels.EPOCH, in_rounds=False)) is not None


@pytest.mark.parametrize("what", ["é", "\udcff", "0" * 31 + "é"])
def test_an_item_of_any_text_is_another(what: str) -> None:
    async def found() -> None:
        post = Post(asyncio.get_running_loop())
        item = Item("0" * 32, "ann", parcels.EPOCH, Payload(bytes), None, float("inf"), None, 0.0)  # type: ignore[arg-type]
        post._put([item])
        with pytest.raises(WrongContext):
            post.item("ann", what)

    asyncio.run(found())
