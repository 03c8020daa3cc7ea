"""Seconds that a round takes under Flower's own processes: plain, by its messages, and over a channel.

    python -m benchmarks.plugins.wall --train-s 30

A SuperLink and three SuperNodes on this machine; every message is a process of Flower's. It is no suite: a run takes
minutes, most of them in Flower's queues, and needs ports. Rounds after the first are shown: in the first one nodes also
say who they are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

APP: Final = Path(__file__).with_name("app")
NODES: Final = 3
KINDS: Final = ("plain", "channel", "messages")
_BIN: Final = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _words(config: Mapping[str, object]) -> str:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())


@contextmanager
def _process(folder: Path, name: str, environment: Mapping[str, str], *command: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [str(_BIN / command[0]), *command[1:]],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def rounds(kind: str, folder: Path, options: argparse.Namespace) -> list[float]:
    """Seconds of each round of a run."""
    folder.mkdir()
    superlink, channel, *own = free_ports(2 + NODES)
    environment = os.environ | {
        "FLWR_HOME": str(folder / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
    }
    (folder / "flwr").mkdir()
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{superlink}"\ninsecure = true\n'
    )
    config: dict[str, object] = {
        "nodes": NODES, "params": options.params, "rounds": options.rounds, "train-s": options.train_s,
        "times": str(folder / "times.json"),
    }  # fmt: skip
    names = [f"node-{number}" for number in range(NODES)]
    if kind != "plain":
        federation.make(folder / "federation", names, Policy.default(NODES, clip=1.0, max_weight=100))
        config["home"] = str(folder / "federation" / "server")
    if kind == "channel":
        config["channel"] = f"127.0.0.1:{channel}"
    with _process(folder, "superlink", environment, "flower-superlink", "--insecure", "--host", "127.0.0.1",
                  "--port", str(superlink)):  # fmt: skip
        _await(superlink)
        nodes = []
        for number, name in enumerate(names):
            node: dict[str, object] = {"partition-id": number}
            if kind != "plain":
                node["secure-agg-home"] = str(folder / "federation" / "clients" / name)
            if kind == "channel":
                node["secure-agg-channel"] = f"https://127.0.0.1:{channel}"
            nodes.append(
                _process(
                    folder, name, environment, "flower-supernode", "--insecure", "--superlink",
                    f"127.0.0.1:{superlink}", "--host", "127.0.0.1", "--port", str(own[number]),
                    "--node-config", _words(node),
                )
            )  # fmt: skip
        with nodes[0], nodes[1], nodes[2], (folder / "run.log").open("wb") as log:
            subprocess.run(  # noqa: S603 - our own command
                [str(_BIN / "flwr"), "run", str(APP), "here", "--stream", "--run-config", _words(config)],
                env=environment, stdout=log, stderr=log, timeout=options.limit_s, check=True,
            )  # fmt: skip
    times: list[float] = json.loads((folder / "times.json").read_text())
    return times


def _await(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("no SuperLink listens")


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-s", type=float, default=30.0, metavar="S", help="seconds to train (%(default)s)")
    parser.add_argument("--params", type=int, default=100_000, metavar="N", help="parameters (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="of each kind (%(default)s)")
    parser.add_argument("--limit-s", type=float, default=1800.0, metavar="S", help="most for a run (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="secure-agg-wall-") as temporary:
        for kind in options.kinds:
            found = rounds(kind, Path(temporary) / kind, options)
            load = os.getloadavg()[0]
            later = found[1:] or found
            print(json.dumps({"kind": kind, "seconds": found, "later": median(later), "load": load}), flush=True)


if __name__ == "__main__":
    main()
