"""NVFlare's models and results, as the arrays, weight and metrics that a round is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from nvflare.apis.dxo import MetaKey
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from secure_agg.errors import UpdateError
from secure_agg.plugins.layers import Floats, Layers
from secure_agg.plugins.participant import Trained

Named = Mapping[str, npt.NDArray[Any]]


def named(model: FLModel) -> dict[str, npt.NDArray[Any]]:
    """The parameters of a model by name.

    Raises:
        UpdateError: they are not numpy arrays; with PyTorch, the server's expected format has to be numpy.
    """
    if not isinstance(model.params, dict) or not model.params:
        raise UpdateError("a model without named parameters")
    for name, value in model.params.items():
        if not isinstance(name, str) or not isinstance(value, (np.ndarray, np.generic)):
            raise UpdateError(
                f"parameter {name!r} is a {type(value).__name__}, not a numpy array: "
                "leave server_expected_format at ExchangeFormat.NUMPY"
            )
    return {name: np.asarray(value) for name, value in model.params.items()}


def trained(result: FLModel, layers: Layers, model: Floats) -> Trained:
    """What a training result says, whether it holds a model or a difference from the one that was handed out.

    Raises:
        UpdateError: layers are missing or of another shape, or the weight is no whole number.
    """
    floats = layers.floats(named(result))
    if result.params_type == ParamsType.DIFF:
        floats = [_moved(old, by) for old, by in zip(model, floats, strict=True)]
    return Trained(floats, _weight(result.meta or {}), result.metrics or {})


def _moved(old: npt.NDArray[Any], by: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rounded to the model's dtype, as training itself does: far below a step of the codec."""
    moved: npt.NDArray[Any] = np.add(old, by, dtype=old.dtype)
    return moved


def _weight(meta: Mapping[str, Any]) -> int:
    """Number of training steps as NVFlare's FedAvg weighs by; 1 where the app names none."""
    value = meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND, 1)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or value != int(value):
        raise UpdateError(f"{MetaKey.NUM_STEPS_CURRENT_ROUND} is not a whole number")
    return int(value)
