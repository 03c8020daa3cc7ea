"""Which strategies still compute what they say when the one reply they get is the mean of all.

Secure aggregation lets out one weighted mean per round. A strategy that compares, sorts or reweights clients' replies
would go on without an error and compute something else, and noise for differential privacy would be scaled to another
sensitivity. Those are refused.
"""

from __future__ import annotations

from typing import Final

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from secure_agg.errors import ConfigError
from secure_agg.plugins.flower.logs import logger

_FROM_THE_MEAN: Final = frozenset(kind.aggregate_train for kind in (FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi))
"""What computes the next model from the weighted mean alone; FedProx and plain subclasses inherit one of these."""


def check(strategy: Strategy, *, custom: bool) -> None:
    """Refuse a strategy that needs more than the mean, or asks only some of the clients.

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
    if strategy.fraction_train != 1.0 or strategy.fraction_evaluate not in (0.0, 1.0):
        raise ConfigError(
            f"fraction_train={strategy.fraction_train:g} and fraction_evaluate={strategy.fraction_evaluate:g}: a round "
            "is of the whole pinned roster, so the first must be 1.0, the second 1.0 or 0.0"
        )
    if {strategy.train_metrics_aggr_fn, strategy.evaluate_metrics_aggr_fn} != {aggregate_metricrecords}:
        logger.warning("%s's own functions for metrics are given one reply, which holds the means of all clients", name)


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
