"""The suite of the homomorphic backends runs, measures what it says, and says what it measured; never how fast."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paillier import P, Q

from benchmarks.__main__ import main
from benchmarks.he import committee as he_committee
from benchmarks.he import memory as he_memory
from benchmarks.he import paillier as he_paillier
from benchmarks.he.lattice import Lattice, TenSeal, encoded, exact_row, largest_difference
from benchmarks.he.options import HeOptions
from benchmarks.measure.memory import growth
from benchmarks.report import palette
from benchmarks.results import MISSED, Report, Row, Target
from benchmarks.timing import Samples
from mpc.paillier import threshold as threshold_paillier

PARAMS = 2_000
OPTIONS = HeOptions(params=PARAMS, clients=100, bits=16, repeat=1, modulus_bits=2048)
PARTIES = ("tenseal", "ckks", "bfv", "phe", "paillier")
KEYS = {
    *(f"{name}.{what}" for name in PARTIES for what in ("encrypt", "add", "decrypt", "bytes")),
    *(f"{name}.total" for name in PARTIES if name != "phe"),
    *(f"{name}.error" for name in (*PARTIES, "committee") if name != "phe"),
    *("paillier.blind", "paillier.table"),
    *(f"committee.{what}" for what in ("deal", "decrypt", "prove", "verify", "combine")),
}
TARGETS = {
    "ckks.encrypt": {"speedup": 2.0},
    "ckks.bytes": {"derived": 32.0},
    "bfv.encrypt": {"speedup": 4.0},
    "bfv.bytes": {"derived": 8.2},
    "paillier.encrypt": {"speedup": 1500.0, "median": 4500 * PARAMS / 1e6},
    "paillier.bytes": {"derived": 6.2},
}


def quick(patch: pytest.MonkeyPatch) -> None:
    """Fewer single values, and no search for safe primes."""
    primes = [P, Q]
    patch.setattr(he_paillier, "VALUES", 3)
    patch.setattr(he_paillier, "CIPHERTEXTS", 5)
    patch.setattr(he_committee, "CIPHERTEXTS", 4)
    patch.setattr(threshold_paillier, "safe_prime", lambda bits: primes.pop())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        out = tmp_path_factory.mktemp("he")
        files = ["--json", str(out / "new" / "he.json"), "--plot", str(out / "other" / "he.png")]
        assert main(["he", "--params", str(PARAMS), "--repeat", "1", *files]) == 0
        return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "new" / "he.json").read_text())
    return loaded


def test_the_json_file_holds_every_row_once(report: dict[str, Any]) -> None:
    keys = [row["key"] for row in report["rows"]]
    assert set(keys) == KEYS
    assert len(keys) == len(KEYS)


def test_the_json_file_says_where_and_with_what_it_was_measured(report: dict[str, Any]) -> None:
    assert report["suite"] == "he"
    assert report["parameters"] == {
        "params": PARAMS,
        "clients": 100,
        "bits": 16,
        "repeat": 1,
        "modulus_bits": 2048,
        "full": False,
    }
    stamped = {"cpu", "cores", "load", "python", "numpy", "numba", "cryptography", "tenseal", "phe", "gmpy2"}
    assert set(report["machine"]) >= stamped


def test_targets_are_stated_for_the_default_setting_only(rows: dict[str, Any]) -> None:
    for key, row in rows.items():
        stated = {target["figure"]: target["limit"] for target in row["targets"]}
        assert stated == pytest.approx({"median": 0} if key in EXACT else TARGETS.get(key, {})), key
    assert OPTIONS.stated_key
    assert not HeOptions(params=9, clients=100, bits=8, repeat=1, modulus_bits=2048).stated
    assert not HeOptions(params=9, clients=100, bits=16, repeat=1, modulus_bits=3072).stated_key


EXACT = {key for key in KEYS if key.endswith(".error") and not key.startswith("tenseal")}


def test_every_backend_is_exact_and_the_usual_way_is_not(rows: dict[str, Any]) -> None:
    assert {key: rows[key]["median"] for key in EXACT} == dict.fromkeys(EXACT, 0.0)
    assert 0 < rows["tenseal.error"]["median"] < 1e-3


def test_times_and_sizes_are_positive_and_compared_with_their_peers(rows: dict[str, Any]) -> None:
    for key in KEYS - EXACT:
        assert rows[key]["median"] > 0, key
    for scheme in ("ckks", "bfv"):
        for what in ("encrypt", "add", "total", "decrypt", "bytes"):
            assert rows[f"{scheme}.{what}"]["peer"] == "TenSEAL"
            assert rows[f"{scheme}.{what}"]["peer_median"] == rows[f"tenseal.{what}"]["median"]
    for what in ("encrypt", "add", "decrypt"):
        assert rows[f"paillier.{what}"]["peer_median"] == rows[f"phe.{what}"]["median"]


def test_what_was_extrapolated_says_so(rows: dict[str, Any]) -> None:
    slots = 2046 // 23
    count = -(-PARAMS // slots)
    for what in ("encrypt", "add", "decrypt"):
        assert "extrapolated from 3" in rows[f"phe.{what}"]["note"]
        assert "extrapolated" in rows[f"paillier.{what}"]["peer"]
    assert f"extrapolated from 5 of {count}" in rows["paillier.decrypt"]["note"]
    assert f"extrapolated from 4 of {count}" in rows["committee.decrypt"]["note"]
    assert rows["phe.bytes"]["derived"] == 512
    assert rows["paillier.bytes"]["median"] == 64 + 512 * count


def test_the_picture_is_drawn_into_a_new_folder(folder: Path) -> None:
    assert (folder / "other" / "he.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_picture_says_what_it_is_of_and_keeps_the_backends_colours(folder: Path) -> None:
    drawn = (folder / "other" / "he.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    said = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
    assert f"{PARAMS:,} parameters, 16 bits, sums of up to 100 clients, 2048-bit Paillier modulus" in said
    assert "Medians of 1 repetition" in said
    assert re.search("Load [0-9.]+ before, at most [0-9.]+, on", said) or "Load not known" in said
    for backend in ("ckks", "bfv", "paillier"):
        assert palette.color(backend) in drawn, backend
    assert palette.OTHERS in drawn
    assert palette.color("additive") not in drawn


def test_the_picture_has_room_for_memory(report: dict[str, Any], tmp_path: Path) -> None:
    from benchmarks.he import plot as he_plot

    loaded = [
        Row(**{k: v for k, v in row.items() if k not in ("verdict", "targets", "spread")}) for row in report["rows"]
    ]
    names = ("tenseal", "ckks", "bfv", "paillier")
    loaded += [Row(key=f"memory.{name}.encrypt", name=name, unit="MB", median=9.0) for name in names]
    he_plot.draw(Report("he", report["machine"], report["parameters"], tuple(loaded)), tmp_path / "he.png")
    assert (tmp_path / "he.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "options",
    [
        ["--params", "0"],
        ["--repeat", "0"],
        ["--clients", "5", "--repeat", "4"],
        ["--clients", "100", "--bits", "25"],
        ["--clients", "3000", "--bits", "22"],
        ["--modulus-bits", "1024"],
    ],
)
def test_options_out_of_range_are_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["he", *options])
    assert stopped.value.code == 2
    assert options[-1] in capsys.readouterr().err


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "phe" else name)
    with pytest.raises(SystemExit):
        main(["he"])
    assert "phe is not installed" in capsys.readouterr().err


def test_a_wrong_sum_would_show() -> None:
    values, vector = encoded(OPTIONS)
    for party in (TenSeal(values), Lattice("bfv", vector, OPTIONS)):
        for operation in (party.encrypt, party.add, party.add, party.total, party.decrypt):
            operation()
        right = party.error()
        party.added += 1
        assert right < 1e-3 < party.error()
    assert exact_row("a", "a", 1.0, "").verdict == MISSED
    assert largest_difference(np.array([0], dtype=np.uint32), np.array([3])) == 3


def test_a_speed_up_is_the_ratio_turned_over(capsys: pytest.CaptureFixture[str]) -> None:
    own, peer = Samples((1.0, 1.0, 1.0)), Samples((3.0, 3.0, 3.0))
    for wanted, verdict in ((3.0, "ok"), (3.5, MISSED)):
        row = Row.timed("a", "fast", own, peer=("peer", peer), targets=(Target("speedup", wanted),))
        assert row.figure(Target("speedup", wanted)) == pytest.approx(3.0)
        assert row.verdict == verdict
        Report("he", {"load": 0.0}, {}, (row,)).print()
        out = capsys.readouterr().out
        assert "3× faster" in out
        assert f"≥ {wanted:.4g}× faster" in out
    with pytest.raises(ValueError, match="speedup"):
        Row(key="a", name="a", unit="ms", median=1.0).figure(Target("speedup", 1.0))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is reset through Linux's /proc")
def test_a_process_that_is_started_counts() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-c", "x = bytes(range(256)) * 400_000; print(len(x), flush=True); input()"]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)

    try:
        assert growth(start) > 100_000_000
    finally:
        for process in started:
            process.communicate(b"\n")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is reset through Linux's /proc")
@pytest.mark.long
def test_memory_is_measured_for_every_backend() -> None:
    import multiprocessing

    # Long enough for a page to count, short enough to take no helper.
    measured = {row.key: row.median for row in he_memory.rows(HeOptions(100_000, 100, 16, 1, 2048))}
    clients = {f"memory.{name}.encrypt" for name in PARTIES if name != "phe"}
    assert set(measured) == clients | {f"memory.{name}.add" for name in ("ckks", "bfv", "paillier")}
    assert all(megabytes > 0 for megabytes in measured.values())
    assert measured["memory.paillier.encrypt"] > 17  # the table
    assert not multiprocessing.active_children()


def test_memory_is_part_of_the_suite_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.he import lattice as he_lattice

    row = Row(key="memory.ckks.encrypt", name="client", unit="MB", median=80.0)
    for module in (he_lattice, he_paillier, he_committee):
        monkeypatch.setattr(module, "rows", lambda options: [])
    monkeypatch.setattr(he_memory, "rows", lambda options: [row])
    file = tmp_path / "he.json"
    assert main(["he", "--memory", "--params", "10", "--json", str(file)]) == 0
    assert [found["key"] for found in json.loads(file.read_text())["rows"]] == [row.key]
