"""What one client can do to the rounds that come after: nothing. A round that it has spoilt ends with a typed error,
and a round of the same clients, operators, stores and ledger from a new model is verified and recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation, Tape
from support.frameworks.plugin_rounds import NAMES, WEIGHTS, a_world, model

from secure_agg import backends
from secure_agg.errors import AlreadyReleased, RoundAborted, TaskSpent, TooFewClients, Unattributed
from secure_agg.ledger.log import Ledger
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import RoundConfig
from secure_agg.roles.client import client, committing
from secure_agg.roles.client.committing import Committed
from secure_agg.roles.keyholder import MAX_FAILURES
from zk import commitment

CHEAT = "c002"
FLIPPED, LONG = "flipped", "long"
CASES = [
    ("masking", {}, FLIPPED),
    ("masking", {}, LONG),
    ("plain", {}, FLIPPED),
    ("additive", {}, LONG),
    ("crypten", {"norm_bound_milli": 100_000}, FLIPPED),
    ("bfv", {}, FLIPPED),
    ("ckks", {}, FLIPPED),
    ("paillier", {"modulus_bits": 2048}, FLIPPED),
    ("paillier", {"modulus_bits": 2048, "holders": 4}, FLIPPED),
]


def cheating(monkeypatch: pytest.MonkeyPatch, federation: Federation, how: str) -> None:
    """From now on the cheat hides another vector than it commits to, or commits to one that no honest client has."""
    honest = committing.commit_update
    its = federation.updates[CHEAT]

    def commit(config: RoundConfig, update: Sequence[npt.NDArray[Any]], *rest: Any) -> Committed:
        made = honest(config, update, *rest)
        if update is not its:
            return made
        vector = made.vector.copy()
        if how == FLIPPED:
            vector[3] ^= 1
            return Committed(vector, made.commitment, made.encoded)
        packed = config.commitment.runs
        # More than the sum of all may be; a digit that is not an element's highest would change its neighbour's only.
        vector[packed.most - 1 if packed else 3] = config.policy.base
        size, setting = config.layout.committed, config.commitment
        made_of_it = commitment.commit(setting.pack(vector[:size]), vector[size:], setting.rank)
        return Committed(vector, made_of_it, made.encoded)

    monkeypatch.setattr(client, "commit_update", commit)


def federation_of(backend: str, options: Mapping[str, int], ledger: Ledger) -> Federation:
    """Homes' worth of state that outlives a round: stores, key holders' keys, and a ledger."""
    federation = Federation(5, backend=backend, options=options, policy_changes={"bits": 8})
    ledger.pin(federation.task, federation.trust.tasks[federation.task], federation.trust.operators)
    federation.trust = ledger.trust
    return federation


def round_of(federation: Federation, ledger: Ledger, number: int, **changes: Any) -> LocalRound:
    """A round bound to the ledger; its clients and operators are those of every other, after a restart."""
    return federation.round(round=number, log_key=ledger.trust.log or b"", **changes)


@pytest.mark.parametrize(("backend", "options", "how"), CASES)
def test_an_honest_round_from_a_new_model_follows_a_spoilt_one(
    backend: str, options: dict[str, int], how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Ledger(tmp_path / "rounds.db") as ledger:
        federation = federation_of(backend, options, ledger)
        with monkeypatch.context() as patched:
            cheating(patched, federation, how)
            with pytest.raises(Unattributed) as caught:
                round_of(federation, ledger, 0).run()
        assert caught.value.culprit is None
        assert caught.value.phase is not None

        again = round_of(federation, ledger, 0, attempt=1)
        with pytest.raises((TaskSpent, AlreadyReleased)):
            again.run()  # from the same model a second sum would give somebody away

        local = round_of(federation, ledger, 1, start_model=bytes([7] * 32))
        evidence = local.run()
        assert set(evidence.participants) == set(federation.names), "who has signed before is in it too"
        ledger.append(evidence)
        assert set(local.deliver()) == set(federation.names)


@pytest.mark.parametrize(("backend", "options"), [("bfv", {}), ("paillier", {"modulus_bits": 2048})])
def test_a_key_bears_so_many_failures_and_a_fresh_one_goes_on_without_new_pins(
    backend: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(5, backend=backend, options=options, policy_changes={"bits": 8})
    name = federation.holder_names[0]
    with monkeypatch.context() as patched:
        cheating(patched, federation, FLIPPED)
        for number in range(MAX_FAILURES):
            assert federation.holder().failures == number
            with pytest.raises(Unattributed):
                Tape.start(federation, round=number, start_model=bytes([number] * 32)).finish()
    tape = Tape.start(federation, round=50, start_model=bytes([50] * 32)).until("decrypt")
    with pytest.raises(AlreadyReleased, match="certify a fresh one"):
        tape.answer(name)

    keyed = backends.load(backend).keys
    assert keyed is not None
    federation.openers = dict(keyed.generate(federation.config(), federation.holder_names))
    federation.certificate = federation.certify(federation.openers[name].public)
    assert Tape.start(federation, round=51, start_model=bytes([51] * 32)).finish()


def test_a_spoilt_round_names_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(5)
    cheating(monkeypatch, federation, FLIPPED)
    with pytest.raises(RoundAborted) as caught:
        Tape.start(federation).finish()
    assert (type(caught.value), caught.value.culprit) == (Unattributed, None)


def spoiling_west(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node hides another vector than it commits to."""
    honest = committing.commit_update

    def commit(config: RoundConfig, update: Sequence[npt.NDArray[Any]], weight: int, *rest: Any) -> Committed:
        made = honest(config, update, weight, *rest)
        if weight == WEIGHTS["west"]:
            made.vector[3] ^= 1
        return made

    monkeypatch.setattr(client, "commit_update", commit)


def test_a_spoilt_evaluation_does_not_stop_the_evaluation_of_the_next_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left its task's start model as it was; what is evaluated is another model, and every node knows it."""
    with a_world() as world:
        first = world.coordinator.round(model(), world.nodes(model()))
        with monkeypatch.context() as patched:
            spoiling_west(patched)
            with pytest.raises(Unattributed):
                world.coordinator.evaluate(first.model, world.nodes(first.model).evaluating())
        nodes = world.nodes(first.model)
        with pytest.raises(TooFewClients):
            world.coordinator.evaluate(first.model, nodes.evaluating())
        assert {type(error) for _, error in nodes.errors} == {TaskSpent}, "not of the same model again"

        second = world.coordinator.round(first.model, world.nodes(first.model, seed=1))
        found = world.coordinator.evaluate(second.model, world.nodes(second.model).evaluating())
        assert set(found.participants) == set(NAMES)
        assert (found.record.round, found.record.start_model) == (1, bytes(32))


def test_a_model_that_a_node_does_not_know_is_not_evaluated_after_a_spoilt_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moved by one bit it would be the same evaluation twice: with one node less the difference is that node's."""
    with a_world() as world:
        first = world.coordinator.round(model(), world.nodes(model()))
        with monkeypatch.context() as patched:
            spoiling_west(patched)
            with pytest.raises(Unattributed):
                world.coordinator.evaluate(first.model, world.nodes(first.model).evaluating())
        moved = [array.copy() for array in first.model]
        moved[0].flat[0] = np.nextafter(moved[0].flat[0], np.float32(9))
        nodes = world.nodes(moved)
        with pytest.raises(TooFewClients):
            world.coordinator.evaluate(moved, nodes.evaluating())
        assert {type(error) for _, error in nodes.errors} == {TaskSpent}
