"""The page in the package is what its sources build to, and what Python has of it is the same."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conformance import make_vectors
from support.explorer.core import why_no_node
from support.source_tree import ROOT

from secure_agg import explorer

SOURCES = ROOT / "explorer"


@pytest.fixture
def node() -> str:
    """Node with what the build needs."""
    if reason := why_no_node():
        pytest.skip(reason)
    if not (SOURCES / "node_modules").is_dir():
        pytest.skip("explorer/node_modules is missing: make explorer-modules")
    return shutil.which("node") or ""


def test_the_sources_build_to_the_very_bytes_of_the_page(node: str, tmp_path: Path) -> None:
    made = tmp_path / "page.html"
    subprocess.run([node, "build.mjs", str(made)], cwd=SOURCES, check=True)
    assert made.read_bytes() == explorer.PAGE.read_bytes(), "make explorer"


@pytest.mark.long
def test_the_sources_have_types_that_fit(node: str) -> None:
    check = [node, "node_modules/typescript/bin/tsc", "--noEmit"]
    found = subprocess.run(check, cwd=SOURCES, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_what_is_bundled_is_pinned_with_its_hash() -> None:
    locked = json.loads((SOURCES / "package-lock.json").read_text("utf-8"))["packages"]
    wanted = json.loads((SOURCES / "package.json").read_text("utf-8"))["devDependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    for name, package in locked.items():
        assert not name or package["integrity"].startswith("sha512-")


def test_the_page_loads_nothing_and_allows_no_script_but_its_own() -> None:
    page = explorer.PAGE.read_text("utf-8")
    assert explorer.digest() == hashlib.sha256(explorer.PAGE.read_bytes()).hexdigest()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.group(1).split("; "))
    assert (rules["default-src"], rules["connect-src"], rules["worker-src"]) == ("'none'", "'self'", "blob:")
    for rule in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[rule])
    assert not re.search(r'(src|href)="(?!data:,)[^"]*"', page.split("<script")[0])


def test_the_table_of_ids_is_the_specification_s() -> None:
    source = (SOURCES / "src" / "decoding" / "id_characters.ts").read_text("utf-8")
    ranges = re.search(r"RANGES = `([^`]*)`", source)
    assert ranges is not None
    assert ranges.group(1).split() == make_vectors.id_vectors()["ranges"].split()
