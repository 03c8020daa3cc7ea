"""What never changes, or is never believed, when a federation changes: each works against a naive version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.epochs import SHAPES, TASK, Changing, in_order, newer
from support.federation import identity

from secure_agg.errors import AlreadyReleased, ConfigError, LedgerError, TaskSpent, TrustError, VerificationError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import Policy
from secure_agg.protocol.epoch import EpochEvidence, EpochRecord, authorise_bytes
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Signature
from secure_agg.roles.auditor import verify
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.change import Change, new_keys
from secure_agg.roles.epochs.following import Place, Step, follow
from secure_agg.roles.epochs.pins import closing
from secure_agg.roles.memory import bonds
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.seats import SeatBonds
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.cosignature import cosign
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import VerifierKey
from secure_agg.tlog.receipt import Receipt

PHASE = "masked-input"


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path, 7)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("members", [20, 100])
def test_never_two_quorums_over_one_model_when_two_members_leave(members: int) -> None:
    """Naive: quorums of each roster alone. With two fewer, all of whom are in the first too, they share nobody honest
    as soon as t + t' is not above |R| + f.
    """
    before, after = Policy.default(members), Policy.default(members - 2)
    t, f = before.quorum(members), before.max_corrupt
    assert t + after.quorum(members - 2) <= members + f
    roster = Roster({f"c{i}": Identity("x", i.to_bytes(32, "big")).public for i in range(1, members + 1)})
    options = tuple(option for option in before.options if option.name != "complete_up_to")
    pins = TaskTrust(roster, msgspec.structs.replace(before, options=options))
    _, closers = closing(Trust(tasks={TASK: pins}, log=identity("log").public), TASK)
    assert closers + t > members + f


def test_never_a_cohort_of_the_coordinators_own(task: Changing) -> None:
    """A victim among six of the coordinator's, in an epoch that it has made up: the mean and their updates are its."""
    own = {f"own{i}": identity(f"own{i}") for i in range(6)}
    keys = {"m0": task.keys["m0"], **own}
    roster = Roster({name: key.public for name, key in keys.items()})
    pins = replace(task.genesis.task(TASK), roster=roster, epoch=1, epoch_digest=b"e" * 32)
    forged = replace(task.genesis, tasks={TASK: pins})
    updates = {name: [np.full(SHAPES[0], 0.4 if name == "m0" else 0.1)] for name in keys}
    leading = Task(TASK, forged)
    config = leading.next_round(SHAPES)

    def played(victim: Trust) -> LocalRound:
        clients = {name: Client(key, forged, store=AttemptStore()) for name, key in own.items()}
        clients["m0"] = Client(task.keys["m0"], victim, store=AttemptStore())
        return LocalRound(leading.lead(task.operator, config), clients, updates)

    mean = verify(played(forged).run(), forged).average[0]  # naive: who takes part is what the configuration says
    assert np.abs(7 * mean - 6 * 0.1 - 0.4).max() < 1e-3
    with pytest.raises(TrustError, match="is of epoch 1, and what is pinned is in force in 0"):
        played(task.genesis).run()


def seen_by(step: Step, *witnesses: str) -> Step:
    """The step, whose checkpoint these have cosigned."""
    receipt = Receipt.from_bytes(step.receipt)
    lines = tuple(cosign(identity(name), name, receipt.checkpoint, 1_700_000_000) for name in witnesses)
    note = replace(receipt.note, signatures=(*receipt.note.signatures, *lines))
    return msgspec.structs.replace(step, receipt=replace(receipt, note=note).to_bytes())


def test_never_an_epoch_that_too_few_witnesses_have_seen(task: Changing) -> None:
    """A log shows an epoch to one node alone."""
    names = ("witness-1", "witness-2", "witness-3")
    trust = replace(
        task.genesis,
        witnesses=Roster({name: identity(name).public for name in names}),
        quorum=2,
        origin=task.ledger.origin,
    )
    task.change(witnesses=trust.witnesses, quorum=2)
    place = task.places["m0"]
    proposal = task.authorised(task.body(leave=frozenset({"m6"})))
    receipt = task.ledger.append_epoch(task.closed(proposal))
    record, evidence = task.ledger.epoch(receipt.index)
    proof = task.ledger.consistency(place.checkpoint.size if place.checkpoint else 0, receipt.checkpoint.size)
    step = Step(record.to_bytes(), evidence.to_bytes(), receipt.to_bytes(), proof)
    log = VerifierKey(task.ledger.origin, task.ledger.log_public)
    receipt.verify(step.record, log)  # naive: it is in the log
    for few in ((), ("witness-1",), ("witness-1", "stranger", "m1")):
        with pytest.raises(VerificationError, match="cosigned"):
            follow(place, TASK, seen_by(step, *few))
    after, _ = follow(place, TASK, seen_by(step, "witness-1", "witness-3"))
    assert after.trust.task(TASK).epoch == 2


