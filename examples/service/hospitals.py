"""Five hospitals train one model together, each a process of its own, over a service on this machine.

    python hospitals.py run FOLDER [--rounds N]
    python hospitals.py hospital URL HOME SITE ROUNDS        # what each hospital runs

Each has patients that it shows nobody: 30 measurements, and who falls ill. The model is logistic regression; what is
trained is compared with the same steps on all patients in one place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import secure_agg

SITES = ("north", "east", "south", "west", "centre")
FEATURES = 30
RATE = 0.5
Floats = npt.NDArray[np.float64]


def patients(site: str) -> tuple[Floats, Floats]:
    """A hospital's own: measurements and outcomes. Each has another number of patients, of another mean age."""
    number = SITES.index(site)
    drawn = np.random.default_rng(number)
    truth = np.random.default_rng(100).normal(size=FEATURES)
    measured = drawn.normal(0.1 * number, 1, (80 + 30 * number, FEATURES))
    ill = drawn.uniform(size=len(measured)) < 1 / (1 + np.exp(-measured @ truth))
    return measured, ill.astype(np.float64)


def step(model: Floats, measured: Floats, ill: Floats) -> Floats:
    """What these patients ask the model to change by: one step of gradient descent."""
    risk = 1 / (1 + np.exp(-(measured @ model[:-1] + model[-1])))
    slope = np.append(measured.T @ (risk - ill), (risk - ill).sum()) / len(ill)
    return -RATE * slope


def hospital(url: str, home: str, site: str, rounds: int) -> None:
    """What a hospital runs: all that it has to know of secure aggregation is here."""
    measured, ill = patients(site)
    with secure_agg.connect(url, home) as session:
        for _ in range(rounds):
            result = session.contribute(lambda model: [step(model[0], measured, ill)], weight=len(ill))
            print(f"{site}: round {result.round}, {len(result.participants)} hospitals", file=sys.stderr)
    print(json.dumps(result.model[0].tolist()))


@contextmanager
def service(folder: Path, rounds: int) -> Iterator[str]:
    """The service's process; its URL."""
    command = [sys.executable, "-m", "secure_agg", "serve", "--home", str(folder / "server")]
    with (folder / "service.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command, here and below
            [*command, "--listen", "127.0.0.1:0", "--rounds", str(rounds)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield f"https://{json.loads(line)['address']}"
    finally:
        process.terminate()
        process.communicate()


def together(rounds: int) -> Floats:
    """The same steps on all patients, as if they lay in one place."""
    model = np.zeros(FEATURES + 1)
    for _ in range(rounds):
        steps = [(step(model, *patients(site)), len(patients(site)[1])) for site in SITES]
        model = model + sum(weight * change for change, weight in steps) / sum(weight for _, weight in steps)
    return model


def accuracy(model: Floats) -> float:
    """The share of all patients for whom the model is right."""
    right = [((measured @ model[:-1] + model[-1] > 0) == ill) for measured, ill in map(patients, SITES)]
    return float(np.concatenate(right).mean())


def run(folder: Path, rounds: int) -> dict[str, Any]:
    """Make the federation, start everybody, and compare."""
    folder.mkdir(parents=True)
    np.save(folder / "start.npy", np.zeros(FEATURES + 1))
    federation = folder / "federation"
    made = [sys.executable, "-m", "secure_agg", "federation", "init", str(federation), "--task", "risk"]
    made += ["--start-model", str(folder / "start.npy"), *(word for site in SITES for word in ("--client", site))]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    with service(federation, rounds) as url:
        processes = [
            subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, "hospital", url, str(federation / "clients" / site), site, str(rounds)],
                stdout=subprocess.PIPE, text=True,
            )
            for site in SITES
        ]  # fmt: skip
        said = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit(f"a hospital has failed: see {federation / 'service.log'} and above")
    models = [np.array(json.loads(text)) for text in said]
    plain = together(rounds)
    with secure_agg.Ledger(federation / "server" / "rounds.db", read_only=True) as ledger:
        verified = ledger.audit().verified
    return {
        "rounds": verified,
        "all_have_one_model": all((model == models[0]).all() for model in models),
        "largest_difference": float(np.abs(models[0] - plain).max()),
        "accuracy": accuracy(models[0]),
        "accuracy_together": accuracy(plain),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    choices = parser.add_subparsers(dest="what", required=True)
    whole = choices.add_parser("run")
    whole.add_argument("folder", type=Path)
    whole.add_argument("--rounds", type=int, default=10)
    one = choices.add_parser("hospital")
    for name in ("url", "home", "site"):
        one.add_argument(name)
    one.add_argument("rounds", type=int)
    given = parser.parse_args()
    if given.what == "run":
        print(json.dumps(run(given.folder, given.rounds), indent=1))
    else:
        hospital(given.url, given.home, given.site, given.rounds)
