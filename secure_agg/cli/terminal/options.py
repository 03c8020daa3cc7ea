"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_agg.errors import ConfigError
from secure_agg.privacy.asked import Privacy
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


PrivacyEpsilon = Annotated[
    float | None,
    typer.Option(
        "--privacy-epsilon",
        metavar="E",
        help="Differential privacy: what all results of the task together may tell of one client. 1 to 4 are usual.",
    ),
]
PrivacyDelta = Annotated[
    float | None,
    typer.Option("--privacy-delta", metavar="D", help="With it, with which probability more: below 1 in the clients."),
]
PrivacyNorm = Annotated[
    float | None,
    typer.Option("--privacy-norm", metavar="C", help="With it, the L2 norm that updates are brought to."),
]
PrivacyRounds = Annotated[
    int | None,
    typer.Option("--privacy-rounds", metavar="T", help="With it, how many rounds the budget is for; by default 1."),
]
PrivacyHonest = Annotated[
    float | None,
    typer.Option(
        "--privacy-honest",
        metavar="SHARE",
        help="With it, the share of the clients held to be honest whose noise is counted on; by default 1.",
    ),
]


def asked_privacy(
    epsilon: float | None, delta: float | None, norm: float | None, rounds: int | None, honest: float | None
) -> Privacy | None:
    """What the options ask for; None where they ask for nothing.

    Raises:
        ConfigError: some are there, and others are not; or see ``Privacy``.
    """
    given = {"epsilon": epsilon, "delta": delta, "norm": norm}
    missing = [f"--privacy-{name}" for name, value in given.items() if value is None]
    if epsilon is None or delta is None or norm is None:
        if len(missing) < len(given) or rounds is not None or honest is not None:
            raise ConfigError(
                f"privacy takes --privacy-epsilon, --privacy-delta and --privacy-norm: {missing[0]} is missing"
            )
        return None
    return Privacy(
        epsilon=epsilon,
        delta=delta,
        norm=norm,
        rounds=1 if rounds is None else rounds,
        honest=1.0 if honest is None else honest,
    )
