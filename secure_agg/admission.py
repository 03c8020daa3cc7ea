"""Who has to go when more come than there is room for.

Anybody can open a connection, and what it costs is a place. So places are never refused to a newcomer and never held
by right: where all are taken, the address that holds most of them loses its oldest. Whoever floods from one address
takes places from itself; and a newcomer that shows soon who it is stays, since it is the youngest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T", bound=Hashable)


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, of which its owner has all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


class Admission(Generic[_T]):
    """A number of places. It closes nothing itself."""

    def __init__(self, places: int) -> None:
        """``places``: how many there are, 1 or more."""
        self.places = places
        self._of: dict[_T, str] = {}
        self._groups: dict[str, dict[_T, None]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._of)

    def admit(self, newcomer: _T, address: str) -> _T | None:
        """Give a newcomer a place.

        Args:
            address: that it comes from, as the socket says.

        Returns:
            Who has lost its place for it, and is to be closed; None where there was room.
        """
        group = neighbourhood(address)
        self._of[newcomer] = group
        self._groups.setdefault(group, {})[newcomer] = None
        if len(self._of) <= self.places:
            return None
        largest = max(self._groups.values(), key=len)  # of equals the one that has been here longest
        oldest = next(iter(largest))
        self.leave(oldest)
        return oldest

    def leave(self, member: _T) -> None:
        """Free a place; harmless for whoever has none."""
        group = self._of.pop(member, None)
        if group is not None:
            del self._groups[group][member]
            if not self._groups[group]:
                del self._groups[group]

    def refresh(self, member: _T) -> None:
        """Make a member the youngest of its address; harmless for whoever has no place."""
        group = self._of.get(member)
        if group is not None:
            self._groups[group][member] = self._groups[group].pop(member)
