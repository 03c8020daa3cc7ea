"""Cheats where inputs are screened: each is named with a proof and left out, and the round ends with the others' sum."""

from __future__ import annotations

import pytest
from support.federation import Federation
from support.screening.cheats import (
    Bend,
    Screened,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_all,
    lie_of_edge,
)

N = 10
ON = {"screening": 1}


def others(*names: str) -> tuple[str, ...]:
    return tuple(name for name in Federation(N).names if name not in names)


def test_honest_clients_are_asked_for_one_round_trip_more_after_their_inputs() -> None:
    played = Screened(Federation(N, options=ON))
    played.play()
    assert played.phases == [
        *("advertise", "share-keys", "confirm-edges", "masked-input", "screen", "consistency", "unmask")
    ]
    assert (played.check_sum(), played.named) == (others(), {})


@pytest.mark.parametrize(
    ("bend", "kind", "phase"),
    [
        (flip, "bad-input", ""),
        (lie_of_all, "bad-input", "dispute"),
        (lie_of_edge(7), "bad-edge", "dispute"),
        (lie_of_edge(0), "bad-edge", "dispute"),
        (flip_behind_edge(7), "bad-edge", "dispute"),
        (flip_behind_edge(0), "bad-edge", "dispute"),
        (flip_behind_self_mask, "bad-self-mask", "excise-1"),
        (deal_bad_seeds, "bad-seed-shares", "excise-1"),
    ],
)
def test_one_cheat_is_named_and_the_sum_is_the_others(bend: Bend, kind: str, phase: str) -> None:
    played = Screened(Federation(N, options=ON), {"c002": (bend,)})
    played.play()
    assert (phase in played.phases) == bool(phase)
    assert played.named == {"c002": kind}
    assert played.check_sum() == others("c002")
