"""Secure training is plain training within the bound that records state: every algorithm, every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fl.algorithms.quadratics import Quadratic, some

import secure_agg
from secure_agg import Privacy, backends
from secure_agg.errors import AnotherModel, LedgerError, UpdateError
from secure_agg.fl.algorithms.algorithm import Algorithm, State
from secure_agg.fl.algorithms.named import NAMES, create
from secure_agg.fl.algorithms.replay import replay
from secure_agg.fl.algorithms.training import Client, Compared, secure_mean, train
from secure_agg.fl.layers import apply
from secure_agg.ledger.log import Ledger

MODEL = [np.array([0.5, -0.5, 0.25], np.float32), np.array([[0.125]])]
WEIGHTS = (5, 2, 9, 4)
STEPS = (2, 5, 3, 4)
SETTINGS: dict[str, dict[str, float]] = {
    "FedProx": {"mu": 0.5},
    "FedAvgM": {"server_momentum": 0.5},
    "FedAdam": {"server_learning_rate": 0.05},
    "FedYogi": {"server_learning_rate": 0.05},
    "FedAdagrad": {"server_learning_rate": 0.05},
    "SCAFFOLD": {"scale": 0.5},
    "FedNova": {"usual_steps": 4.0},
}
CLIP = 4.0
NEEDS = {"bfv": ["tenseal"], "ckks": ["tenseal"], "paillier": ["gmpy2"], "crypten": ["torch", "omegaconf"]}


def made(name: str) -> Algorithm:
    return create(name, rate=0.1, **SETTINGS.get(name, {}))


def client(quadratic: Quadratic, steps: int, weight: int) -> Client:
    def gradient(at: Any) -> list[np.ndarray]:
        (inner,) = quadratic.gradient([at[0].astype(np.float64)])
        return [inner, at[1] - quadratic.b[0]]

    return Client(gradient, lambda _: steps, weight)


CLIENTS = {f"clinic-{i}": client(*each) for i, each in enumerate(zip(some(4, seed=41), STEPS, WEIGHTS, strict=True))}


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_trains_securely_as_it_does_in_plain(name: str) -> None:
    compared = Compared(secure_mean(clip=CLIP, bits=20))
    state = train(made(name), MODEL, CLIENTS, 3, compared)
    wanted = train(made(name), MODEL, CLIENTS, 3)
    assert len(compared.shares) == 3
    assert 0 < max(compared.shares) <= 1
    # Adaptive steps divide by what is small, and so enlarge what rounding has moved.
    reach = 0.02 if name in ("FedAdam", "FedYogi", "FedAdagrad") else 5e-4
    for one, other in zip(state.shared, wanted.shared, strict=True):
        assert np.abs(one - other).max() < reach


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        (name, backend)
        for name in ("SCAFFOLD", "FedNova")
        for backend in backends.names()
        if backend != "masking" and (name, backend) != ("SCAFFOLD", "crypten")  # its parties take seconds to start
    ],
)
def test_what_rides_beside_the_model_rides_in_every_backend(name: str, backend: str) -> None:
    for module in NEEDS.get(backend, ()):
        pytest.importorskip(module)
    options = {"options": {"norm_bound_milli": 20_000}} if backend == "crypten" else {}
    compared = Compared(secure_mean(backend=backend, clip=CLIP, **options))
    train(made(name), MODEL, CLIENTS, 1, compared)
    assert max(compared.shares) <= 1


@pytest.mark.parametrize("name", ["FedNova", "SCAFFOLD"])
def test_clients_that_drop_out_are_in_neither_mean(name: str) -> None:
    algorithm = made(name)
    average = Compared(secure_mean(clip=CLIP, bits=20, dropouts={"clinic-2": "masked-input"}))
    state = train(algorithm, MODEL, CLIENTS, 2, average)
    here = [each for each in sorted(CLIENTS) if each != "clinic-2"]
    wanted = train(algorithm, MODEL, CLIENTS, 2, take_part=lambda _: here)
    for one, other in zip(state.shared, wanted.shared, strict=True):
        assert np.abs(one - other).max() < 5e-4
    assert max(average.shares) <= 1


def test_an_auditor_comes_to_the_same_models_and_finds_a_step_that_was_not_taken(tmp_path: Path) -> None:
    algorithm = made("FedAdam")
    with Ledger(tmp_path / "rounds.db") as ledger:
        states: list[State] = []
        train(
            algorithm, MODEL, CLIENTS, 3, secure_mean(ledger=ledger, clip=CLIP, task="demo"),
            watch=lambda state, _: states.append(state),
        )  # fmt: skip
        rounds = [ledger.evidence(ledger.record(index)) for index in ledger.indexes("demo")]
        start, trust = algorithm.begin(MODEL), ledger.trust
        found = list(replay(start, rounds, trust, algorithm.server))
        assert [state.digest for state in found] == [state.digest for state in states]
        assert [state.rounds for state in found] == [1, 2, 3]
        for others in (made("FedYogi").server, create("FedAdam", rate=0.1, server_learning_rate=0.06).server):
            with pytest.raises(AnotherModel, match="round 1 of 'demo' is relative to"):
                list(replay(start, rounds, trust, others))
        with pytest.raises(AnotherModel, match="round 1"):
            list(replay(start, rounds[1:], trust, algorithm.server))
        with pytest.raises(LedgerError, match="does not follow"):
            list(replay(start, [rounds[0], rounds[2]], trust, algorithm.server))


def test_the_loop_that_the_package_shows() -> None:
    algorithm = create("SCAFFOLD", rate=0.05, scale=0.5)
    model, clients = MODEL, list(CLIENTS)
    state, own = algorithm.begin(model), dict.fromkeys(clients, ())
    for _ in range(2):
        done = {name: algorithm.local(state.shared, own[name], CLIENTS[name].gradient, steps=10) for name in clients}
        result = secure_agg.aggregate({name: each.update for name, each in done.items()}, base_model=state.digest)
        state = algorithm.advance(state, result.average, share=len(result.participants) / len(clients))
        own |= {name: done[name].own for name in result.participants}
    kept = np.mean([own[name][0] for name in clients], axis=0)
    assert state.shared[2] == pytest.approx(kept, abs=1e-3)


def test_a_training_with_noise_sends_no_marks_which_would_be_all_that_is_left_of_an_update(tmp_path: Path) -> None:
    """A mark is a value of -2^100: beside it the norm that privacy allows leaves nothing of the steps."""
    algorithm, budget = made("FedAvg"), Privacy(epsilon=32.0, delta=1e-3, norm=4.0, rounds=1)
    start = [np.array([0.5, 0.75, 0.25], np.float32), np.array([[0.125]])]
    done = {name: algorithm.local(start, (), CLIENTS[name].gradient, 5) for name in CLIENTS}
    assert any(each.marks.any() for each in done.values())
    with pytest.raises(UpdateError, match="an update holds marks"):
        secure_agg.aggregate({name: each.update for name, each in done.items()}, privacy=budget, bits=20)
    with Ledger(tmp_path / "rounds.db") as ledger:
        state = train(algorithm, start, CLIENTS, 1, secure_mean(ledger=ledger, privacy=budget, bits=20))
        evidence = ledger.evidence(ledger.record(0))
        assert evidence.config.shapes == ((3,), (1, 1))
        (again,) = replay(algorithm.begin(start), [evidence], ledger.trust, algorithm.server)
    assert again.digest == state.digest
    mean = secure_agg.verify(evidence).average
    wanted = apply(start, mean)
    assert all(np.array_equal(one, other) for one, other in zip(state.shared, wanted, strict=True))
