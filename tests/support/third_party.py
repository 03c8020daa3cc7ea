"""Another distribution that registers a backend, put where an installed one would be found."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPLIT = Path(__file__).parent / "split"
"""A small distribution: ``pyproject.toml``, and its package under ``src``."""


@contextmanager
def installed(distribution: Path, folder: Path) -> Iterator[None]:
    """Make a distribution importable, and known to ``importlib.metadata``, as an installer does.

    Args:
        distribution: its folder.
        folder: an empty one; what an installer writes goes there.
    """
    project = tomllib.loads((distribution / "pyproject.toml").read_text("utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    paths = [str(folder), str(distribution / "src")]
    sys.path[:0] = paths
    try:
        yield
    finally:
        for path in paths:
            sys.path.remove(path)
