"""Statistics without a model as a job of NVFlare: no code of the job's own, no training.

* ``recipe``: the job. ``controller``: the server's side, which asks. ``executor``: a site's, which answers.
"""

from secure_agg.plugins.nvflare.statistics.controller import AskQuestions
from secure_agg.plugins.nvflare.statistics.executor import AnswerQuestions
from secure_agg.plugins.nvflare.statistics.recipe import StatisticsRecipe

__all__ = ["AnswerQuestions", "AskQuestions", "StatisticsRecipe"]
