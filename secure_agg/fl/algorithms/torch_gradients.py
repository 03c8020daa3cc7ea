"""An algorithm in a PyTorch training loop of one's own: one line between ``backward`` and the optimiser's step.

    start = TorchState.of(model.state_dict())
    state = algorithm.begin(start.arrays)
    ...                                                     # on a client, in every round:
    model.load_state_dict(start.placed(algorithm.model(state.shared)))
    correct = Correction(model, start, algorithm, state.shared, own)
    for x, y in batches:
        optimizer.zero_grad(); loss(model(x), y).backward()
        correct()
        optimizer.step()                                    # SGD at algorithm.descent's rate and momentum
    trained = start.trained(model.state_dict())
    done = algorithm.finish(state.shared, own, trained, steps=len(batches))

What is a parameter of the module and has a gradient is corrected. Buffers, like a batch norm's means, only ride along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_agg.errors import UpdateError
from secure_agg.fl.algorithms.algorithm import Algorithm
from secure_agg.fl.algorithms.descent import Floats
from secure_agg.fl.torch_state import TorchState

if TYPE_CHECKING:
    import torch


class Correction:
    """Adds to every parameter's ``grad`` what the algorithm asks for: μ·(y − x), and c − c_i."""

    def __init__(
        self, module: torch.nn.Module, start: TorchState, algorithm: Algorithm, shared: Floats, own: Floats = ()
    ) -> None:
        """
        Args:
            module: that is trained, on whatever device.
            start: of its state dict, which says in what order its arrays are; any state of the same model.
            algorithm, shared, own: see ``Algorithm.correction``.

        Raises:
            UpdateError: the arrays are of another model.
        """
        import torch

        names = start.layers.averaged
        model, added = algorithm.model(shared), algorithm.correction(shared, own)
        if len(model) != len(names):
            raise UpdateError(f"{len(model)} shared arrays for the {len(names)} of the module")
        self._mu = algorithm.descent.mu
        places = {name: place for place, name in enumerate(names)}
        self._parts = []
        for name, parameter in module.named_parameters():
            if name not in places:
                continue  # kept by this client: its own training goes on as it is
            place = places[name]
            if tuple(parameter.shape) != model[place].shape:
                raise UpdateError(f"{name!r} has shape {tuple(parameter.shape)}, and {model[place].shape} is shared")

            def like(array: Floats, place: int = place, parameter: torch.Tensor = parameter) -> torch.Tensor:
                return torch.from_numpy(array[place].copy()).to(parameter.device, parameter.dtype)

            self._parts.append((parameter, like(model) if self._mu else None, None if added is None else like(added)))

    def __call__(self) -> None:
        """After ``backward``, before the step; parameters without a gradient are left alone."""
        import torch

        with torch.no_grad():
            for parameter, start, added in self._parts:
                if parameter.grad is None:
                    continue
                if start is not None:
                    parameter.grad.add_(parameter - start, alpha=self._mu)
                if added is not None:
                    parameter.grad.add_(added)
