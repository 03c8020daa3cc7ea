"""Algorithms settle where their papers say: on quadratics, by closed forms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from fl.algorithms.quadratics import Quadratic, settles, some

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.algorithms.algorithm import Algorithm, Contribution, State
from secure_agg.fl.algorithms.named import NAMES, create
from secure_agg.fl.algorithms.scaffold import Scaffold
from secure_agg.fl.algorithms.training import Client, train
from secure_agg.fl.server_optimizers import BEGUN, ServerOptimizer

RATE = 0.1
STEPS = (1, 4, 9, 20)
START = [np.array([3.0, -3.0, 1.0])]
SETTINGS: dict[str, dict[str, float]] = {
    "FedProx": {"mu": 0.5},
    "FedAvgM": {"server_momentum": 0.5, "server_learning_rate": 0.5},
    "FedAdam": {"server_learning_rate": 0.02},
    "FedYogi": {"server_learning_rate": 0.02},
    "FedAdagrad": {"server_learning_rate": 0.3},
    "SCAFFOLD": {"scale": 0.5},
    "FedNova": {"usual_steps": 8.0},
}


def made(name: str) -> Algorithm:
    return create(name, rate=RATE, **SETTINGS.get(name, {}))


def clients(parts: Sequence[Quadratic], weights: Sequence[int] = (1, 1, 1, 1)) -> dict[str, Client]:
    return {f"c{i}": q.client(k, w) for i, (q, k, w) in enumerate(zip(parts, STEPS, weights, strict=True))}


def settled(algorithm: Algorithm, members: dict[str, Client], rounds: int = 400) -> npt.NDArray[np.float64]:
    return np.asarray(algorithm.model(train(algorithm, START, members, rounds).shared)[0])


# --- where they settle ---------------------------------------------------------------------------------------------


def test_fedavg_settles_where_clients_count_by_their_steps() -> None:
    """Wang et al. 2020, section 3: another objective than the one that is asked for."""
    parts, weights = some(4, seed=3, same=True), (1, 2, 1, 3)
    found = settled(made("FedAvg"), clients(parts, weights))
    expected = settles([w * q.descended(RATE, k) for w, q, k in zip(weights, parts, STEPS, strict=True)], parts)
    assert found == pytest.approx(expected, abs=1e-10)
    asked = np.average([q.b for q in parts], axis=0, weights=weights)
    assert np.abs(found - asked).max() > 0.1


@pytest.mark.parametrize("rate", [0.02, 0.01])
def test_fednova_settles_where_all_count_by_their_weight(rate: float) -> None:
    """But for what local steps bend, which vanishes with the rate."""
    parts, weights = some(4, seed=3, same=True), (1, 2, 1, 3)
    algorithm = create("FedNova", rate=rate, usual_steps=5.0)
    found = settled(algorithm, clients(parts, weights), 500)
    scaled = [w * q.descended(rate, k) / k for w, q, k in zip(weights, parts, STEPS, strict=True)]
    assert found == pytest.approx(settles(scaled, parts), abs=1e-10)
    asked = np.average([q.b for q in parts], axis=0, weights=weights)
    plain = settled(create("FedAvg", rate=rate), clients(parts, weights), 800)
    assert np.abs(found - asked).max() < 7 * rate
    assert np.abs(plain - asked).max() > 4 * np.abs(found - asked).max()


def test_fednova_is_fedavg_where_all_take_the_same_steps() -> None:
    parts = some(3, seed=4)
    members = {f"c{i}": q.client(6, i + 1) for i, q in enumerate(parts)}
    for momentum in (0.0, 0.6):
        nova = create("FedNova", rate=RATE, momentum=momentum, usual_steps=3.0)
        plain = create("FedAvg", rate=RATE, momentum=momentum)
        assert settled(nova, members, 5) == pytest.approx(settled(plain, members, 5), rel=1e-12)


def test_fedprox_settles_where_the_proximal_points_agree() -> None:
    parts, mu = some(4, seed=5), 1.5
    members = {f"c{i}": q.client(150) for i, q in enumerate(parts)}
    found = settled(create("FedProx", rate=RATE, mu=mu), members, 80)
    pulls = [np.linalg.solve(q.a + mu * np.eye(3), q.a) for q in parts]
    assert found == pytest.approx(settles(pulls, parts), abs=1e-9)
    without = settled(create("FedAvg", rate=RATE), members, 3)  # each jumps to its own minimum
    best = settles([q.a for q in parts], parts)
    assert np.linalg.norm(found - best) < np.linalg.norm(without - best)


def test_scaffold_reaches_the_minimum_where_fedavg_stalls() -> None:
    """Karimireddy et al. 2020, section 5: whatever the clients' objectives and numbers of steps are."""
    parts = some(4, seed=6)
    best = settles([q.a for q in parts], parts)
    members = {f"c{i}": q.client(10) for i, q in enumerate(parts)}
    assert settled(made("SCAFFOLD"), members) == pytest.approx(best, abs=1e-9)
    drifted = settles([q.descended(RATE, 10) for q in parts], parts)
    plain = settled(made("FedAvg"), members)
    assert plain == pytest.approx(drifted, abs=1e-9)
    assert np.abs(plain - best).max() > 0.01


