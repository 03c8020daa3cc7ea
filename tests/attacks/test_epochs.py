"""Whoever changes a federation without the right to it: each works against a naive version, and fails against ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from support.epochs import SHAPES, TASK, Changing, in_order, newer
from support.federation import Federation, channel, identity

from secure_agg.errors import (
    AlreadyReleased,
    ConfigError,
    LedgerRefused,
    MalformedMessage,
    PolicyViolation,
    SecureAggError,
    TaskSpent,
    TrustError,
    VerificationError,
)
from secure_agg.ledger.faults import FaultFolder
from secure_agg.local.rounds import LocalRound
from secure_agg.plugins.core.epochs import node
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.config import NO_DIGEST, Option, Policy
from secure_agg.protocol.epoch import EpochBody, EpochEvidence, EpochRecord, authorise_bytes
from secure_agg.protocol.epoch.body import start_of
from secure_agg.protocol.fault import TWO_EPOCHS, FaultProof
from secure_agg.protocol.identity import Identity, Roster, verify_signature
from secure_agg.protocol.messages import Header, Signature, encode, pack, signed_bytes
from secure_agg.protocol.renunciation import RenunciationCertificate, first_bulk, split_first
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs import acts, checking
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.epochs.floor import Floor, corrupt_share
from secure_agg.roles.epochs.following import Place, Step, follow
from secure_agg.roles.epochs.forks import two_epochs
from secure_agg.roles.epochs.pins import authority, closing, epoch_digest, under
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory import bonds, results
from secure_agg.roles.memory.convictions import Convictions
from secure_agg.roles.memory.followed import FollowedEpochs
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.renouncing import Renouncing, renounce_as_client
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.task import Task
from secure_agg.tlog.note import Note

NEW = {"new": identity("new")}
JOIN = {"join": {"new": identity("new").public}}


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path, 7)
    yield made
    made.ledger.close()


@pytest.fixture
def administered(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path, 7, administrators=3)
    yield made
    made.ledger.close()


def signed_anyway(body: EpochBody, keys: list[Identity]) -> EpochEvidence:
    """What parties sign who keep no store."""
    message = authorise_bytes(body.task, body.previous_epoch, body.digest)
    return EpochEvidence(
        body=body.to_bytes(), authorisations=in_order(Signature(key.name, key.sign(message)) for key in keys)
    )


# --- (a) one member is replaced, and both rosters sign --------------------------------------------------------------


@pytest.mark.parametrize("members", [20, 100, 1000])
def test_replacing_one_member_leaves_two_quorums_over_one_model_without_an_honest_signer_in_common(
    members: int,
) -> None:
    """Naive: quorums of each roster alone. They intersect in honest members only if t + t' > |R u R'| + f."""
    policy = Policy.default(members)
    t, f = policy.quorum(members), policy.max_corrupt
    assert 2 * t <= members + 1 + f  # so two sums over 19 common inputs of 20 can be opened
    _, closers = closing_of(policy, members)
    # Ours: a renunciation by so many that no quorum of the old roster is left, and so the next generation is another.
    assert closers + t > members + f


def closing_of(policy: Policy, members: int) -> tuple[Roster, int]:
    from secure_agg.roles.trust import TaskTrust, Trust

    roster = Roster({f"c{i}": Identity("x", i.to_bytes(32, "big")).public for i in range(1, members + 1)})
    options = tuple(option for option in policy.options if option.name != "complete_up_to")
    pins = TaskTrust(roster, msgspec.structs.replace(policy, options=options))
    return closing(Trust(tasks={TASK: pins}, log=identity("log").public), TASK)


def test_a_node_that_has_closed_an_epoch_signs_nothing_more_in_it(task: Changing) -> None:
    """The leaver and the corrupt want the old roster's quorum for the model that the new one is about to sum."""
    task.round()
    proposal = task.accepted(task.authorised(task.body(leave=frozenset({"m0"}))), {})
    task.closed(proposal)
    with pytest.raises(TaskSpent, match="has closed epoch 0"):
        task.round()


def test_a_node_that_has_released_in_an_open_round_does_not_close_its_epoch(task: Changing) -> None:
    """What it has released may open a sum: then its update would be in two sums of one model."""
    with pytest.raises(SecureAggError):
        task.round(silent={f"m{i}": "unmask" for i in range(3, 7)})
    proposal = task.accepted(task.authorised(task.body(leave=frozenset({"m6"}))), {})
    with pytest.raises(AlreadyReleased, match="has released what may open a sum"):
        task.closed(proposal, ["m0"])
    with pytest.raises(VerificationError, match="4 of 7 renounced generation 0 of round 0, 5 are needed"):
        task.ledger.append_epoch(task.closed(proposal, ["m3", "m4", "m5", "m6"]))


