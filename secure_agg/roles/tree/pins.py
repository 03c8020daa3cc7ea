"""A tree as a trust file holds it: a task of the top, whose members are the edges' operators, and one for each edge.

Nothing new is pinned: the tree of task T with edges A and B is the tasks T, T/A and T/B; where members are drawn into
edges, T and T/*. ``TreeTrust`` reads that, refuses what would count somebody twice or add up what is no sum, and gives
each edge's part of it to whoever is in the edge.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from mpc import graph
from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.tree import DRAWN, EDGE, TOP, edge_task, level
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.tree.forest import COMMON_POLICY, MAX_EDGES
from secure_agg.roles.trust import TaskTrust, Trust
from zk.transcript import digest


def draw(members: Collection[str], edges: tuple[str, ...], beacon: bytes) -> dict[str, tuple[str, ...]]:
    """Members drawn into edges: in the order of D("edge-draw", beacon, id), as evenly as can be, the first edges get
    one more.

    Args:
        members: their ids.
        edges: ids, in order.
        beacon: public randomness that nobody could foresee when the roster was pinned.
    """
    names = sorted(members, key=lambda name: digest("edge-draw", beacon, name.encode()))
    least, more = divmod(len(names), len(edges))
    ends = [0]
    for i in range(len(edges)):
        ends.append(ends[-1] + least + (i < more))
    return {edge: tuple(names[start:stop]) for edge, (start, stop) in zip(edges, pairwise(ends), strict=True)}


def corrupt_in_edges(members: int, corrupt: int, edges: int, failure_bits: int = 60) -> int:
    """The most corrupt members that any of so many drawn edges holds, but with probability 2^-failure_bits: by default
    2^-40 for all of 2^16 rounds of 16 draws each.

    Args:
        members, corrupt: of the whole roster.
    """
    size = -(-members // edges)
    return graph.corrupt_in_sample(members, corrupt, size, failure_bits + (edges - 1).bit_length())


@checked_class
@dataclass(frozen=True)
class TreeTrust:
    """What a party of a tree has pinned.

    Attributes:
        trust: everything.
        task: the tree's.

    Raises:
        TrustError: the task, or its edges, are not pinned.
        ConfigError: what is pinned is no tree: an edge that is not on its level, policies that differ in what vectors
            are made by, somebody in two edges, more members than the sums have room for.
    """

    trust: Trust
    task: str

    def __post_init__(self) -> None:
        top = self.trust.task(self.task)
        if level(top.policy) != TOP:
            raise ConfigError(f"task {self.task!r} is not the top of a tree: its policy has no option level = {TOP}")
        names = tuple(top.roster)
        if not 2 <= len(names) <= MAX_EDGES:
            raise ConfigError(f"{len(names)} edges are outside [2, {MAX_EDGES}]")
        members = self._pinned_edges(names)
        owners: dict[bytes, str] = {key: name for name, key in top.roster.items()}
        seen: set[str] = set(names)
        for edge, pins in members.items():
            self._check_policy(edge, pins.policy, top.policy)
            for name, key in pins.roster.items():
                if name in seen or key in owners:
                    raise ConfigError(f"{name!r}, or its key, is in the tree twice: it would be counted twice")
                seen.add(name)
                owners[key] = name
        total = len(seen) - len(names)
        if total > top.policy.max_clients:
            raise ConfigError(f"{total} members, and sums have room for max_clients = {top.policy.max_clients}")

    def _pinned_edges(self, names: tuple[str, ...]) -> Mapping[str, TaskTrust]:
        """By edge, or everybody who is drawn into one."""
        drawn = edge_task(self.task, DRAWN)
        if drawn in self.trust.tasks:
            if any(edge_task(self.task, name) in self.trust.tasks for name in names):
                raise ConfigError(f"the members of {self.task!r} are drawn into edges, and an edge's are pinned too")
            return {DRAWN: self.trust.task(drawn)}
        return {name: self.trust.task(edge_task(self.task, name)) for name in names}

    @staticmethod
    def _check_policy(edge: str, policy: Policy, top: Policy) -> None:
        if level(policy) != EDGE:
            raise ConfigError(f"edge {edge!r} is none: its policy has no option level = {EDGE}")
        differing = [name for name in COMMON_POLICY if getattr(policy, name) != getattr(top, name)]
        if differing:
            raise ConfigError(f"edge {edge!r} has another {', '.join(differing)} than the top: that is no sum")
        if policy.cohort_size or top.cohort_size:
            raise ConfigError("a tree's rounds draw no cohorts: members are drawn into edges")

    @property
    def is_drawn(self) -> bool:
        """Whether members are drawn into edges."""
        return edge_task(self.task, DRAWN) in self.trust.tasks

    @property
    def edges(self) -> tuple[str, ...]:
        """Ids of the edges' operators, in order."""
        return tuple(self.trust.task(self.task).roster)

    def members(self, edge: str, beacon: bytes = b"") -> Mapping[str, bytes]:
        """Who is in an edge: ids with identity keys.

        Args:
            beacon: that drew them, as this party knows it; where edges are fixed there is none.

        Raises:
            TrustError: no such edge, or a beacon where none is needed, or none where one is.
        """
        if edge not in self.trust.task(self.task).roster:
            raise TrustError(f"{edge!r} is no edge of {self.task!r}")
        if bool(beacon) != self.is_drawn:
            raise TrustError("a beacon is there exactly where members are drawn into edges")
        if not self.is_drawn:
            return self.trust.task(edge_task(self.task, edge)).roster
        roster = self.trust.task(edge_task(self.task, DRAWN)).roster
        return {name: roster[name] for name in _drawn(tuple(roster), self.edges, beacon)[edge]}

    def policy(self, edge: str) -> Policy:
        """Of an edge's rounds."""
        return self.trust.task(edge_task(self.task, DRAWN if self.is_drawn else edge)).policy

    def edge(self, edge: str, beacon: bytes = b"") -> Trust:
        """What is pinned for the rounds of one edge: its members, and its operator as who leads them.

        Raises:
            TrustError: see ``members``.
        """
        pins = TaskTrust(Roster(self.members(edge, beacon)), self.policy(edge))
        operator = Roster({edge: self.trust.task(self.task).roster[edge]})
        return replace(self.trust, tasks={edge_task(self.task, edge): pins}, operators=operator)

    @property
    def top(self) -> Trust:
        """What is pinned for the top's rounds."""
        return replace(self.trust, tasks={self.task: self.trust.task(self.task)})

    def staffed(self) -> int:
        """How many operators the top's backend has beside its aggregator."""
        policy = self.trust.task(self.task).policy
        return backends.load(policy.backend).seats(policy).count


@functools.lru_cache(maxsize=8)
def _drawn(members: tuple[str, ...], edges: tuple[str, ...], beacon: bytes) -> dict[str, tuple[str, ...]]:
    return draw(members, edges, beacon)
