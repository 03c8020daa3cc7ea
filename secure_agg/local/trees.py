"""``aggregate`` over edges: a whole tree's round in one call, all roles in this process."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike

import msgspec

from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.local.asked import Inputs, Settings
from secure_agg.local.book import Book, Cast
from secure_agg.local.rounds import LocalRound
from secure_agg.local.staff import AGGREGATOR, OPERATORS, Staff, staffed, usual_names
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.config.tree import EDGE, LEVEL, TOP, edge_task, policy_on
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster, in_id_order
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.task import Task
from secure_agg.roles.tree.auditor import TreeAuditor, VerifiedTree
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.shared import SharedTree
from secure_agg.roles.tree.top import TreeTop
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.receipt import Receipt

Edges = int | Mapping[str, Collection[str]]
"""How many edges, or who is in which."""


@dataclass(frozen=True)
class TreeAsked:
    """What a call asks for beside what every call does.

    Attributes:
        edges: see ``aggregate``.
        top_backend: of the top round; None: the edges'.
        top_options: its options.
    """

    edges: Edges
    top_backend: str | None
    top_options: Mapping[str, int]


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Played:
    """What a tree's round has come to.

    Attributes:
        tree, edges: all that an auditor needs: the edges' evidence without their sums.
        verified: what that proves.
        receipt: inclusion in the ledger, or None where none was given.
        played: the round, with its traffic and times.
        appended_s: seconds that appending took.
    """

    tree: TreeEvidence
    edges: Mapping[str, Evidence]
    verified: VerifiedTree
    receipt: Receipt | None
    played: TreeRound
    appended_s: float


def members_of(edges: Edges, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Who is in which edge: as it was said, or dealt in order of ids, one after the other.

    Raises:
        ConfigError: fewer than two edges, an empty one, somebody in two or none, an id that is an operator's or a
            client's.
    """
    if isinstance(edges, int):
        if not 2 <= edges <= len(names) // 2:
            raise ConfigError(f"{edges} edges for {len(names)} clients: at least 2, with 2 clients each")
        width = len(str(edges))
        dealt = {f"edge-{i + 1:0{width}d}": tuple(in_id_order(names)[i::edges]) for i in range(edges)}
    else:
        dealt = {name: tuple(in_id_order(members)) for name, members in edges.items()}
        if len(dealt) < 2:
            raise ConfigError(f"a tree has at least 2 edges, not {len(dealt)}")
    seen: dict[str, str] = {}
    for edge, members in dealt.items():
        if edge in OPERATORS or edge in names:
            raise ConfigError(f"{edge!r} is the id of an edge, and of an operator or client", culprit=edge)
        for name in members:
            if name in seen:
                raise ConfigError(f"{name!r} is in the edges {seen[name]!r} and {edge!r}", culprit=name)
            seen[name] = edge
    if missing := sorted(set(names) - set(seen)):
        raise ConfigError(f"{missing[0]!r} is in no edge", culprit=missing[0])
    return dealt


