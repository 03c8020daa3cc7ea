"""Metrics as coordinates of the hidden vector, so that nobody learns more of them than their weighted means.

The codec clips and rounds to one step, which suits no quantity whose size isn't known beforehand. Several scales with a
sign of which one a client needed would tell too much: the sum at a coarse scale less that at a fine one is what the
one client reported that needed the coarse one. So weight · metric is an exact integer here, written in digits that the
codec carries without rounding, one digit in one coordinate:

    Z = weight · round(metric · 2^32) = Σ_j D_j · 3^j

The digits are signed and redundant: D_j may be anything that is Z's next digit modulo 3, and is drawn from all that
the codec has room for, what is left over being carried on. So the sum of the clients' D_j tells what Σ Z tells, and
beside it only sums of random carries. Between two ways in which clients may have come to one Σ Z, the statistical
distance is of the order of (clients · digits) / (2 · room / 3), with the room for a digit of the heaviest honest
client, min(H · weight / weight limit, 2^16): hidden in any one round, and not perfectly.

A digit D is given to the codec as v = D · step · weight limit / weight, which is D steps of it, but for eight roundings
to float64: less than 2^-33 for |D| ≤ 2^16, so that no word of the codec's rounding moves it. Metrics are for backends
whose result is the sum of what clients committed to.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from secure_agg.errors import ConfigError, LocalProtocolError
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Group, Policy

MAX_METRICS: Final = 16
"""Metrics of an app in a round; every vector has coordinates for so many and one of this package's own, whatever is
reported.
"""
CLIPPED: Final = "secure-agg-clipped"
"""The metric that nodes add where they train: the share of the update's values that was clipped, in [0, 1]. It
is reported where something was.
"""
LARGEST: Final = 2.0**36
"""A metric above this in size counts as one that is not finite."""
RESOLUTION: Final = 2.0**-32
"""Metrics are rounded to its multiples."""
METRICS: Final = "metrics"
"""Name of the group of marks and metrics, where a federation's policy has groups."""
MIN_BITS: Final = 12
"""A policy of fewer bits carries no metrics: there is no room for carries that would hide anything."""

