"""What screening costs a client of ``masking``: a second pass over its masks, beside the first."""

from __future__ import annotations

from typing import Any, Final

import numpy.typing as npt

from benchmarks.federation import Federation, Options, update
from benchmarks.measure.recording import record
from benchmarks.results import Row, Target
from benchmarks.timing import Samples
from secure_agg.backends.masking.rules import CONFIRM_EDGES, MASKED_INPUT, SCREEN

_PARTS: Final = ("encode", "commit", MASKED_INPUT)
_MOST_RATIO: Final = 3.0


def rows(options: Options) -> list[Row]:
    """The first client of a round without screening and of one with it, replayed."""
    values = update(options.params)
    plain, screened = (_replayed(options, values, on) for on in (0, 1))
    without = sum((plain[name] for name in _PARTS[1:]), plain[_PARTS[0]])
    names = (*_PARTS, CONFIRM_EDGES, SCREEN)
    together = sum((screened[name] for name in names[1:]), screened[names[0]])
    note = f"complete graph of {options.neighbours + 1} clients"
    return [
        Row.timed(
            "client.screen",
            "client: report on masks",
            screened[SCREEN],
            derived=1e9 * screened[SCREEN].median / options.params,
            derived_unit="ns/param",
            note=note,
        ),
        Row.timed(
            "client.screened",
            "client: encode, commit, protect, report",
            together,
            derived=1e9 * together.median / options.params,
            derived_unit="ns/param",
            peer=("without screening", without),
            targets=(Target("ratio", _MOST_RATIO),),
            note=note,
        ),
    ]


def _replayed(options: Options, values: npt.NDArray[Any], on: int) -> dict[str, Samples]:
    """Seconds of the first client's phases."""
    federation = Federation.of(options.neighbours + 1, options.params, options.bits, options={"screening": on})
    recording, _ = record(federation, values)
    replays = [recording.replay(values).timings.seconds for _ in range(options.repeat)]
    return {name: Samples(tuple(replay[name] for replay in replays)) for name in replays[0]}
