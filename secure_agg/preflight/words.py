"""What a policy costs in trust, and what it bounds, in sentences."""

from __future__ import annotations

from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.norm import factor
from secure_agg.protocol.norm.claim import NormClaim


def price(policy: Policy, clients: int) -> str:
    """What draws and dropouts cost in trust.

    Args:
        clients: members of the roster.
    """
    cohort = policy.cohort_size or clients
    drawn = f"{cohort} drawn for a round, " if policy.cohort_size else ""
    return (
        f"{drawn}{cohort - policy.min_advertised} of {cohort} may be missing, and {policy.max_corrupt} corrupt: "
        f"{100 * float(policy.bearable(clients)):.3g}% of all clients"
    )


def norm_claim(policy: Policy, weight_limit: int | None = None) -> NormClaim | None:
    """How far influence is bounded in rounds of this policy; None where it is not.

    Args:
        weight_limit: of the rounds; by default the policy's first, or its largest weight.
    """
    bound = policy.norm_bound(weight_limit or policy.first_weight or policy.max_weight)
    return NormClaim(policy.norm_limit, factor(bound, policy.max_corrupt)) if bound else None
