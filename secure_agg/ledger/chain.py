"""What a leaf holds: a round's record, which begins where its task's record before it ended."""

from __future__ import annotations

from secure_agg.errors import LedgerDamaged, LedgerRefused, VerificationError
from secure_agg.ledger.tables import Leaf
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import RoundRecord


def read_record(leaf: Leaf) -> RoundRecord:
    """Decode a leaf.

    Raises:
        LedgerDamaged: not a record, or not of the task and round that it is filed under.
    """
    try:
        record = RoundRecord.from_bytes(leaf.record)
    except VerificationError as error:
        raise LedgerDamaged(f"record {leaf.index}: {error}") from error
    if (record.task, record.round) != (leaf.task, leaf.round):
        raise LedgerDamaged(
            f"record {leaf.index} is of round {record.round} of task {record.task!r}, "
            f"but filed as round {leaf.round!r} of {leaf.task!r}"
        )
    return record


def check_link(record: RoundRecord, previous: RoundRecord | None) -> None:
    """Check that ``record`` can follow ``previous``: its task's record with the highest round, None if first.

    A first record may start from any model.

    Raises:
        LedgerRefused: names the field, its value and what it has to be.
    """
    where = f"round {record.round} of task {record.task!r}"
    if previous is None:
        if record.previous_record != NO_DIGEST:
            raise LedgerRefused(
                f"{where} is its first and has previous_record {record.previous_record.hex()}, not zeros"
            )
        return
    if record.round <= previous.round:
        raise LedgerRefused(f"{where} is not after the task's last round, {previous.round}")
    for name, value, expected in (
        ("start_model", record.start_model, previous.result_model),
        ("previous_record", record.previous_record, previous.digest()),
    ):
        if value != expected:
            raise LedgerRefused(f"{where} has {name} {value.hex()}, not {expected.hex()} after round {previous.round}")
    if previous.next_weight_limit not in (0, record.weight_limit):
        raise LedgerRefused(
            f"{where} has weight_limit {record.weight_limit}, not {previous.next_weight_limit} after round "
            f"{previous.round}"
        )
