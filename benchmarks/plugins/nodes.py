"""Flower without a network: a grid whose nodes are apps in this process, called when a message is sent.

Everything that a SuperLink would carry is taken apart into Flower's objects and put together again, so apps share no
memory with the server, and what crosses the wire is counted as Flower stores it: each object once in a message.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.measure.cells import AGGREGATOR, CLIENT
from benchmarks.measure.meter import Meter

RUN_ID: Final = 1
ROUND: Final = "round"
"""All of it: frameworks have phases of their own."""
_SERVER: Final = 1
_APP_RAISED: Final = 2

App = Callable[[Message, Context], Message | None]
"""A ``ClientApp``, or what a test puts in its place; None for a node that says nothing."""


@dataclass
class Node:
    """One node.

    Attributes:
        app: what it runs.
        context: its own configuration, and its state in this run.
    """

    app: App
    context: Context


class Nodes(Grid):
    """A grid over nodes in this process; one grid in a process at a time, as Flower's messages know their run.

    Attributes:
        nodes: by node id.
        meter: at every node; a new one for every round that is measured.
        carrying_s: seconds that taking messages apart and putting them together has taken.
    """

    def __init__(self, apps: Mapping[int, tuple[App, UserConfig]]) -> None:
        """
        Args:
            apps: by node id, with the node's own configuration.
        """
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN_ID, _SERVER
        self.nodes = {
            name: Node(app, Context(RUN_ID, name, config, RecordDict(), {})) for name, (app, config) in apps.items()
        }
        self.meter, self.carrying_s = Meter(helpers=False), 0.0  # looking for them takes as long as some messages
        self._replies: dict[str, Message] = {}
        self._ids = itertools.count(1)

    def set_run(self, run: Run) -> None:
        """Nothing: there is one run."""

    @property
    def run(self) -> Run:
        """There is no record of it.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See ``Grid``."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """See ``Grid``."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node's app, which answers at once, or never."""
        pushed = []
        for message in messages:
            name = f"message-{next(self._ids)}"
            node = self.nodes[message.metadata.dst_node_id]
            received, size = self._carried(message)
            party = str(message.metadata.dst_node_id)
            self.meter.sent[AGGREGATOR, party, ROUND] += size
            received.metadata.__dict__["_message_id"] = name
            answered = functools.partial(_run, node, received)
            reply: Message | None = self.meter.run(CLIENT, party, ROUND, "app", answered)
            if reply is not None:
                self._replies[name], size = self._carried(reply)
                self.meter.sent[CLIENT, party, ROUND] += size
            pushed.append(name)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See ``Grid``."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """See ``Grid``; who has not answered at once never does, so there is nothing to wait for."""
        return self.pull_messages(self.push_messages(messages))

    def _carried(self, message: Message) -> tuple[Message, int]:
        started = time.perf_counter()
        message.metadata.__dict__["_message_id"] = ""
        with no_object_id_recompute():  # as Flower does where it sends
            whole = message.object_id
            contents = {name: thing.deflate() for name, thing in get_all_nested_objects(message).items()}
        size = sum(map(len, contents.values()))
        arrived = cast(Message, inflate_object_from_contents(whole, contents))
        self.carrying_s += time.perf_counter() - started
        return arrived, size


class Apart(Nodes):
    """Nodes that work while the server goes on, as processes do, each message in a thread of its own."""

    def __init__(self, apps: Mapping[int, tuple[App, UserConfig]]) -> None:
        super().__init__(apps)
        self._lock, self._threads = threading.Lock(), list[threading.Thread]()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node's app, and don't wait for it."""
        return [self.push(message) for message in messages]

    def push(self, message: Message) -> str:
        """Hand one message to its node's app."""
        name, node = f"message-{next(self._ids)}", self.nodes[message.metadata.dst_node_id]
        received, _ = self._carried(message)
        received.metadata.__dict__["_message_id"] = name

        def work() -> None:
            reply = _run(node, received)
            if reply is not None:
                with self._lock:
                    self._replies[name], _ = self._carried(reply)

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()
        return name

    def settle(self, seconds: float) -> bool:
        """Wait until no node holds a message any more; whether that is so."""
        for thread in self._threads:
            thread.join(seconds)
        left = [thread for thread in self._threads if thread.is_alive()]
        self._threads = left
        return not left


def _run(node: Node, message: Message) -> Message | None:
    """The app's reply; what it raises becomes the error that Flower makes of it."""
    try:
        return node.app(message, node.context)
    except Exception as error:
        return Message(Error(_APP_RAISED, f"{type(error)}:<'{error}'>"), reply_to=message)
