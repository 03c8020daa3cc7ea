"""After its share holders have renounced a buffered round goes on, and no base is used twice by it."""

from __future__ import annotations

import pytest
from support.buffered import Buffered, model
from support.federation import Tape

from secure_agg.errors import TaskSpent
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.renouncing import Renouncing
from secure_agg.roles.task import Task


def test_after_a_renunciation_the_same_bases_are_used_again_in_the_same_round_and_in_no_other() -> None:
    where = Buffered()
    where.go_on(where.play("c000", "c001", "c002"))
    where.based["c003"] = model(0)
    tape = Tape.start(where, {"c004": "advertise"}).until("partial-sum")
    asking = Renouncing(where.operator, where.config(), where.roster, where.trust.operators, setup=where.setup)
    for name, request in asking.requests():
        asking.receive(tape.local.holders[name].receive(request))
    certificate = asking.certificate()

    config = where.config(renounced=certificate, attempt=1)
    after = Tape(where, where.round({"c004": "advertise"}))
    after.local.aggregator = Task(where.task, where.trust, where.last).lead(
        where.operator, config, where.setup, renounced=certificate
    )
    after.open(after.aggregator.start())
    after.until("advertise")
    where.based["c000"] = model(0)  # which it has used in the round before
    with pytest.raises(TaskSpent):
        after.answer("c000")
    where.based["c000"] = model(1)
    evidence = after.finish()
    assert Auditor(where.trust).verify(evidence).based == {"c000": 1, "c001": 1, "c002": 1, "c003": 0}

    where.go_on(evidence)
    tape = Tape.start(where).until("advertise")
    where.based["c004"] = where.based["c000"] = model(1)
    with pytest.raises(TaskSpent):
        tape.answer("c000")
    assert tape.answer("c004")
