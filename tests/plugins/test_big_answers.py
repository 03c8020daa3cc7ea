"""What a node answers is as long as the round needs, or it is not taken in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable
from support.federation import Federation

from secure_agg.errors import MalformedMessage
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Attempt, Payload
from secure_agg.plugins.flower import wire as flower
from secure_agg.plugins.flower.asking import answer_of
from secure_agg.plugins.nvflare import wire
from secure_agg.roles.aggregator import Aggregator


class Site:
    """Answers with pieces of its own making; counts how many it is asked for."""

    def __init__(self, count: int, piece: Callable[[int], bytes], later: int | None = None) -> None:
        self.count, self.piece, self.later, self.asked = count, piece, later, 0

    def __call__(self, message: Shareable) -> Shareable:
        self.asked += 1
        place = message["secure_agg.place"]
        count = self.later if self.later is not None and self.asked > 1 else self.count
        return wire._message(wire.PULL, message["secure_agg.call"], place, count, self.piece(place))


def called(site: Site, limit: int) -> bytes:
    return wire.call(site, "north", parcels.STEP, b"request", contextlib.nullcontext(), limit)


def test_an_answer_of_sixty_four_gigabytes_is_not_asked_for() -> None:
    site = Site(parcels.MAX_PAYLOAD // parcels.PIECE, lambda _: bytes(parcels.PIECE))
    with pytest.raises(MalformedMessage, match="8192 pieces") as caught:
        called(site, 20 << 20)
    assert (site.asked, caught.value.culprit) == (1, "north")


@pytest.mark.parametrize("size", [parcels.PIECE - 1, parcels.PIECE])
def test_pieces_are_counted_together(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    site = Site(3, lambda _: bytes(size))
    limit = 3 * size - 1
    with pytest.raises(MalformedMessage) as caught:
        called(site, limit)
    assert (site.asked, caught.value.culprit) == (3, "north")
    assert len(called(Site(3, lambda _: bytes(size)), 3 * parcels.PIECE)) == 3 * size


@pytest.mark.parametrize(("count", "later"), [(2, 8192), (3, 1)])
def test_an_answer_does_not_grow_while_it_is_fetched(count: int, later: int) -> None:
    site = Site(count, lambda _: b"piece", later)
    with contextlib.suppress(MalformedMessage):
        called(site, 3 * parcels.PIECE)
    assert site.asked == 2


def test_an_answer_without_a_vector_is_short() -> None:
    with pytest.raises(MalformedMessage):
        wire.call(Site(1, lambda _: bytes(parcels.SMALL + 1)), "north", parcels.HELLO, b"", contextlib.nullcontext())


def test_a_sealed_result_is_as_long_as_the_round_needs() -> None:
    sealed = wire.seal(bytes(1001))
    assert wire.unseal(sealed, "north", 1001) == bytes(1001)
    with pytest.raises(MalformedMessage, match="1001 bytes, above 1000") as caught:
        wire.unseal(sealed, "north", 1000)
    assert caught.value.culprit == "north"


def test_a_flower_reply_is_as_long_as_the_round_needs() -> None:
    payload = parcels.Parcel(parcels.ANSWER, (bytes(5000),)).to_bytes()
    reply: Any = SimpleNamespace(has_error=lambda: False, content=flower.put(flower.RecordDict(), payload))
    assert answer_of(reply, len(payload)) == payload
    with pytest.raises(MalformedMessage, match="above"):
        answer_of(reply, len(payload) - 1)


@pytest.mark.parametrize("backend", ["masking", "plain", "additive", "bfv"])
def test_what_a_round_needs_follows_from_its_configuration(backend: str) -> None:
    federation = Federation(4, backend=backend)
    config = federation.config()
    attempt = object.__new__(Attempt)
    attempt.aggregator = object.__new__(Aggregator)
    attempt.aggregator.config = config
    attempt.aggregator._at = -1
    small, joining = attempt._most_bytes(joins=False), attempt._most_bytes(joins=True)
    assert small < 1 << 20
    vector = np.zeros(config.layout.total, np.uint32).nbytes
    assert joining >= small
    assert joining < 40 * vector + (1 << 20)


def test_a_payload_says_how_long_its_answer_may_be() -> None:
    assert Payload(lambda: b"x")() == b"x"
    assert Payload(lambda: b"x").answer == parcels.SMALL
