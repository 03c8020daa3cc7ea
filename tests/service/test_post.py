"""Payloads that wait, and answers that come, too late, again or never."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from secure_agg.errors import RoundAborted, TooManyRequests, WrongContext
from secure_agg.plugins.core.phases import Payload, Refusal
from secure_agg.service.post import OF_FETCHING, Gone, Item, Post, spooled

_T = TypeVar("_T")
MODEL = bytes(32)


class Office:
    """A post in an event loop of its own, and a round that asks in this thread's."""

    def __init__(self, away_s: float = 0.0) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.post = Post(self.loop, away_s)

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def call(self, work: Callable[..., _T], *given: Any) -> _T:
        async def run() -> _T:
            return work(*given)

        return self.do(run())

    def close(self) -> None:
        self.post.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(120)
        self.loop.close()

    def ask(self, kind: str, names: list[str], deadline_s: float = 20.0) -> tuple[list[Any], threading.Thread]:
        found: list[Any] = []

        def run() -> None:
            requests = [(name, Payload(name.encode)) for name in names]
            try:
                found.extend(self.post.asking(MODEL)(kind, requests, deadline_s))
            except RoundAborted as error:
                found.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return found, thread

    def fetch(self, name: str) -> Item:
        item = self.do(self.post.next(name, 20))
        assert item is not None
        return item

    def answer(self, item: Item, data: bytes) -> None:
        file = spooled()
        file.write(data)
        file.seek(0)
        self.call(self.post.answer, item, file)


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def test_each_member_gets_its_own_payload_and_answers_once(office: Office) -> None:
    found, thread = office.ask("step", ["ann", "bob"])
    items = {name: office.fetch(name) for name in ("bob", "ann")}
    assert {name: item.payload() for name, item in items.items()} == {"ann": b"ann", "bob": b"bob"}
    assert office.fetch("ann") is items["ann"]  # a new process of hers gets the same
    office.answer(items["ann"], b"x" * (2 << 20))
    with pytest.raises(WrongContext):
        office.call(office.post.item, "ann", items["ann"].id)
    with pytest.raises(WrongContext):
        office.call(office.post.item, "ann", items["bob"].id)
    office.call(office.post.answer, items["bob"], "TaskSpent")
    thread.join(120)
    (_, first), (_, second) = found
    assert first == b"x" * (2 << 20)
    assert isinstance(second, Refusal)
    assert (second.error, second.culprit) == ("TaskSpent", "bob")


def test_a_payload_is_not_made_again_and_again_for_who_has_it(office: Office) -> None:
    """It may be as large as the model, and a member may ask fifty times a second, over eight connections."""
    _, thread = office.ask("step", ["ann", "bob"])
    for _ in range(OF_FETCHING[1]):
        item = office.fetch("ann")
    with pytest.raises(TooManyRequests) as caught:
        office.fetch("ann")
    assert 0 < caught.value.seconds <= 1 / OF_FETCHING[0]
    office.answer(item, b"")  # it is still asked
    office.answer(office.fetch("bob"), b"")
    thread.join(120)


def test_who_never_comes_is_not_waited_for(office: Office) -> None:
    found, thread = office.ask("step", ["ann"])
    thread.join(120)
    assert [(name, type(error)) for name, error in found] == [("ann", Gone)]


def test_who_is_connected_is_waited_for_until_the_deadline(office: Office) -> None:
    office.call(office.post.connected, "ann")
    found, thread = office.ask("step", ["ann"], 1.2)
    thread.join(120)
    assert found == []
    found, thread = office.ask("step", ["ann"])
    office.call(office.post.lost, "ann")
    thread.join(120)
    assert [type(error) for _, error in found] == [Gone]


def test_a_later_payload_takes_the_place_of_one_that_is_late(office: Office) -> None:
    office.call(office.post.connected, "ann")
    _, first = office.ask("step", ["ann"], 0.0)
    first.join(120)
    found, thread = office.ask("result", ["ann"])
    item = office.fetch("ann")
    assert (item.kind, item.model) == ("result", MODEL)
    office.answer(item, b"done")
    thread.join(120)
    assert found == [("ann", b"done")]


def test_a_later_poll_ends_an_earlier_one(office: Office) -> None:
    early = asyncio.run_coroutine_threadsafe(office.post.next("ann", 20), office.loop)
    while not office.post.present(["ann"]):
        pass
    late = asyncio.run_coroutine_threadsafe(office.post.next("ann", 20), office.loop)
    assert early.result(120) is None
    _, thread = office.ask("step", ["ann"])
    item = late.result(120)
    assert item is not None
    office.answer(item, b"")
    thread.join(120)


def test_rounds_wait_for_members_and_end_with_the_service(office: Office) -> None:
    gathered: list[Any] = []

    def gather() -> None:
        try:
            gathered.append(office.post.gather(["ann", "bob"], lambda: 1, 0.1))
            office.post.gather(["cyd"], lambda: 1, 0.0)
        except RoundAborted as error:
            gathered.append(error)

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    office.call(office.post.connected, "ann")
    assert office.do(office.post.next("ann", 0.01)) is None
    found, asking = office.ask("step", ["ann"])
    office.fetch("ann")
    while not gathered:
        pass
    office.post.close()
    thread.join(120)
    asking.join(120)
    assert gathered[0] == ["ann"]
    assert isinstance(gathered[1], RoundAborted)
    assert isinstance(found[0], RoundAborted)


def test_a_model_is_fetched_for_each_payload_and_not_for_ever(office: Office) -> None:
    """Ten at once for what a member has to answer; the next payload, a moment later, has ten of its own."""
    for _ in range(2):
        _, thread = office.ask("join", ["ann"])
        item = office.fetch("ann")
        for _ in range(OF_FETCHING[1]):
            office.call(office.post.fetch_model, "ann")
        with pytest.raises(TooManyRequests, match="'ann' has fetched the model"):
            office.call(office.post.fetch_model, "ann")
        office.answer(item, b"")
        thread.join(20)