def test_enough_nodes_have_to_close_that_two_groups_share_an_honest_one(task: Changing) -> None:
    proposal = task.accepted(task.authorised(task.body(**JOIN)), NEW)
    voters, least = closing(task.trust, TASK)
    few = task.closed(proposal, list(voters)[: least - 1])
    with pytest.raises(VerificationError, match="is not closed"):
        task.ledger.append_epoch(few)
    policy = task.trust.task(TASK).policy
    members, corrupt = len(voters), policy.max_corrupt
    honest = set(range(corrupt, members))
    for first in combinations(range(members), least):
        for second in combinations(range(members), least):
            assert set(first) & set(second) & honest
    assert len(task.ledger) == 0


# --- (b) administrators, whom no member's node has heard ------------------------------------------------------------


def test_administrators_alone_change_nothing(administered: Changing) -> None:
    task = administered
    proposal = task.accepted(task.authorised(task.body(**JOIN)), NEW)
    checking.check_authority(task.trust, proposal)  # naive: whoever has the authority has decided
    with pytest.raises(VerificationError, match="is not closed: authority without"):
        task.ledger.append_epoch(proposal)
    # Members that they name can't close for those who are there.
    statement = task.statement(proposal.says)
    strangers = [identity(f"stranger{i}") for i in range(7)]
    forged = RenunciationCertificate.of(statement, [statement.sign(key) for key in strangers])
    with pytest.raises(VerificationError, match="no right to renounce"):
        task.ledger.append_epoch(msgspec.structs.replace(proposal, closure=forged.to_bytes()))
    task.ledger.append_epoch(task.closed(proposal))
    assert task.trust.task(TASK).epoch == 1


def test_a_request_to_renounce_does_not_close_an_epoch(task: Changing) -> None:
    """An aggregator asks nodes to give up an open sum, and has the signatures close the epoch for its own successor."""
    task.round()
    body = task.body(**JOIN)
    config = Task(TASK, task.trust, task.ledger.newest(TASK)).next_round(SHAPES)
    roster = task.trust.task(TASK).roster
    asking = Renouncing(task.operator, config, roster, task.trust.operators, successor=body.digest)
    assert asking.statement == task.statement(body)  # naive: it is what closes the epoch, and anybody's node signs it
    for request in asking.requests():
        key = task.keys[request.recipient]
        with pytest.raises(PolicyViolation, match="names a successor"):
            renounce_as_client(key, task.trust, task.store(key), request.data)


def test_members_alone_authorise_nothing_where_administrators_are_pinned(administered: Changing) -> None:
    task = administered
    body = task.body(**JOIN)
    proposal = signed_anyway(body, [task.keys[name] for name in task.members])
    with pytest.raises(VerificationError, match="can't authorise"):
        checking.check_authority(task.trust, proposal)


def test_half_of_the_administrators_are_not_enough(administered: Changing) -> None:
    task = administered
    with pytest.raises(VerificationError, match="2 are needed"):
        checking.check_authority(task.trust, task.authorised(task.body(**JOIN), task.administrators[:1]))
    with pytest.raises(ConfigError, match="outside"):
        replace(task.genesis.task(TASK), threshold=1)  # of three: two halves could authorise two epochs


# --- (c) a majority that wants something weaker ---------------------------------------------------------------------


def test_a_majority_that_adopts_plain_is_below_the_floor(task: Changing) -> None:
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, len(pins.roster))
    plain = task.body(policy=msgspec.structs.replace(pins.policy, backend="plain"))
    task.ledger.append_epoch(task.closed(task.authorised(plain)))  # naive: a quorum wants it, so it is in force
    assert task.trust.task(TASK).policy.backend == "plain"
    with pytest.raises(TrustError, match=r"'plain' is not among 'masking'.*approve"):
        floor.check(task.genesis, plain)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"min_clients": 2}, "min_clients"),
        ({"max_corrupt": 0}, "may be corrupt"),
        ({"clip": 1000.0}, "clip"),
        ({"clip": 1e-3}, "clip"),
        ({"bits": 4}, "bits"),
    ],
)
def test_each_rule_has_a_floor(task: Changing, change: dict[str, float], what: str) -> None:
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, len(pins.roster))
    below = msgspec.structs.replace(pins.policy, **{"max_error": 1e6, **change})
    with pytest.raises(TrustError, match=what):
        floor.check(task.trust, task.body(policy=below))


