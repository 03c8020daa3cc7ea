"""Guides of several machines, which are folders and ports of this one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from documents.scenes import Scene

_HERE: Final = {
    "coordinator.example": "127.0.0.1",
    "0.0.0.0": "127.0.0.1",  # noqa: S104 - in the place of it
    "/opt/secure-agg/bin/": "",
    "/var/lib/secure-agg/server": "homes/server",
    "/var/lib/secure-agg/home": "home",
    "/opt/clinic/": "",
}
_UNIT: Final = r"""
$ unit() { sed -n '/^ExecStart=/,/[^\\]$/p' $1.service | sed -e 's/^ExecStart=//' -e '/[^\\]$/q'; }
"""
_OTHERS: Final = """
$ for clinic in bob cyd; do
    secure-agg client https://coordinator.example:8470 --home $clinic-home --command 'python train.py' --rounds ROUNDS &
  done
"""


@contextlib.contextmanager
def _short(_: Path) -> Iterator[Mapping[str, str]]:
    """A folder for Ray's sockets, whose names have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        yield {"OWN_FOLDER": name}


SCENES: Final = (
    Scene(
        "docs/service.md",
        ("A first round in five minutes",),
        names={"serve --home homes/server": "serve --home homes/server --listen 127.0.0.1:8470"},
        needs=("uvicorn",),
        long=True,
    ),
    Scene(
        "docs/service.md",
        ("Three machines and more", "As systemd units", "Operators, epochs, several tasks"),
        before="$ for clinic in bob cyd dan; do secure-agg keygen $clinic --out $clinic.key > $clinic.pub; done",
        steps={
            "$ secure-agg trust show trust.json": "$ cp homes/trust.json .",
            "$ secure-agg serve --home homes/server --listen 0.0.0.0:8470 &": """
$ for clinic in bob cyd; do secure-agg federation join $clinic-home --name $clinic --identity $clinic.key \\
    --trust trust.json --task risk --start-model start.npz; done
""",
            "$ secure-agg client https://coordinator.example:8470 --home home --command 'python train.py' --rounds 3": (
                _OTHERS.replace("ROUNDS", "3")
            ),
            # The units' own commands go on from here.
            "$ secure-agg federation propose home --join dan=$(public dan) --url https://coordinator.example:8470": (
                "$ wait %2 %3; kill %1; wait %1\n" + _UNIT + '$ eval "$(unit secure-agg)" 2> service.log &\n'
            ),
            "$ secure-agg federation status trust.json --name dan --identity dan.key "
            "--url https://coordinator.example:8470": """
$ secure-agg federation approve $digest --home bob-home --url https://coordinator.example:8470
""",
            "$ secure-agg federation status trust.json --name dan --identity dan.key "
            "--url https://coordinator.example:8470 \\": _OTHERS.replace("ROUNDS", "1")
            + """
$ eval "$(unit clinic | sed 's/rounds 20/rounds 1/')"
…ann: round 3 of 'risk' is verified
$ wait %2 %3
""",
        },
        after="$ secure-agg federation status dan-home\nepoch    1, in force\nmembers  4",
        names=_HERE,
        needs=("uvicorn",),
        long=True,
    ),
    Scene(
        "docs/deployment.md",
        ("Real deployments",),
    ),
    Scene(
        "docs/deployment.md",
        ("A federation that changes",),
        steps={
            "$ secure-agg federation status homes/server --epochs risk.epochs": """
$ secure-agg serve --home homes/server --listen 127.0.0.1:8470 --rounds 1 2> service.log &
$ python -c "import numpy; numpy.save('update.npy', numpy.ones(4))"
$ for clinic in ann bob cyd dan; do
    secure-agg client https://127.0.0.1:8470 --home homes/clients/$clinic --update update.npy --out $clinic &
  done; wait %2 %3 %4 %5
""",
        },
        after="$ secure-agg federation status home\nepoch    1, in force",
        needs=("uvicorn",),
        long=True,
    ),
    Scene(
        "docs/executors.md",
        ("A cluster of Ray",),
        # It stays a child of the shell, and so ends with it; whoever asks for it waits until it is there.
        names={
            "ray start --head --port 6379": "ray start --head --node-ip-address 127.0.0.1 --port 6379 --num-cpus 2 "
            "--include-dashboard false --disable-usage-stats --temp-dir OWN_FOLDER --block > ray.log 2>&1 &"
        },
        steps={
            "import numpy as np": """
$ timeout 300 grep -q -m 1 'runtime started' <(tail -f -n +1 ray.log)
"""
        },
        world=_short,
        needs=("ray",),
        long=True,
    ),
    Scene("docs/three-machines.md", by="tests/installs/test_three_machines.py"),
)
