"""What a node's training comes to, and how a round's vector takes it."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KEY_BYTES
from secure_agg.errors import ConfigError, PolicyViolation
from secure_agg.fl.layers import MAX_SIGNS, Floats, difference, sign_slots, signs
from secure_agg.plugins.core.metrics import CLIPPED, MetricCodec, metrics_group, scalars
from secure_agg.protocol.claims import DP_SUM
from secure_agg.protocol.clipping import Clipping
from secure_agg.protocol.codec import Arrays, Encoded, clipped_share
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import ADVERTISE, Wire
from secure_agg.roles.auditor import Verified

_log = logging.getLogger("secure_agg.plugins")

CONTROLS: Final = "controls"
"""Name of a group that a federation's policy may have: of what rides beside the model's own arrays."""
OUTSIDE: Final = 2
"""The last arrays of a round that trains, marks and metrics, which no norm bound is of."""


@dataclass(frozen=True, eq=False, repr=False)  # arrays have no truth value, and a node's own stay out of its logs
class Trained:
    """What local training, or evaluation, has come to.

    Attributes:
        arrays: of the new model, shaped like those of the one it was trained from; empty for an evaluation.
        weight: number of examples, 1 to the round's weight limit, see ``FixedPoint.check_weight``.
        metrics: scalars by name.
    """

    arrays: Floats
    weight: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Update:
    """What this node's training has come to, as its vector takes it."""

    arrays: Floats
    weight: int
    metrics: tuple[str, ...]


class MetricNames(Wire, frozen=True):
    """Names of the metrics in a client's vector, in order. They travel in clear: whoever wrote the app knows them."""

    names: tuple[str, ...]


def update_of(trained: Trained, config: RoundConfig, model: Floats, *, trains: bool) -> Update:
    """What a round's vector takes of a node's work.

    Args:
        trained: from ``model``.
        config: of the round.
        trains: whether the round sums updates, and not the metrics of an evaluation only.

    Raises:
        PolicyViolation: it is the other kind of work.
        UpdateError: a metric, or the weight, is unfit.
    """
    if bool(trained.arrays) != trains:
        # Its sums would be over the same work as another round's, and over other nodes: a difference shows one's.
        asked, summed = ("an evaluation", "updates") if trains else ("training", "metrics of an evaluation")
        raise PolicyViolation(f"{asked} was asked for in a round that sums {summed}", phase=ADVERTISE)
    if config.policy.privacy is not None:
        tell_left_out(tuple(trained.metrics))
        return Update(difference(trained.arrays, model), 1, ())
    metrics = scalars(trained.metrics)
    arrays: list[npt.NDArray[Any]] = []
    if trains:
        step = difference(trained.arrays, model)
        metrics = dict(sorted((metrics | {CLIPPED: _clipped(step, config)}).items()))  # names are sent in order
        arrays = [*step, signs(trained.arrays, sign_slots(model, MAX_SIGNS), MAX_SIGNS)]
    codec = MetricCodec(config.policy, config.weight_limit)
    coordinates = codec.encode(metrics, trained.weight, secrets.token_bytes(KEY_BYTES))
    return Update([*arrays, coordinates], trained.weight, tuple(metrics))


def _clipped(step: Floats, config: RoundConfig) -> float:
    """Which part of an update's values will be clipped; of rotated groups that shows only later."""
    clips = {
        index: clip
        for part in config.layout.parts
        if not part.group.rotated
        for index, clip in zip(part.arrays, part.clips, strict=False)
    }
    values = sum(array.size for array in step)
    beyond = (clipped_share([array], clips[i]) * array.size for i, array in enumerate(step) if i in clips)
    return sum(beyond) / max(1, values)


def tell_losses(node: str, config: RoundConfig, encoded: Encoded | None) -> None:
    """Say in a node's log what its update and weight have lost on the way into the vector."""
    if encoded is None:
        return
    if text := Clipping.of([encoded]).text(config):
        _log.warning("%s: %s", node, text)
    if encoded.scale < 1 and config.policy.privacy is not None:
        _log.info("%s: the update was %.3g times the norm that privacy allows", node, 1 / encoded.scale)
    elif encoded.scale < 1:
        _log.warning(
            "%s: the update's norm is above its share of %.6g, the round's bound: it counts %.3g times itself",
            node, config.policy.norm_limit, encoded.scale,
        )  # fmt: skip
    if encoded.given != encoded.weight:
        _log.warning("%s: a weight of %d counts as %d in this round", node, encoded.given, encoded.weight)


def mean_of(verified: Verified) -> tuple[Arrays, npt.NDArray[np.float64] | None]:
    """Of the mean of a round that trains what changes the model, and the signs; None with privacy: there are none."""
    if verified.record.claim == DP_SUM:
        return verified.average, None
    *mean, signs_mean, _ = verified.average
    return mean, signs_mean


def metrics_of(config: RoundConfig, verified: Verified, names: Sequence[str]) -> dict[str, float]:
    """Of the mean of a round the weighted means of its metrics, ``CLIPPED`` only where something was; nothing with
    privacy, since their sums would have no noise.

    Args:
        config: of the round.
        verified: its result.
        names: of the metrics, in the order in which every client has encoded them.
    """
    if config.policy.privacy is not None:
        return {}
    codec = MetricCodec(config.policy, config.weight_limit)
    means = codec.decode(verified.average[-1], names, verified.record.weight_sum, verified.record.participants)
    return {name: value for name, value in means.items() if name != CLIPPED or value}


@functools.lru_cache(maxsize=64)
def tell_left_out(names: tuple[str, ...]) -> None:
    """Say once which metrics do not travel."""
    if names:
        _log.warning("metrics are left out, since they would be summed without noise: %s", ", ".join(sorted(names)))


def round_grouping(policy: Policy, model: Floats, *, trains: bool) -> tuple[int, ...]:
    """Of a round's vector the group of each array: marks and metrics are in ``metrics``, the second half of the model's
    in ``controls`` where there is such a group (SCAFFOLD's control variates), and all others in the main one. Empty
    where the policy has no groups.

    Raises:
        ConfigError: it has groups, and none for metrics.
    """
    if not policy.groups:
        return ()
    names = {group.name: index for index, group in enumerate(policy.groups)}
    main, metrics = names[policy.main.name], names[metrics_group(policy).name]
    if not trains:
        return (metrics,)
    second = names.get(CONTROLS, main)
    half = len(model) // 2 if CONTROLS in names else len(model)
    return (*(main if i < half else second for i in range(len(model))), metrics, metrics)


def round_shapes(policy: Policy, model: Floats, *, trains: bool) -> tuple[tuple[int, ...], ...]:
    """Of a round's vector: the model's arrays and their signs where it trains, and the metrics; with privacy the arrays
    of the model alone, since signs and metrics are summed exactly.

    Raises:
        ConfigError: an evaluation, with privacy.
    """
    if policy.privacy is not None:
        if not trains:
            raise ConfigError(
                "an evaluation sums metrics without noise, which privacy refuses: evaluate on data of the server's own"
            )
        return tuple(array.shape for array in model)
    values = (*(array.shape for array in model), (MAX_SIGNS,)) if trains else ()
    return (*values, (MetricCodec(policy).size,))


def model_shapes(config: RoundConfig) -> tuple[tuple[int, ...], ...]:
    """Of the model's arrays, in a round that trains: see ``round_shapes``."""
    return config.shapes if config.policy.privacy is not None else config.shapes[:-OUTSIDE]
