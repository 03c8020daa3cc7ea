"""What NVFlare gives to an app, as one digest; and what the app then gets, which is that and no more.

Part by part, of what an executor can read:

* the task: its name is ``train``; parameters of every type, their names, order and bytes, the kind of parameters,
  metrics, the numbers of rounds and the meta data are bound.
* headers, cookies and the server's context: those that the framework needs to find the task again stay, as the text
  that they have to be. All others are left out, the server's context but for the job's id too.
* the job: its id, name and own properties, and the files of its folders ``config`` and ``custom`` at this site are
  bound (``surroundings``); a job that is made differently for each site is no secure one.

What a job's components are sent past its tasks, by events or messages of their own, can't be seen from a filter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from nvflare.apis.fl_constant import FLContextKey, FLMetaKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.client.constants import CLIENT_API_CONFIG
from nvflare.fuel.utils import fobs

from secure_agg.errors import MalformedMessage
from secure_agg.plugins.core.instructions import Instructions, files
from secure_agg.plugins.nvflare import wire

WEIGHT_KEY: Final = FLMetaKey.NUM_STEPS_CURRENT_ROUND
"""What NVFlare's FedAvg weighs by, among the meta data of a result."""
_FOLDERS: Final = ("config", "custom")
_COOKIES: Final = (FLContextKey.TASK_ID, ReservedHeaderKey.WORKFLOW)
"""Which a site sends back with the result, so that the server finds what it belongs to."""


def surroundings(fl_ctx: FLContext) -> bytes:
    """Digest of what the job has brought to a site, taken before anything of it runs.

    Raises:
        MalformedMessage: a file of the job can't be read, or its properties have no encoding.
    """
    workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT) or fl_ctx.get_engine().get_workspace()
    job = fl_ctx.get_job_id()
    meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
    return Instructions.of(
        job=(job, meta.get(JobMetaKey.JOB_NAME.value), meta.get(JobMetaKey.CUSTOM_PROPS.value)),
        app=files(Path(workspace.get_app_dir(job)), _is_of_the_job),
    ).digest


def instructions(model: FLModel, weight_key: str | None, around: bytes) -> Instructions:
    """What an app is given by a task.

    Args:
        model: as it arrives: see ``as_it_arrives``.
        weight_key: of the site's own home, so that sites that weigh by different figures are in no round together.
        around: see ``surroundings``.

    Raises:
        MalformedMessage: something in it has no encoding.
    """
    return Instructions.of(
        task=wire.TRAIN,
        parameters=(model.params_type.value if model.params_type else None, model.params),
        metrics=model.metrics,
        rounds=(model.start_round, model.current_round, model.total_rounds),
        meta=model.meta,
        weighted_by=WEIGHT_KEY if weight_key is None else weight_key,
        surroundings=around,
    )


def as_it_arrives(model: FLModel) -> FLModel:
    """What a site will find in a task with this model. Arrays are shared."""
    arrived: FLModel = FLModelUtils.from_shareable(FLModelUtils.to_shareable(model))
    arrived.meta, arrived.metrics = fobs.loads(fobs.dumps([arrived.meta, arrived.metrics]))
    return arrived


def handed_over(model: FLModel, came: Shareable, fl_ctx: FLContext) -> Shareable:
    """The task's data that the executor gets in place of what came; the server's context is replaced too."""
    peer = fl_ctx.get_peer_context()
    if peer is not None:
        known = FLContext()
        known.put(ReservedKey.RUN_NUM, peer.get_job_id(), private=False, sticky=False)
        fl_ctx.set_peer_context(known)
    # What is digested is a value's elements in C order: how they lie in memory would be the server's to choose.
    if model.params:
        model.params = {
            name: np.asarray(value, order="C") if isinstance(value, np.ndarray) else value
            for name, value in model.params.items()
        }
    data: Shareable = FLModelUtils.to_shareable(model)
    data.set_header(ReservedHeaderKey.TASK_NAME, wire.TRAIN)
    data.set_header(ReservedHeaderKey.TASK_ID, _text(came.get_header(ReservedHeaderKey.TASK_ID)))
    for name in _COOKIES:
        data.add_cookie(name, _text(came.get_cookie(name)))
    data.add_cookie(AppConstants.CONTRIBUTION_ROUND, model.current_round)
    return data


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise MalformedMessage(f"what identifies a task is a {type(value).__name__}")
    return value


def _is_of_the_job(path: Path) -> bool:
    """Not what NVFlare writes there at a site: signatures, settings of a process that it starts, compiled code."""
    own = path.name.startswith("__nvfl_") or path.name == CLIENT_API_CONFIG or "__pycache__" in path.parts
    return path.parts[0] in _FOLDERS and not own
