"""Builds what a release consists of, twice, and keeps it only if both are the same to the byte.

    python tests/installs/release.py [--output DIR] [--key FILE]

In DIR (``dist`` by default) lie then the wheel, the source distribution, ``sbom.cdx.json`` (CycloneDX: every package
that constraints.txt pins), ``SHA256SUMS`` over all three and, with ``--key``, ``SHA256SUMS.sig``, made with OpenSSH by
an Ed25519 key of the releaser: ``ssh-keygen -Y verify -n secure-agg-release …`` checks it. ``make release`` does that
and installs the wheel into an empty environment.

What is built is the last commit, not the working tree, with that commit's date as the only date in it. setuptools takes
it for wheels (SOURCE_DATE_EPOCH); an archive of sources is packed again here, with it and without the builder's name.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
NAMESPACE: Final = "secure-agg-release"
"""Of the signature: a signature for something else by the same key is none of a release."""
SUMS: Final = "SHA256SUMS"
SBOM: Final = "sbom.cdx.json"


def run(*command: str | Path, cwd: Path = CHECKOUT, **environment: str) -> str:
    """Run a command and return what it wrote; what it said is shown if it fails.

    Raises:
        SystemExit: it fails.
    """
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"{' '.join(map(str, command))} failed")
    return done.stdout


def checkout(folder: Path) -> int:
    """The last commit's files in an empty folder; returns its time in seconds."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    run("git", "archive", "--output", archive, "HEAD")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return int(run("git", "log", "-1", "--format=%ct"))


def packed_again(file: Path, moment: int) -> None:
    """An archive of sources without the marks of whoever packed it: names in order, one date, no owner."""
    with tarfile.open(file) as old:
        members = [
            (member, old.extractfile(member)) for member in sorted(old.getmembers(), key=lambda member: member.name)
        ]
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
            for member, content in members:
                clean = tarfile.TarInfo(member.name)
                clean.type, clean.size, clean.mtime = member.type, member.size, moment
                clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                new.addfile(clean, content)
    with file.open("wb") as target, gzip.GzipFile("", "wb", fileobj=target, mtime=moment) as compressed:
        compressed.write(plain.getvalue())


def build(folder: Path) -> tuple[Path, ...]:
    """Wheel and source distribution of the last commit."""
    moment = checkout(folder / "source")
    run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "built", folder / "source",
        SOURCE_DATE_EPOCH=str(moment), PYTHONHASHSEED="0",
    )  # fmt: skip
    (source,) = (folder / "built").glob("*.tar.gz")
    packed_again(source, moment)
    return tuple(sorted((folder / "built").iterdir()))


def check_whole(archive: Path) -> None:
    """See that an archive of sources is the project: whoever has it can build, lint and test.

    Raises:
        SystemExit: a file of the commit is not in it.
    """
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    if missing := [
        name for name in run("git", "ls-tree", "-r", "--name-only", "HEAD").splitlines() if name not in packed
    ]:
        sys.exit(f"{len(missing)} files of the commit are not in {archive.name}: {', '.join(missing[:5])} …")


def bill(target: Path, version: str) -> None:
    """The software bill of materials of this version, with neither time nor serial number: the same from the same pins.

    The version is written in here: pyproject.toml, which the bill is made from, leaves it to the package.
    """
    cyclonedx = Path(sys.executable).with_name("cyclonedx-py")
    run(
        cyclonedx, "requirements", "--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible",
        "--output-format", "JSON", "--output-file", target, "constraints.txt",
    )  # fmt: skip
    document = json.loads(target.read_text("utf-8"))
    document["metadata"]["component"]["version"] = version
    target.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")


def sums(files: list[Path]) -> str:
    """Lines as ``sha256sum`` writes them."""
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def main() -> int:
    """Build, compare, check, write."""
    parser = argparse.ArgumentParser(description="Build a release of the last commit, reproducibly.")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "dist", metavar="DIR")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the releaser's OpenSSH private key: sign the sums")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    with tempfile.TemporaryDirectory(prefix="secure-agg-release-") as temporary:
        twice = []
        for name in ("first", "second"):
            place = Path(temporary) / name
            place.mkdir()
            twice.append(build(place))
        if sums(list(twice[0])) != sums(list(twice[1])):
            sys.exit("two builds of one commit differ:\n" + sums(list(twice[0])) + sums(list(twice[1])))
        run(sys.executable, "-m", "twine", "check", "--strict", *twice[0])
        check_whole(next(file for file in twice[0] if file.name.endswith(".tar.gz")))
        output.mkdir(parents=True, exist_ok=True)
        if old := [file.name for file in output.iterdir()]:
            sys.exit(f"{output} is not empty: {', '.join(sorted(old))}")
        for file in twice[0]:
            (output / file.name).write_bytes(file.read_bytes())
    (wheel,) = output.glob("*.whl")
    bill(output / SBOM, wheel.name.split("-")[1])
    (output / SUMS).write_text(sums(sorted(output.iterdir())), "utf-8")
    if arguments.key is not None:
        run("ssh-keygen", "-q", "-Y", "sign", "-f", arguments.key.resolve(), "-n", NAMESPACE, output / SUMS)
    sys.stdout.write((output / SUMS).read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
