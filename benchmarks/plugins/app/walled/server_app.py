"""What the server does: rounds, and when each had ended."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Timed(FedAvg):
    """Stock averaging that notes when a round is over."""

    ends: list[float]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """See ``FedAvg``; replies have come when it is called."""
        found = list(replies)
        self.ends.append(time.time())
        return super().aggregate_train(server_round, found)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and write down the seconds of each."""
    config = context.run_config
    while len(list(grid.get_node_ids())) < int(config["nodes"]):
        time.sleep(0.2)
    strategy, way = Timed(fraction_evaluate=0.0), grid
    if config["home"]:
        from secure_agg.plugins.flower import SecureGrid

        channel = str(config["channel"]) or None
        way = SecureGrid(grid, strategy, str(config["home"]), custom_strategy=True, channel=channel)
    strategy.ends = [time.time()]
    start = ArrayRecord({"values": Array(np.zeros(int(config["params"]), dtype=np.float32))})
    strategy.start(grid=way, initial_arrays=start, num_rounds=int(config["rounds"]), timeout=600.0)
    times = [after - before for before, after in zip(strategy.ends, strategy.ends[1:], strict=False)]
    Path(str(config["times"])).write_text(json.dumps(times))
