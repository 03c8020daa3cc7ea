"""Local descent: FedProx's objective, and how much of it a client has done."""

from __future__ import annotations

import numpy as np
import pytest
from fl.algorithms.quadratics import some

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.algorithms.descent import Descent


def responses(descent: Descent, steps: int) -> float:
    """Σ|a_k| by trying: what one gradient of 1 at step k moves in the end."""
    total = 0.0
    for place in range(steps):
        calls = iter(range(steps))
        moved = descent.run([np.zeros(1)], lambda _, c=calls, p=place: [np.array([float(next(c) == p)])], steps)
        total += abs(float(moved[0][0])) / descent.rate
    return total


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("mu", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_weight_of_gradients_is_what_they_move(momentum: float, mu: float, steps: int) -> None:
    descent = Descent(0.2, momentum, mu)
    assert descent.weight_of_gradients(steps) == pytest.approx(responses(descent, steps), rel=1e-12)


def test_the_weight_of_gradients_has_the_papers_closed_forms() -> None:
    steps, rate, rho, mu = 9, 0.1, 0.7, 0.5
    assert Descent(rate).weight_of_gradients(steps) == steps
    momentum = (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)
    assert Descent(rate, rho).weight_of_gradients(steps) == pytest.approx(momentum, rel=1e-12)
    proximal = (1 - (1 - rate * mu) ** steps) / (rate * mu)
    assert Descent(rate, mu=mu).weight_of_gradients(steps) == pytest.approx(proximal, rel=1e-12)


def test_the_proximal_term_leads_to_the_proximal_point() -> None:
    (quadratic,), mu, x = some(1, seed=1), 2.0, np.array([1.0, -2.0, 0.5])
    (trained,) = Descent(0.2, mu=mu).run([x], quadratic.gradient, 300)
    point = np.linalg.solve(quadratic.a + mu * np.eye(3), quadratic.a @ quadratic.b + mu * x)
    assert trained == pytest.approx(point, abs=1e-12)


def test_momentum_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    (quadratic,), x = some(1, seed=2), np.array([1.0, -2.0, 0.5])
    y = torch.tensor(x, requires_grad=True)
    optimizer = torch.optim.SGD([y], lr=0.1, momentum=0.8)
    for _ in range(5):
        y.grad = torch.from_numpy(quadratic.gradient([y.detach().numpy()])[0])
        optimizer.step()
    (trained,) = Descent(0.1, 0.8).run([x], quadratic.gradient, 5)
    assert trained == pytest.approx(y.detach().numpy(), rel=1e-14)


def test_the_callers_arrays_and_types_stay() -> None:
    start = [np.ones(3, np.float32)]
    (trained,) = Descent(0.1).run(start, lambda at: [at[0].astype(np.float64)], 2, [np.ones(3)])
    assert trained.dtype == np.float32
    assert np.array_equal(start[0], np.ones(3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [((0.0,), "rate"), ((float("nan"),), "rate"), ((0.1, 1.0), "momentum"), ((0.1, 0.0, -1.0), "mu"),
     ((0.5, 0.0, 2.0), "mu of local training is 2.0, not at least 0 and below 1/rate")],
)  # fmt: skip
def test_settings_that_descend_nowhere_are_refused(settings: tuple[float, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Descent(*settings)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, 1 << 25])
def test_no_steps_are_refused(steps: int) -> None:
    with pytest.raises(UpdateError, match="local steps"):
        Descent(0.1).run([np.ones(1)], lambda at: at, steps)


def test_a_gradient_of_another_model_is_refused() -> None:
    with pytest.raises(UpdateError, match="other shapes"):
        Descent(0.1).run([np.ones(2)], lambda _: [np.ones(3)], 1)
