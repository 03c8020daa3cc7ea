"""Named vectors in one round, each with a range and a weighting of its own.

The codec has one clip c and one weight for a whole vector. So what has another range rides scaled to c, and the rest of
this is one choice: how an unweighted mean rides beside a weighted one. A second round would have other participants and
cost as much again. Here a client with weight w scales its unweighted values by least/w beforehand,

    Σ w·(v·least/w) / W = Σ v · least/W,        mean of v = (that) · W/(n·least)

with W and n from the record. It is exact, and no value leaves the clip. The price is precision: rounding moves the
unweighted mean by step·(weight limit)/least at most, which is why ``least`` should be as large as the weights allow.
Where every vector is unweighted, everybody joins with weight 1 and nothing is scaled.

Where a round has groups, each vector is one (``Vectors.groups``), nothing is scaled, and ``Result.groups`` has the
means: with the full precision of each, and whatever weights were limited. What is said of each vector is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.algorithms.descent import Array, Floats
from secure_agg.protocol.config import Group
from secure_agg.protocol.evidence import RoundRecord


@checked_class
@dataclass(frozen=True)
class Vector:
    """One quantity of every client.

    Attributes:
        name: of it.
        shapes: of its arrays.
        weighted: whether its mean is by the clients' weights.
        bound: no element is larger in size, or it is clipped; None for the codec's own clip.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    weighted: bool = True
    bound: float | None = None


@checked_class
@dataclass(frozen=True)
class Vectors:
    """All of a round: the same at every client.

    Attributes:
        all: in the order in which they ride.
        clip: of the round's policy, above 0.
        least: smallest weight with which a client may join, at least 1; of mixed weightings only.

    Raises:
        ConfigError: two have one name, there is none, or a number is out of range.
    """

    all: tuple[Vector, ...]
    clip: float
    least: int = 1

    def __post_init__(self) -> None:
        """Refuse what can't ride."""
        names = [vector.name for vector in self.all]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"vectors {names} have to have names of their own, and there has to be one")
        for what, value in (("clip", self.clip), *((v.name, v.bound) for v in self.all if v.bound is not None)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{what} has a bound of {value!r}, not a positive number")
        if self.least < 1:
            raise ConfigError(f"the least weight is {self.least}, below 1")

    @property
    def weighted(self) -> bool:
        """Whether clients join with their own weight; else with 1."""
        return any(vector.weighted for vector in self.all)

    def groups(self, bits: int = 16) -> tuple[tuple[Group, ...], tuple[str, ...]]:
        """The vectors as groups of a round, and for each array of them, one vector after the other, its group's name.

        Args:
            bits: per value.

        Raises:
            ConfigError: a name is no id, or bits or a bound are out of range.
        """
        made = (
            Group(
                name=vector.name,
                bits=bits,
                clip=float(self.clip if vector.bound is None else vector.bound),
                weighted=vector.weighted,
            )
            for vector in self.all
        )
        names = (vector.name for vector in self.all for _ in vector.shapes)
        return tuple(sorted(made, key=lambda group: group.name.encode())), tuple(names)

    def pack(self, values: Mapping[str, Floats], weight: int = 1) -> tuple[list[Array], int]:
        """A client's arrays for the round, and the weight to join with.

        Args:
            values: of every vector, float32 or float64.
            weight: the client's own, from ``least`` on; without meaning where nothing is weighted.

        Raises:
            UpdateError: a vector is missing, unknown or of other shapes, or the weight is below ``least``.
        """
        unknown = sorted(set(values) ^ {vector.name for vector in self.all})
        if unknown:
            raise UpdateError(f"vector {unknown[0]!r} is missing or not one of this round")
        if self.weighted and weight < self.least:
            raise UpdateError(f"a weight of {weight}, below {self.least}, the least in this round")
        packed: list[Array] = []
        for vector in self.all:
            arrays = values[vector.name]
            if tuple(array.shape for array in arrays) != vector.shapes:
                raise UpdateError(f"vector {vector.name!r} has other shapes than {vector.shapes}")
            # Clipped in its own range first: beside a smaller factor the codec would let more through.
            bound = self.clip if vector.bound is None else vector.bound
            factor = self.clip / bound
            if self.weighted and not vector.weighted:
                factor *= self.least / weight
            packed += [
                array if factor == 1.0 else np.clip(array, -bound, bound).astype(np.float64) * factor
                for array in arrays
            ]
        return packed, int(weight) if self.weighted else 1

    def unpack(
        self, average: Sequence[npt.NDArray[np.float64]], record: RoundRecord
    ) -> dict[str, list[npt.NDArray[np.float64]]]:
        """The mean of each vector, weighted or not as it is said of it.

        Args:
            average: of a verified result.
            record: of the same.

        Raises:
            UpdateError: it has other shapes, or weights were limited, so that unweighted values have another weight
                than they were scaled for.
        """
        shapes = [shape for vector in self.all for shape in vector.shapes]
        if [array.shape for array in average] != shapes:
            raise UpdateError("the mean has other shapes than this round's vectors")
        mixed = self.weighted and not all(vector.weighted for vector in self.all)
        if mixed and record.weights_lowered + record.weights_raised:
            raise UpdateError(
                "weights were limited: an unweighted mean beside a weighted one needs weights that are kept"
            )
        means, place = {}, 0
        for vector in self.all:
            factor = (self.clip if vector.bound is None else vector.bound) / self.clip
            if self.weighted and not vector.weighted:
                factor *= record.weight_sum / (record.participants * self.least)
            arrays = average[place : place + len(vector.shapes)]
            place += len(vector.shapes)
            means[vector.name] = [array * factor if factor != 1.0 else array for array in arrays]
        return means

    def error_bound(self, name: str, record: RoundRecord) -> float:
        """More than rounding can have moved a value of this vector's mean.

        Raises:
            UpdateError: there is no such vector.
        """
        for vector in self.all:
            if vector.name == name:
                factor = (self.clip if vector.bound is None else vector.bound) / self.clip
                if self.weighted and not vector.weighted:
                    factor *= record.weight_sum / (record.participants * self.least)
                return record.error_bound * factor
        raise UpdateError(f"there is no vector {name!r}")
