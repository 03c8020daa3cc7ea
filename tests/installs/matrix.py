"""Installs the package into empty environments, with each extra alone, and tries in each what it is for.

    python tests/installs/matrix.py [EXTRA …] [--python PATH] [--package FILE]

With ``--package`` it is that wheel or source distribution that is installed, otherwise a wheel of the working tree.
Without names: the base install, every extra, and the development install; ``make install-matrix`` does that, CI tries
the base install only. An extra's smoke test is in ``smoke.py``, which runs there, in a folder of its own. It needs a
package index, and takes what pip has in its cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
BASE: Final = "base"
CRYPTEN: Final = "crypten==0.4.1"
"""Is installed beside its extra: it declares packages that it does not need."""
_WITH_CRYPTEN: Final = {"mpc", "crypten", "demo", "all", "dev"}
_TOP_LEVEL: Final = {"secure_agg", "mpc", "zk"}
_LEFT_OUT: Final = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*-output")


def extras() -> tuple[str, ...]:
    """Names of all extras, as pyproject.toml has them."""
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    return tuple(declared["project"]["optional-dependencies"])


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command, with its output hidden unless it fails.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise subprocess.CalledProcessError(done.returncode, [str(part) for part in command])


def new_environment(python: str, folder: Path) -> Path:
    """An empty environment; returns its interpreter."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def build_wheel(python: Path, folder: Path) -> Path:
    """The package's wheel, from a copy: a build leaves things behind in the folder that it works on.

    Raises:
        SystemExit: it would put other names than the package's own into site-packages.
    """
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=_LEFT_OUT)
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheel", source)
    (wheel,) = (folder / "wheel").glob("*.whl")
    listed = subprocess.run(
        [python, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    top = {line.split("/")[0] for line in listed}
    if {name for name in top if not name.endswith(".dist-info")} != _TOP_LEVEL:
        sys.exit(f"the wheel holds {', '.join(sorted(top))}")
    return wheel


def attempt(name: str, wheel: Path, python: str, folder: Path) -> None:
    """Install one extra and try it.

    Raises:
        subprocess.CalledProcessError: it can't be installed, or does not do what it is for.
    """
    environment = new_environment(python, folder / "venv")
    wanted = str(wheel) if name == BASE else f"{wheel}[{name}]"
    pip = (environment, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    constraint = ("--constraint", CHECKOUT / "constraints.txt")
    run(*pip, *constraint, wanted)
    if name in _WITH_CRYPTEN:
        run(*pip, *constraint, "--no-deps", CRYPTEN)
    empty = folder / "elsewhere"
    empty.mkdir()
    run(environment, "-W", "error::RuntimeWarning", Path(__file__).with_name("smoke.py"), name, CHECKOUT, cwd=empty)


def main() -> int:
    """Try all that were asked for; 1 if one fails."""
    parser = argparse.ArgumentParser(description="Install the package into empty environments and try it there.")
    parser.add_argument("names", nargs="*", metavar="EXTRA", help=f"{BASE}, or an extra; by default all")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="interpreter of the environments")
    parser.add_argument("--package", type=Path, metavar="FILE", help="wheel or source distribution to install")
    arguments = parser.parse_args()
    known = (BASE, *extras())
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no extra {unknown[0]!r}: {', '.join(known)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="secure-agg-installs-") as temporary:
        folder = Path(temporary)
        wheel = arguments.package and arguments.package.resolve()
        wheel = wheel or build_wheel(new_environment(arguments.python, folder / "builder"), folder)
        for name in arguments.names or known:
            place = folder / name
            start = time.monotonic()
            try:
                attempt(name, wheel, arguments.python, place)
            except subprocess.CalledProcessError as error:
                failed.append(name)
                outcome = f"FAILED: {error}"
            else:
                outcome = "ok"
            size = sum(file.lstat().st_size for file in place.rglob("*")) >> 20
            sys.stdout.write(f"{name:<10} {time.monotonic() - start:5.0f} s {size:6} MB  {outcome}\n")
            sys.stdout.flush()
            shutil.rmtree(place, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
