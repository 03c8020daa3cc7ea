"""What a plan is asked about, and the numbers of a round that follow from it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from mpc import graph
from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES
from mpc.vector_shares import Scheme
from secure_agg.backends.additive import rules as additive
from secure_agg.backends.masking.rules import COMPLETE_UP_TO
from secure_agg.backends.packed import carrier
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import MAX_PARAMETERS, NO_DIGEST, PROTOCOL_VERSION, Layout, Option, Policy, RoundConfig
from zk.parameters import Parameters
from zk.transcript import DIGEST_BYTES

BACKENDS: Final = ("masking", "additive", "bfv", "ckks", "paillier", "plain")
"""What plans are made for. What ``crypten`` costs depends on the function and the engine: measured, not modelled."""

TASK: Final = "some-task"
_USUAL_LIMIT: Final = 1 << 30
_SETUP: Final = ("additive", "bfv", "ckks", "paillier")


@dataclass(frozen=True)
class Setting:
    """One round.

    Attributes:
        backend: one of ``BACKENDS``.
        parameters: d, of the model.
        clients: |G|, members of the cohort.
        bits: q, per value.
        dropout: share of the cohort that falls silent after it has advertised, and before it sends its input.
        max_weight: largest weight.
        name_bytes: length of a client's id.
        operator_bytes: length of an operator's id; the aggregator's is ``aggregator``.
        options: of the backend.

    Raises:
        ConfigError: out of range, insecure, or nobody would be left.
    """

    backend: str
    parameters: int
    clients: int
    bits: int = 16
    dropout: float = 0.0
    max_weight: int = 1
    name_bytes: int = 11
    operator_bytes: int = 10
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"no plan is made for backend {self.backend!r}: {', '.join(BACKENDS)}")
        if not 1 <= self.parameters <= MAX_PARAMETERS:
            raise ConfigError(f"{self.parameters} parameters are outside [1, {MAX_PARAMETERS}]")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"a dropout of {self.dropout} is outside [0, 1)")
        config = self.config  # refuses what a round would refuse
        if self.backend == "additive":
            additive.check_size(config)
        least = max(self.policy.min_clients, self.quorum)
        if self.survivors < least:
            raise ConfigError(
                f"with {self.lost} of {self.clients} clients lost {self.survivors} are left, {least} are needed"
            )

    @functools.cached_property
    def policy(self) -> Policy:
        """The default one for so many clients."""
        return Policy.default(
            self.clients,
            backend=self.backend,
            options=self.options,
            bits=self.bits,
            max_weight=self.max_weight,
            max_parameters=max(_USUAL_LIMIT, self.parameters),
        )

    @functools.cached_property
    def config(self) -> RoundConfig:
        """A round's configuration with the size that a real one has; its digests are zeros."""
        return RoundConfig(
            protocol=PROTOCOL_VERSION,
            task=TASK,
            round=0,
            attempt=0,
            start_model=NO_DIGEST,
            base_model=NO_DIGEST,
            instructions=NO_DIGEST,
            previous_record=NO_DIGEST,
            policy=self.policy,
            weight_limit=self.policy.max_weight,
            shapes=((self.parameters,),),
            cohort_size=self.clients,
            cohort_root=NO_DIGEST,
            beacon=b"",
            operators=NO_DIGEST,
            log_key=b"",
            witnesses=NO_DIGEST,
            setup=bytes(DIGEST_BYTES) if self.backend in _SETUP else b"",
        )

    @property
    def layout(self) -> Layout:
        """Of a client's vector."""
        return self.config.layout

    @property
    def commitment(self) -> Parameters:
        """What the commitment is estimated at."""
        return self.config.commitment

    @property
    def config_bytes(self) -> int:
        """Of the encoded configuration."""
        return len(self.config.to_bytes())

    @property
    def vector_bytes(self) -> int:
        """Of a vector of Z_p, as a client makes it and the evidence holds the sum: 4 for each coordinate."""
        return ELEMENT_BYTES * self.layout.total

    @property
    def share_bytes(self) -> int:
        """Of what is committed to, 4 for each element: a share's (additive)."""
        return ELEMENT_BYTES * self.layout.hashed

    @functools.cached_property
    def carried_bytes(self) -> int:
        """Of a vector as it is sent to be added (masking, plain)."""
        return carrier(self.config).size

    @property
    def commitment_bytes(self) -> int:
        """Of a commitment."""
        return self.commitment.rank * N * ELEMENT_BYTES

    @property
    def lost(self) -> int:
        """Clients that fall silent between their advertisement and their input."""
        return math.floor(self.clients * self.dropout)

    @property
    def survivors(self) -> int:
        """Clients whose sum is opened."""
        return self.clients - self.lost

    @property
    def advertised(self) -> int:
        """|U|. With ``additive`` clients speak once, so who falls silent has not advertised either."""
        return self.survivors if self.backend == "additive" else self.clients

    @property
    def quorum(self) -> int:
        """t_sig."""
        return self.policy.quorum(self.clients)

    @functools.cached_property
    def degree(self) -> graph.Degree | None:
        """Neighbours that each client chooses and how many rebuild a secret; None on a complete graph (masking)."""
        if self.clients <= self.policy.option(COMPLETE_UP_TO, graph.COMPLETE_UP_TO):
            return None
        dropped = max(1, math.floor(self.clients * graph.EXPECTED_DROPOUT))
        return graph.degree(self.clients, self.policy.max_corrupt, dropped)

    @property
    def scheme(self) -> Scheme:
        """How updates are shared (additive)."""
        return additive.scheme(self.policy)
