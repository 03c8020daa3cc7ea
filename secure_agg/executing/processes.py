"""An executor whose workers are processes of this machine.

They are plain children that run ``worker``, with this process's module path: ``multiprocessing`` would run the user's
main module again, or fork under other libraries' threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any, Final

from mpc import parallel
from secure_agg.errors import ExecutorError, WorkerLost
from secure_agg.executing import worker as script
from secure_agg.executing.carrying import Line
from secure_agg.executing.executor import LEAST, check_workers
from secure_agg.executing.pool import Pool, Worker

HANDING: Final = 10.0
"""Measured (docs/performance.md): the lattice hash, some 8 additions a coordinate, is not worth being handed over."""


class Processes(Pool):
    """Workers on this machine; by default one for each core. Each uses its part of the cores."""

    def __init__(self, workers: int | None = None, *, least: int = LEAST, handing: float = HANDING) -> None:
        """
        Args:
            workers: how many.
            least, handing: see ``Executor``.

        Raises:
            ConfigError: a number out of range.
        """
        count = parallel.cores() if workers is None else check_workers(workers)
        super().__init__(count, least=least, handing=handing, cores=max(1, parallel.cores() // count))

    @staticmethod
    def _start() -> Worker:
        return _Process()


class _Process(Worker):
    def __init__(self) -> None:
        if not sys.executable:
            raise ExecutorError("it is not known which interpreter runs this, so that no other can be started")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script under our own interpreter
                [sys.executable, "-P", script.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # an interrupt from the terminal is this process's to handle
            )
        except OSError as error:
            raise ExecutorError(f"a worker process can't be started: {error.strerror}") from error
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise ExecutorError("a worker process without pipes")
        self._line = Line(source, sink, self._process.pid)
        self._line.shares = self._line.shares and os.access(f"/proc/{os.getpid()}/fd", os.R_OK | os.X_OK)
        with contextlib.suppress(OSError):  # one that has ended is found out with the first call
            sink.write(json.dumps(sys.path).encode() + b"\n")

    def ask(self, call: tuple[str, Any]) -> tuple[bool, Any]:
        """Through the pipe."""
        try:
            self._line.send(call)
            answer: tuple[bool, Any] = self._line.receive()
        except (EOFError, OSError) as error:
            raise WorkerLost(f"a worker process is gone ({error})") from error
        return answer

    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def end(self) -> None:
        """Kill it: it holds nothing that is not here too, or is lost anyway."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._line.close()
        self._process.wait()