def test_scaffold_reaches_it_with_some_clients_in_each_round() -> None:
    parts = some(5, seed=7)
    members = {f"c{i}": q.client(5) for i, q in enumerate(parts)}
    rng = np.random.default_rng(1)
    algorithm = create("SCAFFOLD", rate=RATE, scale=2.0, server_learning_rate=0.7)
    chosen = [sorted(rng.choice(sorted(members), 2, replace=False).tolist()) for _ in range(800)]
    state = train(algorithm, START, members, len(chosen), take_part=chosen.__getitem__)
    best = settles([q.a for q in parts], parts)
    assert algorithm.model(state.shared)[0] == pytest.approx(best, abs=1e-6)
    assert isinstance(algorithm, Scaffold)
    assert algorithm.variate(state.shared)[0] == pytest.approx(np.zeros(3), abs=1e-6)


def test_the_servers_variate_is_the_mean_of_the_clients() -> None:
    """Also where some take part and some are cut off."""
    parts, rng = some(4, seed=8), np.random.default_rng(2)
    algorithm = Scaffold(create("FedAvg", rate=RATE).descent, scale=0.5, limit=0.3)
    state, own = algorithm.begin(START), dict.fromkeys(range(4), ())
    for _ in range(20):
        chosen = sorted(rng.choice(4, 3, replace=False).tolist())
        done = {i: algorithm.local(state.shared, own[i], parts[i].gradient, 5) for i in chosen}
        counted = chosen[:2]
        mean = [np.mean([done[i].update[j] for i in counted], axis=0) for j in range(3)]
        state = algorithm.advance(state, mean, len(counted) / 4)
        own |= {i: done[i].own for i in counted}
    kept = [own[i][0] if len(own[i]) else np.zeros(3) for i in range(4)]
    assert state.shared[1] == pytest.approx(np.mean(kept, axis=0), abs=1e-12)


def test_weighted_scaffold_reaches_the_weighted_minimum() -> None:
    parts, weights = some(3, seed=9), (1, 2, 5)
    members = {f"c{i}": q.client(5, w) for i, (q, w) in enumerate(zip(parts, weights, strict=True))}
    algorithm = Scaffold(create("FedAvg", rate=RATE).descent, weighted=True)
    best = settles([w * q.a for w, q in zip(weights, parts, strict=True)], parts)
    assert settled(algorithm, members) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", ["FedAvgM", "FedAdam", "FedYogi", "FedAdagrad"])
def test_server_optimizers_settle_where_fedavg_does(name: str) -> None:
    parts = some(4, seed=10)
    members = {f"c{i}": q.client(3) for i, q in enumerate(parts)}
    drifted = settles([q.descended(RATE, 3) for q in parts], parts)
    assert settled(made(name), members, 800) == pytest.approx(drifted, abs=0.02)


# --- the server's step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "optimizer", "settings"),
    [
        ("FedAvgM", "SGD", {"lr": 0.3, "momentum": 0.6}),
        ("FedAdagrad", "Adagrad", {"lr": 0.3, "eps": 0.01}),
    ],
)
def test_a_servers_step_is_that_of_torch_on_the_negative_mean(
    name: str, optimizer: str, settings: dict[str, float]
) -> None:
    torch = pytest.importorskip("torch")
    ours = ServerOptimizer.create(
        name, learning_rate=settings["lr"], momentum=settings.get("momentum"), tau=settings.get("eps")
    )
    algorithm = create(
        name, rate=1.0, server_learning_rate=ours.learning_rate,
        server_momentum=settings.get("momentum"), server_tau=settings.get("eps"),
    )  # fmt: skip
    state = algorithm.begin(START)
    x = torch.tensor(START[0], requires_grad=True)
    theirs = getattr(torch.optim, optimizer)([x], **settings)
    rng = np.random.default_rng(4)
    for _ in range(6):
        mean = rng.normal(0, 0.3, 3)
        state = algorithm.advance(state, [mean, np.ones(1)])
        x.grad = torch.from_numpy(-mean)
        theirs.step()
        assert state.shared[0] == pytest.approx(x.detach().numpy(), rel=1e-12)


def test_scaffold_and_fednova_move_what_their_papers_say() -> None:
    model, c = np.array([1.0, 2.0]), np.array([0.5, -0.5])
    mean, change = np.array([0.2, -0.4]), np.array([1.0, 3.0])
    scaffold = create("SCAFFOLD", rate=0.1, server_learning_rate=0.5)
    after = scaffold.advance(State([model, c]), [mean, change, np.ones(2)], share=0.25)
    assert after.shared[0] == pytest.approx(model + 0.5 * mean)
    assert after.shared[1] == pytest.approx(c + 0.25 * change)
    nova = create("FedNova", rate=0.1, server_learning_rate=0.5)
    after = nova.advance(State([model, np.zeros(1)]), [mean, np.array([7.0]), np.ones(2)])
    assert after.shared[0] == pytest.approx(model + 0.5 * 7.0 * mean)
    assert after.shared[1] == 0.0


