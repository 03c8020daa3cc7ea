"""Mean estimation: the error of the whole way, codec and noise, beside that of one trusted party's Gaussian noise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from benchmarks.federation import identity
from benchmarks.results import Row
from mpc.keystream import derive_key
from secure_agg.errors import ConfigError
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.codec import PrivateCodec
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Roster

DELTA: Final = 1e-5
NORM: Final = 10.0
SIZE: Final = 250


def gaussian(epsilon: float, delta: float) -> float:
    """The least deviation of Gaussian noise for sensitivity 1 (Balle and Wang 2018, theorem 8)."""

    def spent(sigma: float) -> float:
        def below(x: float) -> float:
            return 0.5 * math.erfc(-x / math.sqrt(2))

        half, shift = 0.5 / sigma, epsilon * sigma
        return below(half - shift) - math.exp(epsilon) * below(-half - shift)

    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


def configured(clients: int, epsilon: float, bits: int, roster: Roster, *, size: int = SIZE) -> RoundConfig:
    """One round of a task of one, in which all clients are needed: f is then (n − 1)/3.

    Raises:
        ConfigError: there is no room for its noise.
    """
    budget = Privacy(epsilon=epsilon, delta=DELTA, norm=NORM)
    policy = Policy.default(clients, bits=bits, min_clients=clients, privacy=budget)
    return RoundConfig.create(task="means", round=0, policy=policy, cohort=roster, shapes=((size,),))


def estimated(config: RoundConfig, seed: int) -> float:
    """Mean squared error of a coordinate of the mean, of clients whose updates have the norm: as their vectors are
    encoded, summed and decoded.
    """
    n, codec, rng = config.cohort_size, PrivateCodec(config), np.random.default_rng(seed)
    total, out = np.zeros(config.layout.committed, dtype=np.int64), np.empty(config.layout.committed, dtype=np.uint32)
    exact = np.zeros(SIZE)
    for i in range(n):
        values = rng.normal(size=SIZE)
        values *= NORM / float(np.linalg.norm(values))
        secret = hashlib.sha256(f"{seed} {i}".encode()).digest()
        codec.encode([values], lambda label, secret=secret: derive_key(secret, label), out)  # type: ignore[misc]
        total += out
        exact += values / n
    (mean,), _ = codec.decode(total.astype(np.uint32), n, config.shapes)
    return float(np.mean((mean - exact) ** 2))


def rows(
    clients: Sequence[int], epsilons: Sequence[float], bits: Sequence[int], repeat: int, missing: dict[str, str]
) -> Iterator[Row]:
    """For each number of clients, bits and ε: the error, beside the Gaussian's, and what each part of that is.

    Args:
        missing: what there is no room for, and why, by its key.
    """
    for n in clients:
        roster = Roster({f"c{i:05}": identity(f"c{i:05}").public for i in range(n)})  # whose keys say what is drawn
        for width in bits:
            for epsilon in epsilons:
                key, name = f"means.{n}.{width}.{epsilon:g}", f"mean of {n:,}, {width} bits, epsilon {epsilon:g}"
                central = (gaussian(epsilon, DELTA) * NORM / n) ** 2
                try:
                    config = configured(n, epsilon, width, roster)
                except ConfigError as refused:
                    missing[key] = str(refused)
                    continue
                rule = config.policy.privacy
                if rule is None:
                    raise AssertionError("the policy has privacy")
                errors = [estimated(config, seed) for seed in range(repeat)]
                error, share = float(np.mean(errors)), rule.honest / n
                low, high = np.percentile(errors, (25, 75))
                yield Row(
                    key=key,
                    name=name,
                    unit="squared",
                    median=error,
                    spread=(float(low), float(high)) if repeat > 1 else None,
                    samples=repeat,
                    derived=error / central * share,
                    derived_unit="× Gaussian, were all n counted on",
                    peer="central Gaussian",
                    peer_median=central,
                    ratio=error / central,
                    note=f"norm {NORM:g}, {SIZE} values, delta {DELTA:g}, h = {rule.honest}",
                )
