"""What stands behind stdout and stderr: any encoding, a reader that is gone, a full disk, or nothing at all.

A result that can't be written is no failed verification. Whoever writes gets ``OutputLost``, which is no ``OSError``,
so that nobody below takes it for a file's, and ``exits`` has a code for it. What people watch on stderr may be lost:
no command fails because of it.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO, cast

ERRORS: Final = "secure-agg-plain"
"""Name of the error handler that writes what an encoding lacks in signs that it has."""

_PLAIN: Final = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": "*", "±": "+-", "≤": "<=", "≥": ">=", "→": "->",
    "«": "'", "»": "'", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "✓": "ok", "✗": "x", "√": "sqrt",
    "─": "-", "━": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "╴": "-", "╸": "-", "╺": "-",
}  # fmt: skip


class OutputLost(Exception):
    """A result can't be written to stdout.

    Attributes:
        reader_gone: whether whoever read it has closed its end, as ``head`` does when it has seen enough.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the result can't be written to stdout: {error.strerror or error}")
        self.reader_gone = error.errno in (errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET)


class _Guarded:
    """A stream whose failures are ours; everything else is the stream's own."""

    def __init__(self, stream: Any, *, losable: bool) -> None:
        self._stream = stream
        self._losable = losable

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: Any) -> int:
        """Write text, or to a binary stream bytes."""
        with self._guard():
            self._stream.write(data)
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand everything over."""
        with self._guard():
            self._stream.flush()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _drop(self._stream)
            if not self._losable:
                raise OutputLost(error) from error


class _Text(_Guarded):
    """A text stream; also what is written to the bytes below it is guarded."""

    def __init__(self, stream: Any, *, losable: bool) -> None:
        super().__init__(stream, losable=losable)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)

    @property
    def buffer(self) -> _Guarded:
        """The bytes below."""
        return _Guarded(self._stream.buffer, losable=self._losable)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Run a command with both streams guarded.

    Raises:
        OutputLost: what was written could not be handed over.
    """
    _fill_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    before = sys.stdout, sys.stderr
    out, err = before[0] or _nowhere(), before[1] or _nowhere()
    sys.stdout = cast(TextIO, _Text(out, losable=False))
    sys.stderr = cast(TextIO, _Text(err, losable=True))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stderr.flush()
        # A stream that was closed stays a place that takes everything: the interpreter, too, writes to it at its end.
        sys.stdout, sys.stderr = before[0] or out, before[1] or err


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are, whatever its encoding: a note's or receipt's are what is signed."""
    sys.stdout.flush()  # text that was written before comes before
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The error handler: typography in ASCII, everything else as Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or _escaped(char) for char in text), error.end


def _escaped(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _plain)


def _fill_descriptors() -> None:
    """Give a place to each of the three standard descriptors that is closed: the next file that is opened would get
    its number, and whatever a child process prints would go into that file.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _drop(stream: Any) -> None:
    """Point a stream that failed at nothing: what it still holds would fail again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