# --- what rides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_frameworks_arrays_are_the_updates(name: str) -> None:
    """What an app replies with, less what it was handed, is what a loop of one's own sends."""
    algorithm, (quadratic,) = made(name), some(1, seed=11)
    state = algorithm.begin([START[0].astype(np.float32)])
    named = algorithm.named(["w"], state.shared)
    assert next(iter(named)) == "w"
    names, shared = algorithm.unnamed(named)
    assert names == ("w",)
    done = algorithm.local(shared, (), quadratic.gradient, 4)
    for new, old, step in zip(done.moved(shared), shared, done.steps, strict=True):
        assert new.dtype == old.dtype
        assert new - old == pytest.approx(step, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_variance_stays_at_least_zero(name: str) -> None:
    """Rounding below 0 is taken back where no client was negative."""
    algorithm = made(name)
    state = algorithm.begin([np.array([0.0, 1.0])])
    done = algorithm.finish(state.shared, (), [np.array([1e-9, 1.0])], 2)
    assert not done.marks[0]
    mean = [step.astype(np.float64) for step in done.update]
    mean[0] = np.array([-1e-6, 0.0])
    assert algorithm.model(algorithm.advance(state, mean).shared)[0].min() >= 0.0
    below = algorithm.finish(state.shared, (), [np.array([-1e-3, 1.0])], 2)
    assert below.marks[0] != 0


def test_the_bits_of_the_new_steps_are_these() -> None:
    """As for the other optimizers: a change here ends every task that is under way."""
    digests = {}
    for name in ("SCAFFOLD", "FedNova"):
        optimizer = ServerOptimizer.create(name, learning_rate=0.7)
        mean = [np.arange(-8, 8, dtype=np.float64) / 3, np.arange(16, dtype=np.float64) / 7]
        mean = mean if name == "SCAFFOLD" else [mean[0], np.array([5 / 3])]
        steps, _ = optimizer.step(mean, BEGUN, 0, 3 / 7)
        data = b"".join(step.astype("<f8").tobytes() for step in steps)
        digests[name] = hashlib.sha256(data).hexdigest()[:16]
    assert digests == {"SCAFFOLD": "f6b66f7eb5dd222f", "FedNova": "c0f5ae046f164295"}


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("FedBest", {}, "none of FedAvg, FedProx"),
        ("FedProx", {}, "without mu"),
        ("FedAvg", {"scale": 2.0}, "scale is a setting of SCAFFOLD"),
        ("SCAFFOLD", {"usual_steps": 2.0}, "usual_steps is a setting of FedNova"),
        ("SCAFFOLD", {"momentum": 0.5}, "plain steps"),
        ("SCAFFOLD", {"scale": 0.0}, "above 0"),
        ("FedNova", {"usual_steps": float("inf")}, "usual_steps"),
        ("FedNova", {"server_momentum": 0.5}, "has no momentum"),
    ],
)
def test_settings_that_are_no_algorithms_are_refused(name: str, settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        create(name, rate=0.1, **settings)


@pytest.mark.parametrize("name", ["SCAFFOLD", "FedNova"])
def test_a_model_without_what_rides_beside_is_refused(name: str) -> None:
    algorithm = made(name)
    shared = [np.ones(3), np.ones(2), np.ones(4)]
    for attempt in (lambda: algorithm.model(shared), lambda: algorithm.server.check(shared)):
        with pytest.raises(UpdateError, match="moves a model and"):
            attempt()


def test_means_of_other_shapes_and_shares_beyond_all_are_refused() -> None:
    algorithm = made("FedAvg")
    state = algorithm.begin(START)
    for means in ([np.ones(4), np.ones(1)], [np.ones(4)]):  # with marks, and as private rounds have them, without
        with pytest.raises(UpdateError, match=r"shapes|their marks"):
            algorithm.advance(state, means)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(UpdateError, match="share"):
            algorithm.advance(state, [np.ones(3), np.ones(1)], share)


def test_what_was_kept_of_another_model_is_refused() -> None:
    algorithm = made("SCAFFOLD")
    with pytest.raises(UpdateError, match="another model"):
        algorithm.correction(algorithm.begin(START).shared, [np.ones(2)])


def test_a_round_of_nobody_or_of_strangers_is_refused() -> None:
    members = {"a": some(1, seed=1)[0].client(1)}
    for names in ([], ["b"]):
        with pytest.raises(ConfigError, match="round 0"):
            train(made("FedAvg"), START, members, 1, take_part=lambda _, names=names: names)


def test_what_is_kept_is_nobodys_to_see() -> None:
    done = Contribution([np.ones(3)], np.zeros(1, np.float32), [np.ones(3)])
    assert len(done.update) == 2
