"""What CrypTen's parties compute for backend ``crypten``: sum, norm check, trimmed mean, median; and whole rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.measure.round import drawn, measure
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.round import federation_for
from benchmarks.results import Row
from benchmarks.timing import Samples, interleaved
from secure_agg.backends.crypten import rules
from secure_agg.backends.crypten.engine.jobs import Layout, NormBound, Range, Result
from secure_agg.backends.crypten.engine.launcher import Parties
from secure_agg.local.aggregate import Result as RoundResult
from secure_agg.local.aggregate import aggregate

_WORDS: Final = 1 << 64
_POISONED: Final = 3.0
"""Factor on one client's update: its norm is refused."""
_CLIP: Final = 8.0
"""Of the rounds: no value of that update is beyond it, so none is clipped unseen."""
_BOUND: Final = 1.5
"""Norm bound, in norms of an honest update."""
_SPARE: Final = 4
"""Fewest clients of which one may be refused."""


def shared(values: npt.NDArray[np.uint64], parties: int) -> list[npt.NDArray[np.uint64]]:
    """Additive shares modulo 2^64 of (clients, params), one matrix for each party."""
    source = np.random.default_rng(3)
    free = [source.integers(0, _WORDS - 1, values.shape, dtype=np.uint64) for _ in range(parties - 1)]
    return [*free, values - np.sum(free, axis=0, dtype=np.uint64)]


