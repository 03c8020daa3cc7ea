"""A ServerApp that asks questions of statistics, over nodes whose apps answer by ``answers``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
from flwr.app import ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from secure_agg.executing import HERE, Executor
from secure_agg.fl.server_optimizers import PLAIN
from secure_agg.plugins.core.coordinator import Outcome
from secure_agg.plugins.flower import records, simulation
from secure_agg.plugins.flower.grid import SecureGrid
from secure_agg.plugins.statistics.asking import NodeFederation

SIMULATED: Final[Mapping[str, Any]] = {"bits": 24, "max_weight": 1}
"""What ``Policy.default`` is told where nodes are simulated, and nothing else is said."""


class GridFederation(NodeFederation):
    """Flower's nodes, for ``secure_agg.stats``: ``stats.mean(GridFederation(grid, home), "age", 0, 110)``.

    Each question is one secure round, in the ledger of the server's home.
    """

    def __init__(
        self,
        grid: Grid,
        home: str | PathLike[str] | None = None,
        *,
        timeout: float = 3600.0,
        phase_s: float | None = None,
        values: int | None = None,
        simulated: Mapping[str, Any] | None = None,
        channel: str | None = None,
        executor: Executor | str = HERE,
    ) -> None:
        """
        Args:
            grid: Flower's own.
            home: the server's folder, made with ``--any-model --bits 24 --max-weight 1``. In Flower's simulation homes
                are made for the run.
            timeout: seconds that nodes have to compute an answer.
            values: see ``NodeFederation``.
            phase_s, simulated, channel, executor: see ``SecureGrid``.

        Raises:
            ConfigError: see ``SecureGrid`` and ``NodeFederation``.
        """
        self._strategy, self._timeout = FedAvg(fraction_evaluate=0.0), timeout
        if simulation.is_simulated(grid):
            like = Path(home) if home else None
            if simulated is None and (like is None or not like.is_dir()):
                simulated = SIMULATED
            home = simulation.server_home(grid, self._strategy, like, simulated, PLAIN, checks_model=False)
        self._grid = SecureGrid(grid, self._strategy, home, phase_s=phase_s, channel=channel, executor=executor)
        self._asked = itertools.count(1)
        super().__init__(self._grid.home, self._round, values)

    @property
    def channel(self) -> str | None:
        """``HOST:PORT`` where the channel listens, None where there is none."""
        return self._grid.channel

    def close(self) -> None:
        """End the channel; harmless where there is none."""
        self._grid.close()

    def _round(self, model: Mapping[str, npt.NDArray[Any]], words: Mapping[str, str]) -> Outcome:
        """Wait for as many nodes as the policy needs, as a strategy does, and make one round of all that are there."""
        config, record = ConfigRecord(dict(words)), records.to_record(model)
        messages = self._strategy.configure_train(next(self._asked), record, config, self._grid)
        return self._grid.train(messages, timeout=self._timeout)
