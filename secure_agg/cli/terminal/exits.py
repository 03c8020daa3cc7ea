"""Exit codes, and how an exception becomes one. Nowhere else."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, Final

import typer

from secure_agg.cli.terminal.streams import OutputLost
from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    LimitBroken,
    SecureAggError,
    StoreError,
    UpdateError,
    VerificationError,
)

JSON_FLAG: Final = "--json"
"""By it a result is JSON on stdout, and an error JSON on stderr."""

OK: Final = 0
VERIFICATION_FAILED: Final = 1
USAGE: Final = 2
PROTOCOL_ABORT: Final = 3
LEDGER_DAMAGED: Final = 4
LIMIT_BROKEN: Final = 5
"""What a policy bears, costs or bounds is beyond a limit that was set, or no round of it could be."""
INTERRUPTED: Final = 128 + 2
"""Ctrl-C, as shells report SIGINT."""
READER_GONE: Final = 128 + 13
"""Whoever read stdout has closed it before the end, as shells report SIGPIPE: no failed verification."""
OUTPUT_LOST: Final = 74
"""The result could not be written to stdout, on a full disk for example (EX_IOERR in sysexits.h)."""
BUG: Final = 70
"""An exception that is none of ours (EX_SOFTWARE in sysexits.h); it must not look like a failed check, 1."""

USAGE_ERROR: Final[Any] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ in ("TyperException", "ClickException")
)
"""Base of what Typer raises for a wrong command line: newer versions have their own, older ones Click's."""

ABORT: Final[Any] = typer.Abort
"""What Typer makes of Ctrl-C at a prompt, or of an end of input."""

CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (VerificationError, VERIFICATION_FAILED),
    (LimitBroken, LIMIT_BROKEN),
    (ConfigError, USAGE),
    (UpdateError, USAGE),
    (USAGE_ERROR, USAGE),
    (LedgerDamaged, LEDGER_DAMAGED),
    (LedgerRefused, PROTOCOL_ABORT),
    (LedgerError, USAGE),
    (StoreError, USAGE),
    (SecureAggError, PROTOCOL_ABORT),
    (ABORT, INTERRUPTED),
    (OSError, USAGE),
)
"""The first type that an exception is an instance of gives the code. A ledger or store that can't be
opened or written is a wrong path, right or disk, hence usage; all that is left of ``SecureAggError`` is the protocol's.
"""

HELP: Final = (
    """Exit codes: 0 ok, 1 verification failed, 2 usage, 3 protocol abort, 4 ledger damaged, 5 limit broken."""
)


def exit_code(error: Exception) -> int:
    """The exit code for an exception; 70 for one that is a bug."""
    return next((code for kind, code in CODES if isinstance(error, kind)), BUG)


def lost(error: OutputLost, *, as_json: bool) -> int:
    """Say that a result is lost, unless its reader has had enough of it; returns the exit code."""
    if error.reader_gone:
        return READER_GONE
    with contextlib.suppress(OSError, OutputLost):
        report(error, as_json=as_json)
    return OUTPUT_LOST


def report(error: Exception, *, as_json: bool) -> None:
    """Write an error to stderr: one line for people, or one JSON object."""
    if isinstance(error, USAGE_ERROR):
        message = error.format_message()
    elif isinstance(error, SecureAggError):
        message = str(error.args[0]) if as_json else str(error)
    else:
        message = str(error)
    if not message:
        return  # a command group without a command has printed its help already
    if as_json:
        document = {
            "error": message,
            "type": type(error).__name__,
            "phase": getattr(error, "phase", None),
            "culprit": getattr(error, "culprit", None),
        }
        line = json.dumps(document, ensure_ascii=True)
    else:
        # What it quotes may be a stranger's: nothing in it moves the cursor or sets the terminal's title.
        line = "error: " + " ".join("".join(c if c.isprintable() else " " for c in message).split())
    sys.stderr.write(line + "\n")
