"""Rounds with privacy: the product and what was written from section 23 alone agree, on every number and every byte."""

from __future__ import annotations

import json
from typing import Any

import conformance.independent_verifier as spec
import conformance.privacy.independent_privacy as slow
import numpy as np
import pytest
from conformance.privacy import private_vectors as made
from conformance.vector_files import DIRECTORY
from conformance.verdicts import verdict

from secure_agg.errors import SecureAggError
from secure_agg.privacy import accounting
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence

VECTORS = json.loads((DIRECTORY / made.VECTORS).read_text("utf-8"))
EVIDENCE = (DIRECTORY / made.EVIDENCE).read_bytes()
TRUST = (DIRECTORY / made.TRUST).read_text("utf-8")


def config() -> dict[str, Any]:
    header = spec.read_evidence(spec.unpack(EVIDENCE)[0])
    return spec.decode("RoundConfig", header["config"], 2**20)


def test_the_product_makes_the_vectors_again() -> None:
    evidence, trust = made.play()
    assert evidence.to_bytes() == EVIDENCE
    assert json.loads(json.dumps(made.vectors(evidence, trust))) == VECTORS
    assert trust.to_json() == TRUST


def test_both_verify_the_round_and_find_the_same_record() -> None:
    record = verdict(EVIDENCE, TRUST)
    assert record is not None
    assert record.hex() == VECTORS["record"]
    assert verdict(EVIDENCE, claims=["attested"]) is None
    assert spec.verify(EVIDENCE, spec.read_trust(TRUST))["spent"] == VECTORS["spent"]


def test_both_refuse_the_round_with_any_byte_changed() -> None:
    rng = np.random.default_rng(23)
    for place in sorted({int(place) for place in rng.integers(0, len(EVIDENCE), 25)}):
        spoiled = bytearray(EVIDENCE)
        spoiled[place] ^= 1 << int(rng.integers(8))
        assert verdict(bytes(spoiled)) is None, f"byte {place}"


@pytest.mark.parametrize("name", made.NAMES)
def test_a_client_written_from_the_specification_sends_the_same(name: str) -> None:
    values = np.concatenate([array.ravel() for array in made.updates()[name]]).tolist()
    secret, context = bytes.fromhex(VECTORS["clients"][name]["secret"]), bytes.fromhex(VECTORS["context"])
    key = spec.digest("rotation", context, b"values")
    assert key.hex() == VECTORS["rotation_key"]
    assert slow.encode(values, config(), context, secret, key) == VECTORS["clients"][name]["values"]


def test_numbers_and_draws_are_the_same() -> None:
    assert slow.numbers(config()["policy"], 71) == VECTORS["numbers"]
    key = bytes.fromhex(VECTORS["draws"]["key"])
    for case in VECTORS["draws"]["of"]:
        assert slow.draw(case["V"], key, 20) == case["first"]


@pytest.mark.parametrize("case", VECTORS["spending"])
def test_spending_is_the_same_to_the_millionth(case: dict[str, Any]) -> None:
    rounds = {int(ratio): count for ratio, count in case["rounds"].items()}
    assert slow.spent(rounds, case["delta"], case["epsilon"]) == case["spent"]


def test_spending_is_the_same_for_any_rounds() -> None:
    rng = np.random.default_rng(7)
    for _ in range(12):
        ratios = 2 ** rng.uniform(9, 24, 2)
        rounds = {int(ratio): int(rng.integers(1, 200)) for ratio in ratios}
        delta, epsilon = int(10 ** rng.uniform(4, 9)), int(rng.integers(10**5, 12 * 10**6))
        assert slow.spent(rounds, delta, epsilon) == accounting.spent(rounds, delta, epsilon)


@pytest.mark.parametrize("size", [1, 64, 65, 300, 5000, 70_000])
def test_numbers_are_the_same_for_any_model(size: int) -> None:
    policy = dict(config()["policy"]) | {"bits": 22, "max_clients": 3}
    evidence = Evidence.from_bytes(EVIDENCE)
    rule = evidence.config.policy.privacy
    assert rule is not None
    found = rule.mechanism_of(size, 3, 2**21 - 1)
    expected = slow.numbers(policy, size)
    assert (found.padded, found.length, found.squared) == (expected["D"], expected["L"], expected["squared"])
    assert (found.variance, found.value_limit) == (expected["V"], expected["A_q"])
    assert found.noise_limit == expected["A_z"]


@pytest.mark.parametrize("what", VECTORS["refused"])
def test_both_refuse_the_round_with_what_is_written_over(what: str) -> None:
    spoiled = bytearray(EVIDENCE)
    for place, text in VECTORS["refused"][what]:
        spoiled[place : place + len(text) // 2] = bytes.fromhex(text)
    assert bytes(spoiled) != EVIDENCE
    assert len(spoiled) == len(EVIDENCE)
    assert verdict(bytes(spoiled), TRUST) is None
    assert verdict(bytes(spoiled)) is None


@pytest.mark.parametrize("what", VECTORS["refused_configurations"])
def test_both_refuse_the_same_configurations(what: str) -> None:
    good, bad = (bytes.fromhex(text) for text in (VECTORS["config"], VECTORS["refused_configurations"][what]))
    spec.check_config(spec.decode("RoundConfig", good, 1 << 20))
    assert RoundConfig.from_bytes(good).to_bytes() == good
    with pytest.raises(ValueError, match=r"."):
        spec.check_config(spec.decode("RoundConfig", bad, 1 << 20))
    with pytest.raises(SecureAggError, match=r"."):
        RoundConfig.from_bytes(bad)


@pytest.mark.parametrize(
    "option", [{"name": "buffer_honest", "value": 2}, {"name": "groups", "value": []}, {"name": "halves", "value": 1}]
)
def test_what_privacy_can_not_be_had_with_the_second_implementation_refuses_too(option: dict[str, Any]) -> None:
    fields = config()
    slow.check(fields, 71, lambda n: n, False)
    fields["policy"]["options"] = [*fields["policy"]["options"], option]
    with pytest.raises(ValueError, match="beside privacy"):
        slow.check(fields, 71, lambda n: n, False)
