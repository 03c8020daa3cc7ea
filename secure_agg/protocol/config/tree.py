"""Where in a tree a task's rounds are: an option of its policy, so that no round is taken for one of another kind.

A tree has two levels. An *edge* is a round over its own members, whose operator takes part, with the edge's sum, in the
*top* round. What is neither has no such option, and is what it was before there were trees, byte for byte.
"""

from __future__ import annotations

from typing import Final

import msgspec

from secure_agg.errors import ConfigError
from secure_agg.protocol.config.policy import Policy
from secure_agg.protocol.config.settings import LEVEL as LEVEL
from secure_agg.protocol.config.terms import Option

FLAT: Final = 0
EDGE: Final = 1
TOP: Final = 2
LEVEL_NAMES: Final = {EDGE: "edge", TOP: "top"}
DRAWN: Final = "*"
"""Stands for an edge's id in the task that pins members who are drawn into edges."""
_BETWEEN: Final = "/"


def level(policy: Policy) -> int:
    """``FLAT``, ``EDGE`` or ``TOP``."""
    return policy.option(LEVEL, FLAT)


def edge_task(root: str, edge: str) -> str:
    """The id of an edge's task, in which its members are pinned: the tree's, a slash, the edge's.

    Raises:
        ConfigError: an edge's id with a slash in it, which could be read in two ways.
    """
    if _BETWEEN in edge:
        raise ConfigError(f"an edge's id has no slash, and {edge!r} has")
    return f"{root}{_BETWEEN}{edge}"


def tree_task(task: str, policy: Policy) -> str:
    """The task that a party is bound in: of an edge the tree's, since whoever were in two edges of it, or in the tree
    and beside it, would be summed twice.
    """
    return task.rpartition(_BETWEEN)[0] if level(policy) == EDGE else task


def policy_on(policy: Policy, place: int, size: int, *, min_clients: int, corrupt: int | None = None) -> Policy:
    """A policy on a level of a tree: what vectors are made by stays, thresholds are those of so many members.

    Args:
        policy: of all of the tree's clients together: its ``max_clients`` is how many sums have room for.
        place: ``EDGE`` or ``TOP``.
        size: members of the edge; edges of the top.
        min_clients: fewest whose sum is opened there.
        corrupt: f; by default the most that the thresholds allow.

    Raises:
        ConfigError: so few members can have no such thresholds.
    """
    if size < min_clients:
        raise ConfigError(f"{size} members of the {LEVEL_NAMES[place]} are fewer than min_clients = {min_clients}")
    advertised = max(min_clients, size - max(1, -(-size // 10)))
    options = {option.name: option.value for option in policy.options if option.name != LEVEL} | {LEVEL: place}
    return msgspec.structs.replace(
        policy,
        options=Option.list(options),
        min_clients=min_clients,
        min_advertised=advertised,
        max_corrupt=(advertised - 1) // 3 if corrupt is None else corrupt,
    )
