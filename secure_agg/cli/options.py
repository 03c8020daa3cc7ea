"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from secure_agg.errors import ConfigError
from secure_agg.plugins.core.metrics import METRICS
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.config import Group
from secure_agg.protocol.config.groups import ADAPTIVE, COUNT

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


GROUP_HELP: Final = (
    "A named vector of the update, as NAME:SETTING,…: bits=B, clip=C, unweighted, rotated, adaptive, support=N/D; one "
    "for each. The model's arrays are in the first that is weighted, SCAFFOLD's control variates in 'controls', and "
    f"metrics in {METRICS!r}, which is made if it is not named."
)
_FLAGS: Final[dict[str, dict[str, Any]]] = {
    "unweighted": {"weighted": False},
    "rotated": {"rotated": True},
    "adaptive": {"clip_rule": ADAPTIVE},
    COUNT: {"kind": COUNT, "weighted": False, "clip": 0.0},
}
_METRICS: Final = Group(name=METRICS, bits=14, clip=1.0, weighted=False)


def groups_of(texts: Sequence[str]) -> tuple[Group, ...]:
    """The groups of a federation's policy; none where none are named.

    Raises:
        ConfigError: a text that is none, or settings of no group.
    """
    found = [_group(text) for text in texts]
    if found and all(group.name != METRICS for group in found):
        found.append(_METRICS)
    return tuple(found)


def _group(text: str) -> Group:
    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, has_value, value = item.partition("=")
        try:
            if not has_value and key in _FLAGS:
                settings |= _FLAGS[key]
            elif key == "bits":
                settings["bits"] = int(value)
            elif key == "clip":
                settings["clip"] = float(value)
            elif key == "support":
                num, _, den = value.partition("/")
                settings["support"] = (int(num), int(den))
            else:
                raise ValueError(item)
        except ValueError:
            raise ConfigError(
                f"--group {text!r}: {item!r} is none of bits=B, clip=C, support=N/D, {', '.join(_FLAGS)}"
            ) from None
    return Group(name=name, **settings)
