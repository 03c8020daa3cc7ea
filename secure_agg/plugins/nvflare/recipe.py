"""One line for an app: its stock FedAvg recipe, made secure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.fuel.utils.class_utils import get_component_init_parameters
from nvflare.recipe.spec import ExecEnv, Recipe

from secure_agg.errors import ConfigError
from secure_agg.executing import HERE
from secure_agg.plugins.nvflare import simulation, wire
from secure_agg.plugins.nvflare.controller import SecureFedAvg
from secure_agg.plugins.nvflare.filters import SecureTaskData, SecureTaskResult

_TASKS: Final = (wire.TRAIN, AppConstants.TASK_VALIDATION, AppConstants.TASK_SUBMIT_MODEL)
"""Tasks of recipes whose results say something about one site; all but the first are refused."""

PACKAGE: Final = "secure_agg"
"""Installed at each site, and not sent along with a job."""

R = TypeVar("R", bound=Recipe)


def secure(
    recipe: R,
    *,
    train_timeout: float = 3600.0,
    phase_timeout: float | None = None,
    executor: str = HERE,
    simulated: Mapping[str, Any] | None = None,
) -> R:
    """Make a FedAvg recipe's job secure and verified; call it once, before the recipe is run or exported.

    Its controller becomes ``SecureFedAvg``, its clients get the two filters, and experiment tracking, which would send
    every site's metrics to the server in clear, is taken out.

    Args:
        recipe: with the stock ``FedAvg`` controller, whatever the framework.
        train_timeout: see ``SecureFedAvg``.
        phase_timeout: see ``SecureFedAvg``.
        executor: see ``SecureFedAvg``.
        simulated: what ``Policy.default`` is to be told where NVFlare's simulator runs the recipe and nobody has made
            homes: they are made for the run then. ``{"clip": 2.0}``; it counts nowhere else.

    Returns:
        The same recipe.

    Raises:
        ConfigError: its controller is another, or is asked for what a sum can't give.
    """
    job = recipe._job
    workflows = job._deploy_map["server"].app_config.workflows
    stock = [workflow for workflow in workflows if type(workflow.controller) is FedAvg]
    if len(stock) != 1 or len(workflows) != 1:
        found = ", ".join(type(workflow.controller).__name__ for workflow in workflows)
        raise ConfigError(f"a recipe with one stock FedAvg controller can be made secure, this one has: {found}")
    stock[0].controller = SecureFedAvg(
        train_timeout=train_timeout, phase_timeout=phase_timeout, executor=executor, **_arguments(stock[0].controller)
    )
    recipe.add_client_input_filter(SecureTaskData(), tasks=list(_TASKS))
    recipe.add_client_output_filter(SecureTaskResult(), tasks=list(_TASKS))
    job.convert_to_fed_event.events_to_convert = []
    ready, exported, exporting = recipe.process_env, recipe.export, False

    def process_env(env: ExecEnv) -> None:
        ready(env)
        if not exporting:
            simulation.prepare(env, job.name, simulated)

    def export(*given: Any, **more: Any) -> None:
        nonlocal exporting
        exporting = True  # what is exported runs elsewhere, whatever environment its script names
        try:
            exported(*given, **more)
        finally:
            exporting = False

    recipe.process_env, recipe.export = process_env, export  # NVFlare calls them with the environment a job is for
    job.set_app_packages([*job.job.app_packages, PACKAGE])
    return recipe


def _arguments(component: Any) -> dict[str, Any]:
    """What a component was constructed with, found as NVFlare's exporter finds it."""
    kept = vars(component)
    names = set(get_component_init_parameters(component)) - {"self", "args", "kwargs"}
    keys = {name: name if name in kept else f"_{name}" for name in sorted(names)}
    return {name: kept[key] for name, key in keys.items() if key in kept}
