"""``secure-agg backends``: which ways of hiding are installed, and who must be trusted with what."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from secure_agg import backends
from secure_agg.cli.output import JsonOption, emit, show_fields


def list_backends(as_json: JsonOption = False) -> None:
    """Show each installed backend: who must be trusted with what, dropouts, quantum computers, limits."""
    found = {name: asdict(backends.load(name).trust) for name in backends.names()}

    def show(console: Console) -> None:
        for name, trust in found.items():
            console.rule(f"[bold]{name}[/]: {trust['summary']}", align="left")
            show_fields(
                console,
                {
                    "trusted": trust["trusted"],
                    "dropouts": trust["dropouts"],
                    "post_quantum": trust["post_quantum"],
                    "limits": trust["limits"],
                },
            )

    emit({"backends": found}, as_json, show)
