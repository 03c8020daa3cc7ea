"""One Flower message a round: what follows it goes over a channel of the node's own.

Flower starts a process for every message, and looks for new ones every three seconds. Where a node's operator names a
channel, its mod keeps the message under way: it answers by the channel, and all further requests of the round too, and
replies to Flower when the round is over. The channel is a service beside the ServerApp, ``secure_agg.service``. Its
address is from the node's own configuration and its key from the node's home; requests are signed and bound to the
server's process, and the payloads are those that Flower would have carried.

Nothing hangs on it. Whoever can't reach it replies to Flower at once and is asked by Flower's messages from then on,
and a node whose connection is lost is asked by them for what it has not answered.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from flwr.app import Context

from secure_agg.errors import OperatorLost, RemoteProtocolError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.phases import Payload, Refusal, answer_limit, one_line
from secure_agg.plugins.flower.asking import NodeAsk
from secure_agg.plugins.homes.client import ClientHome
from zk.transcript import digest

if TYPE_CHECKING:
    from secure_agg.service.beside import Beside
    from secure_agg.service.link import Link

CHANNEL: Final = "secure-agg-channel"
"""Key of the node's own configuration: ``https://HOST:PORT`` of the channel."""
PATIENCE_S: Final = 5.0
"""How long a channel that does not answer is tried, before the round goes on by Flower's messages."""
AWAY_S: Final = 5.0
"""A node whose connection is lost has this time to come back, before it is asked by Flower's messages."""
_RELEASE_S: Final = 1.0
_MOST_IDLE: Final = 25
"""Polls, of 25 s each, without anything to answer: longer than the longest phase of others."""

_log = logging.getLogger("secure_agg.plugins")

Answered = tuple[str, bytes | memoryview | Exception]


# --- a node ---------------------------------------------------------------------------------------------------


def held(home: ClientHome, context: Context, participant: Participant, payload: bytes, answer: bytes) -> bytes:
    """See a round to its end over the channel, if this node has one.

    Args:
        home: this node's.
        context: names the channel in its ``node_config``.
        participant: has made ``answer``.
        payload: of the message that this node holds.
        answer: to that.

    Returns:
        What to reply to Flower: that this node has answered already, or the answer, where the channel is no way.

    Raises:
        ConfigError: the channel's address is none, or a package of the extra ``service`` is missing.
    """
    url = context.node_config.get(CHANNEL)
    if not isinstance(url, str):
        return answer
    from secure_agg.service.bounds import payload_bytes  # which only a node with a channel needs
    from secure_agg.service.link import Link

    link = Link(url, home, patience_s=PATIENCE_S)
    try:
        return (
            Parcel(parcels.HELD, (b"",)).to_bytes()
            if _answer_all(link, participant, _mark(payload), answer, lambda: payload_bytes(home, participant))
            else answer
        )
    except (OperatorLost, RemoteProtocolError) as error:
        _log.warning("%s: the round goes on by Flower's messages, without the channel: %s", home.name, one_line(error))
        return answer
    finally:
        link.close()


def _mark(payload: bytes) -> bytes:
    """What a request to join is known by: a node may still hold that of an earlier round."""
    return digest("held", bytes(Parcel.from_bytes(payload).parts[0]))


def _answer_all(link: Link, participant: Participant, mark: bytes, answer: bytes, most: Callable[[], int]) -> bool:
    """Answer what is asked until the round is over; whether the first answer was taken.

    Args:
        most: bytes that the next payload can have.
    """
    taken, idle = False, 0
    while idle < _MOST_IDLE:
        arrived = link.next(most())
        if arrived is None:
            if not taken:
                return False  # too late for the round, or it does not ask here
            idle += 1
            continue
        parcel, idle = Parcel.from_bytes(arrived.data), 0
        if parcel.kind == parcels.HELD:
            (wanted,) = parcel.expect(parcels.HELD, 1)
            if len(wanted) and wanted != mark:
                return taken  # another round has begun, for which another process of this node has trained
            taken = link.answer(arrived.item, answer if len(wanted) else b"") or taken
            if not len(wanted):
                return taken
            continue
        try:
            made = participant.handle(arrived.data)
        except Exception as error:  # its name is all that leaves this node
            _log.error("this node refuses a message: %s: %s", type(error).__name__, error)
            link.refuse(arrived.item, error)
            return taken
        link.answer(arrived.item, made)
        if parcel.kind == parcels.RESULT:
            return taken
    return taken


