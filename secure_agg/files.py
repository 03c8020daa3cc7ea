"""Writes files whole or not at all, and says in this package's words why one can't be written or read.

What fails half-way, on a full disk for example, leaves nothing behind: neither half a file nor an empty folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from secure_agg.errors import ConfigError, FileExists, SecureAggError

HALF_NAME: Final = 64
"""Characters of a file's name that the name of its half holds: more than that may be longer than a name can be."""
_HALF: Final = re.compile(rf"\.(.{{1,{HALF_NAME}}})-[0-9a-f]{{16}}", re.DOTALL)


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
    with failing(path), _half(path, mode, None) as (file, half):
        write(file)
        _end(file, mode)
        try:
            os.link(half, path)  # unlike a rename, a link refuses to replace
        except FileExistsError:
            raise FileExists(f"{path} exists already: it is never overwritten, choose another file") from None
        sync(path.parent)


def replace(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves either the old one or the new one.

    Raises:
        ConfigError: it can't be written; the old one stays.
    """
    with failing(path):
        if path.exists() and not path.is_file():  # a device or a pipe takes the bytes, and is not replaced
            with path.open("wb") as file:
                file.write(data)
            return
        with whole(path, mode=mode) as file:
            file.write(data)
        sync(path.parent)


def read(path: Path, limit: int, what: str) -> bytes:
    """Read a file that somebody else may have written.

    Args:
        path: of the file.
        limit: most bytes that it may have; of a longer one, one more is returned, for its decoder to refuse.
        what: it is, for the error.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise ConfigError(f"{what} {path} can't be read: {getattr(error, 'strerror', None) or error}") from error


@contextlib.contextmanager
def whole(path: Path, *, mode: int | None = None, half: str | None = None) -> Iterator[BinaryIO]:
    """Write a file that has its name only once its content is on the disk; what had that name before is gone then.

    The name itself outlives a power cut once the folder has been given to ``sync``, one call for many files.

    Args:
        path: where; the folder is there.
        mode: its permissions; by default what the process gives new files.
        half: name, in the same folder, of what is not whole yet: a name that is known after a crash, and that one
            writer uses at a time. By default one at random.

    Raises:
        OSError: it can't be written; nothing is left of it.
    """
    with _half(path, mode, half) as (file, temporary):
        yield file
        _end(file, mode)
        os.replace(temporary, path)


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


def half_of(name: str) -> str | None:
    """Of the name of what a process that was killed has left of writing a file, or of what one still writes: the name
    that the whole was to have, cut after 64 characters. None for any other name.
    """
    found = _HALF.fullmatch(name)
    return None if found is None else found[1]


def sync(path: Path) -> None:
    """Make durable what is in a file, or the names that were created in, or removed from, a directory.

    Raises:
        OSError: the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _half(path: Path, mode: int | None, name: str | None) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside its place, under another name; gone at the end, unless that name is."""
    temporary = path.parent / (f".{path.name[:HALF_NAME]}-{secrets.token_hex(8)}" if name is None else name)
    how = os.O_EXCL if name is None else os.O_TRUNC  # a name that is known may be left from a crash
    # What is to be another's to read is so when it is whole.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def _end(file: BinaryIO, mode: int | None) -> None:
    """All of the content is there: on the disk, with the file's permissions."""
    file.flush()
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())
