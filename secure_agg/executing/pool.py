"""Several workers: shards drawn by whoever is free, and done again where a worker is lost.

A shard is a function of what it is handed, so that doing it again gives the same. A guest is not, and is lost with its
worker: whoever had it there makes it anew (``local/hosting.py`` does, from what every answer brought back).
"""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from secure_agg._version import __version__
from secure_agg.errors import ExecutorError, LocalProtocolError, WorkerLost
from secure_agg.executing.executor import Executor, Guest, Shard, check_workers

_log = logging.getLogger("secure_agg.executing.pool")
_T = TypeVar("_T")

TRIES: Final = 3
"""Workers that may be lost with one shard: it is then taken to be what ends them, by its size for instance."""


class Desk:
    """What runs in a worker, whatever carries calls to it: functions of shards, and guests."""

    def __init__(self) -> None:
        self._guests: dict[int, Any] = {}

    def answer(self, call: tuple[str, Any]) -> tuple[bool, Any]:
        """Do one thing; whether it was done, and what it returned or raised."""
        try:
            kind, given = call
            return True, _CALLS[kind](self, given)
        except Exception as error:
            return False, error

    def _shard(self, given: tuple[Callable[..., Any], Shard]) -> Any:
        work, shard = given
        return shard.run(work)

    def _make(self, given: tuple[int, Callable[..., Any], tuple[Any, ...]]) -> None:
        number, make, arguments = given
        self._guests[number] = make(*arguments)

    def _guest(self, given: tuple[int, str, tuple[Any, ...]]) -> Any:
        number, method, arguments = given
        return getattr(self._guests[number], method)(*arguments)

    def _leave(self, number: int) -> None:
        self._guests.pop(number, None)

    def _hello(self, cores: int) -> str:
        from mpc import parallel

        parallel.limit(cores)
        return __version__


_CALLS: Final[dict[str, Callable[[Desk, Any], Any]]] = {
    "shard": Desk._shard,
    "make": Desk._make,
    "guest": Desk._guest,
    "leave": Desk._leave,
    "hello": Desk._hello,
}


class Worker(ABC):
    """Somebody else, at whom a ``Desk`` answers."""

    @abstractmethod
    def ask(self, call: tuple[str, Any]) -> tuple[bool, Any]:
        """Carry a call to the desk, and back what it answers.

        Raises:
            WorkerLost: it is gone.
        """

    @abstractmethod
    def pid(self) -> int:
        """Its process, on its machine."""

    @abstractmethod
    def end(self) -> None:
        """End it; harmless where it has ended."""


class _Seat:
    """A place for a worker. It is there from the first call on, and another one when it is lost.

    Attributes:
        term: counts the workers that have been here.
    """

    def __init__(self, start: Callable[[], Worker], cores: int) -> None:
        self._start, self._cores = start, cores
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self.term = 0

    def call(self, kind: str, given: Any, *, term: int | None = None) -> Any:
        """Ask whoever is here; with ``term`` only that worker.

        Raises:
            WorkerLost: it is gone; the next call starts another.
        """
        with self._lock:
            return self._call(kind, given, term)

    def make(self, given: Any) -> int:
        """Make a guest with whoever is here; returns the worker's term.

        Raises:
            WorkerLost: it is gone.
        """
        with self._lock:
            self._call("make", given, None)
            return self.term

    def _call(self, kind: str, given: Any, term: int | None) -> Any:
        if term not in (None, self.term):
            raise WorkerLost("a worker is gone, and what it held")
        try:
            done, answer = self._present().ask((kind, given))
        except BaseException:  # also of an interrupt: an answer that nobody took would be taken for the next one
            self._vacate()
            raise
        if not done:
            raise answer
        return answer

    def _present(self) -> Worker:
        if self._worker is None:
            self._worker, self.term = self._start(), self.term + 1
            done, version = self._worker.ask(("hello", self._cores))
            if not done or version != __version__:
                self._vacate()
                raise ExecutorError(f"a worker has secure-agg {version}, and this is {__version__}")
        return self._worker

    def _vacate(self) -> None:
        worker, self._worker, self.term = self._worker, None, self.term + 1
        if worker is not None:
            worker.end()

    def pid(self) -> int | None:
        """The process of the worker that is here; None where there is none."""
        worker = self._worker
        return None if worker is None else worker.pid()

    def end(self) -> None:
        """End the worker."""
        with self._lock:
            self._vacate()


