"""What a backend says of policies whose maker leaves it to the backend: ``Policy.default`` asks, and knows none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from secure_agg import installed

USUAL: Final = "masking"
"""The backend where nobody names one: it needs nobody but one aggregator, and bears dropouts in every phase."""

USUAL_BUFFERED: Final = "additive"
"""The same of a buffered task: its clients speak once."""


class Habits(ABC):
    """The part of a backend that policies ask.

    Attributes:
        commits_packed: values that are committed to several in an element make what this backend sends smaller.
        when_bounded: options that a policy with a norm bound has unless its maker names them.
        halves: values can go as two halves, see ``Policy.halves``.
        clients_sign: it is the clients who sign a set before it is summed, so that a quorum of them is in it.
    """

    commits_packed: ClassVar[bool] = False
    when_bounded: ClassVar[Mapping[str, int]] = {}
    halves: ClassVar[bool] = False
    clients_sign: ClassVar[bool] = True

    @abstractmethod
    def usual_bits(self, clients: int) -> int:
        """Bits per value for sums over so many clients: as many as make nothing larger."""


def habits(backend: str) -> Habits:
    """Those of the backend of that name.

    Raises:
        ConfigError: none or several have that name.
    """
    return installed.backend(backend, Habits)  # type: ignore[type-abstract]  # mypy takes no abstract class as type[T]
