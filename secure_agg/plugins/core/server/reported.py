"""Metrics that nodes have reported, as the verified means of a round. Their names are in no record: whoever has led the
round knows them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from secure_agg.plugins.core.metrics import CLIPPED
from secure_agg.plugins.core.training import metrics_of
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.roles.auditor import Verified

_log = logging.getLogger("secure_agg.plugins")


class Reported:
    """Of the last round of each task that was led here."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[RoundRecord, Mapping[str, tuple[str, ...]]]] = {}

    def note(self, task: str, record: RoundRecord, names: Mapping[str, tuple[str, ...]]) -> None:
        """``names``: of the metrics in each client's vector, by its id."""
        self._names[task] = (record, names)

    def means(self, config: RoundConfig, verified: Verified) -> dict[str, float]:
        """Weighted means by name; empty where nobody here knows the names, or clients report different ones."""
        if config.policy.privacy is not None:  # their sums would have no noise
            return {}
        record, names = self._names.get(config.task, (None, {}))
        if record != verified.record:
            return {}
        given = {names.get(name, ()) for name in verified.commitments}
        if len(given) != 1:
            _log.warning("the clients' metrics have different names, so their means mean nothing: %s", sorted(given))
            return {}
        means = metrics_of(config, verified, given.pop())
        if share := means.get(CLIPPED):
            _log.warning(
                "round %d of %r: %.3g%% of the values of updates were clipped to ±%g: take a larger clip",
                config.round, config.task, 100 * share, config.policy.clip,
            )  # fmt: skip
        return means
