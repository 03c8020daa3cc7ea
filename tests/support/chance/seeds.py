"""Randomness from a seed, for tests whose outcome depends on what is drawn.

What the packages draw, they draw from the system: keys, attempt secrets, numbers of sessions. Within ``seeded`` all of
that follows from ``SEED`` and a name, in this process and in the order in which it is drawn; what native code draws by
itself (SEAL, OpenSSL) and what other processes draw does not.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from secure_agg.protocol.identity import Identity
from secure_agg.roles.client.client import Client
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator

VARIABLE: Final = "SECURE_AGG_SEED"
SEED: Final = int(os.environ.get(VARIABLE, "1"))
"""Another one draws everything anew: a test that then fails rests on luck."""
DRAWING: Final[tuple[Callable[..., Any], ...]] = (
    Identity.generate,
    Client.__init__,
    EdgeClient.__init__,
    EdgeOperator.__init__,
)
"""What has the system's source as the default of its ``entropy``."""
_BETWEEN: Final = ("random", "secrets", "uuid")
"""Of Python's own, between whoever draws and the source."""


class Stream:
    """Bytes in the place of the system's: other ones at each call, and those of one place in the packages whatever is
    drawn in others, such as a name for a file that is there already in another run.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: dict[str, Iterator[int]] = {}

    def __call__(self, size: int) -> bytes:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_globals["__name__"] in _BETWEEN:
            frame = frame.f_back
        place = f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}"
        number = next(self._counts.setdefault(place, itertools.count()))
        return hashlib.shake_256(f"{SEED} {self._name} {place} {number}".encode()).digest(size)


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Let everything that is drawn meanwhile follow from ``SEED`` and this name; a failure prints the seed."""
    print(f"drawn from {VARIABLE}={SEED} for {name}")  # noqa: T201 - pytest keeps it for the report
    stream = Stream(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", stream)
        patch.setattr(random, "_urandom", stream)  # where `secrets` draws
        for function in DRAWING:
            patch.setitem(inspect.unwrap(function).__kwdefaults__, "entropy", stream)
        yield
