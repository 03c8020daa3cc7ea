"""Flower's own processes on the loopback interface: a SuperLink, SuperNodes, and runs of an app on them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from support.chance.ports import free_port
from support.frameworks import flower_warm

APP = Path(__file__).with_name("flower_app")
_START_S = 60.0
_BIN = Path(sys.executable).parent


class Engine:
    """A SuperLink and its SuperNodes, as a context manager that leaves no process behind.

    Attributes:
        folder: of all logs: ``superlink.log``, ``<node>.log``, ``run.log``.
    """

    def __init__(self, folder: Path, nodes: Mapping[str, Mapping[str, object]], *, warm: bool = False) -> None:
        """``nodes``: the node's own configuration, by a name for its log. ``warm``: processes are forks of one."""
        self.folder = folder
        self._warm = warm
        self._sockets = Path(tempfile.mkdtemp())  # a socket's path is short
        self._nodes = nodes
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = free_port()

    def __enter__(self) -> Self:
        home = self.folder / "flwr"
        home.mkdir(parents=True)
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{self._port}"\ninsecure = true\n'
        )
        self._environment = {
            **os.environ,
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
        }
        try:
            if self._warm:
                self._warm_up()
            self._start("superlink", "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(self._port))
            self._await("superlink", self._listens)
            for name, config in self._nodes.items():
                self.start_node(name, config)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        shutil.rmtree(self._sockets)

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with its children it is one group, which is killed as one
            )
        return self._processes[name]

    def _warm_up(self) -> None:
        """Let Flower's commands be forks of one process, which has imported what they need."""
        programs, address = self.folder / "bin", self._sockets / "warm"
        flower_warm.write_commands(programs, address)
        self._environment["OPENBLAS_NUM_THREADS"] = "1"  # a process with threads is no good to fork
        self._environment["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] = "0.1"
        self._start("warm", sys.executable, flower_warm.__file__, str(address))
        self._await("warm", address.exists)
        self._environment["PATH"] = f"{programs}{os.pathsep}{self._environment['PATH']}"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _await(self, name: str, is_ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_S
        while not is_ready():
            if time.monotonic() > end or self._processes[name].poll() is not None:
                raise AssertionError(f"no {name} listens:\n{self.log(name)}")
            time.sleep(0.1)

    def start_node(self, name: str, config: Mapping[str, object]) -> None:
        """Start a SuperNode; under a name that was killed it is that node, started again."""
        values = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        self._start(
            name, "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self._port}",
            "--host", "127.0.0.1", "--port", str(free_port()), "--node-config", values,
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """End a process and all that it has started, as a power cut would."""
        process = self._processes.pop(name)
        if process.poll() is not None:
            return
        family = psutil.Process(process.pid).children(recursive=True)  # some lead groups of their own
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def run(
        self,
        config: Mapping[str, object],
        *,
        timeout_s: float,
        watch: Callable[[str], None] | None = None,
        app: Path = APP,
    ) -> str:
        """Run the app to its end, and return its log.

        Args:
            config: the run's, beside what the app itself sets.
            timeout_s: of the whole run.
            watch: is given the log whenever it has grown.
            app: its folder.

        Raises:
            AssertionError: the run has failed, or takes too long; with the log.
        """
        values = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        process = self._start("run", "flwr", "run", str(app), "here", "--stream", "--run-config", values)
        end = time.monotonic() + timeout_s
        while process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"the run takes longer than {timeout_s:g} s:\n{self.log('run')}")
            time.sleep(0.1)
            if watch:
                watch(self.log("run"))
        self._processes.pop("run")
        if process.returncode:
            raise AssertionError(f"flwr run has failed:\n{self.log('run')}\n{self.log('superlink')}")
        listing = subprocess.run(
            ["flwr", "ls", "here", "--format", "json"],  # noqa: S607 - in PATH
            env=self._environment, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        status = json.loads(listing.stdout)["runs"][0]["status"]
        if status != "finished:completed":
            raise AssertionError(f"the run is {status}:\n{self.log('run')}\n{self.log('superlink')}")
        return self.log("run")

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")
