"""A job that asks questions of statistics, as a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import ExecEnv, Recipe

from secure_agg.executing import HERE
from secure_agg.plugins.nvflare import simulation, wire
from secure_agg.plugins.nvflare.filters import SecureTaskData, SecureTaskResult
from secure_agg.plugins.nvflare.recipe import PACKAGE
from secure_agg.plugins.nvflare.statistics.controller import AskQuestions
from secure_agg.plugins.nvflare.statistics.executor import AnswerQuestions

SIMULATED: Final[Mapping[str, Any]] = {"bits": 24, "max_weight": 1}
"""What ``Policy.default`` is told where NVFlare simulates the sites, and nothing else is said."""


class StatisticsRecipe(Recipe):  # type: ignore[misc]  # nvflare has no types
    """Questions to all sites: ``StatisticsRecipe("ages", {"mean": {"function": "mean", "column": "age", …}})``.

    Results are in ``statistics.json`` of the server's job folder, in the form of ``secure-agg stats --json``.
    """

    def __init__(
        self,
        name: str,
        questions: Mapping[str, Mapping[str, Any]],
        *,
        min_clients: int = 1,
        controller: AskQuestions | None = None,
        executor: AnswerQuestions | None = None,
        train_timeout: float = 3600.0,
        phase_timeout: float | None = None,
        workers: str = HERE,
        simulated: Mapping[str, Any] = SIMULATED,
        tables: Path | None = None,
    ) -> None:
        """
        Args:
            name: of the job.
            questions: see ``AskQuestions``.
            min_clients: sites without which NVFlare does not start the job; how many are summed at least, homes say.
            controller: one that asks otherwise; questions and timeouts are its own then.
            executor: one whose sites load their tables otherwise.
            train_timeout, phase_timeout: see ``SecureFedAvg``. workers: its ``executor``.
            simulated: see ``secure``; where NVFlare's simulator runs the recipe and nobody has made homes.
            tables: in that case, a folder with a CSV file for each site, ``site-1.csv``.

        Raises:
            ConfigError: see ``check_questions``.
        """
        job = FedJob(name=name, min_clients=min_clients)
        asking = controller or AskQuestions(
            questions, train_timeout=train_timeout, phase_timeout=phase_timeout, executor=workers
        )
        job.to_server(asking)
        job.to_clients(executor or AnswerQuestions(), tasks=[wire.TRAIN])
        super().__init__(job)
        self._simulated, self._tables = simulated, tables
        self.add_client_input_filter(SecureTaskData(), tasks=[wire.TRAIN])
        self.add_client_output_filter(SecureTaskResult(), tasks=[wire.TRAIN])
        job.set_app_packages([*job.job.app_packages, PACKAGE])

    def process_env(self, env: ExecEnv) -> None:
        """Make homes where NVFlare simulates the sites, and nobody has made any.

        Raises:
            ConfigError: see ``simulation.prepare``.
        """
        simulation.prepare(env, self.name, self._simulated, checks_model=False, table=self._tables)
