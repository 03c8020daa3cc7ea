"""The page with Python's public names, each with its docstring: mkdocstrings reads these from the sources."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FURTHER: Final = {
    "Statistics": ("secure_agg.stats.functions", "secure_agg.stats.plots"),
    "Algorithms of federated learning": ("secure_agg.fl.algorithms.named", "secure_agg.fl.torch_state"),
    "Errors": ("secure_agg.errors",),
}
"""Modules that are public by themselves, beside the names of ``secure_agg``."""


def homes() -> dict[str, str]:
    """Where each public name of ``secure_agg`` is at home: the module."""
    tree = ast.parse((ROOT / "secure_agg" / "__init__.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "_HOMES":
            found: dict[str, str] = ast.literal_eval(node.value) if node.value else {}
            return found
    raise LookupError("secure_agg/__init__.py has no _HOMES")


def listed() -> str:
    """All names, in Markdown: functions first, then classes."""
    found = sorted(homes().items(), key=lambda item: (item[0][0].isupper(), item[0]))
    parts = ["## secure_agg\n", *(f"::: {module}.{name}\n" for name, module in found)]
    for title, modules in _FURTHER.items():
        parts.append(f"## {title}\n")
        parts += [f"::: {module}\n    options:\n      show_root_full_path: true\n" for module in modules]
    return "\n".join(parts)
