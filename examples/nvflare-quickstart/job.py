"""The job: NVFlare's stock FedAvg recipe over four sites. Lines that end in "ours" are all that secure-agg adds."""

import argparse
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from secure_agg.plugins.nvflare import configure, secure  # ours


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("workspace", type=Path, help="the simulator's; sites find homes in 'federation' there, if any")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()

    recipe = NumpyFedAvgRecipe(
        name="digits",
        model=np.zeros((65, 10)).tolist(),
        min_clients=3,
        num_rounds=asked.rounds,
        train_script="client.py",
    )
    secure(recipe)  # ours

    homes = asked.workspace / "federation"
    if homes.exists():  # else the simulator is given homes that live for this run
        configure(asked.workspace / "digits" / "local", homes)  # ours: what owners of sites do
    recipe.execute(SimEnv(num_clients=4, workspace_root=str(asked.workspace)))


if __name__ == "__main__":
    main()
