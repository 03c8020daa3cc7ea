"""The project's own source as the tests of its layout see it: modules, and who imports whom."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("mpc", "zk", "secure_agg", "benchmarks")


class Import(NamedTuple):
    """One arrow: a module imports another of ours, on whatever level of indentation and for whatever reason."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@functools.cache
def modules() -> Mapping[str, Path]:
    """Every module of ours by its dotted name; a package by its own, with the path of its ``__init__``."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return MappingProxyType(found)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Every statement below a node, in functions too; expressions are left out, which are most of a tree."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, name, ()):
            if isinstance(child, ast.stmt):
                yield child
            yield from statements(child)


def is_package(module: str) -> bool:
    """Whether a module has others inside."""
    return modules()[module].name == "__init__.py"


def inside(package: str) -> tuple[str, ...]:
    """The modules and packages directly inside a package, by their last names."""
    return tuple(name.rpartition(".")[2] for name in modules() if name.rpartition(".")[0] == package)


@functools.cache
def imports() -> tuple[Import, ...]:
    """Every import of a module of ours by another: at the top, in functions and for type checkers."""
    return tuple(found for module in modules() for found in _imports_of(module))


def _imports_of(module: str) -> Iterator[Import]:
    for node in statements(parsed(modules()[module])):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [
                name if (name := f"{node.module}.{alias.name}") in modules() else node.module for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name in modules() and name != module:
                yield Import(module, name, node.lineno)
