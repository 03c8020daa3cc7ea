"""The arrays of a model that are averaged, taken out of its named layers and put back; and the steps between a model
and what is averaged: ``difference`` and ``signs`` on a node, ``apply`` on every side.

Rounding is unbiased, not upwards, so the mean of values that are next to 0 may come out below it: a variance would
become negative. ``signs`` says of each array that was negative nowhere whether a node's own has become so, and
``apply`` holds those at 0 that have not at any node. Their true mean is at least 0, so that only brings the model
nearer to it.

Floating-point layers are averaged. Layers of integers or booleans are counters of one node, like a batch norm's
``num_batches_tracked``: they never leave it, and a model that is put back has those of the model it was handed. The
same holds of personal layers, which whoever looks at a model names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked_class
from secure_agg.errors import UpdateError
from secure_agg.protocol.codec import MARK

Array = npt.NDArray[Any]
Floats = Sequence[npt.NDArray[Any]]
"""The arrays of a model that are averaged, float16, float32 or float64, in the model's order: ``Layers.floats``."""

MAX_SIGNS: Final = 1024
"""Signs in every round of a plug-in, however many arrays a model has: keys are for vectors of one length."""

_CHUNK: Final = 1 << 16
_AVERAGED: Final = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Layer:
    """What a layer is apart from its values.

    Attributes:
        dtype: in native byte order.
        shape: as the framework has it.
        personal: whether it stays with its client although it could be averaged.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    personal: bool = False

    @staticmethod
    def of(name: str, array: object) -> Layer:
        """Look at one layer.

        Raises:
            UpdateError: it can neither be averaged nor kept; names it.
        """
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise UpdateError(f"layer {name!r} is a {type(array).__name__}, not a plain numpy array")
        dtype = array.dtype.newbyteorder("=")
        if dtype.kind not in "biu" and dtype not in _AVERAGED:
            raise UpdateError(
                f"layer {name!r} is {dtype}: float16, float32 and float64 are averaged, integers and booleans kept"
            )
        return Layer(dtype, array.shape)

    @property
    def averaged(self) -> bool:
        """Whether it has something to average: floats, and at least one of them, that are not its client's own."""
        return self.dtype in _AVERAGED and 0 not in self.shape and not self.personal


@checked_class
@dataclass(frozen=True)
class Layers:
    """How the named arrays of one model map to the float arrays that are averaged.

    Attributes:
        all: every layer by name, in the model's order.
    """

    all: Mapping[str, Layer]

    @staticmethod
    def of(named: Mapping[str, Array], own: Sequence[str] = ()) -> Layers:
        """The layers of a model.

        Args:
            named: the model.
            own: shell patterns (``head.*``) of the names of layers that stay with their client: a head of one's own
                (FedPer, Arivazhagan et al. 2019, arXiv:1912.00818) or norms (FedBN, Li et al. 2021, arXiv:2102.07623).
                The same at all clients.

        Raises:
            UpdateError: a layer that is neither floats of 16, 32 or 64 bits nor integers nor booleans, no layer that
                could be averaged, or a pattern that is no layer's: a layer that should have stayed would leave.
        """
        for pattern in own:
            if not any(fnmatchcase(name, pattern) for name in named):
                raise UpdateError(f"no layer is called {pattern!r}, and such were to stay with their client")
        layers = Layers(
            {
                name: replace(Layer.of(name, array), personal=any(fnmatchcase(name, pattern) for pattern in own))
                for name, array in named.items()
            }
        )
        if not layers.averaged:
            raise UpdateError(f"none of the model's {len(named)} layers holds floats: there is nothing to average")
        return layers

    @property
    def averaged(self) -> tuple[str, ...]:
        """Names of the layers that are averaged, in the order of their float arrays."""
        return tuple(name for name, layer in self.all.items() if layer.averaged)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the others: integers, booleans, floats without elements, and what is personal."""
        return tuple(name for name, layer in self.all.items() if not layer.averaged)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the float arrays."""
        return tuple(layer.shape for layer in self.all.values() if layer.averaged)

    def floats(self, named: Mapping[str, Array]) -> list[Array]:
        """The values of the averaged layers: float16, float32 or float64 as the layer, native byte order, C order.
        Views of ``named`` where they can be: they are for reading.

        Raises:
            UpdateError: names, dtypes or shapes are not those of this model; names the layer.
        """
        self._check(named)
        return [
            np.ascontiguousarray(named[name], dtype=self.all[name].dtype).reshape(self.all[name].shape)
            for name in self.averaged
        ]

    def restore(self, named: Mapping[str, Array], floats: Sequence[Array]) -> dict[str, Array]:
        """``named`` with its averaged layers replaced; their shapes and dtypes, byte order too, stay what they were.

        Args:
            named: a model with these layers.
            floats: one array for each averaged layer, as ``floats`` makes them and ``apply`` moves them.

        Returns:
            The layers in the order of ``named``. The kept ones are the very arrays of ``named``, and the others views
            of ``floats`` where they can be.

        Raises:
            UpdateError: the model or the arrays are not of these layers; names the layer. Nothing is rounded here: a
                mean is brought into a model's dtypes by ``apply``.
        """
        self._check(named)
        if len(floats) != len(self.averaged):
            raise UpdateError(f"{len(floats)} arrays for {len(self.averaged)} averaged layers")
        restored = dict(named)
        for name, array in zip(self.averaged, floats, strict=True):
            layer = self.all[name]
            if array.dtype != layer.dtype or array.shape != layer.shape:
                raise UpdateError(
                    f"layer {name!r} takes {layer.dtype} of shape {layer.shape}, "
                    f"not {array.dtype} of shape {array.shape}"
                )
            restored[name] = array.astype(named[name].dtype, copy=False)
        return restored

    def _check(self, named: Mapping[str, Array]) -> None:
        for name in self.all:
            if name not in named:
                raise UpdateError(f"the model has no layer {name!r}")
        for name, array in named.items():
            if name not in self.all:
                raise UpdateError(f"the model has a layer {name!r} that was not there before")
            found, layer = Layer.of(name, array), self.all[name]
            if (found.dtype, found.shape) != (layer.dtype, layer.shape):
                raise UpdateError(
                    f"layer {name!r} is {found.dtype} of shape {found.shape}, "
                    f"and was {layer.dtype} of shape {layer.shape}"
                )


