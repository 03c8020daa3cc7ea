"""What a client of a tree is bound to: one edge in an attempt, and one record of it in a round."""

from __future__ import annotations

from mpc.framing import integer
from secure_agg.errors import AlreadyReleased
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import tree_task
from secure_agg.protocol.tree.record import VOUCH
from secure_agg.roles.memory.store import AttemptStore, task_scope


def enter_edge(store: AttemptStore, client: str, config: RoundConfig, *, phase: str) -> None:
    """Bind to one edge of a tree in one attempt at its round, durably: whoever were in two would be summed twice.

    Args:
        config: of the edge's round.

    Raises:
        AlreadyReleased: this client is in another edge, or in another configuration of this one.
    """
    name = f"edge of {config.round}.{config.attempt}"
    store.pin(task_scope(client, tree_task(config.task, config.policy)), name, config.context, phase=phase)


def vouch(store: AttemptStore, client: str, config: RoundConfig, record: bytes) -> None:
    """Bind to the record of an edge's round that is about to be signed, durably: one for each round of the tree.

    Args:
        record: digest.

    Raises:
        AlreadyReleased: another was signed in this round.
    """
    scope, value = task_scope(client, tree_task(config.task, config.policy)), integer(config.attempt) + record
    if store.put(scope, f"edge record {config.round}", value) != value:
        raise AlreadyReleased("this client has signed another record of its edge in this round", phase=VOUCH)
