"""Options of commands that make or plan tasks with differential privacy, and what they say of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Final

import typer

from secure_agg.errors import ConfigError
from secure_agg.privacy.accounting import BEYOND, DELTA_UNIT, EPSILON_UNIT
from secure_agg.privacy.asked import Privacy
from secure_agg.privacy.mechanism import RATIO_UNIT
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.protocol.privacy import in_words

_SHARES: Final = (Fraction(8, 10), Fraction(5, 10), Fraction(1, 10))
"""Of the clients that are counted on, for what is said of fewer."""

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
                f"privacy takes --privacy-epsilon, --privacy-delta and --privacy-norm: {missing[0]} lacks"
            )
        return None
    return Privacy(
        epsilon=epsilon,
        delta=delta,
        norm=norm,
        rounds=1 if rounds is None else rounds,
        honest=1.0 if honest is None else honest,
    )


def privacy_document(rule: PrivacyRule, norm: float) -> dict[str, Any]:
    """What a policy says of privacy, and what it comes to if fewer clients are honest than it counts on."""
    rounds = rule.rounds
    fewer = {f"{float(share):g}": rule.spent_if(share, rounds) for share in _SHARES}
    text = (
        f"epsilon = {in_words(rule.epsilon)} at delta = {rule.delta / DELTA_UNIT:g} over {rounds} rounds of updates of "
        f"norm {norm:g}, by {rule.name} noise of {rule.honest} honest clients; if only half of them add theirs, "
        f"epsilon = {in_words(fewer['0.5'])}"
    )
    return {
        "mechanism": rule.name,
        "epsilon": rule.epsilon / EPSILON_UNIT,
        "delta": rule.delta / DELTA_UNIT,
        "norm": norm,
        "rounds": rounds,
        "honest": rule.honest,
        "noise_ratio": rule.ratio / RATIO_UNIT,
        "epsilon_if_share": {name: None if found >= BEYOND else found / EPSILON_UNIT for name, found in fewer.items()},
        "text": text,
    }
