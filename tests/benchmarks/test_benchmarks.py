"""The benchmark suite runs, measures what it says, and says what it measured. Nothing here depends on speed."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.core import aggregation, memory
from benchmarks.federation import KERNELS_ONLY, Federation, Options, degree_note, update
from benchmarks.measure.recording import record
from benchmarks.peers import flower as flower_peer
from benchmarks.results import MISSED, Report, Row, Target
from benchmarks.timing import Samples, interleaved
from mpc import graph
from secure_agg.backends.packed import carrier
from secure_agg.protocol.config import Policy
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client

PARAMS = 20_000
COHORT = 5
KEYS = {
    *(f"limit.{name}" for name in ("keystream", "keystream_all_cores", "add", "sha256", "copy")),
    *(f"kernel.{name}" for name in ("encode", "commit", "commitment", "check", "decode", "mask", "shamir")),
    *(f"norm.{name}" for name in ("sketch", "commit", "prove", "verify", "check", "proof")),
    *(f"norm.{name}.{params}" for name in ("client", "verify") for params in (10_000, 100_000)),
    *(f"bounded.{name}" for name in ("client", "result", "audit", "proofs", "sent")),
    *(f"client.{name}" for name in ("protect", "verified", "screen", "screened", "upload", "download", "result")),
    *(f"peer.{name}" for name in ("flower.mask", "flower.client", "flower.verified", "pycryptodome.shamir")),
    *(f"aggregator.{name}" for name in ("ingest", "kept", "ingest_total", "unmask", "verify", "total")),
}
TARGETS = {
    "kernel.encode": {"median": 0.12},
    "kernel.commit": {"median": 0.4, "ratio": 5},
    "kernel.check": {"median": 0.4},
    "kernel.mask": {"ratio": 2.5},
    "kernel.shamir": {"median": 150},
    **{f"norm.{name}": {"ratio": 5} for name in ("commit", "prove", "verify")},
    "norm.proof": {"median": 100_000},
    "client.verified": {"ratio": 1.5},
    "bounded.client": {"ratio": 1.6},
    "client.screened": {"ratio": 3.0},
    "bounded.sent": {"median": 110_000},
    "client.upload": {"derived": 4.05},
    "aggregator.kept": {"ratio": 0.1},
    "peer.flower.mask": {"speedup": 10},
}

MEMORY = Row(key="memory.client", name="client", unit="MB", median=80.0)


def run_core(folder: Path, *options: str) -> dict[str, Any]:
    file = folder / "core.json"
    command = ["core", "--params", str(PARAMS), "--clients", str(COHORT), "--repeat", "2", "--json", str(file)]
    assert main([*command, *options]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    return report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_core(tmp_path_factory.mktemp("core"), "--neighbours", "4")


def test_the_json_file_holds_every_row_once(report: dict[str, Any]) -> None:
    keys = [row["key"] for row in report["rows"]]
    assert set(keys) == KEYS
    assert len(keys) == len(KEYS)


def test_the_json_file_says_where_and_with_what_it_was_measured(report: dict[str, Any]) -> None:
    assert report["suite"] == "core"
    assert report["parameters"] == {"params": PARAMS, "clients": COHORT, "neighbours": 4, "bits": 16, "repeat": 2}
    stamped = {"cpu", "cores", "load", "date", "platform", "python", "numpy", "numba", "cryptography", "secure-agg"}
    assert set(report["machine"]) >= stamped | {"source"}
    assert report["machine"]["cores"] >= 1


def test_every_figure_is_positive_and_its_spread_in_order(rows: dict[str, Any]) -> None:
    for row in rows.values():
        assert row["median"] > 0, row
        assert row["derived"] is None or row["derived"] > 0, row
        assert row["ratio"] is None or row["ratio"] > 0, row
        if row["spread"]:
            assert 0 < row["spread"][0] <= row["spread"][1], row


def test_times_scale_their_targets_with_the_model_and_ratios_do_not(rows: dict[str, Any]) -> None:
    for key, row in rows.items():
        stated = {target["figure"]: target["limit"] for target in row["targets"]}
        assert stated == pytest.approx(TARGETS.get(key, {})), key
        assert (row["verdict"] == "") == (key not in TARGETS), key


def test_a_verified_client_takes_longer_than_an_unverified_one(rows: dict[str, Any]) -> None:
    assert rows["client.verified"]["ratio"] > 1


def test_sizes_are_those_of_the_wire_format(rows: dict[str, Any]) -> None:
    randomness = 5 * 512
    assert rows["kernel.commitment"]["median"] == 3 * 512 * 4
    masked = carrier(Federation.of(COHORT, PARAMS).config).size  # with four neighbours
    assert masked < rows["client.upload"]["median"] < masked + 16_384 < 4 * (PARAMS + randomness)
    assert rows["client.result"]["median"] > 4 * (PARAMS + randomness)
    assert rows["client.download"]["median"] < 16_384


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Another run: smaller, with a degree below the bound and with memory, where no peer is installed."""
    found = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "rows", lambda: [MEMORY])
        patch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name in ("flwr", "Crypto") else found(name, *rest)
        )
        folder = tmp_path_factory.mktemp("other")
        return run_core(folder, "--params", "1000", "--neighbours", "3", "--memory")


