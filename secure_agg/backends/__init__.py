"""Ways of hiding updates while they are summed: one class each, behind the contract in ``base``, found by
name.
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from secure_agg.backends.contract import Backend
from secure_agg.errors import ConfigError

GROUP = "secure_agg.backends"


def names() -> tuple[str, ...]:
    """Names of all backends that are installed."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


@functools.cache
def load(name: str) -> Backend:
    """The backend of that name, from the entry-point group ``secure_agg.backends``.

    Raises:
        ConfigError: none or several have that name, or what is registered is no backend.
    """
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        raise ConfigError(f"there is no backend {name!r}: installed are {', '.join(names())}")
    if len({entry.value for entry in found}) > 1:
        raise ConfigError(f"several packages register a backend {name!r}: {', '.join(e.value for e in found)}")
    kind = found[0].load()
    if not (isinstance(kind, type) and issubclass(kind, Backend)):
        raise ConfigError(f"backend {name!r} is {kind!r}, no subclass of secure_agg.backends.contract.Backend")
    return kind()
