"""Extras: what is missing says so and names a command that works; nothing is imported before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

import secure_agg
from secure_agg import backends, extras, locks
from secure_agg.errors import ConfigError

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_IN_BASE = sorted({module for modules in extras.EXTRAS.values() for module in modules} | {"fcntl", "llvmlite"})


def distributions(extra: str) -> set[str]:
    """All that an extra brings, those of the extras in it too."""
    found: set[str] = set()
    for requirement in OPTIONAL[extra]:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement)
        assert name is not None
        if name[0] == "secure-agg":
            inner = re.search(r"\[(.*)\]", requirement)
            assert inner is not None
            found = found.union(*(distributions(one.strip()) for one in inner[1].split(",")))
        else:
            found.add(name[0].lower())
    return found


def without_extras(code: str) -> str:
    """What a program prints in a process in which no optional package can be imported."""
    blocked = f"import sys\nfor name in {NOT_IN_BASE}: sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_an_extra_brings_what_it_is_known_by(extra: str) -> None:
    assert set(extras.EXTRAS[extra].values()) <= distributions(extra)


def test_all_brings_every_extra_and_the_development_install_all() -> None:
    for extra in extras.EXTRAS:
        assert distributions(extra) <= distributions("all") <= distributions("dev")


def test_the_ray_that_flower_simulates_with_is_one_that_the_executor_works_with() -> None:
    """Nobody could have both: Flower's simulation pins one, and the extra wanted a later one."""
    pinned = [
        str(found.specifier).removeprefix("==")
        for found in map(Requirement, metadata.requires("flwr") or ())
        if found.name == "ray" and (found.marker is None or found.marker.evaluate({"extra": "simulation"}))
    ]
    (ours,) = map(Requirement, OPTIONAL["ray"])
    assert pinned
    assert all(ours.specifier.contains(version) for version in pinned)


def test_the_base_install_brings_no_heavy_package() -> None:
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in PROJECT["dependencies"]}  # type: ignore[index]
    assert not names & {"numba", "tenseal", "gmpy2", "grpcio", "torch", "zstandard"}


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_a_missing_extra_names_the_command(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape(f"pip install '.[{extra}]'")):
        extras.require(extra)


def test_the_command_line_needs_no_extra() -> None:
    commands = ("--help", "backends", "plan --parameters 1000 --clients 10", "keyholder --help", "aggregator --help")
    for command in commands:
        without_extras(f"from secure_agg.cli import main\nmain({command.split()})")


def test_every_backend_can_be_looked_at_without_what_it_computes_with() -> None:
    out = without_extras("from secure_agg import backends\nprint(*(backends.load(n).name for n in backends.names()))")
    assert out.split() == list(backends.names())


@pytest.mark.parametrize(("backend", "extra"), [("bfv", "he"), ("ckks", "he"), ("paillier", "paillier")])
def test_a_backend_without_its_packages_is_refused_by_name(
    backend: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    updates = {name: [np.zeros(3)] for name in "abc"}
    with pytest.raises(ConfigError, match=re.escape(f"pip install '.[{extra}]'")):
        secure_agg.aggregate(updates, backend=backend)


def test_who_verifies_needs_no_extra(tmp_path: Path) -> None:
    """An auditor checks a round of any backend with the base install."""
    file = tmp_path / "round.evidence"
    result = secure_agg.aggregate({name: [np.full(3, 0.5)] for name in "abc"}, backend="bfv")
    file.write_bytes(result.evidence.to_bytes())
    program = f"import secure_agg; secure_agg.verify(secure_agg.Evidence.from_bytes(open({str(file)!r}, 'rb').read()))"
    without_extras(program)


def test_pins_with_a_beacon_say_what_they_need_and_others_need_nothing() -> None:
    """Without it nothing of a task that draws could be verified, so its trust file is not even read."""
    program = (
        "from secure_agg.beacon.source import quicknet\n"
        "from secure_agg.errors import ConfigError\n"
        "try: quicknet(5)\nexcept ConfigError as error: print(error)"
    )
    assert "py_arkworks_bls12381 is not installed" in (out := without_extras(program))
    assert "[beacon]" in out


def test_the_benchmarks_are_not_part_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("secure_agg.cli.bench.CHECKOUT", tmp_path)
    from secure_agg.cli.bench import bench

    with pytest.raises(ConfigError, match="in a checkout"):
        bench(None)  # type: ignore[arg-type]


def test_a_system_without_locks_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (tmp_path / "file").open("w") as file, pytest.raises(ConfigError, match="flock"):
        locks.hold(file.fileno())


def test_the_table_of_what_was_tried_has_every_extra_and_every_python() -> None:
    text = (ROOT / "docs" / "install.md").read_text("utf-8").partition("## Tried")[2]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    (_, *heads), _, *found = rows
    pythons = [re.sub(r"Python (3\.\d+)\.\d+", r"\1", head) for head in heads]
    assert pythons == [line.split(" :: ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert sorted(name for name, *_ in found) == sorted(["base", *OPTIONAL])
    assert all(len(cells) == len(heads) and all(cells) for _, *cells in found)
