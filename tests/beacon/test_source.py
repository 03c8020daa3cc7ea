"""A pinned beacon: which pulse draws which cohort, when it is due, and what can't be pinned."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.beacons import rehearsal

from secure_agg.beacon.pulse import SCHEME
from secure_agg.beacon.source import BeaconSource, quicknet
from secure_agg.errors import ConfigError, MalformedMessage, TrustError

CHAIN = rehearsal(range(5, 5 + 3 * 40), step=3)
SOURCE = CHAIN.source


def signature(number: int) -> bytes:
    return CHAIN.pulses[number].signature


def test_the_pulse_of_a_draw_follows_from_round_and_draw() -> None:
    assert [SOURCE.number(r, k) for r, k in ((0, 0), (0, 1), (0, 15), (1, 0), (2, 3))] == [5, 8, 50, 53, 110]
    numbers = {SOURCE.number(r, k) for r in range(20) for k in range(16)}
    assert len(numbers) == 320


def test_the_pulse_that_is_due_is_accepted_and_no_other() -> None:
    SOURCE.check(1, 2, signature(59))
    for wrong in (signature(56), signature(62), signature(5), b"", bytes(48), signature(59)[:-1]):
        with pytest.raises(TrustError, match="round 1, draw 2"):
            SOURCE.check(1, 2, wrong)


@pytest.mark.parametrize(("number", "draw"), [(1 << 16, 0), (0, 16), (-1, 0), (0, -1)])
def test_no_pulse_draws_beyond_the_schedule(number: int, draw: int) -> None:
    with pytest.raises(ConfigError):
        SOURCE.number(number, draw)
    with pytest.raises(TrustError, match="no pulse"):
        SOURCE.check(number, draw, signature(5))


def test_quicknet_keeps_time() -> None:
    source = quicknet(1000, step=20)
    assert source.time(1) == 1692803367
    assert source.time(source.number(1, 0)) == 1692803367 + 3 * (1000 + 320 - 1)
    for now in (source.genesis - 5, source.genesis, source.genesis + 2.9, source.genesis + 3, source.genesis + 3000.5):
        after = source.pulse_after(now)
        due = source.time(after)
        assert due is not None
        assert due > now
        assert after == 1 or due - 3 <= now


def test_a_schedule_that_has_begun_is_not_pinned() -> None:
    source = quicknet(1000)
    due = source.time(1000)
    assert due is not None
    source.check_ahead(due - 1)
    with pytest.raises(ConfigError, match=r"published 0 s ago.*1001 or later"):
        source.check_ahead(due)
    SOURCE.check_ahead(1e12)  # keeps no time
    with pytest.raises(ConfigError, match="keeps no time"):
        SOURCE.pulse_after(0)


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "pedersen-bls-chained"}, {"key": b""}, {"key": b"\xc0" + bytes(95)}, {"first": 0}, {"step": 0},
        {"first": 2**53 + 1}, {"step": 2**32 + 1}, {"genesis": 1}, {"period": 1}, {"genesis": -1, "period": 3},
    ],
)  # fmt: skip
def test_what_is_no_beacon_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BeaconSource(**msgspec.structs.asdict(SOURCE) | change)


def test_a_beacon_has_one_encoding() -> None:
    encoded = quicknet(77, step=2).to_bytes()
    assert BeaconSource.from_bytes(encoded) == quicknet(77, step=2)
    for wrong in (encoded + b"\0", encoded[:-1], b"", encoded.replace(SCHEME.encode(), SCHEME.upper().encode())):
        with pytest.raises(MalformedMessage):
            BeaconSource.from_bytes(wrong)


def test_a_beacon_as_a_document() -> None:
    document = quicknet(77).to_document()
    assert BeaconSource.from_document(document) == quicknet(77)
    for wrong in (
        {**document, "more": 1}, {name: document[name] for name in document if name != "step"},
        {**document, "key": "zz"}, {**document, "first": "1"}, {**document, "key": 7}, [], None,
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            BeaconSource.from_document(wrong)
