"""Asking nodes: a coordinator's payloads as Flower's messages, and what is in a reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from secure_agg.errors import MalformedMessage, RemoteProtocolError, SecureAggError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Late, Payload, Refusal, answer_limit
from secure_agg.plugins.flower import wire
from secure_agg.plugins.flower.exchange import Reply, exchange
from secure_agg.protocol.identity import in_id_order

GONE: Final = frozenset(
    {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
)
"""Errors that Flower itself answers with in the place of a node."""
_OURS: Final = re.compile(r"<class 'secure_agg\.errors\.(?P<error>\w+)'>")
"""How Flower begins the error of an app in which the mod has refused."""


class WithoutMod(MalformedMessage):
    """The app itself has answered: the mod is not around this function of it."""


@dataclass(frozen=True, eq=False)
class NodeAsk:
    """How a coordinator's payloads reach the nodes of one batch of messages.

    Attributes:
        grid: Flower's own.
        nodes: by roster id. Those that let a deadline pass are taken out: a dead node would cost one in each phase.
        content: what the app is given, with the payload that joins.
        bare: the same without the model, for nodes that have it; None where all are sent it.
        has_model: whether a member has it.
        pattern: type and group of the messages are its own.
        timeout: seconds to train.
        elsewhere: those that have answered the message under way by another way, and are not waited for in this one.
    """

    grid: Grid
    nodes: dict[str, int]
    content: RecordDict
    pattern: Message
    timeout: float
    bare: RecordDict | None = None
    has_model: Callable[[str], bool] = lambda name: False
    elsewhere: set[str] = field(default_factory=set)

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
        """See ``coordinator.Ask``."""
        joins = kind == parcels.JOIN
        deadline_s = min(deadline_s, self.timeout) if joins else deadline_s
        messages, late = [], set[str]()
        most = {name: answer_limit(payload) for name, payload in requests}
        for name, payload in requests:
            if name in self.nodes:
                messages.append((name, self._make(name, payload, deadline_s, joins=joins)))
                late.add(name)
            else:
                yield name, ConnectionError("it is not connected, or did not answer in time before")
        for name, reply in exchange(self.grid, messages, deadline_s, lambda: late <= self.elsewhere):
            late.discard(name)
            try:
                yield name, answer_of(reply, most[name])
            except SecureAggError as error:
                yield name, error
        late -= self.elsewhere
        for name in late:
            self.nodes.pop(name, None)
        for name in in_id_order(late):
            yield name, Late(deadline_s)  # who trains has had the strategy's time, which only this knows

    def _make(self, name: str, payload: Payload, deadline_s: float, *, joins: bool) -> Callable[[], Message]:
        content = RecordDict()
        if joins:
            content = self.bare if self.bare is not None and self.has_model(name) else self.content
        return lambda: message_to(wire.put(content, payload()), self.nodes[name], self.pattern, deadline_s)()


def message_to(content: RecordDict, node: int, pattern: Message, deadline_s: float) -> Callable[[], Message]:
    metadata = pattern.metadata
    return lambda: Message(content, node, metadata.message_type, ttl=max(1.0, deadline_s), group_id=metadata.group_id)


def answer_of(reply: Reply, limit: int = parcels.SMALL) -> bytes:
    """The payload of a reply, of at most ``limit`` bytes.

    Raises:
        Refusal: the node has refused; its own log says why.
        WithoutMod: it has answered in clear, or its app has failed where the mod answers.
        RemoteProtocolError: it is gone.
    """
    if isinstance(reply, RemoteProtocolError):
        raise reply
    if isinstance(reply, Exception):
        raise RemoteProtocolError(f"no reply: {reply}") from reply
    if reply.has_error():
        code, said = reply.error.code, f"{reply.error.reason} (Flower's error {reply.error.code})"
        ours = _OURS.match(reply.error.reason or "")
        if ours is not None:
            raise Refusal(said, ours["error"])
        if code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION:
            raise WithoutMod(f"the app has failed where the mod answers: is it missing there? {said}")
        raise RemoteProtocolError(said)
    payload, _ = wire.take(reply.content, limit)
    if payload is None:
        raise WithoutMod("the reply is in clear: is the mod missing in the app?")
    return payload