def test_two_hundred_sybils_are_above_the_share_of_new_keys(task: Changing) -> None:
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, len(pins.roster))
    sybils = {f"s{i}": Identity("x", (1000 + i).to_bytes(32, "big")).public for i in range(200)}
    with pytest.raises(TrustError, match="200 of 207 members have keys that the owner has not seen"):
        floor.check(task.trust, task.body(join=sybils))
    # One at a time they are as many: counted is from where the owner has last looked.
    few = dict(list(sybils.items())[:4])
    with pytest.raises(TrustError, match="4 of 11"):
        floor.check(task.trust, task.body(join=few))
    floor.check(task.trust, task.body(join=dict(list(few.items())[:3])))


# --- (d) keys of those who have left, and forks ---------------------------------------------------------------------


def fork(task: Changing) -> tuple[EpochEvidence, EpochEvidence]:
    """Two successors, each with a quorum of owners: so many have kept no store, or have sold it."""
    keys = [task.keys[name] for name in task.members]
    first, second = task.body(leave=frozenset({"m0"})), task.body(leave=frozenset({"m1"}))
    return signed_anyway(first, keys), signed_anyway(second, keys)


def test_whoever_authorises_two_successors_is_named_to_anybody(task: Changing) -> None:
    first, second = fork(task)
    proofs = two_epochs(task.trust, first, second)
    assert [proof.culprit for proof in proofs] == task.members
    for proof in proofs:
        again = FaultProof.from_bytes(proof.to_bytes())
        assert again.kind == TWO_EPOCHS
        assert Auditor(task.genesis).verify_fault(again) == proof.culprit
    assert two_epochs(task.trust, first, first) == ()
    honest = msgspec.structs.replace(proofs[0], exhibits=(proofs[0].exhibits[0],) * 2)
    with pytest.raises(VerificationError, match="are one"):
        Auditor(task.genesis).verify_fault(honest)
    stranger = msgspec.structs.replace(proofs[0], culprit="m1")
    with pytest.raises(TrustError, match="not the pinned one"):
        Auditor(task.genesis).verify_fault(stranger)
    mixed = msgspec.structs.replace(proofs[0], exhibits=(proofs[0].exhibits[0], proofs[1].exhibits[1]))
    with pytest.raises(VerificationError, match="an exhibit is none"):
        Auditor(task.genesis).verify_fault(mixed)


def test_an_owner_authorises_one_successor(task: Changing) -> None:
    store, key = AttemptStore(), task.keys["m0"]
    body = task.body(leave=frozenset({"m0"}))
    assert acts.authorise(store, key, task.trust, body) == acts.authorise(store, key, task.trust, body)
    with pytest.raises(AlreadyReleased, match="another epoch 1"):
        acts.authorise(store, key, task.trust, task.body(leave=frozenset({"m1"})))


def test_two_quorums_of_owners_share_more_than_the_corrupt(task: Changing) -> None:
    voters, least = authority(task.trust, TASK)
    assert 2 * least - len(voters) > task.trust.task(TASK).policy.max_corrupt


def test_stolen_keys_of_departed_members_make_a_successor_that_nobody_follows(task: Changing) -> None:
    """Years later most of the first roster's keys are for sale: with them another epoch 1 is authorised and closed."""
    task.round()
    other = signed_anyway(task.body(leave=frozenset({"m1"})), [task.keys[name] for name in task.members])
    statement = task.statement(other.says)
    stolen = [task.keys[name] for name in task.members]
    closure = RenunciationCertificate.of(statement, [statement.sign(key) for key in stolen])
    other = msgspec.structs.replace(other, closure=closure.to_bytes())
    naive = checking.check_evidence(task.genesis, other)  # naive: quorums are there, so a newcomer believes it
    assert naive is not None
    task.change(leave=frozenset({"m0"}))
    step = task.ledger.steps(TASK).steps[0]
    record = checking.verify_epoch(task.genesis, other, task.ledger.record(0))
    forged = Step(record.to_bytes(), other.to_bytes(), step.receipt)
    with pytest.raises(VerificationError):  # what the log has signed, and witnesses have seen, is another record
        follow(Place(task.genesis), TASK, forged)
    with pytest.raises(VerificationError):
        task.ledger.append_epoch(other)


# --- rollback, stale checkpoints, and what is skipped ---------------------------------------------------------------


