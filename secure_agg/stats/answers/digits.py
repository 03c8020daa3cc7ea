"""Large integers as coordinates of a hidden vector, exactly, so that a sum tells no more than the integers' sum.

A coordinate carries integers of up to H in size, its *room*. What may be larger is written in digits of base 16,

    Z = Σ_j D_j · 16^j,

signed and redundant: D_j is Z's next digit modulo 16, and beside it a random multiple of 16 that the digits above make
good. The sum of the sites' D_j is then Σ Z's digit and sums of random carries: between two ways in which sites may have
come to one Σ Z, the statistical distance is of the order of (sites · digits) / (2 · H / 16). The last coordinate takes
what is left over. Metrics of the plug-ins are written in the same way, in base 3 (``plugins.core.metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from secure_agg.errors import LocalProtocolError, VerificationError
from secure_agg.stats.question import Field

BASE: Final = 16
LEAST_ROOM: Final = 1 << 12
"""Below it carries would hide too little."""


class Digits:
    """How the integers of some fields lie in coordinates of so much room."""

    def __init__(self, fields: Sequence[Field], room: int) -> None:
        """
        Raises:
            LocalProtocolError: less room than ``LEAST_ROOM``.
        """
        if room < LEAST_ROOM:
            raise LocalProtocolError(f"coordinates of {room} are smaller than {LEAST_ROOM}")
        self._room, self._widest = room, (room - BASE) // BASE - 1
        self._drawn = [0 if field.most <= room else _digits_for(field.most) + 1 for field in fields]
        self._most = [field.most for field in fields]

    @property
    def size(self) -> int:
        """Coordinates of all fields."""
        return sum(drawn + 1 for drawn in self._drawn)

    def encode(self, values: Sequence[int], key: bytes) -> npt.NDArray[np.int64]:
        """
        Args:
            values: of the fields.
            key: 32 secret bytes, of this answer only: they draw the carries.

        Returns:
            (size,) integers of at most the room in size.

        Raises:
            LocalProtocolError: a value is larger than its field says.
        """
        words = np.empty(max(sum(self._drawn), 1), dtype=np.uint32)
        KeyStream(key).words(0, words)
        drawn, place, found = words.tolist(), 0, []
        for value, most, digits in zip(values, self._most, self._drawn, strict=True):
            if abs(value) > most:
                raise LocalProtocolError("an integer of an answer is larger than its field")
            rest = int(value)
            for word in drawn[place : place + digits]:
                digit = (rest + BASE // 2) % BASE - BASE // 2
                digit += BASE * ((word * (2 * self._widest + 1) >> 32) - self._widest)
                rest = (rest - digit) // BASE
                found.append(digit)
            place += digits
            found.append(rest)
        return np.array(found, dtype=np.int64)

    def decode(self, sums: Sequence[int], sites: int) -> tuple[int, ...]:
        """The fields' sums over so many sites.

        Raises:
            VerificationError: one is larger than so many sites' can be: somebody encoded what is no answer.
        """
        place, found = 0, []
        for most, digits in zip(self._most, self._drawn, strict=True):
            value = sum(digit * BASE**power for power, digit in enumerate(sums[place : place + digits + 1]))
            if abs(value) > most * sites:
                raise VerificationError(f"a sum of {sites} sites is larger than they can have answered")
            place += digits + 1
            found.append(value)
        return tuple(found)


def _digits_for(most: int) -> int:
    digits = 0
    while (BASE**digits) // 2 <= most:
        digits += 1
    return digits
