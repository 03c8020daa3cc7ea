"""Packages that only some backends need, imported when something of them is first used.

Modules that use one can then be imported by everybody: to plan, to list backends, to check a record.
"""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackage(ModuleNotFoundError):
    """A package that only some need is not installed.

    Attributes:
        name: of its module.
        extra: of this project, that brings it.
    """

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(f"{name} is not installed: extra {extra!r} of secure-agg brings it", name=name)
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingPackage], tuple[str, str]]:
        """How another process, in which it was raised, says it to this one."""
        return type(self), (str(self.name), self.extra)


class Optional:
    """Stands for a module until it is used: ``gmpy2: Any = Optional("gmpy2", "paillier")``.

    Raises:
        MissingPackage: from the first use, where the package is not installed.
    """

    def __init__(self, name: str, extra: str) -> None:
        """
        Args:
            name: of the module.
            extra: that brings its package.
        """
        self.__name__ = name
        self.__extra = extra

    def __repr__(self) -> str:
        return f"<{self.__name__}, imported when it is used>"

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = importlib.import_module(self.__name__)
        except ModuleNotFoundError as error:
            package = self.__name__.partition(".")[0]
            if error.name is None or error.name.partition(".")[0] != package:
                raise  # it is there, and something else is missing
            raise MissingPackage(package, self.__extra) from None
        value = getattr(module, attribute)
        setattr(self, attribute, value)  # the next use finds it as fast as in the module
        return value
