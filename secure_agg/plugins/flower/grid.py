"""The server's side: a grid that makes one verified round of what a strategy sends to all nodes.

A strategy hands its messages to ``send_and_receive`` and averages the replies. This one sends them into a round of the
protocol, and returns one reply: the model that the verified weighted mean and the pinned server optimizer lead to, with
the sum of the weights. Averaging one reply leaves it as it is, so stock strategies go on from the very model that every
node computes too, and keep the last one where a round came to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from secure_agg.errors import ConfigError, DuplicateMessage, RunStopped, SecureAggError, StoreError, TooFewClients
from secure_agg.executing import HERE, Executor, executor_of
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.core.phases import Ask, Late, one_line
from secure_agg.plugins.core.server.history import last_model
from secure_agg.plugins.flower import given, records, simulation, strategies, wire
from secure_agg.plugins.flower.asking import GONE, NodeAsk, WithoutMod, answer_of, message_to
from secure_agg.plugins.flower.channel import AWAY_S, ChannelAsk
from secure_agg.plugins.flower.exchange import Reply, exchange
from secure_agg.plugins.flower.logs import logger, relay
from secure_agg.plugins.homes import kept
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.epoch.body import EVALUATION

if TYPE_CHECKING:
    from secure_agg.service.beside import Beside

_TRAIN: Final = "train"
_EVALUATE: Final = "evaluate"
_LONGEST_S: Final = 7 * 24 * 3600.0
"""Most seconds that nodes may train, where a strategy sets no timeout."""
_TRIES: Final = 2
"""How often the first round of a run is tried: it may come to nothing because a node was late once."""

Named = Mapping[str, npt.NDArray[Any]]


class SecureGrid(Grid):
    """Flower's grid, with all training and evaluation in secure rounds: ``strategy.start(grid=SecureGrid(…), …)``."""

    def __init__(
        self,
        grid: Grid,
        strategy: Strategy,
        home: str | PathLike[str] | None = None,
        *,
        phase_s: float | None = None,
        custom_strategy: bool = False,
        simulated: Mapping[str, Any] | None = None,
        channel: str | None = None,
        executor: Executor | str = HERE,
    ) -> None:
        """
        Args:
            grid: Flower's own.
            strategy: the app's; from now on it waits for as many nodes as the pinned policy needs.
            home: the server's folder: identity, pins, ledger. In Flower's simulation homes are made for the run, under
                the policy of this one, if it is there.
            phase_s: seconds that nodes have to answer in each phase after training, of which Flower itself takes a
                few, at least: three times as long as the slowest message of the run so far. None for what is
                configured in the home. To train they have the strategy's ``timeout``.
            custom_strategy: the strategy overrides ``aggregate_train``, and works on one reply that holds the mean. If
                it makes a model of its own of that, only nodes follow whose homes take any.
            simulated: in a simulation, what ``Policy.default`` is to be told in place of the policy of ``home``:
                ``{"clip": 2.0}``. It counts nowhere else.
            channel: ``HOST:PORT`` where nodes with a channel of their own answer all of a round within one message of
                Flower's, see ``channel``; port 0 for a free one. None for none. It needs the extra ``service``.
            executor: does the aggregator's work on long vectors: its name, see ``secure_agg.executing``, or an executor
                that the app closes.

        Raises:
            ConfigError: nobody can listen at ``channel``; the strategy needs more than the mean, weighs by another
                metric or has another optimizer than is pinned, ``home`` is missing, or no server's, or nobody can
                answer in ``phase_s``.
        """
        relay()
        strategies.check(strategy, custom=custom_strategy)
        if simulation.is_simulated(grid):
            like = Path(home) if home else None
            home = simulation.server_home(grid, strategy, like, simulated, strategies.optimizer(strategy))
        if not isinstance(home, (str, PathLike)) or not str(home):
            raise ConfigError(f"home={home!r} names no folder: 'secure-agg federation init' makes the server's home")
        server = ServerHome.open(Path(home))
        pinned = server.trust.task(server.task)
        strategies.settle(strategy, server.optimizer, checked=server.checks_model)
        members, cohort = len(pinned.roster), pinned.policy.cohort_size
        strategies.check_sample(strategy, members, cohort)
        least = pinned.policy.min_advertised
        # Of a drawn cohort as many have to be there as of the roster.
        strategies.await_nodes(strategy, -(-members * least // cohort) if cohort else least)
        self._draws = bool(cohort)
        self._grid = grid
        self._weight_key = given.WEIGHT_KEY if server.weight_key is None else server.weight_key
        strategies.check_weight(strategy, self._weight_key)
        self._home = server
        self._coordinator = Coordinator(
            server,
            phase_s=phase_s,
            train_s=_LONGEST_S,
            executor=executor_of(executor) if isinstance(executor, str) else executor,
        )
        self._members: dict[tuple[str, int], str] = {}
        self._replaced: set[int] = set()
        self._sends_model = False
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._evaluates = server.task + EVALUATION in server.trust.tasks
        self._beside = None if channel is None else _beside(server, channel)
        logger.info(
            "secure rounds of task %r with backend %r: %d members, of whom at least %d join and %d are averaged; they "
            "have %g s to answer in a phase, and more where messages are slow",
            server.task, pinned.policy.backend, len(pinned.roster), pinned.policy.min_advertised,
            pinned.policy.min_clients, server.phase_s if phase_s is None else phase_s,
        )  # fmt: skip
        if not self._evaluates:
            logger.warning("no evaluation is pinned beside the task, so none is made")

    def last_model(self) -> ArrayRecord | None:
        """The last verified model of this task, for ``initial_arrays``: the only one that nodes go on from.

        Returns:
            Its arrays under the names that they had, or None before the first round:
            ``initial_arrays=grid.last_model() or ArrayRecord(first_model)``.

        Raises:
            StoreError: it is lost.
        """
        found = last_model(self._home)
        return None if found is None else records.to_record(found[1])

    @property
    def home(self) -> ServerHome:
        """The server's home."""
        return self._home

    @property
    def channel(self) -> str | None:
        """``HOST:PORT`` where the channel listens, None where there is none."""
        return None if self._beside is None else self._beside.address

    def close(self) -> None:
        """End the channel; harmless where there is none. It ends with the process too."""
        if self._beside is not None:
            self._beside.close()

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
            One reply that holds the means, or none where the round came to nothing after another that did not: the
            log says why, and a stock strategy keeps the model, which is the last verified one.

        Raises:
            ConfigError: the messages are of several types, or differ.
            RunStopped: no round that trains from this model can succeed, or the first of the run has come to nothing
                twice. The app ends with it: a run without a verified round would end as one that has completed, and
                save an empty model or an untrained one in the place of an earlier result.
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
        trains, tries = _TRAIN in categories, 0
        while True:
            try:
                reply, outcome = self._round(batch, trains=trains, timeout=timeout)
            except (ConfigError, RunStopped):
                raise
            except SecureAggError as error:
                logger.error("%s: %s: %s; the model stays as it was", *kinds, type(error).__name__, error)
                tries += 1
                self._sends_model = True  # nothing is left that a node could lack
                if trains:
                    self._coordinator.check_hope(error, more=tries < _TRIES)
                if not trains or self._coordinator.verified:
                    return []
                logger.warning("no round of this run is verified yet, so this one is tried once more")
            else:
                self._sends_model = False
                logger.info(
                    "%d results are in the one that the strategy receives now: their mean", len(outcome.participants)
                )
                return [reply]

    def train(self, messages: Iterable[Message], *, timeout: float | None = None) -> Outcome:
        """Make one attempt at a secure round of what a strategy has configured to train, and return all of it.

        Raises:
            SecureAggError: it came to nothing.
        """
        return self._round(list(messages), trains=True, timeout=timeout)[1]

    def _round(self, batch: Sequence[Message], *, trains: bool, timeout: float | None) -> tuple[Message, Outcome]:
        """The one reply of a verified round, and what it has come to."""
        content = batch[0].content
        arrays = content.array_records
        if len(arrays) != 1:
            raise ConfigError(f"messages have {len(arrays)} array records, and the model is one")
        ((key, record),) = arrays.items()
        named: Named = records.to_arrays(record)
        if begun := self._as_begun(named):
            named, content = begun, RecordDict({**content, key: records.to_record(begun)})
        layers = Layers.of(named)
        model = layers.floats(named)
        if trains:
            self._coordinator.check_model(model)
            kept.keep_first(self._home, named)
        sent = [message.metadata.dst_node_id for message in batch]
        # Where a beacon draws, it is not for the strategy to say who is asked.
        nodes = sorted({*sent, *self._grid.get_node_ids()}) if self._draws else sent
        members = self._identify(batch[0], nodes, trains=trains)
        content = given.as_it_arrives(content)
        limit = _LONGEST_S if timeout is None else timeout
        bare, digest = self._bare(content, key, layers), model_digest(model)
        ask = NodeAsk(
            self._grid, members, content, batch[0], limit, bare, lambda name: self._coordinator.has_model(name, digest)
        )
        around = self._coordinator.surroundings(members)
        instructions = given.instructions(batch[0], content, self._weight_key, around).digest
        run = self._coordinator.round if trains else self._coordinator.evaluate
        with self._channelled(ask) as way:
            outcome = run(model, way, instructions)
        reply = RecordDict({"metrics": self._metrics(outcome)})
        if trains:
            trained = layers.restore(named, outcome.model)
            self._keep(trained)
            reply[key] = records.to_record(trained)
        return Message(reply, reply_to=batch[0]), outcome

    def _bare(self, content: RecordDict, key: str, layers: Layers) -> RecordDict | None:
        """The content without the model, for nodes that have computed it; None before they have, or after a failure."""
        if self._sends_model or not self._coordinator.verified:
            return None
        record = records.without(content.array_records[key], layers.averaged)
        return None if record is None else RecordDict({**content, key: record})

    @contextmanager
    def _channelled(self, ask: NodeAsk) -> Iterator[Ask]:
        """The way to the nodes in one round: over the channel where there is one."""
        if self._beside is None:
            yield ask
            return
        self._beside.refresh()
        way = ChannelAsk(ask, self._beside)
        try:
            yield way
        finally:
            way.release()

    def _keep(self, model: Named) -> None:
        """The round stands, whatever becomes of this copy of its model: the chain has it too."""
        try:
            kept.keep(self._home, model)
        except StoreError as error:
            logger.error("%s", error)

    def _metrics(self, outcome: Outcome) -> MetricRecord:
        return MetricRecord({**outcome.metrics, self._weight_key: outcome.weight})

    def _as_begun(self, named: Named) -> Named | None:
        """The model in the types of the task's first one; None where it is in them.

        Flower's averaging turns whole numbers into float64, and its adaptive strategies turn float32 into float64, but
        apps go on replying in the types of their own model. What an app has saved of an earlier run is in Flower's.
        """
        dtypes = {name: array.dtype for name, array in named.items()}
        self._dtypes = self._dtypes or self._kept_dtypes(dtypes) or dtypes
        if dtypes == self._dtypes:
            return None
        return {name: array.astype(self._dtypes.get(name, array.dtype), copy=False) for name, array in named.items()}

    def _kept_dtypes(self, names: Iterable[str]) -> dict[str, np.dtype[Any]] | None:
        """Types of the model with these names that the task's rounds have come to, if there is one."""
        model = kept.kept(self._home) if self._home.ledger.last(self._home.task) is not None else None
        if model is None or model.keys() != set(names):
            return None
        return {name: array.dtype for name, array in model.items()}

    # --- who is who ------------------------------------------------------------------------------------------

    def _identify(self, pattern: Message, nodes: Sequence[int], *, trains: bool) -> dict[str, int]:
        """These nodes by the member that each has proved to be.

        Asked with a message of the same type, so a function of the app without the mod shows before it is given
        anything: its reply is no signature.

        Raises:
            TooFewClients: none has, where they evaluate; if all have answered without the mod they are not asked again.
        """
        kind = pattern.metadata.message_type
        without_mod = 0
        new = [node for node in nodes if (kind, node) not in self._members and node not in self._replaced]
        for node, reply in list(self._hello(new, pattern)):  # before any is asked again
            try:
                member = self._coordinator.identify(answer_of(reply))
                self._settle(pattern, node, member, nodes)
            except SecureAggError as error:
                without_mod += isinstance(error, WithoutMod)
                logger.warning("node %d is not in this round: %s: %s", node, type(error).__name__, one_line(error))
        members = {member: node for (of, node), member in self._members.items() if of == kind and node in nodes}
        if not members and not trains:
            if without_mod == len(nodes):
                self._evaluates = False
                raise TooFewClients("no node evaluates in secure rounds, and none is asked again: the mod is missing")
            raise TooFewClients("no node that could evaluate has shown who it is")
        return members

    def _hello(self, nodes: Sequence[int], pattern: Message) -> Iterator[tuple[int, Reply]]:
        """What nodes answer to the challenge; an error for each that does not in time."""
        if not nodes:
            return
        deadline_s = self._coordinator.deadlines.phase_s
        content = wire.put(RecordDict(), self._coordinator.challenge())
        requests = [(str(node), message_to(content, node, pattern, deadline_s)) for node in nodes]
        silent, started = set(nodes), time.monotonic()
        for name, reply in exchange(self._grid, requests, deadline_s):
            silent.discard(int(name))
            if isinstance(reply, Message) and not reply.has_error():
                self._coordinator.deadlines.took(time.monotonic() - started)
            yield int(name), reply
        for node in sorted(silent):
            yield node, Late(deadline_s)

    def _settle(self, pattern: Message, node: int, member: str, nodes: Sequence[int]) -> None:
        """Note which node a member is.

        A node that was restarted has another id, and its old one is listed for a while. Where the old one still answers
        there are two, with one home or copies of it: what one of them has signed the other does not know.

        Raises:
            DuplicateMessage: another node answers for this member too; it stays the member's.
        """
        kind, known = pattern.metadata.message_type, set(nodes)
        others = [
            old for (of, old), name in self._members.items() if (of, name) == (kind, member) and old in known - {node}
        ]
        for old, reply in list(self._hello(others, pattern)):
            if not isinstance(reply, Exception) and not (reply.has_error() and reply.error.code in GONE):
                raise DuplicateMessage(
                    f"nodes {old} and {node} both answer for {member!r}: two nodes have one home, or a copy of it. "
                    f"Only {old} is asked; end one of them, or give it a home of its own"
                )
            del self._members[kind, old]
            self._replaced.add(old)
        self._members[kind, node] = member


def _beside(server: ServerHome, listen: str) -> Beside:
    from secure_agg.service.beside import Beside  # whose packages only those need who have a channel

    beside = Beside(server, listen, AWAY_S)
    logger.info("nodes with a channel of their own answer at https://%s", beside.address)
    return beside
