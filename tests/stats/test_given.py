"""Answers as differences from a model that moves: whatever was asked before, a sum is of this question alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from secure_agg import stats
from secure_agg.protocol.config import Policy
from secure_agg.stats.answers.exact import Coordinates, Given
from secure_agg.stats.question import Question

POLICY = Policy.default(3, bits=24, max_weight=1)
SITES = [stats.Site(stats.Table({"age": np.arange(size)}), stats.Rules(min_count=1)) for size in (10, 20, 30)]


def asked(form: Coordinates, model: npt.NDArray[np.float64]) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """The sums of one round, and the model that it leads to."""
    given = [Given(form, form.update_of(site.answer(form.question))) for site in SITES]
    average = np.mean([each.steps([model])[0] for each in given], axis=0)
    return form.total_of(given[0].mean([average])[: form.size], len(SITES)), model + average


@pytest.mark.parametrize("records", [4096, 1 << 20])
def test_equal_questions_are_asked_from_other_models_each_time(records: int) -> None:
    """A round from the model of the last one is that round, to whoever leads it: nobody would be asked again."""
    form = Coordinates(Question(function="count", records=records), POLICY, shared=True)
    model = np.zeros(form.size + 2)
    for _ in range(4):
        totals, following = asked(form, model)
        assert totals[0] == 60
        assert not np.array_equal(following, model)
        model = following
