"""Writes files whole or not at all, and says in this package's words why one can't be written.

What fails half-way, on a full disk for example, leaves nothing behind: neither half a file nor an empty folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from secure_agg.errors import ConfigError, FileExists, SecureAggError


def create(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a new file, durably and all at once.

    Args:
        path: where there is no file yet.
        data: its content.
        mode: its permissions; by default its owner's alone.

    Raises:
        FileExists: there is a file already; it stays as it is.
        ConfigError: it can't be written.
    """
    write_new(path, lambda file: file.write(data), mode=mode)


def write_new(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o644) -> None:
    """The same for content that is written bit by bit. Raises as ``create``."""
    with failing(path), _whole(path, write, mode) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, a link refuses to replace
        except FileExistsError:
            raise FileExists(f"{path} exists already: it is never overwritten, choose another file") from None
        sync_directory(path.parent)


def replace(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves either the old one or the new one.

    Raises:
        ConfigError: it can't be written; the old one stays.
    """
    with failing(path), _whole(path, lambda file: file.write(data), mode) as temporary:
        if path.exists() and not path.is_file():  # a device or a pipe takes the bytes, and is not replaced
            with path.open("wb") as file:
                file.write(data)
            return
        os.replace(temporary, path)
        sync_directory(path.parent)


@contextlib.contextmanager
def failing(path: Path, error: type[SecureAggError] = ConfigError) -> Iterator[None]:
    """Turn the system's refusals into an error that names the file.

    Raises:
        ConfigError: or what ``error`` says.
    """
    try:
        yield
    except SecureAggError:
        raise
    except OSError as refused:
        raise error(f"{path} can't be written: {refused.strerror or refused}") from refused
    except ValueError as refused:  # a name with a zero byte
        raise error(f"{str(path)!r} can't be written: {refused}") from refused


@contextlib.contextmanager
def new_folder(path: Path, *, mode: int = 0o700) -> Iterator[None]:
    """Make a folder, and its parents, for what is written into it; if that fails, all of it is removed again.

    Raises:
        FileExists: there is something already; it stays as it is.
        ConfigError: it can't be made.
    """
    with failing(path), folders(path.parent):
        try:
            path.mkdir(mode=mode)
        except FileExistsError:
            raise FileExists(f"{path} exists already: it is never overwritten, choose a new folder") from None
        try:
            yield
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)  # this call has made it, and nobody else knows of it
            raise


@contextlib.contextmanager
def folders(path: Path, *, mode: int = 0o777) -> Iterator[None]:
    """See that a folder is there; if what follows fails, those that were made and are empty are removed again."""
    missing = []
    place = path
    while not place.exists() and place != place.parent:
        missing.append(place)
        place = place.parent
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=mode if folder == path else 0o777, exist_ok=True)
            made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # no longer empty
                folder.rmdir()
        raise


def sync_directory(path: Path) -> None:
    """Make names created in, or removed from, a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _whole(path: Path, write: Callable[[BinaryIO], object], mode: int) -> Iterator[Path]:
    """A durable file with the content beside its place, under another name; gone at the end."""
    temporary = path.parent / f".{path.name[:64]}-{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