class _Hosted(Guest):
    def __init__(self, seat: _Seat, number: int, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._seat, self._number = seat, number
        self._term = seat.make((number, make, arguments))

    def call(self, method: str, *arguments: Any) -> Any:
        return self._seat.call("guest", (self._number, method, arguments), term=self._term)

    def leave(self) -> None:
        try:
            self._seat.call("leave", self._number, term=self._term)
        except WorkerLost:
            _log.debug("a guest is gone with its worker")


class Pool(Executor):
    """An executor with workers. They are started when the first work comes."""

    def __init__(self, workers: int, *, least: int, handing: float, cores: int = 1) -> None:
        """
        Args:
            workers: how many.
            least, handing: see ``Executor``.
            cores: threads that the kernels of one worker use.

        Raises:
            ConfigError: a number out of range.
        """
        self.workers, self.least, self.handing = check_workers(workers), max(1, least), handing
        start = type(self)._start  # of the class: a seat that knew its pool would keep it from being forgotten
        self._seats = [_Seat(start, cores) for _ in range(workers)]
        self._numbers: Iterator[int] = itertools.count()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="executing")
        # Whoever forgets to close it, or has nowhere to, leaves nothing behind.
        self._closing = weakref.finalize(self, _end, self._seats, self._threads)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.workers})"

    @staticmethod
    @abstractmethod
    def _start() -> Worker:
        """One more worker.

        Raises:
            WorkerLost, ExecutorError: it does not start.
        """

    def pids(self) -> tuple[int, ...]:
        """The processes of the workers that are there, each on its machine."""
        return tuple(pid for seat in self._seats if (pid := seat.pid()) is not None)

    def map(self, work: Callable[..., _T], shards: Sequence[Shard]) -> list[_T]:
        """Each by the next worker that is free; see ``Executor``."""
        self._check_open()
        waiting = deque(enumerate(shards))
        found: dict[int, _T] = {}

        def serve(seat: _Seat) -> None:
            while True:
                try:
                    index, shard = waiting.popleft()
                except IndexError:
                    return
                found[index] = self._done(seat, work, shard)

        serving = [self._threads.submit(serve, seat) for seat in self._seats[: len(shards)]]
        try:
            for future in serving:
                future.result()
        finally:
            waiting.clear()
            for future in serving:
                future.exception()  # nobody works on after this has returned
        return [found[index] for index in range(len(shards))]

    def _done(self, seat: _Seat, work: Callable[..., _T], shard: Shard) -> _T:
        for left in reversed(range(TRIES)):
            try:
                context, start, stop, value = seat.call("shard", (work, shard))
            except WorkerLost as error:
                if not left:
                    raise WorkerLost(f"{TRIES} workers were lost with {shard}: {error.args[0]}") from error
                _log.warning("a worker was lost: %s is done again", shard)
                continue
            if (context, start, stop) != (shard.context, shard.start, shard.stop):
                raise ExecutorError(f"an answer about [{start}, {stop}) of {context.hex()[:16]}… came for {shard}")
            result: _T = value
            return result
        raise LocalProtocolError("a shard was not tried")

    def host(self, make: Callable[..., Any], *arguments: Any) -> Guest:
        """With the next worker in turn.

        Raises:
            WorkerLost: workers are lost again and again.
        """
        self._check_open()
        number = next(self._numbers)
        for left in reversed(range(TRIES)):
            try:
                return _Hosted(self._seats[number % self.workers], number, make, arguments)
            except WorkerLost:
                if not left:
                    raise
        raise LocalProtocolError("an object was not made")

    def _check_open(self) -> None:
        if not self._closing.alive:
            raise LocalProtocolError("this executor has been closed")

    def close(self) -> None:
        """End the workers."""
        self._closing()


def _end(seats: Sequence[_Seat], threads: ThreadPoolExecutor) -> None:
    for seat in seats:
        seat.end()
    threads.shutdown()
