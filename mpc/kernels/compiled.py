"""Kernels: loops over long vectors, compiled by numba where it is installed, else as numpy does them.

A kernel is compiled when it is first called, and numba is not imported before. One that every user needs brings a
second form in numpy (``or_else``): slower, the same bits. Those of backends that need numba anyway bring none.

What was compiled is kept in files, see ``mpc.kernels.kernel_files``; nothing that goes wrong with those is an error.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from mpc.optional import MissingPackage

_P = ParamSpec("_P")
_R = TypeVar("_R")
_lock = threading.RLock()  # a kernel that calls another prepares it while it is being prepared


@functools.cache
def numba_is_there() -> bool:
    """Whether kernels are compiled in this process. Asking imports nothing."""
    try:
        return find_spec("numba") is not None
    except ValueError:  # how find_spec says that the name is blocked
        return False


class Kernel(Generic[_P, _R]):
    """A function in two forms, called like one. Kernels may call each other.

    Attributes:
        loop: the form that is compiled.
        or_else: the form in numpy, or None.
        signature: numba's, where it is fixed; else it follows from the arguments.
    """

    def __init__(
        self, loop: Callable[_P, _R], or_else: Callable[_P, _R] | None = None, signature: str | None = None
    ) -> None:
        functools.update_wrapper(self, loop)
        self.loop, self.or_else, self.signature = loop, or_else, signature
        self._ready: Callable[_P, _R] | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.loop.__module__}.{self.loop.__qualname__}>"

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return (self._ready or self.prepare())(*args, **kwargs)

    @property
    def _numba_type_(self) -> Any:
        """Numba asks for it where the kernel is called by another."""
        return self.prepare()._numba_type_  # type: ignore[attr-defined]

    def prepare(self) -> Callable[_P, _R]:
        """The form that this process uses; a kernel with a fixed signature is then compiled.

        Raises:
            MissingPackage: the kernel has no form without numba, and there is no numba.
        """
        with _lock:
            if self._ready is None:
                if numba_is_there():
                    from mpc.kernels.kernel_files import compile_kept

                    self._ready = compile_kept(self)
                elif self.or_else is not None:
                    self._ready = self.or_else
                else:
                    raise MissingPackage("numba", "fast")
            return self._ready


class Instruction:
    """What numba has no word for, written for its code generator: its ``intrinsic``, made when a kernel needs it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any) -> Any:
        """Kernels call it, once it is numba's."""
        raise TypeError(f"{self.function.__qualname__} is called by compiled kernels only")


class _Decorator(Protocol):
    def __call__(self, loop: Callable[_P, _R], /) -> Kernel[_P, _R]: ...


def compiled(*, or_else: Callable[..., Any] | None = None, signature: str | None = None) -> _Decorator:
    """Decorate a loop that numba can compile; it runs without Python's lock.

    Args:
        or_else: the same function in numpy; without it the kernel needs numba.
        signature: numba's, where one form is all that is ever needed.
    """

    def decorate(loop: Callable[_P, _R], /) -> Kernel[_P, _R]:
        return Kernel(loop, or_else, signature)

    return decorate
