"""NVFlare's models and results, as the arrays, weight and metrics that a round is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from secure_agg.errors import UpdateError
from secure_agg.fl.layers import Floats, Layers
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.nvflare.given import WEIGHT_KEY

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


def trained(result: FLModel, layers: Layers, model: Floats, weight_key: str | None = None) -> Trained:
    """What a training result says, whether it holds a model or a difference from the one that was handed out.

    Args:
        result: of the executor.
        layers: of the model that was handed out.
        model: its floats.
        weight_key: among the result's meta data, as the site's owner has pinned it; None for NVFlare's own, in whose
            place a result may say nothing and weighs 1.

    Raises:
        UpdateError: layers are missing or of another shape, or the weight is no whole number.
    """
    floats = layers.floats(named(result))
    if result.params_type == ParamsType.DIFF:
        floats = [_moved(old, by) for old, by in zip(model, floats, strict=True)]
    return Trained(floats, _weight(result.meta or {}, weight_key), result.metrics or {})


def _moved(old: npt.NDArray[Any], by: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rounded to the model's dtype, as training itself does: far below a step of the codec."""
    moved: npt.NDArray[Any] = np.add(old, by, dtype=old.dtype)
    return moved


def _weight(meta: Mapping[str, Any], key: str | None) -> int:
    """Number of training steps as NVFlare's FedAvg weighs by; 1 where the app names none and its owner has not either.

    Raises:
        UpdateError: it is no whole number.
    """
    value = meta.get(WEIGHT_KEY, 1) if key is None else meta.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not float(value).is_integer():
        raise UpdateError(f"{WEIGHT_KEY if key is None else key} is not a whole number")
    return int(value)
