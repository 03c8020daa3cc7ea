"""Flower's commands as forks of one process that has imported them, instead of an interpreter for each.

Flower starts a process for every message of every node, and to import what one needs takes three seconds of a core:
most of a short run. `write_commands` writes programs of Flower's names into a folder for the front of ``PATH``. Each
hands its arguments, environment, folder and standard streams to the process that has imported everything already. That
one forks; the fork runs the command, and lives no longer than the program that asked.

A node that waits for a message asks for it every three seconds, and a round takes seven: here it asks sooner.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

COMMANDS: Final = {
    "flower-superlink": "flwr.superlink.cli:flower_superlink",
    "flower-supernode": "flwr.supernode.cli:flower_supernode",
    "flower-superexec": "flwr.supercore.cli:flower_superexec",
    "flwr-serverapp": "flwr.superlink.cli:flwr_serverapp",
    "flwr-clientapp": "flwr.supernode.cli:flwr_clientapp",
    "flwr": "flwr.cli.app:app",
}
"""What the installed programs of these names call."""
_LATER: Final = (
    "flwr.superlink.main",
    "flwr.supernode.main",
    "httpcore",
    "secure_agg.plugins.flower.grid",
    "mpc.shamir",
    "zk.functional",
    "zk.sketch_functional",
    "numba",
)
"""What the commands import when they need it."""
_STREAMS: Final = 3
_ASKING: Final = "flwr.supernode.start_client_internal"
_ASKING_S: Final = 0.1
_FAILED: Final = 1

_PROGRAM: Final = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"+"], [0, 1, 2])
    line.sendall(json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    status = line.makefile().readline()
sys.exit(int(status or {failed}))
"""


def write_commands(folder: Path, address: Path) -> None:
    """Write the programs, which ask the process that listens at an address."""
    folder.mkdir()
    for name in COMMANDS:
        program = folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, address=str(address), name=name, failed=_FAILED))
        program.chmod(0o700)


class _Clock:
    """``time``, but for long sleeps."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, _ASKING_S))


def _take_over(request: bytes, streams: list[int]) -> Callable[[], Any]:
    """In a fork: become the program that has asked. Returns what it calls."""
    name, arguments, folder, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name, *arguments]
    module, attribute = COMMANDS[name].split(":")
    called: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    return called


def serve(address: str) -> Callable[[], Any]:
    """Import what the commands need, and fork for each that is asked for. Returns in a fork: what that has to call."""
    for module in (*(place.partition(":")[0] for place in COMMANDS.values()), *_LATER):
        importlib.import_module(module)
    vars(importlib.import_module(_ASKING))["time"] = _Clock()
    selector = selectors.DefaultSelector()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    selector.register(listening, selectors.EVENT_READ)
    running: dict[int, tuple[int, socket.socket]] = {}  # process and line, by the descriptor that tells of its end

    def end(ending: int) -> None:
        process, line = running.pop(ending)
        _, status = os.waitpid(process, 0)
        selector.unregister(ending)
        selector.unregister(line)
        os.close(ending)
        with line, contextlib.suppress(OSError):
            line.sendall(b"%d\n" % (os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else _FAILED))

    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                line, _ = listening.accept()
                _, streams, _, _ = socket.recv_fds(line, 1, _STREAMS)
                with line.makefile("rb") as asked:
                    request = asked.readline()
                process = os.fork()
                if not process:
                    for held in (listening, selector, line, *(other for _, other in running.values())):
                        held.close()
                    return _take_over(request, streams)
                for stream in streams:
                    os.close(stream)
                ending = os.pidfd_open(process)
                running[ending] = process, line
                selector.register(ending, selectors.EVENT_READ)
                selector.register(line, selectors.EVENT_READ, ending)  # of which nothing comes now but its end
            elif key.fd in running:
                end(key.fd)
            elif key.data in running:
                os.kill(running[key.data][0], signal.SIGKILL)
                end(key.data)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1])())
