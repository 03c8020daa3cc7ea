"""What the server does: it waits for all nodes, trains, and leaves the model where it is told to."""

import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from linear import task
from secure_agg.plugins.flower import SecureGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds."""
    config = context.run_config
    while len(list(grid.get_node_ids())) < config["nodes"]:
        time.sleep(0.2)
    strategy = FedAvg(fraction_evaluate=float(config["evaluates"]))
    result = strategy.start(
        grid=SecureGrid(grid, strategy, config["home"], phase_s=config["phase-s"], channel=config["channel"] or None),
        initial_arrays=ArrayRecord({name: Array(array) for name, array in task.start(config["size"]).items()}),
        num_rounds=config["rounds"],
        timeout=config["timeout-s"],
    )
    np.savez(config["out"], **{name: array.numpy() for name, array in result.arrays.items()})
