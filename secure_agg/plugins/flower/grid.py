"""The server's side: a grid that makes one verified round of what a strategy sends to all nodes.

A strategy hands its messages to ``send_and_receive`` and averages the replies. This one sends them into a round of the
protocol, and returns one reply: the model that the verified weighted mean and the pinned server optimizer lead to, with
the sum of the weights. Averaging one reply leaves it as it is, so stock strategies go on from the very model that every
node computes too, and keep the last one where a round came to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Message, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from secure_agg.errors import ConfigError, MalformedMessage, RemoteProtocolError, SecureAggError, TooFewClients
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.core.participant import EVALUATION
from secure_agg.plugins.core.phases import Payload, one_line
from secure_agg.plugins.flower import given, records, strategies, wire
from secure_agg.plugins.flower.exchange import Reply, exchange
from secure_agg.plugins.flower.logs import logger, relay
from secure_agg.plugins.homes.server import ServerHome

_TRAIN: Final = "train"
_EVALUATE: Final = "evaluate"
_LONGEST_S: Final = 7 * 24 * 3600.0
"""Most seconds that nodes may train, where a strategy sets no timeout."""

Named = Mapping[str, npt.NDArray[Any]]


class SecureGrid(Grid):
    """Flower's grid, with all training and evaluation in secure rounds: ``strategy.start(grid=SecureGrid(…), …)``."""

    def __init__(
        self,
        grid: Grid,
        strategy: Strategy,
        home: str | PathLike[str],
        *,
        phase_s: float = 60.0,
        custom_strategy: bool = False,
    ) -> None:
        """
        Args:
            grid: Flower's own.
            strategy: the app's; from now on it waits for as many nodes as the pinned policy needs.
            home: the server's folder: identity, pins, ledger.
            phase_s: seconds that nodes have to answer in each phase after training, of which Flower itself takes a
                few. To train they have the strategy's ``timeout``.
            custom_strategy: the strategy overrides ``aggregate_train``, and works on one reply that holds the mean. If
                it makes a model of its own of that, only nodes follow whose homes take any.

        Raises:
            ConfigError: the strategy needs more than the mean, weighs by another metric or has another optimizer than
                is pinned, or the home is unfit.
        """
        relay()
        strategies.check(strategy, custom=custom_strategy)
        server = ServerHome.open(Path(home))
        pinned = server.trust.task(server.task)
        strategies.settle(strategy, server.optimizer, checked=server.checks_model)
        strategies.await_nodes(strategy, pinned.policy.min_advertised)
        self._grid = grid
        self._weight_key = given.WEIGHT_KEY if server.weight_key is None else server.weight_key
        strategies.check_weight(strategy, self._weight_key)
        self._coordinator = Coordinator(server, phase_s=phase_s, train_s=_LONGEST_S)
        self._phase_s = phase_s
        self._members: dict[tuple[str, int], str] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._evaluates = server.task + EVALUATION in server.trust.tasks
        logger.info(
            "secure rounds of task %r with backend %r: %d members, of whom at least %d join and %d are averaged",
            server.task, pinned.policy.backend, len(pinned.roster), pinned.policy.min_advertised,
            pinned.policy.min_clients,
        )  # fmt: skip
        if not self._evaluates:
            logger.warning("no evaluation is pinned beside the task, so none is made")

    # --- what Flower's grid does as before -------------------------------------------------------------------

    def set_run(self, run: Run) -> None:
        """See ``Grid``."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """See ``Grid``."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See ``Grid``."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """See ``Grid``."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """See ``Grid``."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See ``Grid``; nodes refuse what asks for a reply in clear."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See ``Grid``."""
        return self._grid.pull_messages(message_ids)

    # --- what it does in secure rounds -----------------------------------------------------------------------

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Make one secure round of messages that train or evaluate; others are sent as they are.

        Args:
            messages: all of one type; those that train or evaluate with the same content for every node.
            timeout: seconds that nodes have to train or evaluate.

        Returns:
            One reply that holds the means, or none where the round came to nothing: the log says why, and a stock
            strategy keeps the model.

        Raises:
            ConfigError: the messages are of several types, or differ.
        """
        batch = list(messages)
        kinds = {message.metadata.message_type for message in batch}
        categories = {kind.partition(".")[0] for kind in kinds}
        if not categories & {_TRAIN, _EVALUATE}:
            return self._grid.send_and_receive(batch, timeout=timeout)
        if _EVALUATE in categories and not self._evaluates:
            return []
        if len(kinds) != 1 or any(message.content is not batch[0].content for message in batch[1:]):
            raise ConfigError("a secure round is of one type of message, with the same content for every node")
        try:
            return [self._round(batch, trains=_TRAIN in categories, timeout=timeout)]
        except ConfigError:
            raise
        except SecureAggError as error:
            logger.error("%s: %s: %s; the model stays as it was", *kinds, type(error).__name__, error)
            return []

    def _round(self, batch: Sequence[Message], *, trains: bool, timeout: float | None) -> Message:
        content = batch[0].content
        arrays = content.array_records
        if len(arrays) != 1:
            raise ConfigError(f"messages have {len(arrays)} array records, and the model is one")
        ((key, record),) = arrays.items()
        named: Named = records.to_arrays(record)
        if begun := self._as_begun(named):
            named, content = begun, RecordDict({**content, key: records.to_record(begun)})
        members = self._identify(batch)
        if not members and not trains:
            self._evaluates = False
            raise TooFewClients(
                "no node evaluates in secure rounds, and none is asked again: is the mod missing there?"
            )
        content = given.as_it_arrives(content)
        ask = _Ask(self._grid, members, content, batch[0], _LONGEST_S if timeout is None else timeout)
        around = self._coordinator.surroundings(members)
        instructions = given.instructions(batch[0], content, self._weight_key, around).digest
        layers = Layers.of(named)
        model = layers.floats(named)
        run = self._coordinator.round if trains else self._coordinator.evaluate
        outcome = run(model, ask, instructions)
        reply = RecordDict({"metrics": self._metrics(outcome)})
        if trains:
            reply[key] = records.to_record(layers.restore(named, outcome.model))
        return Message(reply, reply_to=batch[0])

    def _metrics(self, outcome: Outcome) -> MetricRecord:
        return MetricRecord({**outcome.metrics, self._weight_key: outcome.weight})

    def _as_begun(self, named: Named) -> Named | None:
        """The model in the types of the run's first one; None where it is in them.

        Flower's averaging turns whole numbers into float64, and its adaptive strategies turn float32 into float64, but
        apps go on replying in the types of their own model.
        """
        dtypes = {name: array.dtype for name, array in named.items()}
        self._dtypes = self._dtypes or dtypes
        if dtypes == self._dtypes:
            return None
        return {name: array.astype(self._dtypes.get(name, array.dtype), copy=False) for name, array in named.items()}

    # --- who is who ------------------------------------------------------------------------------------------

    def _identify(self, batch: Sequence[Message]) -> dict[str, int]:
        """The nodes of these messages by the member that each has proved to be.

        Asked with a message of the same type, so a function of the app without the mod shows before it is given
        anything: its reply is no signature.
        """
        kind = batch[0].metadata.message_type
        nodes = [message.metadata.dst_node_id for message in batch]
        new = {str(node): node for node in nodes if (kind, node) not in self._members}
        payload = self._coordinator.challenge() if new else b""
        requests = [
            (name, _message(wire.put(RecordDict(), payload), node, batch[0], self._phase_s))
            for name, node in new.items()
        ]
        for name, reply in exchange(self._grid, requests, self._phase_s):
            try:
                self._members[kind, new[name]] = self._coordinator.identify(_answer(reply))
            except SecureAggError as error:
                logger.warning("node %s is not in this round: %s: %s", name, type(error).__name__, one_line(error))
        # A node that was restarted has another id, and the old one is listed for a while: the last to sign is there.
        return {member: node for (of, node), member in self._members.items() if of == kind and node in nodes}


