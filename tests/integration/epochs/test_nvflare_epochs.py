"""Real jobs in NVFlare's simulator over a federation that changes: within one of them, and before the next.

``plugins/nvflare/test_nvflare_epochs.py`` makes the same claim without processes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from support.changing.homes import audited, join
from support.federation import identity

from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.nvflare import configure, secure
from secure_agg.protocol.config import Policy

NAMES = ("site-1", "site-2", "site-3")
NEW = identity("site-4")
START = np.linspace(-1, 1, 12).reshape(3, 4)
LIMIT_S = 600

SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import nvflare.client as flare

sys.path.insert(0, {tests!r})
homes = Path({homes!r})


def change():
    from support.changing.homes import submit
    from support.federation import identity
    from secure_agg.roles.epochs.change import Change

    submit(homes, Change(join={{"site-4": identity("site-4").public}}, leave={{"site-3"}}), identity("site-4"))


flare.init()
site = flare.get_site_name()
while flare.is_running():
    model = flare.receive()
    if site == "site-1" and not (homes / "changed").exists():  # while the first round is under way
        (homes / "changed").touch()
        change()
    weights = model.params["numpy_key"] + int(site[-1]) / 16
    flare.send(flare.FLModel(params={{"numpy_key": weights}}, meta={{"NUM_STEPS_CURRENT_ROUND": 4}}))
"""


def run(root: Path, name: str, sites: tuple[str, ...], model: np.ndarray, rounds: int) -> np.ndarray:
    """A job in a simulator of its own, and the model that it ends with."""
    script = root / "client.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[2]), homes=str(root / "homes")))
    recipe = NumpyFedAvgRecipe(
        name=name, model=model.tolist(), min_clients=2, num_rounds=rounds, train_script=str(script)
    )
    secure(recipe, train_timeout=60.0).export(str(root / "exported"))
    workspace = root / name
    configure(workspace / "local", root / "homes")
    nvflare = Path(sys.executable).with_name("nvflare")
    command = (nvflare, "simulator", root / "exported" / name, "-w", workspace, "-c", ",".join(sites), "-t", "3")
    with (root / f"{name}.log").open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, (root / f"{name}.log").read_text()[-4000:]
    found: np.ndarray = np.load(workspace / "server" / "simulate_job" / "models" / "server.npy")
    return found


@pytest.mark.long
def test_sites_close_an_epoch_within_a_job_and_who_joins_trains_in_the_next(tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    federation.make(homes, NAMES, Policy.default(3, clip=1.0, bits=20, max_weight=16, min_clients=2), task="task")
    model = run(tmp_path, "first", NAMES, START, rounds=2)
    join(homes, NEW)
    model = run(tmp_path, "second", ("site-1", "site-2", NEW.name), model, rounds=1)
    epochs, rounds = audited(homes)
    assert (epochs, rounds) == (1, [{*NAMES}, {"site-1", "site-2"}, {"site-1", "site-2", NEW.name}])
    means = [np.mean([int(name[-1]) / 16 for name in names]) for names in rounds]
    np.testing.assert_allclose(model, START + sum(means), atol=1e-4)
    with ClientHome.open(homes / "clients" / "site-2") as home:
        assert home.epochs.number == 1
