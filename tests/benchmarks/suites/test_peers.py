"""Others' code beside ours: whoever is not installed is missing, and not zero."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.peers import suite as peers
from benchmarks.peers.suite import PEERS, Peer, PeerOptions
from benchmarks.results import Row, Target

QUICK = ["peers", "--params", "500", "--clients", "5", "--repeat", "1"]


def run(folder: Path, *options: str) -> dict[str, Any]:
    file = folder / "peers.json"
    assert main([*QUICK, *options, "--json", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def made_up(options: PeerOptions) -> list[Row]:
    targets = (Target("median", 5.0), Target("median", 0.0))
    return [Row(key="a", name="a", unit="ms", median=float(options.params), targets=targets)]


def test_a_peer_that_is_not_installed_is_reported_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Peer("Absent", ("no_such_library",), "pip install it", made_up)
    monkeypatch.setattr(peers, "PEERS", (absent, Peer("Present", ("numpy",), "", made_up)))
    report = run(tmp_path)
    assert report["missing"] == {"Absent": "no_such_library is not installed: run  pip install it"}
    assert [row["median"] for row in report["rows"]] == [500.0]
    assert "no_such_library" not in report["machine"]


def test_targets_stay_with_the_sizes_that_they_are_stated_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PEERS", (Peer("Present", ("numpy",), "", made_up),))
    assert [target["limit"] for target in run(tmp_path)["rows"][0]["targets"]] == [0.0]


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for peer in PEERS for name in peer.needs), reason="a peer is not installed"
)
@pytest.mark.long
def test_every_peer_is_measured_beside_ours_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.he.paillier.VALUES", 2)
    report = run(tmp_path)
    assert not report["missing"]
    rows = {row["key"]: row for row in report["rows"]}
    compared = {
        "Flower": "peer.flower.client",
        "pycryptodome": "peer.pycryptodome.shamir",
        "TenSEAL": "bfv.encrypt",
        "phe": "paillier.encrypt",
        "CrypTen": "sum.round",
    }
    for name, key in compared.items():
        assert name in rows[key]["peer"]
        assert rows[key]["peer_median"] > 0
    assert {row["verdict"] for row in rows.values()} == {"", "ok"}  # what is exact at any size


@pytest.mark.parametrize("options", [["--params", "0"], ["--clients", "2"], ["--repeat", "0"]])
def test_options_out_of_range_are_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["peers", *options])
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_one_size_is_the_size_of_all() -> None:
    options = PeerOptions(params=1_000, clients=10, repeat=2)
    assert {options.masking.params, options.he.params, options.mpc.params} == {1_000}
    assert {options.masking.bits, options.he.bits, options.mpc.bits} == {16}
    assert dataclasses.asdict(options) == {"params": 1_000, "clients": 10, "repeat": 2}
