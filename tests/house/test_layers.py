"""Imports between packages point one way only: down the list below, and nowhere in a circle.

The list is the picture in ARCHITECTURE.md. An arrow counts wherever it stands: at the top of a file, in a function, or
for type checkers only.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from support.source_tree import ROOT, Import, imports, modules

LAYERS: Final = (
    ("benchmarks",),
    ("secure_agg.__main__",),
    ("secure_agg.cli",),
    ("secure_agg.plugins.flower",),
    ("secure_agg.preflight", "secure_agg.service"),
    ("secure_agg.plugins",),
    ("secure_agg.fl", "secure_agg.planning", "secure_agg.stats", "secure_agg.transport"),
    ("secure_agg.explorer", "secure_agg.local"),
    ("secure_agg.ledger",),
    ("secure_agg.roles",),
    ("secure_agg.backends",),
    ("secure_agg.beacon", "secure_agg.tlog"),
    ("secure_agg.protocol",),
    ("secure_agg.executing", "secure_agg.privacy"),
    ("secure_agg.pictures",),
    ("secure_agg.admission", "secure_agg.arguments", "secure_agg.extras", "secure_agg.files", "secure_agg.formats"),
    ("secure_agg.installed", "secure_agg.locks", "secure_agg._version"),
    ("secure_agg.errors",),
    ("zk",),
    ("mpc",),
)
"""From the top down. A room imports from those below its own line; rooms on one line know nothing of each other."""

PLUGIN_LAYERS: Final = (
    ("secure_agg.plugins.flower", "secure_agg.plugins.nvflare"),
    ("secure_agg.plugins.statistics",),  # questions and answers as rounds of any framework
    ("secure_agg.plugins.homes.simulated",),  # has a federation made for one run
    ("secure_agg.plugins.homes.federation",),  # makes the homes of all parties at once, for every framework
    ("secure_agg.plugins.core",),
    ("secure_agg.plugins.homes",),
)

LAZY_CIRCLES: Final = {
    # A kernel asks for its compiled form when it is first called: numba takes half a second to import.
    ("mpc.kernels.compiled", "mpc.kernels.kernel_files"),
}

Layers = tuple[tuple[str, ...], ...]


def room(module: str, layers: Layers) -> tuple[int, str] | None:
    """The layer that a module is on, and its room there: the longest name that it is in."""
    fits = [
        (len(name), depth, name)
        for depth, names in enumerate(layers)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(fits)[1:] if fits else None


def wrong(arrows: Iterable[Import], layers: Layers) -> list[str]:
    """The arrows that point up, or to the side."""
    found = []
    for arrow in arrows:
        above, below = room(arrow.importer, layers), room(arrow.imported, layers)
        if above and below and above[1] != below[1] and above[0] >= below[0]:
            found.append(str(arrow))
    return found


def test_every_module_is_on_a_layer() -> None:
    assert [name for name in modules() if room(name, LAYERS) is None] == ["secure_agg"]


def test_imports_between_packages_point_down() -> None:
    assert wrong(imports(), LAYERS) == []


def test_imports_between_the_rooms_of_plugins_point_down() -> None:
    assert wrong(imports(), PLUGIN_LAYERS) == []


def test_the_public_package_is_imported_from_outside_only() -> None:
    """It imports nearly all: who imports it from inside imports what is above."""
    inside = [str(arrow) for arrow in imports() if arrow.imported == "secure_agg" and arrow.importer[:5] != "bench"]
    assert inside == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for arrow in imports():
        if (arrow.importer, arrow.imported) not in LAZY_CIRCLES:
            graph[arrow.importer].add(arrow.imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_rooms_of_the_benchmarks_do_not_import_each_other_in_a_circle() -> None:
    """A suite's room knows what is shared, and others' rooms at most in one direction."""
    graph: dict[str, set[str]] = {}
    for arrow in imports():
        rooms = [name.split(".")[1] for name in arrow[:2] if name.startswith("benchmarks.")]
        if len(set(rooms)) == 2:
            graph.setdefault(rooms[0], set()).add(rooms[1])
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("layers", [LAYERS, PLUGIN_LAYERS])
def test_arrows_that_point_up_or_to_the_side_would_be_found(layers: Layers) -> None:
    for depth, names in enumerate(layers):
        higher = [name for line in layers[:depth] for name in line]
        for name in names:
            for other in (*higher, *(side for side in names if side != name)):
                arrow = Import(f"{name}.some", f"{other}.other", 1)
                if room(arrow.importer, layers) == (depth, name):
                    assert wrong([arrow], layers) == [str(arrow)]


def test_the_picture_in_the_architecture_has_the_same_layers() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    drawn = [
        sorted(name for name in line.split("│")[0].replace("·", " ").split())
        for line in picture.splitlines()[1:]
        if "│" in line
    ]
    assert drawn == [sorted(_short(name) for name in names) for names in LAYERS if "__main__" not in names[0]]


def _short(name: str) -> str:
    return name.removeprefix("secure_agg.")


def test_files_of_ours_are_all_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in modules().values()} == {"mpc", "zk", "secure_agg", "benchmarks"}
    assert modules()["secure_agg.errors"] == Path(ROOT / "secure_agg" / "errors.py")