def test_nobody_is_led_into_another_history_or_back(task: Changing, tmp_path: Path) -> None:
    task.round()
    task.change(**JOIN, new=NEW)
    place = task.places["m0"]
    assert place.checkpoint is not None
    old = task.ledger.steps(TASK).steps[0]
    with pytest.raises(VerificationError, match="does not follow epoch 1"):  # replayed
        follow(place, TASK, old)
    task.round()
    task.change(leave=frozenset({"new"}))
    second = task.ledger.steps(TASK, 1, place.checkpoint.size).steps[0]
    with pytest.raises(VerificationError, match="does not follow epoch 0"):  # skipped
        follow(Place(task.genesis), TASK, second)
    follow(place, TASK, second)
    with pytest.raises(VerificationError):  # without a proof that the ledger goes on from what was seen
        follow(place, TASK, Step(second.record, second.evidence, second.receipt))
    seen = replace(place.checkpoint, root=bytes(32))
    with pytest.raises(VerificationError):
        follow(Place(place.trust, place.record, seen), TASK, second)
    later = replace(place.checkpoint, size=99)
    with pytest.raises(VerificationError, match="an old ledger is shown"):
        follow(Place(place.trust, place.record, later), TASK, second)


def test_an_old_cosignature_is_refused_where_an_age_is_pinned(task: Changing) -> None:
    task.change(**JOIN, new=NEW)
    step = task.ledger.steps(TASK).steps[0]
    with pytest.raises(VerificationError, match="an old ledger may be shown"):
        follow(Place(task.genesis), TASK, step, newest_s=3600.0)  # nobody has cosigned at all


# --- acceptances ----------------------------------------------------------------------------------------------------


def test_an_acceptance_is_for_one_epoch_and_one_key(task: Changing) -> None:
    task.change(**JOIN, new=NEW)
    first = task.ledger.epoch(task.ledger.epochs(TASK)[0])[1]
    task.change(leave=frozenset({"new"}))
    again = task.authorised(task.body(**JOIN))
    replayed = msgspec.structs.replace(again, acceptances=first.acceptances)
    key = NEW["new"]
    # Naive: the key has said once that it is its owner's.
    accepted = first.acceptances[0]
    naive = b"join" + key.public
    verify_signature(key.public, key.sign(naive), naive, phase="", culprit=None)
    with pytest.raises(VerificationError, match="did not accept"):
        checking.check_acceptances(task.trust, replayed)
    with pytest.raises(VerificationError, match="has not accepted"):
        checking.check_acceptances(task.trust, again)
    assert accepted.name == "new"


def test_a_key_that_its_owner_does_not_know_of_enters_nothing(task: Changing) -> None:
    proposal = task.authorised(task.body(rotate={"m2": newer("m2").public}))
    with pytest.raises(VerificationError, match="has not accepted"):
        task.closed(proposal)
    with pytest.raises(PolicyViolation, match="is not new"):
        acts.accept(task.keys["m2"], task.trust, proposal.says)


# --- never ----------------------------------------------------------------------------------------------------------


def test_never_a_roster_from_a_configuration(task: Changing) -> None:
    """A coordinator names a cohort and an epoch that nobody has followed."""
    task.round()
    weaker = under(task.trust, EpochEvidence(body=task.body(leave=frozenset({"m0"})).to_bytes()))

    config = Task(TASK, weaker, task.ledger.newest(TASK)).next_round(SHAPES)
    with pytest.raises(TrustError, match="is of epoch 1, and what is pinned is in force in 0"):
        task.trust.check(config)
    hidden = msgspec.structs.replace(config, epoch=0)
    with pytest.raises(TrustError):
        task.trust.check(hidden)


def test_never_an_old_key_with_a_new_store(task: Changing) -> None:
    """A new store has forgotten what the key has released. Nobody else can tell: whoever loses the store rotates the
    key, and until then counts as corrupt.
    """
    with pytest.raises(SecureAggError):
        task.round(silent={f"m{i}": "unmask" for i in range(3, 7)})
    proposal = task.accepted(task.authorised(task.body(leave=frozenset({"m6"}))), {})
    statement, key = task.statement(proposal.says), task.keys["m0"]
    with pytest.raises(AlreadyReleased):
        acts.close(task.store(key), key, task.trust, proposal, statement)
    naive = acts.close(AttemptStore(), key, task.trust, proposal, statement)
    assert naive.name == "m0"


def test_never_a_round_of_an_epoch_that_is_over(task: Changing) -> None:
    """A round that was ready when its epoch was closed does not enter the ledger after it."""

    config = Task(TASK, task.trust, None).next_round(SHAPES)
    clients = {name: Client(task.keys[name], task.genesis, store=AttemptStore()) for name in task.members}
    late = LocalRound(Task(TASK, task.trust).lead(task.operator, config), clients, task.updates(0)).run()
    task.change(**JOIN, new=NEW)
    with pytest.raises(TrustError, match="is of epoch 0"):
        task.ledger.append(late)


