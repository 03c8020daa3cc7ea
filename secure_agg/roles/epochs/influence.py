"""Where an epoch lets one update move a model further, or otherwise, than under the policy that an owner has seen.

A policy's clip and bits are the most of any group: of several groups each has to be compared with itself, or a model's
clip could follow that of its metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secure_agg.protocol.config import Group, Policy

RANGE: Final = 16
"""Factor that a clip may become larger or smaller by without its owner."""
LEAST_BITS: Final = 8
"""Bits that a group may come down to without its owner, where it had as many."""


def loosened(seen: Policy, policy: Policy) -> Iterator[str]:
    """In words, what a policy has of groups and of a norm bound that is weaker than it was, or of another kind."""
    had, has = ({group.name: group for group in each.groups} for each in (seen, policy))
    if had or has:
        for name in sorted({*had, *has}):
            yield from _group(name, had.get(name), has.get(name))
    before, after = seen.norm, policy.norm
    if before is None:
        return
    if after is None:
        yield "no update's norm is bounded, and it was"
        return
    if policy.norm_limit > seen.norm_limit * (1 + 1e-9):
        yield f"the norm bound is {policy.norm_limit:.6g}, above {seen.norm_limit:.6g}"
    if after.outside > before.outside:
        yield f"{after.outside} arrays are outside the norm bound, above {before.outside}"


def _group(name: str, had: Group | None, has: Group | None) -> Iterator[str]:
    if has is None or had is None:
        yield f"group {name!r} is {'gone' if has is None else 'one that the owner has not seen'}"
        return
    for what in ("kind", "weighted", "support", "clip_rule"):
        if getattr(had, what) != getattr(has, what):
            yield f"{what} of group {name!r} is {getattr(has, what)}, and it was {getattr(had, what)}"
    if not had.clip / RANGE <= has.clip <= had.clip * RANGE:
        yield f"clip of group {name!r} is {has.clip:g}, outside [{had.clip / RANGE:g}, {had.clip * RANGE:g}]"
    if has.bits < min(LEAST_BITS, had.bits):
        yield f"{has.bits} bits of group {name!r} are below {min(LEAST_BITS, had.bits)}"
