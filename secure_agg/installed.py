"""What installed packages have registered under a name: how a backend is found without anybody importing it."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Final, TypeVar

from secure_agg.errors import ConfigError

BACKENDS: Final = "secure_agg.backends"
"""The entry-point group that backends are registered in."""

_T = TypeVar("_T")


def backend_names() -> tuple[str, ...]:
    """Names of all backends that are installed."""
    return tuple(sorted({entry.name for entry in entry_points(group=BACKENDS)}))


def backend(name: str, kind: type[_T]) -> _T:
    """A backend of that name, as far as ``kind`` describes it: each layer asks for what it knows of backends.

    Raises:
        ConfigError: none or several have that name, or what is registered is no such class.
    """
    registered = _registered(name)
    if not (isinstance(registered, type) and issubclass(registered, kind)):
        raise ConfigError(f"backend {name!r} is {registered!r}, no subclass of {kind.__module__}.{kind.__qualname__}")
    return registered()


@functools.cache
def _registered(name: str) -> object:
    found = tuple(entry_points(group=BACKENDS, name=name))
    if not found:
        raise ConfigError(f"there is no backend {name!r}: installed are {', '.join(backend_names())}")
    if len({entry.value for entry in found}) > 1:
        raise ConfigError(f"several packages register a backend {name!r}: {', '.join(e.value for e in found)}")
    return found[0].load()