def difference(new: Sequence[Array], old: Sequence[Array]) -> list[Array]:
    """What training has changed: ``new − old``, in float32, in float64 for float64 arrays.

    In float32 it is off by at most 2^-24 of itself, which is below half a step of the finest codec, and takes half the
    memory. An element that is the same infinity or NaN in both, as in an attention mask, has not changed: 0.

    Args:
        new, old: float16, float32 or float64, pairwise of one dtype and shape.

    Returns:
        New arrays, which the codec takes; an element that only now is infinite or NaN stays so, and the codec says
        where.

    Raises:
        UpdateError: the arrays don't match.
    """
    if len(new) != len(old):
        raise UpdateError(f"{len(new)} arrays were trained from {len(old)}")
    steps = []
    for index, (after, before) in enumerate(zip(new, old, strict=True)):
        if (after.dtype, after.shape) != (before.dtype, before.shape):
            raise UpdateError(
                f"array {index} is {after.dtype} of shape {after.shape}, and was {before.dtype} of shape {before.shape}"
            )
        step = np.empty(after.shape, dtype=np.result_type(after.dtype, np.float32))
        for place in _chunks(after):
            part = step.reshape(-1)[place]
            one, other = after.reshape(-1)[place], before.reshape(-1)[place]
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(one, other, out=part, dtype=step.dtype)
            if not np.isfinite(part).all():
                part[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
        steps.append(step)
    return steps


def sign_slots(old: Sequence[Array], room: int) -> tuple[int | None, ...]:
    """Which of ``room`` signs is each array's: none where it is negative somewhere, or no number, before training.
    Where there is room for all arrays, its own in their order. Else those that have one take them in order, and if it
    must be neighbours share one, which says what holds of all of them.
    """
    fit = [bool((array >= 0).all()) for array in old]
    count, place = sum(fit), iter(range(len(old)))
    if len(old) <= room:
        return tuple(i if own else None for i, own in enumerate(fit))
    return tuple((next(place) * min(room, count) // count) if own else None for own in fit)


def signs(new: Sequence[Array], slots: Sequence[int | None], room: int) -> npt.NDArray[np.float32]:
    """The codec's ``MARK`` in the slot of each array that has an element below 0, or one that is no number, else 0.

    Args:
        new: what a node has trained.
        slots: from ``sign_slots``.

    Returns:
        (room,) float32.
    """
    made = np.zeros(room, dtype=np.float32)
    for array, slot in zip(new, slots, strict=True):
        if slot is not None and not (array >= 0).all():
            made[slot] = MARK
    return made


def apply(
    old: Sequence[Array],
    mean: Sequence[npt.NDArray[np.float64]],
    mean_signs: npt.NDArray[np.float64] | None = None,
) -> list[Array]:
    """The model that a mean difference leads to. Everybody who computes it gets the same bits:

        new = round(float64(old) + mean), to nearest, ties to even, in the dtype of ``old``

    What would be below 0 is 0 in an array that was negative neither before nor at any node.

    Where that overflows from a finite ``old``, new is the largest finite number of the dtype with the sum's sign: a
    round that is over must lead to a model.

    Args:
        old: float16, float32 or float64.
        mean: float64, finite, of the same shapes.
        mean_signs: what nodes' ``signs`` have come to; none where nobody has asked for them.

    Raises:
        UpdateError: the shapes don't match.
    """
    if [array.shape for array in old] != [array.shape for array in mean]:
        raise UpdateError("the mean's arrays have other shapes than the model's")
    held: list[bool] = [False] * len(old)
    if mean_signs is not None:
        slots = sign_slots(old, mean_signs.size)
        held = [slot is not None and mean_signs[slot] == 0 for slot in slots]
    moved = []
    for before, step, at_zero in zip(old, mean, held, strict=True):
        after = np.empty(before.shape, dtype=before.dtype)
        limit = np.finfo(before.dtype).max
        for place in _chunks(before):
            part, start = after.reshape(-1)[place], before.reshape(-1)[place]
            with np.errstate(over="ignore", under="ignore"):
                total = start.astype(np.float64) + step.reshape(-1)[place]
                if at_zero:
                    total[total < 0] = 0.0
                part[:] = total
            if np.isfinite(part).all():
                continue
            over = np.isinf(part) & np.isfinite(start)
            if over.any():
                part[over] = np.copysign(limit, total[over])
        moved.append(after)
    return moved


def _chunks(array: Array) -> Iterator[slice]:
    """Parts of a flat array that stay in a core's cache: a layer takes no more memory than its result."""
    return (slice(start, start + _CHUNK) for start in range(0, array.size, _CHUNK))
