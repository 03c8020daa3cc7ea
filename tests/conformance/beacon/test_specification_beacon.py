"""Drawn cohorts against the second implementation: the pulse that is due, and every other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from conformance.beacon import independent_beacon as spec
from conformance.make_vectors import BEACON_VECTORS, DIRECTORY
from conformance.verdicts import verdict
from support.beacons import QUICKNET_PULSES, rehearsal
from support.federation import identity

from secure_agg.beacon.pulse import Pulse
from secure_agg.beacon.source import BeaconSource, quicknet
from secure_agg.errors import SecureAggError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.roles.client.client import Client
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust

CHAIN = rehearsal(range(3, 100), step=2)
NAMES = [f"c{i}" for i in range(9)]
OPERATOR = identity("aggregator")
POLICY = Policy.default(len(NAMES), cohort_size=4, corruption_rate=0.0)
ROSTER = Roster({name: identity(name).public for name in NAMES})


def pins(source: BeaconSource | None = CHAIN.source) -> Trust:
    return Trust({"task": TaskTrust(ROSTER, POLICY, beacon=source)}, Roster({OPERATOR.name: OPERATOR.public}))


def played(pulse: int, number: int = 2, draw: int = 1, trust: Trust | None = None) -> bytes:
    """Evidence of a round by a pulse, from clients that don't look at it."""
    blind = pins(None)
    task = Task("task", blind)
    beacon = CHAIN.pulses[pulse].signature
    config = task.next_round(((3,),), number=number, draw=draw, beacon=beacon)
    clients = {name: Client(identity(name), trust or blind) for name in blind.cohort("task", beacon)}
    local = _Round(task.lead(OPERATOR, config), clients, {name: [np.full(3, 0.5)] for name in NAMES})
    return local.run().to_bytes()


class _Round(LocalRound):
    """Clients that are told to believe the randomness."""

    def answer(self, request: Any, phase: str) -> bytes | None:
        if phase != "advertise":
            return super().answer(request, phase)
        return self.clients[request.recipient].join(
            request.data, self.updates[request.recipient], beacon=self.aggregator.config.beacon
        )


DUE = 3 + (16 * 2 + 1) * 2


def test_the_pulse_that_is_due_is_accepted_by_both() -> None:
    evidence = played(DUE, trust=pins())
    assert verdict(evidence, pins().to_json()) is not None
    beacon = Evidence.from_bytes(evidence).config.beacon
    assert verdict(evidence, pins().to_json(), beacon) is not None
    assert verdict(evidence, pins().to_json(), CHAIN.pulses[3].signature) is None
    assert verdict(evidence, pins(None).to_json(), beacon) is not None
    assert verdict(evidence, pins(None).to_json()) is None
    assert verdict(evidence) is not None


def test_another_pulse_key_schedule_or_draw_is_refused_by_both() -> None:
    source = CHAIN.source
    for wrong in (played(DUE - 2), played(DUE, draw=2), played(DUE, number=3)):
        assert verdict(wrong, pins().to_json()) is None
    evidence = played(DUE)
    other = rehearsal([1], secret=bytes(31) + b"\x09").source.key
    for changes in ({"first": 4}, {"step": 1}, {"key": other}):
        assert verdict(evidence, pins(msgspec.structs.replace(source, **changes)).to_json()) is None


@pytest.mark.parametrize(
    "alter",
    [
        lambda beacon: beacon.pop("step"), lambda beacon: beacon.update(more=1), lambda beacon: beacon.update(first=0),
        lambda beacon: beacon.update(scheme="other"), lambda beacon: beacon.update(genesis=5),
        lambda beacon: beacon.update(key="c0" + "00" * 95), lambda beacon: beacon.update(key=beacon["key"][:-2]),
        lambda beacon: beacon.update(step="1"), lambda beacon: beacon.update(first=True),
    ],
)  # fmt: skip
def test_an_unfit_beacon_in_a_trust_file_is_refused_by_both(alter: Any) -> None:
    document = json.loads(pins().to_json())
    alter(document["tasks"]["task"]["beacon"])
    assert verdict(played(DUE), json.dumps(document)) is None


def test_a_beacon_without_a_draw_is_refused_by_both() -> None:
    document = json.loads(pins().to_json())
    document["tasks"]["task"]["policy"]["cohort_size"] = 0
    assert verdict(played(DUE), json.dumps(document)) is None


def test_both_verify_published_pulses() -> None:
    for number in (1000, 32285086):
        signature = bytes.fromhex(QUICKNET_PULSES[number])
        spec.check_pulse(quicknet(1).key, number, signature)
        with pytest.raises(ValueError, match="not the pulse"):
            spec.check_pulse(quicknet(1).key, number + 1, signature)


def test_a_late_round_of_a_drawn_cohort_is_no_configuration() -> None:
    def number(value: int) -> RoundConfig:
        beacon = CHAIN.pulses[3].signature
        return Task("task", pins(None)).next_round(((3,),), number=value, beacon=beacon)

    number((1 << 16) - 1)
    with pytest.raises(SecureAggError, match="65535"):
        number(1 << 16)


def test_the_vectors_are_what_both_say() -> None:
    vectors: Mapping[str, Any] = json.loads((DIRECTORY / BEACON_VECTORS).read_text())
    source = BeaconSource.from_document(vectors["source"])
    assert source.to_bytes().hex() == vectors["encoding"]
    for case in vectors["draws"]:
        number, signature = source.number(case["round"], case["draw"]), bytes.fromhex(case["signature"])
        assert number == spec.number(vectors["source"], case["round"], case["draw"]) == case["pulse"]
        source.check(case["round"], case["draw"], signature)
        spec.check_pulse(source.key, number, signature)
        assert Pulse(number, signature).randomness.hex() == case["randomness"]
        roster = Roster({name: bytes.fromhex(key) for name, key in vectors["roster"].items()})
        assert sorted(roster.sample(vectors["cohort_size"], signature)) == case["cohort"]
    for case in vectors["quicknet"]:
        Pulse(case["round"], bytes.fromhex(case["signature"])).verify(quicknet(1).key)
    for case in vectors["refused"]:
        with pytest.raises(SecureAggError):
            source.check(case["round"], case["draw"], bytes.fromhex(case["signature"]))
        with pytest.raises(ValueError, match=r".*"):
            spec.check_beacon(vectors["source"], {**case, "beacon": bytes.fromhex(case["signature"])})
