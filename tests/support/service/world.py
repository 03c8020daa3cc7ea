"""A federation on disk, its service as a process, and members that take part in threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.operating import nursery
from support.operating.nursery import Begun
from support.source_tree import ROOT

import secure_agg
from secure_agg import RoundResult, Session
from secure_agg.fl.layers import Layers
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import Policy
from secure_agg.service.server import begin

NAMES = ("ann", "bob", "cyd", "dan")
WEIGHTS = {"ann": 1, "bob": 2, "cyd": 3, "dan": 4}
TASK = "counts"
KILLED = ROOT / "tests" / "support" / "service" / "killed.py"
LYING = ROOT / "tests" / "support" / "service" / "lying.py"


OURS: Final = ("-m", "secure_agg")
"""What Python is given to be our command line."""


def start_model() -> dict[str, np.ndarray]:
    return {"a": np.zeros((2, 3)), "b": np.zeros(4, np.float32)}


def update(name: str) -> list[np.ndarray]:
    place = NAMES.index(name) + 1
    return [np.full((2, 3), place / 8), np.full(4, -place / 16, np.float32)]


def mean(names: Sequence[str]) -> list[np.ndarray]:
    """What the average of these members' updates should be."""
    total = sum(WEIGHTS[name] for name in names)
    return [sum(WEIGHTS[name] * update(name)[i].astype(np.float64) for name in names) / total for i in range(2)]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "PYTHONUNBUFFERED": "1"} | more


class Service:
    """A service's process, which the nursery begins unless it is a script's."""

    process: subprocess.Popen[bytes] | Begun

    def __init__(self, command: Sequence[str], log: Path, **more: str) -> None:
        self.log = log
        with log.open("ab") as file:
            if tuple(command[:2]) == OURS and not more:
                self.process = Begun(nursery.shared(), command[2:], file)
            else:
                self.process = subprocess.Popen(
                    [sys.executable, *command], env=environment(**more), stdout=subprocess.PIPE, stderr=file
                )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, log.read_text()
        self.ready: dict[str, Any] = json.loads(line)
        self.url = f"https://{self.ready['address']}"

    def ended(self, timeout: float = 300.0) -> int:
        """Wait for the process to end by itself."""
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()


class World:
    """A federation on disk."""

    def __init__(
        self, folder: Path, names: Sequence[str] = NAMES, *, rules: Mapping[str, Any] = {}, **changes: Any
    ) -> None:
        self.folder, self.names = folder, names
        self.policy = Policy.default(len(names), **{"clip": 1.0, "max_weight": 8, **changes})
        model = start_model()
        self.start_file = folder.parent / "start.npz"
        if not self.start_file.exists():
            np.savez(self.start_file, **model)
        digest = model_digest(Layers.of(model).floats(model))
        federation.make(folder, names, self.policy, task=TASK, parameters=10, **({"start_model": digest} | dict(rules)))
        self.server = folder / "server"
        with ServerHome.open(self.server) as home:
            begin(home, self.start_file)

    def home(self, name: str) -> Path:
        return self.folder / "clients" / name

    def serve(self, *options: str, listen: str = "127.0.0.1:0", killed: str = "", lie: str = "") -> Service:
        """Start the service; ``killed``: where it kills itself, ``lie``: what it lies about, see the files."""
        words = ("serve", "--home", str(self.server), "--listen", listen, "--gather-seconds", "0.5", *options)
        first = (str(KILLED), killed) if killed else (str(LYING), lie) if lie else OURS
        return Service((*first, *words), self.folder / "service.log")

    @contextmanager
    def served(self, *options: str, lie: str = "") -> Iterator[Service]:
        service = self.serve(*options, lie=lie)
        try:
            yield service
        finally:
            service.stop(signal.SIGKILL)

    def member(
        self, url: str, name: str, rounds: int, results: dict[str, list[RoundResult]], errors: dict[str, Exception]
    ) -> None:
        """Take part in rounds; results and what went wrong by name."""
        try:
            with secure_agg.connect(url, self.home(name), patience=300) as session:
                while len(results.setdefault(name, [])) < rounds:
                    results[name].append(session.contribute(update(name), WEIGHTS[name], timeout=900))
        except Exception as error:
            errors[name] = error

    @contextmanager
    def members(
        self, url: str, names: Sequence[str], rounds: int = 1
    ) -> Iterator[Callable[[], dict[str, list[RoundResult]]]]:
        """Members in threads; what is yielded waits for their results, and raises what went wrong."""
        results: dict[str, list[RoundResult]] = {}
        errors: dict[str, Exception] = {}
        threads = [
            threading.Thread(target=self.member, args=(url, name, rounds, results, errors), daemon=True)
            for name in names
        ]
        for thread in threads:
            thread.start()

        def wait() -> dict[str, list[RoundResult]]:
            for thread in threads:
                thread.join(900)
            for name, error in errors.items():
                raise AssertionError(f"{name} has failed; the service: {self.log()}") from error
            assert all(len(results.get(name, [])) == rounds for name in names), self.log()
            return results

        yield wait
        for thread in threads:
            thread.join(900)

    def log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text() if path.exists() else ""

    def session(self, url: str, name: str, patience: float = 60.0) -> Session:
        return secure_agg.connect(url, self.home(name), patience=patience)


@contextmanager
def a_world(names: Sequence[str] = NAMES, **changes: Any) -> Iterator[World]:
    """In memory where there is a file system for that: nothing here has to survive a power cut."""
    memory = "/dev/shm"  # noqa: S108 - the folder in it is made for its owner alone
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield World(Path(folder) / "federation", names, **changes)


def assert_is_mean(result: RoundResult) -> None:
    for found, wanted in zip(result.average, mean(result.participants), strict=True):
        assert np.allclose(found, wanted, atol=result.record.error_bound + 1e-9)
