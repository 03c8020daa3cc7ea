"""What an executor is, and the one that needs no other process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from secure_agg.errors import ConfigError

_T = TypeVar("_T")

MOST_WORKERS: Final = 1024
LEAST: Final = 1 << 18
"""Coordinates of a shard that are worth being handed to somebody else; adding as many takes some 0.1 ms."""


@dataclass(frozen=True)
class Shard:
    """One part of some work.

    Attributes:
        context: digest of the configuration that it belongs to; every shard of a round has the same.
        start, stop: which part of the whole it is, in the work's own units.
        arguments: what lies in it. May hold secrets, so it is never shown.
    """

    context: bytes
    start: int
    stop: int
    arguments: tuple[Any, ...] = field(default=(), repr=False)

    def run(self, work: Callable[..., _T]) -> tuple[bytes, int, int, _T]:
        """Do it: ``work(start, stop, *arguments)``, and say of what that is the result."""
        return self.context, self.start, self.stop, work(self.start, self.stop, *self.arguments)

    def __str__(self) -> str:
        return f"shard [{self.start}, {self.stop}) of {self.context.hex()[:16]}…"


class Guest(ABC):
    """An object that lives with a worker for as long as that does."""

    @abstractmethod
    def call(self, method: str, *arguments: Any) -> Any:
        """Call one of its methods.

        Raises:
            WorkerLost: the worker is gone, and the object with it.
        """

    @abstractmethod
    def leave(self) -> None:
        """Let it go; harmless where it is gone."""


class Executor(ABC):
    """Does work that splits. Safe to use from several threads. A context manager: leaving it ends its workers.

    Attributes:
        workers: how many shards are done at a time. With 1 nothing is split: the kernels use all cores by themselves.
        least: coordinates of a shard; shorter vectors are not split so far.
        handing: what handing one coordinate over costs, in additions of one; work that costs less is done here.
    """

    workers: int = 1
    least: int = LEAST
    handing: float = 0.0

    @abstractmethod
    def map(self, work: Callable[..., _T], shards: Sequence[Shard]) -> list[_T]:
        """``work(shard.start, shard.stop, *shard.arguments)`` of each, in order.

        Args:
            work: a function of a module, and of its arguments alone: it may be called again for the same shard.

        Raises:
            WorkerLost: workers were lost with one shard again and again.
            ExecutorError: a worker's answer is not of what it was asked.
            Exception: whatever ``work`` raises.
        """

    @abstractmethod
    def host(self, make: Callable[..., Any], *arguments: Any) -> Guest:
        """Make an object with a worker: ``make(*arguments)``. Objects are spread over the workers evenly."""

    def close(self) -> None:  # noqa: B027 - without workers there is nothing to end
        """End the workers. Harmless when closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class InProcess(Executor):
    """Everything here and now, by whoever calls."""

    def __repr__(self) -> str:
        return "InProcess()"

    def map(self, work: Callable[..., _T], shards: Sequence[Shard]) -> list[_T]:
        """One after the other."""
        return [shard.run(work)[-1] for shard in shards]

    def host(self, make: Callable[..., Any], *arguments: Any) -> Guest:
        """The object itself."""
        return _Here(make(*arguments))


class _Here(Guest):
    def __init__(self, target: Any) -> None:
        self._target = target

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._target, method)(*arguments)

    def leave(self) -> None:
        self._target = None


IN_PROCESS: Final = InProcess()
"""Holds nothing, so one is enough."""


def check_workers(workers: int) -> int:
    """Refuse a number of workers out of range.

    Raises:
        ConfigError: it is not in [1, ``MOST_WORKERS``].
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"workers are {workers!r}, not an integer in [1, {MOST_WORKERS}]")
    return workers
