"""The models that a client knows by its own computation from recorded results: the bases of buffered rounds, and which
of them it has used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secure_agg.errors import AlreadyReleased, AnotherModel, PolicyViolation, TaskSpent, WrongContext
from secure_agg.protocol.config.buffer import Base, Bases, base_of, name_bases
from secure_agg.protocol.messages import ADVERTISE, decode, encode
from secure_agg.roles.memory.results import learn_model
from secure_agg.roles.memory.store import AttemptStore, Scope, task_scope

_MAX: Final = 256
_NAME: Final = "base "
_DIGITS: Final = 20


def learn_base(store: AttemptStore, client: str, task: str, base: Base) -> None:
    """Remember, durably, a model that this client has computed itself, from the first one and verified results.

    Args:
        base: one result more than the last; the first is that of the model which the task begins with.

    Raises:
        AlreadyReleased: results have led to another model of this number before: one of them was not the task's.
        WrongContext: a result is missing in between.
    """
    scope = _scope(client, task)
    known = newest_base(store, client, task)
    if known is not None and base.number > known.number + 1:
        raise WrongContext(f"{client!r} knows {known.number} results, and base {base.number} follows from more")
    if store.put(scope, _name(base.number), encode(base)) != encode(base):
        raise AlreadyReleased(f"{client!r} knows another base {base.number} of task {task!r}")
    learn_model(store, client, task, base.model)


def newest_base(store: AttemptStore, client: str, task: str) -> Base | None:
    """The newest model that this client has come to; None for none."""
    scope = _scope(client, task)
    names = store.names(scope, _NAME)
    found = store.get(scope, names[-1]) if names else None
    return decode(Base, found, _MAX) if found is not None else None


def choose_base(store: AttemptStore, client: str, task: str, bases: Bases, model: bytes | None) -> Base:
    """The base that an update is a difference from, in a round whose bases are all this client's own.

    Args:
        bases: of the round.
        model: digest of the arrays that this client trained from.

    Raises:
        AnotherModel: a base is another model than recorded results have led this client to.
        WrongContext: a base follows from results that it has not seen, or the round goes on from an older state.
        PolicyViolation: the client does not say what it trained from, or that is none of the bases.
    """
    for base in bases:
        own = store.get(_scope(client, task), _name(base.number))
        if own is None:
            raise WrongContext(
                f"{client!r} has not computed base {base.number} of task {task!r}: show it the results before",
                phase=ADVERTISE,
            )
        if own != encode(base):
            raise AnotherModel(
                f"the round's base {base.number} is the model {base.model.hex()[:16]}…, and recorded results have led "
                f"{client!r} to {decode(Base, own, _MAX).model.hex()[:16]}…",
                phase=ADVERTISE,
            )
    newest = newest_base(store, client, task)
    if newest is not None and newest.number != bases[-1].number:
        raise WrongContext(
            f"the round goes on from base {bases[-1].number}, and {client!r} knows base {newest.number}",
            phase=ADVERTISE,
        )
    if model is None:
        raise PolicyViolation("the round is buffered: say which of its bases was trained from", phase=ADVERTISE)
    chosen = base_of(bases, model)
    if chosen is None:
        raise PolicyViolation(
            f"the update is a difference from {model.hex()[:16]}…, which is none of the round's bases "
            f"{name_bases(bases)}: train from base {bases[0].number} or a later one",
            phase=ADVERTISE,
        )
    return chosen


class BaseUse:
    """The one use of one base: a client gives one update from each, and none after one from a later."""

    def __init__(self, store: AttemptStore, client: str, task: str, number: int, newest: int, place: bytes) -> None:
        """
        Args:
            task: that the client is bound in.
            number: of the base that its update is a difference from.
            newest: number of the round's newest base.
            place: where the update goes.
        """
        self._store, self._client, self._scope = store, client, task_scope(client, task)
        self._number, self._newest, self._place = number, newest, place

    @property
    def values(self) -> Mapping[str, bytes]:
        """What stands in the scope of the task once the update is given, by name."""
        return {_use(self._number): self._place}

    def check(self) -> None:
        """Refuse a base that was used elsewhere, or comes before one that was.

        Raises:
            TaskSpent: it was, or does; says which base would do.
        """
        for name, said in self.later().items():
            if self._store.get(self._scope, name) is not None:
                raise TaskSpent(said, phase=ADVERTISE)
        number = self._number
        if self._store.get(self._scope, _use(number)) not in (None, self._place):
            raise TaskSpent(
                f"{self._client!r} has given its update from base {number} in another round: each base is used once, "
                f"base {number + 1} would do" + (", once there is one" if number == self._newest else ""),
                phase=ADVERTISE,
            )

    def later(self) -> dict[str, str]:
        """Names in the scope of the task of uses of later bases, with what one means."""
        used = self._number
        # Another process over this store may have gone on since the round was looked at.
        bound = (int(name.rpartition(" ")[2]) for name in self._store.names(self._scope, _use("")))
        later = {*range(used + 1, self._newest + 2), *(number for number in bound if number > used)}
        return {
            _use(number): f"{self._client!r} has given an update from base {number}, and this one is from base {used}: "
            f"bases are used in increasing order, base {number + 1} would do"
            for number in sorted(later)
        }


def _name(number: int) -> str:
    return f"{_NAME}{number:0{_DIGITS}}"


def _use(number: int | str) -> str:
    return f"update from base {number}"


def _scope(client: str, task: str) -> Scope:
    return client, task, "bases"
