"""Empty environments, and what is installed into them: by pip, which everybody has, or by uv, which links files instead
of writing them and so needs seconds where pip needs minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
CONSTRAINTS: Final = CHECKOUT / "constraints.txt"
_TOP_LEVEL: Final = {"secure_agg", "mpc", "zk"}
_LEFT_OUT: Final = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*-output")
_ENDED_BY: Final = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would let another environment in."""


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> None:
    """Run a command, with its output hidden unless it fails, and these variables beside the environment's.

    Raises:
        subprocess.CalledProcessError: it fails; ``stderr`` has all that it said.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _ENDED_BY} | variables
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, [str(part) for part in command], stderr=done.stdout + done.stderr
        )


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments are made of.

    Attributes:
        path: of its executable.
        version: of the language, like ``3.12``.
        release: in full, like ``3.12.1``.
    """

    path: Path
    version: str
    release: str

    @staticmethod
    def of(path: str | Path) -> Interpreter | None:
        """The one that a path or a name on PATH leads to; None if there is none, or it does not run."""
        found = shutil.which(path)
        if found is None:
            return None
        asked = "import platform, sys; print(sys.executable); print(platform.python_version())"
        done = subprocess.run([found, "-I", "-c", asked], capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        executable, release = done.stdout.split("\n")[:2]
        return Interpreter(Path(executable), ".".join(release.split(".")[:2]), release)

    @staticmethod
    def named(word: str) -> Interpreter | None:
        """By path, or by version: on PATH, or among pyenv's, the newest there. None if there is none."""
        if not re.fullmatch(r"3\.\d+", word):
            return Interpreter.of(word)
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        kept = sorted(root.glob(f"{word}.*/bin/python"), key=lambda path: [*map(int, re.findall(r"\d+", str(path)))])
        candidates = (Interpreter.of(path) for path in (f"python{word}", *reversed(kept)))
        return next((found for found in candidates if found is not None and found.version == word), None)


class Installer:
    """Puts packages into environments, at the versions of constraints.txt; no byte code is written ahead."""

    def __init__(self, uv: str | None, builder: Path) -> None:
        """
        Args:
            uv: its command; None for pip.
            builder: interpreter of an environment that has pip.
        """
        self.uv, self.builder = uv, builder

    def __str__(self) -> str:
        return "uv" if self.uv else "pip"

    def install(self, environment: Path, *words: str | Path) -> None:
        """Requirements and options that pip and uv share.

        Args:
            environment: its interpreter.

        Raises:
            subprocess.CalledProcessError: they can't be installed, or do not fit together.
        """
        constraint = ("--quiet", "--constraint", CONSTRAINTS)
        if self.uv:
            run(self.uv, "pip", "install", "--python", environment, *constraint, *words)
        else:
            pip = (self.builder, "-m", "pip", "--disable-pip-version-check", "--python", environment)
            run(*pip, "install", "--no-compile", *constraint, *words)

    def check(self, environment: Path) -> None:
        """See that what is there fits together.

        Raises:
            subprocess.CalledProcessError: something that a package needs is missing, or of another version.
        """
        if self.uv:
            run(self.uv, "pip", "check", "--quiet", "--python", environment)
        else:
            run(self.builder, "-m", "pip", "--python", environment, "check")


def new_environment(interpreter: Interpreter, folder: Path, *, pip: bool = False) -> Path:
    """An empty environment, without pip unless it is asked for; returns its interpreter."""
    run(interpreter.path, "-m", "venv", *(() if pip else ("--without-pip",)), folder)
    return folder / "bin" / "python"


def build_wheel(python: Path, folder: Path) -> Path:
    """The package's wheel, from a copy: a build leaves things behind in the folder that it works on.

    Args:
        python: of an environment with pip.

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
