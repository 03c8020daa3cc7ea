"""Pulses in files and folders, and chains of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.beacons import QUICKNET_PULSES, rehearsal

from secure_agg.beacon.pulse import Pulse
from secure_agg.beacon.recorded import BeaconFile, PulseFolder, find, record
from secure_agg.beacon.source import quicknet
from secure_agg.errors import ConfigError, FileExists, PulseMissing

CHAIN = rehearsal(range(1, 6))


def test_a_chain_is_written_and_read_again(tmp_path: Path) -> None:
    CHAIN.save(tmp_path / "chain")
    assert BeaconFile.load(tmp_path / "chain") == CHAIN
    with pytest.raises(FileExists):
        CHAIN.save(tmp_path / "chain")


def test_a_beacon_is_handed_around_without_pulses(tmp_path: Path) -> None:
    BeaconFile(quicknet(5)).save(tmp_path / "quicknet")
    assert BeaconFile.load(tmp_path / "quicknet") == BeaconFile(quicknet(5))


def test_two_chains_of_ones_own_have_different_keys() -> None:
    assert record([1]).source.key != record([1]).source.key
    with pytest.raises(ConfigError):
        record([])
    with pytest.raises(ConfigError):
        record([0])


@pytest.mark.parametrize("damage", ["", "{}\n", "nothing", '{"format":"secure-agg-beacon/2"}\n', '{"a":1}\n'])
def test_what_is_no_beacon_file_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "file").write_text(damage)
    with pytest.raises(ConfigError):
        BeaconFile.load(tmp_path / "file")


def test_a_pulse_twice_or_a_line_that_is_none_is_refused(tmp_path: Path) -> None:
    CHAIN.save(tmp_path / "chain")
    text = (tmp_path / "chain").read_text()
    for name, wrong in (
        ("twice", text + CHAIN.pulses[2].to_json()),
        ("none", text + "nothing\n"),
        ("empty", text + "\n"),
    ):
        (tmp_path / name).write_text(wrong)
        with pytest.raises(ConfigError):
            BeaconFile.load(tmp_path / name)


def test_a_folder_has_a_file_for_each_pulse(tmp_path: Path) -> None:
    folder = PulseFolder(tmp_path)
    (tmp_path / "1000").write_text(Pulse(1000, bytes.fromhex(QUICKNET_PULSES[1000])).to_json())
    (tmp_path / "123.json").write_text(Pulse(123, bytes.fromhex(QUICKNET_PULSES[123])).to_json())
    (tmp_path / "7").write_text(Pulse(123, bytes.fromhex(QUICKNET_PULSES[123])).to_json())
    assert [find(quicknet(1), n, [folder]).number for n in (123, 1000)] == [123, 1000]
    assert folder.get(8) is None
    with pytest.raises(ConfigError, match="holds pulse 123"):
        folder.get(7)


def test_what_does_not_verify_is_looked_for_elsewhere() -> None:
    other = rehearsal(range(1, 6), secret=bytes(31) + b"\x09")
    renamed = BeaconFile(CHAIN.source, {2: CHAIN.pulses[3], 3: Pulse(3, CHAIN.pulses[2].signature)})
    for number in (2, 3):
        assert find(CHAIN.source, number, [other, renamed, CHAIN]) == CHAIN.pulses[number]
        with pytest.raises(PulseMissing, match=f"pulse {number} "):
            find(CHAIN.source, number, [other, renamed])
    with pytest.raises(PulseMissing) as caught:
        find(quicknet(1), 1000, [])
    assert caught.value.due == quicknet(1).time(1000)
