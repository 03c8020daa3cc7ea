"""What a plan predicts is what rounds then send, and what it refuses is what a round would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.federation import Federation
from benchmarks.scale.round import Measured, measure
from secure_agg.errors import ConfigError
from secure_agg.planning.advice import Advice, Needs, advise
from secure_agg.planning.constants import DEFAULT, Constants
from secure_agg.planning.limits import corruption_borne, most_bits, most_clients, remarks
from secure_agg.planning.prediction import Network, Prediction, predict
from secure_agg.planning.setting import BACKENDS, Setting
from secure_agg.planning.work import Operation
from secure_agg.protocol.config import Option

PARAMS = 300
NETWORK = Network()


def planned(backend: str, clients: int, lost: int = 0, *, params: int = PARAMS, **options: int) -> Prediction:
    operator = {"masking": 10, "plain": 10, "additive": len("sharing-00")}.get(backend, len("holder-00"))
    chosen = tuple(Option(name, value) for name, value in sorted(options.items()))
    setting = Setting(backend, params, clients, dropout=lost / clients, operator_bytes=operator, options=chosen)
    return predict(setting, DEFAULT)


def played(backend: str, clients: int, lost: int = 0, *, params: int = PARAMS, **options: int) -> Measured:
    return measure(Federation.of(clients, params, backend=backend, options=options), lost=lost)


def others(found: Prediction) -> float:
    roles = set(found.roles) - {"client", "aggregator"}
    return sum(found.sent(role) + found.received(role) for role in roles)


@pytest.mark.parametrize(
    ("backend", "clients", "lost", "options"),
    [
        ("plain", 3, 0, {}),
        ("plain", 20, 2, {}),
        ("masking", 3, 0, {}),
        ("masking", 20, 2, {}),
        ("additive", 3, 0, {}),
        ("additive", 20, 2, {}),
        ("additive", 5, 0, {"aggregators": 4, "threshold": 2}),
    ],
)
def test_bytes_are_exact_to_the_last_one(backend: str, clients: int, lost: int, options: Mapping[str, int]) -> None:
    measured, found = played(backend, clients, lost, **options), planned(backend, clients, lost, **options)
    assert found.sent("client") == pytest.approx(measured.sent, abs=0.5)
    assert found.received("client") == pytest.approx(measured.received, abs=0.5)
    assert others(found) == pytest.approx(measured.operator, abs=0.5)


@pytest.mark.parametrize("backend", ["bfv", "ckks", "paillier"])
def test_bytes_of_ciphertexts_are_right_within_a_hundredth(backend: str) -> None:
    measured, found = played(backend, 3), planned(backend, 3)
    assert found.sent("client") == pytest.approx(measured.sent, rel=0.01)
    assert found.received("client") == pytest.approx(measured.received, rel=0.01)
    assert others(found) == pytest.approx(measured.operator, rel=0.01)


def test_bytes_on_a_sparse_graph_are_right_on_average() -> None:
    """Who chooses whom is drawn, so messages differ in length."""
    measured = played("masking", 40, complete_up_to=20)
    found = planned("masking", 40, complete_up_to=20)
    assert "choose-peers" in {share.phase for share in found.shares}
    assert found.sent("client") == pytest.approx(measured.sent, rel=0.01)
    assert found.received("client") == pytest.approx(measured.received, rel=0.01)


@pytest.mark.parametrize("backend", ["plain", "masking", "additive"])
def test_memory_is_what_the_roles_allocate(backend: str) -> None:
    params = 400_000
    measured = measure(Federation.of(3, params, backend=backend), memory=True)
    found = planned(backend, 3, params=params)
    assert set(measured.memory) == set(found.memory)
    for role, held in measured.memory.items():
        assert found.memory[role] == pytest.approx(held, rel=0.25), role


def test_seconds_are_counts_times_constants() -> None:
    """Twice as slow a machine takes twice as long; a free operation takes nothing."""
    slow = Constants("slow", DEFAULT.cores, {name: 2 * each for name, each in DEFAULT.seconds.items()})
    setting = Setting("masking", 10_000, 10)
    one, two = predict(setting, DEFAULT), predict(setting, slow)
    for role in one.roles:
        assert two.processor(role) == pytest.approx(2 * one.processor(role))
    free = Constants("free", 1, dict.fromkeys(Operation, 0.0))
    assert predict(setting, free).processor("aggregator") == 0


def test_more_cores_shorten_what_is_spread_over_them_and_nothing_else() -> None:
    many = Constants("many", 64, DEFAULT.seconds)
    assert DEFAULT.processor({Operation.MASK: 1e9}) == pytest.approx(64 * many.elapsed({Operation.MASK: 1e9}))
    assert many.processor({Operation.HASH: 1e9}) == many.elapsed({Operation.HASH: 1e9})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_round_grows_with_parameters_clients_and_losses(backend: str) -> None:
    small, long, wide = (planned(backend, n, params=d) for d, n in ((1_000, 10), (100_000, 10), (1_000, 40)))
    for other in (long, wide):
        assert other.seconds > small.seconds
        assert all(other.memory[role] > small.memory[role] for role in small.memory)
        assert all(other.processor(role) > small.processor(role) for role in small.roles)


def test_a_lost_client_costs_the_aggregator_of_masking_its_masks() -> None:
    assert planned("masking", 40, 4, params=100_000).processor("aggregator") > (
        planned("masking", 40, params=100_000).processor("aggregator")
    )


def test_network_time_is_bytes_by_bandwidth() -> None:
    setting = Setting("plain", 1_000_000, 3)
    slow = predict(setting, DEFAULT, Network(up_mbit=1, down_mbit=1e6, server_gbit=1e6, rtt_ms=0)).network
    assert sum(slow.values()) == pytest.approx(8e-6 * planned("plain", 3, params=1_000_000).sent("client"), rel=0.01)
    rtt = predict(setting, DEFAULT, Network(up_mbit=1e9, down_mbit=1e9, server_gbit=1e9, rtt_ms=1000)).network
    assert sum(rtt.values()) == pytest.approx(len(rtt), rel=0.01)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("magic", 10, 10), "no plan is made"),
        (("masking", 0, 10), "outside"),
        (("masking", 10, 2), "fewer than min_clients"),
        (("masking", 10, 10, 16, 0.9), "are needed"),
        (("masking", 10, 1 << 20, 16), "not binding"),
        (("additive", 1 << 30, 3), "split the model"),
    ],
)
def test_what_a_round_would_refuse_is_refused(setting: tuple[str, int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        predict(Setting(*setting), DEFAULT)


def test_as_many_bits_as_the_smallest_commitment_holds() -> None:
    assert most_bits(100, 1_000_000) == 18
    assert most_bits(1_000, 1_000_000) == 15
    assert most_bits(most_clients(8) * 2, 1_000) is None
    for clients in (3, 100, 5_000):
        bits = most_bits(clients, 1_000_000)
        assert bits is not None
        Setting("plain", 1_000_000, clients, bits)


def advised(**needs: object) -> Advice:
    return advise(Needs(**{"parameters": 1_000_000, "clients": 20, **needs}), DEFAULT, NETWORK)  # type: ignore[arg-type]


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
    assert found.sent("client") == pytest.approx(4e9, rel=0.01)
    said = " ".join(remarks(found))
    assert "Extrapolated" in said
    assert "shards" in said


def test_a_drawn_cohort_bears_fewer_corrupt_clients_than_a_whole_roster() -> None:
    """The protocol's own example: about 8% for 100 of 10,000."""
    assert 0.05 <= corruption_borne(10_000, 100) <= 0.1 < corruption_borne(1_000_000, 1_000) < 0.3


def test_constants_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    DEFAULT.save(file)
    assert Constants.load(file) == DEFAULT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"machine": "x", "cores": 1, "seconds": {}}',
        b'{"machine": "x", "cores": 1, "seconds": {"magic": 1.0}}',
        b" " * (1 << 17),
    ],
)
def test_a_file_without_constants_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "machine.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"machine\.json"):
        Constants.load(file)
