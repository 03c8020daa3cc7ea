"""Nothing reaches SEAL, GMP or zstd that has not been read completely: fuzzed in a process that may die.

No sample may end that process, take its memory or its time, reach a library that refuses it, or raise what is not the
package's own; what is honest passes, and comes to the same.
"""

from __future__ import annotations

import base64
import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import support.native.mutations as mutations
import support.native.native_worker as native_worker

SHORT: Final = 60
"""Samples for each target in every run of the tests."""
LONG: Final = 2000
WAIT_S: Final = 60.0
"""Longest that a sample may take, on a machine that has other work."""


class Worker:
    """The process, and the honest samples by target."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.native.native_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._sink, self._source = self._process.stdin, self._process.stdout
        said = json.loads(self._source.readline() or "{}")
        self.seeds = {name: [base64.b64decode(seed) for seed in seeds] for name, seeds in said.items()}

    def judge(self, target: str, sample: bytes) -> tuple[str, str]:
        """The verdict on a sample; of a dead process, that."""
        which = list(self.seeds).index(target)
        try:
            self._sink.write(native_worker.REQUEST.pack(which, len(sample)) + sample)
            self._sink.flush()
        except BrokenPipeError:
            return "dead", f"exit code {self._process.wait()}"
        if not select.select([self._source], [], [], WAIT_S)[0]:
            return "stuck", f"no verdict within {WAIT_S:g} s"
        line = self._source.readline()
        if not line:
            return "dead", f"exit code {self._process.wait()}"
        verdict, said = json.loads(line)
        return verdict, said

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    running = Worker()
    yield running
    running.close()


def fuzz(worker: Worker, count: int, seed: int, folder: Path) -> None:
    honest = {(target, i): worker.judge(target, worker.seeds[target][i]) for target in worker.seeds for i in range(2)}
    assert {verdict for verdict, _ in honest.values()} == {"taken"}
    assert len(worker.seeds) >= 11
    for target, seeds in worker.seeds.items():
        rng = random.Random(f"{target} {seed}")
        verdicts = dict.fromkeys(("taken", "refused"), 0)
        for number in range(count):
            sample = mutations.mutate(rng, target, seeds)
            verdict, said = worker.judge(target, sample)
            if verdict not in verdicts:
                kept = folder / "sample"
                kept.write_bytes(sample)
                pytest.fail(f"{verdict}: {target}, sample {number} of seed {seed}, kept as {kept}: {said}")
            verdicts[verdict] += 1
        assert verdicts["refused"], target  # damage to Paillier's numbers mostly gives other ciphertexts
    for (target, i), before in honest.items():
        assert worker.judge(target, worker.seeds[target][i]) == before, "what is honest comes to the same as before"


def test_samples_of_every_kind_are_refused_or_taken_and_nothing_else(worker: Worker, tmp_path: Path) -> None:
    fuzz(worker, SHORT, 1, tmp_path)


@pytest.mark.fuzz
def test_many_samples(worker: Worker, tmp_path: Path) -> None:
    fuzz(worker, LONG, int(os.environ.get("SECURE_AGG_FUZZ_SEED", "2")), tmp_path)


@pytest.mark.parametrize("change", mutations.STREAM, ids=lambda change: str(change.__name__))
@pytest.mark.parametrize("target", ["bfv vector", "bfv sum", "ckks vector", "ckks sum", "ckks public key"])
def test_each_way_to_change_a_stream_of_seal_is_refused(worker: Worker, target: str, change: mutations.Change) -> None:
    """The last four or so bytes of a frame may change nothing; the other ways leave no ciphertext."""
    rng = random.Random(f"{target} {change.__name__}")
    data = worker.seeds[target][0]
    for _ in range(6):
        streams = mutations.streams_of(target, data)
        streams[-1] = change(rng, streams[-1])
        verdict, said = worker.judge(target, mutations.with_streams(target, data, streams))
        assert verdict == "refused" or (change is mutations.damaged_blocks and verdict == "taken"), said


@pytest.mark.parametrize("target", ["bfv vector", "ckks vector", "bfv public key"])
def test_what_is_packed_again_as_it_was_is_taken(worker: Worker, target: str) -> None:
    """The samples above are refused for what is in them, not for how the tests compress."""
    data = worker.seeds[target][0]
    streams = [mutations.stream(mutations.compressed(mutations.content(s))) for s in mutations.streams_of(target, data)]
    assert worker.judge(target, mutations.with_streams(target, data, streams))[0] == "taken"
