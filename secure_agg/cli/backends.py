"""``secure-agg backends``: which ways of hiding are installed, who must be trusted with what, and their options."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from secure_agg import backends
from secure_agg.backends.contract import Backend
from secure_agg.cli.terminal.output import JsonOption, emit, plain, show_fields
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.norm import factor

_EXAMPLES: Final = (10, 100, 500)
"""Clients of a round."""


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
            rows["norm_bound"] = said["norm_bound"]["text"]
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
    return asdict(backend.trust) | {"operators": operators, "options": options, "norm_bound": _norm(backend)}


def _norm(backend: Backend) -> dict[str, Any]:
    """Whether influence can be bounded, and how far a bound can be exceeded: examples of the number that a round's
    record holds.
    """
    if backend.unbounded:
        return {"supported": False, "factors": {}, "text": f"none: {backend.unbounded}"}
    factors = {}
    for clients in _EXAMPLES:
        policy = Policy.default(clients, backend=backend.name, norm_bound=1.0, clip=1.0)
        claim = policy.norm_bound(1)
        if claim is not None:
            factors[clients] = factor(claim, policy.max_corrupt) / 100
    said = ", ".join(f"{number:g} times it with {clients} clients" for clients, number in factors.items())
    text = f"proved of every client; all the corrupt of a round together, each on average, reach less than {said}"
    return {"supported": True, "factors": {str(clients): number for clients, number in factors.items()}, "text": text}
