"""What is pinned: its file, and the refusal of every round that differs from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.note import VerifierKey


def key(number: int) -> bytes:
    return Identity("anybody", bytes([number]) * 32).public


CLIENTS = Roster({f"c{i}": key(i + 1) for i in range(6)})
OPERATORS = Roster({"aggregator": key(50)})
WITNESSES = Roster({"w1": key(60), "w2": key(61)})
LOG = key(70)
POLICY = Policy.default(6, options=(Option("a", 1), Option("b", 2)), clip=0.1, max_weight=100)
DRAWING = msgspec.structs.replace(POLICY, cohort_size=5)
TRUST = Trust(tasks={"täsk": TaskTrust(CLIENTS, POLICY)}, operators=OPERATORS, log=LOG, witnesses=WITNESSES)
DRAWN = replace(TRUST, tasks={"täsk": TaskTrust(CLIENTS, DRAWING)})


def config(trust: Trust = TRUST, drawn_by: bytes = b"", **changes: Any) -> RoundConfig:
    """The round that these pins describe, with changes."""
    honest = RoundConfig.create(
        task="täsk",
        round=0,
        policy=trust.task("täsk").policy,
        cohort=trust.cohort("täsk", drawn_by),
        shapes=((3,),),
        beacon=drawn_by,
        operators=trust.operators,
        log_key=trust.log or b"",
        witnesses=trust.witnesses,
    )
    return msgspec.structs.replace(honest, **changes)


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(TRUST.to_json())
    edit(document)
    return json.dumps(document)


def renamed(document: dict[str, Any], old: str, new: str) -> None:
    document[new] = document.pop(old)


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [TRUST, DRAWN, Trust(), replace(TRUST, log=None)])
def test_a_trust_file_says_what_was_pinned(trust: Trust) -> None:
    assert Trust.from_json(trust.to_json()) == trust


def test_the_text_is_stable() -> None:
    assert Trust.from_json(TRUST.to_json()).to_json() == TRUST.to_json()


def test_origin_and_quorum_stand_in_the_file_where_they_are_pinned() -> None:
    assert {"origin", "quorum"}.isdisjoint(json.loads(TRUST.to_json()))
    pinned = replace(TRUST, origin="example.org/log", quorum=2)
    document = json.loads(pinned.to_json())
    assert (document["origin"], document["quorum"]) == ("example.org/log", 2)
    assert Trust.from_json(pinned.to_json()) == pinned


def test_a_witness_policy_follows_from_what_is_pinned() -> None:
    keys = {name: WitnessKey(name, public) for name, public in WITNESSES.items()}
    asked = TRUST.witness_policy(2)
    assert (asked.logs, asked.witnesses) == ((), keys)
    assert asked.groups[asked.quorum].threshold == 2
    pinned = replace(TRUST, origin="example.org/log", quorum=1)
    assert pinned.witness_policy().logs == (VerifierKey("example.org/log", LOG),)
    assert [pinned.witness_policy(k).groups["quorum"].threshold for k in (None, 1, 2)] == [1, 1, 2]
    assert pinned.witness_policy(0).quorum == TRUST.witness_policy().quorum == "none"
    with pytest.raises(ConfigError, match="not within the 2 witnesses"):
        TRUST.witness_policy(3)
    with pytest.raises(ConfigError, match="witnesses nothing"):
        replace(TRUST, log=WITNESSES["w1"]).witness_policy(1)
    with pytest.raises(ConfigError, match="key name"):
        Trust(witnesses=Roster({"a name with spaces": LOG})).witness_policy(1)


def test_a_saved_file_comes_back_and_replaces_the_old_one(tmp_path: Path) -> None:
    Trust().save(tmp_path / "trust.json")
    TRUST.save(tmp_path / "trust.json")
    assert Trust.load(tmp_path / "trust.json") == TRUST
    assert [entry.name for entry in tmp_path.iterdir()] == ["trust.json"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(extra=1),
        lambda d: d["tasks"]["täsk"].update(extra=1),
        lambda d: d["tasks"]["täsk"]["policy"].update(extra=1),
    ],
    ids=["file", "task", "policy"],
)
def test_an_unknown_field_is_refused_by_name(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ConfigError, match="unknown field 'extra'"):
        Trust.from_json(edited(edit))


@pytest.mark.parametrize("field", ["format", "log", "operators", "witnesses", "tasks"])
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Trust.from_json(edited(lambda d: d.pop(field)))


@pytest.mark.parametrize("field", Policy.__struct_fields__)
def test_a_missing_field_of_the_policy_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Trust.from_json(edited(lambda d: d["tasks"]["täsk"]["policy"].pop(field)))


@pytest.mark.parametrize(
    "text",
    [
        TRUST.to_json().replace('"log":', '"log": null, "log":'),
        TRUST.to_json().replace('"c1":', '"c0":'),
        TRUST.to_json().replace('"bits": 24', '"bits": 24, "bits": 24'),
        TRUST.to_json().replace('"b": 2', '"a": 2'),
    ],
    ids=["field", "member", "policy", "option"],
)
def test_a_key_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="twice"):
        Trust.from_json(text)


def test_another_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="secure-agg-trust/1"):
        Trust.from_json(edited(lambda d: d.update(format="secure-agg-trust/1")))


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(tasks=[]),
        lambda d: d.update(operators=None),
        lambda d: d.update(log=5),
        lambda d: d.update(log="xy"),
        lambda d: d.update(log="00" * 32),
        lambda d: d["operators"].update(x="00" * 31),
        lambda d: d["operators"].update(x=7),
        lambda d: d["witnesses"].update({"\ud800": LOG.hex()}),
        lambda d: renamed(d["tasks"], "täsk", ""),
        lambda d: renamed(d["tasks"]["täsk"]["roster"], "c0", "aggregator"),
        lambda d: d["tasks"]["täsk"].update(claims=[]),
        lambda d: d["tasks"]["täsk"].update(claims="sum"),
        lambda d: d["tasks"]["täsk"].update(claims=["sum", "sum"]),
        lambda d: d["tasks"]["täsk"].update(claims=["attested", "sum"]),
        lambda d: d["tasks"]["täsk"].update(claims=["median"]),
        lambda d: d["tasks"]["täsk"].update(claims=[["sum"]]),
        lambda d: d["tasks"]["täsk"].pop("claims"),
        lambda d: d["tasks"]["täsk"]["policy"].update(bits=99),
        lambda d: d["tasks"]["täsk"]["policy"].update(bits="16"),
        lambda d: d["tasks"]["täsk"]["policy"].update(bits=True),
        lambda d: d["tasks"]["täsk"]["policy"].update(clip=float("nan")),
        lambda d: d["tasks"]["täsk"]["policy"].update(options=["a"]),
        lambda d: d["tasks"]["täsk"]["policy"].update(options={"a": "1"}),
        lambda d: d.update(origin="a log"),
        lambda d: d.update(origin=7),
        lambda d: d.update(origin="log", quorum=0),
        lambda d: d.update(origin="log", quorum=3),
        lambda d: d.update(origin="log", quorum=True),
        lambda d: d.update(origin="log", quorum="1"),
        lambda d: d.update(quorum=1),
        lambda d: d.update(origin="log", quorum=1, log=None),
        lambda d: d.update(origin="log", quorum=1, witnesses={"a name with spaces": WITNESSES["w1"].hex()}),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ConfigError):
        Trust.from_json(edited(edit))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"text"', "{}", "[" * 100_000, TRUST.to_json() + "x"])
def test_what_is_no_trust_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Trust.from_json(text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        Trust.load(tmp_path / "missing.json")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"trust\.json"):
        Trust.load(tmp_path / "trust.json")


def test_claims_are_kept_and_are_sums_unless_something_else_is_asked_for() -> None:
    assert TRUST.task("täsk").claims == {"sum"}
    asked = replace(TRUST, tasks={"täsk": TaskTrust(CLIENTS, POLICY, frozenset(CLAIMS))})
    assert Trust.from_json(asked.to_json()) == asked != TRUST
    assert '"sum",\n    "dp-sum",\n    "attested"' in asked.to_json()
    with pytest.raises(ConfigError, match="pinned with another claims:"):
        TRUST.with_task("täsk", asked.task("täsk"))


@pytest.mark.parametrize("claims", [(), "sum", {"sum", "proved"}, {1}, [["sum"]], 7])
def test_what_is_no_claim_cant_be_pinned(claims: Any) -> None:
    with pytest.raises(ConfigError, match="claim"):
        TaskTrust(CLIENTS, POLICY, claims)


# --- pins ---------------------------------------------------------------------------------------------------


def test_an_operator_is_no_client() -> None:
    with pytest.raises(ConfigError, match="'c0'"):
        replace(TRUST, operators=Roster({"c0": key(50)}))


def test_a_log_key_of_small_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="small order"):
        Trust(log=bytes(32))


def test_a_task_that_is_not_pinned_is_refused_by_name() -> None:
    with pytest.raises(TrustError, match="'other'"):
        TRUST.task("other")


def test_a_task_more_leaves_the_others_and_the_original_alone() -> None:
    more = TRUST.with_task("other", TaskTrust(CLIENTS, DRAWING))
    assert set(more.tasks) == {"täsk", "other"}
    assert set(TRUST.tasks) == {"täsk"}


def test_pinning_the_same_again_changes_nothing() -> None:
    assert TRUST.with_task("täsk", TaskTrust(CLIENTS, POLICY)) == TRUST


def test_pinning_a_task_otherwise_is_refused_and_says_what_differs() -> None:
    other = TaskTrust(CLIENTS.sample(5, b"x"), msgspec.structs.replace(POLICY, clip=0.2, bits=15))
    with pytest.raises(ConfigError, match="'täsk' is pinned with another roster, clip, bits:"):
        TRUST.with_task("täsk", other)


def test_the_cohort_is_the_whole_roster_or_what_the_beacon_draws() -> None:
    assert TRUST.cohort("täsk") == CLIENTS
    assert DRAWN.cohort("täsk", b"x") == CLIENTS.sample(5, b"x")


# --- rounds -------------------------------------------------------------------------------------------------


def test_a_round_as_pinned_passes_and_the_answer_says_what_was_compared() -> None:
    assert TRUST.check(config()) == {"policy", "roster", "operators", "log", "witnesses"}


def test_what_is_not_pinned_is_not_claimed() -> None:
    bare = Trust(tasks=TRUST.tasks)
    assert bare.check(config(bare)) == {"policy", "roster"}


def test_a_drawn_round_passes_with_the_beacon_that_this_party_knows() -> None:
    assert "roster" in DRAWN.check(config(DRAWN, b"x"), b"x")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task": "other"}, "'other'"),
        ({"policy": msgspec.structs.replace(POLICY, clip=0.2)}, "policy differs from the pinned one in clip"),
        ({"policy": msgspec.structs.replace(POLICY, bits=8, max_corrupt=0)}, "in bits, max_corrupt"),
        (
            {"policy": msgspec.structs.replace(POLICY, weight_scale=4, weight_span=64, first_weight=100)},
            "in weight_scale, weight_span, first_weight",
        ),
        ({"cohort_root": bytes(32)}, "cohort"),
        ({"cohort_size": 5}, "cohort"),
        ({"operators": WITNESSES.digest()}, "operators"),
        ({"operators": Roster({}).digest()}, "operators"),
        ({"witnesses": OPERATORS.digest()}, "witnesses"),
        ({"log_key": key(71)}, "ledger key"),
        ({"log_key": b""}, "ledger key"),
    ],
)
def test_a_round_that_differs_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(TrustError, match=match):
        TRUST.check(config(**changes))


LIMITS = ("weight_scale", "weight_span", "first_weight")
"""These go together."""


@pytest.mark.parametrize("field", [name for name in Policy.__struct_fields__ if name not in LIMITS])
def test_a_policy_that_differs_in_one_field_is_refused_by_that_name(field: str) -> None:
    others: dict[str, Any] = {
        "backend": "plain",
        "options": (),
        "clip": 0.2,
        "bits": 15,
        "commit_packed": True,
        "max_error": 1e9,
        "max_weight": 101,
        "cohort_size": 6,
        "max_clients": 7,
        "min_clients": 2,
        "min_advertised": 6,
        "max_corrupt": 0,
        "max_parameters": 9,
    }
    beacon = b"x" if field == "cohort_size" else b""
    changed = msgspec.structs.replace(POLICY, **{field: others[field]})
    with pytest.raises(TrustError, match=rf"differs from the pinned one in {field}$"):
        TRUST.check(config(policy=changed, beacon=beacon))


def test_a_ledger_where_none_is_pinned_is_refused() -> None:
    bare = replace(TRUST, log=None)
    with pytest.raises(TrustError, match="ledger key"):
        bare.check(config(bare, log_key=LOG))


@pytest.mark.parametrize("known", [None, b"", b"y"])
def test_a_cohort_drawn_by_a_beacon_that_this_party_does_not_know_is_refused(known: bytes | None) -> None:
    with pytest.raises(TrustError, match="beacon"):
        DRAWN.check(config(DRAWN, b"x"), known)


def test_a_cohort_that_the_beacon_does_not_draw_is_refused() -> None:
    with pytest.raises(TrustError, match="cohort"):
        DRAWN.check(config(DRAWN, b"x", cohort_root=CLIENTS.sample(5, b"zz").root()), b"x")
