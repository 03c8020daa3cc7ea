"""A node's half: a question that a server has sent, answered from the node's own table by its owner's rules.

Rules and log lie in the node's home, so that no run and no job can name others: ``statistics.toml``, which its owner
writes, and ``statistics.log``, which the command line uses too. Without rules nothing is answered, but in a simulation,
where nobody owns anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.simulated import NOTICE_FILE
from secure_agg.stats.answers.forms import form_of
from secure_agg.stats.query_log import QueryLog
from secure_agg.stats.question import Question
from secure_agg.stats.rules import Rules
from secure_agg.stats.site import Site
from secure_agg.stats.tables import Table

RULES_FILE: Final = "statistics.toml"
LOG_FILE: Final = "statistics.log"
MAX_QUESTION: Final = 1 << 22
"""Most characters of a question."""


def question_of(text: object) -> Question:
    """A question as it was sent.

    Raises:
        MalformedMessage: it is none.
        ConfigError: it is none that can be asked.
    """
    if not isinstance(text, str) or len(text) > MAX_QUESTION:
        raise MalformedMessage("a message asks no question of statistics")
    try:
        return msgspec.json.decode(text, type=Question)
    except msgspec.MsgspecError as error:
        raise MalformedMessage(f"what was sent is no question of statistics: {error}") from None


def answered(
    path: Path, table: Callable[[], Any], text: object, model: Sequence[npt.NDArray[Any]]
) -> list[npt.NDArray[np.float64]]:
    """The model that a node gives back: what it was given, moved by its answer.

    Args:
        path: the node's home.
        table: its records, see ``Table.of``; called once the question is one that owner and round allow.
        text: the question, as it was sent.
        model: that was handed out.

    Raises:
        QueryRefused: the owner's rules don't allow it, or earlier answers don't.
        ConfigError: the home has no rules, or they are none; the policy carries no answers; the model has no room.
        MalformedMessage: no question.
    """
    question = question_of(text)
    with ClientHome.open(path) as home:
        pins = home.trust.task(home.task)
    form = form_of(question, pins.policy, len(pins.roster), shared=True)
    if sum(array.size for array in model) < form.size:
        raise ConfigError(f"an answer is {form.size} values, and the model that was handed out is smaller")
    rules = _rules(path)
    rules.check(question, pins.policy.privacy)
    form.given(np.zeros(form.size)).steps(model)  # before the log has an answer that could not be sent
    site = Site(Table.of(table()), rules, QueryLog(path / LOG_FILE))
    steps = form.given(form.answer(site)).steps(model)
    return [np.add(array, step, dtype=np.float64) for array, step in zip(model, steps, strict=True)]


def _rules(path: Path) -> Rules:
    rules = path / RULES_FILE
    if rules.exists():
        return Rules.load(rules)
    if (path.parent.parent / NOTICE_FILE).is_file():
        return Rules()
    raise ConfigError(f"this site answers no questions: its owner has written no rules into {rules}")
