"""What a leaf holds: the record of a round or an epoch, which begins where its task's record before it ended."""

from __future__ import annotations

from secure_agg.errors import LedgerDamaged, LedgerRefused, VerificationError
from secure_agg.ledger.tables import Leaf
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.buffer import Base, Bases, follow_bases, name_bases
from secure_agg.protocol.config.layout import first_clips
from secure_agg.protocol.epoch import EpochRecord, Record, read_leaf, root_task
from secure_agg.protocol.epoch.record import filed_under
from secure_agg.protocol.evidence import PrivateRecord, RoundRecord


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
    if isinstance(record, PrivateRecord) and record.spent > record.epsilon:
        raise LedgerRefused(f"{where} has spent {record.spent} millionths of a budget of {record.epsilon}")
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
    before = previous.spent if isinstance(previous, PrivateRecord) and not new_policy else 0
    if isinstance(record, PrivateRecord) and record.spent < before:
        raise LedgerRefused(f"{where} has spent {record.spent} millionths, fewer than {before} before it")
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


def check_follows(config: RoundConfig, bases: Bases, record: RoundRecord, before: Bases | None) -> None:
    """Check a buffered round's bases: those of the round before it, less what is too old, and the one that this round
    has led to. What the newest model is follows from the first and from results, for whoever has them:
    ``fl.algorithms.buffered``.

    Args:
        bases: of the round, as its evidence has them.
        record: of the round.
        before: of the task's round before; None for its first.

    Raises:
        LedgerRefused: says what is another base than it has to be.
    """
    rule = config.policy.buffer
    if rule is None:
        return
    first = before is None or not before
    number = 0 if first or before is None else before[-1].number + 1
    newest = Base(number, NO_DIGEST if first else config.previous_record, config.base_model)
    expected = follow_bases(rule, before, newest)
    if bases == expected:
        return
    wrong = [own.number for own, other in zip(bases, expected, strict=False) if own != other]
    which = f"base {wrong[0]} is another" if wrong else "some are missing, or too many"
    raise LedgerRefused(
        f"{name_of(record)} has the bases {name_bases(bases)}, and the records before it lead to "
        f"{name_bases(expected)}: {which}"
    )


def as_round(record: Record) -> RoundRecord | None:
    """A round's record; None for an epoch's."""
    return record if isinstance(record, RoundRecord) else None
