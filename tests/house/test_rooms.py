"""Every package's docstring is its map, no folder grows into a hall, and a backend is named in its own folder only."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Final

import pytest
from support.source_tree import ROOT, imports, inside, is_package, modules, parsed

from secure_agg import backends

MOST_FILES: Final = 13
HALLS: Final = {
    "secure_agg/roles": 14,  # a party each, and what all of them go through
    "secure_agg/protocol": 15,  # one for each thing that parties say
    "tests/backends": 14,  # a file for each way of hiding, and what they share
    "tests/plugins": 14,  # a file for each promise to a framework, and what frameworks share
    "tests/local": 15,  # a file for each thing that one call of aggregate does
    "tests/mpc": 14,  # a file for each module of mpc and of mpc.paillier
}
"""Folders that may have more files than others."""

PACKAGES: Final = tuple(name for name in modules() if is_package(name))
BACKENDS: Final = backends.names()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_packages_docstring_names_all_that_is_in_it(package: str) -> None:
    text = ast.get_docstring(parsed(modules()[package])) or ""
    named = set(re.findall(r"``([\w.]+)``", text))
    missing = [name for name in inside(package) if not name.startswith("_") and name not in named]
    assert missing == [], f"the docstring of {package} does not say what these are for"


def test_no_folder_has_more_files_than_one_can_look_over() -> None:
    files = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for top in ("mpc", "zk", "secure_agg", "benchmarks", "tests")
        for path in (ROOT / top).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py", "conftest.py")
    )
    assert {folder: count for folder, count in files.items() if count > HALLS.get(folder, MOST_FILES)} == {}


KNOWS_BACKENDS: Final = {
    "secure_agg.protocol.habits": "the usual choice where nobody names one",
    # Shows what this very backend does.
    "secure_agg.cli.demo.poison": "shows crypten's functions",
    # A word of their own, and no backend.
    "secure_agg.cli.demo.demo": "plain averaging",
    "secure_agg.cli.demo.experiment": "plain averaging",
    "secure_agg.cli.demo.report": "plain averaging",
    "secure_agg.extras": "extra 'paillier'",
}
"""Modules outside ``secure_agg.backends`` that name a backend, with what for. The list is to become shorter."""


def test_nothing_outside_the_backends_names_one_but_for_those_listed() -> None:
    found = {arrow.importer for arrow in imports() if _in_a_backend(arrow.imported)}
    for name, path in modules().items():
        if not re.search("|".join(BACKENDS), path.read_text()):
            continue
        constants = (node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant))
        if any(isinstance(value, str) and value in BACKENDS for value in constants):
            found.add(name)
    found = {name for name in found if name.startswith("secure_agg.") and not name.startswith("secure_agg.backends.")}
    assert sorted(found - KNOWS_BACKENDS.keys()) == [], "a new place knows a backend by its name: ask the backend"
    assert sorted(KNOWS_BACKENDS.keys() - found) == [], "no longer needed on the list"


def _in_a_backend(module: str) -> bool:
    return module.startswith("secure_agg.backends.") and not f"{module}.".startswith("secure_agg.backends.contract.")


_FROM_A_TEST: Final = re.compile(r"^ *(?:from +(?:\w+\.)*test_\w+ +import|import +(?:\w+\.)*test_\w+)", re.MULTILINE)


def test_nothing_is_imported_from_a_test() -> None:
    """What several tests need is in ``support``, or in ``conformance``."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    assert {name: found for name, text in texts.items() if (found := _FROM_A_TEST.findall(text))} == {}
    assert _FROM_A_TEST.findall("from attacks.test_some import helper\n    import test_some\nfrom a import b") != []


def test_tests_mirror_the_packages() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))}
    rooms = {"mpc", "zk", "benchmarks", *(name for name in inside("secure_agg") if is_package(f"secure_agg.{name}"))}
    others = {"groups", "documents", "support", "attacks", "conformance", "integration", "installs", "house"}
    assert rooms - folders == set()
    assert folders - rooms - others == set()
    assert list((ROOT / "tests").glob("test_*.py")) == []
