"""Compiled kernels, kept in files so that the next process need not compile them.

Numba's own cache gives up where it can write nowhere, and every call fails over a file that was cut off, a full disk
or one that is read only. Here a kernel that can't be read is compiled again, and one that can't be written is
compiled by every process; a line of log at level WARNING says so, once.

A kernel's file is numba's pickle of the machine code, so who can write it runs code in our process. Files are read
from and written to folders that only this process's user can write, or whoever can write the source itself:

1. ``NUMBA_CACHE_DIR``, where that is set;
2. ``__pycache__`` beside the source, as Python keeps its own code;
3. ``secure-agg/kernels`` in ``XDG_CACHE_HOME``, by default in ``~/.cache``;
4. ``secure-agg-UID`` in the folder for temporary files, for those without a home.

The last two are made with mode 0700. A folder that someone else made, that is a link, or that others can write is
left alone: no path that another user could have prepared is ever trusted. Reading takes the first file that fits; so
an image in which root has compiled them serves every user.

A file is SHA-256(stamp ‖ code) ‖ code. The stamp is of the sources, the versions and the processor that the code was
made from and for: whatever was cut off, changed by accident or is from before does not fit, and is written anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import os
import pickle
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc.kernels.compiled import Instruction, Kernel

_DIGEST: Final = 32
_log = logging.getLogger(__name__)


def compile_kept(kernel: Kernel[Any, Any]) -> Callable[..., Any]:
    """Numba's dispatcher of a kernel, which looks for its machine code in files before it compiles.

    Raises:
        ModuleNotFoundError: there is no numba.
    """
    from numba import njit
    from numba.extending import intrinsic

    from mpc.kernels import compiling  # noqa: F401  # announces what takes long from here on

    for name in kernel.loop.__code__.co_names:
        if isinstance(value := kernel.loop.__globals__.get(name), Instruction):
            kernel.loop.__globals__[name] = intrinsic(value.function)
    dispatcher: Any = njit(nogil=True)(kernel.loop)
    try:
        dispatcher._cache = _Files(kernel)
    except Exception as error:  # another numba may keep its caches in another way: it compiles all the same
        _warn_once("compiled kernels are not kept (%s: %s): every process compiles them", type(error).__name__, error)
    if kernel.signature is not None:
        dispatcher.compile(kernel.signature)
        dispatcher.disable_compile()
    return dispatcher  # type: ignore[no-any-return]


@functools.cache
def _once() -> list[str]:
    return []


def _warn_once(text: str, *values: object) -> None:
    """One line in all, however many kernels and folders are concerned. A log and no Python warning: a call must not
    fail over its cache under ``-W error``.
    """
    if not _once():
        _once().append(text)
        _log.warning(text, *values)


class _Files:
    """One kernel's files, in the place of numba's cache for it (the interface of ``numba.core.caching._Cache``)."""

    def __init__(self, kernel: Kernel[Any, Any]) -> None:
        from numba.core import compiler
        from numba.core.runtime import rtsys

        self._rebuild, self._initialise = compiler.CompileResult._rebuild, rtsys.initialize
        self._kernel = kernel
        self._name = f"{kernel.loop.__module__}.{kernel.loop.__qualname__}.{sys.implementation.cache_tag}"
        self._stamp = _stamp(kernel)

    @property
    def cache_path(self) -> str:
        """The first folder; numba shows it in statistics."""
        return str(next(iter(_folders(_source(self._kernel))), ""))

    def enable(self) -> None:
        """Nothing: it is never off."""

    disable = flush = enable

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled kernel for arguments of these types, or None: then numba compiles it."""
        self._initialise(target_context)  # and no more: what only a compiler needs takes a second to import
        name, stamp = self._place(signature, target_context.codegen())
        for folder in _folders(_source(self._kernel)):
            code = _read(folder / name, stamp)
            if code is not None:
                with contextlib.suppress(Exception):  # whatever it is: a kernel that can't be used is compiled again
                    return self._rebuild(target_context, *pickle.loads(code))  # noqa: S301
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what numba has compiled, if there is a place for it."""
        name, stamp = self._place(signature, result.codegen)
        if result.lifted or result.library.has_dynamic_globals:
            return  # holds addresses of this process
        from numba.core.serialize import dumps

        code = dumps(result._reduce())
        problem: object = "there is no folder that only this user can write"
        for folder in _folders(_source(self._kernel), make=True):
            try:
                _write(folder / name, hashlib.sha256(stamp + code).digest() + code)
            except OSError as error:
                problem = error
            else:
                if folder.parent == _temporary():
                    _warn_once("no other folder can be written: compiled kernels are kept in %s", folder)
                return
        _warn_once("compiled kernels can't be kept (%s): every process compiles them", problem)

    def _place(self, signature: Any, codegen: Any) -> tuple[str, bytes]:
        wanted = repr((str(signature), codegen.magic_tuple())).encode()
        return f"{self._name}.{hashlib.sha256(wanted).hexdigest()[:16]}.kernel", self._stamp + wanted


def _source(kernel: Kernel[Any, Any]) -> Path:
    return Path(inspect.getfile(kernel.loop))


def _stamp(kernel: Kernel[Any, Any]) -> bytes:
    """32 bytes of everything that machine code follows from but for the arguments' types and the processor."""
    import llvmlite
    import numba

    stamp = hashlib.sha256(repr((sys.version, numba.__version__, llvmlite.__version__)).encode())
    stamp.update(hashlib.sha256(_source(kernel).read_bytes()).digest())
    for name in sorted(kernel.loop.__code__.co_names):
        value = kernel.loop.__globals__.get(name)  # the compiler puts other kernels and constants into the code
        if isinstance(value, Kernel):
            stamp.update(_stamp(value))
        elif isinstance(value, np.ndarray | np.generic):
            stamp.update(repr((value.dtype.str, value.shape, value.tobytes())).encode())
        elif isinstance(value, int | float):
            stamp.update(repr(value).encode())
    return stamp.digest()


