"""``aggregate(sample=…)``: who is in a round, what is pinned, draws that die, and settings that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.beacons import rehearsal

from secure_agg import aggregate, verify
from secure_agg.beacon.recorded import BeaconFile
from secure_agg.beacon.source import quicknet
from secure_agg.errors import ConfigError, PulseMissing, TooFewClients, TrustError
from secure_agg.ledger.log import Ledger
from secure_agg.local.asked import sample_size
from secure_agg.local.rounds import Update

NAMES = tuple(f"c{i:02}" for i in range(16))
CHAIN = rehearsal(range(1, 97))
DRAWN: dict[str, Any] = {"sample": 6, "corruption_rate": 0.0, "beacon": CHAIN}


def updates(seed: int = 0) -> dict[str, Update]:
    rng = np.random.default_rng(seed)
    return {name: [rng.uniform(-1, 1, 7), rng.uniform(-1, 1, (2, 3))] for name in NAMES}


@pytest.mark.parametrize("backend", ["masking", "additive", "bfv", "plain"])
def test_the_drawn_are_averaged_exactly(backend: str, tmp_path: Path) -> None:
    weights = {name: i + 1 for i, name in enumerate(NAMES)}
    result = aggregate(updates(), weights=weights, backend=backend, ledger=tmp_path / "l", bits=16, **DRAWN)
    with Ledger(tmp_path / "l") as ledger:
        drawn = ledger.trust.cohort("default", CHAIN.pulses[1].signature)
        assert ledger.audit().pinned >= {"beacon", "policy", "roster"}
        assert verify(result.evidence, ledger.trust).pinned >= {"beacon"}
    assert set(result.participants) == set(drawn)
    total = sum(weights[name] for name in drawn)
    for i, found in enumerate(result.average):
        mean = sum(weights[name] * updates()[name][i] for name in drawn) / total
        np.testing.assert_allclose(found, mean, atol=result.record.error_bound)


def test_later_calls_keep_what_is_pinned_and_name_the_pulses_only(tmp_path: Path) -> None:
    ledger = tmp_path / "l"
    CHAIN.save(tmp_path / "chain")
    aggregate(updates(), ledger=ledger, dropout=0.3, **DRAWN)
    result = aggregate(updates(), ledger=ledger, pulses=tmp_path / "chain")
    policy, config = result.evidence.config.policy, result.evidence.config
    assert (config.round, policy.cohort_size, policy.min_advertised) == (1, 6, 4)
    assert config.beacon == CHAIN.pulses[17].signature
    absent = {name: update for name, update in updates().items() if name in result.participants}
    assert aggregate(absent, ledger=ledger, beacon=CHAIN, dropouts={}).record.round == 2
    with pytest.raises(ConfigError, match="pinned with another"):
        aggregate(updates(), ledger=ledger, **DRAWN | {"sample": 7})
    with pytest.raises(ConfigError, match="beacon"):
        aggregate(updates(), ledger=ledger, beacon=rehearsal(range(1, 97), secret=bytes(31) + b"\x09"))
    with pytest.raises(ConfigError, match="name where its pulses are"):
        aggregate(updates(), ledger=ledger)


def test_a_dropout_that_was_pinned_stays_in_a_whole_roster_too(tmp_path: Path) -> None:
    aggregate(updates(), ledger=tmp_path / "l", dropout=0.4)
    silent = dict.fromkeys(NAMES[:6], "advertise")
    assert len(aggregate(updates(), ledger=tmp_path / "l", dropouts=silent).participants) == 10


@pytest.mark.parametrize("executor", ["in-process", "processes:2"])
def test_a_dead_draw_goes_to_the_next_and_who_gave_an_update_sits_out(executor: str) -> None:
    """Also where clients live with workers: their bonds go from draw to draw with them."""

    def cohort(pulse: int, result: Any) -> set[str]:
        return set(sorted(NAMES, key=lambda name: key(CHAIN.pulses[pulse].signature, name))[:6])

    first = cohort(1, None)
    result = aggregate(updates(), dropouts=dict.fromkeys(sorted(first)[:2], "advertise"), executor=executor, **DRAWN)
    assert 0 < result.evidence.config.draw < 16
    assert set(result.participants) <= cohort(1 + result.evidence.config.draw, result)
    # Those who have masked before the draw died are in no other.
    silent = dict.fromkeys(sorted(first)[:3], "consistency")
    result = aggregate(updates(), dropouts=silent, dropout=0.4, executor=executor, **DRAWN)
    assert result.evidence.config.draw > 0
    assert not set(result.participants) & first


def key(beacon: bytes, name: str) -> bytes:
    from zk.transcript import digest

    return digest("cohort", beacon, name.encode())


def test_sixteen_dead_draws_are_the_end() -> None:
    with pytest.raises(TooFewClients):
        aggregate(updates(), dropouts=dict.fromkeys(NAMES, "advertise"), **DRAWN)


def test_what_does_not_go_together_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    ledger = tmp_path / "l"
    for wrong, match in (
        (DRAWN | {"beacon": None}, "name a beacon file"),
        (DRAWN | {"corruption_rate": None}, "corruption_rate"),
        (DRAWN | {"corruption_rate": 0.4}, "safe"),
        (DRAWN | {"sample": 17}, "17 can't be drawn from 16"),
        (DRAWN | {"sample": 0}, "sample is 0"),
        (DRAWN | {"sample": -0.5}, "sample is -0.5"),
        (DRAWN | {"beacon": quicknet(1000)}, "published"),
        (DRAWN | {"beacon": BeaconFile(CHAIN.source)}, "name where its pulses are"),
        ({"beacon": CHAIN}, "none is drawn"),
        ({"corruption_rate": 0.1}, "cohort_size"),
        ({"dropout": 0.7}, "dropout is 0.7"),
    ):
        with pytest.raises(ConfigError, match=match):
            aggregate(updates(), ledger=ledger, **wrong)
    with pytest.raises(PulseMissing, match="pulse 5 "):
        aggregate(updates(), ledger=ledger, **DRAWN | {"beacon": rehearsal([5]).source, "pulses": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_pulse_that_was_tampered_with_is_not_used() -> None:
    wrong = BeaconFile(CHAIN.source, {1: type(CHAIN.pulses[1])(1, CHAIN.pulses[2].signature)})
    with pytest.raises(PulseMissing, match="not pulse 1"):
        aggregate(updates(), **DRAWN | {"beacon": wrong})


def test_evidence_of_a_draw_is_checked_against_the_pinned_beacon(tmp_path: Path) -> None:
    evidence = aggregate(updates(), ledger=tmp_path / "l", **DRAWN).evidence
    with Ledger(tmp_path / "l") as ledger:
        trust = ledger.trust
    with pytest.raises(TrustError, match="not the one this party knows"):
        verify(evidence, trust, beacon=CHAIN.pulses[2].signature)


@pytest.mark.parametrize(
    ("sample", "count"), [(None, 0), (1, 1), (7, 7), (0.5, 8), (0.3, 4), (np.int64(3), 3), (6.0, 6)]
)
def test_a_sample_is_a_number_or_a_share(sample: Any, count: int) -> None:
    assert sample_size(sample, 16) == count
