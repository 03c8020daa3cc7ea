"""Statistics without a model: what sites' records say together, by rounds in which nobody sees a site's share.

    federation = stats.LocalFederation({"north": frame, "south": other, "west": third})
    stats.mean(federation, "age", 0, 120, where=[("sex", "==", "f")]).value

* ``functions``: the statistics. ``results``: what they return, with what is stated of errors. ``plots``: pictures.
* ``federation``: who carries questions to sites, and sums back. ``answers``: as which vectors, exact or with noise.
* ``question``: what is asked. ``site``: a site's half, pure functions. ``tables``: data frames of any kind.
* ``rules``: what a site's owner allows. ``query_log``: what it has told before.
* ``analysis``: the analyst's half, pure functions too, of each statistic in ``analyses``.
"""

from secure_agg.stats.federation import Federation, LocalFederation, MemberFederation, site_of
from secure_agg.stats.functions import (
    contingency,
    correlation,
    count,
    histogram,
    kaplan_meier,
    linear_regression,
    log_rank,
    logistic_regression,
    mean,
    quantile,
    sum,
    variance,
)
from secure_agg.stats.plots import plot
from secure_agg.stats.query_log import QueryLog
from secure_agg.stats.rules import ColumnRule, PrivacyLimit, Rules
from secure_agg.stats.site import Site
from secure_agg.stats.tables import Table

__all__ = [
    "ColumnRule",
    "Federation",
    "LocalFederation",
    "MemberFederation",
    "PrivacyLimit",
    "QueryLog",
    "Rules",
    "Site",
    "Table",
    "contingency",
    "correlation",
    "count",
    "histogram",
    "kaplan_meier",
    "linear_regression",
    "log_rank",
    "logistic_regression",
    "mean",
    "plot",
    "quantile",
    "site_of",
    "sum",
    "variance",
]
