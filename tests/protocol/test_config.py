"""Policies and round configurations: defaults, refusals, one encoding, and a context that binds everything."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.protocol.config import MAX_PARAMETERS, MAX_WEIGHT, Option, Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster

COHORT = Roster({f"c{i}": Identity(f"c{i}", bytes([i + 1]) * 32).public for i in range(5)})
POLICY = Policy.default(5)
DRAWN = Policy.default(1000, cohort_size=100, corruption_rate=0.01, max_clients=100)


def altered(policy: Policy = POLICY, **changes: Any) -> Policy:
    return msgspec.structs.replace(policy, **changes)


def config(**changes: Any) -> RoundConfig:
    settings: dict[str, Any] = {"task": "t", "round": 0, "policy": POLICY, "cohort": COHORT, "shapes": ((3, 4), (5,))}
    return RoundConfig.create(**{**settings, **changes})


# --- defaults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "least", "corrupt", "quorum"),
    [(3, 3, 0, 2), (4, 3, 0, 3), (5, 4, 1, 4), (10, 9, 2, 7), (100, 90, 29, 65)],
)
def test_default_thresholds_are_those_of_the_protocol(clients: int, least: int, corrupt: int, quorum: int) -> None:
    policy = Policy.default(clients)
    assert (policy.min_advertised, policy.max_corrupt, policy.quorum(clients)) == (least, corrupt, quorum)


def test_two_quorums_share_an_honest_member_and_the_honest_reach_one() -> None:
    for policy in map(Policy.default, range(3, 400)):
        f = policy.max_corrupt
        for advertised in range(policy.min_advertised, policy.max_clients + 1):
            assert 2 * policy.quorum(advertised) - advertised > f
            assert policy.quorum(advertised) <= advertised - f


def test_other_defaults_are_the_documented_ones() -> None:
    assert (POLICY.backend, POLICY.clip, POLICY.bits, POLICY.max_error) == ("masking", 8.0, 24, 8192.0)
    assert (POLICY.min_clients, POLICY.max_clients, POLICY.cohort_size, POLICY.max_weight) == (3, 5, 0, 1)


@pytest.mark.parametrize(("rate", "corrupt"), [(0.05, 45), (0.01, 23), (0.0855, 59)])
def test_a_drawn_cohort_holds_few_corrupt_members(rate: float, corrupt: int) -> None:
    policy = Policy.default(10_000, cohort_size=200, corruption_rate=rate)
    assert policy.max_corrupt == corrupt
    assert policy.quorum(200) == (200 + corrupt) // 2 + 1


@pytest.mark.parametrize(("rate", "safe"), [(0.05, "118 is"), (0.066, "148 is"), (0.08, "182 is"), (1.0, "no size")])
def test_a_drawn_cohort_that_may_hold_a_third_is_refused_and_the_safe_size_named(rate: float, safe: str) -> None:
    with pytest.raises(ConfigError, match=safe):
        Policy.default(10_000, cohort_size=100, corruption_rate=rate)


def test_a_drawn_cohort_needs_the_rate_of_corruption() -> None:
    with pytest.raises(ConfigError, match="corruption_rate"):
        Policy.default(10_000, cohort_size=100)


@pytest.mark.parametrize("rate", [-0.5, 1.1, 2.0, float("nan")])
def test_a_rate_of_corruption_outside_the_unit_interval_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="corruption_rate"):
        Policy.default(1000, cohort_size=100, corruption_rate=rate)


def test_the_number_of_corrupt_members_is_rounded_up() -> None:
    """29% of 100 is 29, though 100 · 0.29 is just below it in floating point."""
    assert Policy.default(100, cohort_size=100, corruption_rate=0.29).max_corrupt == 29


def test_a_cohort_larger_than_its_roster_is_refused() -> None:
    with pytest.raises(ConfigError, match="cohort"):
        Policy.default(50, cohort_size=100, corruption_rate=0.05)


@pytest.mark.parametrize("clients", [0, 1, 2])
def test_fewer_clients_than_the_least_sum_are_refused(clients: int) -> None:
    with pytest.raises(ConfigError, match="min_clients"):
        Policy.default(clients)


# --- policies that are refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bits", 1),
        ("bits", 25),
        ("bits", 16.0),
        ("bits", True),
        ("max_weight", 0),
        ("max_weight", MAX_WEIGHT + 1),
        ("max_weight", True),
        ("max_parameters", 0),
        ("max_parameters", MAX_PARAMETERS + 1),
        ("clip", 0.0),
        ("clip", -1.0),
        ("clip", 1e-31),
        ("clip", 1e31),
        ("clip", float("nan")),
        ("clip", float("inf")),
        ("clip", 8),
        ("commit_packed", 1),
        ("max_error", 0.0),
        ("max_error", -1.0),
        ("max_error", 8),
        ("max_error", float("nan")),
        ("max_error", float("inf")),
        ("weight_span", 1),
        ("first_weight", 1),
        ("weight_scale", -1),
        ("min_clients", 1),
        ("min_clients", -1),
        ("min_clients", 5),
        ("min_advertised", 2),
        ("min_advertised", 6),
        ("max_clients", 3),
        ("max_corrupt", 2),
        ("max_corrupt", -1),
        ("cohort_size", 3),
        ("cohort_size", 6),
        ("cohort_size", -1),
        ("options", (Option("b", 1), Option("a", 1))),
        ("options", (Option("a", 1), Option("a", 1))),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        altered(**{field: value})


@pytest.mark.parametrize("backend", ["", "a\nb", "x" * 129])
def test_a_backend_without_a_fit_name_is_refused(backend: str) -> None:
    with pytest.raises(ConfigError, match="id"):
        altered(backend=backend)


@pytest.mark.parametrize(
    ("field", "value"), [("min_clients", 3.0), ("min_clients", "3"), ("max_corrupt", 0.5), ("cohort_size", 4.5)]
)
def test_a_count_of_another_type_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        altered(**{field: value})


def test_a_refusal_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match=r"bits is 99, outside \[2, 24\]"):
        altered(bits=99)


def test_options_have_defaults() -> None:
    policy = altered(options=(Option("a", 7),))
    assert (policy.option("a", 1), policy.option("b", 2)) == (7, 2)


# --- configurations that are refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task": ""}, "id"),
        ({"task": "x" * 129}, "id"),
        ({"round": -1}, "round"),
        ({"round": 2**53 + 1}, "round"),
        ({"round": True}, "round"),
        ({"attempt": -1}, "attempt"),
        ({"attempt": 2**32 + 1}, "attempt"),
        ({"start_model": bytes(31)}, "start_model"),
        ({"base_model": b""}, "base_model"),
        ({"instructions": b""}, "instructions"),
        ({"previous_record": b""}, "previous_record"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**32 + 1}, "epoch"),
        ({"generation": -1}, "generation"),
        ({"generation": 1}, "renunciation"),
        ({"renounced": bytes(31)}, "renounced"),
        ({"renounced": b"\x01" * 32}, "renunciation"),
        ({"draw": 1}, "draw"),
        ({"policy": DRAWN, "beacon": b"x", "draw": 16}, "draw"),
        ({"log_key": bytes(31)}, "log_key"),
        ({"beacon": b"x"}, "beacon"),
        ({"policy": DRAWN}, "beacon"),
        ({"policy": DRAWN, "beacon": bytes(65)}, "beacon"),
        ({"policy": DRAWN, "beacon": b"x"}, "cohort of 5"),
        ({"policy": Policy.default(7)}, "cohort of 5"),
        ({"policy": Policy.default(4)}, "cohort of 5"),
        ({"shapes": ()}, "at least one array"),
        ({"shapes": ((3, 0),)}, "empty"),
        ({"shapes": ((3, -1),)}, "empty"),
        ({"shapes": ((MAX_PARAMETERS + 1,),)}, "empty"),
        ({"shapes": ((1 << 30,), (1,))}, "parameters"),
        ({"shapes": ((1 << 16, 1 << 16),)}, "parameters"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config(**changes)


def test_a_product_of_very_many_sides_is_refused() -> None:
    for sides, word in ((40, "dimensions"), (32, "parameters")):
        with pytest.raises(ConfigError, match=word):
            config(shapes=((1 << 30,) * sides,))


def test_a_product_of_very_many_sides_is_refused_on_the_wire() -> None:
    fields = msgspec.msgpack.decode(config().to_bytes())
    fields[7] = [[1 << 30] * 32]
    with pytest.raises(MalformedMessage):
        RoundConfig.from_bytes(msgspec.msgpack.encode(fields))


def test_another_protocol_is_refused() -> None:
    with pytest.raises(ConfigError, match="protocol"):
        msgspec.structs.replace(config(), protocol="secure-agg/1")


@pytest.mark.parametrize(("bits", "clients"), [(16, 2049), (14, 10_000), (24, 9)])
def test_sums_too_wide_to_be_binding_are_refused(bits: int, clients: int) -> None:
    halved = Policy.default(5, bits=bits, max_clients=clients)
    assert config(policy=halved).layout.halves == 2
    with pytest.raises(ConfigError, match="fewer bits per value or fewer clients"):
        config(policy=msgspec.structs.replace(halved, options=()))


@pytest.mark.parametrize(("bits", "clients", "rank"), [(16, 512, 3), (16, 2048, 4), (13, 8192, 4)])
def test_the_layout_follows_the_commitments_rank(bits: int, clients: int, rank: int) -> None:
    layout = config(policy=Policy.default(5, bits=bits, max_clients=clients, max_weight=1 << (bits - 1))).layout
    assert (layout.values, layout.limbs, layout.randomness) == (17, 2, (rank + 2) * 512)
    assert (layout.committed, layout.total) == (19, 19 + (rank + 2) * 512)


# --- encoding -----------------------------------------------------------------------------------------------


def test_a_configuration_survives_its_encoding() -> None:
    original = config(round=7, attempt=2, log_key=bytes(32), policy=altered(options=(Option("a", 3),)))
    decoded = RoundConfig.from_bytes(original.to_bytes())
    assert decoded == original
    assert decoded.context == original.context


def test_every_truncation_is_refused() -> None:
    data = config().to_bytes()
    for length in range(len(data)):
        with pytest.raises(MalformedMessage):
            RoundConfig.from_bytes(data[:length])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        RoundConfig.from_bytes(config().to_bytes() + b"\x00")


@pytest.mark.parametrize(
    "spelling", [b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x00\x05", b"\xd0\x05", b"\xca\x40\xa0\x00\x00"]
)
def test_an_integer_in_a_longer_spelling_is_refused(spelling: bytes) -> None:
    data = config(round=5).to_bytes()
    start = data.index(b"\xa1t\x05") + 2
    assert RoundConfig.from_bytes(data[:start] + b"\x05" + data[start + 1 :]).round == 5
    with pytest.raises(MalformedMessage):
        RoundConfig.from_bytes(data[:start] + spelling + data[start + 1 :])


@pytest.mark.parametrize("spelling", [b"\xc2", b"\xc3", b"\xc0", b"\xa10"])
def test_a_boolean_a_null_or_text_is_no_integer(spelling: bytes) -> None:
    data = config(round=1).to_bytes()
    start = data.index(b"\xa1t\x01") + 2
    with pytest.raises(MalformedMessage):
        RoundConfig.from_bytes(data[:start] + spelling + data[start + 1 :])


def test_an_array_or_a_text_with_a_longer_header_is_refused() -> None:
    data, fields = config().to_bytes(), bytes([len(RoundConfig.__struct_fields__)])
    assert data[:3] == b"\xdc\x00" + fields
    for other in (b"\xdd\x00\x00\x00" + fields + data[3:], data.replace(b"\xa1t\x00", b"\xd9\x01t\x00", 1)):
        with pytest.raises(MalformedMessage):
            RoundConfig.from_bytes(other)


def test_an_integer_for_the_clip_is_refused() -> None:
    data = config().to_bytes()
    clip = msgspec.msgpack.encode(8.0)
    assert data.count(clip) == 1
    with pytest.raises(MalformedMessage, match="canonical"):
        RoundConfig.from_bytes(data.replace(clip, b"\x08"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("protocol", "secure-agg/1", "protocol"),
        ("round", -1, "round is -1"),
        ("start_model", bytes(31), "start_model has 31 bytes"),
        ("base_model", b"", "base_model has 0 bytes"),
        ("instructions", bytes(33), "instructions has 33 bytes"),
        ("weight_limit", 2, "weight_limit is 2"),
        ("shapes", [], "at least one array"),
        ("cohort_size", 6, "a cohort of 6"),
    ],
)
def test_what_validation_refuses_does_not_decode(field: str, value: Any, words: str) -> None:
    data = config().to_bytes()
    fields = dict(zip(RoundConfig.__struct_fields__, msgspec.msgpack.decode(data), strict=True))
    assert msgspec.msgpack.encode(list(fields.values())) == data
    with pytest.raises(MalformedMessage, match=words):
        RoundConfig.from_bytes(msgspec.msgpack.encode(list((fields | {field: value}).values())))


def test_a_field_too_many_or_too_few_is_refused() -> None:
    fields = msgspec.msgpack.decode(config().to_bytes())
    for other in ([*fields, 0], fields[:-1]):
        with pytest.raises(MalformedMessage):
            RoundConfig.from_bytes(msgspec.msgpack.encode(other))


def test_more_than_a_mebibyte_is_refused_unread() -> None:
    with pytest.raises(MalformedMessage, match="above 1048576"):
        RoundConfig.from_bytes(bytes((1 << 20) + 1))


# --- context ------------------------------------------------------------------------------------------------


CHANGES: dict[str, Any] = {
    "task": "u",
    "round": 1,
    "attempt": 1,
    "epoch": 1,
    "start_model": b"\x01" * 32,
    "base_model": b"\x01" * 32,
    "instructions": b"\x01" * 32,
    "previous_record": b"\x01" * 32,
    "policy": Policy.default(5, clip=4.0),
    "shapes": ((4, 3), (5,)),
    "cohort_size": 4,
    "cohort_root": b"\x01" * 32,
    "operators": b"\x01" * 32,
    "log_key": b"\x01" * 32,
    "witnesses": b"\x01" * 32,
    "setup": b"\x01" * 32,
}
POLICY_CHANGES: dict[str, Any] = {
    "backend": "plain",
    "options": (Option("a", 1),),
    "clip": 8.000000000000002,
    "bits": 15,
    "commit_packed": True,
    "max_error": 8191.0,
    "max_weight": 2,
    "max_clients": 6,
    "min_clients": 2,
    "min_advertised": 5,
    "max_corrupt": 0,
    "max_parameters": 1 << 29,
}


def test_every_field_is_listed_here() -> None:
    """But for the protocol, which has one value, and what goes with a drawn cohort or a larger weight only."""
    assert set(CHANGES) | {"protocol", "beacon", "draw", "weight_limit", "generation", "renounced"} == set(
        RoundConfig.__struct_fields__
    )
    limits = {"weight_scale", "weight_span", "first_weight"}  # which go together
    assert set(POLICY_CHANGES) | {"cohort_size"} | limits == set(Policy.__struct_fields__)


@pytest.mark.parametrize("field", CHANGES)
def test_the_context_changes_with_every_field(field: str) -> None:
    changed = msgspec.structs.replace(config(), **{field: CHANGES[field]})
    assert changed.context != config().context


@pytest.mark.parametrize("field", POLICY_CHANGES)
def test_the_context_changes_with_every_field_of_the_policy(field: str) -> None:
    assert config(policy=altered(**{field: POLICY_CHANGES[field]})).context != config().context


def test_the_context_changes_with_the_beacon_and_the_drawn_size() -> None:
    drawn = [
        config(policy=altered(cohort_size=5), beacon=b"x"),
        config(policy=altered(cohort_size=5), beacon=b"y"),
        config(policy=altered(cohort_size=5), beacon=b"y", draw=1),
    ]
    assert len({item.context for item in (config(), *drawn)}) == 4


def test_the_context_changes_with_the_generation_and_what_ended_the_one_before() -> None:
    made = [config(), *(config(generation=n, renounced=bytes([n + m]) * 32) for n in (1, 2) for m in (1, 2))]
    assert len({item.context for item in made}) == len(made)


def test_the_context_changes_with_the_weight_limit_and_what_it_follows_from() -> None:
    policies = [
        altered(max_weight=9, **dict(zip(("weight_scale", "weight_span", "first_weight"), limits, strict=True)))
        for limits in ((0, 0, 0), (4, 64, 9), (5, 64, 9), (4, 63, 9), (4, 64, 8))
    ]
    made = [config(policy=policy) for policy in policies] + [config(policy=policies[0], weight_limit=8)]
    assert len({item.context for item in made}) == len(made)


@pytest.mark.parametrize("field", ["operators", "witnesses"])
def test_the_context_changes_with_the_pinned_rosters(field: str) -> None:
    assert config(**{field: COHORT}).context != config().context


def test_equal_configurations_have_equal_contexts() -> None:
    assert config().context == config().context
    assert len(config().context) == 32


@pytest.mark.parametrize("span", [1, 5, 64, 1000])
@pytest.mark.parametrize("largest", [1, 30, 64, 500])
@pytest.mark.parametrize("allowed", [0.01, 0.3, 3.0])
def test_no_weights_lead_a_task_to_a_limit_whose_rounds_are_refused(span: int, largest: int, allowed: float) -> None:
    """What its participants say they weigh decides the next round's limit; one of them can say the most there is."""

    def refused(limit: int) -> bool:
        try:
            policy.check_error(limit)
        except ConfigError:
            return True
        return False

    settings = {"max_weight": largest, "weight_scale": 4, "weight_span": span, "first_weight": 1}
    policy = Policy.default(10, bits=10, max_error=allowed, **settings)
    assert len({refused(limit) for limit in range(1, largest + 1)}) == 1
