"""What is missing is named, by every module and call that needs it; see ``needs.py``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.source_tree import ROOT, modules

from mpc.optional import MissingPackage, Optional
from secure_agg import extras
from secure_agg.errors import ConfigError, MissingExtra

FOLDER = Path(__file__).parent
OPTIONAL = sorted({module for modules in extras.EXTRAS.values() for module in modules} | {"llvmlite", "crypten"})
BARE = f"""
import importlib.metadata, sys
sys.path.insert(0, {str(FOLDER)!r})
for name in {OPTIONAL}: sys.modules[name] = None
there = importlib.metadata.version
def version(name):
    if name in {OPTIONAL}: raise importlib.metadata.PackageNotFoundError(name)
    return there(name)
importlib.metadata.version = version
import needs
from secure_agg import extras
print(*needs.wrong(dict.fromkeys(extras.EXTRAS, False)), sep="\\n")
"""


@pytest.fixture(scope="module")
def needs() -> ModuleType:
    """The data."""
    spec = importlib.util.spec_from_file_location("needs", FOLDER / "needs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_any_extra_modules_are_imported_or_name_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr + done.stdout


def test_the_data_name_modules_and_extras_that_there_are(needs: ModuleType) -> None:
    assert set(needs.MODULES) <= set(modules())
    assert set(needs.MODULES.values()) <= set(extras.EXTRAS)
    # The benchmarks are not part of the package.
    assert {enough[0] for enough, *_ in needs.CALLS} == set(extras.EXTRAS) - {"bench"}


def test_a_missing_extra_is_told_from_other_errors() -> None:
    error = MissingExtra("numba is not installed", extra="fast")
    assert isinstance(error, ConfigError)
    assert isinstance(error, ModuleNotFoundError)
    assert error.extra == "fast"
    assert str(error) == "numba is not installed"


def test_a_package_that_lacks_something_else_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_there.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all") as raised:
        _ = Optional("half_there", "fast").anything
    assert not isinstance(raised.value, MissingPackage)
    with pytest.raises(MissingPackage, match="'fast'") as missing:
        _ = Optional("nowhere_at_all.deeper", "fast").anything
    assert (missing.value.name, missing.value.extra) == ("nowhere_at_all", "fast")
