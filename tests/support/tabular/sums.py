"""A federation for tests of statistics: sites' own answers as vectors, added up in the open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from secure_agg.protocol.config import Policy
from secure_agg.stats import Rules, Site, Table
from secure_agg.stats.answers.exact import Coordinates
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import Question


class OpenFederation:
    """What a round hands over, without the round: the mean of the sites' vectors."""

    def __init__(self, sites: Mapping[str, Any], min_count: int = 1, policy: Policy | None = None) -> None:
        rules = Rules(min_count=min_count)
        self.sites = {n: s if isinstance(s, Site) else Site(Table.of(s), rules) for n, s in sites.items()}
        self.policy = policy or Policy.default(3, bits=24, clip=float((1 << 23) - 1))
        self.asked: list[Question] = []

    def total(self, question: Question) -> Total:
        self.asked.append(question)
        form = Coordinates(question, self.policy)
        updates = [form.update_of(site.answer(question)) for site in self.sites.values()]
        return Total(form.total_of(np.mean(updates, axis=0), len(updates)), tuple(self.sites), ())


def parts(frame: Any, sites: int = 3) -> dict[str, Any]:
    """A pandas frame's rows dealt to sites, the first of which has nothing."""
    names = [f"site-{place}" for place in range(sites + 1)]
    return {name: frame.iloc[:0] if not place else frame.iloc[place - 1 :: sites] for place, name in enumerate(names)}
