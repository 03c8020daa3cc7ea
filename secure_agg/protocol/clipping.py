"""What clipping has done to updates, and in which words their owner is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from secure_agg.protocol.codec import Encoded
from secure_agg.protocol.config import Part, RoundConfig

_NAMED: Final = 8
"""Arrays that are named."""
_FAR: Final = 1000.0
"""In clips: no update is so large."""


class Clipping(NamedTuple):
    """What was clipped of one update or of several together.

    Attributes:
        clipped: values, by array.
        largest: the largest value in size of the arrays in which something was clipped; 0 where nothing was.
        updates: how many there are.
    """

    clipped: tuple[int, ...]
    largest: float
    updates: int = 1

    @staticmethod
    def of(updates: Iterable[Encoded]) -> Clipping:
        """Of updates of the same shapes."""
        found = list(updates)
        counts = tuple(map(sum, zip(*(item.clipped for item in found), strict=True)))
        return Clipping(counts, max((item.largest for item in found), default=0.0), len(found))

    def text(self, config: RoundConfig) -> str:
        """What there is to say of one round's; empty where nothing was clipped. It names no client."""
        return " ".join(filter(None, (self._of_part(part, config) for part in config.layout.parts if self.clipped)))

    def _of_part(self, part: Part, config: RoundConfig) -> str:
        counts = {index: self.clipped[index] for index in part.arrays if self.clipped[index]}
        total, where, values = sum(counts.values()), list(map(str, counts)), self.updates * part.coordinates
        if not total:
            return ""
        of, to = f" of group {part.group.name!r}" if config.policy.groups else "", _range(part)
        said = (
            f"{total} of {values} values{of} were clipped to {to}, in {'array' if len(where) == 1 else 'arrays'} "
            f"{', '.join(where[:_NAMED])}{', …' if len(where) > _NAMED else ''}; the largest was {self.largest:.6g} in "
            "size. The mean is that of the clipped values: take a larger clip, or train with smaller steps."
        )
        if part.group.rotated:
            said = f"{total} of {values} values{of} were clipped to {to} after their rotation."
        if part.group.adaptive:
            return f"{said} The clip follows the updates from round to round."
        if part.clips and (2 * total > values or self.largest > _FAR * max(part.clips)):
            said += (
                " So much looks like weights where updates belong: a client passes what training has changed, its new "
                "weights less those that it started from."
            )
        return said


def _range(part: Part) -> str:
    if not part.clips:
        return f"[0, {part.group.top}]"
    low, high = min(part.clips), max(part.clips)
    return f"±{high:g}" if low == high else f"between ±{low:.4g} and ±{high:.4g}"
