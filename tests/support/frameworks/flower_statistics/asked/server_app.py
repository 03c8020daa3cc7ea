"""What the server does: it asks, and leaves the results where it is told to."""

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from secure_agg import stats
from secure_agg.plugins.flower import GridFederation

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask for a count and a quantile."""
    config = context.run_config
    nodes = GridFederation(grid, config["home"], phase_s=config["phase-s"], timeout=config["timeout-s"])
    count = stats.count(nodes)
    middle = stats.quantile(nodes, "age", 0.5, 0, 128, bins=4, rounds=1)
    found = {"count": count.value, "median": middle.value, "error": middle.error, "sites": middle.participants}
    Path(config["out"]).write_text(json.dumps(found))
