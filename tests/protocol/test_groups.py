"""Groups of a policy, and how a configuration lays them out."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import backends
from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.protocol.config import Group, GroupedConfig, Option, Policy, RoundConfig
from secure_agg.protocol.config.groups import LARGEST_STEP, clip_of, next_step, step_of
from secure_agg.protocol.config.layout import Run
from secure_agg.protocol.identity import Identity, Roster

MODEL = Group(name="model", bits=8, clip=0.5)
STATISTICS = Group(name="statistics", bits=12, clip=4.0)
VISITS = Group(name="visits", kind="count", bits=5, clip=0.0, weighted=False)
ALL = (MODEL, STATISTICS, VISITS)
SHAPES = ((3, 4), (5,), (2,), ())
GROUPING = (0, 1, 0, 2)


def roster() -> Roster:
    return Roster({f"c{i}": Identity.generate(f"c{i}").public for i in range(5)})


def policy(*groups: Group, **changes: Any) -> Policy:
    return Policy.default(5, groups=groups or ALL, **changes)


def config(*groups: Group, grouping: tuple[int, ...] = GROUPING, **changes: Any) -> RoundConfig:
    return RoundConfig.create(
        task="t", round=0, policy=policy(*groups), cohort=roster(), shapes=SHAPES, grouping=grouping, **changes
    )


def test_a_configuration_with_groups_is_read_again_and_one_without_is_as_long_as_before() -> None:
    grouped = config()
    assert isinstance(grouped, GroupedConfig)
    assert RoundConfig.from_bytes(grouped.to_bytes()) == grouped
    plain = RoundConfig.create(task="t", round=0, policy=Policy.default(5), cohort=roster(), shapes=SHAPES)
    assert plain.to_bytes()[:3] == b"\xdc\x00\x16"
    assert grouped.to_bytes()[:3] == b"\xdc\x00\x18"
    assert type(RoundConfig.from_bytes(plain.to_bytes())) is RoundConfig


def test_weighted_groups_come_first_and_each_has_its_own_range() -> None:
    layout = config().layout
    assert [(part.group.name, part.arrays, part.start) for part in layout.parts] == [
        ("model", (0, 2), 0),
        ("statistics", (1,), 14),
        ("visits", (3,), 19),
    ]
    assert layout.runs == (Run(14, 254), Run(5, 4094), Run(1, 31), Run(layout.limbs, 4094))
    assert layout.parameters == layout.values == 20
    assert [run.width(5) for run in layout.runs] == [11, 15, 8, 15]


def test_a_group_that_no_array_is_in_is_not_in_the_round() -> None:
    layout = config(grouping=(0, 0, 0, 0)).layout
    assert [part.group.name for part in layout.parts] == ["model"]


def test_rotated_groups_are_filled_up_to_blocks_and_of_a_support_only_its_part_is_sent() -> None:
    sparse = Group(name="model", support=(1, 4), clip=0.5)
    turned = Group(name="statistics", rotated=True, support=(1, 2), clip=1.0)
    parts = config(sparse, turned, VISITS).layout.parts
    assert [(part.elements, part.sent, part.coordinates) for part in parts] == [(14, 4, 4), (5, 3, 64), (1, 1, 1)]


def test_adaptive_clips_begin_at_the_least_step_that_is_no_smaller_and_are_bound() -> None:
    adaptive, turned = (
        Group(name="a", clip=0.3, clip_rule="adaptive"),
        Group(name="b", rotated=True, clip=8.0, clip_rule="adaptive"),
    )
    found = config(adaptive, turned, grouping=(0, 1, 0, 1))
    assert len(found.clips) == 3 == found.layout.unclipped
    assert [clip_of(k) for k in found.clips][2] == 8.0
    assert clip_of(found.clips[0] - 1) < 0.3 <= clip_of(found.clips[0])
    assert found.layout.parts[0].clips == (clip_of(found.clips[0]),) * 2
    assert found.layout.parts[1].clips == (8.0,)
    clips = (*found.clips[:2], found.clips[2] + 1)
    moved = msgspec.structs.replace(found, clips=clips, previous_record=b"r" * 32)
    assert moved.context != msgspec.structs.replace(found, previous_record=b"r" * 32).context
    with pytest.raises(ConfigError, match="not those of a task's first round"):
        msgspec.structs.replace(found, clips=clips)
    for clips in ((), found.clips[:2], (*found.clips, 0), (LARGEST_STEP + 1, 0, 0)):
        with pytest.raises(ConfigError, match="adaptive clip"):
            msgspec.structs.replace(found, clips=clips)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "count"}, "clip of group 'g' is 8.0: a count is summed as it is"),
        ({"kind": "count", "clip": 0.0}, "weighted of group 'g' is True"),
        ({"kind": "odd"}, "is 'odd'"),
        ({"bits": 1}, "bits of group 'g' is 1"),
        ({"support": (2, 4)}, "2/4, not in lowest terms"),
        ({"support": (5, 4)}, "numerator"),
        ({"support": (0, 1)}, "numerator"),
        ({"support": (1, 1 << 17)}, "denominator"),
        ({"clip": float("nan")}, "clip of group 'g' is nan"),
        ({"clip": 1e30, "clip_rule": "adaptive"}, r"from 2\^-99 to 2\^99"),
    ],
)
def test_a_group_that_could_not_be_summed_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Group(**{"name": "g", **changes})


def test_a_policy_says_the_same_of_its_groups_as_they_do() -> None:
    found = policy()
    assert (found.bits, found.clip, found.groups) == (12, 4.0, ALL)
    for change in ({"bits": 8}, {"clip": 0.5}):
        with pytest.raises(ConfigError, match="where there are groups the most of any"):
            msgspec.structs.replace(found, **change)
    with pytest.raises(ConfigError, match="not in name order"):
        Option("groups", (STATISTICS, MODEL))
    with pytest.raises(ConfigError, match="names no group"):
        msgspec.structs.replace(found, options=(Option("groups", ()),))
    with pytest.raises(ConfigError, match="which only 'groups' is"):
        Option("other", ALL)
    with pytest.raises(ConfigError, match="option groups is 1"):
        Option("groups", 1)
    with pytest.raises(ConfigError, match="halves goes with no groups"):
        msgspec.structs.replace(found, options=(*found.options, Option("halves", 1)))
    assert Policy.from_document(found.document()) == found


def test_which_arrays_are_in_which_group_is_said_exactly_where_there_are_groups() -> None:
    grouped = config()
    for grouping, words in (((0, 1, 0), "3 arrays, and there are 4"), ((0, 1, 0, 3), "index of a group is 3")):
        with pytest.raises(ConfigError, match=words):
            msgspec.structs.replace(grouped, grouping=grouping)
    with pytest.raises(ConfigError, match="the policy has no groups"):
        msgspec.structs.replace(grouped, policy=Policy.default(5))
    plain = RoundConfig.create(task="t", round=0, policy=Policy.default(5), cohort=roster(), shapes=SHAPES)
    with pytest.raises(ConfigError, match="a configuration says which arrays"):
        msgspec.structs.replace(plain, policy=policy())
    fields = msgspec.msgpack.decode(grouped.to_bytes())
    with pytest.raises(MalformedMessage):
        RoundConfig.from_bytes(msgspec.msgpack.encode(fields[:-1]))


def test_a_norm_is_bounded_on_one_grid_and_groups_beside_it_are_not_weighted() -> None:
    outside = Group(name="outside", bits=14, clip=100.0, weighted=False)
    found = policy(MODEL, outside, norm_bound=1.0)
    assert (found.half, found.norm_limit <= 1.0, found.bits) == (127, True, 14)
    for groups in (ALL, (Group(name="a", clip_rule="adaptive"),), (VISITS,)):
        with pytest.raises(ConfigError, match="steps of one grid"):
            policy(*groups, norm_bound=1.0)
    with pytest.raises(ConfigError, match="norm_outside goes with no groups"):
        policy(MODEL, outside, norm_bound=1.0, norm_outside=1)


@given(k=st.integers(0, LARGEST_STEP))
def test_a_clip_is_the_double_that_is_nearest_but_for_powers_of_two(k: int) -> None:
    with localcontext() as exact:
        exact.prec = 60
        wanted = Decimal(2) ** (Decimal(k) / 64 - 99)
        assert abs(Decimal(clip_of(k)) / wanted - 1) <= Decimal(2) ** -53
    assert step_of(clip_of(k)) == k


@given(k=st.integers(0, LARGEST_STEP), n=st.integers(2, 1 << 24), share=st.integers(0, 1 << 24))
def test_a_clip_moves_by_the_nearest_integer_to_the_rule(k: int, n: int, share: int) -> None:
    count = share % (n + 1)
    moved = next_step(k, n, count) - k
    if 64 <= k <= LARGEST_STEP - 64:
        assert abs(moved - 64 * (0.9 - count / n)) <= 0.5 + 1e-9
    assert 0 <= next_step(k, n, count) <= LARGEST_STEP


def test_sums_too_wide_for_an_element_are_refused_by_a_typed_error_before_a_round_is_configured() -> None:
    """What packs is asked of a policy alone, which somebody else may have made: digits of 41 bits are none."""
    wide = (Group(name="model", bits=8, clip=1.0), Group(name="n", kind="count", bits=24, clip=0.0, weighted=False))
    made = Policy.default(
        100, max_clients=1 << 17, groups=wide, commit_packed=True, norm_bound=0.1, options=(Option("screening", 2),)
    )
    with pytest.raises(ConfigError, match="over 131072 clients of values up to 16777215 have 41 bits"):
        backends.load("masking").check_policy(made)
