"""Peak memory, each in a fresh process that runs nothing else (Linux: the peak is reset through /proc).

*Client.* A real round of three clients runs in the parent, which remembers what the first client was sent. The
measured process replays a small recording to compile and warm everything, makes the float32 update, resets its peak,
and replays the large recording: the real client from joining to its masked input, and no other party. Peak minus
memory in use before is the growth.

*Commitment.* The measured process commits to a short vector, makes the long one, resets its peak, and commits to it.
The public matrix is several times as large as the vector; it must not show.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.federation import FEWEST_CLIENTS, Federation, update
from benchmarks.measure.memory import growth, in_fresh_process
from benchmarks.measure.recording import Recording, record
from benchmarks.results import Row, Target
from mpc.ring import ELEMENT_BYTES
from zk import commitment

CLIENT_PARAMS: Final = 10_000_000
COMMIT_PARAMS: Final = 100_000_000
_WARM_PARAMS: Final = 1 << 18
_RANK: Final = 3
_MB: Final = 1_000_000


def _record(params: int) -> Recording:
    recording, _ = record(Federation.of(FEWEST_CLIENTS, params), update(params))
    return recording


def _client_growth(warm: Recording, recording: Recording, params: int) -> int:
    warm.replay(update(_WARM_PARAMS))
    values = update(params)
    return growth(lambda: recording.replay(values))


def _commit_growth(params: int) -> int:
    randomness = np.ones(commitment.randomness_length(_RANK), dtype=np.uint32)
    commitment.commit(np.ones(_WARM_PARAMS, dtype=np.uint32), randomness, _RANK)
    values = np.ones(params, dtype=np.uint32)
    return growth(lambda: commitment.commit(values, randomness, _RANK))


def rows(client_params: int = CLIENT_PARAMS, commit_params: int = COMMIT_PARAMS) -> list[Row]:
    """Both measurements. The sizes are fixed for the suite; tests use smaller ones."""
    client = in_fresh_process(_client_growth, _record(_WARM_PARAMS), _record(client_params), client_params)
    commit = in_fresh_process(_commit_growth, commit_params)
    client_mb, commit_mb = ELEMENT_BYTES * client_params / _MB, ELEMENT_BYTES * commit_params / _MB
    return [
        Row(
            key="memory.client",
            name=f"client: peak growth at {client_params:,} parameters",
            unit="MB",
            median=client,
            derived=_MB * client / client_params,
            derived_unit="B/param",
            peer="the float32 update",
            peer_median=client_mb,
            ratio=client / client_mb,
            targets=(Target("ratio", 4.0),),
            note="joining to masked input, over a warm process that holds the update",
        ),
        Row(
            key="memory.commit",
            name=f"commit: peak growth at {commit_params:,} parameters",
            unit="MB",
            median=commit,
            peer="the committed vector",
            peer_median=commit_mb,
            ratio=commit / commit_mb,
            targets=(Target("median", 8.0),),
            note="the matrix is made on the fly, never stored",
        ),
    ]
