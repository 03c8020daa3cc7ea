"""The guide to statistics: tables that sites have, as frames, as files, and behind a service and frameworks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from documents.scenes import Scene

_SITES: Final = ("north", "south", "west")
_FRAMES: Final = """
import numpy as np, pandas, polars
def table(n, seed):
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 90, n).astype(float)
    return {'age': age, 'bmi': rng.uniform(18, 40, n), 'sex': list(rng.choice(['f', 'm'], n)),
        'died': (rng.random(n) < age / 120).astype(float), 'weeks': rng.integers(1, 53, n).astype(float),
        'arm': list(rng.choice(['a', 'b'], n))}
frame, polars_frame = pandas.DataFrame(table(4000, 1)), polars.DataFrame(table(4000, 2))
columns = table(4000, 3)
"""
_READ: Final = """
import csv
with open('north.csv') as file:
    frame = {'age': [float(row['age']) for row in csv.DictReader(file)]}
"""
_UNDER_FLOWER: Final = """
from pathlib import Path
from support.frameworks.flower_nodes import Fleet
fleet = Fleet.make(Path.cwd(), dict.fromkeys(['a', 'b', 'c'], client_app), rules={'checks_model': False},
    bits=24, max_weight=1, clip=1.0, min_clients=3)
for name in fleet.names:
    (fleet.folder / 'clients' / name / 'statistics.toml').write_text('[columns.age]\\nlower = 0\\nupper = 110\\n')
server_app(fleet.grid, None)
assert (fleet.folder / 'server' / 'rounds.db').exists()
"""


def _table(path: Path, place: int, records: int = 60) -> None:
    ages = [(17 * record + place) % 90 + 20 for record in range(records)]
    path.write_text("age\n" + "".join(f"{age}\n" for age in ages))


@contextlib.contextmanager
def _tables(folder: Path) -> Iterator[Mapping[str, str]]:
    for place, name in enumerate(_SITES):
        _table(folder / f"{name}.csv", place)
    yield {}


@contextlib.contextmanager
def _simulated(folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / "tables").mkdir()
    for place in (1, 2, 3):
        _table(folder / "tables" / f"site-{place}.csv", place)
    yield {}


@contextlib.contextmanager
def _forty(folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / "tables").mkdir()
    for place in range(40):
        _table(folder / "tables" / f"site-{place}.csv", place, 200)
    yield {}


@contextlib.contextmanager
def _long_tables(folder: Path) -> Iterator[Mapping[str, str]]:
    for place, name in enumerate(_SITES):
        _table(folder / f"{name}.csv", place, 200)
    yield {}


_REST: Final = """
$ for site in south west; do secure-agg stats mean $site.csv --column age --range age=0:110 \\
    --url https://127.0.0.1:8470 --home homes/clients/$site --rules mine.toml & done
"""
_SERVE: Final = {"serve --home homes/server": "serve --home homes/server --listen 127.0.0.1:8470"}
_NOISY_REST: Final = _REST.replace("mine.toml", "noisy.toml").replace(
    "=0:110 ", "=0:110 --missing drop --outside clip --records 200 "
)

SCENES: Final = (
    Scene("docs/statistics.md", ("Statistics without a model",), given={"": _FRAMES}, needs=("pandas", "polars")),
    Scene("docs/statistics.md", ("From a shell",), world=_tables, long=True),
    Scene(
        "docs/statistics.md",
        ("What a site lets out", "Members of a service"),
        world=_tables,
        names=_SERVE,
        steps={
            "$ secure-agg stats mean north.csv --column age --range age=0:110 --url https://127.0.0.1:8470 \\": _REST,
            "from pathlib import Path": "$ wait %2 %3\n" + _REST,
        },
        given={"": _READ},
        after="$ wait %2 %3",
        needs=("uvicorn",),
        long=True,
    ),
    Scene(
        "docs/statistics.md",
        ("Flower",),
        given={"": "frame = {'age': [float(20 + record % 70) for record in range(60)]}"},
        names={"/srv/statistics": "federation"},
        after=_UNDER_FLOWER,
        needs=("flwr",),
        long=True,
    ),
    Scene("docs/statistics.md", ("NVFlare",), world=_simulated, needs=("nvflare",), long=True),
    Scene("docs/statistics.md", ("Noise in one process",), world=_forty, long=True),
    Scene(
        "docs/statistics.md",
        ("Noise at members",),
        world=_long_tables,
        names=_SERVE,
        steps={
            "$ secure-agg stats mean north.csv --column age --range age=0:110 --missing drop --outside clip "
            "--records 200 \\": _NOISY_REST
        },
        after="$ wait %2 %3",
        needs=("uvicorn",),
        long=True,
    ),
)
