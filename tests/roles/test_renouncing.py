"""After a failed late phase: a round is finished later, or its generation is renounced and the task goes on; never
both. A generation's certificate admits everybody to the next, and evidence shows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.federation import Federation, Tape, assert_is_mean, bulk_of, forge, header_of, identity, names
from support.renouncing import asked, following, renouncing

from secure_agg.errors import AlreadyReleased, BadSignature, SecureAggError, TaskSpent, TooFewClients, VerificationError
from secure_agg.protocol.evidence import Evidence, Opened
from secure_agg.protocol.messages import decode, write
from secure_agg.protocol.renunciation import RenunciationCertificate, first_bulk
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.renouncing import renounce_as_client

CASES: Mapping[str, tuple[str, Mapping[str, int], int, str]] = {
    "plain": ("plain", {}, 10, "consistency"),
    "masking": ("masking", {}, 10, "unmask"),
    "screened masking": ("masking", {"screening": 1}, 10, "unmask"),
    "sparse masking": ("masking", {"complete_up_to": 0}, 40, "unmask"),
    "additive": ("additive", {}, 4, "partial-sum"),
    "bfv": ("bfv", {}, 4, "decrypt"),
    "committee": ("paillier", {"modulus_bits": 2048, "holders": 4}, 4, "decrypt"),
}

NAMES = names(10)


def federation(name: str) -> Federation:
    backend, options, clients, _ = CASES[name]
    return Federation(clients, backend=backend, options=options, policy_changes={"bits": 8})


def check(where: Federation, evidence: Evidence) -> None:
    again = Evidence.from_bytes(evidence.to_bytes())
    average = Auditor(where.trust).verify(again).average
    Auditor().verify(again)
    assert_is_mean(average, where.updates, dict.fromkeys(where.names, 1), evidence.participants, evidence.config)


@pytest.mark.parametrize("name", CASES)
def test_a_task_goes_on_from_the_same_model_once_enough_have_renounced(name: str) -> None:
    where = federation(name)
    tape = Tape.start(where).until(CASES[name][3])
    with pytest.raises(SecureAggError):
        tape.advance()  # nobody has answered
    asking = renouncing(where, where.config())
    assert asked(where, asking, tape=tape) == {}
    certificate = asking.certificate()
    after = following(where, certificate)
    evidence = after.finish()
    assert evidence.participants == tuple(where.names)
    check(where, evidence)
    for result in after.aggregator.results():
        assert after.client(result.recipient).finish(result.data).record.round == 0

    for party, request in tape.requests[CASES[name][3]].items():  # nothing of the first generation is released any more
        with pytest.raises(SecureAggError):
            (tape.local.holders.get(party) or tape.client(party)).receive(request)
    with pytest.raises(VerificationError):
        Auditor(where.trust).verify(Evidence.from_bytes(_without(evidence)))


def _without(evidence: Evidence) -> bytes:
    """The same with a certificate of too few."""
    whole = RenunciationCertificate.from_bytes(evidence.renounced)
    lesser = dataclasses.replace(evidence, renounced=replace(whole, signatures=whole.signatures[1:]).to_bytes())
    return lesser.to_bytes()


# --- never both -----------------------------------------------------------------------------------------------


def late(released: Sequence[str], attempt: int = 0) -> Tape:
    """A round of ten in which some have released, and the aggregator has lost what they said."""
    where = federation("masking")
    tape = Tape.start(where, attempt=attempt).until("unmask")
    for name in released:
        tape.answer(name)
    return tape


def test_whoever_has_released_does_not_renounce_and_is_admitted_all_the_same() -> None:
    """4 of 10 have released, which opens nothing; the 6 others are enough."""
    tape = late(NAMES[:4])
    where = tape.federation
    asking = renouncing(where, where.config())
    refused = asked(where, asking)
    assert {type(error) for error in refused.values()} == {AlreadyReleased}
    assert set(refused) == set(NAMES[:4])
    evidence = following(where, asking.certificate()).finish()
    assert evidence.participants == tuple(NAMES)
    check(where, evidence)


def test_with_more_releases_there_is_no_certificate_and_the_late_ones_finish_the_round() -> None:
    """5 and 6 of 10 open nothing, and leave too few to renounce: the round waits for late releases."""
    tape = late(NAMES[:5])
    where = tape.federation
    asking = renouncing(where, where.config())
    asked(where, asking, names=NAMES[:8])
    with pytest.raises(TooFewClients, match="3 of 10 renounced generation 0 of round 0, 6 are needed"):
        asking.certificate()
    for name in NAMES[5:8]:
        with pytest.raises(TaskSpent, match="has renounced"):
            tape.client(name).receive(tape.requests["unmask"][name])
    for name in (*NAMES[:5], "c008", "c009"):
        tape.deliver(tape.answer(name))
    tape.advance()
    assert tape.aggregator.evidence is not None
    check(where, tape.aggregator.evidence)


def test_release_and_renunciation_exclude_each_other_whoever_is_faster() -> None:
    for _ in range(5):
        tape = late(())
        where, request = tape.federation, tape.requests["unmask"]["c000"]
        asking = renouncing(where, where.config())
        said = next(item.data for item in asking.requests() if item.recipient == "c000")
        client = tape.client("c000")
        ways: list[Callable[[], object]] = [
            lambda client=client, request=request: client.receive(request),
            lambda where=where, said=said: renounce_as_client(
                identity("c000"), where.trust, where.stores["c000"], said
            ),
        ]
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(way) for way in ways]
        assert sum(way.exception() is None for way in done) == 1


def test_a_member_that_has_not_joined_renounces_too_and_joins_no_attempt_afterwards() -> None:
    where = federation("masking")
    tape = Tape.start(where, {"c009": "advertise"}).until("unmask")
    asking = renouncing(where, where.config())
    assert asked(where, asking, names=("c009", "c008")) == {}
    other = Tape.start(where, attempt=1)
    for name in ("c009", "c008"):
        with pytest.raises(TaskSpent, match="has renounced"):
            where.client(name).join(other.requests["advertise"][name], where.updates[name])
    kept = {name: where.stores[name].get((name, where.task, 0, 0), "secret") for name in ("c007", "c008")}
    assert kept["c008"] is None, "what could open the sum is gone"
    assert kept["c007"] is not None
    assert tape.phase == "unmask"


# --- what would be wrong --------------------------------------------------------------------------------------


def test_a_certificate_for_one_session_would_leave_another_of_the_same_model_to_be_opened() -> None:
    """The naive one names a session: its signers go on in another attempt. Ours names the model: in no attempt of the
    generation do they sign or release anything more.
    """
    where = federation("masking")
    sessions = [Tape.start(where, attempt=attempt) for attempt in (0, 1)]
    for tape in sessions:
        tape.until("consistency")
    sids = {tape.aggregator.session.sid for tape in sessions if tape.aggregator.session}
    assert len(sids) == 2, "naively each would be renounced by itself, and the other opened"
    asking = renouncing(where, where.config())
    assert asked(where, asking) == {}
    for tape in sessions:
        for name in NAMES:
            with pytest.raises(TaskSpent, match="has renounced"):
                tape.client(name).receive(tape.requests["consistency"][name])


def test_a_certificate_counted_over_those_who_advertised_would_not_exclude_an_opening() -> None:
    """|U| = 9 of 10, f = 2, t = 7: 9 + 2 - 7 + 1 = 5 would do. Of the 8 honest members 5 release, with the corrupt that
    is 7; the 3 others renounce, one of whom did not advertise, with the corrupt that is 5.
    """
    members, advertised, corrupt, quorum = 10, 9, 2, 7
    naive, ours = (n + corrupt - quorum + 1 for n in (advertised, members))
    released, renounced = 5, 3
    assert released + renounced <= members - corrupt
    assert (released + corrupt >= quorum, renounced + corrupt >= naive) == (True, True)
    assert renounced + corrupt < ours


def test_nobody_joins_a_later_generation_without_its_certificate() -> None:
    where = federation("masking")
    Tape.start(where).until("unmask")
    asking = renouncing(where, where.config())
    asked(where, asking, names=NAMES[:6])
    good = asking.certificate()
    for bad in (
        replace(good, signatures=good.signatures[1:]),
        replace(good, statement=replace(good.statement, start_model=bytes([1] * 32))),
        replace(good, statement=replace(good.statement, round=1)),
    ):
        config = replace(where.config(attempt=1), generation=1, renounced=bad.digest())
        request = write(
            where.operator,
            config.context,
            "advertise",
            "c009",
            config.to_bytes(),
            first_bulk(config, b"", bad.to_bytes()),
        )
        with pytest.raises(SecureAggError) as caught:
            where.client("c009").join(request, where.updates["c009"])
        assert isinstance(caught.value, (TooFewClients, VerificationError, BadSignature))
    after = following(where, good).until("masked-input")
    earlier = Tape.start(where, attempt=2)
    with pytest.raises(TaskSpent, match="a later one has begun"):
        where.client("c009").join(earlier.requests["advertise"]["c009"], where.updates["c009"])
    second = renouncing(where, where.config(attempt=2))
    assert {type(error) for error in asked(where, second).values()} == {AlreadyReleased}, "the first is over"
    evidence = after.finish()
    check(where, evidence)


def test_an_input_goes_to_one_round_of_a_model() -> None:
    """Two rounds over updates of one model, or two epochs, may have cohorts whose quorums share nobody honest."""
    where = federation("masking")
    tape = Tape.start(where).until("masked-input")
    tape.answer("c000")
    pinned = where.trust
    later = dataclasses.replace(pinned.task(where.task), epoch=1, epoch_digest=bytes([1]) * 32)
    for changes in ({"round": 1}, {"epoch": 1, "attempt": 2}):
        where.trust = dataclasses.replace(pinned, tasks={where.task: later}) if "epoch" in changes else pinned
        config = replace(where.config(attempt=1), **changes)
        request = write(where.operator, config.context, "advertise", "c000", config.to_bytes(), b"")
        with pytest.raises(TaskSpent, match="another round, draw or epoch"):
            where.client("c000").join(request, where.updates["c000"])
        request = write(where.operator, config.context, "advertise", "c001", config.to_bytes(), b"")
        assert where.client("c001").join(request, where.updates["c001"]), "whose vector has not left"
    where.trust = pinned
    assert Tape.start(where, attempt=1).until("masked-input").answer("c000"), "an attempt at the same round is none"


def test_a_store_that_was_put_back_counts_as_corrupt(tmp_path: Path) -> None:
    """It has forgotten that it has renounced, and releases: no rule can prevent that. Up to f of them, with whoever
    else is corrupt, the count holds all the same.
    """
    where = federation("masking")
    copies = {name: tmp_path / f"{name}.db" for name in NAMES[:2]}
    where.stores |= {name: AttemptStore(path) for name, path in copies.items()}
    tape = Tape.start(where).until("unmask")
    before = {name: path.with_suffix(".copy") for name, path in copies.items()}
    for name, path in copies.items():
        where.stores[name].close()
        before[name].write_bytes(path.read_bytes())
        before[name].chmod(0o600)
        where.stores[name] = AttemptStore(path)
    asking = renouncing(where, where.config())
    asked(where, asking, names=(*NAMES[:2], *NAMES[6:]))
    assert asking.certificate(), "2 that will be put back, and 4 that are honest"
    for name in NAMES[:2]:
        client = Client(identity(name), where.trust, store=AttemptStore(before[name]))
        requests = [tape.requests[phase][name] for phase in ("advertise", "share-keys", "masked-input", "consistency")]
        client.resume(requests, lambda name=name: where.updates[name])  # type: ignore[misc]
        tape.deliver(client.receive(tape.requests["unmask"][name]) or b"")
    for name in NAMES[2:6]:
        tape.deliver(tape.answer(name))
    with pytest.raises(TooFewClients):
        tape.advance()  # 6 of 7


@pytest.mark.parametrize("name", ["bfv", "additive", "committee"])
def test_an_operator_that_has_opened_renounces_nothing_also_after_a_restart(name: str) -> None:
    where = federation(name)
    tape = Tape.start(where).until(CASES[name][3])
    first = tape.pending[0].recipient
    tape.answer(first)
    asking = renouncing(where, where.config())
    refused = asked(where, asking)
    assert set(refused) == {first}
    assert isinstance(refused[first], AlreadyReleased)
    if not name.startswith("committee"):  # of whom three of four are enough
        with pytest.raises(TooFewClients):
            asking.certificate()


def test_a_sum_that_failed_its_check_was_opened() -> None:
    where = federation("bfv")
    tape = Tape.start(where).until("decrypt")
    (name,) = where.holder_names
    request = tape.requests["decrypt"][name]
    other = Tape.start(Federation(4, seed=9, backend="bfv", policy_changes={"bits": 8})).until("decrypt")
    spoilt = forge(request, where.operator, bulk=bulk_of(other.requests["decrypt"][name]))
    answer = where.holder().receive(spoilt)
    assert not decode(Opened, header_of(answer).body, 16).passed
    refused = asked(where, renouncing(where, where.config()))
    assert {type(error) for error in refused.values()} == {AlreadyReleased}


def test_a_share_holder_that_was_restarted_resends_and_takes_no_letter_of_a_generation_that_is_over() -> None:
    where = federation("additive")
    tape = Tape.start(where).until("partial-sum")
    name = tape.pending[0].recipient
    answer = tape.answer(name)
    request = tape.requests["partial-sum"][name]
    assert where.share_holder(name).receive(request) == answer, "it has lost its shares, and not what it said"

    where = federation("additive")
    tape = Tape.start(where).until("collect-shares")
    asking = renouncing(where, where.config())
    assert asked(where, asking, tape=tape) == {}
    certificate = asking.certificate()
    letters = [letter for client in where.names for letter in tape.client(client).outbox if letter.recipient == name]
    assert letters
    for holder in (tape.local.holders[name], where.share_holder(name)):
        with pytest.raises(AlreadyReleased):
            holder.receive(tape.requests["begin"][name])
        with pytest.raises(SecureAggError):
            holder.receive(letters[0].data)
    after = following(where, certificate).until("advertise")
    with pytest.raises(SecureAggError):
        after.local.holders[name].receive(letters[0].data)
    check(where, after.finish())
