"""Clients whose objectives are quadratics, so that where an algorithm settles can be written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_agg.fl.algorithms.training import Client

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quadratic:
    """f(y) = ½·(y − b)ᵀ·A·(y − b)."""

    a: Matrix
    b: Matrix

    def gradient(self, at: Sequence[npt.NDArray[np.float64]]) -> list[Matrix]:
        return [self.a @ (at[0] - self.b)]

    def client(self, steps: int, weight: int = 1) -> Client:
        return Client(self.gradient, lambda _: steps, weight)

    def descended(self, rate: float, steps: int) -> Matrix:
        """K with y − x = −K·(x − b) after so many steps: I − (I − ηA)^τ."""
        eye = np.eye(len(self.b))
        return eye - np.linalg.matrix_power(eye - rate * self.a, steps)


def some(count: int, seed: int, size: int = 3, *, same: bool = False) -> list[Quadratic]:
    """Quadratics with eigenvalues in [0.5, 2], or all with A = I."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
        a = np.eye(size) if same else basis @ np.diag(rng.uniform(0.5, 2.0, size)) @ basis.T
        made.append(Quadratic(a, rng.normal(0.0, 1.0, size)))
    return made


def settles(matrices: Sequence[Matrix], parts: Sequence[Quadratic]) -> Matrix:
    """x with Σ M_i·(x − b_i) = 0."""
    return np.linalg.solve(
        np.sum(matrices, axis=0), np.sum([m @ q.b for m, q in zip(matrices, parts, strict=True)], axis=0)
    )
