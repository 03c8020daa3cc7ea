"""What set-up installs is pinned, all of it: on one Python and system, and the packages that matter on every other."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TEXT = (Path(__file__).parents[2] / "constraints.txt").read_text("utf-8")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    """The script that writes the file."""
    spec = importlib.util.spec_from_file_location("lock", Path(__file__).with_name("lock.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="the lock is for another system")
def test_everything_that_is_installed_is_pinned_to_its_version(lock: ModuleType) -> None:
    held = {canonicalize_name(name): version for name, version in lock.installed().items()}
    assert lock.pinned(TEXT) == held
    assert lock.written(TEXT, lock.installed()) == TEXT


def test_every_line_pins_one_package_once() -> None:
    requirements = [Requirement(line) for line in LINES]
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    assert len(names) == len(set(names))
    for requirement in requirements:
        assert [clause.operator for clause in requirement.specifier] == ["=="]
        assert requirement.url is None


def test_what_is_kept_by_hand_counts_for_every_python(lock: ModuleType) -> None:
    by_hand, rest = TEXT.split(lock.LINE)
    assert "torch==" in by_hand
    for part, there, elsewhere in ((by_hand, True, True), (rest, True, False)):
        for line in part.splitlines():
            if line and not line.startswith("#"):
                marker = Requirement(line).marker
                for python, expected in (("3.11", there), ("3.12", elsewhere)):
                    environment = {"python_version": python, "sys_platform": "linux"}
                    assert (marker is None or marker.evaluate(environment)) is expected


def test_a_new_version_takes_the_place_of_the_old_one(lock: ModuleType) -> None:
    text = f"# why\nNumPy==1\ntorch==2\n\n{lock.LINE}\nold==1 ; {lock.MARKER}\n"
    made = lock.written(text, {"numpy": "3", "torch": "2", "Some.Thing": "4"})
    assert made == f"# why\nNumPy==3\ntorch==2\n\n{lock.LINE}\nsome-thing==4 ; {lock.MARKER}\n"
