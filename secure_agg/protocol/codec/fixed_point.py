"""FixedPoint: updates to small non-negative integers and back, group by group.

A policy without groups has one, of all arrays. The values of a group are on a grid around zero (``grid``), of a
weighted one with the factor (w / M) · g for a client of weight w and the weight limit M, of another with 1; g is 1 but
where a norm is bounded and the clipped update is longer: there it is what makes it short enough. Where a group has a
support only that part of its values is sent (``support``); where it is rotated what is sent is rotated first
(``rotation``). Decoding a sum X of n encodings, with M and the summed weights W, or 1 and n where a group is not
weighted, S = X − n · H:

    mean = S · ((c · M) / (H · W))

S is an exact integer, so every implementation gets the same bits; of a rotated group it is turned back as such. A mean
is off by less than step · n · M / W, with step = c / H; of a rotated group by √B times that. Of a count the sum itself
is what is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mpc.ring import Vector
from secure_agg.errors import LocalProtocolError, UpdateError, VerificationError
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.protocol.codec import grid
from secure_agg.protocol.codec.arrays import Arrays, check_arrays
from secure_agg.protocol.codec.clips import is_unclipped
from secure_agg.protocol.codec.rotation import restore, rotate, rotation_key
from secure_agg.protocol.codec.support import support, support_key
from secure_agg.protocol.config import Part, Policy, RoundConfig
from secure_agg.protocol.config.blocks import blocks
from secure_agg.protocol.config.groups import next_step, step_of
from secure_agg.protocol.config.layout import parts_of


@dataclass(frozen=True)
class Encoded:
    """What encoding has done to one client's update and weight: for that client's eyes only.

    Attributes:
        clipped: values that were clipped, by array; of a rotated group all stand at its first array.
        largest: the largest value in size of the arrays in which something was clipped; 0 where nothing was.
        given: the client's weight.
        weight: the one that the vector carries.
        scale: what the bounded values were multiplied with so that their norm is within the bound; 1 where it was.
    """

    clipped: tuple[int, ...]
    largest: float
    given: int
    weight: int
    scale: float = 1.0


class GroupError(NamedTuple):
    """How far off rounding can have put the mean of a group, in its units.

    Attributes:
        name: of the group.
        bound: no value is off by more. Of a count 0.
        rms: the root of the mean square is at most this, whatever the values are.
    """

    name: str
    bound: float
    rms: float


class FixedPoint:
    """The codec of one policy and weight limit; of a policy with groups that of one round."""

    def __init__(
        self,
        policy: Policy,
        weight_limit: int | None = None,
        parts: Sequence[Part] | None = None,
        context: bytes = b"",
    ) -> None:
        """
        Args:
            weight_limit: M, of the round; by default the policy's ``max_weight``.
            parts: of the round's layout; needed where the policy has groups.
            context: of the round's configuration: draws supports and rotations.
        """
        self.policy, self._parts, self._context = policy, parts, context
        self.clip = policy.clip
        self.half = policy.half
        self.weight_limit = policy.max_weight if weight_limit is None else weight_limit
        self.least_weight = policy.least_weight(self.weight_limit)
        self.limbs, self.counts = policy.limbs, policy.counts
        self.halves, self._low = policy.halves, policy.coordinate_bits

    @staticmethod
    def of(config: RoundConfig) -> FixedPoint:
        """The codec of a round."""
        return FixedPoint(config.policy, config.weight_limit, config.layout.parts, config.context)

    @property
    def step(self) -> float:
        """Width of one quantisation step at the weight limit, in the units of the update; of the main group."""
        return self.policy.step

    def error_bound(self, clients: int, weight_sum: int) -> float:
        """More than a decoded mean can differ from the weighted mean of the clipped updates, per coordinate; of several
        groups the largest.

        Errors of a round are independent between coordinates and clients, have mean 0 and a deviation of at most
        half of this divided by √clients; over T rounds they grow as √T, not as T.
        """
        if self._parts is None:
            return (self.clip * float(clients * self.weight_limit)) / float(self.half * weight_sum)
        return max((error.bound for error in self.errors(clients, weight_sum)), default=0.0)

    def errors(self, clients: int, weight_sum: int) -> tuple[GroupError, ...]:
        """What rounding has cost each group of the round, in name order."""
        found = []
        for part in self._parts or ():
            if not part.clips:
                found.append(GroupError(part.group.name, 0.0, 0.0))
                continue
            limit, total = self._weights(part, clients, weight_sum)
            bound = (max(part.clips) * float(clients * limit)) / float(part.group.half * total)
            rms = bound / (2 * clients**0.5)
            if part.group.rotated:
                bound *= blocks(part.sent)[0][0] ** 0.5  # a power of two
            found.append(GroupError(part.group.name, bound, rms))
        return tuple(sorted(found, key=lambda error: error.name.encode()))

    def _weights(self, part: Part, clients: int, weight_sum: int) -> tuple[int, int]:
        """M and W of a group."""
        return (self.weight_limit, weight_sum) if part.group.weighted else (1, clients)

    def _parts_for(self, shapes: Sequence[tuple[int, ...]]) -> Sequence[Part]:
        if self._parts is not None:
            return self._parts
        if self.policy.groups:
            raise LocalProtocolError("which arrays are in which group is the configuration's to say")
        return parts_of(self.policy.vectors, (0,) * len(shapes), (), shapes)

    def check_weight(self, weight: object) -> int:
        """The weight that a client's vector carries: its own, or for a policy with a weight scale the nearest that
        the round allows.

        Raises:
            UpdateError: no integer, or above what the round or policy allows.
        """
        most = self.policy.max_weight if self.policy.weight_scale else self.weight_limit
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or not 1 <= weight <= most:
            raise UpdateError(f"weight is {weight!r}, not an integer in [1, {most}], the bound of this round's weights")
        return min(max(int(weight), self.least_weight), self.weight_limit)

    # --- encoding -------------------------------------------------------------------------------------------

    def encode(
        self,
        arrays: Sequence[npt.NDArray[Any]],
        weight: int,
        rounding_key: bytes,
        out: Vector,
        *,
        scale: float = 1.0,
        outside: int = 0,
    ) -> Encoded:
        """Write an update and its weight as integers in [0, Q].

        Args:
            arrays: float32 or float64, any shape, byte order or strides.
            weight: of this client, 1 to the weight limit; to the policy's ``max_weight`` where it has a weight scale.
            rounding_key: 32 secret bytes: the same key gives the same integers.
            out: values, weight limbs, counts, then who is within adaptive clips; uint32. Where values go as halves all
                lower ones come first.
            scale: g, that clipped values of weighted groups are multiplied with, but for those of the last ``outside``
                arrays.

        Returns:
            What was clipped: for the client's eyes only.

        Raises:
            UpdateError: an unfit array (see ``check_arrays``), NaN or infinity, a count that is no integer, a weight
                out of range.
        """
        parts = self._parts_for(check_arrays(arrays))
        values = parts[-1].stop
        adaptive = sum(len(part.clips) for part in parts if part.group.adaptive)
        wanted = values * self.halves + self.limbs + self.counts + adaptive
        if out.dtype != np.uint32 or out.shape != (wanted,):
            raise LocalProtocolError(f"{out.dtype} of shape {out.shape} has no room for {wanted} coordinates")
        carried = self.check_weight(weight)
        done = _Encoding(arrays, rounding_key, carried / self.weight_limit, scale, len(arrays) - outside)
        for part in parts:
            done.write(part, self._context, out[part.start : part.stop])
        position = values
        if self.halves > 1:
            np.right_shift(out[:values], self._low, out=out[values : 2 * values])
            out[:values] &= np.uint32((1 << self._low) - 1)
            position += values
        for limb in range(self.limbs):
            out[position + limb] = (carried >> (self.policy.limb_bits * limb)) & ((1 << self.policy.limb_bits) - 1)
        if self.counts:
            out[position + self.limbs : position + self.limbs + self.counts] = (weight > carried, weight < carried)
        if adaptive:
            out[-adaptive:] = done.unclipped(parts)
        return Encoded(tuple(done.clipped), done.largest, int(weight), carried, scale)

    # --- decoding -------------------------------------------------------------------------------------------

    def decode(
        self,
        sums: Vector,
        clients: int,
        shapes: Sequence[tuple[int, ...]],
        executor: Executor = IN_PROCESS,
        context: bytes = b"",
    ) -> tuple[Arrays, int]:
        """The means, and of counts the sums, and the sum of weights, from X summed over ``clients`` clients.

        Args:
            sums: values ‖ limbs ‖ counts ‖ unclipped.
            executor: does it, shard by shard; ``context`` is the configuration's.

        Returns:
            float64 arrays of these shapes: 0 where a value was not sent.

        Raises:
            VerificationError: the sum of weights lies outside [clients · least weight, clients · weight limit], or a
                mean outside [−clip, clip] by more than the stated error.
        """
        parts = self._parts_for(shapes)
        stop = parts[-1].stop * self.halves
        values, limbs, counts = np.split(sums, [stop, stop + self.limbs])
        weight_sum = sum(int(limb) << (self.policy.limb_bits * i) for i, limb in enumerate(limbs))
        least, most = clients * self.least_weight, clients * self.weight_limit
        if not least <= weight_sum <= most:
            raise VerificationError(f"the weights of {clients} clients sum to {weight_sum}, outside [{least}, {most}]")
        if counts.size and int(counts.max()) > clients:
            raise VerificationError(f"{int(counts.max())} weights were limited, of {clients} clients")
        if self.halves > 1:  # 24 bits of each of 2^17 clients, and carries, are too wide for 32
            lower, upper = np.split(values, self.halves)
            values = lower + (upper.astype(np.int64) << self._low)
        average: dict[int, npt.NDArray[np.float64]] = {}
        for part in parts:
            limit, total = self._weights(part, clients, weight_sum)
            found = _Decoding(part, self._context, clients, limit, total)
            mean = found.read(values[part.start : part.stop], executor, context)
            position = 0
            for index, size in zip(part.arrays, part.sizes, strict=True):
                average[index] = mean[position : position + size].reshape(shapes[index])
                position += size
        return [average[index] for index in range(len(shapes))], weight_sum

    def limited(self, sums: Vector) -> tuple[int, int]:
        """How many clients' weights were lowered to the limit, and raised to the least: from X, see ``decode``. Nobody
        can tell whose.
        """
        if not self.counts:
            return 0, 0
        unclipped = sum(len(part.clips) for part in self._parts or () if part.group.adaptive)
        lowered, raised = sums[sums.size - unclipped - self.counts : sums.size - unclipped]
        return int(lowered), int(raised)

    def next_clips(self, sums: Vector, clients: int) -> tuple[tuple[int, ...], ...]:
        """For each group of the round, in name order, k of its adaptive clips in the round that follows: from X, see
        ``decode``. Empty of a group whose clips are pinned.
        """
        held = sorted(self._parts or (), key=lambda part: part.group.name.encode())
        place, found = sums.size - sum(len(part.clips) for part in held if part.group.adaptive), []
        for part in held:
            counted = sums[place : place + len(part.clips)].tolist() if part.group.adaptive else []
            place += len(counted)
            steps = zip(part.clips, counted, strict=False)
            found.append(tuple(next_step(step_of(clip), clients, count) for clip, count in steps))
        return tuple(found)


class _Encoding:
    """One client's update on its way into integers."""

    def __init__(
        self, arrays: Sequence[npt.NDArray[Any]], key: bytes, share: float, scale: float, bounded: int
    ) -> None:
        self._arrays, self._rounding = arrays, grid.Rounding(key)
        self._share, self._scale, self._bounded = share, scale, bounded
        self._within: dict[tuple[str, int], bool] = {}
        self.clipped = [0] * len(arrays)
        self.largest = 0.0

    def write(self, part: Part, context: bytes, out: Vector) -> None:
        """Encode the values of a group."""
        group = part.group
        if group.rotated:
            self._refuse_unfit(part)
            values = np.concatenate([np.asarray(piece, dtype=np.float64) for piece in self._sent(part, context)])
            self._note(part, -1, values, part.clips[0])
            turned = rotate(values, rotation_key(context, group.name))
            self._write(part.arrays[0], turned, part.clips[0], part, out)
            return
        position = 0
        for number, (index, flat) in enumerate(zip(part.arrays, self._sent(part, context), strict=True)):
            target = out[position : position + flat.size]
            position += flat.size
            if flat.size:
                clip = part.clips[number] if part.clips else 0.0
                self._write(index, flat, clip, part, target)
                self._note(part, index, flat, clip)

    def _sent(self, part: Part, context: bytes) -> list[npt.NDArray[Any]]:
        """Of each array what is sent, one after the other in C order."""
        flats = [
            np.ascontiguousarray(self._arrays[i], dtype=self._arrays[i].dtype.newbyteorder("=")).reshape(-1)
            for i in part.arrays
        ]
        if part.sent == part.elements:
            return flats
        self._refuse_unfit(part)
        chosen, start, pieces = support(support_key(context, part.group.name), part.elements, part.sent), 0, []
        for flat in flats:
            low, high = np.searchsorted(chosen, [start, start + flat.size])
            pieces.append(flat[chosen[low:high] - start])
            start += flat.size
        return pieces

    def _write(self, index: int, values: npt.NDArray[Any], clip: float, part: Part, out: Vector) -> None:
        if part.clips:
            factor = 1.0
            if part.group.weighted:
                factor = self._share * self._scale if index < self._bounded else self._share
            found = grid.encode(values, clip, factor, part.group.half, self._rounding, out)
        else:
            found = grid.count(values, part.group.top, out)
        if found < 0:
            what = "NaN or infinity" if part.clips else "no integer"
            raise UpdateError(f"array {index} holds {what} at flat index {-1 - found}")
        self.clipped[index] += found
        if found:
            self.largest = max(self.largest, float(values.max()), -float(values.min()))

    def _refuse_unfit(self, part: Part) -> None:
        """Refuse what is not finite, before it is rotated into everything, or not sent in this round."""
        for index in part.arrays:
            finite = np.isfinite(self._arrays[index]).reshape(-1)
            if not finite.all():
                raise UpdateError(f"array {index} holds NaN or infinity at flat index {int(finite.argmin())}")

    def _note(self, part: Part, index: int, values: npt.NDArray[Any], clip: float) -> None:
        if part.group.adaptive:
            self._within[part.group.name, index] = is_unclipped(values, clip, part.group)

    def unclipped(self, parts: Sequence[Part]) -> list[int]:
        """Whether values are within each adaptive clip, in the order of a configuration's clips. An array of which
        nothing is sent is within its.
        """
        held = sorted((part for part in parts if part.group.adaptive), key=lambda part: part.group.name.encode())
        return [
            int(self._within.get((part.group.name, index), True))
            for part in held
            for index in ((-1,) if part.group.rotated else part.arrays)
        ]


