"""The usual way of adding up secret vectors with CrypTen 0.4.1: an ``MPCTensor`` of each in real processes, all added,
the sum revealed.

The processes are CrypTen's own parties with its own generators, over gloo on the loopback interface. They hold the
vectors: each is shared from one of them in turn (``crypten.cryptensor(x, src=…)``), so nothing has to be brought to
them, and nothing is signed, committed to or checked. Values are integers with ``precision=0``: the sum is exact, as
ours is. Starting the processes is not counted.

``python -m benchmarks.mpc.peer`` is one of these processes; ``CryptenSum`` starts them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from benchmarks.timing import Samples

_VALUES: Final = 1 << 16
_READY_S: Final = 120.0
_STAGES: Final = ("share", "add", "reveal")


class PeerFailed(RuntimeError):
    """A process of the peer has ended or says nothing; with what it wrote last."""


class CryptenSum:
    """The processes, as a context manager; ``repeat`` is one repetition.

    Attributes:
        seconds: of the repetitions so far, by stage: share, add, reveal.
    """

    def __init__(self, parties: int, clients: int, params: int) -> None:
        self._size = (parties, clients, params)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.seconds: dict[str, list[float]] = {stage: [] for stage in _STAGES}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="secure-agg-bench-")
        folder = Path(self._folder.name)
        parties, clients, params = self._size
        sizes = ["--parties", str(parties), "--clients", str(clients), "--params", str(params)]
        try:
            for rank in range(parties):
                command = [sys.executable, "-m", "benchmarks.mpc.peer", "--rank", str(rank), *sizes]
                with (folder / f"log-{rank}").open("wb") as log:
                    self._processes.append(
                        subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
                            [*command, "--rendezvous", (folder / "rendezvous").as_uri()],
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            stderr=log,
                        )
                    )
            self.repeat()
            for seconds in self.seconds.values():
                seconds.clear()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
        self._folder.cleanup()

    def repeat(self) -> None:
        """Share all vectors, add them up, reveal the sum.

        Raises:
            PeerFailed: it didn't come to that.
        """
        try:
            for process in self._processes:
                if process.stdin is not None:
                    process.stdin.write(b"\n")
                    process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailed(f"a process has ended: {self._log()}") from None
        answer = self._processes[0].stdout
        if answer is None or not select.select([answer], [], [], _READY_S)[0]:
            raise PeerFailed(f"no answer within {_READY_S:g} s: {self._log()}")
        line = answer.readline()
        if not line:
            raise PeerFailed(f"a process has ended: {self._log()}")
        for stage, seconds in zip(_STAGES, json.loads(line), strict=True):
            self.seconds[stage].append(seconds)

    def _log(self) -> str:
        return Path(self._folder.name, "log-0").read_text("utf-8", "replace").strip()[-400:]

    def samples(self, *stages: str) -> Samples:
        """Seconds of these stages together, repetition by repetition."""
        return Samples(tuple(map(sum, zip(*(self.seconds[stage] for stage in stages), strict=True))))


def _crypten() -> Any:
    """CrypTen as it is published, but for a stand-in for what PyTorch no longer has."""
    name = "torch.onnx._internal.registration"
    stand_in = types.ModuleType(name)
    stand_in.registry = None  # type: ignore[attr-defined]
    sys.modules.setdefault(name, stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crypten: Any = importlib.import_module("crypten")
        crypten.init()
    return crypten


def _serve(rank: int, parties: int, clients: int, params: int) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    crypten = _crypten()
    vectors = [np.random.default_rng(client).integers(0, _VALUES, params) for client in range(clients)]
    tensors = [torch.from_numpy(vector) for vector in vectors]
    exact: Any = np.sum(vectors, axis=0)

    def now() -> float:
        dist.barrier()
        return time.perf_counter()

    while sys.stdin.readline():
        times = [now()]
        shared = [crypten.cryptensor(x, src=place % parties, precision=0) for place, x in enumerate(tensors)]
        times.append(now())
        total = shared[0]
        for other in shared[1:]:
            total = total + other
        times.append(now())
        revealed = total.reveal()
        times.append(now())
        if not np.array_equal(revealed.numpy(), exact):
            raise PeerFailed("the sum is wrong")
        if rank == 0:
            sys.stdout.write(json.dumps([after - before for before, after in itertools.pairwise(times)]))
            sys.stdout.write("\n")
            sys.stdout.flush()


def main() -> None:
    """One process."""
    parser = argparse.ArgumentParser()
    for name in ("rank", "parties", "clients", "params"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rendezvous", required=True)
    given = parser.parse_args()
    os.environ.update(
        RANK=str(given.rank),
        WORLD_SIZE=str(given.parties),
        RENDEZVOUS=given.rendezvous,
        DISTRIBUTED_BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo",
    )
    _serve(given.rank, given.parties, given.clients, given.params)


if __name__ == "__main__":
    main()
