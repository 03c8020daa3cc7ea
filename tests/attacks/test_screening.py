"""Cheats where inputs are screened: each is named with a proof and left out; the round ends with the others' sum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.federation import Federation
from support.screening.cheats import (
    Bend,
    Screened,
    cancel_with,
    confirm_wrongly,
    cover_for,
    deal_bad_keys,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_all,
    lie_of_edge,
)

from secure_agg.backends.masking.rules import plan
from secure_agg.errors import TooFewClients

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


def test_two_who_cover_for_each_other_are_taken_out_one_after_the_other() -> None:
    """c002 sends a wrong vector and c005 takes its lie upon itself: their numbers agree until c005 is out."""
    played = Screened(Federation(N, options=ON), {"c002": (flip_behind_edge(5),), "c005": (cover_for(2),)})
    played.play()
    assert played.phases[-2:] == ["excise-1", "excise-2"]
    assert played.named["c005"] == "bad-self-mask"
    assert played.named["c002"] in ("bad-edge", "bad-lost-edge")
    assert played.check_sum() == others("c002", "c005")


def test_what_two_do_to_their_vectors_that_cancels_changes_nothing() -> None:
    """Their vectors add up to what they committed to, which is all that a sum is of."""
    played = Screened(Federation(N, options=ON), {"c002": (cancel_with(5),), "c005": (cancel_with(2),)})
    played.play()
    assert (played.check_sum(), played.named) == (others(), {})


@pytest.mark.parametrize(("bend", "kind"), [(flip, "bad-input"), (flip_behind_self_mask, "bad-self-mask")])
def test_cheats_are_told_from_those_who_cancel(bend: Bend, kind: str) -> None:
    bends = {"c001": (bend,), "c002": (cancel_with(5),), "c005": (cancel_with(2),)}
    played = Screened(Federation(N, options=ON), bends)
    played.play()
    assert (played.check_sum(), played.named) == (others("c001"), {"c001": kind})


@pytest.mark.parametrize("phase", ["share-keys", "confirm-edges", "masked-input", "screen"])
def test_whoever_is_silent_before_the_set_is_signed_is_left_out_and_not_named(phase: str) -> None:
    played = Screened(Federation(N, options=ON), silent={"c003": phase})
    played.play()
    assert (played.check_sum(), played.named) == (others("c003"), {})


@pytest.mark.parametrize("phase", ["dispute", "consistency", "unmask", "excise-1"])
def test_whoever_is_silent_later_is_in_the_sum(phase: str) -> None:
    bends: dict[str, tuple[Bend, ...]] = {"c000": (lie_of_edge(1),), "c007": (flip_behind_self_mask,)}
    played = Screened(Federation(N, options=ON), bends, {"c003": phase})
    played.play()
    assert played.named == {"c000": "bad-edge", "c007": "bad-self-mask"}
    assert played.check_sum() == others("c000", "c007")


def test_whoever_is_silent_in_its_own_dispute_is_out() -> None:
    bends: dict[str, tuple[Bend, ...]] = {"c000": (lie_of_edge(1),)}
    played = Screened(Federation(N, options=ON), bends, {"c000": "dispute"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c000"), {"c000": "bad-edge"})
    both = Screened(Federation(N, options=ON), bends, {"c000": "dispute", "c001": "dispute"})
    both.play()
    assert (both.check_sum(), both.named) == (others("c000", "c001"), {})


def test_a_lie_about_the_mask_with_somebody_who_is_lost_is_proved_by_the_rebuilt_key() -> None:
    played = Screened(Federation(N, options=ON), {"c002": (flip_behind_edge(6),)}, {"c006": "screen"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c002", "c006"), {"c002": "bad-lost-edge"})


def test_a_key_that_can_not_be_rebuilt_is_made_up_for_by_the_masks_own_secrets() -> None:
    """The naive version ends the round: the masks with a lost peer stay in the sum."""
    played = Screened(Federation(N, options=ON), {"c006": (deal_bad_keys,)}, {"c006": "screen"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c006"), {"c006": "bad-key-shares"})


def test_a_cheat_whose_key_can_not_be_rebuilt_either_is_taken_out() -> None:
    played = Screened(Federation(N, options=ON), {"c006": (deal_bad_keys, flip_behind_self_mask)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c006"), {"c006": "bad-self-mask"})


def test_a_wrong_confirmation_costs_the_edge_and_nobody_else_its_place() -> None:
    """Without screening the honest peer that sends its input second is left out of the sum."""
    bends: dict[str, tuple[Bend, ...]] = {"c000": (confirm_wrongly(7),)}
    played = Screened(Federation(N, options=ON), bends)
    played.play()
    assert (played.check_sum(), played.named, played.refused) == (others(), {}, {})
    plain = Screened(Federation(N), bends)
    plain.play()
    assert plain.check_sum() == others("c007")
    assert plain.refused["c007"].culprit is None


@pytest.mark.parametrize("bend", [flip, flip_behind_self_mask])
def test_more_cheats_than_may_be_corrupt_end_the_round_and_are_named(bend: Bend) -> None:
    cheats = ("c001", "c004", "c008")
    played = Screened(Federation(N, options=ON), dict.fromkeys(cheats, (bend,)))
    with pytest.raises(TooFewClients, match="3 clients are proved to cheat, more than the 2 that may"):
        played.play()
    assert tuple(played.named) == cheats


def test_without_anybody_who_may_be_corrupt_a_cheat_ends_the_round() -> None:
    honest = Screened(Federation(3, options=ON))
    honest.play()
    assert len(honest.check_sum()) == 3
    played = Screened(Federation(3, options=ON), {"c001": (flip_behind_self_mask,)})
    with pytest.raises(TooFewClients, match="1 clients are proved to cheat"):
        played.play()
    assert played.named == {"c001": "bad-self-mask"}


@pytest.mark.parametrize("changes", [{"bits": 8, "commit_packed": True}, {"bits": 8, "commit_packed": False}])
def test_vectors_that_are_committed_to_in_digits_are_screened_in_them(changes: dict[str, Any]) -> None:
    played = Screened(Federation(N, options=ON, policy_changes=changes), {"c002": (flip_behind_self_mask,)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c002"), {"c002": "bad-self-mask"})


@pytest.mark.slow
def test_on_a_sparse_graph_cheats_are_named_alike() -> None:
    options = ON | {"complete_up_to": 100}
    federation = Federation(110, shapes=((4,),), options=options, policy_changes={"bits": 12})
    bends: dict[str, tuple[Bend, ...]] = {"c002": (flip_behind_self_mask,), "c030": (flip,)}
    played = Screened(federation, bends)
    tape = played.play()
    assert "choose-peers" in played.phases
    assert played.named == {"c002": "bad-self-mask", "c030": "bad-input"}
    assert len(played.check_sum()) == 108
    assert tape.aggregator.session is not None
    assert not plan(tape.aggregator.session).complete


# --- any mix --------------------------------------------------------------------------------------------------

LATER = ("confirm-edges", "masked-input", "screen", "dispute", "consistency", "unmask", "excise-1")


@st.composite
def mixes(draw: st.DrawFn) -> tuple[dict[str, tuple[Bend, ...]], dict[str, str]]:
    """Up to f cheats of any kind among 13 clients, alone or with each other, and from when on they are silent."""
    cheats = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True))
    bends: dict[str, tuple[Bend, ...]] = {}
    silent = {}
    for place, cheat in enumerate(cheats):
        peer = draw(st.integers(0, 12).filter(lambda other, me=cheat: other != me))
        partner = cheats[place - 1] if len(cheats) > 1 else peer
        alone = [flip, flip_behind_self_mask, lie_of_all, deal_bad_seeds, confirm_wrongly(peer)]
        paired = [flip_behind_edge(partner), cover_for(partner), cancel_with(partner), lie_of_edge(peer)]
        bends[f"c{cheat:03d}"] = (draw(st.sampled_from([*alone, *paired])),)
        if draw(st.booleans()):
            silent[f"c{cheat:03d}"] = draw(st.sampled_from(LATER))
    return bends, silent


@given(mixes())
@settings(max_examples=12, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
def test_any_mix_of_cheats_ends_with_the_sum_of_the_others_in_one_attempt(
    mix: tuple[dict[str, tuple[Bend, ...]], dict[str, str]],
) -> None:
    bends, silent = mix
    played = Screened(Federation(13, options=ON), bends, silent)
    played.play()
    summed, honest = set(played.check_sum()), set(Federation(13).names) - bends.keys()
    assert honest <= summed
    assert played.named.keys() <= bends.keys() - summed
