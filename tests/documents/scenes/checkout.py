"""What is done in a checkout: the README's targets, and the examples. Trainings are as long as shows that they work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from documents.scenes import Scene
from documents.scenes.frameworks import IN_PLACE, NODE, SIMULATED, plain_link
from support.source_tree import ROOT

FILES: Final = ("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "MANIFEST.in")
PACKAGES: Final = ("secure_agg", "zk", "mpc")
SET_UP: Final = """\
$ pip() { test "$1" = install && command pip install --dry-run --quiet --no-index --no-build-isolation "${@:2}"; }
"""
"""What would be installed is here, all of it; nothing is fetched."""


@contextmanager
def checkout(folder: Path) -> Iterator[Mapping[str, str]]:
    """One that is set up, with this interpreter's packages, and with examples that are no others' to write to."""
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in PACKAGES:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    environment = folder / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("."):
            (environment / path.name).symlink_to(path)
    (environment / ".ready").touch()
    yield {}


def example(
    name: str, *sections: str, before: str = SET_UP, steps: Mapping[str, str] | None = None, after: str = "",
    names: Mapping[str, str] | None = None, needs: tuple[str, ...] = (),
) -> Scene:  # fmt: skip
    """That of the README of an example."""
    return Scene(
        f"examples/{name}/README.md",
        sections,
        before=before,
        steps=steps or {},
        after=after,
        names=names or {},
        world=checkout,
        needs=needs,
        long=True,
    )


def training(name: str, shorter: Mapping[str, str]) -> Scene:
    """Of an example that trains and draws what has come of it."""
    needs = ("matplotlib", "mlxtend", "statsmodels", "lifelines", "torch")
    return example(name, names=shorter, after=f"$ test -s OUT/{name}.json -a -s OUT/{name}.png", needs=needs)


OTHERS: Final = """\
$ for lab in north south; do cp federation/clients/east/statistics.toml federation/clients/$lab;
    node --insecure --superlink 127.0.0.1:9092 --node-config \\
    "secure-agg-home=\\"$PWD/federation/clients/$lab\\" secure-agg-table=\\"$PWD/$lab.csv\\"" & done
"""

SCENES: Final = (
    Scene(
        "README.md",
        ("Two commands",),
        names={"make test ": "make -n test "},  # which would run this
        after="$ secure-agg ledger audit demo-output/breast-cancer-1/rounds.db\nvalid: 10 rounds verified from scratch",
        world=checkout,
        needs=("sklearn", "matplotlib"),
        long=True,
    ),
    example("auditor"),
    training("compression", {"--rounds 60 --seeds 4": "--rounds 2 --seeds 1 --ways float64 'a tenth, 8 bits'"}),
    example(
        "flower-quickstart",
        before=SET_UP
        + """\
$ sed -i 's/num-server-rounds = 3/num-server-rounds = 1/' examples/flower-quickstart/pyproject.toml
$ sed -i 's/federation init /&--phase-seconds 600 /' examples/flower-quickstart/run.sh
""",
        needs=("flwr", "torch", "sklearn"),
    ),
    example(
        "flower-statistics",
        "In simulation",
        before=SET_UP + plain_link("--simulation") + SIMULATED,
        names={" 'flwr[simulation]'": "", **IN_PLACE},  # which pins a Ray; whichever is here does
        needs=("flwr", "ray", "lifelines"),
    ),
    example(
        "flower-statistics",
        "With processes",
        before=SET_UP + plain_link() + NODE + "$ cd examples/flower-statistics\n",
        names={"$ flower-supernode": "$ node"},
        steps={'$ flwr run . --stream --run-config "home=\\"$PWD/federation/server\\""': OTHERS},
        needs=("flwr", "lifelines"),
    ),
    training("health-insurance", {"run.py OUT": "run.py OUT --rounds 1 --backends additive plain"}),
    training("large-models", {"--threads 2": "--threads 2 --rounds 1 --width 64 --pretraining 2"}),
    training("mnist-skew", {"--rounds 12": "--rounds 1 --algorithms FedNova"}),
    example("notebook", needs=("nbclient",)),
    example(
        "nvflare-quickstart",
        before="$ cd examples/nvflare-quickstart",
        after="""\
$ secure-agg ledger audit again/federation/server/rounds.db --trust again/federation/trust.json
valid: 5 rounds verified from scratch
""",
        needs=("nvflare", "sklearn"),
    ),
    example(
        "nvflare-statistics",
        after="$ find private -name statistics.json | xargs grep -c noise\n1",
        needs=("nvflare", "lifelines"),
    ),
    example("regions", steps={"python regions.py run build/regions --rounds 3": "$ cd examples/regions"}),
    training("returns", {"run.py OUT": "run.py OUT --rounds 1"}),
    example("service"),
    example("statistics", after="$ test -s out/curves.png", needs=("lifelines", "matplotlib")),
    training("survival", {"run.py OUT": "run.py OUT --rounds 1"}),
)
