"""Which strategies still compute what they say when the one reply they get is the mean of all.

Secure aggregation lets out one weighted mean per round. A strategy that compares, sorts or reweights clients' replies
would go on without an error and compute something else, and noise for differential privacy would be scaled to another
sensitivity. Those are refused.
"""

from __future__ import annotations

from types import MethodType
from typing import Final

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import FEDADAGRAD, FEDADAM, FEDAVGM, FEDYOGI, PLAIN, ServerOptimizer
from secure_agg.plugins.flower.logs import logger

_FROM_THE_MEAN: Final = frozenset(kind.aggregate_train for kind in (FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi))
"""What computes the next model from the weighted mean alone; FedProx and plain subclasses inherit one of these."""


def check(strategy: Strategy, *, custom: bool) -> None:
    """Refuse a strategy that needs more than the mean.

    Args:
        strategy: as the app made it.
        custom: its author says that its ``aggregate_train`` works on one reply that holds the mean.

    Raises:
        ConfigError: names the strategy, the reason and what to do.
    """
    name = type(strategy).__name__
    if type(strategy).aggregate_train not in _FROM_THE_MEAN and not custom:
        raise ConfigError(
            f"{name} computes the model from every client's own reply, and secure aggregation lets out their weighted "
            "mean only: use FedAvg, FedAvgM, FedProx, FedAdagrad, FedAdam or FedYogi, or, where its aggregate_train "
            "works on one reply that holds the mean, SecureGrid(..., custom_strategy=True)"
        )
    if not isinstance(strategy, FedAvg):
        return
    if {strategy.train_metrics_aggr_fn, strategy.evaluate_metrics_aggr_fn} != {aggregate_metricrecords}:
        logger.warning("%s's own functions for metrics are given one reply, which holds the means of all clients", name)


def check_sample(strategy: Strategy, members: int, cohort: int) -> None:
    """Refuse a strategy that samples other than the pinned policy does, and replace how it samples.

    The nodes of a round are drawn by the pinned beacon, or all of them: whom the strategy picks does not count. So it
    has to say as many as they are.

    Args:
        strategy: as the app made it.
        members: of the roster.
        cohort: how many of them are drawn for a round; 0 for all.

    Raises:
        ConfigError: its fractions come to another number; says which would do.
    """
    if not isinstance(strategy, FedAvg):
        return
    train, evaluate = strategy.fraction_train, strategy.fraction_evaluate
    if not cohort:
        if train != 1.0 or evaluate not in (0.0, 1.0):
            raise ConfigError(
                f"fraction_train={train:g} and fraction_evaluate={evaluate:g}: a round is of the whole pinned roster, "
                "so the first must be 1.0, the second 1.0 or 0.0. Homes made with --sample have some of it drawn"
            )
        return
    asked = max(int(members * train), strategy.min_train_nodes)
    evaluated = max(int(members * evaluate), strategy.min_evaluate_nodes) if evaluate else cohort
    if (asked, evaluated) != (cohort, cohort):
        raise ConfigError(
            f"fraction_train={train:g} is {asked} of {members} nodes and fraction_evaluate={evaluate:g} is "
            f"{evaluated if evaluate else 0}, and the pinned beacon draws {cohort}: set them to {cohort / members:.6g} "
            f"(evaluation also to 0.0), or min_train_nodes={cohort} and min_evaluate_nodes={cohort} with a smaller one"
        )
    logger.info("a public beacon draws the %d of %d nodes of a round, in place of the strategy", cohort, members)


def optimizer(strategy: Strategy) -> ServerOptimizer:
    """What a strategy makes of the mean, with its own settings; FedAvg where it adds the mean to the model."""
    match strategy:
        case FedAvgM():
            rate, momentum = strategy.server_learning_rate, strategy.server_momentum
            return ServerOptimizer.create(FEDAVGM, learning_rate=rate, momentum=momentum)
        case FedAdam() | FedYogi():
            name = FEDADAM if isinstance(strategy, FedAdam) else FEDYOGI
            return ServerOptimizer.create(
                name,
                learning_rate=strategy.eta,
                momentum=strategy.beta_1,
                second=strategy.beta_2,
                tau=strategy.tau,
            )
        case FedAdagrad():
            return ServerOptimizer.create(
                FEDADAGRAD, learning_rate=strategy.eta, momentum=strategy.beta_1, tau=strategy.tau
            )
        case _:
            return PLAIN


def settle(strategy: Strategy, pinned: ServerOptimizer, *, checked: bool) -> None:
    """Have the strategy go on from the model that every node computes too.

    The one reply that it gets holds that model already, so a stock strategy with an optimizer is left with averaging
    one reply: its own step, in other types and from moments of its own, would come to other bits.

    Args:
        strategy: stock, or what its author says works on the mean.
        pinned: what the homes compute the next model with.
        checked: whether nodes' homes check models at all; where they don't, the reply holds the plain mean.

    Raises:
        ConfigError: the strategy is set to something else than is pinned; says what to pin or to set.
    """
    name = type(strategy).__name__
    if not checked:
        logger.warning("homes of this federation are made to take any model: nothing keeps %s from crafting one", name)
        return
    if type(strategy).aggregate_train not in _FROM_THE_MEAN:
        logger.warning("nodes refuse what %s makes of the mean, unless it is the model that they compute too", name)
        return
    asked = optimizer(strategy)
    # Flower has no strategy that does SCAFFOLD or FedNova: one that averages carries what they need.
    if asked != pinned and not (pinned.beside and asked == PLAIN):
        raise ConfigError(
            f"{name} is '{asked}' to a node, and the homes are made with '{pinned}': nodes compute every model "
            "themselves and would refuse this strategy's. Set it as is pinned, or make the homes anew"
        )
    if pinned != PLAIN:
        logger.info("the step of %s is computed in float64, as every node does: %s", name, pinned)
        # Flower has no other place between a strategy's average and its step.
        strategy.aggregate_train = MethodType(FedAvg.aggregate_train, strategy)  # type: ignore[method-assign]


def await_nodes(strategy: Strategy, count: int) -> None:
    """Have the strategy wait for ``count`` nodes before a round, as it does for its own ``min_available_nodes``."""
    if isinstance(strategy, FedAvg) and strategy.min_available_nodes < count:
        logger.info("min_available_nodes is raised to %d, which the pinned policy needs", count)
        strategy.min_available_nodes = count


def check_weight(strategy: Strategy, pinned: str) -> None:
    """Refuse a strategy that weighs by another metric than the nodes have pinned: they would not follow it.

    Raises:
        ConfigError: names both.
    """
    wanted = strategy.weighted_by_key if isinstance(strategy, FedAvg) else pinned
    if wanted != pinned:
        raise ConfigError(
            f"the strategy weighs replies by {wanted!r}, and what is pinned is {pinned!r}: set weighted_by_key, or "
            f"make the homes, the server's and every node's, with --weight-key {wanted}"
        )