# --- the server -----------------------------------------------------------------------------------------------


class ChannelAsk:
    """Asks nodes by Flower's messages, and those that hold one by the channel."""

    def __init__(self, flower: NodeAsk, beside: Beside) -> None:
        """
        Args:
            flower: the way to all nodes of a batch.
            beside: where those with a channel come.
        """
        self._flower, self._post = flower, beside.post
        self._there = set[str]()

    def __call__(self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answered]:
        """See ``phases.Ask``."""
        if kind == parcels.JOIN:
            self._there.clear()
            return self._join(requests, deadline_s)
        return self._further(kind, requests, deadline_s)

    def release(self) -> None:
        """Have nodes that still hold a message reply to it: the round has ended without them."""
        over = Payload(Parcel(parcels.HELD, (b"",)).to_bytes)
        waiting, self._there = self._there, set()
        if waiting and not self._post.is_closed:
            for _ in self._post.asking(None)(parcels.STEP, [(name, over) for name in waiting], _RELEASE_S):
                pass

    def _join(self, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answered]:
        """Both ways at once; of each node the first answer counts."""
        pending, done = {name for name, _ in requests}, self._flower.elsewhere
        done.clear()
        held = [(name, _wanted(payload)) for name, payload in requests]
        ways = _Ways()
        ways.begin("channel", self._post.asking(None, lambda: not pending)(parcels.JOIN, held, deadline_s))
        ways.begin("flower", self._flower(parcels.JOIN, requests, deadline_s))
        try:
            for way, name, answer in ways:
                if name not in pending:
                    continue
                pending.discard(name)
                done.add(name)
                if way == "channel" and not isinstance(answer, Exception):
                    self._there.add(name)
                yield name, answer
                if not pending:
                    return
        finally:
            done.update(pending)  # nobody is waited for any more
            pending.clear()

    def _further(self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answered]:
        """Those that are there by the channel, and all others, and who is lost there, by Flower: all within the phase's
        time, or whoever comes and goes would have it twice.
        """
        ends = time.monotonic() + deadline_s
        there = {name: payload for name, payload in requests if name in self._there}
        others = [(name, payload) for name, payload in requests if name not in there]
        self._flower.elsewhere.clear()
        ways = _Ways()
        if others:
            ways.begin("flower", self._flower(kind, others, deadline_s))
        if there:
            ways.begin("channel", self._post.asking(None)(kind, list(there.items()), deadline_s))
        for way, name, answer in ways:
            if way == "channel":
                if isinstance(answer, Exception) and not isinstance(answer, Refusal):
                    self._lost(kind, name, there[name], ends - time.monotonic(), ways)
                    continue
                if isinstance(answer, Refusal) or kind == parcels.RESULT:
                    self._there.discard(name)  # it holds its message no longer
            yield name, answer

    def _lost(self, kind: str, name: str, payload: Payload, left_s: float, ways: _Ways) -> None:
        """Ask a node by Flower that the channel has lost, for as long as there is."""
        _log.warning("%s is lost on the channel: it is asked by Flower's messages", name)
        self._there.discard(name)
        if left_s > 0:
            ways.begin("flower", self._flower(kind, [(name, payload)], left_s))


def _wanted(payload: Payload) -> Payload:
    """Asks for the answer to a payload that a node holds."""
    return Payload(lambda: Parcel(parcels.HELD, (_mark(payload()),)).to_bytes(), answer_limit(payload))


class _Ways:
    """Answers that come by several ways at once; a thread waits at each."""

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[tuple[str, str, bytes | memoryview | Exception] | BaseException | None]
        self._came, self._running = queue.SimpleQueue(), 0

    def begin(self, way: str, answers: Iterable[Answered]) -> None:
        """Listen to one more."""

        def listen() -> None:
            try:
                for name, answer in answers:
                    self._came.put((way, name, answer))
                self._came.put(None)
            except BaseException as error:
                self._came.put(error)

        self._running += 1
        threading.Thread(target=listen, name=f"secure-agg-{way}", daemon=True).start()

    def __iter__(self) -> Iterator[tuple[str, str, bytes | memoryview | Exception]]:
        """Way, name and answer, until all ways have come to their ends."""
        while self._running:
            came = self._came.get()
            if came is None:
                self._running -= 1
            elif isinstance(came, BaseException):
                raise came
            else:
                yield came
