"""A release: what ``make release`` leaves in ``dist/``, made of the last commit and checked as anybody would."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from support.source_tree import ROOT

from secure_agg import __version__

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a release is made of a commit, and here is none"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="checksums are signed by ssh-keygen"),
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with a key ``releaser`` beside it."""
    folder = tmp_path_factory.mktemp("release")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "releaser")
    script = ROOT / "tests" / "installs" / "release.py"
    run(sys.executable, script, "--output", folder / "dist", "--key", folder / "releaser")
    return folder / "dist"


def run(*command: str | Path, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_release_is_a_wheel_sources_a_bill_of_materials_and_signed_sums(release: Path) -> None:
    name = f"secure_agg-{__version__}"
    files = {f"{name}-py3-none-any.whl", f"{name}.tar.gz", "sbom.cdx.json"}
    assert {file.name for file in release.iterdir()} == files | {"SHA256SUMS", "SHA256SUMS.sig"}
    sums = dict(line.split()[::-1] for line in (release / "SHA256SUMS").read_text().splitlines())
    assert sums == {file: hashlib.sha256((release / file).read_bytes()).hexdigest() for file in files}


def test_its_signature_is_checked_as_the_guide_says(release: Path) -> None:
    public = (release.parent / "releaser.pub").read_text()
    (release.parent / "allowed").write_text(f"releaser {public}")
    check = ("ssh-keygen", "-Y", "verify", "-f", release.parent / "allowed", "-I", "releaser")
    sums = (release / "SHA256SUMS").read_text()
    run(*check, "-n", "secure-agg-release", "-s", release / "SHA256SUMS.sig", given=sums)
    with pytest.raises(AssertionError):
        run(*check, "-n", "secure-agg-release", "-s", release / "SHA256SUMS.sig", given=sums.replace("a", "b"))


def test_its_files_carry_nothing_of_who_has_built_them(release: Path) -> None:
    moment = int(run("git", "log", "-1", "--format=%ct"))
    with tarfile.open(next(release.glob("*.tar.gz"))) as tar:
        marks = {(member.mtime, member.uname, member.gname, member.uid, member.gid) for member in tar.getmembers()}
        names = {member.name.partition("/")[2] for member in tar.getmembers()}
    assert marks == {(moment, "", "", 0, 0)}
    assert set(run("git", "ls-tree", "-r", "--name-only", "HEAD").splitlines()) <= names
    with zipfile.ZipFile(next(release.glob("*.whl"))) as wheel:
        assert len({entry.date_time for entry in wheel.infolist()}) == 1
        (metadata,) = (entry for entry in wheel.namelist() if entry.endswith("METADATA"))
        told = Parser().parsestr(wheel.read(metadata).decode())
    assert (told["Version"], told["License-Expression"], told["Author"]) == (
        __version__, "Apache-2.0", "The secure-agg maintainers",
    )  # fmt: skip


def test_its_bill_of_materials_names_what_is_installed(release: Path) -> None:
    bill = json.loads((release / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["name"] == "secure-agg"
    assert bill["metadata"]["component"]["version"] == __version__
    assert {"numpy", "cryptography", "msgspec", "typer"} <= {part["name"] for part in bill["components"]}
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