def _folders(source: Path, *, make: bool = False) -> Iterator[Path]:
    """Where kernels of this source may lie, best first: those folders only that nobody else can write.

    Args:
        make: what is missing is made.
    """
    beside = source.parent / "__pycache__"
    candidates = [beside]
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        candidates.insert(0, Path(named).resolve())
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        candidates.append(Path(home, "secure-agg", "kernels"))
    if hasattr(os, "geteuid") and (temporary := _temporary()) is not None:
        candidates.append(temporary / f"secure-agg-{os.geteuid()}")
    for folder in candidates:
        with contextlib.suppress(OSError):
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_as_safe_as(source, folder) if folder == beside else _is_private(folder):
                yield folder


def _is_as_safe_as(source: Path, folder: Path) -> bool:
    """Whether a folder beside the source is its owner's, or root's, or this user's, and nobody can write it who can't
    write the source: not everybody, and of a group only the one that can put another file in the source's place.
    """
    found, around = folder.lstat(), source.parent.stat()
    owners = {0, source.stat().st_uid, *_user()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & stat.S_IWOTH:
        return False
    shared = bool(around.st_mode & stat.S_IWGRP) and around.st_gid == found.st_gid
    return shared or not found.st_mode & stat.S_IWGRP


def _is_private(folder: Path) -> bool:
    """Whether no other user but root can put files into a folder, or another folder in its place."""
    if not _user():
        return folder.is_dir()
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in _user() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    above = [parent.stat() for parent in folder.resolve().parents]
    return all(
        parent.st_uid in {0, *_user()} and (not parent.st_mode & stat.S_IWOTH or parent.st_mode & stat.S_ISVTX)
        for parent in above
    )


def _user() -> set[int]:
    """This process's user; empty on systems that have none of this kind."""
    return {os.geteuid()} if hasattr(os, "geteuid") else set()


@functools.cache
def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # none can be written
        return None


def _read(path: Path, stamp: bytes) -> bytes | None:
    """A file's code, if it is whole and of this stamp."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:_DIGEST], data[_DIGEST:]
    return code if hashlib.sha256(stamp + code).digest() == digest else None


def _write(path: Path, data: bytes) -> None:
    """Put a file in its place in one step: another process finds all of it or none."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with new.open("xb") as file:
            file.write(data)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
