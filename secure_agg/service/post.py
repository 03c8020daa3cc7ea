"""Payloads that wait for a task's members, and what they answer: an ``Ask`` whose nodes come by themselves.

A round is led in a thread of its own, and requests are answered in an event loop. Each member has one box with one
payload in it, the last that it was asked: it stays until it is answered, its time is over or another takes its place,
however often the member, or a new process of it, fetches it meanwhile. Answers of any size lie on disk until the round
takes them in, one after the other.
"""

from __future__ import annotations

import asyncio
import math
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from secure_agg.errors import RemoteProtocolError, RoundAborted, TooManyRequests, WrongContext
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Ask, Payload, Refusal, answer_limit
from secure_agg.protocol.identity import in_id_order
from secure_agg.service.gate import Bucket
from secure_agg.service.wire import ITEM_BYTES, REQUEST

IN_MEMORY: Final = 1 << 20
"""Longest payload, or answer, that is not put on disk."""
AWAY_S: Final = 10.0
"""A member whose connection is lost has this time to come back; ``TRAINING`` times as long while it trains."""
TRAINING: Final = 6
_POLLING_S: Final = 5.0
"""A member that has nothing to answer and does not ask again within this time is busy with something else."""
OF_FETCHING: Final = (0.2, 10)
"""How often a member may fetch one payload, and the model that goes with it, by second in the long run and at once: it
may be as large as the model, and who has it and asks again has lost its connection or its process.
"""
_LOOK_S: Final = 0.5
_IN_ROUNDS: Final = frozenset({parcels.JOIN, parcels.STEP, parcels.RESULT, parcels.RENOUNCE, parcels.CLOSE})
"""Kinds of payloads that are waited for while a member is connected; others while it asks for something to answer."""


class Gone(RemoteProtocolError):
    """A member's connection is lost, and it has not come back."""


Files = IO[bytes]
Answer = tuple[str, Files | Exception]


@dataclass(eq=False)
class Item:
    """One payload for one member.

    Attributes:
        id: 32 hexadecimal digits, which nobody else can guess.
        member: it is for.
        kind: of the payload.
        payload: makes it.
        model: digest of the model that goes with it; None where none does.
        ends: when it is too late to answer, by ``time.monotonic``.
        asked: since when it waits.
        fetched: whether the member has it.
        answers: where the answer goes.
        patient: whether a member that is not there is waited for all the same.
        fetching: how often the member may have it; each time it is made anew.
        modelling: how often it may have the model that goes with it.
    """

    id: str
    member: str
    kind: str
    payload: Payload
    model: bytes | None
    ends: float
    answers: queue.SimpleQueue[Answer]
    asked: float
    fetched: bool = False
    over: bool = False
    patient: bool = False
    fetching: Bucket = field(default_factory=lambda: Bucket(*OF_FETCHING))
    modelling: Bucket = field(default_factory=lambda: Bucket(*OF_FETCHING))

    @property
    def left_s(self) -> float:
        """Seconds that are left to answer it."""
        return 0.0 if self.over else max(0.0, self.ends - time.monotonic())

    @property
    def limit(self) -> int:
        """Most bytes of the answer."""
        return answer_limit(self.payload)


@dataclass
class _Box:
    item: Item | None = None
    polls: set[asyncio.Event] = field(default_factory=set)
    coming: asyncio.Future[Files] | None = None
    seen: float = -math.inf
    connections: int = 0
    lost: float = -math.inf
    modelling: Bucket = field(default_factory=lambda: Bucket(*OF_FETCHING))

    @property
    def live(self) -> Item | None:
        return self.item if self.item is not None and self.item.left_s > 0 else None

    def open_to(self, *, in_rounds: bool) -> Item | None:
        """What waits, for somebody who may, or may not, take part in rounds."""
        item = self.live
        return item if item is not None and (in_rounds or item.kind not in _IN_ROUNDS) else None


def _drop(answers: queue.SimpleQueue[Answer]) -> None:
    """Close what nobody takes in any more."""
    while True:
        try:
            _, answer = answers.get_nowait()
        except queue.Empty:
            return
        if not isinstance(answer, Exception):
            answer.close()


def spooled() -> Files:
    """An empty file that lies in memory while it is short, and nowhere once it is closed."""
    return tempfile.SpooledTemporaryFile(IN_MEMORY)


