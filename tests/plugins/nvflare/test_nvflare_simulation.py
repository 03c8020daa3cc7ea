"""NVFlare's simulator is given homes where nobody has made any; no other environment is, and no home is replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.job_config.api import FedJob
from nvflare.recipe import SimEnv
from nvflare.recipe.spec import ExecEnv

from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.plugins.nvflare import configure, secure
from secure_agg.plugins.nvflare.site import configured_home
from secure_agg.protocol.config import Policy


class Elsewhere(ExecEnv):
    """An environment whose sites have owners."""

    def __init__(self, workspace_root: Path) -> None:
        super().__init__()
        self.workspace_root, self.num_clients, self.clients = str(workspace_root), 3, None

    def deploy(self, job: FedJob) -> str:
        return ""

    def get_job_status(self, job_id: str) -> str | None:
        return None

    def abort_job(self, job_id: str) -> None:
        """Nothing runs."""

    def get_job_result(self, job_id: str, timeout: float = 0.0) -> str | None:
        return None


def secured(folder: Path) -> NumpyFedAvgRecipe:
    script = folder / "client.py"
    script.touch()
    recipe = NumpyFedAvgRecipe(
        name="job", model=np.zeros(3).tolist(), min_clients=3, num_rounds=1, train_script=str(script)
    )
    return secure(recipe, simulated={"clip": 2.0})


def prepared(env: ExecEnv, folder: Path) -> Path | None:
    """The homes of a job that is about to run, as its workspace names them."""
    secured(folder).process_env(env)
    return configured_home(folder / "job" / "local")


def test_each_run_of_the_simulator_has_homes_of_its_own_for_all_of_its_sites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepared(SimEnv(num_clients=3, workspace_root=str(tmp_path)), tmp_path)
    second = prepared(SimEnv(clients=["north", "south"], workspace_root=str(tmp_path)), tmp_path)
    assert capsys.readouterr().err.count("SIMULATION: ") == 2, "once for each"
    assert first is not None
    assert second is not None
    assert sorted(path.name for path in (first / "clients").iterdir()) == ["site-1", "site-2", "site-3"]
    assert sorted(path.name for path in (second / "clients").iterdir()) == ["north", "south"]
    with ServerHome.open(first / "server") as home:
        assert home.trust.task(home.task).policy.clip == 2.0


def test_homes_that_an_owner_has_configured_stay(tmp_path: Path) -> None:
    federation.make(tmp_path / "own", ["a", "b", "c"], Policy.default(3))
    configure(tmp_path / "job" / "local", tmp_path / "own")
    assert prepared(SimEnv(num_clients=3, workspace_root=str(tmp_path)), tmp_path) == tmp_path / "own"


def test_no_other_environment_is_given_homes(tmp_path: Path) -> None:
    assert prepared(Elsewhere(tmp_path), tmp_path) is None


def test_what_is_exported_is_not_simulated_whatever_its_script_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = secured(tmp_path)
    recipe.export(str(tmp_path / "jobs"), env=SimEnv(num_clients=3, workspace_root=str(tmp_path)))
    assert (tmp_path / "jobs" / "job" / "meta.json").exists()
    assert configured_home(tmp_path / "job" / "local") is None
    assert "SIMULATION" not in capsys.readouterr().err
    recipe.process_env(SimEnv(num_clients=3, workspace_root=str(tmp_path)))
    assert configured_home(tmp_path / "job" / "local") is not None
