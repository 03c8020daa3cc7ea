"""Where a task's models have come to, on a party's own disk: each follows from the last one and a verified mean.

    model of round k + 1 = apply(model of round k, step(mean of round k, moments, |S| / N))

with ``layers.apply`` and the pinned ``ServerOptimizer``. Who has the first model and all means has every model, bit by
bit, whatever a server says. The next link is on disk before the last one goes, so a crash leaves one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.errors import MalformedMessage, StoreError
from secure_agg.fl.layers import Floats, apply
from secure_agg.fl.server_optimizers import Moments, ServerOptimizer
from secure_agg.plugins.homes.journal import Journal
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.messages import Wire, decode, encode

_SLOTS: Final = ("a", "b")
_TYPES: Final[dict[np.dtype[Any], str]] = {np.dtype("<f2"): "f2", np.dtype("<f4"): "f4", np.dtype("<f8"): "f8"}
_MAX_KNOWN: Final = 64
MAX_TYPES: Final = 1 << 20


class Known(Wire, frozen=True):
    """How far a node has come.

    Attributes:
        rounds: how many results of the task it has taken in, from the first; −1 where it has no model at all.
        model: digest of the model that follows, zeros where it has none.
    """

    rounds: int
    model: bytes

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Known:
        """Decode strictly.

        Raises:
            MalformedMessage: it is none.
        """
        known = decode(Known, data, _MAX_KNOWN)
        if known.rounds < -1 or len(known.model) != len(NO_DIGEST):
            raise MalformedMessage(f"{known.rounds} rounds and a digest of {len(known.model)} bytes")
        return known


class _Types(Wire, frozen=True):
    types: tuple[str, ...]


def encode_arrays(arrays: Floats) -> tuple[bytes, bytes]:
    """Types, and elements in C order, little endian, for ``decode_arrays``."""
    types = tuple(_TYPES[array.dtype.newbyteorder("<")] for array in arrays)
    data = b"".join(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    return encode(_Types(types)), data


def decode_arrays(
    types: bytes | memoryview, data: bytes | memoryview, shapes: Sequence[tuple[int, ...]]
) -> list[npt.NDArray[Any]]:
    """Arrays of these shapes: views of ``data``.

    Raises:
        MalformedMessage: another number of arrays or elements, or a type that is not averaged.
    """
    names = decode(_Types, types, MAX_TYPES).types
    dtypes: dict[str, np.dtype[Any]] = {name: dtype for dtype, name in _TYPES.items()}
    if len(names) != len(shapes) or not set(names) <= set(dtypes):
        raise MalformedMessage(f"{len(names)} types are not those of {len(shapes)} arrays of floats")
    sizes = [
        dtypes[name].itemsize * int(np.prod(shape, dtype=object)) for name, shape in zip(names, shapes, strict=True)
    ]
    if sum(sizes) != len(data):
        raise MalformedMessage(f"{len(data)} bytes of arrays, not {sum(sizes)}")
    arrays, start = [], 0
    for name, size, shape in zip(names, sizes, shapes, strict=True):
        arrays.append(np.frombuffer(data[start : start + size], dtypes[name]).reshape(shape))
        start += size
    return arrays


@dataclass(frozen=True)
class Link:
    """A place in the chain.

    Attributes:
        rounds: how many results it has come from.
        model: digest of the model, with which the next round of the task begins.
        record: digest of the last result's record, zeros before the first.
        last: number of that result's round, −1 before the first. It may be above ``rounds`` − 1, since a round that
            came to nothing leaves its number unused.
        begun: how many of the results came before the newest training, which its epoch has begun with a model of its
            own.
    """

    rounds: int
    model: bytes
    record: bytes
    last: int
    begun: int = 0


class Chain:
    """One task's chain, in a folder. Whoever uses it keeps other threads and processes off it."""

    def __init__(self, folder: Path, task: str, max_parameters: int, optimizer: ServerOptimizer) -> None:
        """
        Args:
            folder: made when missing, mode 0700.
            task: the chain is of.
            max_parameters: most elements of a model.
            optimizer: makes a step of a mean.

        Raises:
            StoreError: the folder can't be made.
        """
        self._task, self._optimizer = task, optimizer
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder} can't be made: {error.strerror}") from error
        self._slots = [Journal(folder / name, max_parameters) for name in _SLOTS]

    def __repr__(self) -> str:
        return f"Chain({self._task!r}, {self.link})"

    @property
    def link(self) -> Link | None:
        """The newest, None where no model is known.

        Raises:
            StoreError: it can't be read, or is of another task or optimizer.
        """
        found = [standing for slot in self._slots if (standing := slot.standing()) is not None]
        if not found:
            return None
        (task, rounds, _), facts = max(found, key=lambda standing: standing[0][1])
        if task != self._task or facts["optimizer"] != msgspec.to_builtins(self._optimizer):
            raise StoreError(f"the chain of models is of task {task!r} under another server optimizer than is pinned")
        record = bytes.fromhex(facts["record"])
        return Link(rounds, bytes.fromhex(facts["model"]), record, facts["last"], facts.get("begun", 0))

    def model(self) -> list[npt.NDArray[Any]]:
        """The model of the newest link.

        Raises:
            StoreError: there is none, or it can't be read.
        """
        return self._slot().arrays("model")

    @property
    def elements(self) -> int:
        """How many elements the model of the newest link has.

        Raises:
            StoreError: see ``model``.
        """
        return self._slot().elements("model")

    def start(self, model: Floats) -> None:
        """Begin with this model, in place of one that nothing has followed from.

        Raises:
            UpdateError: the pinned optimizer needs more beside the model, see ``ServerOptimizer.check``.
        """
        self._optimizer.check(model)
        for slot in self._slots:
            slot.clear()
        self._write(self._slots[0], Link(0, model_digest(model), NO_DIGEST, -1), model, Moments())

    def restart(self, model: Floats) -> None:
        """Go on to a model that a new training begins with, in place of the one that the results have led to.

        Raises:
            StoreError: the disk is full or fails.
        """
        slot, link = self._newest(), self.link
        if slot is None or link is None or not link.rounds:
            self.start(model)
            return
        if link.model == model_digest(model):
            return
        # Of two links with as many results, which a crash can leave, either is taken: the training is begun again.
        other = self._slots[1 - self._slots.index(slot)]
        self._write(
            other, Link(link.rounds, model_digest(model), link.record, link.last, link.rounds), model, Moments()
        )
        slot.clear()

    def advance(
        self,
        record: RoundRecord,
        mean: Sequence[npt.NDArray[np.float64]],
        signs: npt.NDArray[np.float64] | None,
        members: int,
    ) -> None:
        """Go on to the model that the next verified result leads to.

        Args:
            record: of the result that comes next, over differences from this chain's model.
            mean: that it proves, of the model's shapes.
            signs: what the nodes' have come to, see ``layers.signs``; None with privacy, where there are none.
            members: on the task's roster in the epoch of that round, whatever is in force now: whoever learns of it
                later has to come to the same model.

        Raises:
            StoreError: the chain is not there, or the disk is full or fails.
        """
        slot, link = self._slot(), self.link
        if link is None:
            raise StoreError("no model is known that a result could lead on from")
        moments = Moments(slot.arrays("first"), slot.arrays("second"))
        share = record.participants / members
        steps, moments = self._optimizer.step(mean, moments, link.rounds - link.begun, share)
        other = self._slots[1 - self._slots.index(slot)]
        model = apply(slot.arrays("model"), steps, signs)
        new = Link(link.rounds + 1, model_digest(model), record.digest(), record.round, link.begun)
        self._write(other, new, model, moments)
        slot.clear()

    def _write(self, slot: Journal, link: Link, model: Floats, moments: Moments) -> None:
        arrays = {"model": model, "first": moments.first, "second": moments.second}
        facts = {
            "model": link.model.hex(),
            "record": link.record.hex(),
            "last": link.last,
            "begun": link.begun,
            "optimizer": msgspec.to_builtins(self._optimizer),
        }
        slot.begin((self._task, link.rounds, 0), arrays, facts)

    def _newest(self) -> Journal | None:
        begun = [(key[1], slot) for slot in self._slots if (key := slot.key) is not None]
        return max(begun, key=lambda item: item[0])[1] if begun else None

    def _slot(self) -> Journal:
        slot = self._newest()
        if slot is None:
            raise StoreError("no model is known that a result could lead on from")
        return slot
