"""``secure-agg trust``: what is pinned, in words and as one fingerprint that people compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import TrustError
from secure_agg.plugins.homes.client import TRUST_FILE
from secure_agg.roles.trust import Trust
from zk.transcript import digest

app = typer.Typer(
    no_args_is_help=True,
    help="Look at what is pinned, before anything is believed by it.",
    epilog=epilog("secure-agg trust show trust.json"),
)

_GROUP: Final = 4
_SHOWN: Final = 32
"""Hexadecimal digits of a fingerprint: 128 bits, which nobody can meet a given one in."""


def fingerprint(trust: Trust) -> str:
    """What two parties compare who want to know that they have pinned the same: 8 groups of 4 hexadecimal digits."""
    return _grouped(digest("trust-fingerprint", trust.to_json().encode()))


def _grouped(data: bytes) -> str:
    text = data.hex()[:_SHOWN]
    return " ".join(text[start : start + _GROUP] for start in range(0, _SHOWN, _GROUP))


@app.command(
    "show",
    epilog=epilog(
        "secure-agg trust show trust.json",
        "secure-agg trust show home --expect '1f2e 3d4c 5b6a 7988 9786 a5b4 c3d2 e1f0'",
    ),
)
def show_trust(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A trust file, or a home that has one.")],
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect", metavar="FINGERPRINT", help="Fail unless this is its fingerprint, as somebody said it."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show who and what a trust file pins, and its fingerprint.

    Everybody who has pinned the same sees the same fingerprint. Compare it over a channel that nobody else can alter,
    by telephone for instance, before a home is made from the file.
    """
    trust = Trust.load(path / TRUST_FILE if path.is_dir() else path)
    found = fingerprint(trust)
    if expect is not None and expect.replace(" ", "").lower() != found.replace(" ", ""):
        raise TrustError(f"the fingerprint is {found}, and {expect} was expected: this is another trust file")
    document: dict[str, Any] = {
        "fingerprint": found,
        "log": trust.log.hex() if trust.log else None,
        "operators": {name: key.hex() for name, key in trust.operators.items()},
        "witnesses": {name: key.hex() for name, key in trust.witnesses.items()},
        "tasks": {
            name: {
                "backend": pins.policy.backend,
                "members": {member: key.hex() for member, key in pins.roster.items()},
                "min_clients": pins.policy.min_clients,
                "max_corrupt": pins.policy.max_corrupt,
                "clip": pins.policy.clip,
            }
            for name, pins in trust.tasks.items()
        },
    }

    def show(console: Console) -> None:
        rows = {"fingerprint": f"{found}, the same for everybody who pins this"}
        rows["log"] = _grouped(trust.log) if trust.log else "none: no ledger's key is pinned"
        rows |= {f"operator {name}": _grouped(key) for name, key in trust.operators.items()}
        rows |= {f"witness {name}": _grouped(key) for name, key in trust.witnesses.items()}
        for name, pins in trust.tasks.items():
            policy = pins.policy
            rows[f"task {name}"] = (
                f"backend {policy.backend}, {len(pins.roster)} members, at least {policy.min_clients} in a sum, "
                f"{policy.max_corrupt} corrupt, values clipped to ±{policy.clip:g}"
            )
            rows |= {f"member {member}": _grouped(key) for member, key in pins.roster.items()}
        show_fields(console, rows)

    emit(document, as_json, show)
