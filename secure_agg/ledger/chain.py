"""What a leaf holds: the record of a round or an epoch, which begins where its task's record before it ended."""

from __future__ import annotations

from secure_agg.errors import LedgerDamaged, LedgerRefused, VerificationError
from secure_agg.ledger.tables import Leaf
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.layout import first_clips
from secure_agg.protocol.epoch import EpochRecord, Record, read_leaf, root_task
from secure_agg.protocol.epoch.record import filed_under
from secure_agg.protocol.evidence import RoundRecord


def read_record(leaf: Leaf) -> Record:
    """Decode a leaf.

    Raises:
        LedgerDamaged: not a record, or not of the task and round or epoch that it is filed under.
    """
    try:
        record = read_leaf(leaf.record)
    except VerificationError as error:
        raise LedgerDamaged(f"record {leaf.index}: {error}") from error
    if (record.task, filed_under(record)) != (leaf.task, leaf.round):
        raise LedgerDamaged(
            f"record {leaf.index} is of {name_of(record)}, but filed as round {leaf.round!r} of {leaf.task!r}"
        )
    return record


def name_of(record: Record) -> str:
    """What a record is of, in words."""
    which = f"epoch {record.epoch}" if isinstance(record, EpochRecord) else f"round {record.round}"
    return f"{which} of task {record.task!r}"


def check_link(record: Record, previous: Record | None, *, new_policy: bool = False) -> None:
    """Check that ``record`` can follow ``previous``: its task's newest record, None if first.

    A first record may start from any model.

    Args:
        new_policy: the task is evaluated under the epochs of another, which has begun one since: what the last record
            says of weights is of another policy.

    Raises:
        LedgerRefused: names the field, its value and what it has to be.
    """
    where = name_of(record)
    if isinstance(record, EpochRecord):
        _check_epoch(record, previous)
        return
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
    if previous.next_weight_limit not in (0, record.weight_limit) and not new_policy:
        raise LedgerRefused(
            f"{where} has weight_limit {record.weight_limit}, not {previous.next_weight_limit} after round "
            f"{previous.round}"
        )


class Chains:
    """All tasks' chains, for whoever goes through a log from its beginning."""

    def __init__(self) -> None:
        self._last: dict[str, Record] = {}
        self._renewed: set[str] = set()

    def last(self, task: str) -> Record | None:
        """A task's newest record so far."""
        return self._last.get(task)

    def take(self, record: Record) -> None:
        """Go on to a record.

        Raises:
            LedgerRefused: it does not follow; it is the newest all the same.
        """
        previous, renewed = self._last.get(record.task), record.task in self._renewed
        self._last[record.task] = record
        self._renewed.discard(record.task)
        if isinstance(record, EpochRecord):
            self._renewed |= {name for name in self._last if name != record.task and root_task(name) == record.task}
        check_link(record, previous, new_policy=renewed)


def _check_epoch(record: EpochRecord, previous: Record | None) -> None:
    expected = (previous.digest(), previous.round + 1) if previous else (NO_DIGEST, 0)
    if (record.previous_record, record.rounds) != expected:
        raise LedgerRefused(
            f"{name_of(record)} follows record {record.previous_record.hex()} and {record.rounds} rounds, not "
            f"{expected[0].hex()} and {expected[1]}"
        )


def check_begins(config: RoundConfig, epoch: Record | None) -> None:
    """Check what a round's configuration says, and its record does not, where an epoch's record is before it.

    Args:
        epoch: the task's record before the round; where that is a round's only clips are checked.

    Raises:
        LedgerRefused: names the field, its value and what it has to be.
    """
    where = f"round {config.round} of task {config.task!r}"
    due = (epoch.next_clips if epoch else ()) or first_clips(config.policy.groups, config.grouping)
    if config.clips != due:
        raise LedgerRefused(f"{where} has clips of steps {list(config.clips)}, not {list(due)} as follows")
    if not isinstance(epoch, EpochRecord):
        return
    if config.generation < epoch.generation:
        raise LedgerRefused(f"{where} is of generation {config.generation}, before {epoch.generation} of its epoch")
    for name in ("renounced", "base_model"):
        value, expected = getattr(config, name), getattr(epoch, name)
        # What failed since, and was renounced, has a certificate of its own.
        free = config.generation != epoch.generation if name == "renounced" else expected == NO_DIGEST
        if value != expected and not free:
            raise LedgerRefused(f"{where} has {name} {value.hex()}, not {expected.hex()} as its epoch says")


def as_round(record: Record) -> RoundRecord | None:
    """A round's record; None for an epoch's."""
    return record if isinstance(record, RoundRecord) else None
