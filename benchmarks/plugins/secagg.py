"""Flower's own secure aggregation: ``secaggplus_mod`` on nodes in this process and ``SecAggPlusWorkflow`` beside them.

It is Bonawitz's protocol against a server that follows it: nothing is signed, committed to or checked. It works on the
older client interface only. Its settings are those of our round: every client is every other's neighbour, values have
16 bits, the threshold is ours.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Context, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common import recorddict_compat
from flwr.server import LegacyContext
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.server_config import ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key

from benchmarks.plugins.nodes import RUN_ID, Nodes

_BITS: Final = 16

Array = npt.NDArray[np.float32]


class _Trained(NumPyClient):
    """A client whose training is over: it hands out the same update in every round."""

    def __init__(self, update: Array, weight: int) -> None:
        self._update, self._weight = update, weight

    def fit(self, parameters: Any, config: Any) -> Any:
        return [self._update], self._weight, {}


def nodes(updates: dict[int, Array], weight: int) -> Nodes:
    """One node for each update."""

    def app(update: Array) -> ClientApp:
        return ClientApp(client_fn=lambda context: _Trained(update, weight).to_client(), mods=[secaggplus_mod])

    return Nodes({name: (app(update), {}) for name, update in updates.items()})


def one_round(grid: Nodes, model: Array, *, threshold: int, max_weight: int, clip: float) -> Array:
    """The mean of the nodes' updates, after one round of SecAgg+."""
    count = len(grid.nodes)
    strategy = FedAvg(min_fit_clients=count, min_available_clients=count)
    manager = SimpleClientManager()
    for name in grid.nodes:
        manager.register(GridClientProxy(name, grid, RUN_ID))
    context = LegacyContext(
        Context(RUN_ID, 0, {}, RecordDict(), {}), ServerConfig(num_rounds=1), strategy=strategy, client_manager=manager
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = recorddict_compat.parameters_to_arrayrecord(
        ndarrays_to_parameters([model]), keep_input=True
    )
    workflow = SecAggPlusWorkflow(
        num_shares=1.0,
        reconstruction_threshold=threshold,
        max_weight=max_weight,
        clipping_range=clip,
        quantization_range=1 << _BITS,
    )
    workflow(grid, context)
    mean = recorddict_compat.arrayrecord_to_parameters(context.state.array_records[MAIN_PARAMS_RECORD], keep_input=True)
    return np.asarray(parameters_to_ndarrays(mean)[0], dtype=np.float32)