_BASE: Final = 3
_SLOTS: Final = MAX_METRICS + 1
_WIDEST: Final = 1 << 16
"""A digit is encoded exactly up to this size."""
_log = logging.getLogger("secure_agg.plugins")


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that a round carries, of those that an app reports: its numbers, in name order, at most
    ``MAX_METRICS``. What is left out is named in a warning, once.
    """
    numbers = sorted(name for name, value in metrics.items() if isinstance(value, Real))
    _warn_once("lists and other metrics that are no numbers are left out", tuple(sorted(set(metrics) - set(numbers))))
    _warn_once(f"metrics beyond the first {MAX_METRICS} in name order are left out", tuple(numbers[MAX_METRICS:]))
    return {name: _as_float(metrics[name]) for name in numbers[:MAX_METRICS]}


@functools.lru_cache(maxsize=64)
def _warn_once(what: str, names: tuple[str, ...]) -> None:
    if names:
        _log.warning("%s: %s", what, ", ".join(names))


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond float64
        return math.inf


def metrics_group(policy: Policy) -> Group:
    """The group that marks and metrics are in: ``metrics``, or the only one.

    Raises:
        ConfigError: the policy has groups, and none that can hold them.
    """
    if not policy.groups:
        return policy.main
    found = next((group for group in policy.groups if group.name == METRICS), None)
    if found is None or found != Group(name=METRICS, bits=found.bits, clip=found.clip, weighted=False):
        raise ConfigError(
            f"a federation's groups hold one of the name {METRICS!r} for marks and metrics: signed, not weighted, "
            "pinned, and sent as a whole"
        )
    return found


class MetricCodec:
    """Metrics to coordinates and back, for one policy and weight limit.

    Coordinates of one metric: how many clients' was not finite, as a digit; then the digits of Z, least significant
    first.
    """

    def __init__(self, policy: Policy, weight_limit: int | None = None) -> None:
        """``weight_limit``: of the round; ``size`` is the same for all of a policy's rounds."""
        self._fixed = FixedPoint(policy, weight_limit)
        group = metrics_group(policy)
        self._half, self._clip, self._step = group.half, group.clip, group.step
        self._limit = self._fixed.weight_limit if group.weighted else 0
        self._carries = group.bits >= MIN_BITS
        # Carries are drawn up to one digit above the largest Z. What then is left over is below half the room + 1.
        largest = policy.max_weight * int(LARGEST / RESOLUTION)
        self._drawn = _digits_for(largest) + 1
        self._digits = self._drawn + _digits_for(min(self._half, _WIDEST) // 2 + 2)

    @property
    def size(self) -> int:
        """How many coordinates metrics take: fixed by the policy, so it tells nothing of what is reported."""
        return _SLOTS * (1 + self._digits) if self._carries else 1

    def encode(self, metrics: Mapping[str, float], weight: int, key: bytes) -> npt.NDArray[np.float64]:
        """The coordinates of one client's metrics.

        No value of a metric is refused. NaN, infinity and what is above ``LARGEST`` are counted, and the mean is NaN
        for everybody. A weight below weight limit / H leaves no room for digits, nor a step of the codec for the
        client's update: a warning says so, and the metrics are taken for 0.

        Args:
            metrics: from ``scalars``.
            weight: with which the client joins.
            key: 32 secret bytes that draw the carries, for this attempt only.

        Returns:
            (size,) float64 in [−clip, clip].

        Raises:
            UpdateError: the weight is not in the round's range.
            LocalProtocolError: more than a round has room for metrics.
        """
        weight = self._fixed.check_weight(weight)
        if len(metrics) > _SLOTS:
            raise LocalProtocolError(f"{len(metrics)} metrics are more than {_SLOTS}")
        coordinates = np.zeros(self.size)
        if not self._carries:
            return coordinates
        room = min(weight * self._half // self._limit if self._limit else self._half, _WIDEST)
        if room < 1:
            _warn_once(f"metrics are taken for 0: a weight of {weight} is too small beside the limit", tuple(metrics))
        words = np.empty(_SLOTS * self._drawn, dtype=np.uint32)
        KeyStream(key).words(0, words)
        drawn = words.reshape(_SLOTS, self._drawn)
        digits = np.zeros((_SLOTS, 1 + self._digits))
        for place, value in enumerate(metrics.values() if room >= 1 else ()):
            fits = abs(value) <= LARGEST  # which NaN does not
            digits[place, 0] = not fits
            number = weight * round(value / RESOLUTION) if fits else 0
            digits[place, 1:] = list(self._expand(number, room, drawn[place].tolist()))
        unit = self._step * (self._limit / weight) if self._limit else self._step
        coordinates[:] = np.clip(digits * unit, -self._clip, self._clip).reshape(-1)
        return coordinates

    def _expand(self, number: int, room: int, words: Sequence[int]) -> Iterator[int]:
        """Digits of ``number`` in [−room, room], their carries drawn by 32-bit words."""
        widest = (room - 1) // _BASE
        for place in range(self._digits):
            digit = (number + 1) % _BASE - 1
            if place < self._drawn:
                digit += _BASE * ((words[place] * (2 * widest + 1) >> 32) - widest)
            number = (number - digit) // _BASE
            yield digit

    def decode(
        self, mean: npt.NDArray[np.float64], names: Sequence[str], weight_sum: int, clients: int = 0
    ) -> dict[str, float]:
        """The weighted means of the metrics.

        Args:
            mean: (size,) from a verified result.
            names: of the metrics, in the order in which every client has encoded them.
            weight_sum: of the clients whose vectors are in the result.
            clients: how many these are; needed where metrics are a group.

        Returns:
            Means by name: exact but for ``RESOLUTION`` / 2 and one rounding to float64. NaN, and a warning, where a
            client's was not finite, or the digits are none of ``encode``'s.

        Raises:
            LocalProtocolError: another number of coordinates, or more than a round has room for names.
        """
        if mean.shape != (self.size,) or len(names) > _SLOTS:
            raise LocalProtocolError(f"{len(names)} metrics in coordinates of shape {mean.shape}, not ({self.size},)")
        if not self._carries:
            _warn_once(f"metrics are left out: they need a policy of {MIN_BITS} bits", tuple(names))
            return {}
        # The codec's own formula, solved for its integers: S = Σ D.
        limit, total = (self._limit, weight_sum) if self._limit else (1, clients)
        unit = (self._clip * float(limit)) / float(self._half * total)
        sums = np.rint(mean / unit).reshape(_SLOTS, 1 + self._digits)
        powers = [_BASE**place for place in range(self._digits)]
        means = {}
        for name, row in zip(names, sums.tolist(), strict=False):
            unfit, *digits = map(int, row)
            total = sum(digit * power for digit, power in zip(digits, powers, strict=True))
            value = total / (weight_sum * int(1 / RESOLUTION))
            if unfit or abs(value) > LARGEST:
                _log.warning("metric %s has no mean: some client's was not finite, or above %.3g", name, LARGEST)
                value = math.nan
            means[name] = value
        return means


def _digits_for(largest: int) -> int:
    """Fewest digits −1, 0 and 1 that write every integer up to ``largest`` in size."""
    digits = 0
    while (_BASE**digits - 1) // 2 < largest:
        digits += 1
    return digits