def test_never_a_new_training_from_a_model_that_was_given_an_update_of(task: Changing) -> None:
    base = bytes([7]) * 32
    task.round(base_model=base)
    proposal = task.authorised(task.body(restart=("again", base)))
    with pytest.raises(PolicyViolation, match="has given an update of the model"):
        task.closed(proposal)


def test_an_epoch_can_t_be_closed_for_two_successors_or_at_two_places(task: Changing) -> None:
    proposal = task.accepted(task.authorised(task.body(**JOIN)), NEW)
    store, key = task.store(task.keys["m0"]), task.keys["m0"]
    statement = task.statement(proposal.says)
    acts.close(store, key, task.trust, proposal, statement)
    elsewhere = msgspec.structs.replace(statement, round=9)
    with pytest.raises(AlreadyReleased, match="or elsewhere"):
        acts.close(store, key, task.trust, proposal, elsewhere)
    moved = RenunciationCertificate.of(elsewhere, [elsewhere.sign(task.keys[name]) for name in task.members])
    with pytest.raises(VerificationError, match="ends at round 9"):
        task.ledger.append_epoch(msgspec.structs.replace(proposal, closure=moved.to_bytes()))


def test_genesis_binds_everything_that_is_pinned(task: Changing) -> None:
    pins = task.genesis.task(TASK)
    digests = {
        epoch_digest(trust, TASK)
        for trust in (
            task.genesis,
            replace(task.genesis, log=identity("other log").public),
            replace(task.genesis, operators=Roster({})),
            replace(task.genesis, witnesses=Roster({"w": identity("w").public})),
            replace(task.genesis, tasks={TASK: replace(pins, roster=Roster(dict(list(pins.roster.items())[:6])))}),
            replace(
                task.genesis,
                tasks={TASK: replace(pins, administrators=Roster({"a": identity("a").public}), threshold=1)},
            ),
        )
    }
    assert len(digests) == 6
    assert NO_DIGEST not in digests


def test_a_record_of_an_epoch_is_not_added_twice_nor_changed(task: Changing) -> None:
    proposal = task.closed(task.accepted(task.authorised(task.body(**JOIN)), NEW))
    receipt = task.ledger.append_epoch(proposal)
    assert task.ledger.append_epoch(proposal).index == receipt.index
    record, _ = task.ledger.epoch(receipt.index)
    assert isinstance(record, EpochRecord)
    assert EpochRecord.from_bytes(record.to_bytes()) == record
    assert isinstance(receipt.note, Note)
    with pytest.raises(LedgerRefused):
        task.ledger._append_records([(record, proposal.to_bytes())])


# --- out for the task, whatever epoch it is in ----------------------------------------------------------------------


def two_advertisements(task: Changing, name: str) -> FaultProof:
    """Whoever signs two in a round of the epoch in force is convicted by both."""
    config, key = Task(TASK, task.trust, None).next_round(SHAPES), task.keys[name]

    def signed(body: bytes) -> bytes:
        signature = key.sign(signed_bytes(config.context, "advertise", name, "", body))
        header = Header(1, config.context, "advertise", name, "", body, b"", signature)
        return pack(encode(header))

    exhibits = signed(b"one"), signed(b"two")
    return FaultProof(
        kind="two-advertisements",
        culprit=name,
        public=key.public,
        config=config.to_bytes(),
        setup=b"",
        exhibits=exhibits,
    )


def meets(task: Changing, who: str, name: str, public: bytes) -> bool:
    """Whether a member takes part in a session in which somebody has this key."""
    config = Task(TASK, task.trust, None).next_round(SHAPES)
    try:
        Convictions(task.store(task.keys[who]), who, config).check_members({name: public}, phase="")
    except PolicyViolation:
        return False
    return True


def test_whoever_was_convicted_in_an_epoch_that_is_over_stays_out_for_everybody(task: Changing, tmp_path: Path) -> None:
    """The naive version compared the proof's configuration with what is pinned now: the aggregator asked the cheat
    again, whom clients remembered, so that no round of the new epoch came to anything.
    """
    proof, folder = two_advertisements(task, "m1"), FaultFolder(tmp_path / "faults")
    folder.keep([proof])
    assert list(folder.convicted(task.trust, TASK)) == ["m1"]
    assert Client(task.keys["m0"], task.trust, store=task.store(task.keys["m0"])).learn_fault(proof) == "m1"
    task.change(**JOIN, new=NEW)
    for kept in (folder, FaultFolder(tmp_path / "faults")):
        assert list(kept.convicted(task.trust, TASK)) == ["m1"]
    assert Auditor(task.trust).verify_fault(proof) == "m1"
    assert Client(task.keys["new"], task.trust, store=task.store(task.keys["new"])).learn_fault(proof) == "m1"
    for who in ("m0", "new"):
        assert not meets(task, who, "m1", task.keys["m1"].public)
        assert meets(task, who, "m2", task.keys["m2"].public)
    later = msgspec.structs.replace(two_advertisements(task, "m2"), exhibits=proof.exhibits)
    with pytest.raises(TrustError, match="is of epoch 1"):
        Auditor(task.genesis).verify_fault(later)


