"""Writes down in constraints.txt what the development install is made of, every package with its version.

    python tests/installs/lock.py

``make lock`` does that, with the interpreter of .venv, after a package there was brought up to date. What the file
holds above its line is kept by hand and counts for every Python; their versions follow. What is below is all the rest,
for the Python and the system on which it was found: elsewhere pip chooses.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FILE: Final = Path(__file__).parents[2] / "constraints.txt"
PROJECT: Final = "secure-agg"
BESIDE: Final = ("crypten",)
"""What set-up installs beside the project, without what it declares."""
LINE: Final = "# --- the rest, written by «make lock» ---"
MARKER: Final = 'python_version == "3.11" and sys_platform == "linux"'
_PIN: Final = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def installed() -> dict[str, str]:
    """Versions of all that the development install needs, by name as its package writes it.

    Raises:
        PackageNotFoundError: something is not installed.
    """
    found: dict[str, str] = {}
    for name in _needed():
        package = metadata.distribution(name)
        # A build's own label, as in 2.13.0+cpu, is left to the index that has it.
        found[package.metadata["Name"]] = Version(package.version).public
    return found


def _needed() -> Iterator[str]:
    """Names of the packages, each once; the project's own is none of them."""
    waiting = [(PROJECT, "dev")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        if name != PROJECT and not any(known == name for known, _ in seen):
            yield name
        seen.add((name, extra))
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                waiting += [(needed, more) for more in ("", *requirement.extras)]
    yield from BESIDE


def pinned(text: str) -> dict[str, str]:
    """Versions by canonical name, of all lines."""
    return {canonicalize_name(name): version for name, version in _PIN.findall(text)}


def written(text: str, versions: dict[str, str]) -> str:
    """The file anew.

    Args:
        text: as it is, with what is kept by hand.
        versions: what is installed.
    """
    known = {canonicalize_name(name): version for name, version in versions.items()}
    kept = text.split(LINE)[0].rstrip() + "\n"
    by_hand = pinned(kept)
    for name in by_hand.keys() & known.keys():
        kept = re.sub(
            rf"^({re.escape(name).replace('-', '[-_.]')})==\S+",
            rf"\g<1>=={known[name]}",
            kept,
            flags=re.MULTILINE | re.IGNORECASE,
        )
    rest = sorted(name for name in known if name not in by_hand)
    return "".join([kept, f"\n{LINE}\n", *(f"{name}=={known[name]} ; {MARKER}\n" for name in rest)])


def main() -> int:
    """Write the file; 1 where its marker would be wrong."""
    if sys.version_info[:2] != (3, 11) or platform.system() != "Linux":
        sys.stderr.write("the lock is for Python 3.11 on Linux: make lock PYTHON=python3.11\n")
        return 1
    FILE.write_text(written(FILE.read_text("utf-8"), installed()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
