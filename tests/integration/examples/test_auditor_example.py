"""The example of an auditor: what it finds, from the files that it is given and from nothing else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.source_tree import ROOT

from secure_agg.errors import SecureAggError

FOLDER = ROOT / "examples" / "auditor"
GIVEN = ("public", "trust.json", "earlier.checkpoint", "west.receipt", "0.fault")


def script(name: str) -> ModuleType:
    spec = util.spec_from_file_location(f"auditor_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the hospitals leave."""
    out = tmp_path_factory.mktemp("auditor") / "out"
    script("hospitals").main(out)
    yield out
    for name in ("auditor_hospitals", "auditor_audit"):
        sys.modules.pop(name, None)


def only_what_is_given(made: Path, out: Path) -> Path:
    """A copy without a key of anybody's, nor the ledger itself."""
    out.mkdir()
    for path in (*(made / name for name in GIVEN), *made.glob("*.tlog-proof")):
        if path.is_dir():
            shutil.copytree(path, out / path.name)
        else:
            shutil.copy(path, out)
    return out


@pytest.mark.slow
def test_an_auditor_finds_who_was_left_out_and_who_cheated(made: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = script("audit").main(only_what_is_given(made, tmp_path / "given"))
    assert (found["rounds"], found["seen_before"], list(found["witnessed"])) == (4, 2, ["witness.example"])
    assert found["participants"] == [6, 6, 5, 5]
    assert (found["left_out_though_accepted"], found["convicted"]) == ("west", "east")
    wrong = ("of_another_round", "with_a_byte_changed", "tampered_evidence", "a_receipt_of_another_round")
    assert {found[name] for name in wrong} == {"VerificationError"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["public/checkpoint", "0.fault", "west.receipt", "round-1.tlog-proof"])
def test_what_it_is_given_is_not_believed(made: Path, tmp_path: Path, name: str) -> None:
    given = only_what_is_given(made, tmp_path / "given")
    data = bytearray((given / name).read_bytes())
    data[len(data) // 2] ^= 1
    (given / name).write_bytes(data)
    with pytest.raises(SecureAggError):
        script("audit").main(given)
