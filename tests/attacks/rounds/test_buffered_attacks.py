"""Attacks on buffered rounds: each works against a naive version of them, and fails against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.buffered import Buffered, model
from support.federation import Federation, Tape, edit, replace

from secure_agg import AttemptStore, BufferedTask
from secure_agg.backends.additive import rules
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.errors import (
    AnotherModel,
    ConfigError,
    LedgerRefused,
    PolicyViolation,
    RemoteProtocolError,
    TaskSpent,
    TooFewClients,
    VerificationError,
    WrongContext,
)
from secure_agg.fl.algorithms.buffered import replay_buffered
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.config.buffer import Base
from secure_agg.protocol.config.presets import buffered_policy
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import Statement
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.bases import learn_base

VICTIM = "c000"
Floats = npt.NDArray[np.float64]


def sum_of(where: Federation, evidence: Evidence) -> list[Floats]:
    """Of the updates, all of weight 1, as everybody knows it of a result."""
    return [array * len(evidence.participants) for array in Auditor(where.trust).verify(evidence).average]


def forgetful(where: Buffered, *names: str) -> None:
    """A naive client keeps no bonds: it knows the round's bases, and nothing of what it has done."""
    for name in names:
        where.stores[name] = AttemptStore()
        for base in where.bases:
            learn_base(where.stores[name], name, where.task, base)


def near(one: list[Floats], other: list[Any], within: float) -> bool:
    return all(float(np.abs(a - b).max()) < within for a, b in zip(one, other, strict=True))


# --- mixed bases ---------------------------------------------------------------------------------------------------


