"""An answer with differential privacy: a vector whose norm public bounds limit, and to which its site adds noise.

With W the largest weight that a site can have, ``records`` times the largest of a record's, the values are

    count                           Σw/W
    sum, mean                       Σw/W, Σw·u/W                u = (x − middle of the range) / (half of the range)
    variance, correlation,          Σw/W, of each column Σw·u/W, of each pair of columns, one with itself too, Σw·u·u'/W
      linear_regression
    histogram, quantile, contingency, kaplan_meier, log_rank    of each cell Σw/W

and, where records have weights, how many they are over ``records``. One record of weight w adds at most w/W times
values none of which is above 1 in size, as |u| ≤ 1; or w/W to one cell. So whatever a site's data are, its vector's L2
norm is at most the *reach*: the root of how many values there are, or 1 of cells, with 1 more under the root for
weights. That is the sensitivity: a question decides on it, and no data. A site whose records are more than it was said
that there may be shortens its own vector to it.

All are multiplied by clip/reach, so that the policy's norm is used up exactly: it is a unit, and costs nothing. The
codec of rounds with privacy bounds the norm once more, as an exact integer, before it adds noise.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.protocol.codec.private import PrivateCodec
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.stats.answers.totals import Round, Total
from secure_agg.stats.question import BINNED, COMMON, MOMENTS, SURVIVAL, Question
from secure_agg.stats.site import Site

Floats = npt.NDArray[np.float64]

PRIVATE: Final = (*MOMENTS, *BINNED, "contingency", *SURVIVAL)
"""Functions that noise leaves a meaning: sums of one round."""

_log = logging.getLogger("secure_agg.stats")


@dataclass(frozen=True)
class Shares:
    """How a policy's rounds carry a question's answer with noise.

    Attributes:
        question: that is answered, by one round.
        policy: of the rounds, with privacy.
        sites: members of the roster.
    """

    question: Question
    policy: Policy
    sites: int

    def __post_init__(self) -> None:
        """All that is refused is refused by question and policy alone, before any data is looked at.

        Raises:
            ConfigError: the function has no form with noise, a site could only refuse by what it holds, or noise
                would be larger than all that there can be.
        """
        asked = self.question
        if asked.function not in PRIVATE:
            raise ConfigError(
                f"{asked.function} has no form with differential privacy: each of its steps would spend of the budget, "
                f"and go by the noise of all before. These have one: {', '.join(PRIVATE)}; a linear_regression of an "
                "outcome of 0 and 1 tells in one round which way its chance goes with a column"
            )
        self._check_refusals()
        whole = self.sites * self.most
        if (noise := self.noise) >= whole:
            raise ConfigError(
                f"noise of ±{noise:.4g} records, and {self.sites} sites have {whole} at most: an answer would say "
                "nothing, whatever they hold; it takes more sites, a larger epsilon or fewer rounds"
            )

    def _check_refusals(self) -> None:
        """A refusal that depends on data would be an answer without noise."""
        asked = self.question
        if not (asked.columns or asked.weights):
            return
        if asked.missing == "refuse":
            raise ConfigError(
                "with differential privacy a site can't refuse by what it holds, which would tell of it without "
                "noise: say missing='drop'"
            )
        if asked.outside == "refuse":
            raise ConfigError("with differential privacy, likewise, say outside='clip' or outside='drop'")
        if asked.outside == "clip" and (asked.weights or any(column.levels for column in asked.columns)):
            raise ConfigError(
                "with differential privacy say outside='drop' where records have weights or columns have levels: "
                "neither can be limited"
            )

    @property
    def rule(self) -> PrivacyRule:
        """The task's budget, and what a round takes of it."""
        rule = self.policy.privacy
        if rule is None:
            raise ConfigError("the policy says nothing of privacy")
        return rule

    @property
    def is_noisy(self) -> bool:
        """Always."""
        return True

    @property
    def most(self) -> int:
        """W: the largest weight of one site."""
        weights = self.question.weights
        return self.question.records * (max(int(weights.upper), 1) if weights else 1)

    @property
    def size(self) -> int:
        """Values of an answer."""
        return (self.question.weights is not None) + (self._moments or self.question.cells)

    @property
    def _moments(self) -> int:
        """How many sums of products there are with that of weights; 0 of cells."""
        if self.question.function not in MOMENTS:
            return 0
        return 1 + len(self.question.fields) - COMMON

    @property
    def reach(self) -> float:
        """The largest L2 norm of a site's vector, whatever its data are, before the policy's norm is its unit."""
        return math.sqrt((self.question.weights is not None) + (self._moments or 1))

    @property
    def step(self) -> float:
        """What is drawn at random in a model that is made for an answer has this unit."""
        return 1.0

    @property
    def room(self) -> int:
        """And is of this size at most."""
        return 1 << 16

    @property
    def noise(self) -> float:
        """The standard deviation of the noise in each sum of all sites, in records times their largest weight.

        Raises:
            ConfigError: the policy's bits have no room for it.
        """
        policy = self.policy
        made = self.rule.mechanism_of(self.size, policy.max_clients, policy.top // 2)
        return made.deviation / made.length * math.sqrt(self.sites) * self.reach * self.most

    def answer(self, site: Site) -> Floats:
        """A site's answer.

        Raises:
            QueryRefused, ConfigError: see ``Site.answer``: by its owner's rules, never by its records.
        """
        return self.update_of(site.answer(self.question, self.rule))

    def update_of(self, values: Sequence[int]) -> Floats:
        """A site's vector, (size,) float64, of an L2 norm of at most the policy's.

        Args:
            values: from ``Site.answer``: the question's fields.
        """
        asked = self.question
        if len(values) != len(asked.fields):
            raise UpdateError("an answer with other fields than its question's")
        found = [Fraction(values[0], asked.records)] if asked.weights else []
        if self._moments:
            found += [moment / self.most for moment in self._centred(values)]
        else:
            found += [Fraction(value, self.most) for value in values[len(values) - asked.cells :]]
        vector = np.array([float(value) for value in found])
        norm = float(np.linalg.norm(vector))
        if norm > self.reach * (1 + 1e-9):
            _log.warning("this site has more records than the question allows for: they count as fewer")
        return vector * (self.policy.clip / max(norm, self.reach))

    def _centred(self, values: Sequence[int]) -> list[Fraction]:
        """Σw, and as far as the function needs them Σw·u of each column and Σw·u·u' of each pair."""
        weight, columns = Fraction(values[1]), self.question.columns if self._moments > 1 else ()
        rest = iter(values[COMMON:])
        spans = [(Fraction(column.lower), Fraction(column.upper)) for column in columns]
        middles, halves = [(low + high) / 2 for low, high in spans], [(high - low) / 2 for low, high in spans]
        units = [Fraction(column.unit) for column in columns]
        firsts = [next(rest) * unit for unit in units]
        found = [weight, *((f - m * weight) / h for f, m, h in zip(firsts, middles, halves, strict=True))]
        pairs = itertools.combinations_with_replacement(range(len(columns)), 2)
        for value, (one, other) in zip(rest, pairs, strict=False):  # sum and mean have none
            second = value * units[one] * units[other]
            second -= middles[one] * firsts[other] + middles[other] * firsts[one]
            found.append((second + middles[one] * middles[other] * weight) / (halves[one] * halves[other]))
        return found

    def given(self, update: Floats, *, first: bool = True) -> Added:
        """An answer as differences from a model."""
        return Added(update)

    def total(self, mean: npt.NDArray[Any], rounds: tuple[Round, ...]) -> Total:
        """The sums that a round proves: Σw, or without one of its own the sum of cells; then the others, or cells.

        What sites have held back, moved or dropped is not among them: those values are 0.
        """
        (proof,) = rounds
        sites = proof.evidence.participants
        unit = len(sites) * self.reach / self.policy.clip
        sums = [float(value) * unit for value in mean]
        records = [sums.pop(0) * self.question.records] if self.question.weights else []
        body = [value * self.most for value in sums]
        if self._moments:
            weight, *body = body
        else:
            weight = math.fsum(body)
            body = [*[0.0] * (len(self.question.fields) - COMMON - len(body)), *body]
        noise = PrivateCodec(proof.evidence.config).deviation(len(sites)) * unit * self.most
        gap = [0.0] * (COMMON - 2)
        return Total((*(records or [weight]), weight, *gap, *body), sites, rounds, noise)


class Added:
    """An answer with noise as differences from a model that grows by every result.

    Nothing is taken back: the noise in earlier results would then be part of the next answer, and of its norm.
    """

    def __init__(self, update: Floats) -> None:
        """``update``: the whole answer."""
        self._update = update

    def steps(self, model: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """
        Raises:
            ConfigError: the model is not of float64, or smaller than the answer, which goes in one round.
        """
        size = sum(array.size for array in model)
        if any(array.dtype != np.float64 for array in model):
            raise ConfigError("statistics need a model of zeros in float64, and homes that take any model")
        if size < self._update.size:
            raise ConfigError(
                f"with differential privacy an answer goes in one round: this one is {self._update.size} values, and "
                f"the model is {size}; ask for fewer cells, or begin with a longer model"
            )
        whole = np.zeros(size)
        whole[: self._update.size] = self._update
        bounds = np.cumsum([array.size for array in model])[:-1]
        return [piece.reshape(array.shape) for piece, array in zip(np.split(whole, bounds), model, strict=True)]

    def mean(self, average: Sequence[npt.NDArray[Any]]) -> Floats:
        """The mean of the answers, with zeros behind it."""
        return np.concatenate([np.asarray(array, dtype=np.float64).reshape(-1) for array in average])
