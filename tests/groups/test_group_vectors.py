"""Vectors of section 22: made again by the product, and by what was written from the specification alone."""

from __future__ import annotations

import json
from typing import Any

import conformance.groups.grouped_vectors as made
import conformance.groups.independent_groups as groups
import conformance.independent_verifier as spec
import pytest
from conformance.vector_files import DIRECTORY
from conformance.verdicts import by_product, by_specification, verdict

from secure_agg.errors import SecureAggError
from secure_agg.protocol.config import RoundConfig

pytestmark = pytest.mark.filterwarnings("ignore::secure_agg.errors.ClippingWarning")
VECTORS: dict[str, Any] = json.loads((DIRECTORY / made.VECTORS).read_text("utf-8"))
EVIDENCE = (DIRECTORY / made.EVIDENCE).read_bytes()
TRUST = (DIRECTORY / made.TRUST).read_text("utf-8")


def test_the_product_makes_the_vectors_again() -> None:
    evidence, trust = made.play()
    assert evidence.to_bytes() == EVIDENCE
    assert json.loads(json.dumps(made.vectors(evidence, trust))) == VECTORS
    assert trust.to_json() == TRUST


def test_both_verify_the_round_and_find_the_same_record_and_means() -> None:
    for pins in (TRUST, None):
        assert (found := verdict(EVIDENCE, pins)) is not None
        assert found.hex() == VECTORS["record"]
    record = spec.verify(EVIDENCE, spec.read_trust(TRUST))
    assert [float(value).hex() for value in record["average"]] == VECTORS["average"]
    assert [k for group in record["groups"] for k in group["next_clips"]] == VECTORS["next_clips"]


@pytest.mark.parametrize("what", VECTORS["refused"])
def test_both_refuse_the_round_with_what_is_written_over(what: str) -> None:
    spoiled = bytearray(EVIDENCE)
    for place, text in VECTORS["refused"][what]:
        spoiled[place : place + len(text) // 2] = bytes.fromhex(text)
    assert bytes(spoiled) != EVIDENCE
    assert len(spoiled) == len(EVIDENCE)
    for pins in (TRUST, None):
        assert isinstance(by_product(bytes(spoiled), pins, None, None), str)
        assert isinstance(by_specification(bytes(spoiled), pins, None, None), str)


@pytest.mark.parametrize("what", VECTORS["refused_configurations"])
def test_both_refuse_the_configurations(what: str) -> None:
    good, bad = (bytes.fromhex(text) for text in (VECTORS["config"], VECTORS["refused_configurations"][what]))
    spec.check_config(spec.decode("RoundConfig", good, 1 << 20))
    assert RoundConfig.from_bytes(good).to_bytes() == good
    with pytest.raises((ValueError, KeyError, TypeError)):
        spec.check_config(spec.decode("RoundConfig", bad, 1 << 20))
    with pytest.raises(SecureAggError):
        RoundConfig.from_bytes(bad)


@pytest.mark.parametrize("name", made.NAMES)
def test_a_client_written_from_the_specification_sends_the_same(name: str) -> None:
    config = spec.decode("RoundConfig", bytes.fromhex(VECTORS["config"]), 1 << 20)
    said = VECTORS["clients"][name]
    secret, context = bytes.fromhex(said["secret"]), bytes.fromhex(VECTORS["context"])
    assert groups.encode(config, made.updates()[name], said["weight"], secret, context) == said["values"]


def test_parts_supports_and_keys_are_the_same() -> None:
    config = spec.decode("RoundConfig", bytes.fromhex(VECTORS["config"]), 1 << 20)
    context = spec.digest("round-config", bytes.fromhex(VECTORS["config"]))
    assert context.hex() == VECTORS["context"]
    assert groups.first_clips(config) == VECTORS["clips"]
    for part, said in zip(groups.parts(config), VECTORS["parts"], strict=True):
        name = part.group["name"]
        assert (name, part.start, part.size) == (said["name"], said["start"], said["coordinates"])
        if "sent" in said:
            assert groups.support(config, part, context) == said["sent"]
        if "rotation_key" in said:
            assert spec.digest("rotation", context, name.encode()).hex() == said["rotation_key"]