def trained(weights: Floats, seed: int) -> Floats:
    """One step of a unit max(0, w·x) + 0 on data of one's own: nothing, where no input gets through."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(0.5, 1.5, (8, weights.size))
    active = (inputs @ weights > 0).astype(float)
    return 0.1 * (active[:, None] * inputs).mean(axis=0)


def test_a_crafted_base_silences_nobody_since_whoever_is_shown_it_stays_out() -> None:
    true, crafted = np.full(3, 0.5), np.full(3, -100.0)
    assert not trained(crafted, 1).any()
    # Naive: each trains from what it is shown, and all updates go into one sum.
    naive = Federation(5, shapes=((3,),), backend="additive", options={"aggregators": 2})
    naive.updates = {name: [trained(true if name == VICTIM else crafted, i)] for i, name in enumerate(naive.names)}
    shown = sum_of(naive, Tape.start(naive).finish())
    assert near(shown, naive.updates[VICTIM], 1e-4)
    # Ours: the crafted model would have to be among the bases, and nobody's results lead to it.
    where = Buffered()
    where.go_on(where.play(*where.names))
    for bases in (
        (where.bases[0], replace(where.bases[1], model=model(66))),
        (replace(where.bases[0], model=model(66)), where.bases[1]),
    ):
        tape = Tape.start(where, bases=bases, base_model=bases[-1].model).until("advertise")
        for name in where.names:
            where.based[name] = bases[-1].model
            with pytest.raises(AnotherModel, match="recorded results have led"):
                tape.answer(name)
            assert not tape.client(name).outbox
    # Nor does it help to show it to some beside the list: they say what they trained from.
    tape = Tape.start(where).until("advertise")
    where.based["c001"] = model_digest([crafted])
    with pytest.raises(PolicyViolation, match="none of the round's bases 0, 1: train from base 0 or a later one"):
        tape.answer("c001")


# --- the first K ----------------------------------------------------------------------------------------------------


def test_the_first_k_are_never_a_victim_among_the_corrupt() -> None:
    # Naive: K counts updates, whosever they are.
    naive = Buffered(corrupt=0, honest=2)
    found = sum_of(naive, naive.play(VICTIM, "c001"))
    assert near([a - b for a, b in zip(found, naive.updates["c001"], strict=True)], naive.updates[VICTIM], 1e-3)
    # Ours: K leaves two honest updates though every corrupt client of the roster were in it.
    where = Buffered(corrupt=2, honest=2)
    assert where.policy.min_clients == 4
    with pytest.raises(ConfigError, match="min_clients = 4 or max_corrupt = 0 would do"):
        replace(where.policy, min_clients=2, min_advertised=2)
    with pytest.raises(TooFewClients, match="3 clients advertised, 4 are needed"):
        where.play(VICTIM, "c001", "c002")
    # The coordinator composes S: share holders sign none that is smaller, whoever has advertised.
    fresh = Buffered(corrupt=2, honest=2, seed=1)
    tape = Tape.start(fresh).until("consistency")
    for name, request in tape.requests["consistency"].items():
        small = edit(request, fresh.operator, Statement, lambda body: replace(body, entries=body.entries[:3]))
        with pytest.raises(TooFewClients, match="3 clients are left, 4 are needed"):
            tape.local.holders[name].receive(small)


# --- one update twice -------------------------------------------------------------------------------------------------


def test_an_update_of_one_base_is_summed_once_over_all_buffers() -> None:
    def both(where: Buffered) -> list[Floats]:
        """Two sums that differ by the victim and a corrupt client, who knows its own."""
        first = where.play(VICTIM, "c001", "c002")
        where.go_on(first)
        for name in ("c001", "c002", "c003"):
            where.based[name] = model(0)
        if where is naive:
            forgetful(where, "c001", "c002")
        second = where.play("c001", "c002", "c003")
        pairs = zip(sum_of(where, first), sum_of(where, second), where.updates["c003"], strict=True)
        return [one - other + own for one, other, own in pairs]

    naive = Buffered()
    assert near(both(naive), naive.updates[VICTIM], 1e-3)
    with pytest.raises(TaskSpent, match="'c001' has given its update from base 0 in another round"):
        both(Buffered())


def test_a_client_that_was_restarted_knows_which_bases_it_has_used(tmp_path: Path) -> None:
    where = Buffered(staleness=2)
    where.stores["c001"] = AttemptStore(tmp_path / "c001.db")
    for base in where.bases:
        learn_base(where.stores["c001"], "c001", where.task, base)
    where.go_on(where.play(VICTIM, "c003", "c002"))
    where.go_on(where.play(VICTIM, "c001", "c002"))
    where.stores["c001"].close()
    where.stores["c001"] = AttemptStore(tmp_path / "c001.db")
    for number, said in ((1, "given its update from base 1"), (0, "increasing order, base 2 would do")):
        where.based["c001"] = model(number)
        with pytest.raises(TaskSpent, match=said):
            Tape.start(where).until("advertise").answer("c001")
    where.stores["c001"].close()


# --- bases that are no results ------------------------------------------------------------------------------------


def test_a_base_that_is_no_recorded_result_is_found_by_clients_ledgers_and_auditors(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(4)]
    policy = buffered_policy(len(names), honest=2, staleness=1, max_corrupt=1, clip=1.0, options={"aggregators": 2})
    models = [[np.full(2, 0.0)]]
    rng = np.random.default_rng(3)

    def round_of(task: BufferedTask) -> Evidence:
        given = {name: [rng.uniform(-1, 1, 2)] for name in names[:3]}
        return task.aggregate(given, dict.fromkeys(given, task.bases[-1].number), weights=dict.fromkeys(given, 1024)
                              ).evidence  # fmt: skip

    with BufferedTask(names, model_digest(models[0]), policy, ledger=tmp_path / "rounds.db") as task:
        rounds = [round_of(task)]
        state = next(replay_buffered(models[0], rounds, task.trust))
        task.advance(state.digest)
        rounds.append(round_of(task))
        assert [state.rounds for state in replay_buffered(models[0], rounds, task.trust)] == [1, 2]
        # The newest base is another model than the result leads to: clients that compute nothing take it for one.
        task.advance(model(66))
        rounds.append(round_of(task))
        with pytest.raises(AnotherModel, match="base 2 of round 2"):
            list(replay_buffered(models[0], rounds, task.trust))
        # An older one is another than the round before had: the ledger itself knows, whatever clients say.
        task.advance(model(3))
        crafted = (replace(task.bases[0], model=model(77)), task.bases[1])
        for name in names:
            task.stores[name].close()
        task.stores = {name: AttemptStore() for name in names}  # naive: they learn what they are shown
        task._bases = crafted
        for base in crafted:
            task._learn(base)
        with pytest.raises(LedgerRefused, match="base 2 is another"):
            round_of(task)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda bases: bases[1:], r"the bases \[1\] are not 1 and the 1 before it"),
        (lambda bases: bases[::-1], "are not"),
        (lambda bases: (), "names no base"),
        (lambda bases: (replace(bases[0], number=1), bases[1]), "are not"),
        (lambda bases: (bases[0], replace(bases[1], record=bytes([1]) * 32)), "newest base has record"),
        (lambda bases: (bases[0], replace(bases[1], model=model(66))), "newest base has model"),
        (lambda bases: (replace(bases[0], record=bytes([1]) * 32), bases[1]), "its record says otherwise"),
        (lambda bases: (replace(bases[0], model=NO_DIGEST), bases[1]), "no digests of a record and a model"),
        (lambda bases: (replace(bases[0], model=b"short"), bases[1]), "no digests of a record and a model"),
        (lambda bases: (Base(0, NO_DIGEST, model(0)), *bases), "are not"),
    ],
)
def test_nobody_goes_on_with_bases_that_are_not_the_newest(change: Any, said: str) -> None:
    where = Buffered()
    where.go_on(where.play(VICTIM, "c001", "c002"))
    bases, wanted = change(where.bases), where.bases[-1].model
    with pytest.raises(PolicyViolation, match=said):
        where.aggregator(bases=bases, base_model=wanted)


# --- other lists for others ---------------------------------------------------------------------------------------


def test_clients_that_are_shown_other_bases_are_in_no_round_together() -> None:
    where = Buffered()
    where.go_on(where.play(VICTIM, "c001", "c002"))
    other = (where.bases[0], replace(where.bases[1], model=model(66)))
    # Naive: nothing that clients sign says what they trained from, and two lists are one sum.
    naive = Federation(5, backend="additive", options={"aggregators": 2})
    assert naive.config().base_model == NO_DIGEST
    assert len(Tape.start(naive).finish().participants) == 5
    # Ours: a client that would take the other list joins another round by it, with letters for no other.
    shown = Tape.start(where, bases=other, base_model=other[1].model).until("advertise")
    fooled = where.stores["c003"] = AttemptStore()
    for base in other:
        learn_base(fooled, "c003", where.task, base)
    client = where.client("c003")
    joined = client.join(shown.requests["advertise"]["c003"], where.updates["c003"], base_model=other[1].model)
    tape = Tape.start(where).until("advertise")
    with pytest.raises(RemoteProtocolError):
        tape.deliver(joined)
    for letter in client.outbox:
        with pytest.raises(WrongContext):
            tape.local.holders[letter.recipient].receive(letter.data)


# --- an update from elsewhere -------------------------------------------------------------------------------------


class Elsewhere(AdditiveClient):
    """A client that signs another base than the round has."""

    def start_from(self, base: bytes) -> None:
        super().start_from(model(66))


def test_an_update_from_another_model_than_the_bases_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.shares.additive_round import cheating

    where = Buffered()
    cheating(monkeypatch, Elsewhere, "c002")
    with pytest.raises(PolicyViolation, match="none of the round's bases") as caught:
        where.play(*where.names)
    assert caught.value.culprit == "c002"
    # Where coordinator and share holders look away, whoever verifies does not.
    where = Buffered()
    with monkeypatch.context() as blind:
        blind.setattr(rules, "check_base", lambda *_, **__: None)
        blind.setattr("secure_agg.roles.auditor.auditor.based_on", lambda _: {})
        evidence = where.play(*where.names)
    with pytest.raises(VerificationError, match="'c002'"):
        Auditor(where.trust).verify(evidence)
