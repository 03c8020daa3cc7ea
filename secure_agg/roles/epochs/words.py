"""What a policy's options are, in words, for whoever is asked to authorise others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secure_agg.privacy.accounting import DELTA_UNIT
from secure_agg.protocol.config import Group, Policy
from secure_agg.protocol.config.groups import COUNT, GROUPS
from secure_agg.protocol.config.privacy import PRIVACY_OPTIONS
from secure_agg.protocol.privacy.claim import in_words

_NONE: Final = "none"


def option_differences(old: Policy, new: Policy) -> Iterator[tuple[str, str]]:
    """What becomes of a policy's options: privacy as a whole, each group, and all others together."""
    for what, was, becomes in (
        ("privacy", _privacy(old), _privacy(new)),
        *_groups(old, new),
        ("options", _others(old), _others(new)),
    ):
        if was != becomes:
            yield what, f"{was} becomes {becomes}"


def _privacy(policy: Policy) -> str:
    rule = policy.privacy
    if rule is None:
        return _NONE
    return (
        f"epsilon = {in_words(rule.epsilon)} at delta = {rule.delta / DELTA_UNIT:g} for {rule.rounds} rounds by the "
        f"noise of {rule.honest} honest clients, norm {policy.clip:g}"
    )


def _groups(old: Policy, new: Policy) -> Iterator[tuple[str, str, str]]:
    had, has = ({group.name: group for group in each.groups} for each in (old, new))
    for name in sorted({*had, *has}):
        yield f"group {name}", _group(had.get(name)), _group(has.get(name))


def _group(group: Group | None) -> str:
    if group is None:
        return _NONE
    if group.kind == COUNT:
        return f"a count of {group.bits} bits"
    num, den = group.support
    said = [
        f"{group.bits} bits",
        f"clip {group.clip:g}" + (" to begin with, adaptive" if group.adaptive else ""),
        "weighted" if group.weighted else "unweighted",
        *(["rotated"] if group.rotated else []),
        *([f"{num}/{den} of the values"] if num != den else []),
    ]
    return ", ".join(said)


def _others(policy: Policy) -> str:
    left_out = {*PRIVACY_OPTIONS, GROUPS}
    found = [f"{option.name}={option.value}" for option in policy.options if option.name not in left_out]
    return ", ".join(found) or _NONE