def test_a_key_that_was_stolen_and_convicted_does_not_keep_out_who_has_rotated_it(
    task: Changing, tmp_path: Path
) -> None:
    """The naive version remembered ids: a thief could shut its victim out for good."""
    proof, folder, old = two_advertisements(task, "m1"), FaultFolder(tmp_path / "faults"), task.keys["m1"].public
    folder.keep([proof])
    assert list(folder.convicted(task.trust, TASK)) == ["m1"]
    Client(task.keys["m0"], task.trust, store=task.store(task.keys["m0"])).learn_fault(proof)
    task.change(rotate={"m1": newer("m1").public}, new={"m1": newer("m1")})
    assert dict(folder.convicted(task.trust, TASK)) == {}
    assert meets(task, "m0", "m1", newer("m1").public)
    assert not meets(task, "m0", "m1", old)
    with pytest.raises(TrustError, match="not the pinned one"):
        Auditor(task.trust).verify_fault(proof)


def test_a_proof_about_an_epoch_keeps_nobody_out_of_rounds(task: Changing) -> None:
    first, second = fork(task)
    (proof, *_) = two_epochs(task.trust, first, second)
    with pytest.raises(VerificationError, match="is about no round"):
        Client(task.keys["m1"], task.trust, store=task.store(task.keys["m1"])).learn_fault(proof)


# --- operators after an epoch that members have closed ----------------------------------------------------------------


@pytest.mark.parametrize("backend", ["additive", "paillier"])
def test_operators_open_sums_of_an_epoch_that_members_have_closed(task: Changing, backend: str) -> None:
    """The first round under operators is in the generation that the members' closure has begun: its signatures are the
    members', and an operator that wants its own would never open a sum of the new epoch. Also after a failed round,
    whose inputs stand where no operator had a seat.
    """
    with pytest.raises(SecureAggError):
        task.round(silent=dict.fromkeys(task.members, "unmask"))  # inputs were given, and nothing released
    policy = Policy.default(7, clip=1.0, bits=16, backend=backend)
    where = Federation(7, backend=backend, policy_changes={"clip": 1.0, "bits": 16})
    staff = {name: identity(name) for name in where.staff_names}
    operators = Roster({task.operator.name: task.operator.public} | {name: key.public for name, key in staff.items()})
    task.change(new=staff, policy=policy, operators=operators)
    trust, new = task.trust, Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK))
    setup = where.setup
    config = new.next_round(SHAPES, setup=setup_digest(setup), number=1)
    assert config.generation == 1
    holders: dict[str, OperatorRole] = {
        name: ShareHolder(key, trust, channel(name))
        if where.share_holder_names
        else KeyHolder(key, trust, where.openers[name], where.certificate)
        for name, key in staff.items()
    }
    clients = {
        name: Client(task.keys[name], task.places[name].trust, store=task.store(task.keys[name]))
        for name in task.members
    }
    evidence = LocalRound(new.lead(task.operator, config, setup), clients, task.updates(1), None, None, holders).run()
    appended = task.ledger.append(evidence)
    assert appended.verified.record.participants == 7
    assert Auditor(trust).verify(evidence).record == appended.verified.record


def test_operators_take_no_closure_but_that_of_the_epoch_they_follow(task: Changing) -> None:
    """A closure is not checked again by whoever has followed it: so it has to be that very one."""
    task.change(**JOIN, new=NEW)
    config = Task(TASK, task.trust, None, task.ledger.closure(TASK)).next_round(SHAPES)
    said = RenunciationCertificate.from_bytes(task.ledger.closure(TASK)).statement
    forged = RenunciationCertificate.of(said, [said.sign(identity("stranger0"))])
    config = msgspec.structs.replace(config, renounced=forged.digest())
    with pytest.raises(TrustError, match="is not the one by which the epoch before was closed"):
        task.trust.has_checked(forged, config.task)


