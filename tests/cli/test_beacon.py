"""``secure-agg beacon``, and homes of a federation whose cohorts are drawn."""

from __future__ import annotations

import time
from pathlib import Path

from support.beacons import QUICKNET_PULSES
from support.commands import Run

from secure_agg.beacon.pulse import Pulse
from secure_agg.beacon.recorded import BeaconFile
from secure_agg.beacon.source import quicknet
from secure_agg.cli.terminal import exits
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome


def twelve() -> list[str]:
    return [word for i in range(12) for word in ("--client", f"site-{i:02}")]


def test_quicknet_is_pinned_ahead_of_its_pulses(run: Run, tmp_path: Path) -> None:
    began = time.time()
    document = run("beacon", "pin", "--out", tmp_path / "beacon", "--in", 3600, "--step", 20, "--json").document
    assert document["key"] == quicknet(1).key.hex()
    assert began + 3599 < document["due"] < time.time() + 3604  # a pulse comes every three seconds
    found = BeaconFile.load(tmp_path / "beacon")
    assert found == BeaconFile(quicknet(document["first"], 20))
    assert document["key"] in run("beacon", "show", tmp_path / "beacon").out
    assert run("beacon", "pin", "--out", tmp_path / "beacon").code == exits.USAGE  # never overwritten


def test_a_schedule_that_has_begun_is_not_written(run: Run, tmp_path: Path) -> None:
    done = run("beacon", "pin", "--out", tmp_path / "beacon", "--first", 1000)
    assert (done.code, (tmp_path / "beacon").exists()) == (exits.USAGE, False)
    assert "could choose an id" in done.err
    for wrong in (("--key", "zz"), ("--key", "00" * 96), ("--period", 3), ("--in", -10)):
        assert run("beacon", "pin", "--out", tmp_path / "beacon", *wrong).code == exits.USAGE


def test_another_beacon_of_the_scheme_is_pinned_by_its_key(run: Run, tmp_path: Path) -> None:
    key = quicknet(1).key.hex()
    assert run("beacon", "pin", "--out", tmp_path / "a", "--key", key, "--first", 7).code == exits.OK
    assert BeaconFile.load(tmp_path / "a").source.period == 0
    assert run("beacon", "pin", "--out", tmp_path / "b", "--key", key).code == exits.USAGE  # keeps no time


def test_a_pulse_is_looked_for_and_verified(run: Run, tmp_path: Path) -> None:
    BeaconFile(quicknet(1000 - 16 - 2)).save(tmp_path / "beacon")
    (tmp_path / "pulses").mkdir()
    where = ("beacon", "show", tmp_path / "beacon", "--round", 1, "--draw", 2, "--pulses", tmp_path / "pulses")
    assert run(*where).code == exits.PROTOCOL_ABORT
    pulse = Pulse(1000, bytes.fromhex(QUICKNET_PULSES[1000]))
    (tmp_path / "pulses" / "1000").write_text(pulse.to_json())
    document = run(*where, "--json").document
    assert (document["pulse"], document["randomness"]) == (1000, pulse.randomness.hex())
    assert "2023" in run(*where).out


def test_homes_of_a_rehearsal(run: Run, tmp_path: Path) -> None:
    chain, homes = tmp_path / "chain", tmp_path / "homes"
    assert run("beacon", "rehearse", "--out", chain, "--pulses", 32, "--json").document["pulses"] == 32
    asked = ("--sample", 0.5, "--corruption-rate", 0, "--dropout", 0.2, "--beacon", chain)
    document = run("federation", "init", homes, *twelve(), *asked, "--json").document
    assert (document["cohort_size"], document["min_advertised"], document["max_corrupt"]) == (6, 4, 0)
    with ServerHome.open(homes / "server") as server:
        pins = server.trust.task("default")
        assert pins.beacon == BeaconFile.load(chain).source
        assert server.draws.source is not None or (homes / "server" / "beacon").exists()
    with ClientHome.open(homes / "clients" / "site-03") as home:
        assert home.trust.task("default").beacon == pins.beacon
    # Another schedule, without which nobody could join later.
    run("beacon", "rehearse", "--out", tmp_path / "next", "--pulses", 16)
    propose = ("federation", "propose", homes / "server", "--out", tmp_path / "proposal")
    document = run(*propose, "--beacon", tmp_path / "next", "--json").document
    assert BeaconFile.load(tmp_path / "next").source.key.hex() in document["changes"]["beacon"]


def test_unsafe_sizes_and_half_settings_are_refused(run: Run, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    run("beacon", "rehearse", "--out", chain, "--pulses", 16)
    init = ("federation", "init", tmp_path / "homes", *twelve())
    for asked, said in (
        (("--sample", 4, "--corruption-rate", 0.3, "--beacon", chain), "safe"),
        (("--sample", 6, "--corruption-rate", 0), "name the beacon"),
        (("--sample", 6, "--beacon", chain), "corruption_rate"),
        (("--beacon", chain), "draws no cohort"),
        (("--pulses", chain), "none is drawn"),
        (("--dropout", 0.6), "dropout"),
        (("--preset", "clinics"), "hospitals"),
    ):
        done = run(*init, *asked)
        assert (done.code, (tmp_path / "homes").exists()) == (exits.USAGE, False)
        assert said in done.err


def test_a_preset_gives_way_to_what_is_said(run: Run, tmp_path: Path) -> None:
    init = ("federation", "init", tmp_path / "homes", *twelve(), "--preset", "audit")
    document = run(*init, "--dropout", 0.1, "--json").document
    assert document["min_advertised"] == 10
    with ServerHome.open(tmp_path / "homes" / "server") as server:
        assert server.trust.task("default").policy.min_clients == 5
