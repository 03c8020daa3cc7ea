"""Where in a tree a task's rounds are: an option of its policy, so that no round is taken for one of another kind.

A tree has two levels. An *edge* is a round over its own members, whose operator takes part, with the edge's sum, in the
*top* round. What is neither has no such option, and is what it was before there were trees, byte for byte.
"""

from __future__ import annotations

from typing import Final, Protocol

from secure_agg.errors import ConfigError

LEVEL: Final = "level"
FLAT: Final = 0
EDGE: Final = 1
TOP: Final = 2
LEVEL_NAMES: Final = {EDGE: "edge", TOP: "top"}
DRAWN: Final = "*"
"""Stands for an edge's id in the task that pins members who are drawn into edges."""
_BETWEEN: Final = "/"


class HasOptions(Protocol):
    """A policy, as far as it is looked at here."""

    def option(self, name: str, default: int) -> int:
        """See ``Policy.option``."""


def level(policy: HasOptions) -> int:
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


def root_task(task: str, policy: HasOptions) -> str:
    """The task that a party is bound in: of an edge the tree's, since whoever were in two edges of it, or in the tree
    and beside it, would be summed twice.
    """
    return task.rpartition(_BETWEEN)[0] if level(policy) == EDGE else task