class Post:
    """Of one task. What is not said to belong to the round's thread belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, away_s: float = AWAY_S) -> None:
        """
        Args:
            loop: in which requests are answered.
            away_s: see ``AWAY_S``.
        """
        self._loop, self._away_s = loop, away_s
        self._boxes: dict[str, _Box] = {}
        self._came = threading.Condition()
        self._closed = threading.Event()

    # --- the round's thread -----------------------------------------------------------------------------------

    def asking(self, model: bytes | None, enough: Callable[[], bool] | None = None) -> Ask:
        """An ``Ask`` of rounds over this model; None where members have it from elsewhere.

        Args:
            model: digest.
            enough: whether no more answers are wanted, where members may also answer another way: who is not there is
                waited for until then. None where this is the only way.
        """

        def ask(
            kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
        ) -> Iterator[tuple[str, bytes | Exception]]:
            return self._ask(kind, requests, deadline_s, model, enough)

        return ask

    def _ask(
        self,
        kind: str,
        requests: Sequence[tuple[str, Payload]],
        deadline_s: float,
        model: bytes | None,
        enough: Callable[[], bool] | None,
    ) -> Iterator[tuple[str, bytes | Exception]]:
        now = time.monotonic()
        ends = now + deadline_s
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        items = [
            Item(
                secrets.token_hex(ITEM_BYTES),
                name,
                kind,
                payload,
                model,
                ends,
                answers,
                now,
                patient=enough is not None,
            )
            for name, payload in requests
        ]
        self._loop.call_soon_threadsafe(self._put, items)
        awaited = {item.member: item for item in items}
        try:
            while awaited:
                if self._closed.is_set():
                    raise RoundAborted("the service is being stopped")
                try:
                    name, answer = answers.get(timeout=min(_LOOK_S, max(0.0, ends - time.monotonic())))
                except queue.Empty:
                    if time.monotonic() >= ends or (enough is not None and enough()):
                        return
                    for member in [name for name, item in awaited.items() if self._is_gone(item)]:
                        del awaited[member]
                        yield member, Gone("it is gone", culprit=member)
                    continue
                if awaited.pop(name, None) is not None:
                    if isinstance(answer, Exception):
                        yield name, answer
                        continue
                    with answer:
                        data = answer.read()
                    yield name, data
        finally:
            for item in items:
                item.over = True
            _drop(answers)

    def _is_gone(self, item: Item) -> bool:
        """Whether a member is not waited for any more, though there is time."""
        if item.patient:
            return False
        box, now = self._boxes.get(item.member), time.monotonic()
        connected = box is not None and box.connections > 0
        since = max(item.asked, box.lost if box is not None else -math.inf)
        if item.kind not in _IN_ROUNDS:
            patience = _POLLING_S if connected else min(_POLLING_S, self._away_s)
            return not (connected and item.fetched) and now > since + patience
        if connected:
            return False
        return now > since + self._away_s * (TRAINING if item.kind == parcels.JOIN and item.fetched else 1)

    def gather(self, names: Sequence[str], least: Callable[[], int], patience_s: float) -> list[str]:
        """Wait until members are there.

        Args:
            names: of those who may come.
            least: says how many of them there have to be, or nothing is begun; asked again and again.
            patience_s: how much longer to wait for all, once so many are there.

        Returns:
            Who is there, in id order.

        Raises:
            RoundAborted: the service is being stopped.
        """
        enough_at: float | None = None
        with self._came:
            while True:
                if self._closed.is_set():
                    raise RoundAborted("the service is being stopped")
                found = self.present(names)
                now = time.monotonic()
                enough_at = (enough_at or now) if len(found) >= least() else None
                if len(found) == len(names) or (enough_at is not None and now >= enough_at + patience_s):
                    return found
                self._came.wait(0.25 if enough_at is not None else 1.0)

    def rest(self, seconds: float) -> None:
        """Do nothing for a while, or until the service is stopped or a member comes."""
        with self._came:
            if not self._closed.is_set():
                self._came.wait(seconds)

    def present(self, names: Sequence[str]) -> list[str]:
        """Which of these members are there: they ask, or have something to answer."""
        now = time.monotonic()
        boxes = {name: self._boxes.get(name) for name in names}
        return in_id_order(
            name
            for name, box in boxes.items()
            if box is not None and (box.polls or box.live is not None or now < box.seen + _POLLING_S)
        )

    @property
    def is_closed(self) -> bool:
        """Whether the service is being stopped."""
        return self._closed.is_set()

    def close(self) -> None:
        """End what waits, in every thread."""
        self._closed.set()
        with self._came:
            self._came.notify_all()

    # --- the event loop ---------------------------------------------------------------------------------------

    def _put(self, items: Sequence[Item]) -> None:
        for item in items:
            box = self._boxes.setdefault(item.member, _Box())
            if box.item is not None:
                box.item.over = True
            box.item = item
            for event in box.polls:
                event.set()

    async def next(self, member: str, wait_s: float, *, in_rounds: bool = True) -> Item | None:
        """What a member has to answer, None where it is nothing for so long. A later poll of it ends this one.

        Args:
            member: by its name.
            wait_s: how long to wait.
            in_rounds: whether it may take part in rounds; else it is only told what came before.

        Raises:
            TooManyRequests: it has fetched this one again and again.
        """
        box = self._boxes.setdefault(member, _Box())
        for event in box.polls:
            event.set()
        mine = asyncio.Event()
        box.polls = {mine}
        self._come(box)
        try:
            if box.open_to(in_rounds=in_rounds) is None and not self._closed.is_set():
                try:
                    await asyncio.wait_for(mine.wait(), wait_s)
                except TimeoutError:
                    return None
            if mine not in box.polls or (item := box.open_to(in_rounds=in_rounds)) is None:
                return None
            if wait := item.fetching.take():
                raise TooManyRequests(f"{member!r} has fetched what it is asked", wait, phase=REQUEST, culprit=member)
            item.fetched = True
            return item
        finally:
            if mine in box.polls:
                box.polls.discard(mine)
                box.seen = time.monotonic()

    def connected(self, member: str) -> None:
        """A member's request has come over a connection that none has come over before."""
        self._boxes.setdefault(member, _Box()).connections += 1

    def lost(self, member: str) -> None:
        """A member's connection has ended."""
        box = self._boxes[member]
        box.connections -= 1
        box.lost = time.monotonic()
        if not box.connections:  # what it has asked for has nobody to go to
            polls, box.polls, box.seen = box.polls, set(), -math.inf
            for event in polls:
                event.set()

    def _come(self, box: _Box) -> None:
        box.seen = time.monotonic()
        if self._came.acquire(blocking=False):  # else who waits looks again soon
            self._came.notify_all()
            self._came.release()

    def item(self, member: str, number: str, *, in_rounds: bool = True) -> Item:
        """The payload that a member says it answers; ``in_rounds`` as in ``next``.

        Raises:
            WrongContext: it is not the one that the member has to answer, or too late.
        """
        box = self._boxes.get(member)
        found = box.open_to(in_rounds=in_rounds) if box is not None else None
        if found is None or not secrets.compare_digest(found.id.encode(), number.encode("utf-8", "replace")):
            raise WrongContext("an answer to what is not asked any more", phase=REQUEST)
        return found

    def fetch_model(self, member: str) -> None:
        """Count that a member fetches the model: for what it has to answer, or for nothing.

        Raises:
            TooManyRequests: it has fetched it again and again.
        """
        box = self._boxes.setdefault(member, _Box())
        if wait := (box.live or box).modelling.take():
            raise TooManyRequests(f"{member!r} has fetched the model", wait, phase=REQUEST, culprit=member)

    async def taking(self, member: str, body: Coroutine[Any, Any, Files]) -> Files:
        """Take in what a member answers, which is as long as its update, and one at a time: a later one, of a member
        that has lost its connection, ends the one before.

        Raises:
            WrongContext: a later one has come.
        """
        box = self._boxes.setdefault(member, _Box())
        if box.coming is not None:
            box.coming.cancel()
        mine = box.coming = asyncio.ensure_future(body)
        try:
            return await mine
        except asyncio.CancelledError:
            if box.coming is mine:
                raise
            raise WrongContext("another answer of this member has begun", phase=REQUEST) from None
        finally:
            if box.coming is mine:
                box.coming = None

    def answer(self, item: Item, answer: Files | str) -> None:
        """Hand on what a member has answered: a payload, from its beginning, or the name of an error."""
        item.over = True
        box = self._boxes[item.member]
        box.seen = time.monotonic()
        if box.item is item:
            box.item = None
        if isinstance(answer, str):
            said = Refusal(f"it refuses a {item.kind!r}: {answer}", answer, culprit=item.member)
            item.answers.put((item.member, said))
        else:
            item.answers.put((item.member, answer))
