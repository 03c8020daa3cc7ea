"""Packages that only some backends need, imported when something of them is first used.

Modules that use one can then be imported by everybody: to plan, to list backends, to check a record.
"""

from __future__ import annotations

import importlib
from typing import Any


class Optional:
    """Stands for a module until it is used: ``gmpy2: Any = Optional("gmpy2")``.

    Raises:
        ModuleNotFoundError: from the first use, where the package is not installed.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<{self.__name__}, imported when it is used>"

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, value)  # the next use finds it as fast as in the module
        return value
