"""What clients of one owner in one process have checked, each thing once for all of them: for simulations."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from secure_agg.arguments import checked_class
from secure_agg.roles.trust import Trust

_T = TypeVar("_T")


@checked_class
class SharedChecks:
    """Checks of what all clients of a round are shown alike, remembered by the whole of what was checked.

    A thousand clients who each check a thousand signatures of advertisements, of the set and of the evidence are where
    the time of a large simulation goes, and all but the first find what is known. Whoever hands one of these to
    several ``Client``s says that they have one owner, who believes in each what was found in another: one process that
    plays all roles does. A deployed client has none, since it believes nobody but itself.

    What was checked is known by all of its bytes, so clients that are shown different things check them apart. Nothing
    is remembered of what was refused.
    """

    def __init__(self, trust: Trust) -> None:
        """
        Args:
            trust: what all of these clients have pinned; one that has pinned something else takes no part in this.
        """
        self.trust = trust
        self._found: dict[tuple[str, Hashable], Any] = {}

    def __repr__(self) -> str:
        return f"SharedChecks({len(self._found)} found)"

    def once(self, what: str, of: Hashable, check: Callable[[], _T]) -> _T:
        """What ``check()`` returns, called for the first client only that asks for it.

        Args:
            what: names the check.
            of: all that it depends on besides the trust: the thing itself, or its digest.
        """
        known = what, of
        if known not in self._found:
            self._found[known] = check()
        found: _T = self._found[known]
        return found
