"""How a client's vector is laid out: which coordinates are whose, and how large they can be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from secure_agg.protocol.config.blocks import padded
from secure_agg.protocol.config.groups import COUNT, Group, clip_of, step_of


class Run(NamedTuple):
    """Coordinates of one range, next to each other.

    Attributes:
        length: how many.
        top: the most that each of one client's is.
    """

    length: int
    top: int

    def width(self, clients: int) -> int:
        """f: bits of a sum of so many clients'."""
        return (clients * self.top).bit_length()


@dataclass(frozen=True)
class Part:
    """The values of one group.

    Attributes:
        group: it.
        arrays: which arrays of the update it holds, in order.
        sizes: elements of each.
        start: its first coordinate.
        clips: of each array; one for all where the group is rotated. Of a count none.
    """

    group: Group
    arrays: tuple[int, ...]
    sizes: tuple[int, ...]
    start: int
    clips: tuple[float, ...]

    @property
    def elements(self) -> int:
        """Elements of all of its arrays."""
        return sum(self.sizes)

    @property
    def sent(self) -> int:
        """How many of them are sent."""
        return self.group.sent(self.elements)

    @property
    def coordinates(self) -> int:
        """What it takes: what is sent, and where it is rotated filled up to blocks."""
        return padded(self.sent) if self.group.rotated else self.sent

    @property
    def stop(self) -> int:
        """The first coordinate behind it."""
        return self.start + self.coordinates

    @property
    def largest_step(self) -> float:
        """The widest step of the grids of its arrays, in their units; of a count 1."""
        return max(self.clips) / self.group.half if self.clips else 1.0


@dataclass(frozen=True)
class Layout:
    """``values ‖ weight limbs ‖ counts ‖ unclipped ‖ randomness ‖ sketch``, all uint32.

    Attributes:
        parts: the values of each group: of weighted groups first, then of the others, each in name order.
        limbs: coordinates that carry the weight, base 2^(bits − 1), least significant first.
        counts: coordinates that count clients whose weight was lowered, and raised; see ``Policy.counts``.
        unclipped: coordinates that count clients whose values were within a clip: one for each that is adaptive.
        randomness: coordinates of the commitment's s.
        elements: that are committed to beside s: x, packed where the policy says so.
        top: the most that a limb or count can be.
        sketch: coordinates of s', the randomness of the sketch's commitment; none where no norm is bounded.
        bounded: the first so many values are those whose norm is; none likewise.
        halves: coordinates that carry a value: all values' lower halves come first, then all upper ones.
    """

    parts: tuple[Part, ...]
    limbs: int
    counts: int
    unclipped: int
    randomness: int
    elements: int
    top: int
    sketch: int = 0
    bounded: int = 0
    halves: int = 1

    @property
    def values(self) -> int:
        """Values that are sent: d, the model's parameters, where there are no groups."""
        return self.parts[-1].stop if self.parts else 0

    @property
    def parameters(self) -> int:
        """Elements of all arrays."""
        return sum(part.elements for part in self.parts)

    @property
    def committed(self) -> int:
        """Coordinates of x: values, limbs, counts and unclipped."""
        return self.values * self.halves + self.limbs + self.counts + self.unclipped

    @property
    def total(self) -> int:
        """Coordinates that ride through the backend."""
        return self.committed + self.randomness + self.sketch

    @property
    def hashed(self) -> int:
        """Elements that are committed to with s."""
        return self.elements + self.randomness

    @property
    def runs(self) -> tuple[Run, ...]:
        """The ranges of x, in order: neighbours have different ones."""
        if self.halves > 1:
            return (Run(self.committed, self.top),)
        found: list[Run] = []
        for length, top in (
            *((part.coordinates, part.group.top) for part in self.parts),
            (self.limbs + self.counts, self.top),
            (self.unclipped, 1),
        ):
            if found and found[-1].top == top:
                found[-1] = Run(found[-1].length + length, top)
            elif length:
                found.append(Run(length, top))
        return tuple(found)


def adaptive_clips(groups: Sequence[Group], grouping: Sequence[int]) -> tuple[tuple[Group, int], ...]:
    """Whose clips are adaptive, in the order of a configuration's ``clips``: group by group in name order, of each
    its arrays in order, or the group itself where it is rotated.

    Returns:
        The group, and the array, or −1 for all of its arrays.
    """
    found: list[tuple[Group, int]] = []
    for group, arrays in zip(groups, members(groups, grouping), strict=True):
        if group.adaptive:
            found += [(group, -1)] * bool(arrays) if group.rotated else [(group, i) for i in arrays]
    return tuple(found)


def first_clips(groups: Sequence[Group], grouping: Sequence[int]) -> tuple[int, ...]:
    """k of every adaptive clip in a task's first round."""
    return tuple(step_of(group.clip) for group, _ in adaptive_clips(groups, grouping))


def parts_of(
    groups: Sequence[Group], grouping: Sequence[int], clips: Sequence[int], shapes: Sequence[tuple[int, ...]]
) -> tuple[Part, ...]:
    """The values of each group in a round.

    Args:
        groups: of the policy, in name order.
        grouping: for each array the index of its group.
        clips: k of each adaptive clip, see ``adaptive_clips``.
        shapes: of the arrays.
    """
    steps = iter(clips)
    held: list[tuple[Group, list[int], tuple[float, ...]]] = []
    for group, arrays in zip(groups, members(groups, grouping), strict=True):
        if arrays:
            held.append((group, arrays, tuple(_clips(group, len(arrays), steps))))
    start, parts = 0, []
    for group, arrays, each in sorted(held, key=lambda item: not item[0].weighted):
        part = Part(group, tuple(arrays), tuple(math.prod(shapes[i]) for i in arrays), start, each)
        parts.append(part)
        start = part.stop
    return tuple(parts)


def members(groups: Sequence[Group], grouping: Sequence[int]) -> list[list[int]]:
    """Of each group the arrays that it holds."""
    found: list[list[int]] = [[] for _ in groups]
    for array, index in enumerate(grouping):
        found[index].append(array)
    return found


def _clips(group: Group, arrays: int, steps: Iterator[int]) -> Iterator[float]:
    if group.kind != COUNT:
        for _ in range(1 if group.rotated else arrays):
            yield clip_of(next(steps)) if group.adaptive else group.clip
