"""An answer as exact integers, in the coordinates of a round whose sum is exact.

Beside an answer lie digits of its question's digest, which only add up if all sites were asked the same.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.config import Policy
from secure_agg.stats.answers.digits import LEAST_ROOM, Digits
from secure_agg.stats.answers.totals import Round, Total
from secure_agg.stats.question import Question
from secure_agg.stats.site import Site

Floats = npt.NDArray[np.float64]

_MARK_BITS: Final = 12
_MARKS: Final = 6
"""Coordinates with 12 bits each of the question's digest."""
_INEXACT: Final = 1 << 16
"""The room where a step is no power of two: see ``plugins.core.metrics``, whose digits are encoded exactly up to it."""


@dataclass(frozen=True)
class Coordinates:
    """How a policy's rounds carry a question's answer, exactly.

    Attributes:
        question: that is answered.
        policy: of the rounds: one group, weights of 1, 15 bits or more.
        shared: half of the room is for taking back what a model has come to.
    """

    question: Question
    policy: Policy
    shared: bool = False

    def __post_init__(self) -> None:
        policy = self.policy
        if policy.groups or policy.max_weight != 1 or policy.privacy or policy.norm or self.room < LEAST_ROOM:
            raise ConfigError(
                "statistics need rounds of a policy without groups, norm bound or privacy, of max_weight 1 and 15 "
                f"bits or more: these have {policy.bits} bits and weights up to {policy.max_weight}; 'secure-agg "
                "federation init' makes homes for them with --any-model --bits 24 --max-weight 1"
            )

    @property
    def step(self) -> float:
        """What an integer of 1 is in the vector."""
        return self.policy.clip / self.policy.half

    @property
    def room(self) -> int:
        """The largest integer of a coordinate."""
        if self.shared:
            return min((self.policy.half - 2) // 2, _INEXACT)
        exact = self.step == 2.0 ** round(math.log2(self.step))
        return self.policy.half if exact else min(self.policy.half, _INEXACT)

    @property
    def _digits(self) -> Digits:
        return Digits(self.question.fields, self.room)

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return _MARKS + self._digits.size

    def update_of(self, values: Sequence[int], key: bytes | None = None) -> Floats:
        """A site's answer as (size,) float64 in [−clip, clip].

        Args:
            values: from ``Site.answer``.
            key: 32 secret bytes that draw carries, never used twice; fresh ones by default.
        """
        digits = self._digits.encode(values, secrets.token_bytes(32) if key is None else key)
        whole = np.concatenate([np.array(_marks(self.question), dtype=np.int64), digits])
        return np.clip(whole * self.step, -self.policy.clip, self.policy.clip)

    @property
    def is_noisy(self) -> bool:
        """Never: these sums are exact."""
        return False

    def answer(self, site: Site) -> Floats:
        """A site's answer.

        Raises:
            QueryRefused, ConfigError: see ``Site.answer``.
        """
        return self.update_of(site.answer(self.question))

    def given(self, update: Floats, *, first: bool = True) -> Given:
        """A part of an answer, as differences from a model."""
        return Given(self, update, first=first)

    def total(self, mean: npt.NDArray[Any], rounds: tuple[Round, ...]) -> Total:
        """The sums that such rounds prove.

        Raises:
            VerificationError: see ``total_of``.
        """
        sites = rounds[-1].evidence.participants
        return Total(self.total_of(mean, len(sites)), sites, rounds)

    def total_of(self, mean: npt.NDArray[Any], sites: int) -> tuple[int, ...]:
        """The sums of the fields, from a verified mean of so many sites.

        Raises:
            VerificationError: sites were asked different questions, or a sum is none of answers.
        """
        sums = np.rint(np.asarray(mean, dtype=np.float64) * (sites / self.step)).astype(np.int64).tolist()
        if sums[:_MARKS] != [mark * sites for mark in _marks(self.question)]:
            raise VerificationError("these sites were not all asked the same question: their sum says nothing")
        return self._digits.decode(sums[_MARKS:], sites)


def _marks(question: Question) -> list[int]:
    number = int.from_bytes(question.digest()[: _MARKS * _MARK_BITS // 8], "big")
    return [(number >> (_MARK_BITS * place)) & ((1 << _MARK_BITS) - 1) for place in range(_MARKS)]


class Given:
    """A part of an answer as differences from a model that moves by every result.

    What the model has come to is taken back by the next answers, in whole steps, the same at all sites: so it never
    grows, and adding to it and subtracting it again rounds off less than the codec can notice.

    Answers to one question after the other may be the same, and would lead to the very model that they began with. A
    round from the model of the last one is that round, to whoever leads it, and nobody would be asked again. So where
    the model has this question's mark already, an answer leaves one step more of it.
    """

    def __init__(self, form: Coordinates, update: Floats, *, first: bool = True) -> None:
        """
        Args:
            form: of the answer.
            update: the part, from ``Coordinates.update_of``.
            first: whether the answer begins with it.
        """
        self._form, self._update = form, update
        self._mark = _marks(form.question)[0] if first else None
        self._back: Floats | None = None

    def steps(self, model: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """
        Raises:
            ConfigError: the model is not of float64, or was moved by something else than answers.
        """
        size = sum(array.size for array in model)
        if not size or any(array.dtype != np.float64 for array in model):
            raise ConfigError("statistics need a model of zeros in float64, and homes that take any model")
        self._back = -np.rint(np.concatenate([array.reshape(-1) for array in model]) / self._form.step)
        if float(np.abs(self._back).max()) > self._form.room + 1:
            raise ConfigError("the model is none that answers have led to: begin with zeros in float64")
        if self._mark is not None and self._back[0] == -self._mark:
            self._back[0] += 1
        whole = self._back * self._form.step
        part = self._update[:size]
        whole[: part.size] = (np.rint(part / self._form.step) + self._back[: part.size]) * self._form.step
        bounds = np.cumsum([array.size for array in model])[:-1]
        return [piece.reshape(array.shape) for piece, array in zip(np.split(whole, bounds), model, strict=True)]

    def mean(self, average: Sequence[npt.NDArray[Any]]) -> Floats:
        """The mean of the answers.

        Raises:
            VerificationError: this site has given no answer to the round.
        """
        flat = np.concatenate([np.asarray(array, dtype=np.float64).reshape(-1) for array in average])
        if self._back is None or self._back.size != flat.size:
            raise VerificationError("this round is of something that was asked before: ask again")
        return flat - self._back * self._form.step
