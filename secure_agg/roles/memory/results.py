"""What a client has verified, or computed itself, that its next rounds may follow from: models, and what a record says
of the weights and clips of the round after it.
"""

from __future__ import annotations

from mpc.framing import integer
from secure_agg.protocol.epoch import EpochRecord
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.roles.memory.store import AttemptStore, task_scope


def learn_result(store: AttemptStore, client: str, record: RoundRecord) -> None:
    """Remember a result that this client has verified: a model that its next round may start from.

    Args:
        record: of a round of which the client has checked the evidence, and the ledger's receipt where it pins a
            ledger; also of one it had no part in.
    """
    scope = task_scope(client, record.task)
    store.put(scope, _limit(record.digest()), integer(record.next_weight_limit))
    if record.next_clips:
        store.put(scope, _clips(record.digest()), b"".join(map(integer, record.next_clips)))
    store.put(scope, _result(record.result_model), b"1")


def learn_start(store: AttemptStore, client: str, record: EpochRecord, *, known: bool) -> None:
    """Remember what rounds of an epoch that this client follows may start from.

    Args:
        record: of the epoch, checked.
        known: whether its start model is believed; else nobody but the log says from where the task goes on.
    """
    scope = task_scope(client, record.task)
    store.put(scope, _limit(record.digest()), integer(record.next_weight_limit))
    if known:
        store.put(scope, _result(record.start_model), b"1")


def is_known(store: AttemptStore, client: str, task: str, model: bytes) -> bool:
    """Whether rounds may start from this digest: of a result that this client has verified, or an epoch it follows."""
    return store.get(task_scope(client, task), _result(model)) is not None


def weight_limit_after(store: AttemptStore, client: str, task: str, record: bytes) -> int | None:
    """What a result that this client has verified says of the weights of the round that follows.

    Args:
        record: digest of the result's record.

    Returns:
        Its ``next_weight_limit``; None where this client has verified no such result.
    """
    found = store.get(task_scope(client, task), _limit(record))
    return None if found is None else int.from_bytes(found, "little")


def clips_after(store: AttemptStore, client: str, task: str, record: bytes) -> tuple[int, ...]:
    """k of the adaptive clips of the round that follows a result which this client has verified; empty of none.

    Args:
        record: digest of the result's record.
    """
    found = store.get(task_scope(client, task), _clips(record)) or b""
    size = len(integer(0))
    return tuple(int.from_bytes(found[at : at + size], "little") for at in range(0, len(found), size))


def learn_model(store: AttemptStore, client: str, task: str, model: bytes) -> None:
    """Remember arrays that follow from a result that this client has verified, by its own computation: a signature over
    differences from them, or an evaluation of them, is for them alone.

    Args:
        task: whose rounds may name them as base model.
        model: their digest.
    """
    store.put(task_scope(client, task), _model(model), b"1")


def has_computed(store: AttemptStore, client: str, task: str, model: bytes) -> bool:
    """Whether this client has computed arrays itself, by their digest: see ``learn_model``."""
    return store.get(task_scope(client, task), _model(model)) is not None


def _limit(record: bytes) -> str:
    return f"weight limit after {record.hex()}"


def _clips(record: bytes) -> str:
    return f"clips after {record.hex()}"


def _result(model: bytes) -> str:
    return f"result {model.hex()}"


def _model(model: bytes) -> str:
    return f"model {model.hex()}"
