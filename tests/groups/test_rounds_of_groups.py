"""Whole rounds of several groups."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import secure_agg
from secure_agg import Group, agreed_clips
from secure_agg.errors import ClippingWarning, ConfigError, LedgerRefused, UpdateError, VerificationError
from secure_agg.ledger.chain import check_begins
from secure_agg.protocol.codec.support import support, support_key
from secure_agg.protocol.config.groups import clip_of, next_step, step_of

MODEL = Group(name="model", bits=8, clip=0.5)
CONTROLS = Group(name="controls", bits=10, clip=3.0, weighted=False)
VISITS = Group(name="visits", kind="count", bits=6, clip=0.0, weighted=False)
TURNED = Group(name="turned", bits=8, clip=1.0, rotated=True)
SPARSE = Group(name="sparse", bits=8, clip=1.0, support=(1, 10))
MOVING = Group(name="moving", bits=4, clip=0.01, clip_rule="adaptive")
ALL = (MODEL, CONTROLS, VISITS, TURNED, SPARSE, MOVING)
GROUPING = ("model", "controls", "visits", "turned", "sparse", "moving", "moving")
NAMES = [f"c{i}" for i in range(5)]
WEIGHTS = {name: i + 1 for i, name in enumerate(NAMES)}


def updates() -> dict[str, list[npt.NDArray[Any]]]:
    rng = np.random.default_rng(7)
    return {
        name: [
            rng.normal(size=(30, 4)) * 0.1,
            rng.normal(size=50).astype(np.float32),
            rng.integers(0, 64, 7).astype(float),
            rng.normal(size=1300) * 0.2,
            rng.normal(size=(10, 20)) * 0.3,
            rng.normal(size=(10, 20)) * 0.3,
            rng.normal(size=33) * 0.001,
        ]
        for name in NAMES
    }


def play(given: Mapping[str, list[npt.NDArray[Any]]], **changes: Any) -> secure_agg.Result:
    settings: dict[str, Any] = {"groups": ALL, "grouping": GROUPING, "weights": WEIGHTS, "backend": "masking"}
    return secure_agg.aggregate(given, **(settings | changes))


def mean(given: Mapping[str, list[npt.NDArray[Any]]], array: int, *, weighted: bool = True) -> npt.NDArray[np.float64]:
    weights = [WEIGHTS[name] if weighted else 1 for name in given]
    return np.average([arrays[array].astype(np.float64) for arrays in given.values()], axis=0, weights=weights)


@pytest.mark.filterwarnings("ignore::secure_agg.errors.ClippingWarning")
@pytest.mark.parametrize("backend", ["plain", "masking", "additive", "bfv"])
def test_every_group_comes_out_with_its_own_range_and_weighting(backend: str) -> None:
    given = updates()
    result = play(given, backend=backend)
    config, record = result.evidence.config, result.record
    error = {group.name: group for group in record.groups}
    assert list(error) == sorted(error) == list(result.groups)
    assert np.abs(result.average[0] - mean(given, 0)).max() < error["model"].error_bound
    clipped = {name: [array.clip(-3, 3) for array in arrays] for name, arrays in given.items()}
    assert np.abs(result.average[1] - mean(clipped, 1, weighted=False)).max() < error["controls"].error_bound
    assert np.array_equal(result.groups["visits"][0], sum(arrays[2] for arrays in given.values()))
    off = result.average[3] - mean(given, 3)
    assert np.abs(off).max() < error["turned"].error_bound
    assert np.sqrt(np.mean(off**2)) < error["turned"].error_rms
    chosen = support(support_key(config.context, "sparse"), 200, 20)
    flat, wanted = result.average[4].reshape(-1), mean(given, 4).reshape(-1)
    assert np.abs(flat - wanted)[chosen].max() < error["sparse"].error_bound
    assert not np.delete(flat, chosen).any()
    assert error["model"].error_bound == pytest.approx(0.5 / 127 * 5 * 5 / 15)
    assert error["controls"].error_bound == pytest.approx(3.0 / 511)
    assert record.error_bound == max(group.error_bound for group in record.groups)


def test_a_clip_follows_the_updates_and_the_next_round_has_to_have_it(tmp_path: Any) -> None:
    given = {name: [arrays[5], arrays[6]] for name, arrays in updates().items()}
    settings: dict[str, Any] = {"groups": [MOVING], "grouping": ["moving"] * 2, "ledger": tmp_path / "log.db"}
    with pytest.warns(ClippingWarning, match="follows the updates"):
        first = play(given, **settings)
    k = step_of(0.01)
    assert first.evidence.config.clips == (k, k)
    # All are clipped in the first array, nobody in the second.
    due = (next_step(k, 5, 0), next_step(k, 5, 5))
    assert due == (k + 58, k - 6)
    assert first.record.next_clips == due
    with pytest.warns(ClippingWarning):
        second = play(given, **settings)
    assert second.evidence.config.clips == due
    assert second.evidence.config.layout.parts[0].clips == tuple(map(clip_of, due))
    check_begins(second.evidence.config, first.record)
    with pytest.raises(LedgerRefused, match="clips of steps"):
        check_begins(second.evidence.config, None)


@pytest.mark.filterwarnings("ignore::secure_agg.errors.ClippingWarning")
def test_a_sum_beyond_its_own_groups_range_is_refused_though_another_group_could_reach_it() -> None:
    """Where one top were that of all coordinates, a count of 6 bits could be 2^10 for each client."""
    evidence = play(updates(), backend="plain").evidence
    layout = evidence.config.layout
    place = next(part for part in layout.parts if part.group.name == "visits").start
    sums = evidence.sums.copy()
    sums[place] = 5 * 63 + 1
    assert sums[place] < 5 * 1022
    with pytest.raises(VerificationError, match=rf"X\[{place}\] is 316, above 315"):
        secure_agg.verify(replace(evidence, sums=sums))


def test_what_is_no_count_is_refused_by_its_place_and_a_count_above_its_bits_is_clipped() -> None:
    given = {name: [np.array([1.0, 2.5])] for name in NAMES}
    with pytest.raises(UpdateError, match="array 0 holds no integer at flat index 1"):
        play(given, groups=[VISITS], grouping=None)
    given = {name: [np.array([100.0, 3.0])] for name in NAMES}
    with pytest.warns(ClippingWarning, match=r"5 of 10 values of group 'visits' were clipped to \[0, 63\]"):
        result = play(given, groups=[VISITS], grouping=None)
    assert result.average[0].tolist() == [315.0, 15.0]


@pytest.mark.parametrize("group", [TURNED, SPARSE])
def test_what_is_not_finite_is_named_by_its_own_place(group: Group) -> None:
    given = {name: [np.zeros((10, 20))] for name in NAMES}
    given["c2"][0][:, 3] = np.nan
    with pytest.raises(UpdateError, match="array 0 holds NaN or infinity at flat index"):
        play(given, groups=[group], grouping=None)


def test_an_array_of_no_known_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="group 'other', and the policy has"):
        play(updates(), grouping=("other", *GROUPING[1:]))
    with pytest.raises(ConfigError, match="arrays, and there are 7"):
        play(updates(), grouping=GROUPING[:3])
    with pytest.raises(ConfigError, match="says nothing of groups"):
        play(updates(), edges=2)


@pytest.mark.slow
def test_a_norm_is_proved_of_weighted_groups_and_screening_goes_on_with_others_beside_them() -> None:
    rng = np.random.default_rng(3)
    given = {name: [rng.normal(size=60) * 0.02, rng.normal(size=9) * 50] for name in NAMES}
    wide = Group(name="wide", bits=12, clip=200.0, weighted=False)
    result = play(given, groups=[MODEL, wide], grouping=["model", "wide"], norm_bound=1.0, weights=None)
    config = result.evidence.config
    assert config.layout.bounded == 60
    assert config.policy.option("screening", 0)
    assert (result.record.norm_bound > 0.9, len(result.record.groups)) == (True, 2)
    record = secure_agg.RoundRecord.from_bytes(result.record.to_bytes())
    assert record == result.record
    wanted = np.mean([arrays[1] for arrays in given.values()], axis=0)
    assert np.abs(result.average[1] - wanted).max() < result.record.groups[1].error_bound


def test_clips_are_agreed_by_counts_of_who_needs_which(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    rng = np.random.default_rng(1)
    given = {name: [rng.normal(size=40) * 2.0**i, rng.integers(0, 9, 3).astype(float)] for i, name in enumerate(NAMES)}
    groups, names = [Group(name="model", clip=1.0), VISITS], ["model", "visits"]
    most, some = (agreed_clips(given, groups, names, quantile=q, backend="plain")[0].clip for q in (1.0, 0.6))
    largest = sorted(float(np.abs(arrays[0]).max()) for arrays in given.values())
    assert largest[-1] <= most <= 1.2 * largest[-1]
    assert largest[2] <= some <= 1.2 * largest[2]
    with pytest.raises(ConfigError, match="quantile"):
        agreed_clips(given, groups, names, quantile=0.0)


@pytest.mark.parametrize("says", ["in every bin", "in every bin above", "in none", "in all but the last"])
def test_one_client_has_one_vote_on_a_clip_whatever_bins_it_says(monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """Of a histogram that is added up one who is in all bins has as many votes as there are bins."""
    from secure_agg.planning import clips

    sizes = {f"c{place}": 0.9 * 2.0**place for place in range(10)}
    given = {name: [np.array([size])] for name, size in sizes.items()} | {"liar": [np.array([-0.5])]}
    groups = [Group(name="w", bits=8, clip=1.0)]
    report = clips._report

    def lying(arrays: Any, *rest: Any) -> Any:
        made = report(arrays, *rest)
        if arrays[0][0] < 0:
            made[:] = 0
            if says != "in none":
                made[200 if says == "in every bin above" else 0 :] = 1
            made[-1] = float(says not in ("in none", "in all but the last"))
        return made

    monkeypatch.setattr(clips, "_report", lying)
    try:
        found = agreed_clips(given, groups, quantile=0.5, backend="plain")[0].clip
    except VerificationError:
        assert says == "in all but the last"
    else:
        assert 0.9 * 2.0**4 <= found <= 1.2 * 0.9 * 2.0**6
