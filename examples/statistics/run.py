"""Three laboratories compare how long flies live, and none shows its records: survival, a test, a mean.

Run it with a folder that is made: ``python examples/statistics/run.py OUT``. Prints JSON, and leaves the ledger, its
pins and a picture of the curves there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lifelines.datasets import load_waltons

from secure_agg import Ledger, stats

GROUPS = ("control", "miR-137")
TIMES = np.arange(1, 81)


def main(out: Path) -> None:
    """Ask, and print what was found beside what all records in one place give."""
    out.mkdir()
    flies: Any = load_waltons()
    rules = stats.Rules(min_count=3, functions=("count", "mean", "kaplan_meier", "log_rank"))
    labs = {
        name: stats.Site(stats.Table.of(flies.iloc[place::3]), rules)
        for place, name in enumerate(("east", "north", "south"))
    }
    sites = stats.LocalFederation(labs, ledger=out / "rounds.db")
    mean = stats.mean(sites, "T", 0, 128)
    curves = stats.kaplan_meier(sites, "T", "E", TIMES, group="group", levels=GROUPS)
    test = stats.log_rank(sites, "T", "E", "group", GROUPS, TIMES)
    stats.plot(curves, out / "curves.png")
    with Ledger(out / "rounds.db") as ledger:
        ledger.audit()
    found = {
        "flies": mean.records,
        "mean_days": mean.value,
        "mean_together": float(flies["T"].mean()),
        "median_survival": {group: curve.median for group, curve in curves.curves.items()},
        "moved_at_most": curves.uncertain,
        "p": test.p,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
