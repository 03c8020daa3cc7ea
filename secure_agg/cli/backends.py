"""``secure-agg backends``: which ways of hiding are installed, who must be trusted with what, and their options."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from secure_agg import backends
from secure_agg.backends.contract import Backend
from secure_agg.cli.output import JsonOption, emit, plain, show_fields


def list_backends(as_json: JsonOption = False) -> None:
    """Show each installed backend: who must be trusted with what, dropouts, quantum computers, limits, options."""
    loaded = {name: backends.load(name) for name in backends.names()}
    found = {name: _document(backend) for name, backend in loaded.items()}

    def show(console: Console) -> None:
        for name, backend in loaded.items():
            said = found[name]
            console.rule(f"[bold]{name}[/]: {said['summary']}", align="left")
            rows = {key: said[key] for key in ("trusted", "operators", "dropouts", "post_quantum", "limits")}
            rows["operators"] = rows["operators"] or "none but the aggregator"
            show_fields(console, rows | {"options": ", ".join(rule.name for rule in backend.options) or "none"})
            for rule in backend.options:
                console.print(plain(f"  {rule.name}: {rule.text}"), soft_wrap=True)

    emit({"backends": found}, as_json, show)


def _document(backend: Backend) -> dict[str, Any]:
    """What a backend says of itself, for a program."""
    operators = "key holders" if backend.keys else "share holders" if backend.shares else None
    options = {
        rule.name: {key: value for key, value in asdict(rule).items() if key != "name"} for rule in backend.options
    }
    return asdict(backend.trust) | {"operators": operators, "options": options}
