"""A task that changes: one ledger, one audit, and everybody follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.epochs import SHAPES, TASK, Changing, newer
from support.federation import identity

from secure_agg.errors import SecureAggError, TaskSpent
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST, Policy
from secure_agg.protocol.epoch import EpochRecord
from secure_agg.protocol.identity import Roster
from secure_agg.roles.epochs.pins import authority, closing, opened_by_members
from secure_agg.roles.trust import TaskTrust, Trust


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


def test_an_epoch_ends_a_round_that_failed_late_and_its_updates_are_given_again(task: Changing) -> None:
    """One has released: the others close, everybody is admitted, and the next generation sums the same model."""
    updates = task.updates(0)
    with pytest.raises(SecureAggError):
        task.round(updates, silent={f"m{i}": "unmask" for i in range(1, 6)})
    with pytest.raises(TaskSpent):
        task.round(updates, attempt=1)
    proposal = task.authorised(task.body(policy=msgspec.structs.replace(task.trust.task(TASK).policy, clip=0.75)))
    task.ledger.append_epoch(task.closed(proposal, [f"m{i}" for i in range(1, 6)]))
    for name in task.members:
        task.follow(name)
    appended = task.round(updates, attempt=1)  # attempts at one round are counted across epochs
    assert (
        np.abs(appended.verified.average[0] - np.mean([update[0] for update in updates.values()], axis=0)).max() < 1e-3
    )
    evidence = task.ledger.evidence(appended.verified.record)
    assert (evidence.config.epoch, evidence.config.generation) == (1, 1)
    assert task.ledger.audit(task.genesis).epochs == 1


def test_epochs_follow_on_each_other_and_begin_before_the_first_round(task: Changing) -> None:
    for clip in (0.75, 0.5):
        task.change(policy=msgspec.structs.replace(task.trust.task(TASK).policy, clip=clip))
    task.round()
    record = task.ledger.entry(1)
    assert isinstance(record, EpochRecord)
    assert (record.epoch, record.generation, record.rounds) == (2, 2, 0)
    assert task.ledger.audit(task.genesis).epochs == 2


def test_operators_open_and_members_close_where_shares_are_given(tmp_path: Path) -> None:
    """Nobody is admitted to another generation: whoever has given its update sits out, and the others go on."""
    made = Changing(tmp_path, 4)
    policy = Policy.default(4, backend="additive", clip=1.0, bits=16)
    trust = replace(made.genesis, tasks={TASK: TaskTrust(made.genesis.task(TASK).roster, policy)})
    assert not opened_by_members(policy)
    assert closing(trust, TASK)[1] == policy.quorum(4)
    drawn = replace(
        trust, tasks={TASK: TaskTrust(trust.task(TASK).roster, msgspec.structs.replace(policy, cohort_size=4))}
    )
    assert closing(drawn, TASK) == (Roster({}), 0)
    assert authority(drawn, TASK)[1] == 3  # of four: one of the roster may be corrupt
    made.ledger.close()
