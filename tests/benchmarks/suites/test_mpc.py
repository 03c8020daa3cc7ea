"""The suite of the backends that share updates runs, measures what it says, and says what it measured; never how fast.

CrypTen and gRPC are optional: what they are needed for is measured here only where they are installed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.federation import Federation
from benchmarks.measure.round import drawn, measure
from benchmarks.mpc import client as mpc_client
from benchmarks.mpc import memory as mpc_memory
from benchmarks.mpc import round as mpc_round
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.peer import CryptenSum, PeerFailed
from benchmarks.results import MISSED, Report, Row
from mpc.vector_shares import expand

pytestmark = pytest.mark.long

PARAMS = 2_000
COHORT = 5
OPTIONS = MpcOptions(params=PARAMS, clients=COHORT, aggregators=2, bits=16, function_params=300, repeat=1)
COMMAND = ["mpc", "--params", str(PARAMS), "--clients", str(COHORT), "--function-params", "300", "--repeat", "1"]
COMMAND += ["--aggregators", "2"]
INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("crypten", "grpc")}
HERE = {
    *(f"limit.{name}" for name in ("keystream", "keystream_all_cores", "add", "sha256", "copy")),
    *(f"client.{name}" for name in ("commit", "split", "send", "share", "join", "verify")),
    *(f"upload.{name}" for name in ("3of3", "2of3", "2of4", "aggregator")),
    *(f"sum.{name}" for name in ("add", "share_and_add", "round", "error")),
    *(f"holder.{name}" for name in ("long", "key", "rest")),
    *("coordinator.total", "coordinator.verify"),
}
OPTIONAL = {
    "grpc": {"processes.round", "processes.share", "processes.error"},
    "crypten": {
        "crypten.sum",
        *(f"{what}.{name}" for what in ("crypten", "round") for name in ("norm", "trimmed", "median")),
        "round.proved",
    },
}
KEYS = HERE.union(*(keys for name, keys in OPTIONAL.items() if INSTALLED[name]))
TARGETS = {
    "client.split": {"ratio": 2.5},
    "client.share": {"ratio": 2.5},
    "upload.3of3": {"derived": 4.05},
    "sum.add": {"speedup": 20.0},
    "sum.error": {"median": 0.0},
    "processes.error": {"median": 0.0},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("mpc") / "mpc.json"
    assert main([*COMMAND, "--json", str(file)]) == 0
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_the_json_file_holds_every_row_once(report: dict[str, Any]) -> None:
    keys = [row["key"] for row in report["rows"]]
    assert set(keys) == KEYS
    assert len(keys) == len(KEYS)
    assert set(report["missing"]) == {
        {"grpc": "processes"}.get(name, name) for name, there in INSTALLED.items() if not there
    }


def test_the_json_file_says_where_and_with_what_it_was_measured(report: dict[str, Any]) -> None:
    assert report["suite"] == "mpc"
    assert report["parameters"] == dataclasses.asdict(OPTIONS)
    stamped = {"cpu", "cores", "load", "python", "numpy", "numba", "cryptography"}
    stamped |= {"crypten", "torch"} if INSTALLED["crypten"] else set()
    stamped |= {"grpcio"} if INSTALLED["grpc"] else set()
    assert set(report["machine"]) >= stamped


def test_targets_are_as_stated_and_need_their_peer(rows: dict[str, Any]) -> None:
    for key, row in rows.items():
        stated = {target["figure"]: target["limit"] for target in row["targets"]}
        assert stated == (TARGETS.get(key, {}) if key != "sum.add" or INSTALLED["crypten"] else {}), key


def test_sums_are_numpys_and_times_are_positive(rows: dict[str, Any]) -> None:
    for key in KEYS - {"client.split", "client.send", "client.share"}:  # differences of measurements
        assert (rows[key]["median"] == 0) == key.endswith(".error"), key


def test_uploads_are_those_of_the_wire_format(rows: dict[str, Any]) -> None:
    randomness = 5 * 512
    for key, long in (("3of3", 1), ("2of3", 2), ("2of4", 3)):
        exact = 4 * long * (PARAMS + 1 + randomness)
        assert exact < rows[f"upload.{key}"]["median"] < exact + 4_096, key
    assert 300 < rows["upload.aggregator"]["median"] < 1_000


def test_what_each_side_of_a_comparison_does_is_said(rows: dict[str, Any]) -> None:
    assert "nothing is checked" in rows["sum.add"]["note"]
    assert "nothing is checked" in rows["sum.share_and_add"]["note"]
    assert f"{COHORT} clients, 2 aggregators, 2,000 parameters" in rows["sum.round"]["note"]
    if INSTALLED["crypten"]:
        assert rows["sum.add"]["peer"] == "CrypTen, 2 processes: add, reveal"
        assert (
            rows["sum.round"]["peer"] == rows["sum.share_and_add"]["peer"] == "CrypTen, 2 processes: share, add, reveal"
        )
        assert "1 of 5 refused; verified" in rows["round.norm"]["note"]
        assert "attested" in rows["round.median"]["note"]


def test_what_is_not_installed_is_missing_and_not_zero(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find: Callable[[str], object] = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in INSTALLED else find(name))
    file = tmp_path / "mpc.json"
    assert main([*COMMAND, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert {row["key"] for row in report["rows"]} == HERE
    assert set(report["missing"]) == {"crypten", "processes"}
    assert not any(row["peer"].startswith("CrypTen") for row in report["rows"])
    out = capsys.readouterr().out
    assert "not measured: crypten" in out
    assert "pip install '.[mpc]'" in out


@pytest.mark.parametrize(
    "options",
    [
        ["--params", "0"],
        ["--function-params", "0"],
        ["--repeat", "0"],
        ["--clients", "2"],
        ["--clients", "65"],
        ["--aggregators", "1"],
        ["--aggregators", "6"],
        ["--bits", "25"],
    ],
)
def test_options_out_of_range_are_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["mpc", *options])
    assert stopped.value.code == 2
    assert options[-1] in capsys.readouterr().err


def test_a_wrong_sum_would_show() -> None:
    federation: Federation = mpc_round.federation_for(OPTIONS, 100)
    updates = drawn(COHORT, 100)
    evidence = measure(federation, updates).evidence
    assert mpc_round.wrong_sums(federation, updates, evidence) == 0
    sums = evidence.sums.copy()
    sums[:2] += 1
    assert mpc_round.wrong_sums(federation, updates, dataclasses.replace(evidence, sums=sums)) == 2
    row = Row(key="a", name="wrong", unit="", median=2, targets=(mpc_round.EXACT,))
    assert row.verdict == MISSED


def test_adding_without_a_protocol_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    adding = mpc_round.Adding(OPTIONS)
    adding.share_and_add()
    monkeypatch.setattr(mpc_round, "expand", lambda key, length, added, out: expand(bytes(32), length))
    adding.share_and_add()  # no masks at all: still the sum
    monkeypatch.setattr(mpc_round, "add_into", lambda total, values: None)
    with pytest.raises(ValueError, match="do not sum up"):
        adding.share_and_add()


def test_a_peer_that_does_not_run_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(PeerFailed, match="has ended"), CryptenSum(3, 2, 10):
        pytest.fail("it started")


def test_a_splits_own_time_is_what_its_commitments_leave() -> None:
    sharing = mpc_client.Sharing(OPTIONS)
    sharing.join()
    (seconds,) = sharing.joined
    assert {"encode", "commit", "advertise"} <= set(seconds)
    assert sharing.streams == 1


def test_the_table_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Report("mpc", {"load": 0.0}, {}, (), {"part": "needs [extra]"}).print()
    assert "not measured: part (needs [extra])" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is reset through Linux's /proc")
def test_memory_of_an_aggregator_is_measured_in_a_fresh_process() -> None:
    options = dataclasses.replace(OPTIONS, params=300_000, clients=3)
    (row,) = mpc_memory.rows(options)
    vector = 4 * 300_000 / 1e6
    assert vector < row.median < 12 * vector
    assert "3 clients" in row.note


def test_memory_is_part_of_the_suite_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(mpc_client, "rows", lambda options: [])
    monkeypatch.setattr(mpc_round, "rows", lambda options, with_peer: [])
    monkeypatch.setattr(mpc_memory, "rows", lambda options: [Row(key="memory.holder", name="m", unit="MB", median=9.0)])
    file = tmp_path / "mpc.json"
    assert main([*COMMAND, "--memory", "--json", str(file)]) == 0
    assert [row["key"] for row in json.loads(file.read_text())["rows"]] == ["memory.holder"]


def test_values_are_shared_among_the_parties() -> None:
    pytest.importorskip("torch")
    from benchmarks.mpc.functions import shared, trim_for

    values = np.arange(12, dtype=np.uint64).reshape(3, 4)
    first, second = shared(values, 2)
    assert np.array_equal(first + second, values)
    assert not np.any(first == values)
    assert [trim_for(n) for n in (3, 5, 10)] == [1, 1, 2]
