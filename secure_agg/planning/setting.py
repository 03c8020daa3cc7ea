"""What a plan is asked about, and the numbers of a round that follow from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES
from secure_agg import backends
from secure_agg.backends.contract import Backend
from secure_agg.errors import ConfigError
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import (
    MAX_PARAMETERS,
    NO_DIGEST,
    PROTOCOL_VERSION,
    GroupedConfig,
    Option,
    Policy,
    RoundConfig,
)
from secure_agg.protocol.config.thresholds import MOST_DROPOUT, USUAL_DROPOUT
from zk.transcript import DIGEST_BYTES

_USUAL_LIMIT: Final = 1 << 30


@dataclass(frozen=True)
class Setting:
    """One round.

    Attributes:
        backend: its name.
        parameters: d, of the model.
        clients: n, members of the cohort.
        bits: q, per value.
        dropout: share of the cohort that falls silent after it has advertised, and before it sends its input.
        max_weight: largest weight.
        options: of the backend.
        norm_bound: of every update; None where none is bounded.
        own: the policy, where it is not the default one for so many clients: see ``of``.
        weight_limit: M; by default the policy's first, or its largest weight.
        privacy: differential privacy of the task's results; None where there is none, or where the policy says it.
        min_clients: n_min, fewest clients whose sum is opened.

    Raises:
        ConfigError: out of range, insecure, or nobody would be left.
    """

    backend: str
    parameters: int
    clients: int
    bits: int = 16
    dropout: float = 0.0
    max_weight: int = 1
    options: tuple[Option, ...] = ()
    norm_bound: float | None = None
    own: Policy | None = None
    weight_limit: int | None = None
    privacy: Privacy | None = None
    min_clients: int = 3

    @staticmethod
    def of(
        policy: Policy, parameters: int, clients: int, dropout: float = 0.0, weight_limit: int | None = None
    ) -> Setting:
        """A round of a policy that is there already.

        Args:
            policy: as it is pinned, or will be.
            parameters: d.
            clients: members of the roster; of a cohort that is drawn as many as are.
            dropout, weight_limit: see ``Setting``.

        Raises:
            ConfigError: see ``Setting``; or the backend is not installed.
        """
        known = {rule.name for rule in backends.load(policy.backend).options}
        return Setting(
            policy.backend,
            parameters,
            policy.cohort_size or clients,
            policy.bits,
            dropout,
            policy.max_weight,
            tuple(option for option in policy.options if option.name in known),
            policy.norm_limit or None,
            policy,
            weight_limit,
        )

    def with_bits(self, bits: int) -> Setting:
        """The same with so many bits per value.

        Raises:
            ConfigError: its policy can't have them.
        """
        own = None if self.own is None else msgspec.structs.replace(self.own, bits=bits)
        return replace(self, bits=bits, own=own)

    def __post_init__(self) -> None:
        if not 1 <= self.parameters <= MAX_PARAMETERS:
            raise ConfigError(f"{self.parameters} parameters are outside [1, {MAX_PARAMETERS}]")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"a dropout of {self.dropout} is outside [0, 1)")
        if self.privacy is not None:
            self.kind.check_policy(self.policy)  # not every backend's rounds can have noise
        self.amounts("client")  # refuses what a round would refuse
        least = max(self.policy.min_clients, self.policy.quorum(self.clients))
        if self.survivors < least:
            raise ConfigError(
                f"with {self.lost} of {self.clients} clients lost {self.survivors} are left, {least} are needed"
            )

    @functools.cached_property
    def kind(self) -> Backend:
        """The backend."""
        return backends.load(self.backend)

    @functools.cached_property
    def policy(self) -> Policy:
        """The default one for so many clients, unless there is one."""
        if self.own is not None:
            return self.own
        return Policy.default(
            self.clients,
            backend=self.backend,
            options=self.options,
            bits=self.bits,
            max_weight=self.max_weight,
            dropout=min(max(self.dropout, USUAL_DROPOUT), MOST_DROPOUT),
            max_parameters=max(_USUAL_LIMIT, self.parameters),
            norm_bound=self.norm_bound,
            privacy=self.privacy,
            min_clients=self.min_clients,
        )

    @functools.cached_property
    def config(self) -> RoundConfig:
        """A round's configuration; its digests are zeros."""
        operated, policy = self.kind.seats(self.policy).count, self.policy
        make: Callable[..., RoundConfig] = RoundConfig
        if policy.groups:
            make = functools.partial(GroupedConfig.of, (), None)
        outside: tuple[tuple[int, ...], ...] = ((1,),) * (policy.norm.outside if policy.norm else 0)
        return make(
            protocol=PROTOCOL_VERSION,
            task="some-task",
            round=0,
            attempt=0,
            epoch=0,
            generation=0,
            draw=0,
            start_model=NO_DIGEST,
            base_model=bytes([1]) * DIGEST_BYTES if policy.buffer else NO_DIGEST,
            instructions=NO_DIGEST,
            previous_record=NO_DIGEST,
            renounced=NO_DIGEST,
            policy=policy,
            weight_limit=self.weight_limit or policy.first_weight or policy.max_weight,
            shapes=((self.parameters,), *outside),
            cohort_size=self.clients,
            cohort_root=NO_DIGEST,
            beacon=bytes(DIGEST_BYTES) if policy.cohort_size else b"",
            operators=NO_DIGEST,
            log_key=b"",
            witnesses=NO_DIGEST,
            setup=bytes(DIGEST_BYTES) if operated else b"",
        )

    @property
    def phases(self) -> tuple[str, ...]:
        """Of the backend, in order."""
        return tuple(phase.name for phase in self.kind.phases(self.config))

    @property
    def share_bytes(self) -> int:
        """Of what is committed to, 4 for each element."""
        return ELEMENT_BYTES * self.config.layout.hashed

    @property
    def sum_bytes(self) -> int:
        """Of the sum as evidence holds it, 4 for each coordinate."""
        return ELEMENT_BYTES * self.config.layout.total

    @property
    def commitment_bytes(self) -> int:
        """Of a commitment."""
        return self.config.commitment.rank * N * ELEMENT_BYTES

    @property
    def lost(self) -> int:
        """Clients that fall silent between their advertisement and their input; of a half more than the other stay."""
        lost = math.floor(self.clients * self.dropout)
        return min(lost, (self.clients - 1) // 2) if self.dropout <= MOST_DROPOUT else lost

    @property
    def survivors(self) -> int:
        """Clients whose sum is opened."""
        return self.clients - self.lost

    def amounts(self, role: str) -> dict[str, float]:
        """What the costs of one party of a role grow with: what all rounds have in common, and the backend's own.

        Everybody hears of everybody: ``openings`` are bytes of all survivors' commitments. Whoever serves all clients
        handles all ``inputs`` and ``models`` in bytes and values, and lists of so many entries to as many parties: all
        clients to all (``pairs``), survivors to all (``results``), survivors to survivors (``votes``). Where a norm is
        bounded a client makes one proof (``bounded``), whoever sketches has so many values (``sketched``), and the
        survivors' sketches are heard of (``sketches``), by all (``all sketches``). A backend that says one of these by
        the same name knows better.
        """
        n, s, d = float(self.clients), float(self.survivors), float(self.parameters)
        hidden = self.kind.usual_size(self.config)
        found = {"one": 1.0, "clients": n, "openings": s * self.commitment_bytes, "values": d, "hidden": hidden}
        proved = float(self.norm_bound is not None)
        found |= {"bounded": proved, "sketched": proved * d, "sketches": proved * s}
        side = role if role in ("client", "aggregator") else "operator"
        if side != "client":
            found |= {"inputs": s * hidden, "models": n * d, "pairs": n * n, "results": n * s, "votes": s * s}
            found |= {"all sketches": proved * n * s}
        own = self.kind.amounts(self.config, self.survivors).get(side, {})
        return found | {name if name in found else f"its {name}": amount for name, amount in own.items()}
