"""What the aggregator sends in one phase: a request to each party, put together when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar, overload

from secure_agg.protocol.identity import in_id_order
from secure_agg.protocol.messages import Envelope

_T = TypeVar("_T")


def in_order(items: Mapping[str, _T]) -> tuple[_T, ...]:
    """The values in the order of their ids."""
    return tuple(items[name] for name in in_id_order(items))


class Requests(Sequence[Envelope]):
    """One phase's requests, each made when it is looked at: together they may be n times the cohort's size."""

    def __init__(self, names: Sequence[str], make: Callable[[str], Envelope]) -> None:
        self._names, self._make = names, make

    def __len__(self) -> int:
        return len(self._names)

    def only(self, names: Collection[str]) -> Requests:
        """Those to some of the parties."""
        return Requests([name for name in self._names if name in names], self._make)

    @overload
    def __getitem__(self, index: int) -> Envelope: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Envelope]: ...

    def __getitem__(self, index: int | slice) -> Envelope | Sequence[Envelope]:
        if isinstance(index, slice):
            return Requests(self._names[index], self._make)
        return self._make(self._names[index])
