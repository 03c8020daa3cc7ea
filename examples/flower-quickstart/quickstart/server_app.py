"""quickstart: what the server does."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from quickstart.task import first_model
from secure_agg.plugins.flower import SecureGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds."""
    strategy = FedAvg()
    config = context.run_config
    secure = SecureGrid(grid, strategy, home=config["home"], channel=config["channel"] or None)
    strategy.start(
        grid=secure,
        initial_arrays=secure.last_model() or ArrayRecord(first_model()),
        num_rounds=config["num-server-rounds"],
    )
