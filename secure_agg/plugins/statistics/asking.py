"""The server's half: each question is one round, in which nodes move a model by their answers.

The model is made for the question: zeros, as many as the answer is long, and a few numbers drawn at random, so that no
two rounds are from one model. A round from the model of the last one would be that round.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.plugins.core.coordinator import Outcome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.stats.answers.forms import Form, form_of
from secure_agg.stats.answers.totals import Round, Total
from secure_agg.stats.question import Question

ANSWERS: Final = "answers"
"""Name of the model's one array."""
QUESTION: Final = "question"
"""Under which the question goes with it."""
_DRAWN: Final = 4
"""Numbers at random; each of 13 bits or more."""

Carry = Callable[[Mapping[str, npt.NDArray[Any]], Mapping[str, str]], Outcome]
"""One round from this model, with these words beside it."""


class NodeFederation:
    """The nodes of a server, as a ``secure_agg.stats.Federation``. The server is the analyst."""

    def __init__(self, home: ServerHome, carry: Carry, values: int | None = None) -> None:
        """
        Args:
            home: the server's.
            carry: makes rounds.
            values: of every model, for a backend whose key is for one size; None for as many as an answer needs.

        Raises:
            ConfigError: the home is not made for statistics: nodes check models, or some are drawn for each round.
        """
        if home.checks_model:
            raise ConfigError(
                f"statistics need homes that take any model, and {home.path} is another: 'secure-agg federation init' "
                "makes them with --any-model --bits 24 --max-weight 1"
            )
        if home.trust.task(home.task).policy.cohort_size:
            raise ConfigError("statistics are of all sites, and these homes have some of them drawn for each round")
        self._home, self._carry, self._values = home, carry, values

    def total(self, question: Question) -> Total:
        """See ``secure_agg.stats.Federation``. Which site has refused, and why, is in that site's own log.

        Raises:
            ConfigError: the policy carries no answer to this question, or it is longer than ``values``; nobody was
                asked. With privacy also: nothing is left of the budget.
            VerificationError: nodes were not all asked this question.
            SecureAggError: the round came to nothing, as where more sites refuse than may be missing.
        """
        pins = self._home.trust.task(self._home.task)
        form = form_of(question, pins.policy, len(pins.roster), shared=True)
        model = self._model(form)
        outcome = self._carry({ANSWERS: model}, {QUESTION: msgspec.json.encode(question).decode()})
        if outcome.weight != len(outcome.participants):
            raise VerificationError("a site had another weight than 1: ask again")
        given = form.given(np.zeros(form.size))
        given.steps([model])
        found = given.mean(outcome.average)[: form.size]
        return form.total(found, (Round(outcome.evidence, outcome.record, outcome.receipt),))

    def _model(self, form: Form) -> npt.NDArray[np.float64]:
        size = form.size + _DRAWN if self._values is None else self._values
        if size < form.size + _DRAWN:
            raise ConfigError(f"an answer to this is {form.size + _DRAWN} values, above {size}: ask for fewer cells")
        drawn = [secrets.randbelow(2 * form.room + 1) - form.room for _ in range(_DRAWN)]
        return np.concatenate([np.zeros(size - _DRAWN), drawn]) * form.step
