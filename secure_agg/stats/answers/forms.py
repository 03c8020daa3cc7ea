"""The two forms of an answer, and which one a policy's rounds have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from secure_agg.protocol.config import Policy
from secure_agg.stats.answers.exact import Coordinates
from secure_agg.stats.answers.noisy import Shares
from secure_agg.stats.answers.totals import Round, Total
from secure_agg.stats.question import Question
from secure_agg.stats.site import Site

Floats = npt.NDArray[np.float64]


class Part(Protocol):
    """A part of an answer as differences from a model."""

    def steps(self, model: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """
        Raises:
            ConfigError: the model is not of float64, or no answer fits in it.
        """

    def mean(self, average: Sequence[npt.NDArray[Any]]) -> Floats:
        """The mean of the answers.

        Raises:
            VerificationError: this site has given no answer to the round.
        """


class Form(Protocol):
    """How a policy's rounds carry the answer to one question."""

    @property
    def size(self) -> int:
        """Values of an answer."""

    @property
    def step(self) -> float:
        """What is 1 of an answer in a model that is made for it."""

    @property
    def room(self) -> int:
        """The largest size of a value in it, in steps."""

    @property
    def is_noisy(self) -> bool:
        """Whether sites add noise to it."""

    def answer(self, site: Site) -> Floats:
        """A site's answer, (size,).

        Raises:
            QueryRefused, ConfigError: see ``Site.answer``.
        """

    def given(self, update: Floats, *, first: bool = True) -> Part:
        """A part of it, and whether the answer begins with that."""

    def total(self, mean: npt.NDArray[Any], rounds: tuple[Round, ...]) -> Total:
        """The sums, from a verified mean.

        Raises:
            VerificationError: it is none of answers to this question.
        """


def form_of(question: Question, policy: Policy, sites: int, *, shared: bool = False) -> Form:
    """The form of an answer.

    Args:
        policy: of the rounds.
        sites: members of the roster.
        shared: whether the answer moves a model, see ``Coordinates``.

    Raises:
        ConfigError: the policy's rounds carry no answer to this question.
    """
    if policy.privacy is not None:
        return Shares(question, policy, sites)
    return Coordinates(question, policy, shared)