class _Decoding:
    """One group's sums on their way back."""

    def __init__(self, part: Part, context: bytes, clients: int, limit: int, total: int) -> None:
        self._part, self._context, self._clients = part, context, clients
        self._limit, self._total = limit, total

    def read(self, sums: npt.NDArray[Any], executor: Executor, context: bytes) -> npt.NDArray[np.float64]:
        """The mean of every value of the group, 0 of those that were not sent."""
        part = self._part
        if part.group.rotated:
            centred = sums.astype(np.int64) - self._clients * part.group.half
            self._check(max(int(centred.max()), -int(centred.min())), part.clips[0])
            key = rotation_key(self._context, part.group.name)
            mean = restore(centred, key, part.sent, self._unit(part.clips[0]))
            return self._spread(mean)
        if not part.clips:
            return self._spread(sums.astype(np.float64))
        if len(set(part.clips)) == 1:
            return self._spread(self._mean(sums, part.clips[0], executor, context))
        position, pieces = 0, []
        for clip, size in zip(part.clips, self._sizes(), strict=True):
            if size:
                pieces.append(self._mean(sums[position : position + size], clip, executor, context))
            position += size
        return self._spread(np.concatenate(pieces))

    def _sizes(self) -> list[int]:
        """Of each array how many values are sent."""
        part = self._part
        if part.sent == part.elements:
            return list(part.sizes)
        chosen = self._chosen()
        bounds = np.searchsorted(chosen, np.cumsum((0, *part.sizes)))
        return [int(size) for size in np.diff(bounds)]

    def _chosen(self) -> npt.NDArray[np.int64]:
        part = self._part
        return support(support_key(self._context, part.group.name), part.elements, part.sent)

    def _mean(self, sums: npt.NDArray[Any], clip: float, executor: Executor, context: bytes) -> npt.NDArray[np.float64]:
        centre = self._clients * self._part.group.half
        worst, mean = grid.means(sums, centre, self._unit(clip), executor, context)
        self._check(worst, clip)
        return mean

    def _unit(self, clip: float) -> float:
        return (clip * float(self._limit)) / float(self._part.group.half * self._total)

    def _check(self, worst: int, clip: float) -> None:
        half, limit, total = self._part.group.half, self._limit, self._total
        if limit * (worst - self._clients) > half * total:
            most = clip + (clip * float(self._clients * limit)) / float(half * total)
            reached = worst * clip * limit / (half * total)
            raise VerificationError(f"a mean is {reached:.6g} in size, above clip plus rounding = {most:.6g}")

    def _spread(self, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        part = self._part
        if part.sent == part.elements:
            return mean
        whole = np.zeros(part.elements)
        whole[self._chosen()] = mean
        return whole
