"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_agg.errors import ConfigError
from secure_agg.protocol.claims import CLAIMS

LedgerArgument = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger's database file.")]

TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", help="What you yourself have pinned; a ledger writes LEDGER.trust.json."),
]
WithoutTrustOption = Annotated[
    bool,
    typer.Option(
        "--without-trust", help="Be content with evidence that is consistent in itself: nothing of yours is compared."
    ),
]
AcceptAttestedOption = Annotated[
    bool,
    typer.Option(
        "--accept-attested",
        help="Accept results that are no sums too, which only the operators' signatures vouch for.",
    ),
]

BeaconOption = Annotated[
    str | None,
    typer.Option(
        "--beacon",
        metavar="HEX",
        help="Where cohorts are drawn and no beacon is pinned: the randomness, as you know it.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="C2SP tlog-policy file: the witnesses that must have cosigned."),
]


def accepted(attested: bool) -> tuple[str, ...] | None:
    """Claims for ``verify`` and ``audit``: all where that was asked for, otherwise what is pinned."""
    return CLAIMS if attested else None


def randomness(beacon: str | None) -> bytes | None:
    """What was given as ``--beacon``.

    Raises:
        ConfigError: it is not hexadecimal.
    """
    try:
        return bytes.fromhex(beacon) if beacon is not None else None
    except ValueError:
        raise ConfigError(f"beacon {beacon!r} is not hexadecimal") from None
