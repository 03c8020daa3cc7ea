"""A service, members in a few processes, and what their rounds take."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.timing import Samples
from secure_agg.fl.model_files import start_digest
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

_PATIENCE_S: Final = 1800


@dataclass(frozen=True)
class Measured:
    """What rounds over the service have taken.

    Attributes:
        members: of the federation.
        round_s: seconds from one result to the next, the last member's, without the first.
        service_s: the service's processor seconds, by round, all of its life included.
        received: bytes from one member in a round.
    """

    members: int
    round_s: Samples
    service_s: float
    received: float


def measure(members: int, params: int, rounds: int, processes: int) -> Measured:
    """Make a federation, start everybody, and measure ``rounds`` rounds after a first one."""
    names = [f"member-{number:04d}" for number in range(members)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "start.npy", np.zeros(params, np.float32))
        start = start_digest({"array": np.zeros(params, np.float32)})
        federation.make(place / "homes", names, Policy.default(members, clip=1.0), start_model=start)
        return _measured(place, names, params, 1 + rounds, processes)


def _measured(place: Path, names: Sequence[str], params: int, rounds: int, processes: int) -> Measured:
    command = [sys.executable, "-m", "secure_agg", "serve", "--home", str(place / "homes" / "server")]
    command += ["--model", str(place / "start.npy"), "--listen", "127.0.0.1:0", "--monitor", "127.0.0.1:0"]
    command += ["--rounds", str(rounds), "--gather-seconds", "600", "--away-seconds", "600"]
    with (place / "log").open("wb") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)  # noqa: S603 - our own
    try:
        ready = json.loads(service.stdout.readline() if service.stdout else b"")
        ended = _members(place, f"https://{ready['address']}", names, params, rounds, processes)
        with urllib.request.urlopen(f"http://{ready['monitor']}/metrics", timeout=60) as answer:
            metrics = answer.read().decode()
    finally:
        service.terminate()
        _, _, used = os.wait4(service.pid, 0)
        service.returncode = 0
        if service.stdout is not None:
            service.stdout.close()
    last = [max(times[number] for times in ended) for number in range(rounds)]
    received = sum(map(float, re.findall(r"^secure_agg_received_bytes_total\{.*\} (.*)$", metrics, re.MULTILINE)))
    return Measured(
        len(names),
        Samples(tuple(after - before for before, after in itertools.pairwise(last))),
        (used.ru_utime + used.ru_stime) / rounds,
        received / rounds / len(names),
    )


def _members(
    place: Path, url: str, names: Sequence[str], params: int, rounds: int, processes: int
) -> list[list[float]]:
    command = [sys.executable, "-m", "benchmarks.service.members", url, str(place / "homes" / "clients")]
    command += [str(params), str(rounds)]
    running = [
        subprocess.Popen(  # noqa: S603 - our own
            [*command, *names[start::processes]],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for start in range(processes)
    ]
    try:
        said = [process.communicate(timeout=_PATIENCE_S)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(process.returncode for process in running):
        raise RuntimeError(f"members have failed; the service: {(place / 'log').read_text()[-2000:]}")
    return [times for text in said for times in json.loads(text)]
