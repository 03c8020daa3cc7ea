"""Sending messages to many nodes at once, and taking the replies as they come, until a deadline that holds.

Flower's own loop pulls all replies one after another and looks at the clock in between, so one large reply can overrun
the deadline by minutes. Here a few threads pull, the caller waits for them no longer than the deadline, and at most as
many replies as there are threads are in memory, however many nodes there are.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flwr.app import Message
from flwr.serverapp import Grid

_POLL_S: Final = 0.1
"""How often every outstanding reply is asked for."""
_PULLERS: Final = 4

Reply = Message | Exception


def exchange(
    grid: Grid,
    messages: Sequence[tuple[str, Callable[[], Message]]],
    deadline_s: float,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Reply]]:
    """Send one message to each of several peers.

    Args:
        grid: Flower's own.
        messages: by the peer's name; each is made when it is sent.
        deadline_s: seconds from when the last message was sent until whoever has not replied is given up.
        enough: whether no more replies are wanted; asked while none comes.

    Yields:
        Name and reply, as they come. An exception where the message could not be sent or the reply not be fetched.
    """
    waiting: queue.Queue[tuple[str, str]] = queue.Queue()
    arrived: queue.Queue[tuple[str, Reply]] = queue.Queue(maxsize=1)
    over = threading.Event()
    threads = min(_PULLERS, len(messages))

    def deliver(name: str, reply: Reply) -> None:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                arrived.put((name, reply), timeout=_POLL_S)
                return

    def pull() -> None:
        while not over.is_set():
            try:
                name, message_id = waiting.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            try:
                found = list(grid.pull_messages([message_id]))
            except Exception as error:
                deliver(name, error)
                continue
            if found:
                deliver(name, found[0])
            else:
                waiting.put((name, message_id))
                over.wait(_POLL_S * threads / max(threads, waiting.qsize()))

    for _ in range(threads):
        threading.Thread(target=pull, daemon=True).start()
    try:
        unsent: list[tuple[str, Exception]] = []
        for name, make in messages:
            message = make()
            try:
                sent = list(grid.push_messages([message]))
            except Exception as error:  # a SuperLink that is busy, or loses a part: one peer's message, not the round's
                unsent.append((name, error))
                continue
            if sent and sent[0]:
                waiting.put((name, sent[0]))
            else:
                gone = ConnectionError("the SuperLink has not taken the message: the node is gone")
                unsent.append((name, gone))
        end = time.monotonic() + deadline_s
        yield from unsent
        awaited = len(messages) - len(unsent)
        while awaited:
            left = end - time.monotonic()
            try:
                reply = arrived.get(timeout=max(0.0, min(left, _POLL_S)))
            except queue.Empty:
                if left <= 0 or enough():
                    return
                continue
            awaited -= 1
            yield reply
    finally:
        over.set()
