"""Bringing operators to the epoch in force: each is shown those that it has missed, and checks them by its own pins."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from secure_agg.errors import SecureAggError
from secure_agg.ledger.reader import LedgerReader
from secure_agg.protocol.epoch import root_task
from secure_agg.transport.blocking import RemoteOperator
from secure_agg.transport.failure import one_line

_log = logging.getLogger("secure_agg.transport")


def bring(operators: Mapping[str, RemoteOperator], ledger: LedgerReader, task: str) -> dict[str, SecureAggError]:
    """Have operators that are behind follow to the epoch of a task that is in force in a ledger.

    Args:
        operators: connected to.
        ledger: of the task.
        task: any that is under its epochs.

    Returns:
        Who does not follow, by id, with what it has refused with. It will refuse the rounds of the epoch too: whether
        they go on without it is for the round to say.
    """
    root = root_task(task)
    number = len(ledger.epochs(root))

    def one(operator: RemoteOperator) -> SecureAggError | None:
        try:
            where = operator.follow(root)
            if where.epoch < number:
                operator.follow(root, ledger.steps(root, where.epoch, where.seen or None).to_bytes())
        except SecureAggError as error:
            return error
        return None

    if not number or not operators:
        return {}
    with ThreadPoolExecutor(len(operators)) as pool:
        found = dict(zip(operators, pool.map(one, operators.values()), strict=True))
    refused = {name: error for name, error in found.items() if error is not None}
    for name, error in refused.items():
        _log.warning("operator %s does not follow the epochs of %r: %s", name, root, one_line(str(error)))
    return refused