def test_a_degree_below_the_bound_is_labelled(other: dict[str, Any], rows: dict[str, Any]) -> None:
    below = {row["key"]: row for row in other["rows"]}
    assert KERNELS_ONLY in below["kernel.mask"]["note"]
    assert "complete graph of 4 clients" in below["kernel.mask"]["note"]
    assert rows["kernel.mask"]["note"] == "secure for 5 clients"


def test_the_bound_is_the_complete_graph_or_the_sparse_graphs_degree() -> None:
    assert KERNELS_ONLY in degree_note(98, 100)
    assert degree_note(99, 100) == "secure for 100 clients"
    found = graph.degree(1000, Policy.default(1000).max_corrupt, 100)
    assert found is not None
    assert KERNELS_ONLY in degree_note(found.neighbours - 1, 1000)
    assert degree_note(found.neighbours, 1000) == "secure for 1000 clients"


@pytest.mark.parametrize(
    "options",
    [
        ["--clients", "2"],
        ["--clients", "5", "--neighbours", "5"],
        ["--neighbours", "1"],
        ["--clients", "1000", "--neighbours", "128"],
        ["--params", "0"],
        ["--repeat", "0"],
        ["--bits", "25"],
        ["--clients", "100", "--bits", "24"],
    ],
)
def test_options_out_of_range_are_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["core", *options])
    assert stopped.value.code == 2
    assert options[-1] in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "benchmarks", "core", "--help"], capture_output=True, check=True)
    assert b"--neighbours K" in shown.stdout


def test_the_table_marks_what_missed_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    met = Row(key="a", name="fast", unit="ms", median=1.0, targets=(Target("median", 1.0),))
    missed = Row(key="b", name="slow", unit="ms", median=1.1, targets=(Target("median", 1.0),))
    Report("core", {"load": 0.0}, {}, (met, missed)).print()
    lines = capsys.readouterr().out.splitlines()
    assert [MISSED in line for line in lines if "fast" in line or "slow" in line] == [False, True]


def test_a_target_needs_its_figure() -> None:
    with pytest.raises(ValueError, match="ratio"):
        _ = Row(key="a", name="a", unit="ms", median=1.0, targets=(Target("ratio", 1.0),)).verdict


