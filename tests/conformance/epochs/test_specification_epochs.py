"""Section 18 of docs/specification.md is complete: an implementation of it alone comes to the same leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import conformance.epochs.independent_epochs as spec
import msgspec
import numpy as np
import pytest
from support.epochs import SHAPES, TASK, Changing, newer
from support.federation import identity

from secure_agg.errors import SecureAggError
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.epoch import EpochEvidence, EpochRecord
from secure_agg.roles.epochs.checking import verify_epoch
from secure_agg.roles.epochs.pins import epoch_digest


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    """A task with all kinds of epochs, also two without a round between them."""
    task = Changing(tmp_path_factory.mktemp("history"), 5, administrators=3, min_clients=2)
    task.round()
    task.change(join={"new": identity("new").public}, new={"new": identity("new")})
    task.change(rotate={"m1": newer("m1").public}, new={"m1": newer("m1")})
    task.round()
    rules = task.trust.task(TASK).policy
    task.change(leave=frozenset({"m0"}))
    weights = {"weight_scale": 2, "weight_span": 8, "first_weight": 4, "max_weight": 16, "max_error": 1e6}
    task.change(policy=msgspec.structs.replace(task.trust.task(TASK).policy, **weights))
    task.change(restart=("second", model_digest([np.full(shape, 0.25) for shape in SHAPES])))
    assert rules.backend == "masking"
    yield task
    task.ledger.close()


def walk(task: Changing) -> Iterator[tuple[dict[str, Any], bytes, dict[str, Any] | None, bytes]]:
    """Every epoch: what was in force, its evidence, the record before, and its leaf."""
    ledger: Ledger = task.ledger
    before, last = spec.first(json.loads(task.genesis.to_json()), TASK), None
    for index in range(len(ledger)):
        record = ledger.entry(index)
        if isinstance(record, EpochRecord):
            data = ledger.epoch(index)[1].to_bytes()
            yield before, data, last, record.to_bytes()
            before = spec.verify_epoch(before, data, last)[1]
            last = spec.after_epoch(record.to_bytes())
        else:
            last = spec.after_round(record.to_bytes())


def test_both_come_to_the_same_leaves(history: Changing) -> None:
    assert spec.first(json.loads(history.genesis.to_json()), TASK)["digest"] == epoch_digest(history.genesis, TASK)
    leaves = [(spec.verify_epoch(before, data, last)[0], leaf) for before, data, last, leaf in walk(history)]
    assert len(leaves) == 5
    assert all(ours == theirs for ours, theirs in leaves)


def test_both_refuse_what_was_changed(history: Changing) -> None:
    """A byte anywhere, a signature fewer, two in another order, one field of the body: both give the same verdict."""
    before, data, last, leaf = next(walk(history))
    whole = EpochEvidence.from_bytes(data)
    record = history.ledger.entry(0)
    body = whole.says
    changed = [bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]) for at in range(20, len(data), 97)]
    for field in ("authorisations", "acceptances"):
        signed = getattr(whole, field)
        changed += [
            msgspec.structs.replace(whole, **{field: signed[1:]}).to_bytes(),
            msgspec.structs.replace(whole, **{field: signed[::-1]}).to_bytes(),
        ]
    changed += [
        msgspec.structs.replace(whole, body=msgspec.structs.replace(body, **change).to_bytes()).to_bytes()
        for change in ({"epoch": 2}, {"threshold": 3}, {"quorum": 0, "roster": body.roster[1:]}, {"name": ""})
    ]
    verdicts = []
    for other in changed:
        try:
            spec.verify_epoch(before, other, last)
            ours = True
        except ValueError:
            ours = False
        try:
            verify_epoch(history.genesis, EpochEvidence.from_bytes(other), record)
            theirs = True
        except SecureAggError:
            theirs = False
        assert ours == theirs
        verdicts.append(ours)
    assert not all(verdicts)
    assert spec.verify_epoch(before, data, last)[0] == leaf


def test_an_epoch_elsewhere_is_none(history: Changing) -> None:
    before, data, last, _ = next(walk(history))
    assert last is not None
    for change in ({"next": 2}, {"start_model": bytes(32)}, {"generation": 1}):
        with pytest.raises(ValueError, match="closed"):
            spec.verify_epoch(before, data, last | change)
