"""What a plan predicts is what rounds then take, and what it refuses is what a round would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from benchmarks.federation import Federation
from benchmarks.measure.memory import MEASURABLE
from benchmarks.measure.round import Measured, drawn, measure
from secure_agg import backends
from secure_agg.backends.masking.rules import MASKED_INPUT
from secure_agg.errors import ConfigError
from secure_agg.planning.advice import Advice, Needs, advise
from secure_agg.planning.coefficients import MEMORY, SECONDS, Coefficients, shipped
from secure_agg.planning.limits import corruption_borne, most_bits, most_clients, remarks
from secure_agg.planning.prediction import Network, Prediction, predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Option
from secure_agg.protocol.messages import ADVERTISE

PARAMS = 20_000
NETWORK = Network()
PLANNED = ("masking", "additive", "bfv", "ckks", "paillier", "plain")


def planned(backend: str, clients: int, lost: int = 0, *, params: int = PARAMS, **options: int) -> Prediction:
    chosen = tuple(Option(name, value) for name, value in sorted(options.items()))
    return predict(Setting(backend, params, clients, dropout=lost / clients, options=chosen), shipped())


def played(
    backend: str, clients: int, lost: int = 0, *, params: int = PARAMS, memory: bool = False, **options: int
) -> Measured:
    federation = Federation.of(clients, params, backend=backend, options=options)
    at = ADVERTISE if backends.load(backend).shares else MASKED_INPUT
    silent = dict.fromkeys(federation.names[:lost], at)
    return measure(federation, drawn(clients, params), silent=silent, memory=memory)


@pytest.mark.parametrize(
    ("backend", "clients", "lost", "options"),
    [
        ("plain", 3, 0, {}),
        ("plain", 20, 2, {}),
        ("masking", 3, 0, {}),
        ("masking", 20, 2, {}),
        ("masking", 40, 0, {"complete_up_to": 20}),
        ("additive", 3, 0, {}),
        ("additive", 20, 2, {}),
        ("additive", 5, 0, {"aggregators": 4, "threshold": 2}),
        ("bfv", 3, 0, {}),
        ("ckks", 3, 0, {}),
        ("paillier", 3, 0, {}),
    ],
)
def test_bytes_are_those_of_a_round_that_was_not_measured(
    backend: str, clients: int, lost: int, options: Mapping[str, int]
) -> None:
    measured, found = played(backend, clients, lost, **options), planned(backend, clients, lost, **options)
    within = 0.25 if options else 0.05  # options were not measured, as the plan says
    for role in found.roles:
        assert found.sent(role) == pytest.approx(measured.sent(role), rel=within), role
        assert found.received(role) == pytest.approx(measured.received(role), rel=within), role


@pytest.mark.skipif(not MEASURABLE, reason="peak memory is reset through Linux's /proc")
@pytest.mark.parametrize("backend", ["plain", "masking", "additive"])
def test_memory_is_what_the_roles_hold(backend: str) -> None:
    params = 400_000
    measured, found = played(backend, 4, params=params, memory=True), planned(backend, 4, params=params)
    for role in found.roles:
        assert found.memory[role] == pytest.approx(max(measured.memory(role).values()), rel=0.5), role


def test_seconds_are_amounts_times_coefficients() -> None:
    """On a machine that is half as fast a round takes twice as long, and as many bytes."""
    slow = shipped().scaled(2.0, "slow", "today")
    setting = Setting("masking", 10_000, 10)
    one, two = predict(setting, shipped()), predict(setting, slow)
    for role in one.roles:
        assert two.processor(role) == pytest.approx(2 * one.processor(role))
        assert two.sent(role) == one.sent(role)
    assert two.memory == one.memory
    assert "scaled by 2" in slow.load


@pytest.mark.parametrize("backend", PLANNED)
def test_a_round_grows_with_parameters_and_clients(backend: str) -> None:
    small, long, wide = (planned(backend, n, params=d) for d, n in ((10_000, 5), (1_000_000, 5), (10_000, 60)))
    for other in (long, wide):
        assert other.seconds > small.seconds
        assert all(other.processor(role) >= small.processor(role) for role in small.roles)
    if backend in ("masking", "additive", "plain"):  # others' memory was read at small sizes only
        assert all(long.memory[role] > small.memory[role] for role in small.memory)


@pytest.mark.parametrize("backend", PLANNED)
def test_how_far_to_trust_a_plan_is_known_from_cells_that_were_left_out(backend: str) -> None:
    """By a factor of, in the median; the 90th percentile is never less."""
    errors = shipped().fitted(backend).errors
    assert {SECONDS, "bytes"} <= set(errors) <= {SECONDS, "bytes", MEMORY}
    for middle, most in errors.values():
        assert 1 <= middle <= most
    assert errors["bytes"][0] < 1.05
    assert errors[SECONDS][0] < 1.5


def test_a_lost_client_costs_the_aggregator_of_masking_its_masks() -> None:
    assert planned("masking", 40, 4, params=100_000).processor("aggregator") > (
        planned("masking", 40, params=100_000).processor("aggregator")
    )


def test_network_time_is_bytes_by_bandwidth() -> None:
    setting = Setting("plain", 1_000_000, 3)
    slow = predict(setting, shipped(), Network(up_mbit=1, down_mbit=1e6, server_gbit=1e6, rtt_ms=0)).network
    assert sum(slow.values()) == pytest.approx(8e-6 * planned("plain", 3, params=1_000_000).sent("client"), rel=0.01)
    rtt = predict(setting, shipped(), Network(up_mbit=1e9, down_mbit=1e9, server_gbit=1e9, rtt_ms=1000)).network
    assert sum(rtt.values()) == pytest.approx(len(rtt), rel=0.01)
    assert set(rtt) == {*setting.phases, "verify"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("magic", 10, 10), "no backend"),
        (("masking", 0, 10), "outside"),
        (("masking", 10, 2), "fewer than min_clients"),
        (("masking", 10, 10, 16, 0.9), "are needed"),
        (("masking", 10, 1 << 20, 16), "not binding"),
        (("additive", 1 << 30, 3), "split the model"),
    ],
)
def test_what_a_round_would_refuse_is_refused(setting: tuple[str, int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predict(Setting(*setting), shipped())


def test_what_was_not_measured_is_refused_with_how_to_measure_it() -> None:
    nothing = msgspec.structs.replace(shipped(), backends={})
    with pytest.raises(ConfigError, match="benchmarks fit"):
        predict(Setting("plain", 10_000, 3), nothing)


def test_what_leaves_the_measured_says_so() -> None:
    assert not any("xtrapolated" in one for one in remarks(planned("masking", 20, params=100_000)))
    for backend, clients, params in (("masking", 20, 10**9), ("plain", 1_000, 10_000), ("plain", 3, 10)):
        assert any(one.startswith("Extrapolated") for one in remarks(planned(backend, clients, params=params)))
    assert any("aggregators 4" in one for one in remarks(planned("additive", 5, aggregators=4)))


def test_a_phase_that_no_measured_round_had_is_not_counted_and_named() -> None:
    known = shipped().fitted("masking")
    few = msgspec.structs.replace(known, terms=tuple(term for term in known.terms if term.phase != "choose-peers"))
    coefficients = msgspec.structs.replace(shipped(), backends={"masking": few})
    found = predict(Setting("masking", 10_000, 150), coefficients)
    assert found.unknown == ("choose-peers",)
    assert any("choose-peers" in one for one in remarks(found))


def test_it_says_what_a_parameter_takes_and_with_how_many_bits_fewer_bytes() -> None:
    found = planned("masking", 100, params=1_000_000)
    assert 4.0 < found.bytes_per_parameter < 4.1
    said = "With 14 bits a parameter would be hidden in 2.67 bytes instead of 4.01."
    assert said in remarks(found)
    assert not any("hidden in" in one for one in remarks(planned("crypten", 5)))


def test_as_many_bits_as_the_smallest_commitment_holds() -> None:
    assert most_bits(100, 1_000_000) == 18
    assert most_bits(1_000, 1_000_000) == 15
    assert most_bits(most_clients(8) * 2, 1_000) is None
    for clients in (3, 100, 5_000):
        bits = most_bits(clients, 1_000_000)
        assert bits is not None
        Setting("plain", 1_000_000, clients, bits)


def advised(**needs: object) -> Advice:
    return advise(Needs(**{"parameters": 1_000_000, "clients": 20, **needs}), shipped(), NETWORK)  # type: ignore[arg-type]


def test_advice_follows_from_who_can_be_trusted() -> None:
    assert advised().backend == "masking"
    assert advised(post_quantum=True).backend is None
    assert advised(post_quantum=True, key_holder=True).backend == "bfv"
    assert advised(robust=True, servers=3).backend == "crypten"
    assert advised(robust=True).backend is None
    refused = {one.backend: one.refused for one in advised().candidates}
    assert refused["masking"] == ""
    assert "two independent servers" in refused["additive"]
    assert "key holder" in refused["ckks"]


def test_what_hides_nothing_is_never_advised() -> None:
    assert "plain" not in {one.backend for one in advised().candidates}


def test_the_cheapest_of_what_the_trust_allows_is_advised() -> None:
    advice = advised(servers=3, key_holder=True)
    costs = {one.backend: one.prediction.seconds for one in advice.candidates if one.prediction}
    assert advice.backend == min(costs, key=lambda name: costs[name])


def test_a_billion_parameters_and_a_million_clients_are_planned_in_cohorts_and_shards() -> None:
    advice = advised(parameters=10**9, clients=10**6)
    assert advice.backend == "masking"
    assert advice.cohort == 1_000
    assert "not implemented" in advice.reasons[0]
    found = next(one.prediction for one in advice.candidates if one.backend == "masking")
    assert found is not None
    assert found.sent("client") == pytest.approx(4e9, rel=0.05)
    said = " ".join(remarks(found))
    assert "Extrapolated" in said
    assert "shards" in said


def test_a_drawn_cohort_bears_fewer_corrupt_clients_than_a_whole_roster() -> None:
    """At 2^-60 a draw 3.97% for 100 of 10,000."""
    assert 0.03 <= corruption_borne(10_000, 100) < 0.04 < 0.15 < corruption_borne(1_000_000, 1_000) < 0.3


def test_coefficients_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    shipped().save(file)
    assert Coefficients.load_file(file) == shipped()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"machine": "x", "date": "", "load": "", "versions": {}}',
        b'{"machine": "x", "date": "", "load": "", "versions": {}, "backends": {}, "more": 1}',
        b'{"machine": "x", "date": "", "load": "", "versions": {}, "backends": {"plain": {"cells": 1, "parameters": '
        b'[1, 1], "clients": [1, 1], "bits": [1, 1], "errors": {}, "terms": [{"role": "client", "phase": "", '
        b'"figure": "memory", "per": {"one": -1.0}}]}}}',
        b" " * ((1 << 22) + 1),
    ],
)
def test_a_file_without_coefficients_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "machine.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"machine\.json"):
        Coefficients.load_file(file)


def test_a_norm_bound_has_amounts_of_its_own_and_screening_too() -> None:
    usual = Setting("masking", 10_000, 10)
    proved = Setting("masking", 10_000, 10, norm_bound=10.0, options=(Option("screening", 0),))
    screened = Setting("masking", 10_000, 10, norm_bound=10.0)
    names = ("bounded", "sketched", "sketches")
    assert [usual.amounts("client")[name] for name in names] == [0, 0, 0]
    assert [proved.amounts("client")[name] for name in names] == [1, 10_000, 10]
    assert proved.amounts("aggregator")["all sketches"] == 100
    assert proved.amounts("client")["its tested"] == 0 < screened.amounts("client")["its tested"]
    assert {"screen", "confirm-edges"} < set(screened.phases)


def test_a_plan_with_a_norm_bound_takes_as_many_bits_as_it_leaves_and_screens() -> None:
    advice = advise(Needs(1_000_000, 100, norm_bound=1000.0), shipped(), Network())
    found = next(one.prediction for one in advice.candidates if one.backend == "masking")
    assert found is not None
    assert found.setting.bits <= advice.bits < advise(Needs(1_000_000, 100), shipped(), Network()).bits
    assert any("norm bound" in reason for reason in advice.reasons)
    assert found.setting.options == (Option("screening", 1),)
    refused = next(one for one in advice.candidates if one.backend == "additive")
    assert refused.prediction is None
