"""A job that asks three laboratories how long flies live; it has no code that a site would run, and trains nothing."""

import argparse
from pathlib import Path

from lifelines.datasets import load_waltons
from nvflare.recipe import SimEnv

from secure_agg import Privacy
from secure_agg.plugins.nvflare.statistics import StatisticsRecipe

LIVED = {"column": "T", "lower": 0, "upper": 128}
QUESTIONS = {
    "mean": {"function": "mean", **LIVED},
    "median": {"function": "quantile", "q": 0.5, "bins": 128, "rounds": 1, **LIVED},
}
NOISY = {"mean": QUESTIONS["mean"] | {"missing": "drop", "outside": "clip", "records": 64}}
"""Of a task with a privacy budget: no laboratory has more than 64 flies."""


def write_tables(folder: Path) -> None:
    """A table for each site, as its owner would have one."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(3):
        load_waltons().iloc[place::3].to_csv(folder / f"site-{place + 1}.csv", index=False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("workspace", type=Path, help="the simulator's; homes are made there for this run")
    options.add_argument("--epsilon", type=float, help="privacy budget of the task; without one answers are exact")
    asked = options.parse_args()

    tables = asked.workspace / "tables"
    write_tables(tables)
    simulated = {"bits": 24, "max_weight": 1, "min_clients": 3}
    if asked.epsilon:
        simulated["privacy"] = Privacy(epsilon=asked.epsilon, delta=1e-5, norm=1.0)
    recipe = StatisticsRecipe(
        "flies", NOISY if asked.epsilon else QUESTIONS, min_clients=3, simulated=simulated, tables=tables
    )
    recipe.execute(SimEnv(num_clients=3, workspace_root=str(asked.workspace)))


if __name__ == "__main__":
    main()
