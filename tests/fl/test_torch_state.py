"""A PyTorch model through a secure round: what its state dict holds comes back, and nothing else moves."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg.errors import UpdateError
from secure_agg.fl.torch_state import TorchState

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Tied weights, a counter, a mask with infinities, half precision of both kinds, something that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.conv = torch.nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
        self.brain = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.bfloat16))
        self.short = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float16))
        self.wide = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))
        self.register_buffer("mask", torch.triu(torch.full((3, 3), -torch.inf), 1))
        self.register_buffer("nothing", torch.empty(0))
        self.note = "seen"

    def get_extra_state(self) -> str:
        return self.note

    def set_extra_state(self, state: str) -> None:
        self.note = state


def train(net: Any, step: float) -> None:
    """Moves every parameter by ``step``, and the counter."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += step
    net.norm.num_batches_tracked += 1


@pytest.fixture
def net() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Net()


def test_a_round_moves_the_model_by_the_mean_and_it_loads_strictly(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    updates = {}
    for place, name in enumerate(("a", "b", "c")):
        local = copy.deepcopy(net)
        train(local, 0.25 * place)
        updates[name] = start.update(local.state_dict())
    result = secure_agg.aggregate(updates, backend="plain", clip=1.0, bits=20)
    moved = start.moved(result.average)

    before = copy.deepcopy(net.state_dict())
    assert list(moved) == list(before)
    net.load_state_dict(moved, strict=True)
    after = net.state_dict()
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    for name, old in before.items():
        if not isinstance(old, torch.Tensor):
            continue
        assert (after[name].dtype, after[name].shape) == (old.dtype, old.shape)
        tolerance = {torch.bfloat16: 2**-8, torch.float16: 2**-10}.get(old.dtype, 1e-5)
        expected = old + 0.25 if name in parameters else old
        assert torch.allclose(after[name], expected, rtol=0, atol=tolerance), name
    assert net.head.weight is net.embedding.weight
    assert after["norm.num_batches_tracked"] == 0


def test_tied_weights_are_averaged_once(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    assert start.aliases == {"head.weight": "embedding.weight"}
    assert "head.weight" not in start.layers.averaged
    assert len(start.arrays) == len(start.layers.averaged)


def test_weights_that_were_tied_and_are_no_more_are_refused(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    trained = net.state_dict()
    trained["head.weight"] = trained["head.weight"] + 1
    with pytest.raises(UpdateError, match=r"'head.weight' and 'embedding.weight' were one tensor and have become two"):
        start.update(trained)
    del trained["head.weight"]
    with pytest.raises(UpdateError, match=r"has no 'embedding.weight' and 'head.weight'"):
        start.update(trained)


def test_training_in_place_does_not_reach_what_was_copied(net: Any) -> None:
    """A state dict holds the model's own tensors: a difference with it after training would be 0."""
    start = TorchState.of(net.state_dict())
    train(net, 0.5)
    assert float(np.abs(start.update(net.state_dict())[0]).min()) > 0.4
    assert start.state["norm.num_batches_tracked"] == 0


def test_arrays_are_what_the_codec_takes(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    assert {step.dtype.name for step in start.update(net.state_dict())} == {"float32", "float64"}
    assert all(not step.any() for step in start.update(net.state_dict()))


def test_a_brain_float_comes_back_to_the_bit(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    moved = start.moved([np.zeros(array.shape) for array in start.arrays])
    assert torch.equal(moved["brain"], net.brain)
    assert moved["brain"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2).to(torch.float8_e4m3fn),
        torch.eye(2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
    ids=["complex", "float8", "sparse", "meta"],
)
def test_tensors_that_can_not_be_averaged_are_refused_by_name(tensor: Any) -> None:
    with pytest.raises(UpdateError, match="'odd'"):
        TorchState.of({"weight": torch.zeros(2), "odd": tensor})


def test_a_state_dict_of_another_model_is_refused(net: Any) -> None:
    start = TorchState.of(net.state_dict())
    other = dict(net.state_dict()) | {"short": torch.zeros(5, dtype=torch.float16)}
    with pytest.raises(UpdateError, match="'short'"):
        start.update(other)


@pytest.mark.parametrize("settings", [{}, {"bits": 8}, {"clip": 1.0, "max_weight": 1000}, {"clip": 0.1, "bits": 12}])
def test_a_variance_next_to_0_never_becomes_negative(settings: dict[str, Any]) -> None:
    """Pixels that are always black: their variance goes to 0, where rounding puts every other one below it."""
    net = torch.nn.BatchNorm1d(64)
    with torch.no_grad():
        net.running_var.fill_(1e-3)
        net.bias.fill_(1e-3)
    for _ in range(6):
        start, updates = TorchState.of(net.state_dict()), {}
        for place, name in enumerate("abc"):
            local = copy.deepcopy(net)
            with torch.no_grad():
                local.running_var.mul_(0.1 * (place + 1))
                local.bias.sub_(1e-3)
            updates[name] = start.update(local.state_dict())
        net.load_state_dict(start.moved(secure_agg.aggregate(updates, backend="plain", **settings).average))
        assert float(net.running_var.min()) >= 0
        assert not torch.isnan(net.eval()(torch.ones(2, 64))).any()
        net.train()
    assert float(net.bias.detach().min()) < 0, "what clients have made negative is not held at 0"


def test_a_scalar_parameter_goes_round() -> None:
    scale = {"logit_scale": torch.tensor(2.5), "weight": torch.ones(2)}
    start = TorchState.of(scale)
    update = start.update({"logit_scale": torch.tensor(3.0), "weight": torch.ones(2)})
    assert [array.shape for array in update] == [(), (2,), (2,)]
    moved = start.moved(secure_agg.aggregate(dict.fromkeys("abc", update), backend="plain").average)
    assert moved["logit_scale"].shape == ()
    assert float(moved["logit_scale"]) == pytest.approx(3.0, abs=1e-5)