def test_operations_run_in_turn_after_a_warm_up() -> None:
    ran: list[str] = []
    samples = interleaved({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 2)
    assert ran == ["a", "b"] * 3
    assert len(samples["a"].seconds) == len(samples["b"].seconds) == 2


def test_a_ratio_is_taken_between_neighbours() -> None:
    noisy = Samples((1.0, 10.0, 1.0)), Samples((2.0, 20.0, 2.0))
    assert noisy[0].ratio_to(noisy[1]) == 0.5
    assert (noisy[0] + noisy[1]).seconds == (3.0, 30.0, 3.0)


def test_a_replayed_client_sends_what_it_sent_in_its_round(monkeypatch: pytest.MonkeyPatch) -> None:
    values, federation, sent = update(1000), Federation.of(3, 1000), list[bytes]()
    honest = Client.receive

    def tapped(self: Client, request: bytes) -> bytes | None:
        answer = honest(self, request)
        if answer is not None and self.identity.name == federation.names[0]:
            sent.append(answer)
        return answer

    monkeypatch.setattr(Client, "receive", tapped)
    recording, _ = record(federation, values)
    share_keys, masked_input, *_ = sent
    sent.clear()
    assert recording.replay(values).state == "consistency"
    assert sent == [share_keys, masked_input]


def test_a_round_that_compiles_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round says that its calls took as many seconds as there were rounds before it; the first, 1,000."""
    asked: list[bool] = []
    honest = aggregation._round

    def numbered(*given: Any, memory: bool = False, **options: Any) -> Any:
        took = float(len(asked)) or 1_000.0
        asked.append(memory)
        found = honest(*given, memory=memory, **options)
        return dataclasses.replace(found, calls=tuple(dataclasses.replace(call, wall=took) for call in found.calls))

    monkeypatch.setattr(aggregation, "_round", numbered)
    monkeypatch.setattr(aggregation, "in_fresh_process", lambda *given: 1.0)
    rows = {row.key: row for row in aggregation.rows(Options(1000, COHORT, 4, 16, 9))}
    assert asked == [False] * 4
    row = rows["aggregator.ingest"]
    assert row.median == 2_000.0
    assert row.spread is not None
    assert row.spread[1] <= 3_000.0
    assert rows["aggregator.ingest_total"].samples == 3
    assert "after a round that warms up" in rows["aggregator.ingest_total"].note


def test_what_is_compared_with_a_call_is_nobodys_time() -> None:
    federation, values = Federation.of(3, 1000), update(1000)
    hashing = aggregation.Hashing()
    measured = aggregation._round(federation, values, beside=hashing.beside)
    assert len(hashing.seconds) == len(aggregation.inputs(measured)) == 3
    assert sum(call.wall for call in measured.calls if call.phase != "result") < measured.wall


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is reset through Linux's /proc")
def test_a_kept_vector_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    hoard: list[object] = []
    honest = Aggregator.receive
    long = 500_000

    def hoarding(self: Aggregator, data: bytes | memoryview) -> list[Any]:
        hoard.append(data)
        return honest(self, data)

    federation = Federation.of(3, long)

    def kept() -> float:
        return aggregation.kept(aggregation._round(federation, update(long), memory=True))

    masked = carrier(federation.config).size
    kept()  # compiles
    assert kept() < masked / 2
    monkeypatch.setattr(Aggregator, "receive", hoarding)
    assert kept() > 0.9 * masked


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is reset through Linux's /proc")
def test_memory_is_measured_in_fresh_processes() -> None:
    client, commit = memory.rows(client_params=1_000_000, commit_params=10_000_000)
    assert 4.0 < client.median < 40.0  # the vector at least; the round's messages and the masks' scratch besides
    assert commit.median < 40.0  # less than the vector, far less than the matrix
    assert not multiprocessing.active_children()


def test_memory_is_part_of_the_suite_on_request(other: dict[str, Any]) -> None:
    assert other["rows"][-1]["key"] == MEMORY.key


@pytest.mark.long
def test_a_sparse_graph_has_no_simple_count_of_masks_to_remove() -> None:
    options = Options(params=1000, clients=130, neighbours=4, bits=16, repeat=1)
    (unmask,) = (row for row in aggregation.rows(options) if row.key == "aggregator.unmask")
    assert unmask.median > 0
    assert not unmask.peer


def test_options_have_their_own_limits() -> None:
    with pytest.raises(ValueError, match="outside \\[2, 4\\]"):
        Options(params=1, clients=5, neighbours=5, bits=16, repeat=1)


def test_a_peer_that_is_not_installed_is_named_and_never_zero(other: dict[str, Any]) -> None:
    assert other["missing"] == {"Flower's SecAgg+ client": "not installed: flwr, Crypto"}
    assert not [row for row in other["rows"] if row["key"].startswith("peer.")]


def test_flowers_client_masks_its_update() -> None:
    """All values are one, and what it sends is noise in the range that the sums of five clients need."""
    client = flower_peer.FlowerClient(neighbours=4, bits=16, clients=5)
    factor, masked = client.collect(np.full(1000, flower_peer.CLIP, dtype=np.float32))
    assert np.load(io.BytesIO(factor)).shape == (1,)
    for noise in (np.load(io.BytesIO(masked)), client.mask(np.full(1000, 1 << 16, dtype=np.int64))):
        assert len(np.unique(noise)) > 900
        assert 1 << 18 < int(noise.max()) < 1 << 19
