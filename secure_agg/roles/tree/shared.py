"""What clients of one owner in one process have checked of a tree, each thing once for all of them: for simulations."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from secure_agg.arguments import checked_class
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.tree.pins import TreeTrust

_T = TypeVar("_T")


@checked_class
class SharedTree:
    """Checks of what all members of a tree, or of one of its edges, are shown alike: see ``SharedChecks``. A deployed
    client has none.
    """

    def __init__(self, tree: TreeTrust, beacon: bytes = b"") -> None:
        """
        Args:
            tree: what all of these clients have pinned; one that has pinned something else takes no part in this.
            beacon: that drew them into edges; empty where edges are fixed.
        """
        self.tree, self.beacon = tree, beacon
        self._edges: dict[str, SharedChecks] = {}
        self._found: dict[tuple[str, Hashable], Any] = {}

    def __repr__(self) -> str:
        return f"SharedTree({len(self._edges)} edges, {len(self._found)} found)"

    def edge(self, name: str) -> SharedChecks:
        """Those of one edge's members.

        Raises:
            TrustError: there is no such edge.
        """
        if name not in self._edges:
            self._edges[name] = SharedChecks(self.tree.edge(name, self.beacon))
        return self._edges[name]

    def once(self, what: str, of: Hashable, check: Callable[[], _T]) -> _T:
        """See ``SharedChecks.once``."""
        known = what, of
        if known not in self._found:
            self._found[known] = check()
        found: _T = self._found[known]
        return found
