"""What an app keeps on its node from round to round, if the round counts: SCAFFOLD's control variate, say.

An app that trains can't know whether its update will be in the result. What it would keep is only *proposed* then. It
becomes the attempt's when the node joins, and is *kept* when the node has verified a result that holds its update; of
a round that came to nothing, or without this node, it is forgotten and the app finds what it had before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from secure_agg.plugins.homes.journal import Journal, Key

MOST_ELEMENTS: Final = 1 << 32
_NAME: Final = "own"
_NO_KEY: Final[Key] = ("", 0, 0)
_COUNTED: Final = b"counted"
"""Is written to what was begun before it is kept: a crash, or a full disk, in between loses neither."""


class Own:
    """In a folder of a node's home."""

    def __init__(self, home: str | Path, name: str = _NAME) -> None:
        """
        Args:
            home: the node's.
            name: of the folder: ``own`` for what apps keep.

        Raises:
            StoreError: the folder can't be made.
        """
        folder = Path(home) / name
        Journal(folder, MOST_ELEMENTS)  # makes the folder
        self._proposed, self._begun, self._kept = (
            Journal(folder / each, MOST_ELEMENTS) for each in ("proposed", "begun", "kept")
        )

    def arrays(self) -> list[npt.NDArray[Any]]:
        """What was kept of the last round that counted; empty before it.

        Raises:
            StoreError: it can't be read.
        """
        newest = self._newest
        return [] if newest.key is None else newest.arrays(_NAME)

    @property
    def round(self) -> int:
        """Number of the last round that counted; −1 before it."""
        key = self._newest.key
        return -1 if key is None else key[1]

    @property
    def _newest(self) -> Journal:
        return self._begun if self._begun.requests() else self._kept

    def propose(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """For an app, while it trains: what it would keep, float16, float32 or float64.

        Raises:
            ConfigError: an array is of another type.
            StoreError: the disk is full or fails.
        """
        self._proposed.begin(_NO_KEY, {_NAME: arrays}, {})

    def bind(self, key: Key) -> None:
        """For the node, when it joins an attempt with what was trained: the proposal is this attempt's."""
        self._keep()
        if self._proposed.key is None:
            self._begun.clear()
            return
        self._begun.begin(key, {_NAME: self._proposed.arrays(_NAME)}, {})
        self._proposed.clear()

    def settle(self, key: Key, *, counted: bool) -> None:
        """For the node, when it has verified an attempt's result; nothing happens where the proposal is another's."""
        if self._begun.key != key:
            return
        if counted:
            self._begun.add_request(_COUNTED)
            self._keep()
        else:
            self._begun.clear()

    def _keep(self) -> None:
        """Keep what was begun, if it has counted."""
        if self._begun.requests():
            self._kept.begin(self._begun.key or _NO_KEY, {_NAME: self._begun.arrays(_NAME)}, {})
            self._begun.clear()
