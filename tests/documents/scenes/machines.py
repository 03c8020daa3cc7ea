"""Guides of several machines, which are folders and ports of this one."""

from __future__ import annotations

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
        names={', address="auto"': ""},  # one of its own, which nobody else reaches
        needs=("ray",),
        long=True,
    ),
    Scene("docs/three-machines.md", by="tests/documents/test_three_machines.py"),
)
