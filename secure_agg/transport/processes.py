"""Operators as processes on this machine, for tests, demonstrations and measurements.

Each is ``secure-agg … serve`` as an operator would run it, on a free loopback port. They end with the ``with`` block,
and with this process, however it ends: their standard input is a pipe that only this process holds, and they end when
it does.

One machine that runs all operators protects nobody's update from its owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg.errors import ConfigError, OperatorLost
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.channel import Endpoint
from secure_agg.transport.credentials import CONNECT, OperatorCard, OperatorKeys
from secure_agg.transport.share_holders import share_holder_card

START_S: Final = 60.0
_STOP_S: Final = 15.0
_MAX_READY: Final = 4096
_MAX_LOG_SHOWN: Final = 400


@dataclass(frozen=True)
class Start:
    """How an operator's process is started.

    Attributes:
        card: the operator's.
        folder: its own: keys, store, and ``stderr.log``.
        command: ``secure-agg``'s arguments, but for where it listens.
    """

    card: OperatorCard
    folder: Path
    command: tuple[str, ...]


class OperatorProcess:
    """One running operator.

    Attributes:
        name: id of the operator.
        card: its card.
        folder: its own: keys, store, and ``stderr.log``.
    """

    def __init__(self, start: Start) -> None:
        """Starts the process; ``wait`` tells when it is ready."""
        self.name, self.card, self.folder = start.card.name, start.card, start.folder
        self._command = start.command
        self._address = "127.0.0.1:0"
        self._process = self._start()

    def __repr__(self) -> str:
        return f"OperatorProcess({self.name!r}, {self._address}, pid={self.pid})"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; also after a restart."""
        return Endpoint(self._address, self.card)

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return (self.folder / "stderr.log").read_text("utf-8", "replace")

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "secure_agg", *self._command, "--listen", self._address, "--until-eof"]
        with (self.folder / "stderr.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command under our own interpreter
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A group of its own: an interrupt from the terminal is this process's to handle. Not a session of its
                # own: should this process end while a child is stopped, the kernel ends the child (SIGHUP, SIGCONT).
                process_group=0,
            )

    def wait(self, timeout: float = START_S) -> None:
        """Wait until it takes messages.

        Raises:
            OperatorLost: it has ended, or is not ready within the time; quotes its log.
        """
        source = self._process.stdout
        line = b""
        until = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            if source is not None:
                selector.register(source, selectors.EVENT_READ)
            while not line.endswith(b"\n") and len(line) < _MAX_READY and source is not None:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise OperatorLost(f"not ready within {timeout:g} s", phase=CONNECT, culprit=self.name)
                more = os.read(source.fileno(), _MAX_READY)
                if not more:
                    said = " ".join(self.log.split())[-_MAX_LOG_SHOWN:]
                    raise OperatorLost(f"it ended before it was ready: {said}", phase=CONNECT, culprit=self.name)
                line += more
        self._address = str(json.loads(line)["address"])

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL), and reap it."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end (SIGTERM), reap it, and return its exit code; kills it if it takes longer than 15 s."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start it again on the same port and store, and wait until it takes messages.

        Raises:
            ConfigError: it is running.
            OperatorLost: see ``wait``.
        """
        if self._process.poll() is None:
            raise ConfigError(f"{self.name!r} is running")
        self._process = self._start()
        self.wait()

    def _end(self, number: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)  # a stopped process ends too
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return self._process.wait()


@contextlib.contextmanager
def operator_processes(starts: Iterable[Start]) -> Iterator[dict[str, OperatorProcess]]:
    """Start operators and wait until all take messages; end and reap all of them afterwards.

    Yields:
        The processes by id.

    Raises:
        OperatorLost: one did not start; quotes its log.
    """
    with contextlib.ExitStack() as stack:
        running = {}
        for start in starts:
            process = running[start.card.name] = OperatorProcess(start)
            stack.callback(process.stop)
        for process in running.values():
            process.wait()
        yield running


@contextlib.contextmanager
def aggregator_processes(
    keys: Sequence[OperatorKeys], coordinator: OperatorCard, trust: Trust
) -> Iterator[dict[str, OperatorProcess]]:
    """Start aggregators, with their keys and stores in a private temporary folder; see ``operator_processes``.

    Args:
        keys: of the aggregators, as from ``OperatorKeys.generate(name, share_holder=True)``.
        coordinator: card of who will connect.
        trust: what all of them have pinned: the tasks, and as operators these aggregators and the coordinator.

    Yields:
        The processes by id.

    Raises:
        OperatorLost: one did not start; quotes its log.
    """
    with tempfile.TemporaryDirectory(prefix="secure-agg-") as name:  # mode 0700
        root = Path(name)
        passphrase = secrets.token_urlsafe(24)
        (root / "passphrase").touch(0o600)
        (root / "passphrase").write_text(passphrase)
        (root / "coordinator.card").write_bytes(coordinator.to_bytes())
        trust.save(root / "trust.json")
        files = {"trust": "trust.json", "coordinator": "coordinator.card", "passphrase-file": "passphrase"}
        common = [word for option, file in files.items() for word in (f"--{option}", str(root / file))]
        starts = []
        for number, own in enumerate(keys):
            folder = root / str(number)
            folder.mkdir(0o700)
            keyfile.save(folder / "operator.key", own, passphrase)
            starts.append(Start(share_holder_card(own), folder, ("aggregator", "serve", str(folder), *common)))
        with operator_processes(starts) as running:
            yield running
