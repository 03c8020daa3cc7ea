"""Which versions of a framework a plug-in works on: those it is tested with, and no others."""

from __future__ import annotations

import importlib.metadata
import re

from secure_agg import extras
from secure_agg.errors import ConfigError, MissingExtra


def require(package: str, supported: str, extra: str) -> None:
    """Refuse a framework that is missing, or of a version that the plug-in is not tested with.

    Args:
        package: its name as a distribution.
        supported: from the oldest version to below another, like ``>=1.41,<1.43``. A pre-release counts as the version
            that it leads up to.
        extra: of this package, that brings it.

    Raises:
        MissingExtra: it is missing.
        ConfigError: with the version that is there and the command that installs one that works.
    """
    bounds = re.fullmatch(r">=([0-9.]+),<([0-9.]+)", supported)
    if bounds is None:
        raise ValueError(f"{supported!r} is not like '>=1.41,<1.43'")
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtra(f"{package} is not installed: {extras.command(extra)}", extra=extra) from None
    if not _numbers(bounds[1]) <= _numbers(found) < _numbers(bounds[2]):
        raise ConfigError(
            f"{package} {found} is not supported, {supported} is: run  pip install '{package}{supported}'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version starts with; without zeros at the end, so that 1.41 is 1.41.0."""
    start = re.match(r"[0-9]+(\.[0-9]+)*", version)
    numbers = [int(part) for part in start[0].split(".")] if start else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