@dataclass(frozen=True, eq=False)
class _Ask:
    """How a coordinator's payloads reach the nodes of one batch of messages.

    Attributes:
        grid: Flower's own.
        nodes: by roster id. Those that let a deadline pass are taken out: a dead node would cost one in each phase.
        content: what the app is given, with the payload that joins.
        pattern: type and group of the messages are its own.
        timeout: seconds to train.
    """

    grid: Grid
    nodes: dict[str, int]
    content: RecordDict
    pattern: Message
    timeout: float

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
        """See ``coordinator.Ask``."""
        joins = kind == parcels.JOIN
        deadline_s = min(deadline_s, self.timeout) if joins else deadline_s
        messages, late = [], set()
        most = {name: payload.answer for name, payload in requests}
        for name, payload in requests:
            if name in self.nodes:
                messages.append((name, self._make(name, payload, deadline_s, joins=joins)))
                late.add(name)
            else:
                yield name, ConnectionError("it is not connected, or has not answered in time before")
        for name, reply in exchange(self.grid, messages, deadline_s):
            late.discard(name)
            try:
                yield name, _answer(reply, most[name])
            except SecureAggError as error:
                yield name, error
        for name in late:
            del self.nodes[name]

    def _make(self, name: str, payload: Payload, deadline_s: float, *, joins: bool) -> Callable[[], Message]:
        content = self.content if joins else RecordDict()
        return lambda: _message(wire.put(content, payload()), self.nodes[name], self.pattern, deadline_s)()


def _message(content: RecordDict, node: int, pattern: Message, deadline_s: float) -> Callable[[], Message]:
    metadata = pattern.metadata
    return lambda: Message(content, node, metadata.message_type, ttl=max(1.0, deadline_s), group_id=metadata.group_id)


def _answer(reply: Reply, limit: int = parcels.SMALL) -> bytes:
    """The payload of a reply, of at most ``limit`` bytes.

    Raises:
        RemoteProtocolError: the node refused, is gone, or answered something else.
    """
    if isinstance(reply, Exception):
        raise RemoteProtocolError(f"no reply: {reply}") from reply
    if reply.has_error():
        raise RemoteProtocolError(f"{reply.error.reason} (Flower's error {reply.error.code})")
    payload, _ = wire.take(reply.content, limit)
    if payload is None:
        raise MalformedMessage("the reply is in clear: is the mod missing in the app?")
    return payload
