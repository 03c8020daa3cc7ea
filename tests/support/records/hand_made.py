"""Records that no round made, for tests of what holds records and does not ask what they mean."""

from __future__ import annotations

import hashlib

from secure_agg.ledger.log import Ledger
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.tlog.receipt import Receipt


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def make_record(round: int, previous: RoundRecord | None = None, **changes: object) -> RoundRecord:
    """A record that follows ``previous``; its evidence is ``evidence_of(task, round)``."""
    fields: dict[str, object] = {
        "version": 2,
        "claim": "sum",
        "task": "task",
        "round": round,
        "attempt": 0,
        "context": sha256("context"),
        "session": sha256("session"),
        "cohort_size": 4,
        "participants": 3,
        "participants_root": sha256("participants"),
        "commitment_sum": bytes(6144),
        "weight_limit": 1,
        "weight_sum": 3,
        "weights_lowered": 0,
        "weights_raised": 0,
        "error_bound": 2.0**-12,
        "next_weight_limit": 0,
        "start_model": previous.result_model if previous else sha256("initial model"),
        "result_model": sha256(f"model {round}"),
        "previous_record": previous.digest() if previous else NO_DIGEST,
    }
    fields |= changes
    fields.setdefault("evidence", hashlib.sha256(evidence_of(str(fields["task"]), round)).digest())
    return RoundRecord(**fields)  # type: ignore[arg-type]


def evidence_of(task: str, round: int) -> bytes:
    return f"evidence of {task}, {round}".encode()


def add(ledger: Ledger, record: RoundRecord) -> Receipt:
    return ledger._append_records([(record, evidence_of(record.task, record.round))])[0]


def fill(ledger: Ledger, rounds: int, task: str = "task") -> None:
    """Append so many further rounds."""
    for _ in range(rounds):
        previous = ledger.last(task)
        add(ledger, make_record(previous.round + 1 if previous else 0, previous, task=task))
