"""What a server makes of the mean update: functions that everybody can compute again, bit by bit.

A node that can't compute the next model has to take whatever the server hands it, and a crafted model can make a sum
show single records. So the optimisers that frameworks run on their servers are computed here, from verified means and
from settings that are pinned in every home. All are in float64 and consist of additions, multiplications, divisions and
square roots alone, each rounded as IEEE 754 says, so no machine gets other bits.

FedProx is FedAvg on the server. SCAFFOLD and FedNova need a second quantity of every client. It rides beside the model,
in the same hidden vector: what all parties hold, and the rounds move, is then longer than the model,

    SCAFFOLD  the model's arrays, then the server's control variate c, of the same shapes
    FedNova   the model's arrays, then one array of shape (1,), which stays 0, for the clients' numbers of steps

``fl.algorithms`` makes what clients send of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, UpdateError

FEDAVG: Final = "FedAvg"
FEDAVGM: Final = "FedAvgM"
FEDADAM: Final = "FedAdam"
FEDADAGRAD: Final = "FedAdagrad"
FEDYOGI: Final = "FedYogi"
SCAFFOLD: Final = "SCAFFOLD"
FEDNOVA: Final = "FedNova"

LARGEST_RATE: Final = 1e6
LEAST_TAU: Final = 1e-12

Floats64 = Sequence[npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Kind:
    """An optimiser's own settings by default, those of Flower's strategies, or the paper's where Flower has none; None
    where it has no such setting.
    """

    learning_rate: float | None = None
    momentum: float | None = None
    second: float | None = None
    tau: float | None = None


_KINDS: Final = {
    FEDAVG: _Kind(),
    FEDAVGM: _Kind(learning_rate=1.0, momentum=0.0),
    FEDADAM: _Kind(learning_rate=0.1, momentum=0.9, second=0.99, tau=1e-3),
    FEDADAGRAD: _Kind(learning_rate=0.1, momentum=0.0, tau=1e-3),
    FEDYOGI: _Kind(learning_rate=0.01, momentum=0.9, second=0.99, tau=1e-3),
    SCAFFOLD: _Kind(learning_rate=1.0),
    FEDNOVA: _Kind(learning_rate=1.0),
}
NAMES: Final = tuple(_KINDS)


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Moments:
    """What an optimiser remembers from round to round; empty before the first.

    Attributes:
        first: averaged updates m, float64 of the model's shapes; empty without momentum.
        second: averaged squares v, likewise; of the adaptive optimisers only.
    """

    first: Floats64 = ()
    second: Floats64 = ()


BEGUN: Final = Moments()
"""Before the first round."""


class ServerOptimizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An optimiser and its settings, as a home pins them. Settings that an optimiser doesn't have are 0.

    Attributes:
        name: one of ``NAMES``.
        learning_rate: η, in (0, 10^6].
        momentum: β1, in [0, 1).
        second: β2, in [0, 1).
        tau: τ, in [10^-12, 10^6].
    """

    name: str = FEDAVG
    learning_rate: float = 0.0
    momentum: float = 0.0
    second: float = 0.0
    tau: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that would lead to no model, or mean nothing.

        Raises:
            ConfigError: names the setting, its value and what it may be.
        """
        if self.name not in _KINDS:
            raise ConfigError(f"server optimizer {self.name!r} is none of {', '.join(NAMES)}")
        kind = _KINDS[self.name]
        for setting, value, has, fits, said in (
            ("learning rate", self.learning_rate, kind.learning_rate, 0 < self.learning_rate <= LARGEST_RATE,
             f"in (0, {LARGEST_RATE:g}]"),
            ("momentum", self.momentum, kind.momentum, 0 <= self.momentum < 1, "in [0, 1)"),
            ("second momentum", self.second, kind.second, 0 <= self.second < 1, "in [0, 1)"),
            ("tau", self.tau, kind.tau, LEAST_TAU <= self.tau <= LARGEST_RATE, f"in [{LEAST_TAU:g}, {LARGEST_RATE:g}]"),
        ):  # fmt: skip
            if has is None and value != 0:
                raise ConfigError(f"{self.name} has no {setting}, and {value!r} is asked for")
            if has is not None and not fits:
                raise ConfigError(f"the {setting} of {self.name} is {value!r}, not {said}")

    @staticmethod
    def create(
        name: str,
        *,
        learning_rate: float | None = None,
        momentum: float | None = None,
        second: float | None = None,
        tau: float | None = None,
    ) -> ServerOptimizer:
        """An optimiser by its name, in whatever case; what is None is as in Flower's strategy of that name.

        FedAvgM that neither has momentum nor another rate than 1 is FedAvg, and comes out as that; so does FedProx.

        Raises:
            ConfigError: there is no such optimiser or setting, or it can't have this value.
        """
        known = {kind.lower(): kind for kind in NAMES} | {"fedprox": FEDAVG}
        if name.lower() not in known:
            raise ConfigError(f"server optimizer {name!r} is none of {', '.join(NAMES)}")
        kind = known[name.lower()]
        stock = _KINDS[kind]

        def chosen(given: float | None, default: float | None) -> float:
            return float(given if given is not None else default or 0.0)

        made = ServerOptimizer(
            kind,
            chosen(learning_rate, stock.learning_rate),
            chosen(momentum, stock.momentum),
            chosen(second, stock.second),
            chosen(tau, stock.tau),
        )
        return PLAIN if made == ServerOptimizer(FEDAVGM, 1.0) else made

    def __str__(self) -> str:
        """As the command line takes it."""
        kind = _KINDS[self.name]
        settings = {
            "server-learning-rate": (kind.learning_rate, self.learning_rate),
            "server-momentum": (kind.momentum, self.momentum),
            "server-second-momentum": (kind.second, self.second),
            "server-tau": (kind.tau, self.tau),
        }
        words = [f"--{name} {value!r}" for name, (has, value) in settings.items() if has is not None]
        return " ".join((f"--server-optimizer {self.name}", *words))

    @property
    def beside(self) -> bool:
        """Whether something rides beside the model, for which frameworks have no strategy of their own."""
        return self.name in (SCAFFOLD, FEDNOVA)

    def check(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Whether these arrays, of the first model or of a mean, are what this optimiser moves.

        Raises:
            UpdateError: they are not the model and what has to ride beside it; says what is awaited.
        """
        shapes = [array.shape for array in arrays]
        half = len(shapes) // 2
        if self.name == SCAFFOLD and (not half or shapes[:half] != shapes[half:]):
            raise UpdateError(f"SCAFFOLD moves a model and a control variate of its shapes, not {len(shapes)} arrays")
        if self.name == FEDNOVA and (len(shapes) < 2 or shapes[-1] != (1,)):
            raise UpdateError("FedNova moves a model and, as the last array, the number of steps, of shape (1,)")

    def step(
        self, mean: Floats64, moments: Moments, number: int, share: float = 1.0
    ) -> tuple[list[npt.NDArray[np.float64]], Moments]:
        """By how much the model moves, and what to remember.

        With d the mean update, all elementwise, m and v being 0 before round 0:

            FedAvg      step = d
            FedAvgM     m ← β1·m + d,             step = η·m                    (Hsu et al. 2019, arXiv:1909.06335)
            the others  m ← β1·m + (1 − β1)·d,    step = η·m / (√v + τ)         (Reddi et al. 2021, arXiv:2003.00295)
              FedAdagrad  v ← v + d²
              FedYogi     v ← v − (1 − β2)·d²·sign(v − d²)
              FedAdam     v ← β2·v + (1 − β2)·d², and for η: η·√(1 − β2^k) / (1 − β1^k), k = number + 2
            SCAFFOLD    step of the model = η·d, of c = |S|/N · d               (Karimireddy et al. 2020, equation 5)
            FedNova     step = η·t·d, t the last array's mean                   (Wang et al. 2020, equation 6)

        FedAdam's corrected rate is Flower's (Kingma and Ba 2015, section 2), whose exponent is one above the count of
        rounds, from 1, and is kept as it is so that runs come out alike.

        Args:
            mean: float64, finite: the verified mean of the clients' differences from the model.
            moments: what the last round has left.
            number: verified rounds of the task before this one.
            share: |S|/N, clients in the mean over clients of the task, in (0, 1]; of SCAFFOLD only.

        Returns:
            Steps of the mean's shapes, float64, for ``layers.apply``; and the moments for the next round.

        Raises:
            UpdateError: the moments are not of these shapes, a step is not finite, or the mean lacks what rides beside
                the model.
        """
        self.check(mean)
        kind = _KINDS[self.name]
        if self.name == FEDAVG:
            return [np.asarray(d, np.float64) for d in mean], Moments()
        if self.beside:
            return self._finite(self._beside(mean, share)), Moments()
        rate, share = self.learning_rate, 1.0 if self.name == FEDAVGM else 1.0 - self.momentum
        if self.name == FEDADAM:
            corrected = math.sqrt(1.0 - _power(self.second, number + 2))
            rate = rate * corrected / (1.0 - _power(self.momentum, number + 2))
        firsts, seconds = _begun(moments.first, mean), _begun(moments.second, mean)
        steps, first, second = [], [], []
        for d, m, v in zip(mean, firsts, seconds, strict=True):
            m = self.momentum * m + share * d
            if kind.tau is None:
                step = rate * m
            else:
                v = self._second(v, d * d)
                step = rate * m / (np.sqrt(v) + self.tau)
                second.append(v)
            steps.append(step)
            if self.momentum:
                first.append(m)
        return self._finite(steps), Moments(first, second)

    def _beside(self, mean: Floats64, share: float) -> list[npt.NDArray[np.float64]]:
        if self.name == SCAFFOLD:
            half = len(mean) // 2
            return [*(self.learning_rate * d for d in mean[:half]), *(share * d for d in mean[half:])]
        *updates, steps = mean
        rate = self.learning_rate * float(steps[0])
        return [*(rate * d for d in updates), np.zeros(1)]

    def _finite(self, steps: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
        if not all(np.isfinite(step).all() for step in steps):
            raise UpdateError(f"{self.name} makes a step that is not finite of a mean update")
        return steps

    def _second(self, v: npt.NDArray[np.float64], square: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.name == FEDADAGRAD:
            return v + square
        if self.name == FEDYOGI:
            return v - (1.0 - self.second) * square * np.sign(v - square)
        return self.second * v + (1.0 - self.second) * square


def discounted(
    mean: Sequence[npt.NDArray[np.float64]], weight_sum: int, participants: int, weight_limit: int
) -> list[npt.NDArray[np.float64]]:
    """What an optimizer is given of a buffered round, where updates from older models weigh less: Σ s·Δ / K, s = w / M,
    from the weighted mean: that times W / (K·M), which is rounded once, in float64 (FedBuff, Nguyen et al. 2022).

    Args:
        mean: Σ w·Δ / W.
        weight_sum, participants, weight_limit: W, K and M of the round's record.
    """
    share = weight_sum / (participants * weight_limit)
    return [share * array for array in mean]


PLAIN: Final = ServerOptimizer()
"""FedAvg: the model moves by the mean."""
CONTROLLED: Final = ServerOptimizer(SCAFFOLD, 1.0)
"""SCAFFOLD whose model moves by the mean."""
NORMALISED: Final = ServerOptimizer(FEDNOVA, 1.0)
"""FedNova whose model moves by all of the mean."""


def _begun(moment: Floats64, mean: Floats64) -> Floats64:
    if not moment:
        return [np.zeros(d.shape) for d in mean]
    if [m.shape for m in moment] != [d.shape for d in mean]:
        raise UpdateError("the optimizer's moments have other shapes than the mean")
    return moment


def _power(base: float, exponent: int) -> float:
    """By squaring: the C library's ``pow`` is not the same on all machines."""
    result, square = 1.0, base
    while exponent:
        if exponent & 1:
            result *= square
        square *= square
        exponent >>= 1
    return result
