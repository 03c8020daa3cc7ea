"""A PyTorch model's state dict as the arrays that ``secure_agg.aggregate`` takes, and back.

    start = TorchState.of(model.state_dict())
    ...                                                     # each client trains its copy of the model
    result = secure_agg.aggregate({"clinic-a": start.update(trained.state_dict()), ...})
    model.load_state_dict(start.moved(result.average))

Needs PyTorch, of the extra ``demo``; it is imported when a state dict is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked_class
from secure_agg.errors import UpdateError
from secure_agg.fl.layers import Layers, apply, difference, sign_slots, signs

if TYPE_CHECKING:
    import torch

State = Mapping[str, Any]
"""As ``torch.nn.Module.state_dict`` returns it: tensors, and what modules add with ``get_extra_state``."""


@checked_class
@dataclass(frozen=True, eq=False)  # arrays have no truth value
class TorchState:
    """A state dict as it was, copied to the CPU.

    Floating-point tensors are averaged, bfloat16 as float32. One tensor under several names, as of tied weights, is
    averaged once. Integers and booleans, like ``num_batches_tracked``, and what is no tensor stay what they were in
    this state: they are counters of one client.

    Attributes:
        state: the tensors as they were, each on its own device; copies.
        aliases: name of a tensor that is another's, to the name of that one.
        layers: of the tensors that have a name of their own.
        arrays: the values that are averaged.
    """

    state: State
    aliases: Mapping[str, str]
    layers: Layers
    arrays: Sequence[npt.NDArray[Any]]

    def __repr__(self) -> str:
        return f"TorchState({len(self.state)} entries, {len(self.layers.averaged)} averaged)"

    @staticmethod
    def of(state: State, own: Sequence[str] = ()) -> TorchState:
        """Copy a state dict.

        Args:
            state: of the model.
            own: patterns of the names that stay with this client, see ``Layers.of``: its personal layers.

        Raises:
            UpdateError: a tensor that can't be averaged nor kept (complex, sparse, quantised, or on the device
                ``meta``), or none to average; names it.
        """
        import torch

        copies = {
            name: value.detach().clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()
        }
        aliases = _aliases(state)
        named = _named(copies, aliases)
        layers = Layers.of(named, own)
        return TorchState(copies, aliases, layers, layers.floats(named))

    def update(self, trained: State) -> list[npt.NDArray[Any]]:
        """What training has changed, see ``layers.difference``: a client's update.

        Returns:
            One array for each of ``arrays``, and a last one that marks which of them are negative somewhere, see
            ``layers.signs``: so that what isn't anywhere, like a batch norm's variance, stays so in the mean.

        Raises:
            UpdateError: ``trained`` is of another model; names the tensor.
        """
        new = self.trained(trained)
        return [*difference(new, self.arrays), signs(new, sign_slots(self.arrays, len(new)), len(new))]

    def trained(self, trained: State) -> list[npt.NDArray[Any]]:
        """The averaged values of another state dict of this model: one array for each of ``arrays``, and views of the
        tensors where they can be.

        Raises:
            UpdateError: ``trained`` is of another model; names the tensor.
        """
        import torch

        for name, first in self.aliases.items():
            if name not in trained or first not in trained:
                raise UpdateError(f"the state dict has no {first!r} and {name!r}, which were one tensor")
            if not torch.equal(trained[name], trained[first]):
                raise UpdateError(f"{name!r} and {first!r} were one tensor and have become two")
        return self.layers.floats(_named(trained, self.aliases))

    def moved(self, mean: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
        """The state dict that a mean of updates leads to, see ``layers.apply``: for ``load_state_dict``.

        Args:
            mean: of what ``update`` has returned; or differences of another origin, without the last array, and then
                nothing is held at 0.

        Returns:
            Every entry of the state it was made from, in its order, dtypes and shapes, on its devices. bfloat16 is
            rounded from the float32 that ``apply`` gives.

        Raises:
            UpdateError: the mean has other shapes.
        """
        count = len(self.arrays)
        mean_signs = mean[count] if len(mean) == count + 1 else None
        if mean_signs is not None and mean_signs.shape != (count,):
            raise UpdateError(f"the mean's signs have shape {mean_signs.shape}, not ({count},)")
        steps = mean if mean_signs is None else mean[:count]
        return self.placed(apply(self.arrays, steps, mean_signs))

    def placed(self, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
        """This state dict with other values where it is averaged: for ``load_state_dict``.

        Args:
            arrays: one for each of ``arrays``, of its dtype and shape.

        Returns:
            Every entry of the state it was made from, in its order, dtypes and shapes, on its devices.

        Raises:
            UpdateError: the arrays have other shapes or dtypes.
        """
        import torch

        averaged = self.layers.restore(_named(self.state, self.aliases), arrays)
        moved = dict(self.state)
        for name in self.layers.averaged:
            old = self.state[name]
            moved[name] = torch.from_numpy(averaged[name]).to(device=old.device, dtype=old.dtype)
        return moved | {name: moved[first] for name, first in self.aliases.items()}


def _aliases(state: State) -> dict[str, str]:
    """Names of tensors that are the same elements in memory as one before them, to the name of that one."""
    import torch

    first: dict[tuple[Any, ...], str] = {}
    aliases = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel():
            place = (value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
            if first.setdefault(place, name) != name:
                aliases[name] = first[place]
    return aliases


def _named(state: State, aliases: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """The tensors as arrays, without the aliases: views where they are on the CPU."""
    import torch

    return {
        name: _array(name, value)
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and name not in aliases
    }


def _array(name: str, tensor: torch.Tensor) -> npt.NDArray[Any]:
    import torch

    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise UpdateError(f"{name!r} is {tensor.layout}, {tensor.dtype} on {tensor.device}: its elements can't be read")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        array: npt.NDArray[Any] = tensor.cpu().numpy()
    except TypeError as error:  # a dtype that numpy lacks
        raise UpdateError(f"{name!r} is {tensor.dtype}: it can neither be averaged nor kept") from error
    return array
