"""A task that changes: one ledger, one audit, and everybody follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.epochs import SHAPES, TASK, Changing, newer
from support.federation import identity

from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import EpochRecord
from secure_agg.roles.trust import Trust


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path)
    yield made
    made.ledger.close()


def test_one_audit_covers_a_task_that_joins_leaves_rotates_clips_and_starts_anew(task: Changing) -> None:
    """Members join in round 3, leave in 5, rotate in 7, the clip changes in 9, and a new training starts in 11."""
    means = {}
    new_model = [np.full(shape, 0.25) for shape in SHAPES]

    def rounds(first: int, last: int, **changes: bytes) -> None:
        for number in range(first, last):
            appended = task.round(**(changes if number == first else {}))
            record = appended.verified.record
            assert record.round == number
            means[number] = appended.verified.average
            expected = np.mean([update[0] for update in task.updates(number).values()], axis=0)
            assert np.abs(means[number][0] - expected).max() <= record.error_bound

    rounds(0, 3)
    task.change(join={"new": identity("new").public}, new={"new": identity("new")})
    rounds(3, 5)
    assert "new" in task.members
    task.change(leave=frozenset({"m1"}))
    rounds(5, 7)
    assert "m1" not in task.members
    task.change(rotate={"m2": newer("m2").public}, new={"m2": newer("m2")})
    rounds(7, 9)
    task.change(policy=msgspec.structs.replace(task.trust.task(TASK).policy, clip=0.75))
    rounds(9, 11)
    digest = model_digest(new_model)
    task.change(restart=("second", digest))
    rounds(11, 13, base_model=digest)

    assert task.trust.task(TASK).epoch == 5
    report = task.ledger.audit(task.genesis)
    assert (report.size, report.epochs, report.verified) == (18, 5, 13)
    assert report.tasks == {TASK: 13}
    assert report.pinned >= {"roster", "policy", "operators", "log"}
    records = [task.ledger.entry(index) for index in task.ledger.epochs(TASK)]
    assert [record.rounds for record in records if isinstance(record, EpochRecord)] == [3, 5, 7, 9, 11]
    newest = records[-1]
    assert isinstance(newest, EpochRecord)
    assert newest.start_model != NO_DIGEST
    assert newest.base_model == digest
    # Nobody needs more than what was pinned at first.
    assert Trust.from_json(task.genesis.to_json()) == task.genesis
