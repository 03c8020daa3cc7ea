"""Whether a run may go on after a round that came to nothing.

An app that goes on to its end saves what it has then. So a run ends by an error where no round from its model can
succeed, and where none has been verified and none is left to come.
"""

from __future__ import annotations

from typing import Final

from secure_agg.errors import AnotherModel, BudgetSpent, RunStopped, SecureAggError, TaskSpent
from secure_agg.plugins.core.phases import Attempt
from secure_agg.plugins.core.server.history import way_on
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import NO_DIGEST

_FIRST: Final = (
    "Begin with the model that their owners have pinned by --start-model, or make homes of a new task that pin this one"
)


def check_hope(home: ServerHome, attempt: Attempt | None, error: SecureAggError, *, verified: bool, more: bool) -> None:
    """Refuse to go on where it leads to nothing.

    Args:
        home: the server's.
        attempt: that came to nothing; None where none was begun.
        error: what it has ended with.
        verified: whether a round of this run is.
        more: whether there is another round.

    Raises:
        RunStopped: it does; says how to go on.
    """
    cause = f"{type(error).__name__}: {error.args[0] if error.args else error}"
    where = {"phase": error.phase, "culprit": error.culprit}
    if attempt is not None:
        config = attempt.aggregator.config
        refused = {kind: attempt.refused.get(kind.__name__, set()) for kind in (AnotherModel, TaskSpent, BudgetSpent)}
        if config.beacon:  # another draw has other clients
            refused[TaskSpent] = set()
        lost = set().union(*refused.values())
        if config.cohort_size - len(lost) < config.policy.min_advertised:
            if refused[AnotherModel]:
                why = f"{len(refused[AnotherModel])} of {config.cohort_size} nodes know another, as their logs say"
                cure = way_on(home) if config.previous_record != NO_DIGEST else _FIRST
            elif len(refused[BudgetSpent]) == len(lost):
                why = f"{len(lost)} of {config.cohort_size} nodes have spent their privacy budget"
                cure = "Members agree on another by an epoch, 'secure-agg federation propose', or this is the end"
            else:
                why = f"{len(lost)} of {config.cohort_size} nodes have signed in a round from it"
                cure = (
                    "The round that they signed in may still be finished, or be renounced by enough of them, when "
                    "the server is started again; else training goes on in a new task, and new homes, whose start "
                    "model is this one"
                )
            raise RunStopped(
                f"no round of task {config.task!r} from model {config.base_model.hex()[:16]}… can succeed: {why}. "
                f"{cure}", **where,
            ) from error  # fmt: skip
    if not verified and not more:
        said = "; ".join(f"{name}: {text}" for name, text in sorted(attempt.lost.items())) if attempt else ""
        raise RunStopped(
            f"no round of this run is verified, so it ends here and returns no model: {cause}"
            + (f" ({said})" if said else ""), **where,
        ) from error  # fmt: skip


def is_spent(attempt: Attempt | None) -> bool:
    """Whether nodes that are bound to an attempt which the server knows nothing of have kept this one from binding
    anybody.
    """
    return attempt is not None and TaskSpent.__name__ in attempt.refused and not attempt.aggregator.is_binding
