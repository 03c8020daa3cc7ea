"""The states that a task's results lead to: what nodes compute for themselves, for whoever has the evidence.

A server that skips a step, takes another rate or swaps the model in between has its next round's configuration against
it: that names the arrays that updates are differences from, ``base_model``. Frameworks say it, and so does a loop that
calls ``aggregate`` with a state's digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from secure_agg.errors import AnotherModel, LedgerError
from secure_agg.fl.algorithms.algorithm import State
from secure_agg.fl.layers import apply
from secure_agg.fl.server_optimizers import ServerOptimizer
from secure_agg.protocol.claims import DP_SUM
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust

METRICS: Final = 1
"""Arrays behind the marks in a framework's rounds: the metrics."""


def replay(
    start: State, rounds: Iterable[Evidence], trust: Trust, server: ServerOptimizer, *, outside: int = 0
) -> Iterator[State]:
    """Verify a task's rounds, and recompute every state after ``start``.

    Args:
        start: before the first of the rounds.
        rounds: of one task, in order and without gaps.
        trust: the auditor's own pins.
        server: the optimizer that was agreed on.
        outside: arrays behind the marks: ``METRICS`` for a framework's rounds, else 0. With differential privacy there
            are neither.

    Yields:
        The state after each round.

    Raises:
        VerificationError: a round's evidence does not pass.
        LedgerError: a round does not follow from the one before.
        AnotherModel: a round's updates are relative to another model than the rounds before it lead to.
        UpdateError: a mean has other shapes than the state.
    """
    state, before = start, b""
    for evidence in rounds:
        config, verified = evidence.config, Auditor(trust).verify(evidence)
        record = verified.record
        if before and record.previous_record != before:
            raise LedgerError(f"round {record.round} of {record.task!r} does not follow from the result before it")
        if config.base_model != state.digest:
            named = "no model" if config.base_model == NO_DIGEST else f"{config.base_model.hex()[:16]}…"
            raise AnotherModel(
                f"round {record.round} of {record.task!r} is relative to {named}, and {state.rounds} results with "
                f"'{server}' lead to {state.digest.hex()[:16]}…"
            )
        steps, marks = verified.average, None
        if record.claim != DP_SUM:
            *steps, marks = verified.average[: len(verified.average) - outside]
        share = record.participants / len(trust.task(record.task).roster)
        moves, moments = server.step(steps, state.moments, state.rounds, share)
        state = State(apply(state.shared, moves, marks), moments, state.rounds + 1)
        before = record.digest()
        yield state