def test_a_closure_by_more_members_than_the_next_epoch_has_is_not_too_long(task: Changing) -> None:
    """Of 10,000 members 7,248 have signed; the next epoch's cohorts are of 200."""
    config = msgspec.structs.replace(Task(TASK, task.trust, None).next_round(SHAPES), generation=1, renounced=b"r" * 32)
    closure = bytes(80 * 7248)
    with pytest.raises(MalformedMessage):  # of this epoch's own members there are no more signatures
        split_first(config, first_bulk(config, b"setup", closure))
    config = msgspec.structs.replace(config, epoch=1)
    assert split_first(config, first_bulk(config, b"setup", closure)) == (b"setup", closure)
    with pytest.raises(MalformedMessage):
        split_first(config, first_bulk(config, b"", bytes((1 << 24) + 1)))


# --- what a floor did not count ---------------------------------------------------------------------------------------


def test_members_who_go_make_a_larger_part_of_those_who_stay(administered: Changing) -> None:
    """Administrators bring nobody new: they let honest members go until those who are theirs are half of the roster."""
    floor = Floor.of(administered.trust.task(TASK).policy, 7)
    smaller = administered.body(leave=frozenset({"m4", "m5", "m6"}), policy=Policy.default(4, clip=1.0, bits=16))
    with pytest.raises(TrustError, match="3 of the 7 members that the owner has seen have gone"):
        floor.check(administered.trust, smaller)
    floor.check(administered.trust, administered.body(leave=frozenset({"m5", "m6"})))


def test_a_drawn_cohort_that_bears_less_of_the_roster_is_below_the_floor() -> None:
    """f / |G| of a drawn cohort says nothing of the roster: half of the draws from a fifth of corrupt have more."""
    drawn = Policy.default(1000, cohort_size=200, corruption_rate=0.1)
    assert drawn.max_corrupt / drawn.cohort_size > 0.2  # naive: it is above the usual floor
    assert corrupt_share(drawn, 1000) < 0.2
    assert corrupt_share(drawn, 1000) >= 0.1


def test_new_key_holders_are_not_taken_over_by_themselves(tmp_path: Path) -> None:
    """Whoever holds the key reads what is sent: to replace the holders is to replace what hides an update."""
    task = Changing(tmp_path, 7, backend="paillier")
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, 7)
    holder = {"holder": identity("holder").public}
    pinned = dict(task.trust.operators)
    known = replace(task.trust, operators=Roster(pinned | holder))
    task.ledger.close()
    floor.check(known, Change().body(known, TASK))
    theirs = Change(operators=Roster(pinned | {"holder": identity("theirs").public}))
    with pytest.raises(TrustError, match="operator 'holder' has a key that the owner has not seen"):
        floor.check(known, theirs.body(known, TASK))
    committee = (Option("holders", 3), Option("threshold", 2))
    several = replace(
        known, tasks={TASK: replace(pins, policy=msgspec.structs.replace(pins.policy, options=committee))}
    )
    with pytest.raises(TrustError, match="1 of 1 operators open sums, and it was 2 of 3"):
        floor.check(several, Change(policy=pins.policy).body(several, TASK))


def test_a_log_does_not_bring_its_own_witnesses(task: Changing) -> None:
    floor = Floor.of(task.trust.task(TASK).policy, 7)
    seen = {f"w{i}": identity(f"w{i}").public for i in range(3)}
    known = replace(task.trust, witnesses=Roster(seen), quorum=2)
    floor.check(known, Change().body(known, TASK))
    own = {f"own{i}": identity(f"own{i}").public for i in range(2)}
    with pytest.raises(TrustError, match="2 witnesses that the owner has not seen are a quorum of 2"):
        floor.check(known, Change(witnesses=Roster(seen | own)).body(known, TASK))
    with pytest.raises(TrustError, match="0 witnesses have to have cosigned, below 2"):
        floor.check(known, Change(quorum=0).body(known, TASK))


def test_a_quorum_does_not_choose_the_model_that_a_node_trains_on(task: Changing) -> None:
    floor = Floor.of(task.trust.task(TASK).policy, 7)
    with pytest.raises(TrustError, match="a new training begins from the model 07070707"):
        floor.check(task.trust, task.body(restart=("crafted", bytes([7]) * 32)))


# --- what a new key may have given ------------------------------------------------------------------------------------


