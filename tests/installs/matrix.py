"""Installs the package into empty environments, with each extra alone, and tries in each what it is for.

    python tests/installs/matrix.py [EXTRA …] [--python VERSION|PATH …] [--package FILE] [--uv COMMAND]

Without names: the base install, every extra, and the development install, on every Python that the package says it runs
on and that this machine has; ``make install-matrix`` does that, CI tries the base install on one. With ``--package`` it
is that wheel or source distribution that is installed, otherwise a wheel of the working tree. An extra's smoke test is
in ``smoke.py``, which runs there, in a folder of its own. It needs a package index, and takes what pip, or uv, has in
its cache. At the end stands a table of all; what failed says why above it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from environments import CHECKOUT, Installer, Interpreter, build_wheel, new_environment, run

BASE: Final = "base"
CRYPTEN: Final = "crypten==0.4.1"
"""Is installed beside its extra: it declares packages that it does not need."""
_WITH_CRYPTEN: Final = {"mpc", "crypten", "demo", "all", "dev"}
_PYTHON: Final = "Programming Language :: Python :: 3."


@dataclass(frozen=True)
class Outcome:
    """Of one extra on one Python: how long it took, how large the environment is, and what went wrong or None."""

    seconds: float
    megabytes: int
    error: str | None

    def __str__(self) -> str:
        return "FAILED" if self.error else f"{self.megabytes} MB, {self.seconds:.0f} s"


def extras() -> tuple[str, ...]:
    """Names of all extras, as pyproject.toml has them."""
    return tuple(_project()["optional-dependencies"])


def versions() -> tuple[str, ...]:
    """Of Python, that the package says it runs on."""
    ends = (line.removeprefix(_PYTHON) for line in _project()["classifiers"] if line.startswith(_PYTHON))
    return tuple(f"3.{end}" for end in ends)


def _project() -> dict[str, list[str]]:
    project: dict[str, list[str]] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def attempt(name: str, package: Path, interpreter: Interpreter, installer: Installer, folder: Path) -> None:
    """Install one extra and try it.

    Raises:
        subprocess.CalledProcessError: it can't be installed, or does not do what it is for.
    """
    environment = new_environment(interpreter, folder / "venv")
    installer.install(environment, str(package) if name == BASE else f"{package}[{name}]")
    installer.check(environment)
    if name in _WITH_CRYPTEN:
        installer.install(environment, "--no-deps", CRYPTEN)
    empty = folder / "elsewhere"
    empty.mkdir()
    smoke = Path(__file__).with_name("smoke.py")
    # The next environment lies in the same place: what it has of the same files is not compiled to byte code again.
    kept = {"PYTHONPYCACHEPREFIX": str(folder.with_name("bytecode"))}
    run(environment, "-W", "error::RuntimeWarning", smoke, name, CHECKOUT, cwd=empty, **kept)


def measured(name: str, package: Path, interpreter: Interpreter, installer: Installer, folder: Path) -> Outcome:
    """What comes of one attempt, in a folder that is empty again afterwards."""
    start, error = time.monotonic(), None
    try:
        attempt(name, package, interpreter, installer, folder)
    except subprocess.CalledProcessError as failure:
        error = f"{' '.join(failure.cmd)} failed:\n{failure.stderr}"
    seconds = time.monotonic() - start
    size = sum(file.lstat().st_size for file in folder.rglob("*")) >> 20
    shutil.rmtree(folder, ignore_errors=True)
    return Outcome(seconds, size, error)


def table(outcomes: Mapping[tuple[str, str], Outcome], names: Sequence[str], releases: Sequence[str]) -> str:
    """All outcomes, an extra to a line and a Python to a column, as Markdown."""
    lines = [["", *(f"Python {release}" for release in releases)], ["---"] * (len(releases) + 1)]
    lines += [[f"`{name}`", *(str(outcomes[name, release]) for release in releases)] for name in names]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _interpreters(words: Sequence[str], parser: argparse.ArgumentParser) -> list[Interpreter]:
    """Those that are named, all of which must be there; else those of the package's that are there."""
    found = {word: Interpreter.named(word) for word in words or versions()}
    missing = [word for word, interpreter in found.items() if interpreter is None]
    if missing and (words or len(missing) == len(found)):
        parser.error(f"there is no Python {', '.join(missing)} here")
    if missing:
        sys.stdout.write(f"not here, and not tried: Python {', '.join(missing)}\n")
    return [interpreter for interpreter in found.values() if interpreter is not None]


def main() -> int:
    """Try all that were asked for; 1 if one fails."""
    parser = argparse.ArgumentParser(description="Install the package into empty environments and try it there.")
    parser.add_argument("names", nargs="*", metavar="EXTRA", help=f"{BASE}, or an extra; by default all")
    parser.add_argument(
        "--python", nargs="+", action="extend", default=[], metavar="PYTHON", help="a version, or an interpreter's path"
    )
    parser.add_argument("--package", type=Path, metavar="FILE", help="wheel or source distribution to install")
    parser.add_argument("--uv", metavar="COMMAND", help="install with uv, which links files from its cache")
    arguments = parser.parse_args()
    known = (BASE, *extras())
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no extra {unknown[0]!r}: {', '.join(known)}")
    names, interpreters = arguments.names or known, _interpreters(arguments.python, parser)
    outcomes: dict[tuple[str, str], Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="secure-agg-installs-") as temporary:
        folder = Path(temporary)
        package = arguments.package and arguments.package.resolve()
        for interpreter in interpreters:
            builder = new_environment(interpreter, folder / f"builder-{interpreter.release}", pip=True)
            package = package or build_wheel(builder, folder)  # one wheel is for every Python
            installer = Installer(arguments.uv, builder)
            for name in names:
                outcome = measured(name, package, interpreter, installer, folder / "tried")
                outcomes[name, interpreter.release] = outcome
                sys.stdout.write(f"{interpreter.release:<8} {name:<10} {outcome}\n")
                if outcome.error:
                    sys.stdout.write(f"{outcome.error}\n")
                sys.stdout.flush()
    sys.stdout.write(
        f"\nInstalled by {'uv' if arguments.uv else 'pip'}: size of the environment, time to install and try it.\n\n"
        + table(outcomes, names, [interpreter.release for interpreter in interpreters])
    )
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
