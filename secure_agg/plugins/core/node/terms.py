"""Whether a round is one that this home may be asked to join: its vector, weight limit and clips follow from what is
pinned here, and verified.
"""

from __future__ import annotations

from secure_agg.errors import PolicyViolation, WrongContext
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core.epochs.node import check_may_join
from secure_agg.plugins.core.node.guard import Guard
from secure_agg.plugins.core.training import round_grouping, round_shapes
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.layout import first_clips
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.roles.memory import results


def check_round(home: ClientHome, guard: Guard, config: RoundConfig, model: Floats) -> None:
    """Whether a round that the roles would join is one of this home's, from this model.

    Raises:
        WrongContext: it is of another task, or its vector is not what this model and the metrics need.
        PolicyViolation: its weights are limited, or its clips are, by what does not follow from what is pinned and
            verified; or this node sits it out, see ``check_may_join``.
        AnotherModel: see ``Guard.check``.
    """
    if config.task not in (home.task, home.task + EVALUATION):
        raise WrongContext(f"the round is of task {config.task!r}, this node's is {home.task!r}")
    if config.shapes != round_shapes(config.policy, model, trains=config.task == home.task):
        raise WrongContext("the round's arrays are not those of the model and its metrics")
    if config.grouping != round_grouping(config.policy, model, trains=config.task == home.task):
        raise WrongContext("the round's arrays are in other groups than this node's")
    _check_limit(home, config)
    _check_clips(home, config)
    check_may_join(home, config)
    guard.check(config)  # whose base_model is the digest of this model


def _check_limit(home: ClientHome, config: RoundConfig) -> None:
    """Refuse a weight limit that does not follow from what is pinned and verified. A server that could choose it
    would read a node's weight off its refusals, by halves, and off the counts of weights that were limited.

    Raises:
        PolicyViolation: it is another one, whatever this node weighs.
    """
    policy, due = config.policy, config.policy.first_weight or config.policy.max_weight
    if policy.weight_scale and config.previous_record != NO_DIGEST:
        after = results.weight_limit_after(home.store, home.name, config.task, config.previous_record)
        if after is None:
            raise PolicyViolation("the round follows from a result that this node has not verified")
        due = min(after or due, policy.max_weight)  # an evaluation's may be of the epoch before
    if config.weight_limit != due:
        raise PolicyViolation(f"the round's weights are limited to {config.weight_limit}, and it has to be {due}")


def _check_clips(home: ClientHome, config: RoundConfig) -> None:
    """Refuse adaptive clips that do not follow from what is pinned and verified: a server that could choose them
    would learn who is within which.

    Raises:
        PolicyViolation: they are others.
    """
    due = first_clips(config.policy.groups, config.grouping)
    if config.previous_record != NO_DIGEST:
        after = home.store, home.name, config.task, config.previous_record
        if due and results.weight_limit_after(*after) is None:
            raise PolicyViolation("the round's clips follow from a result that this node has not verified")
        due = results.clips_after(*after) or due
    if config.clips != due:
        raise PolicyViolation("the round's adaptive clips do not follow from the result before it")
