"""Section 22 of docs/specification.md, as the independent verifier has it, against the product."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conformance.groups.independent_groups as groups
import conformance.independent_verifier as spec
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secure_agg
from secure_agg import Group
from secure_agg.protocol.codec.rotation import restore, rotation_key
from secure_agg.protocol.codec.support import support, support_key
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.blocks import padded
from secure_agg.protocol.config.groups import clip_of, next_step, step_of
from secure_agg.protocol.identity import Identity, Roster

pytestmark = pytest.mark.filterwarnings("ignore::secure_agg.errors.ClippingWarning")
EVERY = (
    Group(name="count", kind="count", bits=12, clip=0.0, weighted=False),
    Group(name="moving", bits=4, clip=0.03, clip_rule="adaptive", support=(3, 5)),
    Group(name="pinned", bits=7, clip=2.0),
    Group(name="sparse", bits=8, clip=1.0, support=(1, 7), weighted=False),
    Group(name="turned", bits=6, clip=0.5, rotated=True, support=(1, 2), clip_rule="adaptive"),
    Group(name="unweighted", bits=10, clip=9.0, rotated=True, weighted=False),
)
SHAPES = ((3, 4), (6,), (5, 5), (40, 3), (81,), (), (65,))
GROUPING = ("count", "moving", "moving", "turned", "unweighted", "pinned", "sparse")


def updates(names: str = "abcd") -> dict[str, list[Any]]:
    rng = np.random.default_rng(2)
    drawn = {name: [rng.normal(size=shape) * 0.1 for shape in SHAPES] for name in names}
    return {name: [rng.integers(0, 4096, SHAPES[0]).astype(float), *arrays[1:]] for name, arrays in drawn.items()}


def check(result: secure_agg.Result) -> dict[str, Any]:
    record = spec.verify(result.evidence.to_bytes())
    flat = np.concatenate([array.reshape(-1) for array in result.average])
    assert record["encoding"] == result.record.to_bytes()
    assert record["average"].tobytes() == flat.tobytes()
    return record


@pytest.mark.parametrize(
    "settings",
    [
        {"backend": "plain", "weights": {"a": 3, "c": 500}},
        {"backend": "masking", "weights": {"a": 9}, "weight_scale": 2, "first_weight": 4, "max_weight": 10},
        {"backend": "additive", "dropouts": {"b": "share-keys"}},
    ],
    ids=lambda settings: settings["backend"],
)
def test_accepts_the_rounds_of_the_product(settings: dict[str, Any]) -> None:
    """The same record and the same bits of the average, of groups of every kind at once."""
    record = check(secure_agg.aggregate(updates(), groups=EVERY, grouping=GROUPING, **settings))
    assert [group["name"] for group in record["groups"]] == [group.name for group in EVERY]


def test_accepts_a_task_s_rounds_with_what_is_pinned_and_clips_that_follow(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    some = updates()
    results = [secure_agg.aggregate(some, groups=EVERY, grouping=GROUPING, ledger=path) for _ in range(3)]
    pins = spec.read_trust((tmp_path / "ledger.db.trust.json").read_text("utf-8"))
    for result, previous in zip(results, [None, *results], strict=False):
        record = spec.verify(result.evidence.to_bytes(), pins)
        assert record["encoding"] == result.record.to_bytes()
        config = spec.decode("RoundConfig", result.evidence.config.to_bytes(), 1 << 20)
        due = (
            [k for group in previous.record.groups for k in group.next_clips]
            if previous
            else groups.first_clips(config)
        )
        assert config["clips"] == due
    assert results[0].evidence.config.clips != results[1].evidence.config.clips
    assert json.loads((tmp_path / "ledger.db.trust.json").read_text("utf-8"))["tasks"]


@pytest.mark.slow
def test_accepts_a_norm_bound_beside_unweighted_groups() -> None:
    beside = Group(name="beside", bits=12, clip=50.0, weighted=False)
    model = [Group(name="layer", bits=8, clip=0.5), Group(name="other", bits=8, clip=0.5, support=(1, 2))]
    rng = np.random.default_rng(4)
    some = {name: [rng.normal(size=size) * 0.02 for size in (60, 9, 30)] for name in "abcd"}
    result = secure_agg.aggregate(some, groups=[*model, beside], grouping=["layer", "beside", "other"], norm_bound=1.0)
    assert check(result)["norm_bound"] == result.record.norm_bound


def config() -> RoundConfig:
    roster = Roster({name: Identity.generate(name).public for name in "abcd"})
    placed = tuple([group.name for group in EVERY].index(name) for name in GROUPING)
    return RoundConfig.create(
        task="t", round=0, policy=Policy.default(4, groups=EVERY), cohort=roster, shapes=SHAPES, grouping=placed
    )


def fields() -> dict[str, Any]:
    return spec.decode("RoundConfig", config().to_bytes(), 1 << 20)


def option(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda found: change(found["policy"]["options"][0]["value"])


@pytest.mark.parametrize(
    "change",
    [
        option(lambda found: found.reverse()),
        option(lambda found: found.clear()),
        option(lambda found: found[0].update(clip=1.0)),
        option(lambda found: found[0].update(weighted=True)),
        option(lambda found: found[1].update(kind="other")),
        option(lambda found: found[1].update(support=[2, 4])),
        option(lambda found: found[1].update(support=[2, 1])),
        option(lambda found: found[1].update(support=[1])),
        option(lambda found: found[1].update(bits=1)),
        option(lambda found: found[1].update(clip_rule="other")),
        option(lambda found: found[1].update(clip=1e-31)),
        option(lambda found: found[4].update(clip=2.0**99 * 1.5)),
        option(lambda found: found[0].update(bits=13)),
        option(lambda found: found[2].update(clip=19.0)),
        option(lambda found: found[1].update(name="")),
        lambda found: found["policy"].update(bits=11),
        lambda found: found["policy"].update(clip=8.0),
        lambda found: found["policy"].update(options=[{"name": "groups", "value": 1}]),
        lambda found: found["policy"].update(
            options=[{"name": "other", "value": found["policy"]["options"][0]["value"]}]
        ),
        lambda found: found["policy"]["options"].append({"name": "halves", "value": 1}),
        lambda found: found["grouping"].append(0),
        lambda found: found["grouping"].__setitem__(0, 6),
        lambda found: found["clips"].pop(),
        lambda found: found["clips"].__setitem__(0, 12_673),
        lambda found: found["clips"].__setitem__(0, 1),
        lambda found: found["policy"].update(max_error=0.01),
    ],
)
def test_both_refuse_the_same_configurations(change: Callable[[dict[str, Any]], object]) -> None:
    good, bad = fields(), fields()
    spec.check_config(good)
    RoundConfig.from_bytes(spec.encode("GroupedConfig", good))
    change(bad)
    data = spec.encode("GroupedConfig", bad)
    with pytest.raises((ValueError, KeyError, TypeError)):
        spec.check_config(spec.decode("RoundConfig", data, 1 << 20))
    with pytest.raises(secure_agg.SecureAggError):
        RoundConfig.from_bytes(data)


def test_both_lay_groups_out_alike() -> None:
    ours, found = config(), fields()
    assert [(part.group.name, part.start, part.coordinates) for part in ours.layout.parts] == [
        (part.group["name"], part.start, part.size) for part in groups.parts(found)
    ]
    assert ours.layout.committed == spec.committed(found)
    assert [clip for part in ours.layout.parts for clip in part.clips if part.group.kind == "signed"] == [
        clip for part in groups.parts(found) for clip in part.clips if part.group["kind"] == "signed"
    ]


@given(
    size=st.integers(1, 40_000),
    share=st.fractions(0, 1, max_denominator=64).filter(bool),
    context=st.binary(max_size=4),
)
def test_both_draw_the_same_support(size: int, share: Any, context: bytes) -> None:
    sent = -(-size * share.numerator // share.denominator)
    part: Any = type("Part", (), {"sent": sent, "values": size, "group": {"name": "ö"}})
    assert support(support_key(context, "ö"), size, sent).tolist() == groups.support({}, part, context)


@pytest.mark.parametrize("size", [1, 64, 321, 5000])
def test_both_turn_sums_back_to_the_same_bits(size: int) -> None:
    sums = np.random.default_rng(size).integers(-(10**6), 10**6, padded(size))
    part: Any = type("Part", (), {"size": padded(size), "group": {"name": "g"}})
    turn, expected, at, unit = groups.signs(part, b"ctx"), [], 0, 0.37 / 11
    for block in groups.blocks(size):
        turned = groups.transform(sums[at : at + block].tolist())
        expected += [turn[at + i] * turned[i] * (unit / np.sqrt(block)) for i in range(block)]
        at += block
    assert restore(sums, rotation_key(b"ctx", "g"), size, unit).tolist() == expected[:size]


def test_both_have_the_same_clips_and_the_same_next_ones() -> None:
    assert [clip_of(k) for k in range(groups.MAX_STEP + 1)] == [groups.clip(k) for k in range(groups.MAX_STEP + 1)]
    assert [step_of(c) for c in (1e-30, 0.3, 8.0, 1e29)] == [groups.first_step(c) for c in (1e-30, 0.3, 8.0, 1e29)]
    for n in (2, 7, 100):
        for a in range(n + 1):
            assert [next_step(k, n, a) for k in (0, 6000, 12_660)] == [
                groups.next_step(k, n, a) for k in (0, 6000, 12_660)
            ]


def test_groups_are_no_list_of_anything_else() -> None:
    data = msgspec.msgpack.decode(config().to_bytes())
    data[12][1][0][1][0] = data[12][1][0][1][0][:-1]  # a group without its last field
    for read in (RoundConfig.from_bytes, lambda again: spec.decode("RoundConfig", again, 1 << 20)):
        with pytest.raises((ValueError, secure_agg.SecureAggError)):
            read(msgspec.msgpack.encode(data))
