"""Settings that the measurements share: who takes part in a round, with which keys and pins.

Identities and attempt secrets follow from a client's name. A client that is made anew therefore answers the same
requests with the same bytes, which is how one client's part is repeated without the rest of its round.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc import graph
from mpc.keys import KeyPair
from secure_agg import backends
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.local.staff import Staff, staffed
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory.attempt import Attempt
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust
from zk import parameters

FEWEST_CLIENTS: Final = 3
KERNELS_ONLY: Final = "kernels only: below the security bound"
_TASK: Final = "benchmark"
OPERATOR: Final = "aggregator"
"""Who coordinates every round."""


@dataclass(frozen=True)
class Options:
    """What the core suite is run with.

    Attributes:
        params: model parameters d.
        clients: headroom of the sums, and the cohort of the aggregator's part.
        neighbours: K, masks beside the client's own; the client's part runs with K + 1 clients.
        bits: per value.
        repeat: repetitions of everything that is repeated.

    Raises:
        ValueError: one is out of range, or together they would not be secure.
    """

    params: int
    clients: int
    neighbours: int
    bits: int
    repeat: int

    def __post_init__(self) -> None:
        if self.params < 1 or self.repeat < 1:
            raise ValueError(f"--params {self.params} and --repeat {self.repeat} must be 1 or more")
        if self.clients < FEWEST_CLIENTS:
            raise ValueError(f"--clients {self.clients} is below {FEWEST_CLIENTS}, the fewest whose sum is opened")
        most = min(self.clients, graph.COMPLETE_UP_TO) - 1
        if not FEWEST_CLIENTS - 1 <= self.neighbours <= most:
            raise ValueError(
                f"--neighbours {self.neighbours} is outside [{FEWEST_CLIENTS - 1}, {most}] for {self.clients} clients"
            )
        Policy.default(self.clients, bits=self.bits)
        parameters.choose(self.bits, self.clients, self.params)


def degree_note(neighbours: int, clients: int) -> str:
    """Whether so many neighbours are secure in a cohort of ``clients``, and in which cohort they are."""
    needed = clients - 1
    if clients > graph.COMPLETE_UP_TO:
        corrupt = Policy.default(clients).max_corrupt
        found = graph.degree(clients, corrupt, math.floor(clients * graph.EXPECTED_DROPOUT))
        needed = found.neighbours if found else needed
    if neighbours >= needed:
        return f"secure for {clients} clients"
    return (
        f"{KERNELS_ONLY} of {needed} neighbours for {clients} clients; "
        f"secure as the complete graph of {neighbours + 1} clients"
    )


def update(params: int) -> npt.NDArray[np.float32]:
    """A trained update as its values usually look; the same at each call."""
    return np.random.default_rng(0).standard_normal(params, dtype=np.float32)


def seed(name: str) -> bytes:
    """The secret of the identity of that name."""
    return hashlib.sha256(f"benchmark identity {name}".encode()).digest()


def identity(name: str) -> Identity:
    """The identity of that name."""
    return Identity(name, seed(name))


def channel(name: str) -> KeyPair:
    """The key pair that shares are sealed to, of the aggregator of that name."""
    return KeyPair.from_secret(hashlib.sha256(f"benchmark channel {name}".encode()).digest())


def client(name: str, trust: Trust) -> Client:
    """The client of that name, in the state before it joins."""
    return Client(identity(name), trust, entropy=entropy(name))


def entropy(name: str) -> Callable[[int], bytes]:
    """What the attempt secrets of the client of that name are drawn from."""
    return lambda size: hashlib.shake_256(f"benchmark {name}".encode()).digest(size)


def rounding_key(name: str, config: RoundConfig) -> bytes:
    """What the client of that name rounds with in a round, so that its encoding can be known to the last step."""
    with AttemptStore() as store:
        attempt = Attempt(store, name, config)
        attempt.begin(entropy(name))
        return attempt.derive("rounding")


@dataclass(frozen=True)
class Federation:
    """Everything that a round's parties hold before it starts.

    Attributes:
        names: of the clients.
        trust: what all of them have pinned.
        config: the round's.
        setup: a homomorphic backend's certified key, or the channel keys of those who share updates; else empty.
        holders: who hold the key's secret, by name. They open one sum, so one round is all they serve.
        sharing: names of those who share updates.
    """

    names: tuple[str, ...]
    trust: Trust
    config: RoundConfig
    setup: bytes = b""
    holders: Mapping[str, KeyHolder] = field(default_factory=dict)
    sharing: tuple[str, ...] = ()

    @staticmethod
    def of(
        clients: int,
        params: int,
        bits: int = 16,
        *,
        backend: str = "masking",
        options: Mapping[str, int] | None = None,
        headroom: int | None = None,
        norm_bound: float | None = None,
    ) -> Federation:
        """A federation of ``clients`` members, default policy, one array of ``params``.

        Args:
            clients: members, all of them in the round.
            params: of the model.
            bits: per value.
            backend: how updates are hidden; a fresh key is made where it needs one.
            options: the backend's own.
            headroom: clients that the sums have room for; by default as many as there are.
            norm_bound: of every update; by default none is bounded.
        """
        names = tuple(f"client-{i:04d}" for i in range(clients))
        chosen = tuple(Option(name, value) for name, value in sorted((options or {}).items()))
        policy = Policy.default(
            clients, bits=bits, backend=backend, options=chosen, max_clients=headroom, norm_bound=norm_bound
        )
        kind = backends.load(backend)
        holding = tuple(f"holder-{i:02d}" for i in range(kind.keys.seats(policy).count if kind.keys else 0))
        sharing = tuple(f"sharing-{i:02d}" for i in range(kind.shares.seats(policy).count if kind.shares else 0))
        roster = Roster({name: identity(name).public for name in names})
        operators = Roster({name: identity(name).public for name in (OPERATOR, *holding, *sharing)})
        trust = Trust({_TASK: TaskTrust(roster, policy)}, operators)
        config = Task(_TASK, trust).next_round(((params,),))
        staff = Staff.of(
            config,
            {name: identity(name) for name in (*holding, *sharing)},
            channels={name: channel(name) for name in sharing},
        )
        roles = staff.roles(trust)
        holders = {name: role for name, role in roles.items() if isinstance(role, KeyHolder)}
        return Federation(names, trust, staffed(config, staff.setup), staff.setup, holders, sharing)

    def aggregator(self, executor: Executor = IN_PROCESS) -> Aggregator:
        """The aggregator, before it starts."""
        return Task(_TASK, self.trust).lead(self.operator, self.config, self.setup, executor=executor)

    def clients(self) -> dict[str, Client]:
        """All clients, by name."""
        return {name: client(name, self.trust) for name in self.names}

    def share_holders(self) -> dict[str, ShareHolder]:
        """New ones, by name, who have served no round; the name of each sets its keys."""
        return {name: ShareHolder(identity(name), self.trust, channel(name)) for name in self.sharing}

    def updates(self, values: npt.NDArray[Any]) -> dict[str, list[npt.NDArray[Any]]]:
        """The same update for every client; their commitments differ all the same, by their randomness."""
        return {name: [values] for name in self.names}

    @property
    def cohort(self) -> Roster:
        """The roster."""
        return self.trust.cohort(_TASK)

    @property
    def operator(self) -> Identity:
        """The aggregator's identity."""
        return identity(OPERATOR)
