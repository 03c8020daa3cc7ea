"""Attacks on differential privacy: by whoever leads rounds, writes the log, or leaves out what nobody sees.

What no check finds is here too, so that the documents stay true: a client that adds no noise.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from support.federation import Federation, Tape, identity, replace

from secure_agg import AttemptStore, Policy, Privacy, TaskTrust, Trust
from secure_agg.errors import (
    BudgetSpent,
    ConfigError,
    LedgerRefused,
    RemoteProtocolError,
    TooFewClients,
    TrustError,
    VerificationError,
)
from secure_agg.ledger.chain import check_link
from secure_agg.privacy import skellam
from secure_agg.privacy.skellam import FRACTION, draw
from secure_agg.protocol.config import Option
from secure_agg.protocol.evidence import PrivateRecord
from secure_agg.protocol.messages import CONSISTENCY
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.epochs.change import Change, resized
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.memory import spending
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.task import Task

BUDGET = Privacy(epsilon=4.0, delta=1e-5, norm=1.0, rounds=2)
POLICY = {"privacy": BUDGET, "min_clients": 7}


def federation(**changes: Any) -> Federation:
    return Federation(8, shapes=((30,),), policy_changes=POLICY, **changes)


def with_option(policy: Policy, name: str, value: int) -> Policy:
    options = tuple(Option(o.name, value if o.name == name else o.value) for o in policy.options)
    return msgspec.structs.replace(policy, options=options)


@pytest.mark.parametrize("option", ["privacy_ratio", "privacy_epsilon", "privacy_delta", "privacy_honest"])
def test_an_aggregator_that_asks_for_less_noise_is_refused_by_every_client(option: str) -> None:
    where = federation()
    value = {o.name: o.value for o in where.policy.options}[option]
    change = {"privacy_ratio": -1, "privacy_epsilon": 10**6, "privacy_delta": 1, "privacy_honest": -1}[option]
    # what the aggregator pins is its own affair; for a policy that spends more in a round no round is left
    weaker = with_option(where.policy, "privacy_epsilon", 5_000_000)
    weaker = with_option(weaker, option, value + change)
    own = Trust(tasks={where.task: TaskTrust(where.roster, weaker)}, operators=where.trust.operators)
    aggregator = Task(where.task, own).lead(where.operator, Task(where.task, own).next_round(where.shapes))
    for request in aggregator.start():
        with pytest.raises(TrustError):
            where.client(request.recipient).join(request.data, where.updates[request.recipient])


def test_sets_that_are_signed_and_never_opened_count_and_the_third_is_refused() -> None:
    """Naively only rounds in the ledger count: an aggregator that says that each round failed has as many sums opened
    as it likes, by clients that renounce and sign again.
    """
    where, store = federation(), AttemptStore()
    rule = where.policy.privacy
    assert rule is not None
    for attempt in range(2):
        config = where.config(attempt=attempt)
        spending.spend(store, "c001", config, phase=CONSISTENCY)
        spending.spend(store, "c001", config, phase=CONSISTENCY)  # the same bytes again cost nothing
    assert dict(spending.signed(store, "c001", where.task)) == {rule.ratio: 2}
    third = where.config(attempt=2)  # of round 0: its number alone allows it
    with pytest.raises(BudgetSpent, match="with this signature, which is number 3"):
        Bonds(store, "c001", third).check_unspent()
    with pytest.raises(BudgetSpent, match=r"spent epsilon = .* of 4"):
        Bonds(store, "c001", third).sign(b"a set", phase=CONSISTENCY)
    assert spending.signed(store, "c001", where.task).total() == 2
    Bonds(store, "c002", third).check_unspent()  # of another client nothing is spent


def test_a_client_that_has_spent_its_budget_gives_nothing_to_a_round_and_its_signature_is_durable() -> None:
    where = federation()
    for name in where.names[:3]:
        for attempt in (7, 8):
            spending.spend(where.stores[name], name, where.config(attempt=attempt), phase=CONSISTENCY)
    tape = Tape.start(where)
    with pytest.raises(BudgetSpent):
        tape.answer(where.names[0])
    for name in where.names[3:]:
        tape.deliver(tape.answer(name))
    with pytest.raises(TooFewClients):
        tape.advance()
    spent = federation()
    Tape.start(spent).finish()
    assert spending.signed(spent.stores["c000"], "c000", spent.task).total() == 1


def test_a_round_whose_number_is_beyond_the_budget_does_not_even_decode() -> None:
    config = federation().config(round=1)
    data = bytearray(config.to_bytes())
    place = data.index(b"\xa4task") + 5 if b"\xa4task" in data else 0
    data[place : place + 1] = b"\x02"
    with pytest.raises((ConfigError, RemoteProtocolError), match="privacy budget is spent"):
        type(config).from_bytes(bytes(data))


def test_the_sums_of_halves_tell_more_than_the_sum() -> None:
    """Above twelve bits: each client's noise alone is far below the unit of upper halves, so their sum has next to no
    noise, and tells of one client's 64 steps what the sum, under the noise of a thousand, hides.
    """
    trials, others, unit = 400, 999, 1 << 12
    noise = draw(400 * FRACTION, bytes(32), trials * (others + 1)).reshape(trials, others + 1)
    half, rest = unit * 8, unit // 2
    told = {}
    for name, value in (("low", -32), ("high", 32)):
        vectors = half + rest + noise
        vectors[:, 0] += value - rest  # one client's value is where an upper half begins
        told[name] = vectors.sum(axis=1), (vectors >> 12).sum(axis=1)
    by_sum = np.mean(
        np.concatenate(
            [told["high"][0] > others * (half + rest) + half, told["low"][0] <= others * (half + rest) + half]
        )
    )
    by_halves = np.mean(np.concatenate([told["high"][1] >= 8 * 1000, told["low"][1] < 8 * 1000]))
    assert by_sum < 0.6
    assert by_halves > 0.9
    with pytest.raises(ConfigError, match="halves tells more"):
        Policy.default(8, options=(Option("halves", 1),), bits=14, privacy=BUDGET, min_clients=7)


def test_a_record_with_noise_that_claims_none_is_no_record() -> None:
    where = federation()
    evidence = Tape.start(where).finish()
    record = Auditor(where.trust).verify(evidence).record
    assert isinstance(record, PrivateRecord)
    with pytest.raises(VerificationError, match="other fields"):
        type(record).from_bytes(replace(record, claim="sum").to_bytes())


def test_records_whose_spending_falls_or_exceeds_the_budget_do_not_follow() -> None:
    where = federation()
    record = Auditor(where.trust).verify(Tape.start(where).finish()).record
    later = replace(record, round=1, start_model=record.result_model, previous_record=record.digest())
    check_link(later, record)
    with pytest.raises(LedgerRefused, match="fewer than"):
        check_link(replace(later, spent=1), record)
    with pytest.raises(LedgerRefused, match="of a budget of 4000000"):
        check_link(replace(later, spent=4_000_001), record)


def test_limits_take_no_more_of_delta_than_is_counted() -> None:
    """Of the true distribution, over all clients and coordinates of a round."""
    config = federation().config()
    made = config.mechanism
    assert made is not None
    half = skellam.weights(made.variance)
    beyond = Fraction(2 * sum(half[made.noise_limit + 1 :]), half[0] + 2 * sum(half[1:]))
    sampler = Fraction(2 * skellam.table(made.variance).reach + 2, 2**128)
    assert (beyond + sampler) * made.padded * config.policy.max_clients < Fraction(1, 2**60)


def test_a_client_that_adds_no_noise_is_not_found_and_this_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves its noise out commits to a vector in range like any: the others' noise is all that is left."""
    where = federation()
    tape = Tape.start(where)
    for name in where.names:
        with monkeypatch.context() as patch:
            if name == "c003":
                patch.setattr(skellam, "draw", lambda _variance, _key, count: np.zeros(count, dtype=np.int64))
            tape.deliver(tape.answer(name))
    tape.advance()
    verified = Auditor(where.trust).verify(tape.finish())
    assert "c003" in verified.commitments
    assert "whoever leaves it out weakens all" in verified.finding.not_proved


def test_an_epoch_without_noise_or_with_a_larger_budget_is_the_owners_to_look_at() -> None:
    where = federation()
    pins = where.trust.task(where.task)
    no_noise = Policy.default(8, min_clients=7)
    larger = with_option(where.policy, "privacy_epsilon", 8_000_000)
    for policy, said in ((no_noise, "summed without noise"), (larger, "epsilon = 8, and it was 4")):
        trust = dataclasses.replace(where.trust, log=identity("log").public)
        body = Change(policy=policy).body(trust, where.task)
        with pytest.raises(TrustError, match=said):
            Floor.of(pins.policy, 8).check(trust, body)


def test_a_roster_that_changes_keeps_the_budget_and_the_share_that_is_relied_on() -> None:
    policy = Policy.default(60, privacy=BUDGET)
    rule = policy.privacy
    assert rule is not None
    for members in (50, 61, 90):
        new = resized(policy, 60, members)
        changed = new.privacy
        assert changed is not None
        assert (changed.ratio, changed.epsilon, changed.delta) == (rule.ratio, rule.epsilon, rule.delta)
        assert changed.honest == max(new.min_clients, new.quorum(members)) - new.max_corrupt
