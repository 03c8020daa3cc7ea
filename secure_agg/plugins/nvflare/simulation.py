"""NVFlare's simulator: homes that are made for a run where nobody has made others."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import ExecEnv

from secure_agg.plugins.homes import simulated
from secure_agg.plugins.nvflare.site import configure, configured_home

_FOLDER: Final = "secure-agg-simulation"
_LOCAL: Final = "local"


def prepare(
    env: ExecEnv,
    job: str,
    policy: Mapping[str, Any] | None,
    *,
    checks_model: bool = True,
    table: Path | None = None,
) -> Path | None:
    """Make the homes of all sites, and configure the simulator's workspace to use them.

    Args:
        env: where the job is about to run. Only NVFlare's simulator is given homes: a site of any other environment has
            an owner.
        job: its name.
        policy: what ``Policy.default`` is to be told; None for the usual policy.
        checks_model: whether sites do; see ``ClientHome``.
        table: see ``configure``.

    Returns:
        The federation's folder; None where the workspace names another already, or sites are no simulated ones.

    Raises:
        ConfigError: fewer than two sites, the policy does not fit, or the disk refuses.
    """
    if not isinstance(env, SimEnv):
        return None
    root, local = Path(env.workspace_root) / _FOLDER, Path(env.workspace_root) / job / _LOCAL
    before = configured_home(local)
    if before is not None and root.resolve() not in before.parents:
        return None
    names = env.clients or [f"site-{number + 1}" for number in range(env.num_clients)]
    folder = simulated.make(root, f"run-{secrets.token_hex(8)}", names, policy=policy, checks_model=checks_model)
    # A script that executes a recipe has no log of its own yet, so the library's lines go nowhere.
    sys.stderr.write((folder / simulated.NOTICE_FILE).read_text("utf-8"))
    configure(local, folder, table)
    return folder
