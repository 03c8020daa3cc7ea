"""The server's side of a job of statistics: questions one after the other, each a secure round of all sites."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy.typing as npt
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel

from secure_agg import files, stats
from secure_agg.errors import ConfigError, SecureAggError
from secure_agg.executing import HERE
from secure_agg.plugins.core.coordinator import Outcome
from secure_agg.plugins.nvflare.controller import SecureFedAvg
from secure_agg.plugins.statistics.asking import NodeFederation
from secure_agg.stats.question import FUNCTIONS
from secure_agg.stats.results import Statistic, said

FUNCTION: Final = "function"
RESULTS: Final = "statistics.json"


def check_questions(questions: Mapping[str, Mapping[str, Any]]) -> None:
    """Look at questions before a job is made of them.

    Raises:
        ConfigError: one names no function of ``secure_agg.stats``, or is not in its words.
    """
    for name, asked in questions.items():
        if asked.get(FUNCTION) not in FUNCTIONS:
            raise ConfigError(
                f"question {name!r} asks for {asked.get(FUNCTION)!r}: one of {', '.join(FUNCTIONS)} is wanted"
            )
        words = {key: value for key, value in asked.items() if key != FUNCTION}
        try:
            inspect.signature(getattr(stats, asked[FUNCTION])).bind(None, **words)
        except TypeError as error:
            raise ConfigError(f"question {name!r} is not in the words of {asked[FUNCTION]}: {error}") from None


class AskQuestions(SecureFedAvg):
    """A controller that asks, and writes what it has heard to ``statistics.json`` in the job's folder.

    Args:
        questions: by a name of the caller's: ``{"function": "quantile", "column": "age", "q": 0.5, …}``, with the words
            that the function of ``secure_agg.stats`` takes.
        values: see ``NodeFederation``.
        train_timeout: seconds that sites have to compute an answer.
        phase_timeout, executor: see ``SecureFedAvg``.

    Raises:
        ConfigError: see ``check_questions``.
    """

    def __init__(
        self,
        questions: Mapping[str, Mapping[str, Any]],
        *,
        values: int | None = None,
        train_timeout: float = 3600.0,
        phase_timeout: float | None = None,
        executor: str = HERE,
    ) -> None:
        super().__init__(
            num_rounds=1, persistor_id="", train_timeout=train_timeout, phase_timeout=phase_timeout, executor=executor
        )
        check_questions(questions)
        self.questions = {name: dict(asked) for name, asked in questions.items()}
        self.values = values
        self.current_round = 0

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Open the server's home and ledger.

        Raises:
            SecureAggError: it can't be opened, or is not made for statistics; the job ends.
        """
        super().start_controller(fl_ctx)
        self.federation = NodeFederation(self.home, self._carry, self.values)

    def ask(self, federation: stats.Federation) -> dict[str, Statistic]:
        """What the job asks; a subclass may ask what depends on earlier results.

        A question that comes to nothing has no result, and the next one is asked.

        Raises:
            ConfigError: a question is none.
            SecureAggError: none has come to anything.
        """
        found, lost = dict[str, Statistic](), list[SecureAggError]()
        for name, asked in self.questions.items():
            words = {key: value for key, value in asked.items() if key != FUNCTION}
            try:
                found[name] = getattr(stats, asked[FUNCTION])(federation, **words)
            except ConfigError:
                raise
            except SecureAggError as error:
                if self.abort_signal.triggered:
                    raise
                self.error(f"question {name!r} has come to nothing: {type(error).__name__}: {error}")
                lost.append(error)
        if lost and not found:
            raise lost[0]
        return found

    def run(self) -> None:
        """Ask, and write down the results.

        Raises:
            SecureAggError: see ``ask``; the job fails with it.
        """
        document = {name: said(result) for name, result in self.ask(self.federation).items()}
        folder = Path(self.engine.get_workspace().get_run_dir(self.fl_ctx.get_job_id()))
        with files.failing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / RESULTS, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        self.info(f"{len(document)} of {len(self.questions)} questions are answered: {folder / RESULTS}")

    def _carry(self, params: Mapping[str, npt.NDArray[Any]], words: Mapping[str, str]) -> Outcome:
        model = FLModel(params=dict(params), current_round=self.current_round, meta=dict(words))
        try:
            return self.train(model, self.sample_clients())
        finally:
            self.current_round += 1
