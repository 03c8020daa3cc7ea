"""FedBuff (Nguyen et al. 2022, arXiv:2106.06639, algorithm 1): the server steps when K updates are there, from the
models that their clients began with, whichever those are.

    w ← w + η · (1/K) · Σ s(t − t_i)·Δ_i,     s(k) = 1/√(1 + k)

t_i being the model that client i began from, and t the newest one. In a round an update has the weight M·s, rounded to
an integer, and Σ s·Δ / K follows from the mean of the round and from what its record says: the sum of the weights, K
and M. So everybody computes the next model, and that a client has counted its staleness is its own word.

* ``Models`` are the last models that results have led to. ``Followed`` are those of one client, which learns them.
* ``replay_buffered`` is an auditor's way through a ledger; ``train_buffered`` a whole training in one process.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_agg.errors import AnotherModel, ConfigError, LedgerError, TrustError
from secure_agg.fl.algorithms.algorithm import State
from secure_agg.fl.algorithms.descent import Array, Descent, Floats, Gradient
from secure_agg.fl.layers import apply, difference
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer, discounted
from secure_agg.local.buffered.task import BufferedTask
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.config.buffer import Base, BufferRule, follow_bases
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.memory.bases import learn_base
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.tlog.receipt import Receipt


def discount(staleness: int, largest: int) -> int:
    """The weight of an update whose model is so many results old: s(k) = 1/√(1 + k), of ``largest``, and 1 at least.

    Raises:
        ConfigError: a negative staleness, or no weight.
    """
    if staleness < 0 or largest < 1:
        raise ConfigError(f"an update {staleness} results old has no weight of at most {largest}")
    return max(1, round(largest / math.sqrt(1 + staleness)))


class Models:
    """The models that a buffered task's results have led to, as far as updates may begin from them.

    Attributes:
        state: the newest, with what the server optimizer remembers.
        bases: what rounds call them, the oldest first.
    """

    def __init__(self, start: Floats, rule: BufferRule, server: ServerOptimizer = PLAIN) -> None:
        """
        Args:
            start: the model that the task begins with, float16, float32 or float64.
            rule: of the policy.
            server: what steps, agreed on by everybody.

        Raises:
            ConfigError: an optimizer that moves more than a model.
        """
        if server.beside:
            raise ConfigError(f"{server.name} moves more than a model: FedAvg, FedAvgM or an adaptive one would do")
        self._rule, self._server = rule, server
        self.state = State(list(start))
        self.bases = follow_bases(rule, None, Base(0, NO_DIGEST, self.state.digest))
        self._arrays = {0: self.state.shared}

    def __getitem__(self, number: int) -> Floats:
        """A base's arrays.

        Raises:
            ConfigError: there is no such base, or none any more.
        """
        if number not in self._arrays:
            raise ConfigError(f"there is no base {number}, {self.bases[0].number} to {self.bases[-1].number} would do")
        return self._arrays[number]

    def advance(self, record: RoundRecord, mean: Sequence[npt.NDArray[np.float64]]) -> Base:
        """Go on by a verified result.

        Args:
            record: of its round, whose bases were these.
            mean: of the round.

        Raises:
            UpdateError: the mean has other shapes, or leads to no finite step.
        """
        step = discounted(mean, record.weight_sum, record.participants, record.weight_limit)
        moves, moments = self._server.step(step, self.state.moments, self.state.rounds)
        self.state = State(apply(self.state.shared, moves), moments, self.state.rounds + 1)
        newest = Base(self.state.rounds, record.digest(), self.state.digest)
        self.bases = follow_bases(self._rule, self.bases, newest)
        self._arrays = {base.number: self._arrays.get(base.number, self.state.shared) for base in self.bases}
        return newest

    def follow(self, verified: Verified) -> Base:
        """Go on by a verified round, once its bases are seen to be these.

        Raises:
            AnotherModel: the round's updates are differences from another model than the results before lead to.
            LedgerError: the round does not follow from the last one.
            UpdateError: see ``advance``.
        """
        record, own = verified.record, self.bases
        if record.previous_record != own[-1].record:
            raise LedgerError(f"round {record.round} of {record.task!r} does not follow from the result before it")
        for base, mine in zip(verified.bases, own, strict=False):
            if base != mine:
                raise AnotherModel(
                    f"base {base.number} of round {record.round} of {record.task!r} is {base.model.hex()[:16]}…, and "
                    f"{mine.number} results with '{self._server}' lead to {mine.model.hex()[:16]}…"
                )
        if len(verified.bases) != len(own):
            raise AnotherModel(
                f"round {record.round} of {record.task!r} has {len(verified.bases)} bases, not {len(own)}"
            )
        return self.advance(record, verified.average)


class Followed(Models):
    """The models of a buffered task as one client computes them: what its updates may be differences from.

    A client that was restarted is taken through the results again, from the first model: its store refuses any other.
    """

    def __init__(
        self, start: Floats, trust: Trust, task: str, client: str, store: AttemptStore, server: ServerOptimizer = PLAIN
    ) -> None:
        """
        Args:
            start: as the client's owner knows it.
            trust: the client's pins.
            task: its id.
            client: its id.
            store: its own, durable.
            server: as pinned.

        Raises:
            ConfigError: the task is not buffered.
            AlreadyReleased: the client knows another first model.
        """
        rule = trust.task(task).policy.buffer
        if rule is None:
            raise ConfigError(f"task {task!r} is not buffered")
        super().__init__(start, rule, server)
        self._trust, self._task, self._client, self._store = trust, task, client, store
        learn_base(store, client, task, self.bases[-1])

    def take(self, evidence: Evidence, receipt: Receipt | None = None) -> Base:
        """Take in the task's next result.

        Args:
            evidence: of its round, whether the client was in it or not.
            receipt: of the pinned ledger.

        Raises:
            TrustError: a ledger is pinned, and there is no receipt.
            VerificationError: the evidence, or the receipt, does not pass; or it is of another task.
            AnotherModel, LedgerError, UpdateError: see ``Models.follow``. Nothing is learnt.
            AlreadyReleased: results have led this client to another model before.
        """
        if evidence.config.task != self._task:
            raise TrustError(f"a result of task {evidence.config.task!r}, not {self._task!r}")
        verified = Auditor(self._trust).verify(evidence)
        if self._trust.log is not None:
            if receipt is None:
                raise TrustError("a ledger is pinned: a result counts with its receipt only")
            self._trust.verify_receipt(verified.record, receipt)
        base = self.follow(verified)
        learn_result(self._store, self._client, verified.record)
        learn_base(self._store, self._client, self._task, base)
        return base


def replay_buffered(
    start: Floats, rounds: Iterable[Evidence], trust: Trust, server: ServerOptimizer = PLAIN
) -> Iterator[State]:
    """Verify a buffered task's rounds, and recompute every model and so every base.

    Args:
        start: the model before the first round.
        rounds: of one task, all of them and in order.
        trust: the auditor's own pins.
        server: the optimizer that was agreed on.

    Yields:
        The state after each round.

    Raises:
        VerificationError: a round's evidence does not pass, or it is not buffered.
        AnotherModel, LedgerError, UpdateError: see ``Models.follow``.
    """
    models: Models | None = None
    for evidence in rounds:
        verified, rule = Auditor(trust).verify(evidence), evidence.config.policy.buffer
        if rule is None:
            raise TrustError(f"round {evidence.config.round} of {evidence.config.task!r} is not buffered")
        models = models or Models(start, rule, server)
        models.follow(verified)
        yield models.state


# --- a whole training -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worker:
    """One client's work.

    Attributes:
        gradient: of its own objective, see ``Gradient``.
        steps: local steps from each base.
        takes: how long its k-th training takes, from 0, above 0.
    """

    gradient: Gradient
    steps: int
    takes: Callable[[int], float]


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Handed:
    """An update in a buffer.

    Attributes:
        update: how its client's training has moved the model.
        base: number of the model that it began from.
        weight: see ``discount``.
    """

    update: Floats
    base: int
    weight: int


def train_buffered(
    task: BufferedTask,
    model: Floats,
    workers: Mapping[str, Worker],
    results: int,
    descent: Descent,
    server: ServerOptimizer = PLAIN,
    *,
    size: int | None = None,
    watch: Callable[[RoundRecord, Mapping[str, Handed], State], None] | None = None,
) -> State:
    """Train, in simulated time: a client that is done hands in its update and goes on from the newest model, once there
    is one that it has not begun from.

    Unlike in the paper a client gives one update from each base at most, and none from a base that is too old.

    Args:
        task: whose first base is ``model``.
        model: to start from, float32 or float64.
        workers: by id, members of the task.
        results: how many rounds.
        descent: how clients descend.
        server: what steps.
        size: K; by default the fewest that the policy allows.
        watch: called after each round with its record, what was summed, and the new state.

    Raises:
        ConfigError: a setting is out of range; or everybody waits for a model that nobody is left to make.
        SecureAggError: see ``BufferedTask.aggregate``.
    """
    policy, rule = task.policy, task.policy.buffer
    wanted = policy.min_clients if size is None else size
    if rule is None or not policy.min_clients <= wanted <= len(workers):
        raise ConfigError(f"a buffer of {wanted} updates, not {policy.min_clients} to {len(workers)}")
    models = Models(model, rule, server)
    if task.bases != models.bases:
        raise ConfigError("the task's newest base is another model than the one to start from")
    floor = _Floor(models, rule, descent, workers)
    while models.state.rounds < results:
        buffer = floor.fill(wanted)
        newest = models.bases[-1].number
        handed = {
            name: Handed(update, base, discount(newest - base, policy.max_weight))
            for name, (base, update) in buffer.items()
        }
        result = task.aggregate(
            {name: item.update for name, item in handed.items()},
            {name: item.base for name, item in handed.items()},
            weights={name: item.weight for name, item in handed.items()},
        )
        task.advance(models.advance(result.record, result.average).model)
        floor.go_on()
        if watch is not None:
            watch(result.record, handed, models.state)
    return models.state


_Done = tuple[int, list[Array]]


class _Floor:
    """Where clients train, each at its own pace."""

    def __init__(self, models: Models, rule: BufferRule, descent: Descent, workers: Mapping[str, Worker]) -> None:
        self._models, self._rule, self._descent, self._workers = models, rule, descent, workers
        self._now, self._order = 0.0, 0
        self._events: list[tuple[float, int, str]] = []
        self._counts = dict.fromkeys(workers, 0)
        self._running: dict[str, _Done] = {}
        self._waiting: dict[str, int] = {}  # for a newer base than this
        self._buffer: dict[str, _Done] = {}
        self._held: dict[str, _Done] = {}  # for the next buffer: its client is in this one already
        for name in workers:
            self._begin(name)

    @property
    def _newest(self) -> int:
        return self._models.bases[-1].number

    def _begin(self, name: str) -> None:
        worker, start = self._workers[name], self._models[self._newest]
        trained = self._descent.run(start, worker.gradient, worker.steps)
        takes = worker.takes(self._counts[name])
        if not takes > 0:
            raise ConfigError(f"training {self._counts[name]} of {name!r} takes {takes!r}, not more than 0")
        self._running[name] = self._newest, difference(trained, start)
        heapq.heappush(self._events, (self._now + takes, self._order, name))
        self._counts[name] += 1
        self._order += 1

    def fill(self, wanted: int) -> Mapping[str, _Done]:
        """Until so many updates are there, each of another client."""
        while len(self._buffer) < wanted:
            if not self._events:
                raise ConfigError(f"{len(self._buffer)} updates of {wanted} are there, and everybody waits")
            self._now, _, name = heapq.heappop(self._events)
            done = self._running.pop(name)
            if self._newest - done[0] <= self._rule.staleness:
                (self._held if name in self._buffer else self._buffer)[name] = done
            if name not in self._held and self._newest > done[0]:
                self._begin(name)
            else:
                self._waiting[name] = done[0]
        return self._buffer

    def go_on(self) -> None:
        """The buffer's result has led to a newer model."""
        self._buffer = {n: done for n, done in self._held.items() if self._newest - done[0] <= self._rule.staleness}
        self._held = {}
        waiting, self._waiting = self._waiting, {}
        for name in waiting:
            self._begin(name)