def play(
    asked: TreeAsked,
    settings: Settings,
    inputs: Inputs,
    shapes: tuple[tuple[int, ...], ...],
    *,
    ledger: str | PathLike[str] | Ledger | None,
    task: str,
    number: int | None,
    start_model: bytes | None,
    base_model: bytes,
) -> Played:
    """One attempt at a tree's round.

    Args:
        inputs: of all clients, checked.
        shapes: of the model.
        number: of the round; by default the next.
        base_model: that updates are differences from; zeros where nobody asks.

    Raises:
        See ``aggregate``.
    """
    with ExitStack() as stack:
        book = Book(ledger, task, stack)
        dealt, known = _dealt(book, task, asked, inputs)
        book.known = known
        policy, limit = settings.policy(inputs, known, goes_on=book.is_kept)
        cast = book.cast(replace(inputs, updates={**inputs.updates, **dict.fromkeys(dealt, ())}, weights={}))
        pins = book.tree_pins or _pins(task, policy, asked, dealt, cast, settings.min_clients)
        trust = book.begin_tree(task, pins, cast)
        tree, last = TreeTrust(trust, task), book.last(task)

        def configure(name: str, pinned: Trust) -> RoundConfig:
            return Task(name, pinned, last).next_round(
                shapes, number=number, weight_limit=limit, start_model=start_model, base_model=base_model
            )

        top_config = configure(task, tree.top)
        serving = usual_names(top_config.policy)
        staff = Staff.of(top_config, {name: cast.operators[name] for name in serving})
        top = TreeTop(cast.operators[AGGREGATOR], tree, staffed(top_config, staff.setup), staff.setup)
        edges, shared = {}, SharedTree(tree)
        for edge in tree.edges:
            operator, members = cast.members[edge], tree.members(edge)
            config = configure(edge_task(task, edge), tree.edge(edge))
            clients = {
                name: EdgeClient(cast.members[name], tree, edge, shared=shared)
                for name in members
                if name in inputs.updates
            }
            local = LocalRound(
                EdgeAggregator(operator, config, Roster(members)),
                clients,
                inputs.updates,
                inputs.weights,
                {name: phase for name, phase in inputs.dropouts.items() if name in members},
            )
            edges[edge] = LocalEdge(local, EdgeOperator(operator, tree))
        played = TreeRound(top, edges, staff.roles(tree.top))
        found = played.run()
        kept = {name: top.edges[name] for name in found.edges}
        start = time.perf_counter()
        appended = book.append_tree(found, tuple(kept.values()))
        seconds = time.perf_counter() - start if appended else 0.0
        played.deliver(found)
        verified = TreeAuditor(tree).verify(found, kept.values())
        return Played(found, kept, verified, appended.receipt if appended else None, played, seconds)


def _dealt(
    book: Book, task: str, asked: TreeAsked, inputs: Inputs
) -> tuple[dict[str, tuple[str, ...]], TaskTrust | None]:
    """Who is in which edge, and what is pinned of the tree as if it were one round; None before the first.

    Raises:
        ConfigError: other edges are pinned, or the task is no tree.
    """
    pins = book.tree_pins
    if pins is None:
        if book.known is not None:
            raise ConfigError(f"task {task!r} is pinned without edges: use a new task name")
        return members_of(asked.edges, inputs.updates), None
    tree = TreeTrust(Trust(tasks=pins), task)
    dealt = {edge: tuple(tree.members(edge)) for edge in tree.edges}
    if isinstance(asked.edges, int):
        same = asked.edges == len(dealt)
    else:
        where = {name: edge for edge, members in dealt.items() for name in members}
        same = all(where.get(name) == edge for edge, names in asked.edges.items() for name in names)
    if not same:
        raise ConfigError(f"task {task!r} is pinned with other edges: {', '.join(dealt)}")
    top = pins[task].policy
    flat = msgspec.structs.replace(
        tree.policy(next(iter(dealt))),
        options=tuple(option for option in tree.policy(next(iter(dealt))).options if option.name != LEVEL),
        max_clients=top.max_clients,
    )
    everybody = {name: key for edge in dealt for name, key in tree.members(edge).items()} | dict(pins[task].roster)
    return dealt, TaskTrust(Roster(everybody), flat)


def _pins(
    task: str,
    policy: Policy,
    asked: TreeAsked,
    dealt: Mapping[str, tuple[str, ...]],
    cast: Cast,
    min_clients: int,
) -> dict[str, TaskTrust]:
    """The tasks of a new tree."""

    def roster(names: Collection[str]) -> Roster:
        return Roster({name: cast.members[name].public for name in names})

    top = policy
    if asked.top_backend is not None or asked.top_options:
        backend = asked.top_backend or policy.backend
        top = msgspec.structs.replace(policy, backend=backend, options=Option.list(dict(asked.top_options)))
    pins = {task: TaskTrust(roster(dealt), policy_on(top, TOP, len(dealt), min_clients=2))}
    for edge, members in dealt.items():
        least = min(min_clients, len(members))
        pins[edge_task(task, edge)] = TaskTrust(
            roster(members), policy_on(policy, EDGE, len(members), min_clients=least)
        )
    for item in pins.values():
        backends.load(item.policy.backend).check_policy(item.policy)
    return pins
