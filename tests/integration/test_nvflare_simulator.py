"""Real jobs in NVFlare's simulator: every site is a process of its own, and one of them is killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe

from secure_agg.ledger.log import Ledger
from secure_agg.plugins.homes import federation
from secure_agg.plugins.nvflare import configure, secure
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Policy
from secure_agg.roles.trust import Trust

CLIENT = Path(__file__).parents[2] / "examples" / "nvflare-quickstart" / "client.py"
WITHOUT_TORCH = Path(__file__).parents[1] / "support" / "frameworks" / "without_torch"
SITES = tuple(f"site-{number}" for number in range(1, 5))
ROUNDS = 3
PHASES = 4
"""In which a client of the masking backend answers after it has joined."""
POLICY = Policy.default(4, clip=1.0, bits=20, max_weight=1000)
LIMIT_S = 600

KILLED = f"""
import os, signal
from secure_agg.plugins.core.node.under_way import UnderWay

def dying(self, *request, step=UnderWay.step, answered=[]):
    answered.append(request)
    if self._home.name == "site-4" and len(answered) == {PHASES} + 2:  # asked for its masked input in round 1
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *request)

UnderWay.step = dying
"""


@contextmanager
def running(workspace: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose processes are gone afterwards, those too that the simulator puts into sessions of their own."""
    paths = filter(None, (str(WITHOUT_TORCH), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with (workspace.parent / f"{workspace.name}.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=CLIENT.parent, stdout=output, stderr=output, env=environment)
        try:
            yield process
        finally:
            for left in psutil.process_iter(["cmdline"]):
                if any(str(workspace) in word for word in left.info["cmdline"] or ()):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        left.kill()
            process.wait()


def initial() -> list[list[float]]:
    model: list[list[float]] = np.zeros((65, 10)).tolist()
    return model


@pytest.fixture(scope="module")
def app() -> ModuleType:
    """The example's client."""
    spec = importlib.util.spec_from_file_location("nvflare_quickstart_client", CLIENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two jobs have run side by side, each with sites of its own.

    ``killed``: an exported job, one of whose sites is killed. ``example``: the example as it is, for which nobody has
    made homes.
    """
    root = tmp_path_factory.mktemp("jobs")
    script = root / "client.py"
    script.write_text(KILLED + CLIENT.read_text())
    federation.make(root / "killed" / "federation", SITES, POLICY, task="digits")
    (root / "example").mkdir()
    recipe = NumpyFedAvgRecipe(
        name="digits", model=initial(), min_clients=3, num_rounds=ROUNDS, train_script=str(script)
    )
    secure(recipe, train_timeout=60.0, phase_timeout=5.0).export(str(root / "exported"))
    workspace = root / "killed" / "digits"
    configure(workspace / "local", root / "killed" / "federation")
    nvflare = Path(sys.executable).with_name("nvflare")
    job = (nvflare, "simulator", root / "exported" / "digits", "-w", workspace, "-n", "4", "-t", "4")
    example = (sys.executable, "job.py", root / "example", "--rounds", "2")
    with running(root / "killed", *job) as first, running(root / "example", *example) as second:
        assert first.wait(LIMIT_S) == 0
        assert second.wait(LIMIT_S) == 0
    return root


def log(job: Path, site: str) -> str:
    return (job / "digits" / site / "log.txt").read_text()


def weights(app: ModuleType, rounds: list[tuple[str, ...]]) -> np.ndarray:
    """What plain FedAvg comes to, with these participants in its rounds."""
    model = np.array(initial())
    for names in rounds:
        trained = [app.train(model, *app.load(name)) for name in names]
        model = np.average(trained, axis=0, weights=[len(app.load(name)[1]) for name in names])
    return model


def participants(job: Path) -> list[tuple[str, ...]]:
    """Who took part in each round, after an audit of the whole ledger against what everybody has pinned."""
    made = [job / "federation", *(job / "secure-agg-simulation").glob("run-*")]
    (homes,) = [path for path in made if path.exists()]
    with Ledger(homes / "server" / "rounds.db") as ledger:
        names = [ledger.evidence(record).participants for record in ledger.records()]
        assert ledger.audit(Trust.load(homes / "trust.json")).verified == len(names)
    return names


def check_model(job: Path, app: ModuleType) -> None:
    """The server's model is plain FedAvg's, as near as the codec documents."""
    rounds = participants(job)
    model = np.load(job / "digits" / "server" / "simulate_job" / "models" / "server.npy")
    weight = min(sum(len(app.load(name)[1]) for name in names) for names in rounds)
    bound = FixedPoint(POLICY).error_bound(4, weight)
    expected = weights(app, rounds)
    assert np.abs(expected).max() > 100 * bound
    assert np.abs(model - expected).max() <= len(rounds) * bound


def test_a_job_goes_on_without_a_site_that_is_killed_in_a_round(ran: Path, app: ModuleType) -> None:
    assert participants(ran / "killed") == [SITES, SITES[:3], SITES[:3]]
    check_model(ran / "killed", app)


def test_the_example_comes_to_plain_fedavg(ran: Path, app: ModuleType) -> None:
    assert participants(ran / "example") == [SITES, SITES]
    check_model(ran / "example", app)


def test_the_simulator_says_once_what_homes_are_worth_that_it_was_given(ran: Path) -> None:
    said = (ran / "example.log").read_text()
    assert said.count("SIMULATION: the keys of the server and of all 4 members were made for this run") == 1


def test_every_phase_and_every_loss_is_in_the_frameworks_own_log(ran: Path) -> None:
    server, site = log(ran / "killed", "server"), log(ran / "killed", "site-1")
    assert "round 0 of 'digits', phase masked-input: 4 of 4 clients" in server
    assert "site-4 is out of the round in phase masked-input" in server
    assert "round 1 of 'digits', phase masked-input: 3 of 4 clients" in server
    for number in range(ROUNDS):
        assert f"site-1: round {number} of 'digits' is verified" in site


def test_the_server_has_means_of_metrics_and_no_sites_own(ran: Path, app: ModuleType) -> None:
    job = ran / "example" / "digits" / "server" / "simulate_job"
    first = json.loads((job / "metrics" / "round_metrics.jsonl").read_text().splitlines()[0])
    parts = {name: app.load(name) for name in SITES}
    own = [float((app.predict(np.array(initial()), x).argmax(axis=1) == y).mean()) for x, y in parts.values()]
    mean = np.average(own, weights=[len(y) for _, y in parts.values()])
    numbers = set(numbers_in(first))
    assert any(abs(number - mean) < 1e-6 for number in numbers)
    assert not any(abs(number - value) < 1e-9 for number in numbers for value in own)


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, float):
        yield value
