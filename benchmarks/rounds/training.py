"""Local training of a model as large as the update: what a client does anyway, beside which aggregation is seen.

The model and the epoch are stated here and the same everywhere: a perceptron with one hidden layer for images of 8 × 8
and ten classes, as wide as gives it the wanted parameters, in float32 with numpy on one core; one epoch of plain SGD
over 1,000 examples in batches of 32. That is little training; with more, aggregation weighs less.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float32]

EXAMPLES: Final = 1_000
BATCH: Final = 32
FEATURES: Final = 64
CLASSES: Final = 10
STATED: Final = (
    f"one epoch of SGD over {EXAMPLES:,} examples in batches of {BATCH}, with numpy on one core, of a perceptron with "
    f"{FEATURES} inputs, {CLASSES} classes and one hidden layer, as wide as gives the model its parameters"
)
_RATE: Final = np.float32(0.1)


class Training:
    """One client's model and data."""

    def __init__(self, params: int) -> None:
        """``params``: the model gets as many, to the nearest hidden unit; one unit at least."""
        draw = np.random.default_rng(0)
        width = max(1, round((params - CLASSES) / (FEATURES + 1 + CLASSES)))
        self.examples: _Array = draw.standard_normal((EXAMPLES, FEATURES), dtype=np.float32)
        # Classes that a linear map tells apart, so that there is something to learn.
        self.labels = (self.examples @ draw.standard_normal((FEATURES, CLASSES), dtype=np.float32)).argmax(axis=1)
        self.hidden: _Array = draw.standard_normal((FEATURES, width), dtype=np.float32) / np.float32(FEATURES**0.5)
        self.shift: _Array = np.zeros(width, dtype=np.float32)
        self.output: _Array = draw.standard_normal((width, CLASSES), dtype=np.float32) / np.float32(width**0.5)
        self.bias: _Array = np.zeros(CLASSES, dtype=np.float32)

    @property
    def params(self) -> int:
        """How many the model really has."""
        return self.hidden.size + self.shift.size + self.output.size + self.bias.size

    def epoch(self) -> None:
        """Every example once; the model goes on from where it is."""
        for first in range(0, EXAMPLES, BATCH):
            self._step(self.examples[first : first + BATCH], self.labels[first : first + BATCH])

    def _step(self, inputs: _Array, labels: npt.NDArray[np.int64]) -> None:
        active = np.maximum(inputs @ self.hidden + self.shift, 0)
        wrong = self._probabilities(active)
        wrong[np.arange(len(labels)), labels] -= 1
        wrong *= _RATE / np.float32(len(labels))
        back = (wrong @ self.output.T) * (active > 0)
        self.output -= active.T @ wrong
        self.bias -= wrong.sum(axis=0)
        self.hidden -= inputs.T @ back
        self.shift -= back.sum(axis=0)

    def _probabilities(self, active: _Array) -> _Array:
        scores = active @ self.output + self.bias
        powers: _Array = np.exp(scores - scores.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers

    @property
    def accuracy(self) -> float:
        """Share of its own examples that the model gets right."""
        active = np.maximum(self.examples @ self.hidden + self.shift, 0)
        return float((self._probabilities(active).argmax(axis=1) == self.labels).mean())