def test_a_new_key_sits_out_however_many_epochs_have_begun_from_the_model(tmp_path: Path) -> None:
    """A member gives its update, loses its store and rotates its key where operators open sums, so that nobody could
    renounce for all. One more epoch, which changes nothing of it, and its key is new no longer: closed or not, what was
    given under the first key can be opened still.
    """
    task = Changing(tmp_path, 7, backend="additive")
    key = newer("m0")
    masking = Policy.default(7, clip=1.0, bits=16)
    task.change(new={"m0": key}, rotate={"m0": key.public}, policy=masking)
    task.change(policy=msgspec.structs.replace(masking, clip=0.5))
    epochs = FollowedEpochs(tmp_path / "epochs", task.genesis, "m0", TASK, AttemptStore())
    for body in (task.ledger.epoch(index)[1].says for index in task.ledger.epochs(TASK)):
        epochs.approve(body)
    epochs.follow(task.ledger.steps(TASK))
    new = Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK))
    config = new.next_round(SHAPES)
    assert config.generation == 1  # naive: members have closed, so everybody may go on
    home: Any = SimpleNamespace(name="m0", identity=key, epochs=epochs)
    with pytest.raises(PolicyViolation, match="is new in epoch 1, and nobody could close the one before"):
        node.check_may_join(home, config)
    node.check_may_join(home, msgspec.structs.replace(config, start_model=b"n" * 32))
    old: Any = SimpleNamespace(name="m1", identity=task.keys["m1"], epochs=epochs)
    node.check_may_join(old, config)
    task.ledger.close()


def test_an_evaluation_has_no_epochs_of_its_own(task: Changing) -> None:
    """Its members would close it, and sign in it all the same: what is closed is looked for under the root task."""
    body = task.body(**JOIN)
    with pytest.raises(ConfigError, match="has no epochs of its own"):
        msgspec.structs.replace(body, task=f"{TASK}-evaluation")
    task.change(**JOIN, new=NEW)
    record = task.ledger.newest(TASK)
    assert isinstance(record, EpochRecord)
    with pytest.raises(ConfigError, match="has no epochs of its own"):
        msgspec.structs.replace(record, task=f"{TASK}-evaluation")


def test_a_start_model_that_only_the_log_has_named_is_not_known(tmp_path: Path) -> None:
    """Where nobody closes, an epoch's record says from where the task goes on, and a log can write there what it likes:
    a new name for the model that updates were given of.
    """
    record = EpochRecord(
        task=TASK, epoch=1, previous_record=b"p" * 32, previous_epoch=b"e" * 32, body=b"b" * 32, rounds=1, generation=0,
        renounced=NO_DIGEST, start_model=b"i" * 32, base_model=NO_DIGEST, next_weight_limit=0, evidence=b"v" * 32,
    )  # fmt: skip
    store = AttemptStore()
    bonds.learn_epoch(store, "m0", record, b"")
    assert not results.is_known(store, "m0", TASK, record.start_model)
    restart = msgspec.structs.replace(record, start_model=start_of(record.body))
    bonds.learn_epoch(store, "m0", restart, b"")
    assert results.is_known(store, "m0", TASK, restart.start_model)


def test_a_receipt_of_another_history_does_not_become_what_the_next_epoch_has_to_begin_with(
    task: Changing, tmp_path: Path
) -> None:
    """A log forks: one result is shown with a receipt of the fork, and epochs of the fork then follow on it."""
    task.round()
    task.change(**JOIN, new=NEW)
    epochs = FollowedEpochs(tmp_path / "epochs", task.genesis, "m0", TASK, AttemptStore())
    epochs.follow(task.ledger.steps(TASK))
    seen = epochs.seen
    assert seen is not None
    epochs.saw(replace(seen, size=seen.size + 1, root=b"f" * 32))
    assert epochs.seen == seen
    with pytest.raises(VerificationError, match="this one has another history"):
        epochs.saw(replace(seen, root=b"f" * 32))
    task.round()
    task.change(leave=frozenset({"new"}))
    epochs.follow(task.ledger.steps(TASK, 1, seen.size))  # 4 records, which begin with what was seen
    assert epochs.number == 2
    epochs.saw(replace(seen, size=99, root=b"f" * 32))
    task.change(leave=frozenset({"m0"}))
    with pytest.raises(VerificationError, match="an old ledger is shown"):
        epochs.follow(task.ledger.steps(TASK, 2, epochs.where.seen))


def test_an_epoch_that_nobody_could_join_is_not_closed(task: Changing) -> None:
    """Members close for operators, and then once more before any result. Nobody can renounce for operators, so the next
    round is in generation 0, and everybody is in generation 1: the task would be at its end.
    """
    task.round()
    task.change(policy=Policy.default(7, clip=1.0, bits=16, backend="additive"))
    proposal = task.authorised(task.body(leave=frozenset({"m6"})))
    with pytest.raises(VerificationError, match=r"in generation 1, and nobody can close that for all: a round of"):
        task.closed(proposal)
    config = Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK)).next_round(
        SHAPES, setup=bytes(32)
    )
    for name in task.members:  # nobody is bound to a closure that was refused
        bonds_of = bonds.Bonds(task.store(task.keys[name]), name, config)
        bonds_of.check_open()
    task.trust.check(config)
