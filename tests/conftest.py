"""Settings and fixtures that many test files share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from support.pace.signatures import remember_signatures

from mpc import parallel
from secure_agg.local import keystore

# A failure prints the blob that replays it; kernels compile on first use, so no deadline.
settings.register_profile("secure-agg", print_blob=True, deadline=None, derandomize=False)
settings.load_profile("secure-agg")


_RECURSION: Final = sys.getrecursionlimit()
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - pytest and tempfile make folders in it for their owner alone
_ROOM: Final = 4 << 30


def _keep_bytecode() -> None:
    """Let the hundreds of processes that tests start find our modules compiled, whatever the environment says."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _work_in_memory() -> None:
    """Let temporary files lie in memory: no test has to survive a power cut, and on a disk each fsync takes 20 ms.

    Not where ``TMPDIR`` names a place, nor where there is no file system in memory, or a small one.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def _do_without_what_is_unwanted() -> None:
    """Let this process and those it starts not find what ``support/unwanted`` stands before."""
    place = str(Path(__file__).parent / "support" / "unwanted")
    if place not in sys.path:
        sys.path.insert(0, place)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if place not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([place, *filter(None, known)])


_keep_bytecode()
_work_in_memory()
_do_without_what_is_unwanted()
remember_signatures()


def _processes_first(item: pytest.Item) -> int:
    """Real engines and processes come first, then what starts some beside its rounds, then the rest."""
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return {"integration": 0, "plugins": 1, "cli": 1, "attacks": 1, "backends": 1}.get(folder, 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose files take longest: a long file at the end would run alone."""
    items.sort(key=_processes_first)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Some packages of Ethereum's raise Python's recursion limit beyond what the stack holds; not for our tests."""
    sys.setrecursionlimit(_RECURSION)


@pytest.fixture
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key files under a thousandth of the work, for what is not about their passphrases and starts no process."""
    monkeypatch.setattr(keystore, "_COST", 1 << 10)
    monkeypatch.setattr(keystore, "_COSTS", (1 << 10,))


@pytest.fixture(params=[1, 2, 3])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs a test with work split over one, two and three threads."""
    count: int = request.param
    monkeypatch.setattr(parallel, "cores", lambda: count)
    return count
