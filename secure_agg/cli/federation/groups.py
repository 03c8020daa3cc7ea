"""How ``federation init`` is told which vectors an update consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from secure_agg.errors import ConfigError
from secure_agg.plugins.core.metrics import METRICS
from secure_agg.protocol.config import Group
from secure_agg.protocol.config.groups import ADAPTIVE, COUNT

GROUP_HELP: Final = (
    "A named vector of the update, as NAME:SETTING,…: bits=B, clip=C, unweighted, rotated, adaptive, support=N/D; one "
    "for each. The model's arrays are in the first that is weighted, SCAFFOLD's control variates in 'controls', and "
    f"metrics in {METRICS!r}, which is made if it is not named."
)
_FLAGS: Final[dict[str, dict[str, Any]]] = {
    "unweighted": {"weighted": False},
    "rotated": {"rotated": True},
    "adaptive": {"clip_rule": ADAPTIVE},
    COUNT: {"kind": COUNT, "weighted": False, "clip": 0.0},
}
_METRICS: Final = Group(name=METRICS, bits=14, clip=1.0, weighted=False)


def groups_of(texts: Sequence[str]) -> tuple[Group, ...]:
    """The groups of a federation's policy; none where none are named.

    Raises:
        ConfigError: a text that is none, or settings of no group.
    """
    return with_metrics([_group(text) for text in texts])


def regrouped(known: Sequence[Group], texts: Sequence[str], dropped: Sequence[str]) -> tuple[Group, ...]:
    """Groups of which some are others: those that are named take the places of those of their names.

    Args:
        dropped: names of those that are to be there no more.

    Raises:
        ConfigError: see ``groups_of``; one that is dropped is not there, or none is left.
    """
    found = {group.name: group for group in known}
    for name in dropped:
        if found.pop(name, None) is None:
            raise ConfigError(f"--drop-group {name!r}: there is {', '.join(map(repr, found)) or 'no group'}")
    found |= {group.name: group for group in map(_group, texts)}
    if not found:
        raise ConfigError("no group is left: whoever wants none begins a task of its own")
    return tuple(found[name] for name in sorted(found, key=str.encode))


def with_metrics(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups of a federation, one for metrics among them; none where there are none."""
    if groups and all(group.name != METRICS for group in groups):
        return (*groups, _METRICS)
    return tuple(groups)


def _group(text: str) -> Group:
    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, has_value, value = item.partition("=")
        try:
            if not has_value and key in _FLAGS:
                settings |= _FLAGS[key]
            elif key == "bits":
                settings["bits"] = int(value)
            elif key == "clip":
                settings["clip"] = float(value)
            elif key == "support":
                num, _, den = value.partition("/")
                settings["support"] = (int(num), int(den))
            else:
                raise ValueError(item)
        except ValueError:
            raise ConfigError(
                f"--group {text!r}: {item!r} is none of bits=B, clip=C, support=N/D, {', '.join(_FLAGS)}"
            ) from None
    return Group(name=name, **settings)
