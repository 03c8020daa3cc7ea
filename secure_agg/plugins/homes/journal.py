"""What a node has to find again when the next payload of a round is handled by a new process.

It is about one attempt at a time: a new one takes the place of the last. In the folder ``attempt`` are ``facts.json``,
``<name>.arrays`` (arrays in NumPy's own format, one after the other), ``request-<number>-<digest>``, and
``answer-<digest of the request>`` where the last answer is kept. Every file is
written under another name first and renamed when it is on disk, and so is the whole folder when an attempt begins: what
a crash has cut short is not there.

It is a memory, not a pledge: what a node may sign or send is decided by its attempt store, whatever stands here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, overload

import numpy as np
import numpy.typing as npt

from secure_agg import files
from secure_agg.errors import ConfigError, StoreError

Key = tuple[str, int, int]
"""Task, round and attempt."""

MAX_REQUESTS: Final = 64
"""Most requests of an attempt; no backend has as many phases."""
_MAX_FACTS: Final = 1 << 20
_DTYPES: Final = tuple(map(np.dtype, ("<f2", "<f4", "<f8")))
_ATTEMPT: Final = "attempt"
_ANSWER: Final = "answer-"
_HALF: Final = ".half"
"""Ends the name of what is being written."""


class Requests(Sequence[bytes]):
    """The requests that were answered, in order. Each is read when it is asked for, so one at a time is in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Made by ``Journal.requests``."""
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def names(self) -> tuple[str, ...]:
        """What each is known by: its place and its digest."""
        return tuple(path.name for path in self._paths)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Requests: ...
    def __getitem__(self, place: int | slice) -> bytes | Requests:
        """One, or those of a slice.

        Raises:
            StoreError: it can't be read.
        """
        if isinstance(place, slice):
            return Requests(self._paths[place])
        path = self._paths[place]
        with _typed(path):
            return path.read_bytes()


class Journal:
    """The journal in ``folder``."""

    def __init__(self, folder: Path, max_parameters: int) -> None:
        """
        Args:
            folder: made when missing, mode 0700.
            max_parameters: most elements that the arrays of one name have together.

        Raises:
            StoreError: the folder can't be made.
        """
        self._folder, self._attempt, self._max_parameters = folder, folder / _ATTEMPT, max_parameters
        with _typed(folder):
            folder.mkdir(mode=0o700, exist_ok=True)

    def __repr__(self) -> str:
        return f"Journal({self.key})"

    @property
    def key(self) -> Key | None:
        """The attempt that this is about, or None.

        Raises:
            StoreError: it can't be read.
        """
        found = self.standing()
        return None if found is None else found[0]

    def standing(self) -> tuple[Key, dict[str, Any]] | None:
        """The attempt that this is about and its facts, read once; None where there is none.

        Raises:
            StoreError: it can't be read.
        """
        if not self._attempt.exists():
            return None
        document = self._document()
        return (document["task"], document["round"], document["attempt"]), document["facts"]

    def begin(self, key: Key, arrays: Mapping[str, Sequence[npt.NDArray[Any]]], facts: Mapping[str, Any]) -> None:
        """Forget the last attempt and write down the beginning of this one, all of it or nothing.

        Args:
            key: of the attempt.
            arrays: by name: float16, float32 or float64; one number may stand as an array without dimensions.
            facts: JSON values.

        Raises:
            ConfigError: an unfit name, array or fact, or above the limits.
            StoreError: the disk is full or fails.
        """
        task, number, attempt = key
        text = json.dumps({"task": task, "round": number, "attempt": attempt, "facts": dict(facts)}).encode()
        if len(text) > _MAX_FACTS:
            raise ConfigError(f"facts of {len(text)} bytes, above {_MAX_FACTS}")
        self.clear()
        half = self._folder / (_ATTEMPT + _HALF)
        with _typed(half):
            half.mkdir(mode=0o700)
            for name, items in arrays.items():
                with _writing(half / _file_name(name)) as file:
                    self._write_arrays(file, name, items)
            with _writing(half / "facts.json") as file:
                file.write(text)
            files.sync(half)
            half.rename(self._attempt)
            files.sync(self._folder)

    def facts(self) -> dict[str, Any]:
        """What was given to ``begin``.

        Raises:
            StoreError: there is no attempt, or it can't be read.
        """
        facts: dict[str, Any] = self._document()["facts"]
        return facts

    def arrays(self, name: str) -> list[npt.NDArray[Any]]:
        """Arrays as they were given to ``begin``, in memory.

        Raises:
            StoreError: they are not there, or not what was written.
        """
        path = self._attempt / _file_name(name)
        found, room = list[npt.NDArray[Any]](), self._max_parameters
        with _typed(path), path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while file.tell() < end:
                found.append(_read_array(file, end, room))
                room -= found[-1].size
        return found

    def elements(self, name: str) -> int:
        """How many elements the arrays of a name have together; they are not read.

        Raises:
            StoreError: see ``arrays``.
        """
        path, found = self._attempt / _file_name(name), 0
        with _typed(path), path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while file.tell() < end:
                shape, dtype = _read_head(file, end, self._max_parameters - found)
                found += math.prod(shape)
                file.seek(math.prod(shape) * dtype.itemsize, os.SEEK_CUR)
        return found

    def drop(self, name: str) -> None:
        """Delete arrays that are not needed any more; harmless when they are gone."""
        path = self._attempt / _file_name(name)
        with _typed(path):
            path.unlink(missing_ok=True)

    def add_request(self, request: bytes | memoryview) -> None:
        """Write down a request that was answered; one that stands here already is not repeated.

        Raises:
            ConfigError: no attempt has begun, or it has 64 requests.
            StoreError: the disk is full or fails.
        """
        if not self._attempt.exists():
            raise ConfigError("a request belongs to an attempt, and none has begun")
        written = self._requests()
        name = hashlib.sha256(request).hexdigest()
        if any(path.name.endswith(name) for path in written):
            return
        if len(written) >= MAX_REQUESTS:
            raise ConfigError(f"an attempt has {MAX_REQUESTS} requests at most")
        path = self._attempt / f"request-{len(written):03d}-{name}"
        with _typed(path):
            with _writing(path) as file:
                file.write(request)
            files.sync(self._attempt)

    def keep_answer(self, request: bytes | memoryview, answer: bytes) -> None:
        """Keep an answer until the next one, so that whoever asks the same again gets the same, also of a new process.

        Raises:
            ConfigError: no attempt has begun.
            StoreError: the disk is full or fails.
        """
        if not self._attempt.exists():
            raise ConfigError("an answer belongs to an attempt, and none has begun")
        path = self._attempt / f"{_ANSWER}{hashlib.sha256(request).hexdigest()}"
        with _typed(path):
            with _writing(path) as file:
                file.write(answer)
            files.sync(self._attempt)
            for older in self._attempt.glob(f"{_ANSWER}*"):
                if older != path:
                    older.unlink(missing_ok=True)

    def answer(self, request: bytes | memoryview) -> bytes | None:
        """The answer that was kept, if it was to this request.

        Raises:
            StoreError: it can't be read.
        """
        path = self._attempt / f"{_ANSWER}{hashlib.sha256(request).hexdigest()}"
        with _typed(path):
            return path.read_bytes() if path.exists() else None

    def requests(self) -> Requests:
        """All requests of the attempt, in the order in which they were answered."""
        return Requests(self._requests())

    def clear(self) -> None:
        """Forget the attempt: its folder goes away at once, then what is in it.

        Raises:
            StoreError: the disk fails.
        """
        half = self._folder / (_ATTEMPT + _HALF)
        with _typed(half):
            shutil.rmtree(half, ignore_errors=True)  # left by a crash
            if self._attempt.exists():
                self._attempt.rename(half)
                shutil.rmtree(half)

    def _requests(self) -> list[Path]:
        with _typed(self._attempt):
            return sorted(path for path in self._attempt.glob("request-*") if not path.name.endswith(_HALF))

    def _document(self) -> dict[str, Any]:
        path = self._attempt / "facts.json"
        with _typed(path), path.open("rb") as file:
            document: dict[str, Any] = json.loads(file.read(_MAX_FACTS + 1))
        return document

    def _write_arrays(self, file: IO[bytes], name: str, arrays: Sequence[npt.NDArray[Any]]) -> None:
        total = sum(array.size for array in arrays)
        if total > self._max_parameters:
            raise ConfigError(f"the arrays {name!r} have {total} elements, above max_parameters {self._max_parameters}")
        for array in arrays:
            if array.dtype not in _DTYPES:
                raise ConfigError(f"an array of {name!r} is of {array.dtype}, not of floats")
            np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)


def _file_name(name: str) -> str:
    if not name.isidentifier():
        raise ConfigError(f"{name!r} can't name arrays")
    return f"{name}.arrays"


def _read_array(file: IO[bytes], end: int, room: int) -> npt.NDArray[Any]:
    """The next array, of at most ``room`` elements.

    Raises:
        ValueError: see ``_read_head``.
    """
    shape, dtype = _read_head(file, end, room)
    return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)


def _read_head(file: IO[bytes], end: int, room: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the next array, of at most ``room`` elements, which lie behind.

    Raises:
        ValueError: not what ``_write_arrays`` writes.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("arrays in another format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    count = math.prod(shape)
    if dtype not in _DTYPES or fortran or count > room or count * dtype.itemsize > end - file.tell():
        raise ValueError(f"an array of {dtype} and shape {shape} does not belong there")
    return shape, dtype


def _writing(path: Path) -> AbstractContextManager[IO[bytes]]:
    """A new file of its owner's alone; a crash leaves one whose name ends in ``_HALF``."""
    return files.whole(path, mode=0o600, half=path.name + _HALF)


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the journal failed at {path}: {error.strerror}") from error
    except ConfigError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise StoreError(f"the journal is damaged: {path}: {error}") from error
