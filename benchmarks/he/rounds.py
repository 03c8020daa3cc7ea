"""A whole verified round with every backend: what a client, the operators and the network have to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import Federation
from benchmarks.he.lattice import exact_row
from benchmarks.he.options import HeOptions
from benchmarks.measure.cells import AGGREGATOR, CLIENT, COMMIT, ENCODE
from benchmarks.measure.round import measure as measure_round
from benchmarks.results import Row
from benchmarks.timing import Samples
from secure_agg.backends.paillier import MODULUS

BACKENDS: Final = ("plain", "masking", "bfv", "ckks", "paillier")
BASELINE: Final = "masking"
MOST_PARAMS: Final = 100_000
CLIENTS: Final = 5
_WARM_PARAMS: Final = 1_000
_ORACLE: Final = "against numpy's sums of the encoded updates"


@dataclass(frozen=True)
class Measured:
    """One backend's round.

    Attributes:
        encode, commit, protect: seconds of each client.
        aggregator, holder: seconds of the whole round.
        upload: mean bytes of a client.
        error: largest difference of the released average from the oracle's.
    """

    encode: Samples
    commit: Samples
    protect: Samples
    aggregator: float
    holder: float
    upload: float
    error: float

    @property
    def client(self) -> Samples:
        """All that a client does until its input is sent, and its later answers."""
        return self.encode + self.commit + self.protect


def on_grid(values: npt.NDArray[Any], bits: int, clip: float) -> npt.NDArray[np.float64]:
    """The nearest values that are encoded without rounding, so that the average can be known to the last bit."""
    step = clip / ((1 << (bits - 1)) - 1)
    rounded: npt.NDArray[np.float64] = np.rint(np.clip(values.astype(np.float64), -clip, clip) / step) * step
    return rounded


def oracle(updates: list[npt.NDArray[Any]], bits: int, clip: float) -> npt.NDArray[Any]:
    """The average of the documented encoding of updates that are on its grid, from numpy's integer sums."""
    half = (1 << (bits - 1)) - 1
    exact = np.sum([np.rint(values / (clip / half)).astype(np.int64) for values in updates], axis=0)
    average: npt.NDArray[Any] = exact * (clip / float(half * len(updates)))
    return average


def measure(backend: str, params: int, options: HeOptions) -> Measured:
    """One round of ``CLIENTS`` clients with different updates, with a fresh key where the backend has one."""
    chosen = {MODULUS.name: options.modulus_bits} if backend == "paillier" else {}
    federation = Federation.of(
        CLIENTS, params, options.bits, backend=backend, options=chosen, headroom=max(options.clients, CLIENTS)
    )
    policy = federation.config.policy
    drawn = on_grid(np.random.default_rng(1).standard_normal((CLIENTS, params)), policy.bits, policy.clip)
    measured = measure_round(federation, drawn)
    steps = [measured.timings[name] for name in measured.parties[CLIENT]]
    return Measured(
        encode=Samples(tuple(own[ENCODE] for own in steps)),
        commit=Samples(tuple(own[COMMIT] for own in steps)),
        protect=Samples(tuple(sum(own.get(phase, 0.0) for phase in measured.phases) for own in steps)),
        aggregator=measured.total(AGGREGATOR),
        holder=measured.total(measured.operators),
        upload=measured.sent(CLIENT),
        error=float(np.abs(measured.verified.average[0] - oracle(list(drawn), policy.bits, policy.clip)).max()),
    )


def rows(options: HeOptions) -> list[Row]:
    """Every backend's round, each figure for all backends together."""
    params = min(options.params, MOST_PARAMS)
    for backend in BACKENDS:
        measure(backend, min(params, _WARM_PARAMS), options)
    rounds = {backend: measure(backend, params, options) for backend in BACKENDS}
    return [
        *(_client(backend, params, rounds) for backend in BACKENDS),
        *(_operators(backend, params, rounds) for backend in BACKENDS),
        *(_upload(backend, params, rounds) for backend in BACKENDS),
        *(
            exact_row(f"round.{backend}", f"round, {backend}: error of the average", measured.error, _ORACLE)
            for backend, measured in rounds.items()
        ),
    ]


def _compared(backend: str, own: float, baseline: float) -> tuple[str, float | None, float | None]:
    return (BASELINE, baseline, own / baseline) if backend != BASELINE else ("", None, None)


def _client(backend: str, params: int, rounds: dict[str, Measured]) -> Row:
    own, samples = rounds[backend], rounds[backend].client
    low, high = samples.quartiles
    peer, peer_median, ratio = _compared(backend, 1e3 * samples.median, 1e3 * rounds[BASELINE].client.median)
    parts = {"encode": own.encode, "commit": own.commit, "protect": own.protect}
    return Row(
        key=f"round.client.{backend}",
        name=f"round, {backend}: a client",
        unit="ms",
        median=1e3 * samples.median,
        spread=(1e3 * low, 1e3 * high),
        samples=len(samples.seconds),
        derived=1e9 * samples.median / params,
        derived_unit="ns/param",
        peer=peer,
        peer_median=peer_median,
        ratio=ratio,
        note=", ".join(f"{name} {1e3 * part.median:.3g}" for name, part in parts.items())
        + f" ms; {CLIENTS} clients, {params:,} parameters",
    )


def _operators(backend: str, params: int, rounds: dict[str, Measured]) -> Row:
    own, baseline = rounds[backend], rounds[BASELINE]
    seconds = 1e3 * (own.aggregator + own.holder)
    peer, peer_median, ratio = _compared(backend, seconds, 1e3 * (baseline.aggregator + baseline.holder))
    holder = f", key holder {1e3 * own.holder:.3g} ms" if own.holder else ""
    return Row(
        key=f"round.operators.{backend}",
        name=f"round, {backend}: aggregator and key holder" if own.holder else f"round, {backend}: aggregator",
        unit="ms",
        median=seconds,
        derived=1e6 * seconds / params,
        derived_unit="ns/param",
        peer=peer,
        peer_median=peer_median,
        ratio=ratio,
        note=f"aggregator {1e3 * own.aggregator:.3g} ms{holder}" if holder else "",
    )


def _upload(backend: str, params: int, rounds: dict[str, Measured]) -> Row:
    own = rounds[backend].upload
    peer, peer_median, ratio = _compared(backend, own, rounds[BASELINE].upload)
    return Row(
        key=f"round.upload.{backend}",
        name=f"round, {backend}: upload of a client",
        unit="bytes",
        median=own,
        derived=own / params,
        derived_unit="B/param",
        peer=peer,
        peer_median=peer_median,
        ratio=ratio,
    )
