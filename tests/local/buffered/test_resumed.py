"""Buffered rounds whose parties are restarted between phases: the bonds stand, and the same bytes are sent again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.buffered import Buffered, model
from support.federation import Tape

from secure_agg import AttemptStore
from secure_agg.errors import AlreadyReleased, TaskSpent
from secure_agg.fl.algorithms.buffered import Followed
from secure_agg.protocol.codec import model_digest
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.bases import learn_base
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.rounds import RoundLog


def test_a_client_that_joins_again_sends_the_same_and_from_no_other_base() -> None:
    where = Buffered()
    where.go_on(where.play("c000", "c001", "c002"))
    tape = Tape.start(where).until("advertise")
    request, update = tape.requests["advertise"]["c003"], where.updates["c003"]
    first = where.client("c003")
    said = first.join(request, update, base_model=model(0))
    with pytest.raises(AlreadyReleased):
        where.client("c003").join(request, update, base_model=model(1))
    again = where.client("c003")
    assert again.join(request, update, base_model=model(0)) == said
    assert [letter.data for letter in again.outbox] == [letter.data for letter in first.outbox]
    other = Tape.start(where, round=7).until("advertise")
    with pytest.raises(TaskSpent, match="from base 0 in another round"):
        where.client("c003").join(other.requests["advertise"]["c003"], update, base_model=model(0))


def test_an_update_from_a_later_base_that_left_meanwhile_forbids_an_earlier_one() -> None:
    """Another process over the same store has gone on while this one was still committing: to two results more."""
    where = Buffered(staleness=2)
    store, first = where.stores["c003"], where.bases[0]
    slow = Bonds(store, "c003", where.config(), base=first, newest=0)
    slow.check_unspent()
    for _ in range(2):
        where.go_on(where.play("c000", "c001", "c002"))
    Bonds(store, "c003", where.config(), base=where.bases[2], newest=2).give(phase="advertise")
    with pytest.raises(TaskSpent, match="given an update from base 2, and this one is from base 0"):
        slow.give(phase="advertise")


def test_a_round_goes_on_over_restarts_of_its_aggregator_and_its_clients(tmp_path: Path) -> None:
    where = Buffered(staleness=2)
    where.go_on(where.play("c000", "c001", "c002"))
    where.based["c003"] = model(0)
    tape = Tape(where, where.round())
    config = where.config()
    log = tmp_path / "round.db"
    tape.local.aggregator = Aggregator(
        where.operator, config, where.roster, operators=where.trust.operators, setup=where.setup, log=RoundLog(log)
    )
    tape.open(tape.aggregator.again())
    requests = {}
    while tape.pending:
        requests |= tape.requests.get("advertise", {})
        tape.answer_all()
        tape.advance()
        tape.local.aggregator = Aggregator.resume(where.operator, RoundLog(log))
        tape.open(tape.aggregator.again())
    evidence = tape.aggregator.evidence
    assert evidence is not None
    verified = Auditor(where.trust).verify(evidence)
    assert verified.based == {"c000": 1, "c001": 1, "c002": 1, "c003": 0, "c004": 1}
    results = {envelope.recipient: envelope.data for envelope in tape.aggregator.results()}
    client = where.client("c003")
    client.resume([requests["c003"]], lambda: where.updates["c003"])
    assert client.finish(results["c003"]).record == verified.record
    where.go_on(evidence)
    tape = Tape.start(where).until("advertise")
    for number, said in ((0, "increasing order, base 2 would do"), (1, "from base 1 in another round")):
        where.based["c004"] = model(number)
        with pytest.raises(TaskSpent, match=said):
            tape.answer("c004")


def test_a_deployed_client_follows_results_and_joins_from_whichever_base_it_has_computed() -> None:
    """As ``Followed`` and ``Client`` are used over one store: the models are arrays here, not names."""
    where = Buffered(shapes=((3,),))
    name, start = "c000", [np.full(3, 0.0)]
    where.stores[name] = AttemptStore()
    models = Followed(start, where.trust, where.task, name, where.stores[name])
    assert models.bases == where.bases
    evidence = where.play(name, "c001", "c002")
    base = models.take(evidence)
    where.last = Auditor(where.trust).verify(evidence).record
    learnt = where.stores.pop(name)
    for other in where.stores:
        learn_base(where.stores[other], other, where.task, base)
        learn_result(where.stores[other], other, where.last)
    where.stores[name] = learnt
    where.bases = models.bases
    assert where.bases[-1].model == model_digest([start[0] + Auditor(where.trust).verify(evidence).average[0]])
    where.based = {"c003": where.bases[0].model}
    assert Auditor(where.trust).verify(where.play(name, "c003", "c004")).based == {name: 1, "c003": 0, "c004": 1}
