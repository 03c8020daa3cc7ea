"""A client in a complete-graph round of K + 1 clients: what verification costs it, and its traffic."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from benchmarks.federation import Federation, Options, update
from benchmarks.limits import Limits
from benchmarks.measure.cells import CLIENT, RESULT
from benchmarks.measure.recording import record
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, timed
from secure_agg.backends.masking.rules import MASKED_INPUT


def rows(options: Options) -> list[Row]:
    """One whole round for the traffic; its first client, replayed, for the times.

    *Protecting* is the whole masked-input response: the peers' shares opened and checked, the masks added, the
    message serialised and signed. *Committing* includes drawing the randomness.
    """
    values = update(options.params)
    federation = Federation.of(options.neighbours + 1, options.params, options.bits)
    recording, measured = record(federation, values)
    sizes = {
        "upload": measured.sent(CLIENT),
        "download": sum(measured.received(CLIENT, phase) for phase in measured.phases),
        "result": measured.received(CLIENT, RESULT),
    }
    del measured
    machine = Limits(values)
    replays, floors = [], []
    for _ in range(options.repeat):
        replays.append(recording.replay(values).timings.seconds)
        floors.append(timed(functools.partial(machine.masking, options.neighbours)) + timed(machine.sha256))
    return [*_times(options, replays, Samples(tuple(floors))), *_traffic(options, sizes)]


def _times(options: Options, replays: list[dict[str, float]], floor: Samples) -> list[Row]:
    encode, commit, protect = (
        Samples(tuple(replay[name] for replay in replays)) for name in ("encode", "commit", MASKED_INPUT)
    )
    unverified = encode + protect
    cohort = f"complete graph of {options.neighbours + 1} clients"

    def per_parameter(samples: Samples) -> float:
        return 1e9 * samples.median / options.params

    return [
        Row.timed(
            "client.protect",
            "client: protect",
            protect,
            derived=per_parameter(protect),
            derived_unit="ns/param",
            peer=("K × (keystream + addition) and one SHA-256", floor),
            note=cohort,
        ),
        Row.timed(
            "client.verified",
            "client: encode, commit, protect",
            unverified + commit,
            derived=per_parameter(unverified + commit),
            derived_unit="ns/param",
            peer=("encode, protect", unverified),
            targets=(Target("ratio", 1.5),),
            note=cohort,
        ),
    ]


def _traffic(options: Options, sizes: Mapping[str, float]) -> list[Row]:
    cohort = f"all messages of a round of {options.neighbours + 1} clients, mean"

    def row(key: str, name: str, note: str, *targets: Target) -> Row:
        return Row(
            key=f"client.{key}",
            name=name,
            unit="bytes",
            median=sizes[key],
            derived=sizes[key] / options.params,
            derived_unit="B/param",
            targets=targets,
            note=note,
        )

    return [
        row("upload", "client: upload", cohort, Target("derived", 4.05)),
        row("download", "client: download", cohort),
        row("result", "client: result, with its evidence", ""),
    ]
