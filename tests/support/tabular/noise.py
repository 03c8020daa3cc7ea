"""A federation for tests of statistics with noise: the codec of private rounds without the rounds. All that it draws
follows from a seed, as the keys of its sites do from their names.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from support.federation import identity

from mpc.keystream import derive_key
from secure_agg import Policy, Privacy, Roster, RoundConfig
from secure_agg.protocol.codec import PrivateCodec
from secure_agg.stats import Rules, Site, Table
from secure_agg.stats.answers.noisy import Shares
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import Question


@functools.cache
def roster(sites: int) -> Roster:
    return Roster({f"s{place:03}": identity(f"s{place:03}").public for place in range(sites)})


class NoisyFederation:
    """What rounds with privacy hand over: each site's vector bounded, rounded and with noise, and their mean."""

    def __init__(self, sites: Mapping[str, Any], privacy: Privacy, seed: int, min_count: int = 1) -> None:
        rules = Rules(min_count=min_count)
        self.sites = {n: s if isinstance(s, Site) else Site(Table.of(s), rules) for n, s in sites.items()}
        self.policy = Policy.default(len(sites), privacy=privacy, min_clients=len(sites), bits=20)
        self.seed, self.asked = seed, 0

    def total(self, question: Question) -> Total:
        form = Shares(question, self.policy, len(self.sites))
        config = RoundConfig.create(
            task="t", round=0, policy=self.policy, cohort=roster(len(self.sites)), shapes=((form.size,),)
        )
        codec, vector = PrivateCodec(config), np.empty(config.layout.committed, dtype=np.uint32)
        sums = np.zeros(vector.size, dtype=np.int64)
        self.asked += 1
        for place, site in enumerate(self.sites.values()):
            key = f"{self.seed} {self.asked} {place}".encode().ljust(32)
            codec.encode([form.answer(site)], functools.partial(derive_key, key), vector)
            sums += vector
        (mean,), _ = codec.decode(sums, len(self.sites), config.shapes)
        evidence = SimpleNamespace(participants=tuple(self.sites), config=config)
        return form.total(mean, (SimpleNamespace(evidence=evidence, record=None),))  # type: ignore[arg-type]
