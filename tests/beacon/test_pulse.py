"""Pulses: those of drand's network, as its API has them, and what is none."""

from __future__ import annotations

import json

import pytest
from support.beacons import QUICKNET_PULSES, QUICKNET_RANDOMNESS, rehearsal

from secure_agg.beacon.pulse import MAX_FILE, Pulse
from secure_agg.beacon.source import quicknet
from secure_agg.errors import ConfigError, TrustError


@pytest.mark.parametrize("number", QUICKNET_PULSES)
def test_published_pulses_of_quicknet_verify(number: int) -> None:
    pulse = Pulse(number, bytes.fromhex(QUICKNET_PULSES[number]))
    pulse.verify(quicknet(1).key)
    if number in QUICKNET_RANDOMNESS:
        assert pulse.randomness.hex() == QUICKNET_RANDOMNESS[number]


def test_a_published_pulse_does_not_stand_for_another_number_or_network() -> None:
    pulse = Pulse(1000, bytes.fromhex(QUICKNET_PULSES[1000]))
    for wrong in (Pulse(1001, pulse.signature), Pulse(123, pulse.signature)):
        with pytest.raises(TrustError, match="not pulse"):
            wrong.verify(quicknet(1).key)
    with pytest.raises(TrustError, match="not pulse"):
        pulse.verify(rehearsal().source.key)


def test_a_pulse_is_written_as_the_api_has_it_and_read_again() -> None:
    pulse = Pulse(32281667, bytes.fromhex(QUICKNET_PULSES[32281667]))
    document = json.loads(pulse.to_json())
    assert document == {
        "round": 32281667,
        "randomness": QUICKNET_RANDOMNESS[32281667],
        "signature": QUICKNET_PULSES[32281667],
    }
    assert Pulse.from_json(pulse.to_json()) == pulse
    assert Pulse.from_json(json.dumps(document | {"previous_signature": "00"})) == pulse  # of other networks
    del document["randomness"]  # the API's second version leaves it out
    assert Pulse.from_json(json.dumps(document)) == pulse


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"round":1}', '{"round":"1","signature":"00"}', '{"round":1,"signature":"zz"}',
        '{"round":0,"signature":"00"}', '{"round":-1,"signature":"00"}',
        '{"round":18446744073709551616,"signature":"00"}',
        '{"round":1,"signature":"00","randomness":"00"}', '{"round":1.5,"signature":"00"}', "[" * 5000,
        '{"round":1,"signature":"' + "0" * MAX_FILE + '"}',
    ],
)  # fmt: skip
def test_what_is_no_pulse_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Pulse.from_json(text)
