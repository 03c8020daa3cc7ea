"""A task's rounds, one after the other, in a thread: from the model that the results have led to, for whoever comes.

Everything that a round is stands in the home. A server that died goes on where it was: the coordinator finds what was
begun, and members that wait for its answer ask the new process.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from secure_agg.errors import ConfigError, LedgerError, RoundAborted, RunStopped, SecureAggError, StoreError
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.core.epochs.server import Epochs
from secure_agg.plugins.core.phases import Ask, Payload, Refusal, one_line
from secure_agg.plugins.core.server.history import last_model
from secure_agg.plugins.homes import kept
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.identity import Roster
from secure_agg.roles.epochs.pins import closing
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import AWAY_S, Post
from secure_agg.service.wire import encode_model

TRAIN_S: Final = 3600.0
"""Seconds that members have to train, unless something else is said."""
GATHER_S: Final = 10.0
"""How long a round waits for the last members once enough of them for a round are there."""
_REST_S: Final = (1.0, 60.0)
"""After a round that came to nothing: at first, and at most."""

_LASTING: Final = (ConfigError, LedgerError, RunStopped, StoreError)
"""With which a task stands still until somebody does something."""

Named = Mapping[str, npt.NDArray[Any]]

_log = logging.getLogger("secure_agg.service")


@dataclass(frozen=True)
class Timing:
    """How a task's rounds are paced.

    Attributes:
        rounds: how many results the task is to have; None goes on for ever.
        train_s: seconds that members have to train.
        gather_s: see ``GATHER_S``.
        away_s: see ``post.AWAY_S``.
        phase_s: seconds that members have to answer in a phase, at least; None for the home's.
    """

    rounds: int | None = None
    train_s: float = TRAIN_S
    gather_s: float = GATHER_S
    away_s: float = AWAY_S
    phase_s: float | None = None


class Handed(tuple[bytes, bytes, bytes]):
    """A model that is handed out: its digest, and its encoding in two pieces."""


class Rounds(threading.Thread):
    """Of one task.

    Attributes:
        home: the server's.
        handed: the model that the round under way is over.
        failure: the last round's error, None where it was verified.
        done: set once the task has all results that it is to have.
        rosters: members by epoch, newest first.
    """

    def __init__(self, home: ServerHome, post: Post, monitor: Monitor, timing: Timing = Timing()) -> None:
        """
        Raises:
            ConfigError: there is no model to begin with, or it is not the one that is pinned.
        """
        super().__init__(name=f"secure-agg-{home.task}", daemon=True)
        self.home = home
        self.handed: Handed | None = None
        self.failure: Exception | None = None
        self.done = threading.Event()
        self._post, self._monitor, self._timing = post, monitor, timing
        self._coordinator = Coordinator(home, phase_s=timing.phase_s, train_s=timing.train_s)
        self._epochs = Epochs(home)
        self.rosters: Sequence[Roster] = tuple(self._epochs.rosters())
        self._model = self._begin()
        self._stepped: float | None = None

    def _begin(self) -> Named:
        """The model that the next round is over.

        Raises:
            ConfigError: there is none.
        """
        found = last_model(self.home)
        if found is not None:
            return found[1]
        first = kept.kept(self.home)
        if first is None:
            raise ConfigError(f"task {self.home.task!r} has no model to begin with: give its file by --model")
        return first

    @property
    def records(self) -> int:
        """How many results the task has."""
        return len(self.home.ledger.indexes(self.home.task))

    @property
    def is_done(self) -> bool:
        """Whether the task has all results that it is to have."""
        return self._timing.rounds is not None and self.records >= self._timing.rounds

    def run(self) -> None:
        """Until the post is closed."""
        rest = _REST_S[0]
        with contextlib.suppress(_Stopped):
            while True:
                try:
                    with self._stopping():
                        self._once()
                    self.failure, rest = None, _REST_S[0]
                except _Stopped:
                    raise
                except Exception as error:
                    self._failed(error)
                    self._post.rest(rest)
                    rest = min(2 * rest, _REST_S[1])
        _log.info("rounds of %r end", self.home.task, extra={"task": self.home.task})

    @property
    def is_well(self) -> bool:
        """Whether rounds go on by themselves: what ails them, if something does, may pass."""
        return self.is_alive() and not isinstance(self.failure, _LASTING)

    @property
    def _least(self) -> int:
        """How many members there have to be."""
        policy, members = self.home.trust.task(self.home.task).policy, len(self.rosters[0])
        return 1 if self.is_done else policy.min_advertised if not policy.cohort_size else members // 2 + 1

    def _once(self) -> None:
        """Wait for members, show them what they have missed, and make a round."""
        self.rosters = tuple(self._epochs.rosters())
        if self.is_done:
            self.done.set()
        names = self._gather()
        ask = self._asking(self._model)
        self._coordinator.catch_up(names, ask)
        if self.is_done:
            self._post.rest(_REST_S[0])
        elif len(names) < self._least:
            self._coordinator.change(Layers.of(self._model).floats(self._model), ask)
            self._post.rest(_REST_S[0])
        else:
            about = self._about(names, ask)
            self._took(self._coordinator.round(Layers.of(self._model).floats(self._model), ask, about))

    def _about(self, names: Sequence[str], ask: Ask) -> bytes:
        """What most of the members that are there want a round of, where the model does not say: see
        ``Session.contribute``. The others will not join it.
        """
        if self.home.checks_model or self.home.trust.task(self.home.task).policy.privacy is None:
            return NO_DIGEST
        payload = Payload(self._coordinator.challenge)
        heard = []
        for name, answer in ask(
            parcels.HELLO, [(name, payload) for name in names], self._coordinator.deadlines.phase_s
        ):
            try:
                if not isinstance(answer, Exception) and self._coordinator.identify(answer) == name:
                    heard.append(name)
            except SecureAggError as error:
                _log.warning("%s has not said what it is there for: %s", name, one_line(error))
        return self._coordinator.surroundings(heard)

    def _failed(self, error: Exception) -> None:
        """A round has come to nothing, or something that no round should end with has happened: both are logged."""
        self.failure = error
        self._monitor.failed(self.home.task, error)
        expected = isinstance(error, SecureAggError)
        _log.error(
            "%s: %s", type(error).__name__, one_line(error), exc_info=None if expected else error,
            extra={
                "task": self.home.task, "error": type(error).__name__, "phase": getattr(error, "phase", None),
            },
        )  # fmt: skip

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """What comes to nothing because the service is being stopped is no failure of a round."""
        try:
            yield
        except RoundAborted:
            if self._post.is_closed:
                raise _Stopped from None
            raise

    def _gather(self) -> list[str]:
        """Wait for enough members for a round; where the next epoch lies ready, to close the one in force."""
        roster, usual = self.rosters[0], self._least

        def least() -> int:
            if self.is_done or not self.home.proposal_path.exists():
                return usual
            voters, closers = closing(self.home.trust, self.home.task)
            return min(usual, closers) if voters else usual

        found = self._post.gather(list(roster), least, 0.0 if self.is_done else self._timing.gather_s)
        self._monitor.there(self.home.task, len(found), len(roster), self.records)
        return found

    def _took(self, outcome: Outcome) -> None:
        """Go on to the model of a verified round. The round stands, whatever becomes of this copy of its model."""
        layers = Layers.of(self._model)
        self._model = layers.restore(self._model, outcome.model)
        self._monitor.verified(self.home.task, outcome.stats, self.records)
        _log.info(
            "round %d of %r is verified, over %d members",
            outcome.record.round, self.home.task, len(outcome.participants),
            extra={"task": self.home.task, "round": outcome.record.round},
        )  # fmt: skip
        try:
            kept.keep(self.home, self._model)
        except StoreError as error:
            _log.error("%s", error, extra={"task": self.home.task})

    def _asking(self, named: Named) -> Ask:
        """The way to the members in a round over this model, counted."""
        model = Layers.of(named).floats(named)
        digest = model_digest(model)
        if self.handed is None or self.handed[0] != digest:
            self.handed = Handed((digest, *encode_model(model)))
        ask = self._post.asking(digest)

        def counted(
            kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
        ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
            if kind == parcels.RESULT and self._stepped is not None:
                self._monitor.took(self.home.task, time.monotonic() - self._stepped)
            heard = 0
            try:
                for name, answer in ask(kind, requests, deadline_s):
                    heard += 1
                    if isinstance(answer, Refusal):
                        self._monitor.refused(self.home.task, answer.error)
                    yield name, answer
            finally:
                if not self._post.is_closed and len(requests) > heard:
                    self._monitor.dropped(self.home.task, kind, len(requests) - heard)
                self._stepped = time.monotonic()

        return counted


class _Stopped(Exception):
    """The service is being stopped."""
