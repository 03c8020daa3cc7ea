"""Which model of a round somebody holds: what the updates are relative to, the mean, or what follows from both.

A round's evidence names models by digests of float64 values, and a model is mostly kept in float32. So a mean is also
compared as it is in a model's own types, and with the base model in hand, the model that the mean leads to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import UpdateError, VerificationError
from secure_agg.fl.layers import Layers, apply
from secure_agg.fl.server_optimizers import discounted
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Verified

Model = Mapping[str, npt.NDArray[Any]]
"""Arrays by name, in the model's order, as ``secure_agg.fl.model_files.read_model`` gives them."""

MEANINGS: Final = {
    "result_model": "the round's mean, bit for bit",
    "rounded_result": "the round's mean, rounded to the types of the file",
    "next_model": "the base model moved by the round's mean, in its own types",
    "base_model": "the model that the round's updates are relative to",
    "start_model": "the result that the round started from",
}
"""What a model can be of a round, the most telling first."""


@dataclass(frozen=True)
class Match:
    """What a model is of a round.

    Attributes:
        digest: of its averaged arrays.
        found: keys of ``MEANINGS``, in that order; at least one.
        base_is_bound: whether the evidence names the base model that was given; None where none was.
    """

    digest: bytes
    found: tuple[str, ...]
    base_is_bound: bool | None


def match(evidence: Evidence, verified: Verified, model: Model, base: Model | None = None) -> Match:
    """Compare a model with those of a verified round.

    Args:
        evidence, verified: of the round, and what its verification has given.
        model: to compare.
        base: what ``model`` was moved from, if it was.

    Raises:
        VerificationError: it is none of the round's models, or ``base`` is not the one that the evidence names.
        UpdateError: a model has nothing to average, or layers that can't be averaged.
    """
    arrays = _floats(model)
    digest, config, record = model_digest(arrays), evidence.config, verified.record
    named = {
        "result_model": record.result_model,
        "base_model": config.base_model,
        "start_model": record.start_model,
    }
    bound = None if base is None else check_base(evidence, base)
    found = {name for name, known in named.items() if known not in (b"", NO_DIGEST) and known == digest}
    if "result_model" not in found and _is_rounded(arrays, verified.average):
        found.add("rounded_result")
    if base is not None and _equal(arrays, _moved(_floats(base), verified, bound=bool(bound))):
        found.add("next_model")
    if not found:
        known = ", ".join(
            f"{name} {value.hex()[:16]}…" for name, value in named.items() if value not in (b"", NO_DIGEST)
        )
        hint = (
            "also with the base model and the mean it is not what follows"
            if base is not None
            else "where updates are differences from a model, pass that as base"
        )
        raise VerificationError(
            f"this is no model of round {record.round} of task {record.task!r}: its digest {digest.hex()[:16]}… is "
            f"none of {known}, and it is not the mean in its own types; {hint}. Order and number of arrays count"
        )
    return Match(digest, tuple(name for name in MEANINGS if name in found), bound)


def check_base(evidence: Evidence, base: Model) -> bool:
    """Whether the evidence binds this base model; False where it names none.

    Raises:
        VerificationError: it names another.
    """
    named, digest = evidence.config.base_model, model_digest(_floats(base))
    if named == NO_DIGEST:
        return False
    if named != digest:
        raise VerificationError(
            f"the base model's digest is {digest.hex()}, and the updates of round {evidence.config.round} are relative "
            f"to {named.hex()}"
        )
    return True


def moved(evidence: Evidence, verified: Verified, base: Model) -> dict[str, npt.NDArray[Any]]:
    """The model that a round's mean makes of its base model, in the base's names, types and order.

    Raises:
        UpdateError: the mean is of another model.
    """
    bound = model_digest(_floats(base)) == evidence.config.base_model
    return Layers.of(base).restore(base, _moved(_floats(base), verified, bound=bound))


def _floats(model: Model) -> list[npt.NDArray[Any]]:
    return Layers.of(model).floats(model)


def _moved(floats: Sequence[npt.NDArray[Any]], verified: Verified, *, bound: bool) -> list[npt.NDArray[Any]]:
    """Behind the arrays of a model that the evidence names, a round may carry more, like metrics. Of a buffered round
    the base is the newest, and the mean counts for what updates weigh.
    """
    mean = verified.average[: len(floats)] if bound else verified.average
    if [array.shape for array in floats] != [array.shape for array in mean]:
        shapes = [array.shape for array in verified.average]
        raise UpdateError(f"the base model's arrays have not the shapes of the round's mean, {shapes}")
    if verified.bases:
        record = verified.record
        mean = discounted(mean, record.weight_sum, record.participants, record.weight_limit)
    return apply(floats, mean)


def _is_rounded(arrays: Sequence[npt.NDArray[Any]], mean: Sequence[npt.NDArray[np.float64]]) -> bool:
    if [array.shape for array in arrays] != [array.shape for array in mean]:
        return False
    with np.errstate(over="ignore", under="ignore"):
        return _equal(arrays, [exact.astype(array.dtype) for array, exact in zip(arrays, mean, strict=True)])


def _equal(model: Sequence[npt.NDArray[Any]], expected: Sequence[npt.NDArray[Any]]) -> bool:
    return len(model) == len(expected) and all(map(_same, model, expected))


def _same(array: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        return False
    if np.array_equal(array, expected, equal_nan=True):
        return True
    return array.dtype == np.float32 and np.array_equal(array, _bfloat16(expected), equal_nan=True)


def _bfloat16(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rounded to bfloat16, to nearest, ties to even: files of that type are read as float32."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(array), rounded.view(np.float32), array)
