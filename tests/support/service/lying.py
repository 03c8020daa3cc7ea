"""``secure-agg serve`` by a pinned server that lies: ``python lying.py LIE serve …``.

* ``clip``: rounds under another clip than is pinned.
* ``model``: it hands out another model than the one that its results lead to, and says so.
* ``swapped``: the right digest with other arrays.
* ``average``: a result whose sums are another's.
* ``unrecorded``: a result that is in no ledger.
* ``epoch``: it takes what lies ready for an epoch whoever has signed it, and shows another proposal than it was asked
  for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from secure_agg.cli import main
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.epochs import server
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Payload
from secure_agg.plugins.core.server.history import History
from secure_agg.protocol.config import RoundConfig
from secure_agg.roles.task import Task
from secure_agg.service import rounds
from secure_agg.service.epochs.desk import Desk
from secure_agg.service.post import Post


def lie_about_clip() -> None:
    following = Task.next_round

    def next_round(self: Task, *given: Any, **named: Any) -> RoundConfig:
        config = following(self, *given, **named)
        return msgspec.structs.replace(config, policy=msgspec.structs.replace(config.policy, clip=1000.0))

    Task.next_round = next_round  # type: ignore[method-assign]


def lie_about_model() -> None:
    Coordinator.check_model = lambda *_: None  # type: ignore[method-assign]
    History.check = lambda *_: None  # type: ignore[method-assign]
    begin = rounds.Rounds._begin

    def another(self: rounds.Rounds) -> Any:
        return {name: array + 1 for name, array in begin(self).items()}

    rounds.Rounds._begin = another  # type: ignore[method-assign]


def lie_about_arrays() -> None:
    encode = rounds.encode_model
    rounds.encode_model = lambda model: encode([array + np.ones_like(array) for array in model])


def tamper(kind: str, change: Any) -> None:
    ask = Post._ask

    def asked(self: Post, what: str, requests: Sequence[tuple[str, Payload]], *rest: Any) -> Any:
        if what == kind:
            requests = [(name, Payload(lambda make=make: change(make()), make.answer)) for name, make in requests]  # type: ignore[misc]
        return ask(self, what, requests, *rest)

    Post._ask = asked  # type: ignore[method-assign]


def flipped(payload: bytes) -> bytes:
    """The last byte of the evidence's sums."""
    message, *others = Parcel.from_bytes(payload).expect(parcels.RESULT, 2, parcels.MAX_PARTS)
    data = bytearray(message)
    data[-1] ^= 1
    return Parcel(parcels.RESULT, (bytes(data), *others)).to_bytes()


def without_receipt(payload: bytes) -> bytes:
    message, receipt, *others = Parcel.from_bytes(payload).expect(parcels.RESULT, 2, parcels.MAX_PARTS)
    text = bytes(receipt)
    place = text.index(b"\n\n") - 8
    damaged = text[:place] + bytes([text[place] ^ 1 or 65]) + text[place + 1 :]
    return Parcel(parcels.RESULT, (message, damaged, *others)).to_bytes()


def lie_about_epoch() -> None:
    server.check_ready = lambda *_: None
    Desk.proposal = lambda self, number: self._home.proposal_path.read_bytes()  # type: ignore[method-assign]


LIES = {
    "clip": lie_about_clip,
    "model": lie_about_model,
    "swapped": lie_about_arrays,
    "average": lambda: tamper(parcels.RESULT, flipped),
    "epoch": lie_about_epoch,
    "unrecorded": lambda: tamper(parcels.RESULT, without_receipt),
}

if __name__ == "__main__":
    lie, *arguments = sys.argv[1:]
    LIES[lie]()
    main(arguments)
