"""Algorithms in a PyTorch loop: the same steps as over arrays, and personal layers that never leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_agg.errors import UpdateError
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.torch_gradients import Correction
from secure_agg.fl.layers import Layers
from secure_agg.fl.torch_state import TorchState

torch = pytest.importorskip("torch")


def network(seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
        ).double()


def batches(seed: int, count: int = 4) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [(torch.from_numpy(rng.normal(size=(6, 4))), torch.from_numpy(rng.integers(0, 2, 6))) for _ in range(count)]


@pytest.mark.parametrize(("name", "settings"), [("FedProx", {"mu": 0.7}), ("SCAFFOLD", {"scale": 0.5}), ("FedAvg", {})])
def test_a_torch_loop_takes_the_steps_of_the_loop_over_arrays(name: str, settings: dict[str, float]) -> None:
    algorithm, model = create(name, rate=0.1, **settings), network()
    model.eval()  # no running statistics: they are not gradients' doing
    start = TorchState.of(model.state_dict(), own=("1.running_*",))
    state, data = algorithm.begin(start.arrays), batches(1)
    shared = [array + 0.01 * place for place, array in enumerate(state.shared)]
    own = [np.full_like(array, 0.02) for array in start.arrays] if name == "SCAFFOLD" else ()

    def loss(net: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(x), y)

    feed = iter(data)

    def gradient(at: list[np.ndarray]) -> list[np.ndarray]:
        net = network()
        net.eval()
        net.load_state_dict(start.placed(at))
        net.zero_grad()
        loss(net, *next(feed)).backward()
        found = {key: value.grad.numpy() for key, value in net.named_parameters()}
        return [found[key] for key in start.layers.averaged]

    wanted = algorithm.local(shared, own, gradient, steps=len(data))

    model.load_state_dict(start.placed(algorithm.model(shared)))
    correct = Correction(model, start, algorithm, shared, own)
    optimizer = torch.optim.SGD(model.parameters(), lr=algorithm.descent.rate)
    for x, y in data:
        optimizer.zero_grad()
        loss(model, x, y).backward()
        correct()
        optimizer.step()
    done = algorithm.finish(shared, own, start.trained(model.state_dict()), steps=len(data))
    assert len(done.steps) == len(state.shared) >= 6
    for step, other in zip(done.steps, wanted.steps, strict=True):
        assert step == pytest.approx(other, abs=1e-12)


def test_personal_layers_stay_and_are_trained_as_they_are() -> None:
    model = network()
    start = TorchState.of(model.state_dict(), own=("3.*", "1.*"))
    assert start.layers.averaged == ("0.weight", "0.bias")
    algorithm = create("SCAFFOLD", rate=0.1)
    state = algorithm.begin(start.arrays)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    correct = Correction(model, start, algorithm, state.shared)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        correct()
        optimizer.step()
    trained = model.state_dict()
    done = algorithm.finish(state.shared, (), start.trained(trained), steps=4)
    assert [step.shape for step in done.steps] == [(3, 4), (3,)] * 2
    assert not torch.equal(trained["3.weight"], before["3.weight"])
    # What the mean leads to is put into this client's own state: its layers stay its own.
    mine = TorchState.of(trained, own=("3.*", "1.*"))
    after = mine.placed(algorithm.model(algorithm.advance(state, [*done.steps, done.marks]).shared))
    assert torch.equal(after["3.weight"], trained["3.weight"])
    assert torch.equal(after["1.running_mean"], trained["1.running_mean"])
    assert after["0.weight"].numpy() == pytest.approx(trained["0.weight"].numpy(), abs=1e-12)


def test_a_pattern_that_is_no_layers_is_refused() -> None:
    """A layer that was to stay would leave."""
    with pytest.raises(UpdateError, match=r"no layer is called 'heads\.\*'"):
        TorchState.of(network().state_dict(), own=("heads.*",))
    with pytest.raises(UpdateError, match="nothing to average"):
        Layers.of({"w": np.ones(2)}, own=("*",))


def test_arrays_of_another_model_are_refused() -> None:
    model = network()
    start = TorchState.of(model.state_dict())
    algorithm = create("FedProx", rate=0.1, mu=0.5)
    with pytest.raises(UpdateError, match="shared arrays"):
        Correction(model, start, algorithm, start.arrays[1:])
    with pytest.raises(UpdateError, match="is shared"):
        Correction(model, start, algorithm, [start.arrays[1], *start.arrays[1:]])
