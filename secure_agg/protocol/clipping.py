"""What clipping has done to updates, and in which words their owner is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from secure_agg.protocol.codec import Encoded

_NAMED: Final = 8
"""Arrays that are named."""
_FAR: Final = 1000.0
"""In clips: no update is so large."""


class Clipping(NamedTuple):
    """What was clipped of one update or of several together.

    Attributes:
        clipped: values, by array.
        largest: the largest value in size of the arrays in which something was clipped; 0 where nothing was.
    """

    clipped: tuple[int, ...]
    largest: float

    @staticmethod
    def of(updates: Iterable[Encoded]) -> Clipping:
        """Of updates of the same shapes."""
        found = list(updates)
        counts = tuple(map(sum, zip(*(item.clipped for item in found), strict=True)))
        return Clipping(counts, max((item.largest for item in found), default=0.0))

    def text(self, clip: float, values: int) -> str:
        """What there is to say; empty where nothing was clipped. It names no client.

        Args:
            clip: the policy's.
            values: of all these updates.
        """
        total, where = sum(self.clipped), [str(i) for i, count in enumerate(self.clipped) if count]
        if not total:
            return ""
        said = (
            f"{total} of {values} values were clipped to ±{clip:g}, in {'array' if len(where) == 1 else 'arrays'} "
            f"{', '.join(where[:_NAMED])}{', …' if len(where) > _NAMED else ''}; the largest was {self.largest:.6g} in "
            "size. The mean is that of the clipped values: take a larger clip, or train with smaller steps."
        )
        if 2 * total > values or self.largest > _FAR * clip:
            said += (
                " So much looks like weights where updates belong: a client passes what training has changed, its new "
                "weights less those that it started from."
            )
        return said
