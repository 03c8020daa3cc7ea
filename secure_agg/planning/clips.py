"""Clips that clients agree on before a training: a quantile of what each would need, from a secure histogram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.local.aggregate import aggregate
from secure_agg.protocol.codec.clips import range_of
from secure_agg.protocol.config import Group
from secure_agg.protocol.config.groups import COUNT, check_groups

_FROM: Final = -40
_TO: Final = 40
_STEPS: Final = 4
"""Bins are a quarter of a doubling wide, from 2^-40 to 2^40; what lies beyond is in the first or the last."""
_BINS: Final = (_TO - _FROM) * _STEPS + 1


@checked
def agreed_clips(
    updates: Mapping[str, Sequence[npt.NDArray[Any]]],
    groups: Sequence[Group],
    grouping: Sequence[str] | None = None,
    *,
    quantile: float = 0.9,
    **settings: Any,
) -> tuple[Group, ...]:
    """The groups with clips that this share of the clients would be within, by one secure round of counts.

    Of each bin a client says whether it would do for its own values of a group: whether they need no more than its
    upper end, by the largest in size, or what the codec would take (``protocol.codec.clips``). The sums tell how many
    clients need which bin, and nobody whose. They are counts of all clients, and not of those in a bin: so whoever says
    yes and no as it likes moves the quantile by its own one vote, and one that is in many bins has no more of them.

    Args:
        updates: client id to what it would give, float32 or float64.
        groups: whose clips are wanted; counts stay as they are.
        grouping: for each array the name of its group; by default all are in the first.
        quantile: share of the clients, above 0; 1 is the maximum.
        settings: of the round, see ``aggregate``.

    Returns:
        The groups in name order: each clip is the upper end of a bin, at most 19% above the quantile.

    Raises:
        ConfigError: the quantile is out of range, or groups or names are unfit.
        VerificationError: fewer clients fit a larger clip: one of them has not said what it needs.
        SecureAggError: the round fails.
    """
    if not 0 < quantile <= 1:
        raise ConfigError(f"quantile is {quantile!r}, outside (0, 1]")
    ordered = tuple(sorted(groups, key=lambda group: group.name.encode()))
    check_groups(ordered)
    wanted = [group for group in ordered if group.kind != COUNT]
    if not wanted:
        raise ConfigError("there is no group that has a clip")
    counts = Group(name="clips", kind=COUNT, bits=1, clip=0.0, weighted=False)
    reports = {name: [_report(arrays, wanted, grouping)] for name, arrays in updates.items()}
    result = aggregate(reports, groups=[counts], **settings)
    found = {}
    for group, row in zip(wanted, result.average[0].reshape(len(wanted), _BINS), strict=True):
        clients = row[-1]  # whoever needs something needs no more than the last
        if not clients:
            found[group.name] = group.clip
            continue
        if (np.diff(row) < 0).any():
            raise VerificationError(f"counts of clients whose values of {group.name!r} fit fall where clips grow")
        place = int(np.argmax(row >= math.ceil(quantile * clients - 1e-9)))
        found[group.name] = 2.0 ** (_FROM + place / _STEPS)
    return tuple(msgspec.structs.replace(group, clip=found.get(group.name, group.clip)) for group in ordered)


def _report(
    arrays: Sequence[npt.NDArray[Any]], groups: Sequence[Group], grouping: Sequence[str] | None
) -> npt.NDArray[np.float64]:
    """One client's: for each group 1 in all bins that would do, or in none where it has no values or all are 0."""
    names = grouping or [groups[0].name] * len(arrays)
    report = np.zeros((len(groups), _BINS))
    for row, group in zip(report, groups, strict=True):
        held = [np.ravel(array) for array, name in zip(arrays, names, strict=True) if name == group.name]
        needed = range_of(np.concatenate(held), group) if held else 0.0
        if needed > 0 and math.isfinite(needed):
            place = math.ceil((math.log2(needed) - _FROM) * _STEPS - 1e-9)
            row[min(max(place, 0), _BINS - 1) :] = 1.0
    return report.reshape(-1)
