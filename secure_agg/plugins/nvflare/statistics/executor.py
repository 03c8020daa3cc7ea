"""A site's side of a job of statistics: its answer from its own table, by its owner's rules."""

from __future__ import annotations

from typing import Any

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from secure_agg.errors import ConfigError, SecureAggError
from secure_agg.plugins.nvflare import wire
from secure_agg.plugins.nvflare.given import WEIGHT_KEY
from secure_agg.plugins.nvflare.models import named
from secure_agg.plugins.nvflare.site import client_home, client_table
from secure_agg.plugins.statistics.answering import answered
from secure_agg.plugins.statistics.asking import QUESTION
from secure_agg.stats.tables import Table


class AnswerQuestions(Executor):  # type: ignore[misc]  # nvflare has no types
    """Answers the question of a train task; the filters around it let nothing out but what joins the round."""

    def table(self, fl_ctx: FLContext) -> Any:
        """This site's records, see ``Table.of``: the CSV file that ``configure`` was told. A subclass may load others.

        Raises:
            ConfigError: none is configured, or it can't be read.
        """
        path = client_table(fl_ctx)
        if path is None:
            raise ConfigError("this site has no table: configure(local, home, table=…) names its CSV file")
        return Table.read_csv(path)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """See ``Executor``. Why a question is not answered stays in this site's log."""
        if task_name != wire.TRAIN:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            model = FLModelUtils.from_shareable(shareable)
            given = named(model)
            text = (model.meta or {}).get(QUESTION)
            moved = answered(client_home(fl_ctx), lambda: self.table(fl_ctx), text, list(given.values()))
        except SecureAggError as error:
            self.log_error(fl_ctx, f"a question is not answered: {type(error).__name__}: {error}")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        params = dict(zip(given, moved, strict=True))
        result = FLModel(params=params, params_type=ParamsType.FULL, meta={WEIGHT_KEY: 1})
        answer: Shareable = FLModelUtils.to_shareable(result)
        return answer