def trim_for(clients: int) -> int:
    """How many values are dropped at each end: a fifth of the clients, at least one."""
    return max(1, clients // 5)


class _Engine:
    """Jobs for party processes; each method is one repetition and checks its result against numpy."""

    def __init__(self, options: MpcOptions, parties: Parties) -> None:
        n, self._parties = options.clients, parties
        self._trim = trim_for(n)
        top = 1 << options.bits
        source = np.random.default_rng(4)
        self._values = source.integers(0, top, (n, options.function_params), dtype=np.uint64)
        self._centre = top // 2
        if n >= _SPARE:  # as far from the centre as a value can be
            self._values[0] = source.integers(0, 2, options.function_params, dtype=np.uint64) * np.uint64(top - 1)
        squares = ((self._values.astype(np.int64) - self._centre) ** 2).sum(axis=1)
        self._squared = int(squares[1:].max())
        self._within = squares <= self._squared
        self._layout = Layout((Range(options.function_params, options.bits),))
        self._shares = shared(self._values, options.aggregators)
        self._large = shared(source.integers(0, top, (n, options.params), dtype=np.uint64), options.aggregators)

    def _same(self, result: Result, exact: npt.NDArray[Any]) -> None:
        if not np.array_equal(result.values, exact):
            raise ValueError("the parties' result is not numpy's")

    def sum_small(self) -> None:
        """CrypTen's own sum of the functions' vectors."""
        self._same(self._parties.mpc_sum(self._shares), self._values.sum(axis=0))

    def sum_large(self) -> None:
        """CrypTen's own sum of the long vectors."""
        self._parties.mpc_sum(self._large)

    def norm(self) -> None:
        """Who is in range and within the bound, and their sum."""
        found = self._parties.norm_bounded_sum(self._shares, self._layout, NormBound(self._squared, self._centre))
        self._same(found, self._values[self._within].sum(axis=0))

    def trimmed(self) -> None:
        """The middle values' sums."""
        ordered = np.sort(self._values, axis=0)[self._trim : len(self._values) - self._trim]
        self._same(self._parties.trimmed_mean(self._shares, self._layout, self._trim), ordered.sum(axis=0))

    def median(self) -> None:
        """The middle values."""
        n = len(self._values)
        ordered = np.sort(self._values, axis=0)[(n - 1) // 2 : n // 2 + 1]
        self._same(self._parties.median(self._shares, self._layout), ordered.sum(axis=0))


class _Rounds:
    """Whole rounds of ``function_params``; each method is one repetition."""

    def __init__(self, options: MpcOptions) -> None:
        self._k, self._trim = options.aggregators, trim_for(options.clients)
        self._bits, self._n = options.bits, options.clients
        rows = drawn(options.clients, options.function_params)
        self.refused = 0
        if options.clients >= _SPARE:
            rows[0] = np.clip(_POISONED * rows[0], -_CLIP, _CLIP)
            self.refused = 1
        self._bound = round(1000 * _BOUND * float(np.linalg.norm(rows[1])))
        self._updates = {f"client-{place:02d}": [row] for place, row in enumerate(rows)}

    def _aggregate(self, backend: str, fewest: int, **options: int) -> RoundResult:
        return aggregate(
            self._updates,
            backend=backend,
            options={rules.AGGREGATORS: self._k} | options,
            bits=self._bits,
            clip=_CLIP,
            min_clients=fewest,
        )

    def additive(self) -> None:
        """A sum without any check of the updates."""
        self._aggregate("additive", 3)

    def norm(self) -> None:
        """The norm-bounded sum."""
        found = self._aggregate("crypten", 3, **{rules.NORM_BOUND: self._bound})
        if len(found.participants) != self._n - self.refused:
            raise ValueError(f"{len(found.participants)} participants, not {self._n - self.refused}")

    def proved(self) -> None:
        """The sum of masked updates, each proved to be within the same bound: the long one is scaled to it."""
        aggregate(
            self._updates,
            bits=self._bits,
            clip=_CLIP,
            norm_bound=self._bound / 1000,
            min_clients=3,
        )

    def trimmed(self) -> None:
        """The trimmed mean."""
        chosen = {rules.FUNCTION: rules.TRIMMED_MEAN, rules.TRIM: self._trim}
        self._aggregate("crypten", 2 * self._trim + 1, **chosen)

    def median(self) -> None:
        """The median."""
        self._aggregate("crypten", 3, **{rules.FUNCTION: rules.MEDIAN})


_NAMES: Final = {"norm": "norm check and sum", "trimmed": "trimmed mean", "median": "median"}


def rows(options: MpcOptions) -> list[Row]:
    """The engine's jobs in turn, then whole rounds in turn."""
    federation = federation_for(options, options.params)
    updates = drawn(options.clients, options.params)
    with Parties(options.aggregators) as parties:
        engine = _Engine(options, parties)
        jobs: dict[str, Callable[[], object]] = {
            "sum_small": engine.sum_small,
            "norm": engine.norm,
            "trimmed": engine.trimmed,
            "median": engine.median,
            "sum_large": engine.sum_large,
            "additive": lambda: measure(federation, updates),
        }
        computed = interleaved(jobs, options.repeat)
    rounds = _Rounds(options)
    whole = interleaved(
        {
            "additive": rounds.additive,
            "norm": rounds.norm,
            "proved": rounds.proved,
            "trimmed": rounds.trimmed,
            "median": rounds.median,
        },
        options.repeat,
    )
    return [*_engine_rows(options, computed), *_round_rows(options, whole, rounds.refused)]


def _trimmed(options: MpcOptions) -> str:
    return f"without the {trim_for(options.clients)} least and greatest"


def _engine_rows(options: MpcOptions, samples: dict[str, Samples]) -> list[Row]:
    k, n = options.aggregators, options.clients
    found = [
        Row.timed(
            "crypten.sum",
            "crypten: clients' shares to the parties, MPCTensor, sum, reveal",
            samples["sum_large"],
            derived=1e9 * samples["sum_large"].median / (n * options.params),
            derived_unit="ns/value",
            peer=("additive: the whole verified round", samples["additive"]),
            note=f"{n} × {options.params:,}, {k} processes; nothing is sealed, signed or checked",
        )
    ]
    for key, name in _NAMES.items():
        found.append(
            Row.timed(
                f"crypten.{key}",
                f"crypten: {name}, the computation alone",
                samples[key],
                derived=1e9 * samples[key].median / (n * options.function_params),
                derived_unit="ns/value",
                peer=("MPCTensor, sum, reveal of the same", samples["sum_small"]),
                note=f"{n} × {options.function_params:,}, {k} parties and a provider"
                + (f"; {_trimmed(options)}" if key == "trimmed" else ""),
            )
        )
    return found


def _round_rows(options: MpcOptions, samples: dict[str, Samples], refused: int) -> list[Row]:
    notes = {
        "norm": f"{refused} of {options.clients} refused; verified",
        "trimmed": f"{_trimmed(options)}; attested",
        "median": "attested",
    }
    proved = Row.timed(
        "round.proved",
        "a whole round by default, norm bound proved",
        samples["proved"],
        derived=1e9 * samples["proved"].median / (options.clients * options.function_params),
        derived_unit="ns/value",
        peer=("crypten, a whole round with its norm check", samples["norm"]),
        note="longer updates are scaled; verified, with every proof",
    )
    return [
        proved,
        *_crypten_rows(options, samples, notes),
    ]


def _crypten_rows(options: MpcOptions, samples: dict[str, Samples], notes: dict[str, str]) -> list[Row]:
    return [
        Row.timed(
            f"round.{key}",
            f"crypten: a whole round, {name}",
            samples[key],
            derived=1e9 * samples[key].median / (options.clients * options.function_params),
            derived_unit="ns/value",
            peer=("additive, a whole round of the same", samples["additive"]),
            note=notes[key],
        )
        for key, name in _NAMES.items()
    ]
