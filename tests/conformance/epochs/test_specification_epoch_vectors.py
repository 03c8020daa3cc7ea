"""docs/vectors/epochs*: made again by the product, and what the second implementation says of each of them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import conformance.epochs.epoch_vectors as made
import conformance.epochs.independent_epochs as spec
import pytest
from conformance.independent_verifier import decode
from conformance.vector_files import DIRECTORY

from secure_agg.errors import SecureAggError
from secure_agg.protocol.epoch import EpochEvidence, read_leaf
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import decode as read
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.epochs.checking import verify_epoch
from secure_agg.roles.epochs.following import MAX_STEP, Place, Step, Steps, follow
from secure_agg.roles.trust import Trust


@cache
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DIRECTORY / made.VECTORS).read_text("utf-8"))
    return found


@cache
def trust() -> Trust:
    return Trust.load(DIRECTORY / made.TRUST)


@cache
def steps() -> tuple[Step, ...]:
    return Steps.from_bytes((DIRECTORY / made.STEPS).read_bytes()).steps


def last_of(epoch: dict[str, Any]) -> dict[str, Any] | None:
    """The record before an epoch, as the second implementation takes it."""
    if epoch["last"] is None:
        return None
    leaf = bytes.fromhex(epoch["last"])
    return spec.after_epoch(leaf) if leaf[0] >> 4 == 9 else spec.after_round(leaf)


@cache
def in_force() -> list[dict[str, Any]]:
    """Before each epoch and after the last, by the second implementation."""
    found = [spec.first(json.loads((DIRECTORY / made.TRUST).read_text("utf-8")), vectors()["task"])]
    for epoch, step in zip(vectors()["epochs"], steps(), strict=True):
        leaf, after = spec.verify_epoch(found[-1], step.evidence, last_of(epoch))
        assert leaf == bytes.fromhex(epoch["record"]) == step.record
        found.append(after)
    return found


@cache
def seen(number: int) -> tuple[dict[str, Any], dict[str, Any] | None, Place]:
    """Where whoever follows is before a step: by the second implementation, and by the product."""
    force, tree, place = in_force()[0], None, Place(trust())
    log = bytes.fromhex(vectors()["log"])
    for step in steps()[: number - 1]:
        fields = decode("Step", made.encode(step), MAX_STEP)
        force, tree = spec.follow(force, fields, log, None, tree)
        place, _ = follow(place, vectors()["task"], step)
    return force, tree, place


def test_the_product_makes_them_again() -> None:
    played = made.play()
    assert (DIRECTORY / made.TRUST).read_text("utf-8") == played.genesis.to_json()
    assert (DIRECTORY / made.STEPS).read_bytes() == Steps(played.steps).to_bytes()
    assert (DIRECTORY / made.FAULT).read_bytes() == made.forks(played)[0]
    assert vectors() == made.vectors(played)


def test_the_second_implementation_comes_to_every_leaf_and_to_what_is_signed() -> None:
    forces, epochs = in_force(), vectors()["epochs"]
    assert forces[0]["digest"].hex() == vectors()["genesis"]
    assert {epoch["mode"] for epoch in epochs} == {"continue", "restart"}
    for force, after, epoch, step in zip(forces, forces[1:], epochs, steps(), strict=False):
        assert (force["digest"].hex(), after["digest"].hex()) == (epoch["previous_epoch"], epoch["body"])
        task = vectors()["task"].encode()
        assert epoch["authorise"] == spec.frame("epoch-authorise", task, force["digest"], after["digest"]).hex()
        for name, message in epoch["accept"].items():
            keys = {**spec.roster_of(after["roster"]), **spec.roster_of(after["operators"])}
            keys |= spec.roster_of(after["administrators"])
            assert message == spec.frame("epoch-accept", task, after["digest"], name.encode(), keys[name]).hex()
        assert epoch["record_digest"] == spec.digest("epoch-record", step.record).hex()
        assert epoch["evidence"] == spec.sha(step.evidence).hex()


def test_both_follow_all_steps() -> None:
    force, tree, place = seen(len(steps()) + 1)
    assert tree is not None
    assert place.checkpoint is not None
    assert (force["digest"].hex(), tree["root"]) == (vectors()["epochs"][-1]["body"], place.checkpoint.root)
    assert place.trust.task(vectors()["task"]).epoch == len(steps())


@pytest.mark.parametrize("case", range(len(vectors()["refused"])), ids=lambda i: vectors()["refused"][i]["why"])
def test_both_refuse_what_is_no_epoch(case: int) -> None:
    wrong = vectors()["refused"][case]
    at, data = wrong["epoch"] - 1, bytes.fromhex(wrong["evidence"])
    with pytest.raises(ValueError, match=r"."):
        spec.verify_epoch(in_force()[at], data, last_of(vectors()["epochs"][at]))
    last = vectors()["epochs"][at]["last"]
    with pytest.raises(SecureAggError):
        verify_epoch(
            made.before(trust(), steps())[at],
            EpochEvidence.from_bytes(data),
            None if last is None else read_leaf(bytes.fromhex(last)),
        )


@pytest.mark.parametrize(
    "case", range(len(vectors()["refused_steps"])), ids=lambda i: vectors()["refused_steps"][i]["why"]
)
def test_both_follow_no_other_step(case: int) -> None:
    wrong = vectors()["refused_steps"][case]
    force, tree, place = seen(wrong["epoch"])
    data = bytes.fromhex(wrong["step"])
    with pytest.raises(ValueError, match=r"."):
        spec.follow(force, decode("Step", data, MAX_STEP), bytes.fromhex(vectors()["log"]), None, tree)
    with pytest.raises(SecureAggError):
        follow(place, vectors()["task"], read(Step, data, MAX_STEP))


def test_both_know_who_has_authorised_two_successors() -> None:
    data = (DIRECTORY / made.FAULT).read_bytes()
    proof = FaultProof.from_bytes(data)
    Auditor(made.before(trust(), steps())[2]).verify_fault(proof)
    assert spec.verify_two_epochs(data) == (proof.culprit, proof.public)
    for why, text in vectors()["no_faults"].items():
        with pytest.raises(ValueError, match=r"."):
            spec.verify_two_epochs(bytes.fromhex(text))
        with pytest.raises(SecureAggError):
            Auditor(None).verify_fault(FaultProof.from_bytes(bytes.fromhex(text)))
        assert why
