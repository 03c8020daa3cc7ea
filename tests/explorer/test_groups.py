"""Rounds of several groups: the page finds what the product finds, to the bit, and refuses what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import conformance.groups.independent_groups as groups
import msgspec
import numpy as np
import pytest
from conformance import independent_verifier as spec
from support.explorer.browser import publish
from support.explorer.core import Core, CoreRefused, in_node

import secure_agg
from secure_agg import Group
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster

pytestmark = pytest.mark.filterwarnings("ignore::secure_agg.errors.ClippingWarning")
EVERY: Final = (
    Group(name="count", kind="count", bits=12, clip=0.0, weighted=False),
    Group(name="moving", bits=4, clip=0.03, clip_rule="adaptive", support=(3, 5)),
    Group(name="pinned", bits=7, clip=2.0),
    Group(name="sparse", bits=8, clip=1.0, support=(1, 7), weighted=False),
    Group(name="turned", bits=6, clip=0.5, rotated=True, support=(1, 2), clip_rule="adaptive"),
    Group(name="unweighted", bits=10, clip=9.0, rotated=True, weighted=False),
)
SHAPES: Final = ((3, 4), (6,), (5, 5), (40, 30), (81,), (), (65,))
GROUPING: Final = ("count", "moving", "moving", "turned", "unweighted", "pinned", "sparse")


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def updates(names: str = "abcd") -> dict[str, list[Any]]:
    rng = np.random.default_rng(2)
    drawn = {name: [rng.normal(size=shape) * 0.1 for shape in SHAPES] for name in names}
    return {name: [rng.integers(0, 4096, SHAPES[0]).astype(float), *arrays[1:]] for name, arrays in drawn.items()}


def flat(arrays: Any) -> bytes:
    joined: bytes = np.concatenate([np.asarray(array).reshape(-1) for array in arrays]).tobytes()
    return joined


@pytest.mark.parametrize(
    "settings",
    [
        {"backend": "plain", "weights": {"a": 3, "c": 500}, "max_clients": 5000},
        {"backend": "masking", "weights": {"a": 9}, "weight_scale": 2, "first_weight": 4, "max_weight": 10},
        {"backend": "additive", "dropouts": {"b": "share-keys"}},
    ],
    ids=lambda settings: settings["backend"],
)
def test_rounds_of_groups_lead_to_the_product_s_record(core: Core, settings: dict[str, Any]) -> None:
    made = secure_agg.aggregate(updates(), groups=EVERY, grouping=GROUPING, **settings)
    said = core("evidence", evidence=made.evidence.to_bytes())
    assert said["good"], [check for check in said["checks"] if check["state"] == "failed"]
    assert said["encoding"] == made.record.to_bytes()
    assert said["means"] == flat(made.average)


def test_a_bit_of_sums_weights_or_clips_that_is_another_is_refused(core: Core) -> None:
    evidence = secure_agg.aggregate(updates(), groups=EVERY, grouping=GROUPING, backend="plain").evidence.to_bytes()
    header, bulk = spec.unpack(evidence)
    last = len(header) + 4 + 4 * spec.committed(spec.decode("RoundConfig", config_of(header), 1 << 20))
    for place in (*range(4, len(header), len(header) // 12), *range(last - 80, last, 9), len(evidence) - len(bulk)):
        flipped = evidence[:place] + bytes([evidence[place] ^ 1]) + evidence[place + 1 :]
        assert core.verdict(flipped) is None, place


def config_of(header: bytes) -> bytes:
    found: bytes = msgspec.msgpack.decode(header)[1]
    return found


def test_a_norm_bound_is_of_the_weighted_groups(core: Core) -> None:
    beside = Group(name="beside", bits=12, clip=50.0, weighted=False)
    model = [Group(name="layer", bits=8, clip=0.5), Group(name="other", bits=8, clip=0.5, support=(1, 2))]
    rng = np.random.default_rng(4)
    some = {name: [rng.normal(size=size) * 0.02 for size in (60, 9, 30)] for name in "abc"}
    made = secure_agg.aggregate(
        some, groups=[*model, beside], grouping=["layer", "beside", "other"], norm_bound=1.0, backend="plain"
    )
    said = core("evidence", evidence=made.evidence.to_bytes(), beside=list(made.evidence.proofs.values())[:1])
    assert (said["good"], said["proofs"]) == (True, 1)
    assert said["encoding"] == made.record.to_bytes()


def test_clips_of_a_ledger_s_rounds_follow_from_the_record_before(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    made = [
        secure_agg.aggregate(updates(), groups=EVERY, grouping=GROUPING, ledger=path, backend="plain") for _ in range(2)
    ]
    own = Path(f"{path}.trust.json").read_text("utf-8")
    opened = core("open", files=publish(path, tmp_path / "public"), trust=own, seen=None)
    assert {check["state"] for check in opened["checks"]} <= {"passed", "skipped"}
    assert not opened["trust"]["unread"]["$map"]
    for index in (0, 1):
        assert {check["state"] for check in core("round", index=index)["checks"]} <= {"passed", "skipped"}
    shown = opened["leaves"][0]["record"]["groups"]
    assert [group["name"] for group in shown] == [group.name for group in EVERY]

    first, second = (result.evidence.config.to_bytes() for result in made)
    leaves = [result.record.to_bytes() for result in made]
    core("begins", config=second, before=leaves[0])
    for before in (None, leaves[1]):  # the first ones, and what follows after the second round
        with pytest.raises(CoreRefused, match="other clips than follow"):
            core("begins", config=second, before=before)
    core("begins", config=first, before=None)


def test_clips_are_the_floats_of_the_specification_and_move_by_its_steps(core: Core) -> None:
    steps = range(groups.MAX_STEP + 1)
    assert [float(clip) for clip in core("clips", steps=list(steps))] == [groups.clip(k) for k in steps]
    for n, within in ((2, 0), (2, 2), (7, 3), (100, 90), (100, 91), (4_000_000_000, 3_599_999_999)):
        expected = [groups.next_step(k, n, within) for k in (0, 6000, 12_660)]
        assert core("nextClips", steps=[0, 6000, 12_660], n=n, within=within) == expected


def config() -> dict[str, Any]:
    roster = Roster({name: Identity.generate(name).public for name in "abcd"})
    placed = tuple([group.name for group in EVERY].index(name) for name in GROUPING)
    made = RoundConfig.create(
        task="t", round=0, policy=Policy.default(4, groups=EVERY), cohort=roster, shapes=SHAPES, grouping=placed
    )
    return spec.decode("RoundConfig", made.to_bytes(), 1 << 20)


NOT_SO: Final[list[tuple[tuple[Any, ...], Any]]] = [
    (("groups", 0, "clip"), 1.0),
    (("groups", 0, "weighted"), True),
    (("groups", 0, "bits"), 13),
    (("groups", 1, "kind"), "other"),
    (("groups", 1, "support"), [2, 4]),
    (("groups", 1, "support"), [2, 1]),
    (("groups", 1, "support"), [1]),
    (("groups", 1, "bits"), 1),
    (("groups", 1, "clip_rule"), "other"),
    (("groups", 1, "clip"), 1e-31),
    (("groups", 1, "name"), ""),
    (("groups", 1, "name"), "z"),
    (("groups", 2, "clip"), 19.0),
    (("groups", 4, "clip"), 2.0**99 * 1.5),
    (("policy", "bits"), 11),
    (("policy", "clip"), 8.0),
    (("policy", "max_error"), 0.01),
    (("policy", "options"), [{"name": "groups", "value": []}]),
    (("policy", "options", 1), {"name": "halves", "value": 1}),
    (("grouping", 0), 6),
    (("grouping", 7), 0),
    (("clips", 0), 12_673),
    (("clips", 0), 1),
    (("clips", 3), 1),
]


@pytest.mark.parametrize(("place", "value"), NOT_SO, ids=str)
def test_configurations_that_are_none_are_refused(core: Core, place: tuple[Any, ...], value: Any) -> None:
    found = config()
    core("config", data=spec.encode("GroupedConfig", found))
    at = {"groups": groups.groups(found["policy"])} | found
    for name in place[:-1]:
        at = at[name]
    if isinstance(at, list) and place[-1] == len(at):
        at.append(value)
    else:
        at[place[-1]] = value
    with pytest.raises(CoreRefused) as caught:
        core("config", data=spec.encode("GroupedConfig", found))
    assert "unknown" not in str(caught.value) or "unknown kind" in str(caught.value) or "rule" in str(caught.value)
