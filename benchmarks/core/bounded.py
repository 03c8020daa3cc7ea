"""What a norm bound costs a client of a whole round, and who checks its result: the same round with and without one.

By processor time of all threads: what is compared runs in turn, so ratios hold on a busy machine too.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.federation import Federation, Options, update
from benchmarks.limits import Limits
from benchmarks.measure.cells import CLIENT
from benchmarks.measure.recording import record
from benchmarks.results import Row, Target
from benchmarks.timing import interleaved
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor

ROOM: Final = 1.05
"""The bound, in norms of the update that everybody has."""
_LONGEST: Final = 1000.0
"""The update's norm at most: sums of sketches have room for so much of so many clients."""
_MOST_RATIO: Final = 1.6
_MOST_BYTES: Final = 110_000
"""That a bound adds to all that a client sends: a proof, a commitment and a signature."""


def rows(options: Options) -> list[Row]:
    """A client of K + 1, from its invitation to its masked input; the check of the result, by a client and by somebody
    who has all proofs; and what a client sends.
    """
    values, clients = update(options.params), options.neighbours + 1
    values *= np.float32(min(1.0, _LONGEST / float(np.linalg.norm(values))))
    norm = float(np.linalg.norm(values.astype(np.float64)))
    operations: dict[str, Callable[[], object]] = {"sha256": Limits(values).sha256}
    sent = {}
    for name, bound in (("bounded", ROOM * norm), ("unbounded", None)):
        chosen = {"screening": 0}  # a suite of its own
        federation = Federation.of(clients, options.params, options.bits, options=chosen, norm_bound=bound)
        recording, measured = record(federation, values)
        operations[f"{name}.client"] = functools.partial(recording.replay, values)
        auditor, evidence = Auditor(federation.trust), measured.evidence
        operations[f"{name}.audit"] = functools.partial(auditor.verify, evidence)
        operations[f"{name}.result"] = functools.partial(auditor.verify, Evidence.from_bytes(evidence.to_bytes()))
        sent[name] = measured.sent(CLIENT)
    samples = interleaved(operations, options.repeat, time.process_time)
    note = f"complete graph of {clients} clients; processor time of all threads"
    without = "the same without a norm bound"
    proofs = samples["bounded.audit"].less(samples["bounded.result"]).scaled(1 / clients)
    return [
        Row.timed(
            "bounded.client",
            "norm bound: client, joining to masked input",
            samples["bounded.client"],
            peer=(without, samples["unbounded.client"]),
            targets=(Target("ratio", _MOST_RATIO),),
            note=note,
        ),
        Row.timed(
            "bounded.result",
            "norm bound: the result checked, by a client",
            samples["bounded.result"],
            peer=(without, samples["unbounded.result"]),
            note=note,
        ),
        Row.timed(
            "bounded.audit",
            "norm bound: the result checked, with all proofs",
            samples["bounded.audit"],
            peer=(without, samples["unbounded.audit"]),
            note=note,
        ),
        Row.timed(
            "bounded.proofs",
            "norm bound: all proofs checked, for each client",
            proofs,
            peer=("SHA-256 of the update", samples["sha256"]),
            note=note,
        ),
        Row(
            key="bounded.sent",
            name="norm bound: more bytes that a client sends",
            unit="bytes",
            median=sent["bounded"] - sent["unbounded"],
            targets=(Target("median", _MOST_BYTES),),
        ),
    ]
