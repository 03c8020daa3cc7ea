"""The examples run, and claim what their figures show: in a short form of each."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from support.source_tree import ROOT

for module in ("matplotlib", "mlxtend", "statsmodels", "lifelines", "torch"):
    pytest.importorskip(module)


def run(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """An example's figures; what it leaves is what it returns."""
    path = ROOT / "examples" / name / "run.py"
    spec = importlib.util.spec_from_file_location(f"example_{name.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    figures: dict[str, Any] = example.main([str(folder), *arguments])
    assert json.loads((folder / f"{name}.json").read_text()) == figures
    assert (folder / f"{name}.png").stat().st_size > 10_000
    return figures


@pytest.mark.slow
def test_survival_comes_near_the_pooled_fit(tmp_path: Path) -> None:
    figures = run("survival", tmp_path, "--rounds", "12")
    assert sum(figures["sizes"].values()) == 1808
    assert figures["distance"]["SCAFFOLD"][-1] < figures["distance"]["FedAvg"][-1] < figures["distance"]["FedAvg"][0]


@pytest.mark.slow
def test_health_insurance_is_the_same_in_every_backend(tmp_path: Path) -> None:
    figures = run("health-insurance", tmp_path, "--rounds", "3", "--backends", "additive", "plain")
    assert sum(figures["sizes"].values()) == 20_190
    assert len(figures["distance"]) == 8
    assert all(0 < share <= 1 for found in figures["share_of_bound"].values() for share in found.values())
    assert figures["deviance"] == pytest.approx(figures["deviance_pooled"], abs=1e-3)


@pytest.mark.slow
def test_returns_keep_their_level(tmp_path: Path) -> None:
    figures = run("returns", tmp_path, "--rounds", "5")
    assert len(figures["levels"]) == len(set(figures["levels"].values())) == 10
    assert figures["loss"]["level kept, 1 months back"][-1] < figures["loss"]["all shared, 1 months back"][-1]


@pytest.mark.slow
def test_digits_are_learnt_securely_as_in_plain(tmp_path: Path) -> None:
    figures = run("mnist-skew", tmp_path, "--rounds", "1", "--algorithms", "FedNova", "SCAFFOLD")
    for skew in ("labels", "numbers"):
        assert sum(figures[skew]["sizes"]) == 4000
        for found in figures[skew]["algorithms"].values():
            assert found["share_of_bound"] <= 1
            assert found["secure"][-1] == pytest.approx(found["plain"][-1], abs=0.01)


@pytest.mark.slow
def test_large_models_are_small_ones_here(tmp_path: Path) -> None:
    figures = run("large-models", tmp_path, "--rounds", "1", "--width", "64", "--pretraining", "2")
    assert figures["adapter"]["rounds"][0]["parameters"] < figures["adapter"]["all_parameters"] / 50
    assert all(each["share_of_bound"] <= 1 for found in figures.values() for each in found["rounds"])


@pytest.mark.slow
def test_fewer_bytes_learn_as_well_through_the_codec_and_secure_rounds_are_what_is_simulated(tmp_path: Path) -> None:
    ways = ["float64", "clips that follow, 2 bits", "a tenth, 8 bits"]
    figures = run("compression", tmp_path, "--rounds", "6", "--seeds", "1", "--ways", *ways)
    assert all(found["secure_round_is_the_same"] for found in figures.values())
    assert [round(figures[way]["bytes"], 2) for way in ways] == [8.0, 0.67, 0.16]
    final = [figures[way]["accuracy"][0] for way in ways]
    assert final[1] > final[0] - 0.1
