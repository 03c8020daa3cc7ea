"""The suite that compares rounds with the cost model runs, and its rows are of what it says."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from benchmarks.federation import Federation
from benchmarks.scale import suite as scale
from benchmarks.scale.round import measure
from benchmarks.suite import UsageError
from secure_agg.planning.constants import DEFAULT
from secure_agg.planning.setting import BACKENDS


def run(*options: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    scale.SUITE.add_arguments(parser)
    loaded: dict[str, Any] = json.loads(scale.SUITE.run(parser.parse_args(options)).to_json())
    return loaded


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """With the shipped constants: how they are measured is another test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secure_agg.planning.calibration.measure", lambda: DEFAULT)
        found: list[dict[str, Any]] = run("--params", "200", "--clients", "4", "--repeat", "1")["rows"]
    return found


def test_every_backend_grows_with_parameters_and_clients(rows: list[dict[str, Any]]) -> None:
    keys = [row["key"] for row in rows]
    assert len(set(keys)) == len(keys)
    for backend in BACKENDS:
        assert {key.split(".")[3] for key in keys if key.startswith(f"scale.{backend}.")} == {"3", "4"}


def test_every_figure_stands_beside_its_prediction(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["peer"] == "predicted"
        assert row["ratio"] == pytest.approx(row["median"] / row["peer_median"])


def test_bytes_are_those_predicted(rows: list[dict[str, Any]]) -> None:
    sizes = [row for row in rows if row["unit"] == "bytes"]
    assert sizes
    assert all(0.99 < row["ratio"] < 1.01 for row in sizes)


def test_memory_counts_what_a_role_holds_from_call_to_call() -> None:
    """An aggregator of additive shares holds its sum and, until the set is signed, every long share it was sent."""
    params = 50_000
    few, many = (
        measure(Federation.of(clients, params, backend="additive"), memory=True).memory["shareholder"]
        for clients in (3, 24)
    )
    assert many - few > 2 * 4 * params  # 24/3 long shares instead of 3/3, in the median, as the hashes fall


def test_memory_rows_are_there_when_asked_for() -> None:
    found = scale.memory("plain", 1_000, 3, DEFAULT)
    assert {row.key.split(".")[-2] for row in found} == {"client", "aggregator"}


@pytest.mark.parametrize("options", [("--params", "0"), ("--clients", "2"), ("--repeat", "0")])
def test_sizes_out_of_range_are_a_usage_error(options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*options)
