"""flies: what the server asks. How long do flies live, and do both kinds live alike?"""

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from secure_agg import Privacy, stats
from secure_agg.plugins.flower import GridFederation

app = ServerApp()
GROUPS = ("control", "miR-137")


def ask(nodes: stats.Federation) -> dict[str, object]:
    """Two questions, a round each, and their exact answers."""
    mean = stats.mean(nodes, "T", 0, 128)
    curves = stats.kaplan_meier(nodes, "T", "E", range(1, 81), group="group", levels=GROUPS)
    return {
        "flies": mean.records,
        "mean_days": mean.value,
        "median_survival": {group: curve.median for group, curve in curves.curves.items()},
        "sites": mean.participants,
    }


def ask_one(nodes: stats.Federation) -> dict[str, object]:
    """One question. Curves beside it would tell of fewer records than simulated owners' rules let out, which are 5."""
    mean = stats.mean(nodes, "T", 0, 128)
    return {"flies": mean.records, "mean_days": mean.value, "sites": mean.participants}


def ask_with_noise(nodes: stats.Federation) -> dict[str, object]:
    """One question of a task that has a privacy budget: no laboratory has more than 64 flies."""
    mean = stats.mean(nodes, "T", 0, 128, missing="drop", outside="clip", records=64)
    return {"mean_days": mean.value, "noise": mean.noise, "sites": mean.participants}


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask, print what comes of it, and leave it where the run's settings say."""
    config, simulated = context.run_config, {"bits": 24, "max_weight": 1, "min_clients": 3}
    if config["epsilon"]:  # counts where nodes are simulated; elsewhere homes have a budget or have none
        simulated["privacy"] = Privacy(epsilon=config["epsilon"], delta=1e-5, norm=1.0)
    nodes = GridFederation(grid, config["home"], simulated=simulated, channel=config["channel"] or None)
    questions = ask_with_noise if config["epsilon"] else ask if Path(config["home"]).is_dir() else ask_one
    found = json.dumps(questions(nodes), indent=1)
    print(found)
    if config["out"]:
        Path(config["out"]).write_text(found)