def test_never_another_logs_key(task: Changing) -> None:
    """A coordinator keeps two logs: one for those it deceives, in which the epoch is, under a key of its own."""
    task.change(leave=frozenset({"m6"}))
    (step,) = task.ledger.steps(TASK).steps
    receipt = Receipt.from_bytes(step.receipt)
    found, other = receipt.checkpoint, identity("other log")
    note = SignedHead.sign(other, found.origin, found.size, found.root).note(other.public)
    forged = replace(receipt, note=note)
    forged.verify(step.record, VerifierKey(found.origin, other.public))  # naive: the key that comes with it
    with pytest.raises(VerificationError):
        follow(Place(task.genesis), TASK, msgspec.structs.replace(step, receipt=forged.to_bytes()))


def test_never_a_round_number_twice(task: Changing) -> None:
    """A key holder answers once for each (task, round). Were rounds counted from 0 in a new training, or bonds of an
    epoch, it would open a second sum of what it has opened.
    """
    task.round()
    first = Task(TASK, task.genesis).next_round(SHAPES)
    task.change(restart=("second", b"m" * 32))
    again = Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK))
    assert again.next_round(SHAPES).round == 1
    counted = again.next_round(SHAPES, number=0)
    assert (counted.epoch, counted.round) == (1, 0)
    store = AttemptStore()
    SeatBonds(store, "holder", first).open(b"one sum", phase="decrypt")
    naive = msgspec.structs.replace(counted, task=f"{TASK} in epoch 1")
    SeatBonds(store, "holder", naive).open(b"another", phase="decrypt")  # naive: bound by the epoch
    with pytest.raises(AlreadyReleased):
        SeatBonds(store, "holder", counted).open(b"another", phase="decrypt")
    clients = {name: Client(task.keys[name], task.trust, store=AttemptStore()) for name in task.members}
    evidence = LocalRound(again.lead(task.operator, counted), clients, task.updates(1)).run()
    with pytest.raises(LedgerError):
        task.ledger.append(evidence)


def test_never_an_input_in_two_epochs_of_one_model(tmp_path: Path) -> None:
    """Where operators open sums nobody renounces for all, so the round of the epoch before may still be opened: who has
    given its input there gives it nowhere else.
    """
    task = Changing(tmp_path, 7, backend="additive")
    store, name = AttemptStore(), "m0"
    before = Task(TASK, task.trust).next_round(SHAPES, setup=b"s" * 32)
    Bonds(store, name, before).give(phase=PHASE)
    task.change(leave=frozenset({"m6"}))
    config = Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK)).next_round(
        SHAPES, setup=b"s" * 32
    )
    assert (config.epoch, config.generation, config.start_model) == (1, 0, before.start_model)
    record = task.ledger.newest(TASK)
    assert isinstance(record, EpochRecord)
    Bonds(AttemptStore(), name, config).give(phase=PHASE)  # naive: bonds are of a round, or of an epoch
    bonds.learn_epoch(store, name, record, task.ledger.epoch(0)[1].closure)
    with pytest.raises(TaskSpent):
        Bonds(store, name, config).give(phase=PHASE)
    task.ledger.close()


def test_never_an_operator_that_does_not_know_of_it(task: Changing) -> None:
    """Members name somebody's key as an operator's, so that sums seem to be opened by whom others trust."""
    trusted = identity("trusted")
    operators = Roster({task.operator.name: task.operator.public, trusted.name: trusted.public})
    proposal = task.authorised(task.body(operators=operators))
    checking.check_authority(task.trust, proposal)  # naive: a quorum has named it
    with pytest.raises(VerificationError, match="'trusted' is new in epoch 1 of task 'task', and it has not accepted"):
        task.closed(proposal)
    task.closed(task.accepted(proposal, {trusted.name: trusted}))


def test_never_two_new_keys_of_one_name(task: Changing) -> None:
    """One acceptance under a name would stand for both."""
    one, other = identity("m9"), identity("another m9")
    join, administrators = {"m9": one.public}, Roster({"m9": other.public})
    body = task.body(join=join, administrators=administrators, threshold=1)
    assert {(member.name, member.public) for member in (*body.roster, *body.administrators)} >= {
        ("m9", one.public), ("m9", other.public),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'m9' has two new keys in epoch 1"):
        new_keys(task.trust, body)
    with pytest.raises(VerificationError):
        task.ledger.append_epoch(task.authorised(body))


def test_never_by_what_the_newest_epoch_alone_says(task: Changing) -> None:
    """Whoever is new is shown the last epoch, and what it follows as if it were in force: strangers' own."""
    strangers = [identity(f"stranger{i}") for i in range(4)]
    roster = Roster({key.name: key.public for key in strangers})
    rules = Policy.default(4, clip=1.0, bits=16)
    pins = replace(task.genesis.task(TASK), roster=roster, policy=rules, epoch=1, epoch_digest=b"e" * 32)
    theirs = replace(task.genesis, tasks={TASK: pins})
    body = Change(rotate={"stranger0": newer("stranger0").public}).body(theirs, TASK)
    message = authorise_bytes(TASK, body.previous_epoch, body.digest)
    signed = in_order(Signature(key.name, key.sign(message)) for key in strangers)
    evidence = EpochEvidence(body=body.to_bytes(), authorisations=signed)
    checking.check_authority(theirs, evidence)  # naive: it is authorised under the epoch before
    with pytest.raises(VerificationError, match="epoch 2 of task 'task' does not follow epoch 0"):
        checking.check_ready(task.genesis, evidence)
