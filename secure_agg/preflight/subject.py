"""What is looked at: a policy for so many clients, and what else is known of those who would work by it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from secure_agg.errors import ConfigError
from secure_agg.protocol.claims import SUM, in_order
from secure_agg.protocol.config import MAX_PARAMETERS, Policy
from secure_agg.protocol.config.settings import MAX_CLIENTS, within
from secure_agg.roles.trust import TaskTrust, Trust


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What a party has pinned beside the policy: numbers, and no keys.

    Attributes:
        log: whether a ledger's key is.
        witnesses: of that ledger, how many are, and
        witnessed_by: how many of them must have cosigned; 0 if none need have.
        operators: how many are.
        beacon: whether the source of the draws is.
        claims: that are accepted.
        epoch: the one in force.
    """

    log: bool
    witnesses: int
    witnessed_by: int
    operators: int
    beacon: bool
    claims: tuple[str, ...] = (SUM,)
    epoch: int = 0

    @staticmethod
    def of(trust: Trust, task: TaskTrust) -> Pins:
        """Those of a trust file, for one of its tasks."""
        return Pins(
            log=trust.log is not None,
            witnesses=len(trust.witnesses),
            witnessed_by=trust.quorum or 0,
            operators=len(trust.operators),
            beacon=task.beacon is not None,
            claims=tuple(in_order(task.claims)),
            epoch=task.epoch,
        )


@dataclass(frozen=True, kw_only=True)
class Party:
    """Whose home it is.

    Attributes:
        kind: ``client``, ``server``, ``operator``, or ``federation`` for the folder of all of them.
        name: the party's id; of a federation its server's.
        checks_model: whether models are refused that do not follow from the first one; None of an operator, whom no
            model reaches.
        pins_start: whether the first model is pinned; None likewise.
        keys_together: private keys of members that lie in one place.
    """

    kind: str
    name: str
    checks_model: bool | None = None
    pins_start: bool | None = None
    keys_together: int = 0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        policy: of the task.
        clients: members of the roster.
        task: its id, where there is one already.
        parameters: d, of the model; None where nobody has said, and nothing is known of costs.
        rounds: of the task, those that have been among them; None for as many as a privacy budget is for, else unknown.
        lost: share of the clients that fall silent in a round, after they have advertised.
        spent: rounds with differential privacy that were signed already, by their noise ratio in 1024ths.
        spent_by: who has counted them, in words.
        pins: None where a policy alone is looked at.
        party: None where it is no home.

    Raises:
        ConfigError: a number is out of range.
    """

    policy: Policy
    clients: int
    task: str | None = None
    parameters: int | None = None
    rounds: int | None = None
    lost: float = 0.0
    spent: Mapping[int, int] = field(default_factory=dict)
    spent_by: str = ""
    pins: Pins | None = None
    party: Party | None = None

    def __post_init__(self) -> None:
        within("clients", self.clients, 1, MAX_CLIENTS)
        if self.parameters is not None:
            within("parameters", self.parameters, 1, MAX_PARAMETERS)
        if self.rounds is not None:
            within("rounds", self.rounds, 1, 2**53)
        if not 0 <= self.lost < 1:
            raise ConfigError(f"lost is {self.lost}, outside [0, 1): it is a share of the clients of a round")

    @property
    def cohort(self) -> int:
        """Clients of a round."""
        return self.policy.cohort_size or self.clients

    @functools.cached_property
    def weight_limit(self) -> int:
        """M of a round: the task's first, or the largest that the policy's bounds of error and norm let a round have.

        A policy may leave room for any weight, and each round then has a limit of its own.
        """
        policy = self.policy
        if policy.first_weight:
            return policy.first_weight
        low, high = 1, policy.max_weight
        if _bears(policy, high):
            return high
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if _bears(policy, middle) else (low, middle - 1)
        return low

    @property
    def needed(self) -> int:
        """The fewest clients whose sum is opened: n_min, and t_sig."""
        return max(self.policy.min_clients, self.policy.quorum(self.cohort))


def _bears(policy: Policy, weight_limit: int) -> bool:
    try:
        policy.check_error(weight_limit)
        policy.norm_bound(weight_limit)
    except ConfigError:
        return False
    return True
